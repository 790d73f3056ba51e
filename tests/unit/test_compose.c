#include "str.h"
#include "unit.h"
#include "vault.h"
#include <sodium.h>
#include <stdlib.h>

enum { NOW = 1000000 };

static int setup(void **s)
{
    struct vault *v = calloc(1, sizeof(*v));
    assert_true(sodium_init() >= 0);
    assert_int_equal(secret_arena_open(6 << 20), 0);
    *s = v;
    return 0;
}

static int teardown(void **s)
{
    struct vault *v = *s;
    vault_close(v);
    free(v);
    assert_int_equal(secret_in_use(), 0);
    secret_arena_close();
    return 0;
}

static struct vault_secret *give(struct vault *v, const char *name, const char *value, const char *to)
{
    const struct secret secret = {(uint8_t *)value, strlen(value)};
    if (!vault_principal(v, to))
        assert_int_equal(vault_add_principal(v, to, PRINCIPAL_PLUGIN), 0);
    assert_int_equal(vault_set_secret(v, name, &secret, PATTERN_MANUAL), 0);
    assert_int_equal(vault_grant(v, name, to, name), 1);
    return vault_secret(v, name);
}

// With and without the index the answer is the same; the one by the index is returned.
static int compose(struct vault *v, const char *who, const char *need, bool required,
                   struct vault_delivery *d, char name[static LIMIT_NAME])
{
    char *const names[] = {(char *)need, NULL};
    char other_name[LIMIT_NAME];
    struct vault_delivery other = {0};
    vault_index_free(v->index);
    v->index = NULL;
    int slow = vault_compose(v, who, names, need ? 1 : 0, required, 60000, NOW, &other, other_name);
    assert_int_equal(vault_index_make(v), 0);
    *d = (struct vault_delivery){0};
    int r = vault_compose(v, who, names, need ? 1 : 0, required, 60000, NOW, d, name);
    assert_int_equal(r, slow);
    if (r < 0)
        assert_string_equal(name, other_name);
    else {
        assert_string_equal((char *)d->json.data, (char *)other.json.data);
        assert_int_equal(d->n, other.n);
    }
    vault_delivery_wipe(&other);
    return r;
}

static void refused(struct vault *v, const char *who, const char *need, bool required, int r,
                    const char *whose)
{
    struct vault_delivery d;
    char name[LIMIT_NAME];
    assert_int_equal(compose(v, who, need, required, &d, name), r);
    assert_string_equal(name, whose);
    assert_null(d.json.data);
    assert_int_equal(d.n, 0);
}

static void test_vault_compose__each_refusal_says_whose(void **s)
{
    struct vault *v = *s;
    give(v, "good", "g", "sync");
    give(v, "expired", "e", "sync")->expires_ms = NOW;
    give(v, "revoked", "r", "sync")->revoked = true;
    secret_wipe(&give(v, "empty", "x", "sync")->value);
    give(v, "elsewhere", "w", "other");
    give(v, "last", "l", "gone");
    vault_principal(v, "gone")->revoked = true;
    refused(v, "sync", "expired", false, -EKEYEXPIRED, "expired");
    refused(v, "sync", "revoked", false, -EKEYREVOKED, "revoked");
    refused(v, "sync", "empty", false, -ENODATA, "empty");
    refused(v, "sync", "elsewhere", false, -ENOKEY, "elsewhere");
    refused(v, "nobody", NULL, true, -ENOKEY, "nobody");
    refused(v, "nobody", "good", false, -ENOKEY, "good");
    refused(v, "gone", NULL, false, -EKEYREVOKED, "gone");
    refused(v, "gone", "last", true, -EKEYREVOKED, "gone");
}

static void test_vault_compose__required_and_only_an_expired_one(void **s)
{
    struct vault *v = *s;
    struct vault_delivery d;
    char name[LIMIT_NAME];
    struct vault_secret *token = give(v, "token", "t", "sync");
    token->expires_ms = NOW;
    refused(v, "sync", NULL, true, -EKEYEXPIRED, "token");
    token->expires_ms = NOW + 1; // the control: a moment before, it is delivered
    assert_int_equal(compose(v, "sync", NULL, true, &d, name), 0);
    assert_string_equal((char *)d.json.data, "{\"secrets\":{\"token\":\"t\"},");
    vault_delivery_wipe(&d);
}

