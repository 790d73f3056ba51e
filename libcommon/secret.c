// The arena. A first-fit free list in address order, merged on free: the vault's parse allocates many small
// blocks and gives them all back. One per process, because jansson's allocator hooks carry no context.
#include "secret.h"
#include <sodium.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

struct block {
    size_t size; // of the payload
    size_t used; // 0 or 1; padded so that payloads stay 16-byte aligned
};
_Static_assert(sizeof(struct block) == 16, "payloads are 16-byte aligned");

static struct {
    uint8_t *map, *base;
    size_t map_len, len, in_use;
} arena;

size_t secret_memlock_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        return 0;
    return limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}

int secret_arena_open(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t len = (size + sizeof(struct block) + page - 1) / page * page;

    if (arena.map)
        return -EBUSY;
    uint8_t *map = mmap(NULL, len + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return err_last();
    uint8_t *base = map + page;
    if (mprotect(base, len, PROT_READ | PROT_WRITE) < 0 || mlock2(base, len, 0) < 0 ||
        madvise(base, len, MADV_DONTDUMP) < 0 || madvise(base, len, MADV_WIPEONFORK) < 0) {
        int r = err_last();
        munmap(map, len + 2 * page);
        return r;
    }
    arena.map = map;
    arena.map_len = len + 2 * page;
    arena.base = base;
    arena.len = len;
    arena.in_use = 0;
    *(struct block *)(void *)base = (struct block){.size = len - sizeof(struct block)};
    return 0;
}

void secret_arena_close(void)
{
    if (!arena.map)
        return;
    sodium_memzero(arena.base, arena.len);
    munmap(arena.map, arena.map_len);
    memset(&arena, 0, sizeof(arena));
}

static struct block *next(struct block *b)
{
    uint8_t *p = (uint8_t *)(b + 1) + b->size;

    return p < arena.base + arena.len ? (struct block *)(void *)p : NULL;
}

void *secret_alloc(size_t size)
{
    size_t want = (MAX(size, (size_t)1) + 15) & ~(size_t)15;

    if (!arena.map || want < size)
        return NULL;
    for (struct block *b = (struct block *)(void *)arena.base; b; b = next(b)) {
        if (b->used || b->size < want)
            continue;
        if (b->size >= want + sizeof(*b) + 16) {
            struct block *rest = (struct block *)(void *)((uint8_t *)(b + 1) + want);
            *rest = (struct block){.size = b->size - want - sizeof(*b)};
            b->size = want;
        }
        b->used = 1;
        arena.in_use += b->size;
        memset(b + 1, 0, b->size);
        return b + 1;
    }
    return NULL;
}

void secret_free(void *p)
{
    if (!p)
        return;
    struct block *b = (struct block *)p - 1, *previous = NULL;
    sodium_memzero(p, b->size);
    b->used = 0;
    arena.in_use -= b->size;
    struct block *after = next(b);
    if (after && !after->used)
        b->size += sizeof(*b) + after->size;
    for (struct block *q = (struct block *)(void *)arena.base; q && q < b; q = next(q))
        previous = q;
    if (previous && !previous->used)
        previous->size += sizeof(*b) + b->size;
}

size_t secret_in_use(void)
{
    return arena.in_use;
}

size_t secret_arena_size(void)
{
    return arena.len;
}

int secret_new(size_t len, struct secret *ret)
{
    uint8_t *data = secret_alloc(len + 1);

    if (!data)
        return -ENOMEM;
    *ret = (struct secret){data, len};
    return 0;
}

int secret_copy(const void *data, size_t len, struct secret *ret)
{
    int r = secret_new(len, ret);

    if (r == 0 && len > 0)
        memcpy(ret->data, data, len);
    return r;
}

int secret_from_fd(int fd, size_t max, struct secret *ret)
{
    struct secret s;
    size_t n = 0;
    int r = secret_new(max + 1, &s);

    if (r < 0)
        return r;
    while (n <= max) {
        ssize_t got = read(fd, s.data + n, max + 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            r = got < 0 ? err_last() : 0;
            break;
        }
        n += (size_t)got;
    }
    if (r == 0 && n > max)
        r = -EFBIG;
    if (r == 0)
        r = secret_copy(s.data, n, ret);
    secret_wipe(&s);
    return r;
}

void secret_wipe(struct secret *s)
{
    secret_free(s->data);
    *s = (struct secret){0};
}
