#include "secret.h"
#include "unit.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

static int open_arena(void **s)
{
    (void)s;
    return secret_arena_open(64 << 10);
}

static int close_arena(void **s)
{
    (void)s;
    secret_arena_close();
    return 0;
}

static void test_secret_alloc__reuse_and_merge(void **s)
{
    void *blocks[64];
    (void)s;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 64; i++) {
            blocks[i] = secret_alloc((size_t)(i * 13 + 1));
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % 16, 0);
            memset(blocks[i], i, (size_t)(i * 13 + 1));
        }
        for (int i = 0; i < 64; i++)
            secret_free(blocks[(i * 37 + round) % 64]);
        assert_int_equal(secret_in_use(), 0);
    }
    void *whole = secret_alloc((64 << 10) - 64); // everything merged again
    assert_non_null(whole);
    secret_free(whole);
}

static void test_secret_alloc__zeroed_after_free(void **s)
{
    (void)s;
    unsigned char *p = secret_alloc(100);
    memset(p, 0xaa, 100);
    secret_free(p);
    for (int i = 0; i < 100; i++) // still our mapping: reading what was freed shows whether it was wiped
        assert_int_equal(p[i], 0);
}

// Blocks of every size live and die in any order; in the end nothing of what they held is left anywhere.
static void test_secret_alloc__nothing_left_of_any(void **s)
{
    enum { N = 200 };
    unsigned char *blocks[N] = {0};
    size_t sizes[N] = {0};
    uint32_t state = 1;
    (void)s;
    for (int i = 0; i < 20000; i++) {
        state = state * 1664525 + 1013904223;
        size_t at = (state >> 8) % N, size = (state >> 16) % ((state & 64) ? 3000 : 200) + 1;
        if (blocks[at]) {
            for (size_t j = 0; j < sizes[at]; j++)
                assert_int_equal(blocks[at][j], 0xa0 | (at & 15));
            secret_free(blocks[at]);
        }
        if (!(blocks[at] = secret_alloc(sizes[at] = size)))
            continue;
        for (size_t j = 0; j < size; j++)
            assert_int_equal(blocks[at][j], 0);
        memset(blocks[at], 0xa0 | (int)(at & 15), size);
    }
    for (size_t i = 0; i < N; i++)
        secret_free(blocks[i]);
    assert_int_equal(secret_in_use(), 0);
    unsigned char *all = secret_alloc(secret_arena_size() - 16);
    assert_non_null(all);
    for (size_t i = 0; i < secret_arena_size() - 16; i++)
        assert_int_equal(all[i], 0);
    secret_free(all);
}

static void test_secret_alloc__full(void **s)
{
    (void)s;
    assert_null(secret_alloc(80 << 10));
    assert_null(secret_alloc(SIZE_MAX));
    assert_null(secret_alloc(SIZE_MAX - 8));
}

static int look_in_child(void *arg)
{
    const unsigned char *p = arg;
    for (int i = 0; i < 16; i++)
        if (p[i] != 0)
            return 1;
    return 0;
}

static void test_secret_arena_open__wiped_in_children(void **s)
{
    struct secret secret;
    (void)s;
    assert_int_equal(secret_copy("do-not-inherit-me", 17, &secret), 0);
    assert_int_equal(in_child(look_in_child, secret.data), 0);
    assert_memory_equal(secret.data, "do-not-inherit-me", 17);
    secret_wipe(&secret);
    char *plain = strdup("do-not-inherit-me"); // control: ordinary memory is inherited
    assert_int_equal(in_child(look_in_child, plain), 1);
    free(plain);
}

static void test_secret_arena_open__locked_and_not_dumped(void **s)
{
    char line[512];
    struct secret secret;
    bool inside = false, locked = false, no_dump = false, wipe = false;
    (void)s;
    assert_int_equal(secret_copy("x", 1, &secret), 0);
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && strchr(line, '-') < strchr(line, ' '))
            inside = (uintptr_t)secret.data >= from && (uintptr_t)secret.data < to;
        if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            locked = strstr(line, " lo") != NULL;
            no_dump = strstr(line, " dd") != NULL;
            wipe = strstr(line, " wf") != NULL;
        }
    }
    fclose(f);
    assert_true(locked && no_dump && wipe);
    secret_wipe(&secret);
}

static int touch(void *arg)
{
    signal(SIGSEGV, SIG_DFL); // cmocka's own handler would answer
    *(volatile char *)arg = 1;
    return 0;
}

static void test_secret_arena_open__guard_pages(void **s)
{
    struct secret secret;
    (void)s;
    assert_int_equal(secret_new(1, &secret), 0);
    char *first = (char *)((uintptr_t)secret.data & ~(uintptr_t)4095);
#ifndef DUCTILE_SAN // a sanitizer reports the fault in its own way
    assert_int_equal(in_child(touch, first - 1), 128 + SIGSEGV);
    assert_int_equal(in_child(touch, first), 0); // control
#else
    (void)touch;
    (void)first;
#endif
    secret_wipe(&secret);
}

static int lower_limit_and_open(void *arg)
{
    const struct rlimit small = {4096, 4096};
    (void)arg;
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) // root is not bound by it
        return 3;
    if (setrlimit(RLIMIT_MEMLOCK, &small) < 0)
        return 2;
    return secret_arena_open(1 << 20) < 0 ? 0 : 1;
}

static void test_secret_arena_open__refuses_without_mlock(void **s)
{
    (void)s;
    assert_int_equal(in_child(lower_limit_and_open, NULL), 0);
}

static void test_secret_from_fd__limit(void **s)
{
    struct secret secret;
    int p[2];
    (void)s;
    assert_int_equal(pipe(p), 0);
    assert_int_equal(write(p[1], "0123456789", 10), 10);
    close(p[1]);
    assert_int_equal(secret_from_fd(p[0], 9, &secret), -EFBIG);
    close(p[0]);
    assert_int_equal(secret_in_use(), 0);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, open_arena, close_arena)
RUN(L(secret_alloc__reuse_and_merge), L(secret_alloc__zeroed_after_free),
    L(secret_alloc__nothing_left_of_any), L(secret_alloc__full), L(secret_arena_open__wiped_in_children),
    L(secret_arena_open__locked_and_not_dumped), L(secret_arena_open__guard_pages),
    T(secret_arena_open__refuses_without_mlock), L(secret_from_fd__limit))
