// Questions on the terminal whose answer is not shown.
#pragma once
#include "secret.h"

// Asks on /dev/tty, without echo, for one line of at most max bytes; the newline is not part of it. A signal
// that would end or stop this process meets a terminal as it was before. -ENXIO: there is no terminal;
// -ENODATA: end of file; -EFBIG; -ENOMEM.
MUST int prompt_secret(const char *question, size_t max, struct secret *ret);
