#include "fd.h"
#include "str.h"
#include "tree.h"
#include "unit.h"

struct lab {
    char *dir;
    struct tree before;
};

static void path_of(struct lab *lab, const char *name, char out[static 512])
{
    snprintf(out, 512, "%s/%s", lab->dir, name);
}

static int scan(struct lab *lab, struct tree *ret, struct tree_error *error)
{
    OWNED(fd_closep) int dir = open(lab->dir, O_RDONLY | O_DIRECTORY);
    return tree_scan(dir, ret, error);
}

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    struct tree_error error;
    char path[512];
    lab->dir = scratch_make();
    path_of(lab, "main.py", path);
    put(path, "print(1)\n");
    chmod(path, 0755);
    path_of(lab, "lib", path);
    assert_int_equal(mkdir(path, 0755), 0);
    path_of(lab, "lib/a.py", path);
    put(path, "x = 1\n");
    path_of(lab, "link", path);
    assert_int_equal(symlink("lib/a.py", path), 0);
    assert_int_equal(scan(lab, &lab->before, &error), 0);
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    tree_free(&lab->before);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static void test_tree_scan__lists_everything(void **s)
{
    struct lab *lab = *s;
    assert_int_equal(lab->before.n, 5);
    assert_string_equal(lab->before.list[0].path, "");
    assert_string_equal(lab->before.list[2].path, "lib/a.py");
    assert_int_equal(lab->before.list[2].size, 6);
    assert_int_equal(lab->before.list[4].kind, TREE_EXEC);
    assert_string_equal(lab->before.list[3].target, "lib/a.py");
}

// After a change the trees differ, the hash differs, and the difference is named.
static void differs(struct lab *lab, const char *expected)
{
    struct tree now;
    struct tree_error error;
    char what[LIMIT_PATH];
    assert_int_equal(scan(lab, &now, &error), 0);
    assert_false(tree_same(&lab->before, &now, what));
    assert_string_equal(what, expected);
    assert_memory_not_equal(now.hash, lab->before.hash, TREE_HASH_LEN);
    tree_free(&now);
}

static void test_tree_same__content(void **s)
{
    struct lab *lab = *s;
    char path[512];
    path_of(lab, "lib/a.py", path);
    put(path, "x = 2\n");
    differs(lab, "changed lib/a.py");
}

static void test_tree_same__added_removed(void **s)
{
    struct lab *lab = *s;
    char path[512];
    path_of(lab, "lib/a.pyc", path);
    put(path, "x");
    differs(lab, "added lib/a.pyc");
    unlink(path);
    path_of(lab, "lib/a.py", path);
    unlink(path);
    differs(lab, "removed lib/a.py");
}

static void test_tree_same__mode_and_link(void **s)
{
    struct lab *lab = *s;
    char path[512];
    path_of(lab, "lib/a.py", path);
    chmod(path, 0755);
    differs(lab, "made executable lib/a.py");
    chmod(path, 0644);
    path_of(lab, "main.py", path);
    chmod(path, 0644);
    differs(lab, "made not executable main.py");
    chmod(path, 0755);
    path_of(lab, "link", path);
    unlink(path);
    assert_int_equal(symlink("main.py", path), 0);
    differs(lab, "retargeted link link");
    unlink(path);
    put(path, "x");
    differs(lab, "changed type of link");
}

static void test_tree_same__empty_directory(void **s)
{
    struct lab *lab = *s;
    char path[512];
    path_of(lab, "empty", path);
    mkdir(path, 0755);
    differs(lab, "added empty");
}

static void scan_refused(struct lab *lab, const char *word)
{
    struct tree now;
    struct tree_error error;
    assert_int_equal(scan(lab, &now, &error), -EPERM);
    assert_non_null(strstr(error.why, word));
}

