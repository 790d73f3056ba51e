#include "acl.h"
#include "fd.h"
#include "layout.h"
#include "str.h"
#include "unit.h"
#include <sys/acl.h>

static struct layout_item item(const char *path, enum layout_kind kind, mode_t mode)
{
    struct layout_item i = {.kind = kind, .presence = LAYOUT_PRESENCE_MAKE, .mode = mode, .uid = 0, .gid = 0};
    snprintf(i.path, sizeof(i.path), "%s", path);
    snprintf(i.owner, sizeof(i.owner), "root");
    snprintf(i.group, sizeof(i.group), "root");
    return i;
}

struct lab {
    char *dir;
    int root;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->dir = scratch_make();
    lab->root = fd_open_root(lab->dir);
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    close(lab->root);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static void fault(struct lab *lab, const struct layout_item *i, enum layout_fault expected)
{
    char before[128], after[128];
    assert_int_equal(layout_check(lab->root, i, before, after), expected);
    if (expected != LAYOUT_OK)
        assert_true(before[0] && after[0]);
}

static void run(struct lab *lab, const char *command)
{
    char line[1024];
    snprintf(line, sizeof(line), "cd %s && %s", lab->dir, command);
    assert_int_equal(system(line), 0);
}

static void test_layout_apply__makes_what_check_wants(void **s)
{
    struct lab *lab = *s;
    const struct layout_item i = item("/a/b/c", LAYOUT_KIND_DIR, 02710);
    fault(lab, &i, LAYOUT_MISSING);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    fault(lab, &i, LAYOUT_OK);
}

// Every kind of fault is found under its own name, and apply mends what may be mended.
static void test_layout_check__wrong_mode(void **s)
{
    struct lab *lab = *s;
    const struct layout_item i = item("/d", LAYOUT_KIND_DIR, 0700);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    run(lab, "chmod 0755 d");
    fault(lab, &i, LAYOUT_MODE);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    fault(lab, &i, LAYOUT_OK);
}

static void test_layout_check__wrong_owner(void **s)
{
    struct lab *lab = *s;
    const struct layout_item i = item("/d", LAYOUT_KIND_DIR, 0700);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    run(lab, "chown 12345 d");
    fault(lab, &i, LAYOUT_OWNER);
    run(lab, "chown 0:12345 d");
    fault(lab, &i, LAYOUT_OWNER);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    fault(lab, &i, LAYOUT_OK);
}

static void test_layout_check__acl_entry(void **s)
{
    struct lab *lab = *s;
    const struct layout_item i = item("/d", LAYOUT_KIND_DIR, 0750);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    run(lab, "setfacl -m u:12345:rx d"); // the mode bits still say 0750
    fault(lab, &i, LAYOUT_ACL);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    fault(lab, &i, LAYOUT_OK);
    run(lab, "setfacl -d -m u:12345:rx d"); // opens what will be made in it
    fault(lab, &i, LAYOUT_ACL);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    fault(lab, &i, LAYOUT_OK);
}

static void test_layout_check__wrong_kind(void **s)
{
    struct lab *lab = *s;
    const struct layout_item i = item("/d", LAYOUT_KIND_DIR, 0700);
    run(lab, "echo x > d");
    fault(lab, &i, LAYOUT_KIND);
    assert_int_equal(layout_apply(lab->root, &i), -ENOTDIR); // removes nothing it did not make
    run(lab, "test \"$(cat d)\" = x");
}

static void test_layout_check__symlink(void **s)
{
    struct lab *lab = *s;
    const struct layout_item last = item("/link", LAYOUT_KIND_DIR, 0700),
                             way = item("/link/d", LAYOUT_KIND_DIR, 0700);
    run(lab, "mkdir elsewhere && chmod 0777 elsewhere && ln -s elsewhere link && mkdir -m 0700 elsewhere/d");
    fault(lab, &last, LAYOUT_KIND);
    fault(lab, &way, LAYOUT_PARENT);
    assert_true(layout_apply(lab->root, &last) < 0);
    assert_true(layout_apply(lab->root, &way) < 0);
    run(lab, "test \"$(stat -c %a elsewhere)\" = 777"); // not followed
}

static void test_layout_check__parent_writable_by_others(void **s)
{
    struct lab *lab = *s;
    const struct layout_item i = item("/p/d", LAYOUT_KIND_DIR, 0700);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    run(lab, "chmod 0777 p");
    fault(lab, &i, LAYOUT_PARENT);
    run(lab, "chmod 1777 p");
    fault(lab, &i, LAYOUT_PARENT);
    run(lab, "chmod 0755 p; chown 12345 p");
    fault(lab, &i, LAYOUT_PARENT);
}

static void test_layout_check__optional_rows(void **s)
{
    struct lab *lab = *s;
    struct layout_item i = item("/f", LAYOUT_KIND_FILE, 0600);
    i.presence = LAYOUT_PRESENCE_MAY;
    fault(lab, &i, LAYOUT_OK);
    run(lab, "echo x > f; chmod 0644 f");
    fault(lab, &i, LAYOUT_MODE);
    assert_int_equal(layout_apply(lab->root, &i), 0);
    fault(lab, &i, LAYOUT_OK);
    run(lab, "test \"$(cat f)\" = x"); // content is never touched
}

static void test_layout_apply__without_ids(void **s)
{
    struct lab *lab = *s;
    struct layout_item i = item("/d", LAYOUT_KIND_DIR, 0700);
    i.uid = ID_AUTO;
    assert_int_equal(layout_apply(lab->root, &i), -EAGAIN);
    run(lab, "test ! -e d");
}

static void test_layout_expand__every_row_and_account(void **s)
{
    struct config *c = NULL;
    struct refusal refusal;
    struct layout l;
    struct config_file *files = calloc(1, sizeof(*files));
    const char *text = "service: {name: two}\naccounts: {default: {}, a: {}, me: {home: /home/me}}\n";
    unsigned seen[LAYOUT_COUNT_] = {0};
    char locked[LIMIT_PATH];
    (void)s;
    files[0] = (struct config_file){strdup("/etc/two/config.yaml"), strdup(text), strlen(text)};
    assert_int_equal(config_parse(files, 1, &c, &refusal), 0);
    assert_int_equal(layout_expand(c, &l), 0);
    for (size_t i = 0; i < l.n; i++) {
        seen[l.list[i].id]++;
        assert_true(str_is_abspath(l.list[i].path));
        assert_null(strchr(l.list[i].path, '{'));
        assert_null(strstr(l.list[i].path, "/ductile/accounts")); // the instance's own, everywhere
        if (l.list[i].id == LAYOUT_LOCKED)
            assert_string_equal(l.list[i].path, config_locked_dir(c, locked));
    }
    for (size_t i = 0; i < LAYOUT_COUNT_; i++)
        assert_int_equal(seen[i], i == LAYOUT_ACCOUNT ? 2 : i == LAYOUT_SERVICE_HOME ? 0 : 1);
    layout_free(&l);
    config_free(c);
}

// ---- ACLs ---------------------------------------------------------------------------------------

static void test_acl_group_grant__and_the_mask(void **s)
{
    struct lab *lab = *s;
    bool masked;
    run(lab, "mkdir -m 0700 home");
    OWNED(fd_closep) int fd = fd_open(lab->root, "/home", O_PATH, 0);
    assert_int_equal(acl_group_has(fd, 12345, ACL_RIGHT_X, false, &masked), 0);
    assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_X, false), 0);
    assert_int_equal(acl_group_has(fd, 12345, ACL_RIGHT_X, false, &masked), 1);
    assert_int_equal(acl_group_has(fd, 12345, ACL_RIGHT_RX, false, &masked), 0);
    assert_int_equal(acl_is_extended(fd), 1);
    run(lab, "chmod 700 home"); // empties the mask without a word
    assert_int_equal(acl_group_has(fd, 12345, ACL_RIGHT_X, false, &masked), 0);
    assert_true(masked);
    assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_X, false), 0);
    assert_int_equal(acl_group_has(fd, 12345, ACL_RIGHT_X, false, &masked), 1);
}

