#include "vault_lab.h"

static void fill(struct lab *lab)
{
    struct vault v;
    lab_open(lab, &v);
    assert_int_equal(vault_add_principal(&v, "sync", PRINCIPAL_PLUGIN), 0);
    assert_int_equal(vault_add_principal(&v, "empty", PRINCIPAL_PLUGIN), 0);
    lab_set(&v, "token", "tok\"en\\ \n\xc3\xa9");
    lab_set(&v, "other", "o");
    lab_set(&v, "unused", "u");
    assert_int_equal(vault_grant(&v, "token", "sync", "token"), 1);
    assert_int_equal(vault_grant(&v, "token", "sync", "token"), 0);
    assert_int_equal(vault_grant(&v, "other", "sync", "alias"), 1);
    lab_save(lab, &v);
    vault_close(&v);
}

static void test_vault_create__twice_changes_nothing(void **s)
{
    struct lab *lab = *s;
    struct refusal refusal;
    assert_int_equal(vault_create(lab->config, &refusal), 0);
}

static void test_vault_save__files_are_private(void **s)
{
    static const char *const names[] = {"age.key", "vault.age", "generation", "lock"};
    struct lab *lab = *s;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[512];
        struct stat st;
        snprintf(path, sizeof(path), "%s/%s", lab->dir, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
}

static void test_vault_open__what_was_saved(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    fill(lab);
    lab_open(lab, &v);
    assert_int_equal(v.generation, 2);
    assert_int_equal(v.n_principals, 2);
    assert_int_equal(v.n_secrets, 3);
    assert_memory_equal(vault_secret(&v, "token")->value.data, "tok\"en\\ \n\xc3\xa9", 11);
    assert_string_equal(vault_secret(&v, "other")->grants[0].as, "alias");
    vault_close(&v);
}

static void test_vault_open__nothing_readable_on_disk(void **s)
{
    struct lab *lab = *s;
    char command[512];
    fill(lab);
    snprintf(command, sizeof(command), "! grep -rqa -e alias -e token %s/vault.age", lab->dir);
    assert_int_equal(system(command), 0);
}

static void key_refused(struct lab *lab, const char *word)
{
    struct age_identity id;
    struct refusal refusal;
    assert_int_equal(vault_read_key(lab->config->age_key_file, &id, &refusal), -ECANCELED);
    assert_string_equal(refusal.id, "VAULT-KEY-01");
    assert_non_null(strstr(refusal.why, word));
}

static void test_vault_read_key__refuses_loose_keys(void **s)
{
    struct lab *lab = *s;
    const char *key = lab->config->age_key_file;
    char moved[512];
    assert_int_equal(chmod(key, 0640), 0);
    key_refused(lab, "others may read");
    assert_int_equal(chmod(key, 0600), 0);
    snprintf(moved, sizeof(moved), "%s.moved", key);
    assert_int_equal(rename(key, moved), 0);
    assert_int_equal(symlink(moved, key), 0);
    key_refused(lab, "ELOOP");
    unlink(key);
    key_refused(lab, "ENOENT");
    assert_int_equal(mkdir(key, 0700), 0);
    key_refused(lab, "not a regular file");
    rmdir(key);
    assert_int_equal(mkfifo(key, 0600), 0); // and it does not hang
    key_refused(lab, "not a regular file");
    unlink(key);
    put(key, "rubbish\n");
    chmod(key, 0600);
    key_refused(lab, "AGE-SECRET-KEY-1");
    if (geteuid() == 0) {
        unlink(key);
        rename(moved, key);
        assert_int_equal(chown(key, 12345, 0), 0);
        key_refused(lab, "belongs to uid 12345");
    }
}

static void open_refused(struct lab *lab, const char *word)
{
    struct vault v;
    struct refusal refusal;
    assert_int_equal(vault_open(lab->config->age_key_file, lab->config->vault_file, &v, &refusal),
                     -ECANCELED);
    assert_string_equal(refusal.id, "VAULT-OPEN-01");
    if (!strstr(refusal.why, word))
        print_message("# %s\n", refusal.why);
    assert_non_null(strstr(refusal.why, word));
}

static void test_vault_open__rollback(void **s)
{
    struct lab *lab = *s;
    char command[1024];
    snprintf(command, sizeof(command), "cp -p %s/vault.age %s/old.age", lab->dir, lab->dir);
    assert_int_equal(system(command), 0);
    fill(lab);
    snprintf(command, sizeof(command), "cp -p %s/old.age %s/vault.age", lab->dir, lab->dir);
    assert_int_equal(system(command), 0);
    open_refused(lab, "an older vault was put back");
}

static void test_vault_open__damaged(void **s)
{
    struct lab *lab = *s;
    put(lab->config->vault_file, "not a vault");
    open_refused(lab, "malformed");
    unlink(lab->config->vault_file);
    open_refused(lab, "ENOENT");
}

// A document that decrypts and is not exactly what we write.
static void test_vault_open__odd_documents(void **s)
{
    static const char *const documents[] = {
        "{}",
        "{\"format\":\"ductile.vault/2\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9,\"principals\":{},\"secrets\":{}}",
        "{\"format\":\"ductile.vault/1\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9,\"principals\":{},\"secrets\":{},\"x\":1}",
        "{\"format\":\"ductile.vault/1\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9,\"principals\":{\"A\":{\"kind\":\"plugin\",\"status\":\"active\",\"created_ms\":1}},\"secrets\":{}}",
        "{\"format\":\"ductile.vault/1\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9,\"principals\":{},\"secrets\":{\"s\":{\"value\":\"v\",\"pattern\":\"manual\",\"status\":\"active\",\"created_ms\":1,\"updated_ms\":1,\"grants\":[{\"principal\":\"ghost\",\"as\":\"s\"}]}}}",
        "{\"format\":\"ductile.vault/1\",\"format\":\"ductile.vault/1\"}",
        "[]",
        "{\"format\":",
    };
    struct lab *lab = *s;
    struct age_identity id;
    struct refusal refusal;
    assert_int_equal(vault_read_key(lab->config->age_key_file, &id, &refusal), 0);
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        uint8_t *file;
        size_t len;
        assert_int_equal(age_encrypt(documents[i], strlen(documents[i]),
                                     (const uint8_t(*)[AGE_KEY_LEN])id.recipient, 1, &file, &len),
                         0);
        FILE *f = fopen(lab->config->vault_file, "w");
        fwrite(file, 1, len, f);
        fclose(f);
        free(file);
        open_refused(lab, "malformed");
    }
    age_identity_wipe(&id);
}

