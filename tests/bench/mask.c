// What masking costs: 10 MiB of a plugin's answer, 50 delivered secrets, by the way the bus takes (parse,
// then look at every string of the tree). One line per run on standard output, in milliseconds; the median at
// the end. `make bench-mask`.
//
//   mask [RUNS [MIB [SECRETS]]]
#include "mask.h"
#include "str.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LEN = 40, LINE = 4096 };

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

// Text as plugins write it, with each secret in it once.
static json_t *answer(size_t mib, const char (*secrets)[LEN + 1], size_t n, size_t chunk)
{
    static const char words[] =
        "the quick brown fox, 0123456789 and {\"a\": [1, 2]} jumps over/the+lazy dog; ";
    const size_t len = mib << 20;
    char *text = malloc(len + 1);
    json_t *list = json_array();

    for (size_t i = 0; text && i < len; i++)
        text[i] = words[(i + i / 997) % (sizeof(words) - 1)];
    for (size_t i = 0; text && i < n; i++)
        memcpy(text + (len / (n + 1)) * (i + 1) / LINE * LINE + 100, secrets[i], LEN);
    for (size_t at = 0; text && list && at < len; at += chunk)
        json_array_append_new(list, json_stringn(text + at, MIN(chunk, len - at)));
    free(text);
    return list;
}

static int measure(const char *name, const struct mask_set *set, json_t *from, int runs, size_t mib,
                   size_t expected)
{
    double *ms = calloc((size_t)runs, sizeof(*ms));
    long masked = 0;

    for (int i = 0; ms && from && i < runs; i++) {
        json_t *copy = json_deep_copy(from);
        const double begin = now_ms();
        masked = mask_json(set, &copy);
        ms[i] = now_ms() - begin;
        json_decref(copy);
    }
    json_decref(from);
    if (!ms || masked < (long)expected) {
        fprintf(stderr, "mask: %s: %ld masked, not %zu\n", name, masked, expected);
        return 1;
    }
    qsort(ms, (size_t)runs, sizeof(*ms), by_size);
    printf("%-24s %zu MiB, %zu fingerprints, %d runs: median %.1f ms, min %.1f, max %.1f; %.2f ms per MiB\n",
           name, mib, set->n, runs, ms[runs / 2], ms[0], ms[runs - 1], ms[runs / 2] / (double)mib);
    free(ms);
    return 0;
}

// A plugin that knows what costs most: the first bytes of a long secret, again and again.
static json_t *hostile(size_t mib, const char *secret)
{
    const size_t len = mib << 20;
    char *text = malloc(len);

    for (size_t i = 0; text && i < len; i++)
        text[i] = secret[i % MASK_WINDOW];
    json_t *list = text ? json_pack("[o]", json_stringn(text, len)) : NULL;
    free(text);
    return list;
}

static int add_random(struct mask_set *set, char *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = "0123456789abcdef"[randombytes_uniform(16)];
    return mask_add(set, (const uint8_t *)out, len);
}

int main(int argc, char **argv)
{
    static char long_secret[32 << 10];
    const int runs = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 31;
    const size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 10,
                 n = argc > 3 ? strtoul(argv[3], NULL, 10) : 50;
    char(*secrets)[LEN + 1] = calloc(n + 1, sizeof(*secrets));
    struct mask_set set, mixed, one;
    int r = 0;

    if (runs < 1 || mib < 1 || !secrets || sodium_init() < 0 || secret_arena_open(4 << 20) < 0)
        return 64;
    mask_begin(&set);
    mask_begin(&mixed); // every window there is: one pass each
    mask_begin(&one);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_random(&set, secrets[i], LEN);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_random(&mixed, long_secret, MASK_MIN + i % (LEN - MASK_MIN));
    if (r == 0)
        r = add_random(&one, long_secret, sizeof(long_secret));
    const char(*all)[LEN + 1] = (const char(*)[LEN + 1]) secrets;
    if (r == 0)
        r = measure("4 KiB strings", &set, answer(mib, all, n, LINE), runs, mib, n);
    if (r == 0)
        r = measure("one string", &set, answer(mib, all, n, mib << 20), runs, mib, n);
    if (r == 0)
        r = measure("secrets from 8 bytes on", &mixed, answer(mib, all, n, mib << 20), runs, mib, 0);
    if (r == 0) // the secrets are cut to pieces there
        r = measure("8 byte strings", &set, answer(mib, all, n, MASK_MIN), runs, mib, 0);
    if (r == 0)
        r = measure("hostile, one of 32 KiB", &one, hostile(mib, long_secret), MIN(runs, 3), mib, 0);
    free(secrets);
    return r == 0 ? 0 : 1;
}