static void test_tree_scan__refuses_odd_entries(void **s)
{
    struct lab *lab = *s;
    char path[512];
    path_of(lab, "fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    scan_refused(lab, "neither file");
    unlink(path);
    path_of(lab, "out", path);
    assert_int_equal(symlink("../../etc/passwd", path), 0);
    scan_refused(lab, "leads out");
    unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    scan_refused(lab, "leads out");
    unlink(path);
    assert_int_equal(symlink("lib/../../x", path), 0);
    scan_refused(lab, "leads out");
    unlink(path);
    path_of(lab, "suid", path);
    put(path, "x");
    chmod(path, 04755);
    scan_refused(lab, "setuid");
    unlink(path);
    path_of(lab, "a\nb", path);
    put(path, "x");
    scan_refused(lab, "control byte");
}

static void test_tree_scan__limits(void **s)
{
    struct lab *lab = *s;
    char path[512];
    path_of(lab, "d", path);
    for (int i = 0; i < LIMIT_TREE_DEPTH + 2; i++) {
        assert_int_equal(mkdir(path, 0755), 0);
        strcat(path, "/d");
    }
    scan_refused(lab, "directories deep");
}

// Refused before the names are all in memory.
static void test_tree_scan__crowded_directory(void **s)
{
    struct lab *lab = *s;
    char path[512];
    for (int i = 0; i <= LIMIT_TREE_ENTRIES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d", i);
        path_of(lab, name, path);
        assert_int_equal(symlink("data.txt", path), 0);
    }
    scan_refused(lab, "more than 20000 entries");
}

static void identity(struct lab *lab, uint8_t out[static TREE_HASH_LEN], bool *root_only)
{
    assert_int_equal(tree_identity(lab->dir, &lab->before, out, root_only), 0);
}

static void test_tree_identity__sees_what_times_tell(void **s)
{
    struct lab *lab = *s;
    uint8_t a[TREE_HASH_LEN], b[TREE_HASH_LEN];
    bool root_only;
    char path[512], other[512];
    struct stat st;
    // /tmp is an ancestor, and others write there: two looks in a row without one of them in between
    for (int i = 0; i < 1000; i++) {
        identity(lab, a, &root_only);
        identity(lab, b, &root_only);
        if (memcmp(a, b, sizeof(a)) == 0)
            break;
    }
    assert_memory_equal(a, b, sizeof(a));
    path_of(lab, "main.py", path);
    assert_int_equal(stat(path, &st), 0);
    usleep(20000);
    put(path, "print(2)\n"); // same length
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0); // mtime put back: ctime still tells
    identity(lab, b, &root_only);
    assert_memory_not_equal(a, b, sizeof(a));
    // renamed away and back: the parent's times tell
    memcpy(a, b, sizeof(a));
    path_of(lab, "lib", path);
    path_of(lab, "lib2", other);
    usleep(20000);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(rename(other, path), 0);
    identity(lab, b, &root_only);
    assert_memory_not_equal(a, b, sizeof(a));
}

static void test_tree_identity__missing_entry(void **s)
{
    struct lab *lab = *s;
    uint8_t a[TREE_HASH_LEN];
    bool root_only;
    char path[512];
    path_of(lab, "main.py", path);
    unlink(path);
    assert_int_equal(tree_identity(lab->dir, &lab->before, a, &root_only), -ENOENT);
    assert_false(root_only);
}

static void test_tree_writable__names_who_may(void **s)
{
    struct lab *lab = *s;
    char where[LIMIT_PATH], path[512];
    // below /tmp, which everybody may write: an ancestor is named
    assert_true(tree_writable(lab->dir, &lab->before, where));
    assert_true(str_path_within(lab->dir, where));
    if (geteuid() != 0)
        return;
    // in a directory that is root's alone all the way up
    char *dir = strdup("/root/ductile-unit.XXXXXX");
    assert_non_null(mkdtemp(dir));
    struct tree tree = {0};
    struct tree_entry e = {.kind = TREE_FILE, .path = strdup("f")};
    assert_int_equal(tree_add(&tree, &e), 0);
    snprintf(path, sizeof(path), "%s/f", dir);
    put(path, "x");
    assert_false(tree_writable(dir, &tree, where));
    assert_int_equal(chmod(path, 0664), 0);
    assert_true(tree_writable(dir, &tree, where));
    assert_string_equal(where, path);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(chown(path, 12345, 0), 0);
    assert_true(tree_writable(dir, &tree, where));
    tree_free(&tree);
    scratch_remove(dir);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(tree_scan__lists_everything), L(tree_same__content), L(tree_same__added_removed),
    L(tree_same__mode_and_link), L(tree_same__empty_directory), L(tree_scan__refuses_odd_entries),
    L(tree_scan__limits), L(tree_scan__crowded_directory), L(tree_identity__sees_what_times_tell),
    L(tree_identity__missing_entry), L(tree_writable__names_who_may))
