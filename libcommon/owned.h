// Ownership by default: a variable declared OWNED(f) is released by f on every way out of its scope.
//
//     OWNED(fd_closep) int fd = -1;
//     OWNED(freep) char *text = NULL;
//     ...
//     *ret_fd = fd_take(&fd);          // hand over: the destructor then sees -1
//
// Destructors take a pointer to the variable, accept "nothing here" (NULL, -1), and keep errno.
#pragma once
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define OWNED(f) __attribute__((cleanup(f)))
#define MUST     __attribute__((warn_unused_result))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))

// -errno of the call that has just failed: below 0 even where a library forgot to set errno.
static inline int err_last(void)
{
    return errno > 0 ? -errno : -EIO;
}

static inline void freep(void *p)
{
    int saved = errno;
    free(*(void **)p);
    errno = saved;
}

// Closes *fd unless it is -1 (0 is a real descriptor) and forgets it.
static inline void fd_closep(int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved;
}

static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#define ptr_take(pp)                                                                                         \
    ({                                                                                                       \
        __typeof__(pp) pp_ = (pp);                                                                           \
        __typeof__(*pp_) taken_ = *pp_;                                                                      \
        *pp_ = NULL;                                                                                         \
        taken_;                                                                                              \
    })
