// Locked memory: one arena per process for keys, the vault's plaintext and what is composed from it.
// mlock'd, left out of core dumps, wiped in forked children, guard pages around it, zeroed when freed.
// (sodium_malloc silently stops locking at the memlock limit; here a failed mlock is an error.)
#pragma once
#include "owned.h"
#include <stddef.h>
#include <stdint.h>

// Makes the arena of `size` usable bytes (rounded up to pages). -ENOMEM or -EAGAIN: mlock refused, the limit
// is too small; secret_memlock_limit says what it is. -EBUSY: there is one already.
MUST int secret_arena_open(size_t size);
// Zeroes and releases it; everything in it is gone.
void secret_arena_close(void);
// Bytes RLIMIT_MEMLOCK allows, SIZE_MAX for no limit.
size_t secret_memlock_limit(void);

// Memory of the arena, zeroed, 16-byte aligned; NULL when it is full or absent.
void *secret_alloc(size_t size);
void secret_free(void *p);
// Bytes in use, and bytes there are.
size_t secret_in_use(void);
size_t secret_arena_size(void);

// Secret bytes as a type. No formatter exists for it, and its free wipes.
struct secret {
    uint8_t *data; // in the arena; a NUL follows data[len - 1]
    size_t len;
};

// A zeroed one of len bytes. -ENOMEM.
MUST int secret_new(size_t len, struct secret *ret);
MUST int secret_copy(const void *data, size_t len, struct secret *ret);
// Makes its pages at once, where it will be filled: a fault for each would cost more.
void secret_prefault(const struct secret *s);
// Everything that fd holds, at most max bytes (-EFBIG).
MUST int secret_from_fd(int fd, size_t max, struct secret *ret);
void secret_wipe(struct secret *s);
