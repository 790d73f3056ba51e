#include "acl.h"
#include "fd.h"
#include "unit.h"

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
    return lab->root < 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    close(lab->root);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static void run(struct lab *lab, const char *command)
{
    char line[1024];
    snprintf(line, sizeof(line), "cd %s && %s", lab->dir, command);
    assert_int_equal(system(line), 0);
}

// A real descriptor: what layout_apply holds. test_layout.c has the O_PATH ones.
static int reading(struct lab *lab, const char *path)
{
    int fd = fd_open(lab->root, path, O_RDONLY, 0);
    assert_true(fd >= 0);
    return fd;
}

static mode_t mode_of(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_mode & 07777;
}

static void test_acl_is_extended__every_kind(void **s)
{
    static const struct {
        const char *command;
        int extended;
    } steps[] = {
        {"chmod 6777 d", 0},
        {"setfacl -m u:777:--- d", 1},
        {"setfacl -b d", 0},
        {"setfacl -m m::rx d", 1},
        {"setfacl -b d", 0},
        {"setfacl -m g:777:r d", 1},
        {"setfacl -x g:777 d", 1}, // its mask is left
        {"setfacl -b d", 0},
        {"setfacl -d -m g::rwx d", 1},
        {"setfacl -k d", 0},
        {"setfacl -m g::rwx d", 0},
        {"setfacl -d -m u:777:rwx d", 1},
        {"setfacl -k d", 0},
    };
    struct lab *lab = *s;
    run(lab, "mkdir -m 0700 d");
    OWNED(fd_closep) int fd = reading(lab, "/d"), path = fd_open(lab->root, "/d", O_PATH, 0);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        run(lab, steps[i].command);
        if (acl_is_extended(fd) != steps[i].extended || acl_is_extended(path) != steps[i].extended)
            fail_msg("step %zu (%s): %d", i, steps[i].command, acl_is_extended(fd));
    }
}

static void test_acl_is_extended__file(void **s)
{
    struct lab *lab = *s;
    run(lab, "echo x > f && chmod 0640 f");
    OWNED(fd_closep) int fd = reading(lab, "/f");
    assert_int_equal(acl_is_extended(fd), 0);
    run(lab, "setfacl -m g:777:r f");
    assert_int_equal(acl_is_extended(fd), 1);
}

static void test_acl__closed_descriptor(void **s)
{
    struct lab *lab = *s;
    bool masked;
    run(lab, "mkdir d");
    int fd = reading(lab, "/d");
    close(fd);
    assert_true(acl_is_extended(fd) < 0); // could not tell is not "none"
    assert_true(acl_is_extended(-1) < 0);
    assert_true(acl_remove_extended(fd) < 0);
    assert_true(acl_group_has(fd, 1, ACL_RIGHT_X, false, &masked) < 0);
    assert_true(acl_group_grant(fd, 1, ACL_RIGHT_X, false) < 0);
}