static void test_acl_group_grant__opens_for_nobody_else(void **s)
{
    struct lab *lab = *s;
    run(lab, "mkdir -m 0700 home && setfacl -m u:777:rwx,m::--- home");
    OWNED(fd_closep) int fd = fd_open(lab->root, "/home", O_PATH, 0);
    assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_X, false), 0);
    run(lab,
        "getfacl -cn home | grep -q '^mask::--x' && getfacl -cn home | grep -q '^other::---' && getfacl -cn home | grep -q '^group::---'");
}

static void test_acl_group_grant__default_is_inherited(void **s)
{
    struct lab *lab = *s;
    bool masked;
    run(lab, "mkdir -m 0700 d");
    OWNED(fd_closep) int fd = fd_open(lab->root, "/d", O_PATH, 0);
    assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_RX, true), 0);
    assert_int_equal(acl_group_has(fd, 12345, ACL_RIGHT_RX, true, &masked), 1);
    run(lab, "umask 022; mkdir d/sub; echo x > d/file");
    OWNED(fd_closep)
    int sub = fd_open(lab->root, "/d/sub", O_PATH, 0), file = fd_open(lab->root, "/d/file", O_PATH, 0);
    assert_int_equal(acl_group_has(sub, 12345, ACL_RIGHT_RX, false, &masked), 1);
    assert_int_equal(acl_group_has(file, 12345, ACL_RIGHT_R, false, &masked), 1);
}

static void test_acl_remove_extended__leaves_the_mode(void **s)
{
    struct lab *lab = *s;
    run(lab, "mkdir -m 0750 d && setfacl -m u:777:rwx -d -m u:777:rwx d");
    OWNED(fd_closep) int fd = fd_open(lab->root, "/d", O_RDONLY | O_DIRECTORY, 0);
    assert_int_equal(acl_remove_extended(fd), 0);
    assert_int_equal(acl_is_extended(fd), 0);
    run(lab, "! getfacl -cn d | grep -q 777");
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(layout_apply__makes_what_check_wants), L(layout_check__wrong_mode), L(layout_check__wrong_owner),
    L(layout_check__acl_entry), L(layout_check__wrong_kind), L(layout_check__symlink),
    L(layout_check__parent_writable_by_others), L(layout_check__optional_rows), L(layout_apply__without_ids),
    T(layout_expand__every_row_and_account), L(acl_group_grant__and_the_mask),
    L(acl_group_grant__opens_for_nobody_else), L(acl_group_grant__default_is_inherited),
    L(acl_remove_extended__leaves_the_mode))
