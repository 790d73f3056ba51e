#include "str.h"
#include "unit.h"
#include "vault.h"
#include <sodium.h>

enum { NOW = 1000000 };
#define VALUE "a-value-of-more-than-thirty-two-bytes"

static int setup(void **s)
{
    struct vault *v = calloc(1, sizeof(*v));
    const struct secret value = {(uint8_t *)VALUE, strlen(VALUE)},
                        cut = {(uint8_t *)VALUE, LIMIT_TOKEN_MIN - 1};
    assert_true(sodium_init() >= 0);
    assert_int_equal(secret_arena_open(1 << 20), 0);
    assert_int_equal(vault_add_principal(v, "core", PRINCIPAL_CORE), 0);
    assert_int_equal(vault_add_principal(v, "sync", PRINCIPAL_PLUGIN), 0);
    assert_int_equal(vault_set_secret(v, "token", &value, PATTERN_MANUAL), 0);
    assert_int_equal(vault_set_secret(v, "short", &cut, PATTERN_MANUAL), 0);
    assert_int_equal(vault_set_secret(v, "theirs", &value, PATTERN_MANUAL), 0);
    assert_int_equal(vault_grant(v, "token", "core", "ci"), 1);
    assert_int_equal(vault_grant(v, "short", "core", "short"), 1);
    assert_int_equal(vault_grant(v, "theirs", "sync", "theirs"), 1);
    *s = v;
    return 0;
}

static int teardown(void **s)
{
    vault_close(*s);
    free(*s);
    secret_arena_close();
    return 0;
}

static int ask(struct vault *v, const char *name)
{
    const struct vault_secret *x = NULL;
    int r = vault_core_secret(v, name, NOW, &x);
    assert_true((r == 0) == (x != NULL));
    return r;
}

static void test_vault_core_secret__granted(void **s)
{
    struct vault *v = *s;
    assert_int_equal(ask(v, "ci"), 0); // under the name of the grant
    assert_int_equal(ask(v, "token"), -ENOKEY);
    assert_int_equal(ask(v, "theirs"), -ENOKEY);
    assert_int_equal(ask(v, "nothing"), -ENOKEY);
    assert_int_equal(ask(v, "short"), -EMSGSIZE);
    vault_secret(v, "token")->expires_ms = NOW + 1;
    assert_int_equal(ask(v, "ci"), 0);
    vault_secret(v, "token")->expires_ms = NOW;
    assert_int_equal(ask(v, "ci"), -EKEYEXPIRED);
    assert_int_equal(vault_revoke_secret(v, "token"), 1);
    assert_int_equal(ask(v, "ci"), -EKEYREVOKED);
}

static void test_vault_core_secret__principal(void **s)
{
    struct vault *v = *s;
    vault_principal(v, "core")->kind = PRINCIPAL_PLUGIN; // a plugin of that name
    assert_int_equal(ask(v, "ci"), -ENOKEY);
    vault_principal(v, "core")->kind = PRINCIPAL_CORE;
    assert_int_equal(vault_revoke_principal(v, "core"), 1);
    assert_int_equal(ask(v, "ci"), -EACCES);
    assert_int_equal(vault_purge_principal(v, "core"), 1);
    assert_int_equal(ask(v, "ci"), -ENOKEY);
}

// Whatever a plugin is called, it is not given what is the gateway's.
static void test_vault_compose__principal_core(void **s)
{
    struct vault *v = *s;
    struct vault_delivery d = {0};
    char name[LIMIT_NAME];
    assert_int_equal(vault_compose(v, "core", NULL, 0, false, 60000, NOW, &d, name), -EPERM);
    assert_int_equal(vault_index_make(v), 0);
    assert_int_equal(vault_compose(v, "core", NULL, 0, false, 60000, NOW, &d, name), -EPERM);
    assert_int_equal(d.n, 0);
}

// One cause and what mends it, with the name that the command takes: the secret's, not that of the grant.
static void test_vault_core_why__says_what_to_do(void **s)
{
    static const struct {
        int error;
        const char *name, *says;
    } rows[] = {
        {-ENOKEY, "none", "none is not granted to core: ductile vault grant none core"},
        {-EACCES, "short",
         "short is withheld, principal core is revoked: "
         "ductile vault principal purge core, then grant again"},
        {-EKEYREVOKED, "short",
         "short is revoked: "
         "ductile vault secret remove short, then set and grant it again"},
        {-EKEYREVOKED, "ci",
         "token, granted as ci, is revoked: "
         "ductile vault secret remove token, then set and grant it again"},
        {-EKEYEXPIRED, "ci", "token, granted as ci, has expired: ductile vault secret roll token --auto"},
        {-ENODATA, "ci", "token, granted as ci, is empty: ductile vault secret roll token --auto"},
        {-ENODATA, "short", "short is empty: ductile vault secret roll short --auto"},
        {-EMSGSIZE, "short",
         "short has fewer than 32 or more than 512 bytes: "
         "ductile vault secret roll short --auto"},
        {-EILSEQ, "ci",
         "token, granted as ci, has a byte that no header carries: "
         "ductile vault secret roll token --auto"},
        {-ENOMEM, "short", "short cannot be used (Cannot allocate memory)"},
    };
    char why[512];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(vault_core_why(*s, rows[i].error, rows[i].name, why), rows[i].says);
}

static void test_vault_core_why__longest_names(void **s)
{
    struct vault *v = *s;
    const struct secret value = {(uint8_t *)VALUE, strlen(VALUE)};
    char own[LIMIT_NAME], as[LIMIT_NAME], why[512];
    memset(own, 'o', sizeof(own));
    memset(as, 'a', sizeof(as));
    own[LIMIT_NAME - 1] = as[LIMIT_NAME - 1] = '\0';
    assert_int_equal(vault_set_secret(v, own, &value, PATTERN_MANUAL), 0);
    assert_int_equal(vault_grant(v, own, "core", as), 1);
    assert_non_null(strstr(vault_core_why(v, -EKEYREVOKED, as, why), "then set and grant it again"));
}

#define V(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(V(vault_core_secret__granted), V(vault_core_secret__principal), V(vault_compose__principal_core),
    V(vault_core_why__says_what_to_do), V(vault_core_why__longest_names))
