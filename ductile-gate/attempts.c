// Attempts. Each runs in a process of its own, already dropped, and may leave that process in any state.
#include "attempts.h"
#include "fd.h"
#include "owned.h"
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

bool attempt_is_denial(const struct attempt *attempt, int error)
{
    for (size_t i = 0; i < ARRAY_LEN(attempt->denials); i++)
        if (attempt->denials[i] && attempt->denials[i] == error)
            return true;
    return false;
}

static int result(long r)
{
    return r < 0 ? err_last() : 0;
}

// ---- files --------------------------------------------------------------------------------------

static int open_socket(const struct attempt_target *t)
{
    OWNED(fd_closep) int fd = socket((int)t->id, t->id == AF_NETLINK ? SOCK_RAW : SOCK_DGRAM, 0);

    return result(fd);
}

static int control_local(void)
{
    const struct attempt_target local = {.id = AF_UNIX};

    return open_socket(&local);
}

static int open_path(const char *path, int flags)
{
    OWNED(fd_closep) int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600);

    return result(fd);
}

static int open_file(const struct attempt_target *t)
{
    return open_path(t->path, O_RDONLY | O_NONBLOCK);
}

static int control_file(void)
{
    return open_path("/etc/passwd", O_RDONLY);
}

static int list_dir(const struct attempt_target *t)
{
    return open_path(t->path, O_RDONLY | O_DIRECTORY);
}

static int control_dir(void)
{
    return open_path("/usr", O_RDONLY | O_DIRECTORY); // readable at every level of Landlock
}

// A name that nobody can have taken beforehand: /tmp is everybody's.
static int fresh_path(const char *dir, char *path, size_t size)
{
    uint64_t n;

    if (getrandom(&n, sizeof(n), 0) != sizeof(n))
        return err_last();
    snprintf(path, size, "%s/.ductile-probe-%016llx", dir, (unsigned long long)n);
    return 0;
}

static int write_file(const struct attempt_target *t)
{
    char path[LIMIT_PATH + 64];

    if (fresh_path(t->path, path, sizeof(path)) < 0)
        return err_last();
    int r = open_path(path, O_WRONLY | O_CREAT | O_EXCL);
    return r < 0 ? r : result(unlink(path));
}

// Could it be written, or made? Nothing is: a home is looked at, never changed.
static int may_write(const struct attempt_target *t)
{
    char dir[LIMIT_PATH];
    int r = open_path(t->path, O_WRONLY | O_APPEND);

    if (r != -ENOENT && r != -EISDIR)
        return r;
    snprintf(dir, sizeof(dir), "%s", t->path);
    do { // the directory itself, or the nearest one in which it could be made
        r = result(faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS));
        *strrchr(dir, '/') = '\0';
    } while (r == -ENOENT && dir[0]);
    return r;
}

static int control_may_write(void)
{
    char path[64];
    const struct attempt_target twin = {.path = path};

    return fresh_path("/tmp", path, sizeof(path)) < 0 ? err_last() : may_write(&twin);
}

static int control_plant(void)
{
    const struct attempt_target twin = {.path = "/tmp"};

    return write_file(&twin);
}

static int nothing(void)
{
    return 0;
}

// ---- sockets ------------------------------------------------------------------------------------

static int dial(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    OWNED(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof(addr.sun_path))
        return fd < 0 ? err_last() : -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    return result(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
}

static int connect_socket(const struct attempt_target *t)
{
    return dial(t->path);
}

// Any socket of a directory that only the account may list.
static int connect_any(const struct attempt_target *t)
{
    char **names = NULL, path[LIMIT_PATH];
    size_t n = 0;
    OWNED(fd_closep) int dir = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = dir < 0 ? err_last() : fd_list_some(dir, 64, &names, &n);

    if (r == 0)
        r = -ENOENT;
    for (size_t i = 0; i < n && r != 0; i++) {
        snprintf(path, sizeof(path), "%.700s/%.255s", t->path, names[i]);
        r = dial(path);
    }
    fd_list_free(names, n);
    return r;
}

static int control_socket(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    OWNED(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    int r = fresh_path("/tmp", addr.sun_path, sizeof(addr.sun_path));
    if (r < 0)
        return r;
    r = fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0
            ? err_last()
            : dial(addr.sun_path);
    unlink(addr.sun_path);
    return r;
}

socklen_t attempt_loopback(int family, uint16_t port, struct sockaddr_storage *ret)
{
    *ret = (struct sockaddr_storage){.ss_family = (sa_family_t)family};
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        in->sin_port = htons(port);
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    in6->sin6_port = htons(port);
    in6->sin6_addr = in6addr_loopback;
    return sizeof(*in6);
}

static int dial_port(const struct attempt_target *t)
{
    struct sockaddr_storage addr;
    socklen_t len = attempt_loopback((int)t->id, t->port, &addr);
    OWNED(fd_closep) int fd = socket((int)t->id, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? err_last() : result(connect(fd, (struct sockaddr *)&addr, len));
}

// ---- ids and capabilities -----------------------------------------------------------------------

static int become(const struct attempt_target *t)
{
    return result(syscall(SYS_setresuid, t->id, t->id, t->id));
}

static int control_become(void)
{
    uid_t self = getuid();

    return result(syscall(SYS_setresuid, self, self, self));
}

static int take_group(const struct attempt_target *t)
{
    gid_t gid = t->id;

    return result(setgroups(1, &gid));
}

static int set_caps(uint32_t low, uint32_t high)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{low, low, low}, {high, high, high}};

    return result(syscall(SYS_capset, &header, data));
}

static int raise_caps(const struct attempt_target *t)
{
    (void)t;
    for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (set_caps(cap < 32 ? 1u << cap : 0, cap < 32 ? 0 : 1u << (cap - 32)) == 0 ||
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) == 0)
            return 0;
    errno = EPERM;
    return -EPERM;
}