static void test_acl_group_has__mask_cases(void **s)
{
    static const struct {
        const char *acl;
        enum acl_rights rights;
        int has;
        bool masked;
    } cases[] = {
        {"g:12345:r-x,m::r-x", ACL_RIGHT_RX, 1, false},
        {"g:12345:r-x,m::rwx", ACL_RIGHT_RX, 1, false},
        {"g:12345:rwx,m::r-x", ACL_RIGHT_RX, 1, false},
        {"g:12345:r-x,m::r--", ACL_RIGHT_R, 1, false},
        {"g:12345:r-x,m::r--", ACL_RIGHT_X, 0, true},
        {"g:12345:r-x,m::r--", ACL_RIGHT_RX, 0, true},
        {"g:12345:r-x,m::--x", ACL_RIGHT_R, 0, true},
        {"g:12345:r-x,m::---", ACL_RIGHT_X, 0, true},
        {"g:12345:r--,m::---", ACL_RIGHT_RX, 0, false}, // the entry itself lacks it: no word of the mask
        {"g:12345:-w-,m::rwx", ACL_RIGHT_X, 0, false},
        {"g:12345:---,m::rwx", ACL_RIGHT_X, 0, false},
        {"g:54321:rwx,m::rwx", ACL_RIGHT_X, 0, false}, // somebody else's
        {"u:12345:rwx,m::rwx", ACL_RIGHT_X, 0, false}, // a user of that number
        {"g:54321:rwx,g:12345:--x,g:777:rwx,m::rwx", ACL_RIGHT_X, 1, false},
        {"g:54321:rwx,g:12345:--x,g:777:rwx,m::rwx", ACL_RIGHT_R, 0, false},
        {"g::rwx,o::rwx", ACL_RIGHT_X, 0, false}, // the mode alone
    };
    struct lab *lab = *s;
    run(lab, "mkdir -m 0700 d && chown :12345 d"); // owning is not a named entry
    OWNED(fd_closep) int fd = reading(lab, "/d");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int inherit = 0; inherit < 2; inherit++) {
            char command[160];
            bool masked = !cases[i].masked;
            snprintf(command, sizeof(command), "setfacl -b d && setfacl %s -m %s d", inherit ? "-d" : "",
                     cases[i].acl);
            run(lab, command);
            int r = acl_group_has(fd, 12345, cases[i].rights, inherit, &masked);
            if (r != cases[i].has || masked != cases[i].masked)
                fail_msg("case %zu, inherit %d: %d, masked %d", i, inherit, r, masked);
            // control: the other ACL of the same directory says nothing
            assert_int_equal(acl_group_has(fd, 12345, cases[i].rights, !inherit, &masked), 0);
            assert_false(masked);
        }
}

static void test_acl_group_grant__twice_changes_nothing(void **s)
{
    struct lab *lab = *s;
    run(lab, "mkdir -m 0750 d");
    OWNED(fd_closep) int fd = reading(lab, "/d");
    for (int inherit = 0; inherit < 2; inherit++) {
        assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_RX, inherit), 0);
        run(lab, "getfacl -n d > once");
        assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_RX, inherit), 0);
        run(lab, "getfacl -n d | cmp - once");
        assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_X, inherit), 0); // less takes nothing away
        run(lab, "getfacl -n d | cmp - once");
        assert_int_equal(acl_group_grant(fd, 12346, ACL_RIGHT_RX, inherit), 0); // control: another group does
        run(lab, "! getfacl -n d | cmp -s - once");
    }
}

static void test_acl_group_grant__keeps_what_is_there(void **s)
{
    struct lab *lab = *s;
    bool masked;
    run(lab, "mkdir d && chmod 3750 d && setfacl -m u:777:r,g:12345:-w-,g:778:rwx d");
    OWNED(fd_closep) int fd = reading(lab, "/d");
    assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_RX, false), 0);
    run(lab, "getfacl -cn d > acl && grep -qx 'group:12345:rwx' acl && grep -q '^user:777:r--' acl &&"
             " grep -q '^group:778:rwx' acl && grep -qx 'user::rwx' acl && grep -q '^group::r-x' acl &&"
             " grep -qx 'other::---' acl && ! grep -q default acl");
    assert_int_equal(mode_of(fd) & ~(mode_t)070, 03700);
    assert_int_equal(acl_group_has(fd, 778, ACL_RIGHT_RX, false, &masked), 1);
}

static void test_acl_group_grant__empty_mask_gets_only_these(void **s)
{
    struct lab *lab = *s;
    bool masked;
    run(lab, "mkdir -m 0700 d && setfacl -m g:778:rwx,m::--- d");
    OWNED(fd_closep) int fd = reading(lab, "/d");
    assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_X, false), 0);
    assert_int_equal(acl_group_has(fd, 12345, ACL_RIGHT_X, false, &masked), 1);
    assert_int_equal(acl_group_has(fd, 778, ACL_RIGHT_R, false, &masked), 0); // closed for it, still
    assert_true(masked);
}

