#include "fd.h"
#include "unit.h"
#include <linux/openat2.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct lab {
    char *dir;
    int root;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->dir = scratch_make();
    lab->root = fd_open_root(lab->dir);
    assert_true(lab->root >= 0);
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

static void make(struct lab *lab, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", lab->dir, name);
    put(path, "%s", text);
}

static void link_to(struct lab *lab, const char *target, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", lab->dir, name);
    assert_int_equal(symlink(target, path), 0);
}

static void test_fd_open__symlink_anywhere(void **s)
{
    struct lab *lab = *s;
    assert_int_equal(mkdirat(lab->root, "real", 0755), 0);
    make(lab, "real/file", "x");
    link_to(lab, "real", "linked");
    link_to(lab, "file", "real/last");
    OWNED(fd_closep) int good = fd_open(lab->root, "/real/file", O_RDONLY, 0);
    assert_true(good >= 0);
    assert_int_equal(fd_open(lab->root, "/linked/file", O_RDONLY, 0), -ELOOP);
    assert_int_equal(fd_open(lab->root, "/real/last", O_RDONLY, 0), -ELOOP);
    // control: plain open(2) follows both
    OWNED(fd_closep) int naive = openat(lab->root, "linked/file", O_RDONLY);
    assert_true(naive >= 0);
}

static void test_fd_open__no_way_out(void **s)
{
    struct lab *lab = *s;
    make(lab, "passwd", "inside");
    assert_int_equal(mkdirat(lab->root, "etc", 0755), 0);
    OWNED(fd_closep) int fd = fd_open(lab->root, "/etc/../../../../passwd", O_RDONLY, 0);
    char text[8] = "";
    assert_true(fd >= 0 && read(fd, text, 7) == 6);
    assert_string_equal(text, "inside");
}

// Anyone may rename his own files without end, and each rename anywhere can make openat2 give up on a "..".
static pid_t rename_without_end(const struct lab *lab)
{
    pid_t pid = fork();

    if (pid == 0) {
        while (renameat(lab->root, "x", lab->root, "y") == 0 && renameat(lab->root, "y", lab->root, "x") == 0)
            continue;
        _exit(1);
    }
    assert_true(pid > 0);
    return pid;
}

static void test_fd_open__dots_beside_renames(void **s)
{
    const char *path = "/d/../d/../d/../f";
    struct lab *lab = *s;
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    int given_up = 0, refused = 0;
    make(lab, "f", "");
    make(lab, "x", "");
    assert_int_equal(mkdirat(lab->root, "d", 0755), 0);
    pid_t pid = rename_without_end(lab);
    for (int i = 0; i < 1000000 && given_up < 1000; i++) {
        OWNED(fd_closep) int naive = (int)syscall(SYS_openat2, lab->root, path, &how, sizeof(how));
        given_up += naive < 0 && errno == EAGAIN;
        OWNED(fd_closep) int fd = fd_open(lab->root, path, O_RDONLY, 0);
        refused += fd < 0;
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    print_message("# openat2 gave up %d times, fd_open %d\n", given_up, refused);
    assert_in_range(given_up, 10, 1000); // the control
    assert_int_equal(refused, 0);
}

static void test_fd_stat__link_itself(void **s)
{
    struct lab *lab = *s;
    struct stat st;
    link_to(lab, "/nowhere", "dangling");
    assert_int_equal(fd_stat(lab->root, "/dangling", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(fd_stat(lab->root, "/absent", &st), -ENOENT);
}

static void test_fd_read_file__limits_and_kinds(void **s)
{
    struct lab *lab = *s;
    char *data = NULL;
    size_t len;
    make(lab, "f", "12345");
    assert_int_equal(fd_read_file(lab->root, "/f", 5, &data, &len), 0);
    assert_int_equal(len, 5);
    free(data);
    assert_int_equal(fd_read_file(lab->root, "/f", 4, &data, &len), -EFBIG);
    assert_int_equal(mkfifoat(lab->root, "fifo", 0600), 0);
    assert_int_equal(fd_read_file(lab->root, "/fifo", 10, &data, &len), -ENOTSUP); // and it does not hang
    assert_int_equal(fd_read_file(lab->root, "/", 10, &data, &len), -EISDIR);
}

static void test_fd_replace_file__atomic_and_private(void **s)
{
    struct lab *lab = *s;
    struct stat st;
    char *data;
    size_t len;
    make(lab, "f", "old");
    mode_t old = umask(0);
    assert_int_equal(fd_replace_file(lab->root, "/f", "new!", 4, 0640, (uid_t)-1, (gid_t)-1), 0);
    umask(old);
    assert_int_equal(fd_stat(lab->root, "/f", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(fd_read_file(lab->root, "/f", 10, &data, &len), 0);
    assert_string_equal(data, "new!");
    free(data);
    char **names;
    size_t n;
    assert_int_equal(fd_list(lab->root, &names, &n), 0);
    assert_int_equal(n, 1); // no temporary file is left
    fd_list_free(names, n);
    assert_int_equal(fd_list_some(lab->root, 1, &names, &n), 0);
    fd_list_free(names, n);
    assert_int_equal(fd_list_some(lab->root, 0, &names, &n), -E2BIG);
}

static void test_fd_replace_file__failure_leaves_nothing(void **s)
{
    struct lab *lab = *s;
    char **names;
    size_t n;
    assert_int_equal(mkdirat(lab->root, "d", 0755), 0);
    assert_true(fd_replace_file(lab->root, "/d", "x", 1, 0600, (uid_t)-1, (gid_t)-1) <
                0); // a directory stands there
    assert_int_equal(fd_list(lab->root, &names, &n), 0);
    assert_int_equal(n, 1);
    fd_list_free(names, n);
}

static void test_fd_sealed__cannot_change(void **s)
{
    uint64_t size;
    (void)s;
    OWNED(fd_closep) int fd = fd_sealed("t", "abc", 3);
    assert_true(fd >= 0);
    assert_int_equal(fd_check_sealed(fd, &size), 0);
    assert_int_equal(size, 3);
    assert_true(write(fd, "x", 1) < 0 && errno == EPERM);
    assert_true(ftruncate(fd, 0) < 0 && errno == EPERM);
}

static void test_fd_check_sealed__refuses_others(void **s)
{
    uint64_t size;
    int p[2];
    (void)s;
    OWNED(fd_closep) int open_one = memfd_create("t", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    assert_int_equal(fd_check_sealed(open_one, &size), -EPERM);
    assert_int_equal(fcntl(open_one, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(fd_check_sealed(open_one, &size), -EPERM); // still writable
    assert_int_equal(pipe(p), 0);
    assert_int_equal(fd_check_sealed(p[0], &size), -EPERM);
    close(p[0]);
    close(p[1]);
}

static void test_fd_list__sorted(void **s)
{
    struct lab *lab = *s;
    char **names;
    size_t n;
    make(lab, "b", "");
    make(lab, "a", "");
    make(lab, ".c", "");
    assert_int_equal(fd_list(lab->root, &names, &n), 0);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], ".c");
    assert_string_equal(names[1], "a");
    fd_list_free(names, n);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(fd_open__symlink_anywhere), L(fd_open__no_way_out), L(fd_open__dots_beside_renames),
    L(fd_stat__link_itself), L(fd_read_file__limits_and_kinds), L(fd_replace_file__atomic_and_private),
    L(fd_replace_file__failure_leaves_nothing), T(fd_sealed__cannot_change),
    T(fd_check_sealed__refuses_others), L(fd_list__sorted))