static int control_caps(void)
{
    return set_caps(0, 0);
}

static int no_new_privs(const struct attempt_target *t)
{
    (void)t;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -EPERM : 0;
}

// ---- namespaces ---------------------------------------------------------------------------------

static int reap_clone(long pid)
{
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid((pid_t)pid, NULL, __WALL);
    return result(pid);
}

static int userns_clone(const struct attempt_target *t)
{
    (void)t;
    return reap_clone(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
}

static int control_clone(void)
{
    return reap_clone(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static int userns_unshare(const struct attempt_target *t)
{
    (void)t;
    return result(unshare(CLONE_NEWUSER));
}

static int control_unshare(void)
{
    return result(unshare(CLONE_FS));
}

static int userns_clone3(const struct attempt_target *t)
{
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    (void)t;

    return reap_clone(syscall(SYS_clone3, &args, sizeof(args)));
}

// ---- other processes ----------------------------------------------------------------------------

// A dumpable child of our own, in our own domain: what can be done to it can be done at all.
static int with_child(int (*fn)(const struct attempt_target *))
{
    int ready[2];
    char byte;

    if (pipe(ready) < 0)
        return err_last();
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_DUMPABLE, 1);
        close(ready[0]);
        close(ready[1]);
        pause();
        _exit(0);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) < 0)
        return err_last();
    close(ready[0]);
    const struct attempt_target t = {.pid = pid};
    int r = pid < 0 ? err_last() : fn(&t);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return r;
}

// Is it traced already? What of /proc cannot be read says no.
static bool is_traced(pid_t pid)
{
    char path[64], text[2048];
    const char *word;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    word = strstr(text, "TracerPid:");
    return word && strtol(word + strlen("TracerPid:"), NULL, 10) != 0;
}

// One tracer at a time: while another account's attempt holds the target, the kernel says EPERM too.
static int trace(const struct attempt_target *t)
{
    for (int i = 0, alone = 0;; i++) {
        if (ptrace(PTRACE_SEIZE, t->pid, NULL, NULL) == 0)
            break;
        int r = err_last();
        alone = is_traced(t->pid) ? 0 : alone + 1;
        if (r != -EPERM || alone > 1 || i == 100)
            return r;
        usleep(alone ? 0 : 1000);
    }
    ptrace(PTRACE_DETACH, t->pid, NULL, NULL);
    return 0;
}

static int read_memory(const struct attempt_target *t)
{
    // Our own stack address: mapped in a fork of us; elsewhere EFAULT would still mean that access was
    // granted.
    char here, there;
    struct iovec local = {&here, 1}, remote = {&there, 1};
    ssize_t n = process_vm_readv(t->pid, &local, 1, &remote, 1, 0);

    return n < 0 && errno != EFAULT ? err_last() : 0;
}

static int get_fd(const struct attempt_target *t)
{
    OWNED(fd_closep) int pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
    OWNED(fd_closep) int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, 2, 0);

    return result(pidfd < 0 ? pidfd : fd);
}

// A process that has ended is there until somebody waits for it, without memory; its maps open then for
// everybody (proc_mem_open finds none that could be forbidden), and there is nothing in them. A living one's
// are never empty.
static int read_maps(pid_t pid)
{
    char path[64], byte;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, &byte, 1);
    return n < 0 ? err_last() : n == 0 ? -ESRCH : 0;
}

