// A key and an empty vault in a scratch directory, for the unit tests of the vault's modules.
#pragma once
#include "fd.h"
#include "str.h"
#include "unit.h"
#include "vault.h"
#include <sodium.h>

struct lab {
    char *dir;
    struct config *config;
};

static inline int lab_make(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    struct refusal refusal;
    struct config_file *files = calloc(1, sizeof(*files));
    char *text = NULL;
    lab->dir = scratch_make();
    assert_true(asprintf(&text, "secrets: {age_key_file: %s/age.key, vault_file: %s/vault.age}\n", lab->dir,
                         lab->dir) > 0);
    files[0] = (struct config_file){strdup("/t/config.yaml"), text, strlen(text)};
    assert_int_equal(config_parse(files, 1, &lab->config, &refusal), 0);
    assert_true(sodium_init() >= 0);
    assert_int_equal(secret_arena_open(vault_arena_size(0)), 0);
    assert_int_equal(vault_create(lab->config, &refusal), 1);
    *s = lab;
    return 0;
}

static inline int lab_remove(void **s)
{
    struct lab *lab = *s;
    config_free(lab->config);
    assert_int_equal(secret_in_use(), 0); // nothing leaked in the arena
    secret_arena_close();
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static inline void lab_open(struct lab *lab, struct vault *v)
{
    struct refusal refusal = {0};
    int r = vault_open(lab->config->age_key_file, lab->config->vault_file, v, &refusal);
    if (r < 0)
        print_error("%s: %s\n", refusal.what, refusal.why);
    assert_int_equal(r, 0);
}

static inline void lab_save(struct lab *lab, struct vault *v)
{
    struct refusal refusal;
    assert_int_equal(vault_save(v, lab->config, &refusal), 0);
}

static inline void lab_set(struct vault *v, const char *name, const char *value)
{
    const struct secret secret = {(uint8_t *)value, strlen(value)};
    assert_int_equal(vault_set_secret(v, name, &secret, PATTERN_MANUAL), 0);
}

static inline int lab_roll(struct vault *v, const char *name, const char *value, int64_t keep_ms)
{
    const struct secret secret = {(uint8_t *)value, strlen(value)};
    return vault_roll_secret(v, name, &secret, keep_ms);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, lab_make, lab_remove)
