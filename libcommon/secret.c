// The arena: blocks with boundary tags, free ones in lists by size, merged on free; nothing walks it, because
// a vault of 10,000 secrets is parsed in some hundred thousand small blocks. A free block is zero but for its
// links. One per process, because jansson's allocator hooks carry no context.
#include "secret.h"
#include <sodium.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

struct block {
    size_t size;   // of the payload, a multiple of 16; the lowest bit: in use
    size_t before; // the payload of the block in front of it, 0 for the first
};
_Static_assert(sizeof(struct block) == 16, "payloads are 16-byte aligned");

struct links { // the payload of a free block begins so
    struct block *next, *previous;
};
_Static_assert(sizeof(struct links) == 16, "the smallest payload holds them");

enum { USED = 1, BINS = 64 }; // bin i: payloads of 16 * (i + 1) bytes; the last: those and all larger ones

static struct {
    uint8_t *map, *base;
    size_t map_len, len, in_use;
    size_t touched; // bytes from base on that were ever written: the rest is pages that do not exist yet
    struct block *bins[BINS];
    uint64_t filled; // bit i: bin i is not empty
} arena;

size_t secret_memlock_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        return 0;
    return limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}

static size_t size_of(const struct block *b)
{
    return b->size & ~(size_t)USED;
}

static struct links *links_of(struct block *b)
{
    return (struct links *)(void *)(b + 1);
}

static unsigned bin_of(size_t size)
{
    return (unsigned)MIN(size / 16 - 1, (size_t)BINS - 1);
}

static struct block *after(struct block *b)
{
    uint8_t *p = (uint8_t *)(b + 1) + size_of(b);

    return p < arena.base + arena.len ? (struct block *)(void *)p : NULL;
}

static struct block *before(struct block *b)
{
    return b->before ? (struct block *)(void *)((uint8_t *)b - b->before) - 1 : NULL;
}

static void put_free(struct block *b, size_t size)
{
    unsigned bin = bin_of(size);
    struct block *next = arena.bins[bin], *behind;

    b->size = size;
    *links_of(b) = (struct links){next, NULL};
    if (next)
        links_of(next)->previous = b;
    arena.bins[bin] = b;
    arena.filled |= 1ull << bin;
    if ((behind = after(b)))
        behind->before = size;
}

static void take_free(struct block *b)
{
    unsigned bin = bin_of(b->size);
    const struct links l = *links_of(b);

    if (l.previous)
        links_of(l.previous)->next = l.next;
    else if (!(arena.bins[bin] = l.next))
        arena.filled &= ~(1ull << bin);
    if (l.next)
        links_of(l.next)->previous = l.previous;
    *links_of(b) = (struct links){0};
}

// All of it counts against the limit at once, so that a refusal comes here; a page is locked when it is first
// written.
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
    if (mprotect(base, len, PROT_READ | PROT_WRITE) < 0 || mlock2(base, len, MLOCK_ONFAULT) < 0 ||
        madvise(base, len, MADV_DONTDUMP) < 0 || madvise(base, len, MADV_WIPEONFORK) < 0) {
        int r = err_last();
        munmap(map, len + 2 * page);
        return r;
    }
    memset(&arena, 0, sizeof(arena));
    arena.map = map;
    arena.map_len = len + 2 * page;
    arena.base = base;
    arena.len = len;
    put_free((struct block *)(void *)base, len - sizeof(struct block));
    return 0;
}

void secret_arena_close(void)
{
    if (!arena.map)
        return;
    sodium_memzero(arena.base, MIN(arena.touched, arena.len));
    munmap(arena.map, arena.map_len);
    memset(&arena, 0, sizeof(arena));
}

// The first that is large enough: in a bin of one size any is; the last bin is searched.
static struct block *find_free(size_t want)
{
    uint64_t fit = arena.filled & ~0ull << bin_of(want);

    if (!fit)
        return NULL;
    struct block *b = arena.bins[__builtin_ctzll(fit)];
    while (b && b->size < want)
        b = links_of(b)->next;
    return b;
}

void *secret_alloc(size_t size)
{
    size_t want = (MAX(size, (size_t)1) + 15) & ~(size_t)15;
    struct block *b = arena.map && want >= size ? find_free(want) : NULL;

    if (!b)
        return NULL;
    take_free(b);
    if (b->size >= want + sizeof(*b) + sizeof(struct links)) {
        struct block *rest = (struct block *)(void *)((uint8_t *)(b + 1) + want);
        rest->before = want;
        put_free(rest, b->size - want - sizeof(*b));
        b->size = want;
    }
    arena.in_use += b->size;
    arena.touched = MAX(arena.touched, (size_t)((uint8_t *)(b + 1) - arena.base) + b->size + sizeof(*b) +
                                           sizeof(struct links));
    b->size |= USED;
    return b + 1;
}

// Joins b with the free block behind it, whose header becomes part of the payload.
static void join(struct block *b, struct block *behind)
{
    size_t size = size_of(b) + sizeof(*b) + behind->size;

    sodium_memzero(behind, sizeof(*behind));
    b->size = size;
}

void secret_free(void *p)
{
    if (!p)
        return;
    struct block *b = (struct block *)p - 1, *other;
    b->size = size_of(b);
    arena.in_use -= b->size;
    sodium_memzero(p, b->size);
    if ((other = after(b)) && !(other->size & USED)) {
        take_free(other);
        join(b, other);
    }
    if ((other = before(b)) && !(other->size & USED)) {
        take_free(other);
        join(other, b);
        b = other;
    }
    put_free(b, b->size);
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

void secret_prefault(const struct secret *s)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)s->data & ~(page - 1);

    // Before Linux 5.14 there is no such advice: then each page comes when it is written.
    (void)madvise((void *)from, (uintptr_t)s->data + s->len - from, MADV_POPULATE_WRITE);
}

void secret_wipe(struct secret *s)
{
    secret_free(s->data);
    *s = (struct secret){0};
}
