// A file that appears under its name whole, or not at all.
#pragma once
#include "owned.h"
#include <stdbool.h>
#include <sys/types.h>

struct outfile {
    int fd;  // write here
    int dir; // of the file; -1: fd is standard output, or a device or pipe that is there: nothing to undo
    bool replace;
    char name[256];
    char temp[32]; // its name until then; "" while it has none (O_TMPFILE)
};

enum outfile_flag {
    OUTFILE_NEW = 1,   // -EEXIST where there is one
    OUTFILE_NAMED = 2, // as on a file system without O_TMPFILE
};

// path NULL or "-": standard output. A link is followed. mode is under the umask. -errno.
MUST int outfile_open(const char *path, mode_t mode, int flags, struct outfile *ret);
// Makes it durable and gives it its name. -errno: nothing is left.
MUST int outfile_commit(struct outfile *out);
// Nothing of it is left.
void outfile_abort(struct outfile *out);