static void test_vault_set_secret__immutable(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    const struct secret same = {(uint8_t *)"o", 1}, other = {(uint8_t *)"p", 1};
    fill(lab);
    lab_open(lab, &v);
    assert_int_equal(vault_set_secret(&v, "other", &same, PATTERN_MANUAL), 0);
    assert_int_equal(vault_set_secret(&v, "other", &other, PATTERN_MANUAL), -EEXIST);
    vault_close(&v);
}

static void test_vault_grant__one_name_one_secret(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    fill(lab);
    lab_open(lab, &v);
    assert_int_equal(vault_grant(&v, "unused", "sync", "alias"), -EEXIST);
    assert_int_equal(vault_grant(&v, "ghost", "sync", "ghost"), -ENOENT);
    vault_close(&v);
}

static int64_t now = 1000000;

static int compose(struct vault *v, const char *principal, const char *need, bool required, size_t max,
                   struct vault_delivery *d, char name[static LIMIT_NAME])
{
    char *const names[] = {(char *)need, NULL};
    return vault_compose(v, principal, names, need ? 1 : 0, required, max, now, d, name);
}

static void test_vault_compose__delivers_granted_names(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    struct vault_delivery d = {0};
    char name[LIMIT_NAME];
    fill(lab);
    lab_open(lab, &v);
    assert_int_equal(compose(&v, "sync", "token", true, 60000, &d, name), 0);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.names[0], "alias");
    assert_string_equal((char *)d.json.data,
                        "{\"secrets\":{\"alias\":\"o\",\"token\":\"tok\\\"en\\\\ \\u000a\xc3\xa9\"},");
    vault_delivery_wipe(&d);
    vault_close(&v);
}

static void test_vault_compose__fails_closed(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    struct vault_delivery d = {0};
    char name[LIMIT_NAME];
    fill(lab);
    lab_open(lab, &v);
    assert_int_equal(compose(&v, "ghost", NULL, true, 60000, &d, name), -ENOKEY);
    assert_int_equal(compose(&v, "ghost", "token", false, 60000, &d, name), -ENOKEY);
    assert_string_equal(name, "token");
    assert_int_equal(compose(&v, "sync", "unused", false, 60000, &d, name), -ENOKEY);
    assert_string_equal(name, "unused");
    assert_int_equal(compose(&v, "empty", NULL, true, 60000, &d, name), -ENOKEY);
    assert_int_equal(compose(&v, "sync", NULL, false, 3, &d, name), -EFBIG);
    vault_principal(&v, "sync")->revoked = true;
    assert_int_equal(compose(&v, "sync", NULL, false, 60000, &d, name), -EKEYREVOKED);
    // nobody asked, and nobody is known: it runs without
    assert_int_equal(compose(&v, "ghost", NULL, false, 60000, &d, name), 0);
    assert_string_equal((char *)d.json.data, "{\"secrets\":{},");
    vault_delivery_wipe(&d);
    vault_close(&v);
}

static void test_vault_compose__never_revoked_ones(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    struct vault_delivery d = {0};
    char name[LIMIT_NAME];
    fill(lab);
    lab_open(lab, &v);
    vault_secret(&v, "token")->revoked = true;
    assert_int_equal(compose(&v, "sync", NULL, false, 60000, &d, name), 0);
    assert_int_equal(d.n, 1);
    vault_delivery_wipe(&d);
    assert_int_equal(compose(&v, "sync", "token", false, 60000, &d, name), -EKEYREVOKED);
    assert_string_equal(name, "token");
    vault_close(&v);
}

static void test_vault_lock__excludes(void **s)
{
    struct lab *lab = *s;
    char command[512];
    int fd = vault_lock(lab->config->vault_file);
    assert_true(fd >= 0);
    snprintf(command, sizeof(command), "flock -n %s/lock true", lab->dir);
    assert_true(system(command) != 0);
    close(fd);
    assert_int_equal(system(command), 0);
}

RUN(L(vault_create__twice_changes_nothing), L(vault_save__files_are_private), L(vault_open__what_was_saved),
    L(vault_open__nothing_readable_on_disk), L(vault_read_key__refuses_loose_keys), L(vault_open__rollback),
    L(vault_open__damaged), L(vault_open__odd_documents), L(vault_set_secret__immutable),
    L(vault_grant__one_name_one_secret), L(vault_compose__delivers_granted_names),
    L(vault_compose__fails_closed), L(vault_compose__never_revoked_ones), L(vault_lock__excludes))
