// Asking another program: its output, within a time and a size. For root and for the gate; never for a
// plugin.
#pragma once
#include "owned.h"
#include <stddef.h>

// Runs argv[0] (a path) with an empty standard input, LC_ALL=C, a PATH of the system's directories and no
// other environment; standard output and error go to *ret_text, NUL-terminated, which the caller frees.
// *ret_status as of waitpid(2). -ETIMEDOUT: it had not ended after ms, and was killed with its process group.
// -EFBIG: it said more than max bytes.
MUST int capture_run(const char *const argv[], unsigned ms, size_t max, char **ret_text, int *ret_status);