static void test_vault_compose__tells_what_it_withheld(void **s)
{
    struct vault *v = *s;
    struct vault_delivery d;
    char name[LIMIT_NAME];
    give(v, "a", "1", "sync");
    give(v, "b", "2", "sync")->revoked = true;
    give(v, "c", "3", "sync")->expires_ms = 1;
    secret_wipe(&give(v, "d", "4", "sync")->value);
    assert_int_equal(compose(v, "sync", NULL, true, &d, name), 0);
    assert_string_equal((char *)d.json.data, "{\"secrets\":{\"a\":\"1\"},");
    assert_string_equal(
        d.withheld,
        "[{\"name\":\"b\",\"why\":\"revoked\"},{\"name\":\"c\",\"why\":\"expired\"},{\"name\":\"d\",\"why\":\"empty\"}]");
    vault_delivery_wipe(&d);
}

static void test_vault_compose__the_value_before_a_roll(void **s)
{
    struct vault *v = *s;
    struct vault_delivery d;
    char name[LIMIT_NAME];
    struct vault_secret *token = give(v, "token", "new", "sync");
    assert_int_equal(secret_copy("old", 3, &token->previous), 0);
    token->previous_until_ms = NOW + 1;
    assert_int_equal(compose(v, "sync", "token", true, &d, name), 0);
    assert_string_equal((char *)d.json.data, "{\"secrets\":{\"token\":\"new\",\"token_previous\":\"old\"},");
    vault_delivery_wipe(&d);
    token->previous_until_ms = NOW;
    assert_int_equal(compose(v, "sync", "token", true, &d, name), 0);
    assert_int_equal(d.n, 1);
    vault_delivery_wipe(&d);
    token->previous_until_ms = NOW + 1;
    token->expires_ms = 1; // both go with the name
    refused(v, "sync", "token", true, -EKEYEXPIRED, "token");
}

static void test_vault_delivery_mask__every_value_then_none(void **s)
{
    struct vault *v = *s;
    struct vault_delivery d;
    char name[LIMIT_NAME], *masked;
    size_t len;
    const char said[] = "one-long-value, and two: another-value";
    give(v, "a", "one-long-value", "sync");
    give(v, "b", "another-value", "sync");
    assert_int_equal(compose(v, "sync", NULL, true, &d, name), 0);
    assert_int_equal(vault_delivery_mask(&d), 0);
    assert_null(d.values.data);
    assert_int_equal(mask_text(&d.mask, said, sizeof(said) - 1, &masked, &len), 2);
    assert_string_equal(masked, "[masked], and two: [masked]");
    free(masked);
    vault_delivery_wipe(&d);
}

static void test_vault_index_make__everybody_gets_their_own(void **s)
{
    struct vault *v = *s;
    struct vault_delivery d;
    char name[LIMIT_NAME], who[LIMIT_NAME], expected[256];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        snprintf(who, sizeof(who), "p%d", i % 100);
        give(v, name, name, who);
    }
    assert_int_equal(vault_add_principal(v, "empty", PRINCIPAL_PLUGIN), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(who, sizeof(who), "p%d", i);
        assert_int_equal(compose(v, who, NULL, true, &d, name), 0);
        snprintf(expected, sizeof(expected), "\"s%d\":\"s%d\"", i, i);
        assert_int_equal(d.n, 3);
        assert_non_null(strstr((char *)d.json.data, expected));
        vault_delivery_wipe(&d);
    }
    refused(v, "empty", NULL, true, -ENOKEY, "empty");
    refused(v, "p100", NULL, true, -ENOKEY, "p100");
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(vault_compose__each_refusal_says_whose), L(vault_compose__required_and_only_an_expired_one),
    L(vault_compose__tells_what_it_withheld), L(vault_compose__the_value_before_a_roll),
    L(vault_delivery_mask__every_value_then_none), L(vault_index_make__everybody_gets_their_own))