static void test_acl_group_grant__default_is_a_directorys(void **s)
{
    struct lab *lab = *s;
    run(lab, "echo x > f && chmod 0640 f");
    OWNED(fd_closep) int fd = reading(lab, "/f");
    assert_true(acl_group_grant(fd, 12345, ACL_RIGHT_R, true) < 0);
    assert_int_equal(acl_is_extended(fd), 0);
    assert_int_equal(mode_of(fd), 0640);
    assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_R, false), 0); // control
    assert_int_equal(acl_is_extended(fd), 1);
}

static void test_acl_group_grant__default_opens_for_nobody_else(void **s)
{
    struct lab *lab = *s;
    run(lab, "mkdir -m 0777 d");
    OWNED(fd_closep) int fd = reading(lab, "/d");
    assert_int_equal(acl_group_grant(fd, 12345, ACL_RIGHT_RX, true), 0);
    run(lab, "getfacl -cn d > acl && grep -qx 'default:user::rwx' acl && grep -qx 'default:group::---' acl &&"
             " grep -qx 'default:other::---' acl && grep -qx 'default:mask::r-x' acl");
    assert_int_equal(mode_of(fd), 0777); // the access ACL is not touched
}

static void test_acl_remove_extended__both_kinds(void **s)
{
    struct lab *lab = *s;
    run(lab, "mkdir d && chmod 2710 d && setfacl -m u:777:rwx,m::--x d && setfacl -d -m g:778:rwx d");
    OWNED(fd_closep) int fd = reading(lab, "/d");
    assert_int_equal(acl_is_extended(fd), 1);
    assert_int_equal(acl_remove_extended(fd), 0);
    assert_int_equal(acl_is_extended(fd), 0);
    assert_int_equal(mode_of(fd), 02710);
    run(lab, "test \"$(getfacl -cn d | wc -l)\" = 4"); // three entries and an empty line
    assert_int_equal(acl_remove_extended(fd), 0);      // again
    assert_int_equal(mode_of(fd), 02710);
}

static void test_acl_remove_extended__file_and_default_only(void **s)
{
    struct lab *lab = *s;
    run(lab, "echo x > f && chmod 0640 f && setfacl -m g:777:r f");
    run(lab, "mkdir -m 0751 d && setfacl -d -m g:777:rwx d");
    OWNED(fd_closep) int file = reading(lab, "/f"), dir = reading(lab, "/d");
    assert_int_equal(acl_remove_extended(file), 0);
    assert_int_equal(acl_is_extended(file), 0);
    assert_int_equal(mode_of(file), 0640);
    assert_int_equal(acl_remove_extended(dir), 0);
    assert_int_equal(acl_is_extended(dir), 0);
    assert_int_equal(mode_of(dir), 0751);
    run(lab, "test \"$(cat f)\" = x");
}

// Its header asks for a descriptor open for reading: the other kind is an error, and changes nothing.
static void test_acl_remove_extended__o_path_is_refused(void **s)
{
    struct lab *lab = *s;
    run(lab,
        "mkdir -m 0700 d && setfacl -m u:777:rwx d && setfacl -d -m u:777:rwx d && getfacl -n d > before");
    OWNED(fd_closep) int fd = fd_open(lab->root, "/d", O_PATH, 0);
    assert_int_equal(acl_remove_extended(fd), -EBADF);
    run(lab, "getfacl -n d | cmp - before");
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(acl_is_extended__every_kind), L(acl_is_extended__file), L(acl__closed_descriptor),
    L(acl_group_has__mask_cases), L(acl_group_grant__twice_changes_nothing),
    L(acl_group_grant__keeps_what_is_there), L(acl_group_grant__empty_mask_gets_only_these),
    L(acl_group_grant__default_is_a_directorys), L(acl_group_grant__default_opens_for_nobody_else),
    L(acl_remove_extended__both_kinds), L(acl_remove_extended__file_and_default_only),
    L(acl_remove_extended__o_path_is_refused))
