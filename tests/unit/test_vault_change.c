#include "vault_lab.h"

static void begin(struct lab *lab, struct vault *v)
{
    lab_open(lab, v);
    assert_int_equal(vault_add_principal(v, "sync", PRINCIPAL_PLUGIN), 0);
    assert_int_equal(vault_add_principal(v, "other", PRINCIPAL_PLUGIN), 0);
    lab_set(v, "token", "old-value");
    lab_set(v, "second", "2");
    assert_int_equal(vault_grant(v, "token", "sync", "api"), 1);
}

static void test_vault_roll_secret__keeps_the_previous_for_its_time(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    begin(lab, &v);
    assert_int_equal(lab_roll(&v, "token", "new-value", 3600000), 1);
    lab_save(lab, &v);
    vault_close(&v);
    lab_open(lab, &v);
    struct vault_secret *x = vault_secret(&v, "token");
    assert_memory_equal(x->value.data, "new-value", 10);
    assert_memory_equal(x->previous.data, "old-value", 10);
    x->previous_until_ms = 1; // its time is over
    lab_save(lab, &v);
    assert_null(vault_secret(&v, "token")->previous.data);
    vault_close(&v);
    lab_open(lab, &v);
    assert_int_equal(vault_secret(&v, "token")->previous.len, 0);
    vault_close(&v);
}

static void test_vault_roll_secret__says_why_not(void **s)
{
    struct vault v;
    begin(*s, &v);
    assert_int_equal(lab_roll(&v, "nothing", "x", 0), -ENOENT);
    assert_int_equal(lab_roll(&v, "token", "old-value", 0), -EALREADY);
    assert_int_equal(vault_grant(&v, "second", "sync", "api_previous"), 1);
    assert_int_equal(lab_roll(&v, "token", "x", 1000), -EEXIST); // the plugin reads that name already
    assert_memory_equal(vault_secret(&v, "token")->value.data, "old-value", 10);
    assert_int_equal(lab_roll(&v, "token", "x", 0), 1);
    assert_int_equal(vault_revoke_secret(&v, "token"), 1);
    assert_int_equal(lab_roll(&v, "token", "y", 0), -EKEYREVOKED);
    vault_close(&v);
}

static void test_vault_grant__not_the_name_of_a_kept_value(void **s)
{
    struct vault v;
    char name[LIMIT_NAME];
    begin(*s, &v);
    assert_int_equal(lab_roll(&v, "token", "new", 1000000), 1);
    assert_int_equal(vault_grant(&v, "second", "sync", "api_previous"), -EEXIST);
    assert_int_equal(vault_grant(&v, "second", "other", "api_previous"), 1);
    assert_int_equal(vault_grant(&v, "token", "other", "api"), -EEXIST);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(vault_grant(&v, "token", "other", name), -ENAMETOOLONG);
    assert_int_equal(vault_grant(&v, "second", "other", name), 1);
    vault_close(&v);
}

static void test_vault_revoke_secret__wipes_and_stays(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    begin(lab, &v);
    assert_int_equal(lab_roll(&v, "token", "new-value", 1000000), 1);
    size_t before = secret_in_use();
    assert_int_equal(vault_revoke_secret(&v, "token"), 1);
    assert_true(secret_in_use() < before);
    assert_int_equal(vault_revoke_secret(&v, "token"), 0);
    assert_int_equal(vault_revoke_secret(&v, "nothing"), -ENOENT);
    lab_save(lab, &v);
    vault_close(&v);
    lab_open(lab, &v);
    assert_true(vault_secret(&v, "token")->revoked);
    assert_int_equal(vault_secret(&v, "token")->value.len, 0);
    const struct secret again = {(uint8_t *)"x", 1};
    assert_int_equal(vault_set_secret(&v, "token", &again, PATTERN_MANUAL), -EKEYREVOKED);
    assert_int_equal(vault_remove_secret(&v, "token"), 1);
    lab_set(&v, "token", "free again");
    vault_close(&v);
}

// What was read stays in the text it was read from. A value that goes is gone from there too, its neighbours
// are as they were, and what is added to that lies elsewhere is no part of it.
static void test_vault_wipe_value__in_the_text_it_was_read_from(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    begin(lab, &v);
    lab_set(&v, "third", "third-value");
    lab_set(&v, "fourth", "fourth-value");
    assert_int_equal(vault_grant(&v, "second", "sync", "second"), 1);
    lab_save(lab, &v);
    vault_close(&v);
    assert_int_equal(secret_in_use(), 0);
    lab_open(lab, &v);
    const struct secret text = v.text;
    static const char *const values[] = {"old-value", "third-value", "fourth-value"};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        assert_non_null(memmem(text.data, text.len, values[i], strlen(values[i])));
    assert_int_equal(lab_roll(&v, "token", "new-value", 0), 1);
    assert_int_equal(vault_revoke_secret(&v, "third"), 1);
    assert_int_equal(vault_remove_secret(&v, "fourth"), 1);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        assert_null(memmem(text.data, text.len, values[i], strlen(values[i])));
    assert_string_equal(vault_secret(&v, "second")->value.data, "2");
    assert_int_equal(vault_grant(&v, "second", "other", "second"), 1);
    assert_int_equal(vault_grant(&v, "second", "other", "twice"), 1);
    assert_int_equal(vault_ungrant(&v, "second", "sync", NULL), 1);
    assert_int_equal(vault_secret(&v, "second")->n_grants, 2);
    assert_int_equal(lab_roll(&v, "token", "newer", 1000000), 1); // the previous one lies beside the text
    assert_int_equal(vault_revoke_principal(&v, "sync"), 1);
    assert_int_equal(vault_purge_principal(&v, "sync"), 1);
    assert_int_equal(vault_secret(&v, "token")->n_grants, 0);
    lab_save(lab, &v);
    vault_close(&v);
    lab_open(lab, &v);
    assert_string_equal(vault_secret(&v, "second")->grants[1].as, "twice");
    assert_string_equal(vault_secret(&v, "token")->previous.data, "new-value");
    vault_close(&v);
}

