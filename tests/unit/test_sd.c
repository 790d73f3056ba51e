#include "sd.h"
#include "str.h"
#include "unit.h"
#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

struct lab {
    char *dir;
    int fd;
    struct sockaddr_un addr;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->dir = scratch_make();
    lab->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    lab->addr.sun_family = AF_UNIX;
    unsetenv("NOTIFY_SOCKET");
    *s = lab;
    return lab->fd < 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    unsetenv("NOTIFY_SOCKET");
    close(lab->fd);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

// As the manager does: binds, and says where.
static void manage(struct lab *lab, const char *name)
{
    size_t len = strlen(name);
    assert_true(len < sizeof(lab->addr.sun_path));
    memcpy(lab->addr.sun_path, name, len);
    if (name[0] == '@')
        lab->addr.sun_path[0] = '\0';
    assert_int_equal(bind(lab->fd, (struct sockaddr *)&lab->addr,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static void manage_in(struct lab *lab, const char *file)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", lab->dir, file);
    manage(lab, path);
}

// The next datagram, whole; "" where there is none.
static const char *received(struct lab *lab)
{
    static char text[4096];
    struct pollfd p = {.fd = lab->fd, .events = POLLIN};
    ssize_t n = poll(&p, 1, 0) == 1 ? recv(lab->fd, text, sizeof(text) - 1, 0) : 0;
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_sd_tell__one_datagram_each(void **s)
{
    struct lab *lab = *s;
    manage_in(lab, "notify");
    assert_int_equal(sd_tell("READY=1\nSTATUS=full-privsep, 3 plugins"), 0);
    assert_int_equal(sd_tell("WATCHDOG=1"), 0);
    assert_string_equal(received(lab), "READY=1\nSTATUS=full-privsep, 3 plugins");
    assert_string_equal(received(lab), "WATCHDOG=1");
    assert_string_equal(received(lab), "");
}

static void test_sd_tell__abstract(void **s)
{
    struct lab *lab = *s;
    char name[64];
    snprintf(name, sizeof(name), "@ductile-unit-%d", getpid());
    manage(lab, name);
    assert_int_equal(sd_tell("READY=1"), 0);
    assert_string_equal(received(lab), "READY=1");
    setenv("NOTIFY_SOCKET", name + 1, 1); // control: the same letters without the @
    assert_int_equal(sd_tell("READY=1"), -EINVAL);
    assert_string_equal(received(lab), "");
}

// The name of an abstract socket is exactly its bytes: a longer or shorter one is somebody else's.
static void test_sd_tell__abstract_of_another(void **s)
{
    struct lab *lab = *s;
    char name[64];
    snprintf(name, sizeof(name), "@ductile-unit-%d", getpid());
    manage(lab, name);
    strcat(name, "x");
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(sd_tell("READY=1"), -ECONNREFUSED);
    name[strlen(name) - 2] = '\0';
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(sd_tell("READY=1"), -ECONNREFUSED);
    assert_string_equal(received(lab), "");
}

static void test_sd_tell__without_a_manager(void **s)
{
    struct lab *lab = *s;
    manage_in(lab, "notify");
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(sd_tell("READY=1"), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(sd_tell("READY=1"), 0);
    assert_string_equal(received(lab), "");
}

static void test_sd_tell__refuses_other_addresses(void **s)
{
    static const char *const bad[] = {"notify", "./notify", "vsock:2:1234", "unix:/run/notify", " /run/x"};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        assert_int_equal(sd_tell("READY=1"), -EINVAL);
    }
}

static void test_sd_tell__longest_address(void **s)
{
    struct lab *lab = *s;
    char path[sizeof(lab->addr.sun_path) + 1];
    memset(path, 'n', sizeof(path));
    path[sizeof(path) - 1] = '\0'; // 108 characters: one too many
    path[snprintf(path, sizeof(path), "%s/", lab->dir)] = 'n';
    setenv("NOTIFY_SOCKET", path, 1);
    assert_int_equal(sd_tell("READY=1"), -EINVAL);
    path[sizeof(path) - 2] = '\0';
    manage(lab, path);
    assert_int_equal(sd_tell("READY=1"), 0);
    assert_string_equal(received(lab), "READY=1");
}

static void test_sd_tell__nobody_listens(void **s)
{
    struct lab *lab = *s;
    char path[300];
    manage_in(lab, "notify");
    close(lab->fd); // the name is left, the manager is gone
    lab->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(sd_tell("READY=1"), -ECONNREFUSED);
    snprintf(path, sizeof(path), "%s/never", lab->dir);
    setenv("NOTIFY_SOCKET", path, 1);
    assert_int_equal(sd_tell("READY=1"), -ENOENT);
}

static void test_sd_tell__wrong_kind_of_socket(void **s)
{
    struct lab *lab = *s;
    close(lab->fd);
    lab->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    manage_in(lab, "stream");
    assert_int_equal(listen(lab->fd, 1), 0);
    assert_int_equal(sd_tell("READY=1"), -EPROTOTYPE);
}

static void test_sd_tell__keeps_no_descriptor(void **s)
{
    struct lab *lab = *s;
    manage_in(lab, "notify");
    unsigned before = open_descriptors();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(sd_tell("WATCHDOG=1"), 0);
        assert_string_equal(received(lab), "WATCHDOG=1");
    }
    setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
    assert_int_equal(sd_tell("WATCHDOG=1"), -ENOENT);
    assert_int_equal(open_descriptors(), before);
}

// What the other holder does to its own leaves ours as it was.
static int opens_it_again(void *arg)
{
    if (dup2(*(int *)arg, STDERR_FILENO) < 0)
        return 1;
    int flags = fcntl(STDERR_FILENO, F_GETFL), own = sd_own_stderr("x");
    if (own < 0 || fcntl(own, F_SETFL, O_NONBLOCK) < 0)
        return 2;
    return fcntl(STDERR_FILENO, F_GETFL) == flags ? 0 : 3;
}

static void test_sd_own_stderr__file_and_pipe(void **s)
{
    struct lab *lab = *s;
    char path[512];
    int pair[2];
    snprintf(path, sizeof(path), "%s/log", lab->dir);
    OWNED(fd_closep) int file = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    assert_int_equal(in_child(opens_it_again, &file), 0);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(in_child(opens_it_again, &pair[1]), 0);
    close(pair[0]);
    close(pair[1]);
}

static int is_some_socket(void *arg)
{
    return dup2(*(int *)arg, STDERR_FILENO) < 0 ? 1 : -sd_own_stderr("x");
}

static void test_sd_own_stderr__a_socket_that_is_not_the_journal(void **s)
{
    int pair[2];
    (void)s;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(in_child(is_some_socket, &pair[0]), EOPNOTSUPP);
    close(pair[0]);
    close(pair[1]);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(sd_tell__one_datagram_each), L(sd_tell__abstract), L(sd_tell__abstract_of_another),
    L(sd_tell__without_a_manager), L(sd_tell__refuses_other_addresses), L(sd_tell__longest_address),
    L(sd_tell__nobody_listens), L(sd_tell__wrong_kind_of_socket), L(sd_tell__keeps_no_descriptor),
    L(sd_own_stderr__file_and_pipe), L(sd_own_stderr__a_socket_that_is_not_the_journal))
