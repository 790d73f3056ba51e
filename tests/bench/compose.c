// What opening a full vault costs, and what a spawn then takes of it: 10,000 secrets, 1,000 principals, the
// way the warden does it. `make bench-compose`.
//
//   compose [SECRETS [PRINCIPALS [ROUNDS]]]
#include "str.h"
#include "vault.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int fill(struct vault *v, size_t secrets, size_t principals)
{
    char name[LIMIT_NAME];
    int r = 0;

    for (size_t i = 0; r >= 0 && i < principals; i++) {
        snprintf(name, sizeof(name), "plugin-%zu", i);
        r = vault_add_principal(v, name, PRINCIPAL_PLUGIN);
    }
    for (size_t i = 0; r >= 0 && i < secrets; i++) {
        char value[41], who[LIMIT_NAME];
        uint8_t bytes[20];
        randombytes_buf(bytes, sizeof(bytes));
        str_hex(bytes, sizeof(bytes), value);
        snprintf(name, sizeof(name), "secret-%zu", i);
        snprintf(who, sizeof(who), "plugin-%zu", i % principals);
        const struct secret secret = {(uint8_t *)value, 40};
        r = vault_set_secret(v, name, &secret, PATTERN_MANUAL);
        if (r >= 0)
            r = vault_grant(v, name, who, name);
    }
    return r < 0 ? r : 0;
}

static int measure(struct vault *v, size_t principals, size_t rounds)
{
    double *us = calloc(rounds, sizeof(*us));
    char name[LIMIT_NAME], who[LIMIT_NAME];
    size_t names = 0;
    int r = us ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < rounds; i++) {
        struct vault_delivery d = {0};
        snprintf(who, sizeof(who), "plugin-%zu", i * 7919 % principals);
        const double begin = now_us();
        r = vault_compose(v, who, NULL, 0, true, 60 << 10, vault_now_ms(), &d, name);
        us[i] = now_us() - begin;
        names = d.n;
        vault_delivery_wipe(&d);
    }
    if (r == 0) {
        qsort(us, rounds, sizeof(*us), by_size);
        printf("compose of %zu secrets, %s index: median %.1f us, 99th of 100 %.1f us\n", names,
               v->index ? "by" : "without", us[rounds / 2], us[rounds * 99 / 100]);
    }
    free(us);
    return r;
}

int main(int argc, char **argv)
{
    uint64_t secrets = 10000, principals = 1000, rounds = 2000;
    char dir[] = "/tmp/bench-vault.XXXXXX", key[64], file[64];
    struct config config = {.age_key_file = key, .vault_file = file};
    struct refusal refusal;
    struct vault v = {0};

    if ((argc > 1 && str_to_u64(argv[1], 1, LIMIT_SECRETS, &secrets) < 0) ||
        (argc > 2 && str_to_u64(argv[2], 1, LIMIT_PRINCIPALS, &principals) < 0) ||
        (argc > 3 && str_to_u64(argv[3], 1, 10000000, &rounds) < 0) || sodium_init() < 0 || !mkdtemp(dir))
        return 1;
    snprintf(key, sizeof(key), "%s/age.key", dir);
    snprintf(file, sizeof(file), "%s/vault.age", dir);
    int r = secret_arena_open(50 << 20);
    if (r == 0)
        r = vault_mint_key(key, &refusal);
    if (r >= 0)
        r = vault_new(key, &v, &refusal);
    if (r == 0)
        r = fill(&v, secrets, principals);
    if (r == 0)
        r = vault_save(&v, &config, &refusal);
    vault_close(&v);
    double begin = now_us();
    if (r >= 0)
        r = vault_open(key, file, &v, &refusal);
    printf("open of %llu secrets, %llu principals: %.0f ms\n", (unsigned long long)secrets,
           (unsigned long long)principals, (now_us() - begin) / 1e3);
    if (r == 0)
        r = measure(&v, principals, MIN(rounds, 200));
    begin = now_us();
    if (r == 0)
        r = vault_index_make(&v);
    printf("index: %.1f ms\n", (now_us() - begin) / 1e3);
    if (r == 0)
        r = measure(&v, principals, rounds);
    if (r < 0)
        fprintf(stderr, "%s %s\n", strerror(-r), r == -ECANCELED ? refusal.why : "");
    vault_close(&v);
    secret_arena_close();
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 && r == 0 ? 0 : 1; // NOLINT: a benchmark, and a name of its own making
}
