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

static void test_layout_check__file_capabilities(void **s)
{
    struct lab *lab = *s;
    const struct layout_item i = item("/p", LAYOUT_KIND_FILE, 0755);
    run(lab, "install -m 0755 /bin/true p");
    fault(lab, &i, LAYOUT_OK);
    run(lab, "setcap cap_setuid+ep p"); // no bit of the mode changes
    fault(lab, &i, LAYOUT_CAPS);
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

// ---- every row against every fault --------------------------------------------------------------

enum { THIEF = 64999 };

static struct layout whole_layout(struct config **ret)
{
    struct layout l;
    struct refusal refusal;
    struct config_file *files = calloc(1, sizeof(*files));
    static const char text[] = "accounts: {default: {}, far: {state_dir: /srv/states/far}}\n";
    static const char lock[] =
        "service: {user: ductile, uid: 64901, gid: 64901}\nbus: {user: ductile-bus, uid: 64902, gid: 64902}\n"
        "operators: {group: ductile-operators, gid: 64903}\naccounts:\n"
        "  default: {user: ductile-default, uid: 64904, gid: 64904}\n"
        "  far: {user: ductile-far, uid: 64905, gid: 64905}\n";

    files[0] = (struct config_file){strdup("/etc/ductile/config.yaml"), strdup(text), strlen(text)};
    assert_int_equal(config_parse(files, 1, ret, &refusal), 0);
    assert_int_equal(config_resolve(*ret, lock, strlen(lock), &refusal), 0);
    assert_int_equal(layout_expand(*ret, &l), 0);
    return l;
}

static void make_item(struct lab *lab, const struct layout_item *i)
{
    char path[LIMIT_PATH + 64];

    snprintf(path, sizeof(path), "%s%s", lab->dir, i->path);
    assert_int_equal(fd_make_parents(lab->root, i->path), 0);
    if (i->kind == LAYOUT_KIND_FILE && access(path, F_OK) < 0)
        put(path, "x");
    assert_int_equal(layout_apply(lab->root, i), 0);
    fault(lab, i, LAYOUT_OK);
}

static void add_acl(const char *path, acl_type_t type, const char *text)
{
    acl_t acl = acl_from_text(text);
    assert_non_null(acl);
    assert_int_equal(acl_set_file(path, type, acl), 0);
    acl_free(acl);
}

enum wrong {
    A_LINK,
    OTHERS_WRITE,
    GROUP_WRITES,
    A_STRANGERS,
    ACL_WRITES,
    ACL_READS,
    ACL_HANDS_DOWN,
    ITS_OWN,
    WRONG_COUNT_
};

static void break_it(enum wrong wrong, const char *path, const char *away, const struct stat *st, uid_t own)
{
    const mode_t mode = st->st_mode & 07777;
    static const char entries[] = "u::rwx,u:64999:rwx,g::---,m::rwx,o::---";

    switch (wrong) {
    case A_LINK:
        assert_int_equal(rename(path, away), 0);
        assert_int_equal(symlink(strrchr(away, '/') + 1, path), 0);
        break;
    case OTHERS_WRITE: assert_int_equal(chmod(path, mode | 0002), 0); break;
    case GROUP_WRITES: assert_int_equal(chmod(path, mode | 0020), 0); break;
    case A_STRANGERS: assert_int_equal(chown(path, THIEF, (gid_t)-1), 0); break;
    case ITS_OWN: assert_int_equal(chown(path, own, (gid_t)-1), 0); break;
    case ACL_WRITES: add_acl(path, ACL_TYPE_ACCESS, entries); break;
    case ACL_READS: add_acl(path, ACL_TYPE_ACCESS, "u::rwx,u:64999:r,g::---,m::r,o::---"); break;
    case ACL_HANDS_DOWN: add_acl(path, ACL_TYPE_DEFAULT, entries); break;
    case WRONG_COUNT_: break;
    }
}

static void mend(enum wrong wrong, const char *path, const char *away, const struct stat *st)
{
    if (wrong == A_LINK)
        assert_true(unlink(path) == 0 && rename(away, path) == 0);
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && acl_remove_extended(fd) == 0);
    assert_true(fchown(fd, st->st_uid, st->st_gid) == 0 && fchmod(fd, st->st_mode & 07777) == 0);
}

// No component of any row is a link, or somebody else's to change, by owner, mode or ACL.
static void test_layout_check__every_component_of_every_row(void **s)
{
    struct lab *lab = *s;
    struct config *c;
    struct layout l = whole_layout(&c);
    char path[LIMIT_PATH + 64], away[LIMIT_PATH + 80], before[128], after[128];
    struct stat st;

    for (size_t n = 0; n < l.n; n++)
        make_item(lab, &l.list[n]);
    for (size_t n = 0; n < l.n; n++) {
        const struct layout_item *i = &l.list[n];
        snprintf(path, sizeof(path), "%s%s", lab->dir, i->path);
        for (bool last = true; strlen(path) > strlen(lab->dir); last = false, *strrchr(path, '/') = '\0')
            for (int w = 0; w < WRONG_COUNT_; w++) {
                // what reads, or hands down, harms the row only; who owns the row may own its way, but an
                // account
                if ((w == ACL_READS && !last) ||
                    (w == ACL_HANDS_DOWN && (!last || i->kind != LAYOUT_KIND_DIR)) ||
                    (w == ITS_OWN && (last || i->id != LAYOUT_ACCOUNT)))
                    continue;
                snprintf(away, sizeof(away), "%s.away", path);
                assert_int_equal(lstat(path, &st), 0);
                break_it((enum wrong)w, path, away, &st, (uid_t)i->uid);
                enum layout_fault f = layout_check(lab->root, i, before, after);
                if (f == LAYOUT_OK || f == LAYOUT_UNKNOWN)
                    fail_msg("%s: wrong %d of %s is not seen", i->path, w, path);
                mend((enum wrong)w, path, away, &st);
                fault(lab, i, LAYOUT_OK);
            }
    }
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
    L(layout_check__acl_entry), L(layout_check__file_capabilities), L(layout_check__wrong_kind),
    L(layout_check__symlink), L(layout_check__parent_writable_by_others), L(layout_check__optional_rows),
    L(layout_apply__without_ids), T(layout_expand__every_row_and_account),
    L(layout_check__every_component_of_every_row), L(acl_group_grant__and_the_mask),
    L(acl_group_grant__opens_for_nobody_else), L(acl_group_grant__default_is_inherited),
    L(acl_remove_extended__leaves_the_mode))