static int open_proc(const struct attempt_target *t)
{
    static const char *const names[] = {"mem", "environ", "fd/0", "root/etc", "cwd/."};
    int first = read_maps(t->pid);

    if (first == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/%s", t->pid, names[i]);
        int r = open_path(path, O_RDONLY | O_NONBLOCK);
        if (r == 0)
            return 0;
        if (first == -ESRCH || r == -ENOENT)
            first = r;
    }
    return first;
}

static int open_environ(const struct attempt_target *t)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/environ", t->pid);
    return open_path(path, O_RDONLY);
}

static int send_signal(const struct attempt_target *t)
{
    return result(kill(t->pid, 0));
}

static int control_trace(void)
{
    return with_child(trace);
}
static int control_memory(void)
{
    return with_child(read_memory);
}
static int control_fd(void)
{
    return with_child(get_fd);
}
static int control_proc(void)
{
    return with_child(open_environ);
}
static int control_signal(void)
{
    return with_child(send_signal);
}

// ---- what must work -----------------------------------------------------------------------------

static int run_shell(const struct attempt_target *t)
{
    int status;
    pid_t pid = fork();
    (void)t;

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", ": >/dev/null", (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return err_last();
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENOEXEC;
}

static void *thread(void *arg)
{
    return arg;
}

static int start_thread(const struct attempt_target *t)
{
    pthread_t id;
    int r = pthread_create(&id, NULL, thread, NULL);
    (void)t;

    return r ? -r : -pthread_join(id, NULL);
}

const struct attempt attempt_open_file = {
    .run = open_file, .control = control_file, .denials = {EACCES, EPERM}};
const struct attempt attempt_list_dir = {.run = list_dir, .control = control_dir, .denials = {EACCES, EPERM}};
const struct attempt attempt_connect_any = {
    .run = connect_any, .control = control_socket, .denials = {EACCES, EPERM}};
const struct attempt attempt_connect_socket = {
    .run = connect_socket, .control = control_socket, .denials = {EACCES, EPERM}};
// What the rules' reject answers, for IPv4 and IPv6. Not ECONNREFUSED: that is also a port without a
// listener.
const struct attempt attempt_dial = {.run = dial_port, .denials = {EHOSTUNREACH, EACCES}};
const struct attempt attempt_open_socket = {
    .run = open_socket, .control = control_local, .denials = {EACCES, EPERM}};
const struct attempt attempt_become = {
    .run = become, .control = control_become, .denials = {EPERM}, .taints = true};
const struct attempt attempt_take_group = {.run = take_group, .denials = {EPERM}, .taints = true};
const struct attempt attempt_raise_caps = {
    .run = raise_caps, .control = control_caps, .denials = {EPERM}, .taints = true};
const struct attempt attempt_no_new_privs = {.run = no_new_privs, .denials = {EPERM}};
const struct attempt attempt_userns_clone = {
    .run = userns_clone, .control = control_clone, .denials = {EPERM, ENOSYS}};
const struct attempt attempt_userns_unshare = {
    userns_unshare, control_unshare, {EPERM, ENOSYS}, .taints = true};
const struct attempt attempt_userns_clone3 = {.run = userns_clone3, .denials = {EPERM, ENOSYS}};
const struct attempt attempt_trace = {
    .run = trace, .control = control_trace, .denials = {EPERM, EACCES}, .taints = true};
const struct attempt attempt_read_memory = {
    .run = read_memory, .control = control_memory, .denials = {EPERM, EACCES}};
const struct attempt attempt_get_fd = {.run = get_fd, .control = control_fd, .denials = {EPERM, EACCES}};
const struct attempt attempt_open_proc = {
    .run = open_proc, .control = control_proc, .denials = {EPERM, EACCES}};
const struct attempt attempt_send_signal = {
    .run = send_signal, .control = control_signal, .denials = {EPERM}};
const struct attempt attempt_write_file = {.run = write_file, .control = nothing, .denials = {EACCES, EPERM}};
const struct attempt attempt_plant = {
    .run = write_file, .control = control_plant, .denials = {EACCES, EPERM, EROFS}};
const struct attempt attempt_read_environ = {
    .run = open_environ, .control = control_proc, .denials = {EPERM, EACCES}};
const struct attempt attempt_may_write = {
    .run = may_write, .control = control_may_write, .denials = {EACCES, EPERM, EROFS}};
const struct attempt attempt_run_shell = {.run = run_shell, .control = nothing, .denials = {EACCES, EPERM}};
const struct attempt attempt_start_thread = {.run = start_thread, .control = nothing, .denials = {EPERM}};