static void test_vault_purge_principal__only_revoked_and_with_grants(void **s)
{
    struct vault v;
    begin(*s, &v);
    assert_int_equal(vault_purge_principal(&v, "sync"), -EBUSY);
    assert_int_equal(vault_purge_principal(&v, "nobody"), -ENOENT);
    assert_int_equal(vault_revoke_principal(&v, "sync"), 1);
    assert_int_equal(vault_revoke_principal(&v, "sync"), 0);
    assert_int_equal(vault_revoke_principal(&v, "nobody"), -ENOENT);
    assert_int_equal(vault_add_principal(&v, "sync", PRINCIPAL_PLUGIN), -EEXIST);
    assert_int_equal(vault_purge_principal(&v, "sync"), 1);
    assert_null(vault_principal(&v, "sync"));
    assert_non_null(vault_principal(&v, "other"));
    assert_int_equal(vault_secret(&v, "token")->n_grants, 0);
    vault_close(&v);
}

static void test_vault_ungrant__one_name_or_all(void **s)
{
    struct vault v;
    begin(*s, &v);
    assert_int_equal(vault_grant(&v, "token", "sync", "two"), 1);
    assert_int_equal(vault_grant(&v, "token", "sync", "three"), 1);
    assert_int_equal(vault_ungrant(&v, "token", "sync", "two"), 1);
    assert_int_equal(vault_secret(&v, "token")->n_grants, 2);
    assert_int_equal(vault_ungrant(&v, "token", "sync", "two"), 0);
    assert_int_equal(vault_ungrant(&v, "token", "sync", NULL), 1);
    assert_int_equal(vault_secret(&v, "token")->n_grants, 0);
    assert_int_equal(vault_ungrant(&v, "nothing", "sync", NULL), -ENOENT);
    vault_close(&v);
}

static void test_vault_add_recipient__opens_the_vault(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    struct age_identity id;
    struct secret plain;
    vault_recipient text;
    assert_int_equal(age_identity_new(&id), 0);
    age_recipient_text(id.recipient, text);
    for (int present = 1; present >= 0; present--) {
        lab_open(lab, &v);
        assert_int_equal(present ? vault_add_recipient(&v, text) : vault_remove_recipient(&v, text), 1);
        assert_int_equal(present ? vault_add_recipient(&v, text) : vault_remove_recipient(&v, text), 0);
        lab_save(lab, &v);
        vault_close(&v);
        OWNED(fd_closep) int root = fd_open_root(NULL);
        OWNED(fd_closep) int fd = fd_open_file(root, lab->config->vault_file);
        assert_true(fd >= 0);
        int r = age_decrypt(fd, &id, 1 << 20, &plain);
        assert_int_equal(r, present ? 0 : -ENOKEY);
        if (r == 0)
            secret_wipe(&plain);
    }
    age_identity_wipe(&id);
}

static void test_vault_add_recipient__a_limit(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    vault_recipient text;
    uint8_t key[AGE_KEY_LEN];
    lab_open(lab, &v);
    for (int i = 0; i <= LIMIT_RECIPIENTS; i++) {
        uint8_t scalar[AGE_KEY_LEN] = {0, (uint8_t)(i + 1)};
        assert_int_equal(crypto_scalarmult_base(key, scalar), 0);
        age_recipient_text(key, text);
        assert_int_equal(vault_add_recipient(&v, text), i < LIMIT_RECIPIENTS ? 1 : -E2BIG);
    }
    lab_save(lab, &v);
    vault_close(&v);
    lab_open(lab, &v);
    assert_int_equal(v.n_recipients, LIMIT_RECIPIENTS);
    vault_close(&v);
}

RUN(L(vault_roll_secret__keeps_the_previous_for_its_time), L(vault_roll_secret__says_why_not),
    L(vault_grant__not_the_name_of_a_kept_value), L(vault_revoke_secret__wipes_and_stays),
    L(vault_wipe_value__in_the_text_it_was_read_from), L(vault_purge_principal__only_revoked_and_with_grants),
    L(vault_ungrant__one_name_or_all), L(vault_add_recipient__opens_the_vault),
    L(vault_add_recipient__a_limit))
