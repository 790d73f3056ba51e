#include "keyfile.h"
#include "unit.h"
#include <sys/acl.h>

struct lab {
    char *dir, key[600], sub[512];
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->dir = scratch_make();
    snprintf(lab->sub, sizeof(lab->sub), "%s/secret", lab->dir);
    snprintf(lab->key, sizeof(lab->key), "%s/age.key", lab->sub);
    assert_int_equal(mkdir(lab->sub, 0700), 0);
    put(lab->key, "key\n");
    assert_int_equal(chmod(lab->key, 0600), 0);
    unsetenv("CREDENTIALS_DIRECTORY");
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static void good(const char *name)
{
    struct refusal refusal;
    int fd = -1, r = keyfile_open(name, &fd, &refusal);
    if (r < 0)
        print_message("# %s: %s\n", refusal.what, refusal.why);
    assert_int_equal(r, 0);
    close(fd);
}

static void bad(const char *name, const char *why, const char *remedy)
{
    struct refusal refusal = {0};
    int fd = -1;
    assert_int_equal(keyfile_open(name, &fd, &refusal), -ECANCELED);
    assert_int_equal(fd, -1);
    assert_string_equal(refusal.id, "VAULT-KEY-01");
    if (!strstr(refusal.why, why) || !strstr(refusal.remedy, remedy))
        print_message("# why: %s\n# do: %s\n", refusal.why, refusal.remedy);
    assert_non_null(strstr(refusal.why, why));
    assert_non_null(strstr(refusal.remedy, remedy));
}

static void acl(const char *path, const char *text)
{
    acl_t a = acl_from_text(text);
    assert_non_null(a);
    assert_int_equal(acl_set_file(path, ACL_TYPE_ACCESS, a), 0);
    acl_free(a);
}

static void test_keyfile_open__modes(void **s)
{
    static const mode_t loose[] = {0640, 0604, 0620, 0602, 0610, 0601, 0666};
    struct lab *lab = *s;
    good(lab->key);
    assert_int_equal(chmod(lab->key, 0400), 0);
    good(lab->key);
    for (size_t i = 0; i < ARRAY_LEN(loose); i++) {
        assert_int_equal(chmod(lab->key, loose[i]), 0);
        bad(lab->key, "others may read it", "chmod 0600");
    }
}

static void test_keyfile_open__owner(void **s)
{
    struct lab *lab = *s;
    assert_int_equal(geteuid(), 0);
    assert_int_equal(chown(lab->key, 12345, 0), 0);
    bad(lab->key, "belongs to uid 12345", "chown 0");
    assert_int_equal(chown(lab->key, 0, 0), 0);
    good(lab->key);
    assert_int_equal(chown(lab->sub, 12345, 0), 0);
    bad(lab->key, "secret belongs to uid 12345, who may put another key there", "chown root");
}

static void test_keyfile_open__acl(void **s)
{
    struct lab *lab = *s;
    acl(lab->key, "u::rw,u:12345:r,g::-,m::r,o::-");
    bad(lab->key, "has an ACL", "setfacl -b");
    acl(lab->key, "u::rw,u:12345:r,g::-,m::-,o::-"); // one chmod away from being readable
    bad(lab->key, "has an ACL", "setfacl -b");
    acl(lab->key, "u::rw,g::-,o::-");
    good(lab->key);
    acl(lab->sub, "u::rwx,u:12345:rwx,g::-,m::rwx,o::-");
    bad(lab->key, "secret may be written by others", "setfacl -b");
    acl(lab->sub, "u::rwx,u:12345:rx,g::-,m::rx,o::-"); // passing through puts nothing in its place
    good(lab->key);
}

static void test_keyfile_open__every_directory_above(void **s)
{
    struct lab *lab = *s;
    assert_int_equal(chmod(lab->sub, 0770), 0);
    bad(lab->key, "secret may be written by others (mode 0770)", "chmod go-w");
    assert_int_equal(chmod(lab->sub, 0700), 0);
    assert_int_equal(chmod(lab->dir, 0777), 0);
    bad(lab->key, "may be written by others (mode 0777)", "chmod go-w");
    assert_int_equal(chmod(lab->dir, 01777), 0); // sticky: others move nothing that is ours
    good(lab->key);
}

static void test_keyfile_open__links(void **s)
{
    struct lab *lab = *s;
    char link[512], through[700];
    snprintf(link, sizeof(link), "%s/link", lab->dir);
    assert_int_equal(symlink(lab->key, link), 0);
    bad(link, "symbolic link", "real file");
    unlink(link);
    assert_int_equal(symlink(lab->sub, link), 0);
    snprintf(through, sizeof(through), "%s/age.key", link);
    bad(through, "link is a symbolic link", "real path");
    assert_int_equal(unlink(link), 0);
    snprintf(through, sizeof(through), "%s/absent", lab->sub);
    bad(through, "ENOENT",
        "put the key back from a backup, or, where there is no vault yet: ductile-vault init");
    assert_int_equal(mkfifo(through, 0600), 0); // and it does not hang
    bad(through, "not a regular file", "init");
}

static void test_keyfile_open__credentials(void **s)
{
    struct lab *lab = *s;
    bad("credential:age.key", "gave this process no credentials", "LoadCredential=age.key:");
    setenv("CREDENTIALS_DIRECTORY", "relative", 1);
    bad("credential:age.key", "gave this process no credentials", "LoadCredential");
    setenv("CREDENTIALS_DIRECTORY", lab->sub, 1);
    assert_int_equal(chmod(lab->key, 0400), 0);
    good("credential:age.key");
    bad("credential:other", "ENOENT", "");
    assert_int_equal(chmod(lab->key, 0440), 0);
    bad("credential:age.key", "others may read it", "chmod");
    unsetenv("CREDENTIALS_DIRECTORY");
}

// Where the service manager cannot give the file away it stays root's, with an ACL.
static int as_service(void *arg)
{
    struct refusal refusal;
    int fd;
    (void)arg;
    if (setresgid(12345, 12345, 12345) < 0 || setresuid(12345, 12345, 12345) < 0)
        return 9;
    return keyfile_open("credential:age.key", &fd, &refusal) == 0 ? 0 : strstr(refusal.why, "ACL") ? 1 : 2;
}

static void test_keyfile_open__credential_of_root_by_acl(void **s)
{
    struct lab *lab = *s;
    assert_int_equal(geteuid(), 0);
    setenv("CREDENTIALS_DIRECTORY", lab->sub, 1);
    assert_int_equal(chmod(lab->sub, 0755), 0);
    acl(lab->key, "u::r,u:12345:r,g::-,m::r,o::-");
    assert_int_equal(in_child(as_service, NULL), 0);
    acl(lab->key, "u::r,u:12345:r,u:12346:r,g::-,m::r,o::-");
    assert_int_equal(in_child(as_service, NULL), 1);
    acl(lab->key, "u::r,u:12345:r,g::r,m::r,o::-");
    assert_int_equal(in_child(as_service, NULL), 1);
    acl(lab->key, "u::r,u:12345:rw,g::-,m::rw,o::-");
    assert_int_equal(in_child(as_service, NULL), 1);
    unsetenv("CREDENTIALS_DIRECTORY");
}

static void test_keyfile_problem__names(void **s)
{
    static const char *const wrong[] = {"credential:", "credential:.x",  "credential:a/b", "credential:../x",
                                        "relative",    "credential:a b", "/a/../b"};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_non_null(keyfile_problem(wrong[i]));
    assert_null(keyfile_problem("credential:age.key"));
    assert_null(keyfile_problem("/etc/ductile/secret/age.key"));
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(keyfile_open__modes), L(keyfile_open__owner), L(keyfile_open__acl),
    L(keyfile_open__every_directory_above), L(keyfile_open__links), L(keyfile_open__credentials),
    L(keyfile_open__credential_of_root_by_acl), T(keyfile_problem__names))
