// The warden, taken over: the two capabilities, the vault, and whatever a process can do behind the filter.
#include "fd.h"
#include "popped.h"
#include "str.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int answer(long r)
{
    return r < 0 ? -errno : 0;
}

static int become(int64_t uid, int64_t gid)
{
    if (setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) < 0 ||
        setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0)
        return -errno;
    return getuid() == (uid_t)uid && geteuid() == (uid_t)uid ? 0 : -ENOTRECOVERABLE;
}

// Runs fn in a process that became somebody. -ESRCH: it could not become that.
static int as(int64_t uid, int64_t gid, int (*fn)(const char *), const char *arg)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(become(uid, gid) < 0 ? ESRCH : fn ? -fn(arg) & 0xff : 0);
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

// ---- who it can be ----------------------------------------------------------------------------------

static int become_accounts(const struct target *t, long number, const char *text)
{
    (void)number;
    (void)text;
    for (size_t i = 0; i < t->config->accounts.n; i++) {
        int r = as(t->config->accounts.list[i].uid, t->config->accounts.list[i].gid, NULL, NULL);
        if (r < 0)
            return r;
    }
    return t->config->accounts.n > 0 ? 0 : -ENOENT;
}

static int become_bus(const struct target *t, long number, const char *text)
{
    (void)number;
    (void)text;
    return as(t->config->bus_uid, t->config->bus_gid, NULL, NULL);
}

static bool is_listed(const struct target *t, long id, bool gid)
{
    if (id == (gid ? t->config->bus_gid : t->config->bus_uid))
        return true;
    for (size_t i = 0; i < t->config->accounts.n; i++)
        if (id == (gid ? t->config->accounts.list[i].gid : t->config->accounts.list[i].uid))
            return true;
    return false;
}

// Every id up to 70000 and some beyond that the config does not list: by setresuid, and by the one that files
// are opened with. Its own is asked for too: whoever left it does not come back.
static int become_others(const struct target *t, long gid, const char *text)
{
    static const uint32_t more[] = {100000, 165536, 524288, 1u << 31, UINT32_MAX - 1};
    (void)text;
    for (long n = 0; n < 70000 + (long)ARRAY_LEN(more); n++) {
        long id = n < 70000 ? n : (long)more[n - 70000];
        if (is_listed(t, id, gid))
            continue;
        if (syscall(gid ? SYS_setresgid : SYS_setresuid, -1L, id, -1L) == 0)
            return 0;
        syscall(gid ? SYS_setfsgid : SYS_setfsuid, id);
        if ((uint32_t)(gid ? setfsgid((gid_t)-1) : setfsuid((uid_t)-1)) == (uint32_t)id &&
            id != (long)(gid ? getegid() : geteuid()))
            return 0;
    }
    return -EPERM;
}

// ---- what it can do as them -----------------------------------------------------------------------------

static int root_files(const char *unused)
{
    static const char *const files[] = {"/etc/shadow",
                                        "/etc/ductile/config.yaml",
                                        "/etc/ductile/plugins.lock",
                                        "/etc/passwd",
                                        "/opt/ductile/plugins/unruly/unruly.py",
                                        "/etc/systemd/system/x.service",
                                        "/proc/sys/kernel/core_pattern"};
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        OWNED(fd_closep) int fd = open(files[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
            return 0;
    }
    return -EACCES;
}

static int root_files_as_accounts(const struct target *t, long number, const char *text)
{
    (void)number;
    (void)text;
    if (geteuid() == 0)
        return root_files(NULL);
    for (size_t i = 0; i < t->config->accounts.n; i++)
        if (as(t->config->accounts.list[i].uid, t->config->accounts.list[i].gid, root_files, NULL) == 0)
            return 0;
    return as(t->config->bus_uid, t->config->bus_gid, root_files, NULL);
}

static int read_file(const char *path)
{
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    return answer(fd);
}

static int state_dirs(const struct target *t, long number, const char *text)
{
    (void)number;
    (void)text;
    for (size_t i = 0; i < t->config->accounts.n; i++) {
        const struct account_config *a = &t->config->accounts.list[i];
        int r = as(a->uid, a->gid, read_file, a->state_dir ? a->state_dir : a->home);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_as_operator(const struct target *t, long number, const char *path)
{
    (void)number;
    for (size_t i = 0; i < t->config->accounts.n; i++)
        if (t->config->accounts.list[i].mode == MODE_CREDENTIALED)
            return as(t->config->accounts.list[i].uid, t->config->accounts.list[i].gid, read_file, path);
    return -ENOENT;
}

static int read_as_bus(const struct target *t, long number, const char *path)
{
    (void)number;
    return as(t->config->bus_uid, t->config->bus_gid, read_file, path);
}

static int own_file(const struct target *t, long flags, const char *path)
{
    (void)t;
    OWNED(fd_closep) int fd = open(path, (int)flags | O_CLOEXEC, 0600);
    return answer(fd);
}

static int own_cgroup(const struct target *t, long number, const char *file)
{
    char path[400];
    (void)number;
    snprintf(path, sizeof(path), "%s/%s", t->cgroup, file);
    return own_file(t, O_WRONLY, path);
}

static int trace_as_bus(const struct target *t, long number, const char *text)
{
    (void)number;
    (void)text;
    int r = as(t->config->bus_uid, t->config->bus_gid, NULL, NULL);
    if (r < 0 || become(t->config->bus_uid, t->config->bus_gid) < 0)
        return -ESRCH;
    return answer(syscall(SYS_ptrace, 0x4206 /* PTRACE_SEIZE */, t->bus, 0, 0));
}

static int kill_as_bus(const struct target *t, long number, const char *text)
{
    (void)number;
    (void)text;
    return become(t->config->bus_uid, t->config->bus_gid) < 0 ? -ESRCH : answer(kill(t->bus, 0));
}

// ---- what any process can -------------------------------------------------------------------------------

static int run(const struct target *t, long number, const char *path)
{
    int status = 0;
    (void)t;
    (void)number;
    pid_t pid = fork();
    if (pid == 0) {
        execl(path, path, (char *)NULL);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

static int make_socket(const struct target *t, long family, const char *text)
{
    (void)t;
    (void)text;
    OWNED(fd_closep) int fd = socket((int)family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return answer(fd);
}

static int code_from_data(const struct target *t, long number, const char *text)
{
    (void)t;
    (void)number;
    (void)text;
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -errno : 0;
}

// Who says it is uid 0, or another process, to whoever believes SCM_CREDENTIALS (journald: _UID=).
static int claim(const struct target *t, long pid, const char *text)
{
    union {
        char space[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control = {0};
    struct ucred who = {.pid = pid ? t->bus : getpid(), .uid = pid ? geteuid() : 0, .gid = getegid()};
    struct iovec iov = {(void *)"x", 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control)};
    int pair[2];
    (void)text;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_CREDENTIALS;
    c->cmsg_len = CMSG_LEN(sizeof(who));
    memcpy(CMSG_DATA(c), &who, sizeof(who));
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    return answer(sendmsg(pair[0], &msg, 0));
}

void popped_as_warden(const struct target *t)
{
    static const struct attempt list[] = {
        {"become-accounts", become_accounts, 0, NULL},
        {"become-bus", become_bus, 0, NULL},
        {"become-others", become_others, 0, NULL},
        {"group-others", become_others, 1, NULL},
        {"secret-zero", own_file, O_RDONLY, "/etc/ductile/secret/age.key"},
        {"vault-write", own_file, O_RDWR, "/var/lib/ductile/vault/vault.age"},
        {"config", own_file, O_RDONLY, "/etc/ductile/config.yaml"},
        {"runtime-dir", own_file, O_WRONLY | O_CREAT, "/run/ductile/popped.made"},
        {"ledger", own_file, O_RDONLY, "/var/lib/ductile/ledger/ductile.db"},
        {"ledger-as-bus", read_as_bus, 0, "/var/lib/ductile/ledger/ductile.db"},
        {"state-dirs-as-accounts", state_dirs, 0, NULL},
        {"operator-ssh-key-as-operator", read_as_operator, 0, "/home/matt/.ssh/id_ed25519"},
        {"root-files-as-accounts", root_files_as_accounts, 0, NULL},
        {"ptrace-bus-as-bus", trace_as_bus, 0, NULL},
        {"signal-bus-as-bus", kill_as_bus, 0, NULL},
        {"cgroup-own", own_cgroup, 0, "bus/cgroup.kill"},
        {"run-program", run, 0, "/bin/true"},
        {"setuid-program", run, 0, "/opt/wall/rooted"},
        {"network", make_socket, AF_INET, NULL},
        {"code-from-data", code_from_data, 0, NULL},
        {"own-memory", own_file, O_RDWR, "/proc/self/mem"},
        {"claim-uid-0", claim, 0, NULL},
        {"claim-pid", claim, 1, NULL},
    };
    popped_common(t);
    popped_processes(t, false);
    popped_try(t, list, ARRAY_LEN(list));
}

#ifndef POPPED_ALONE
#include "../../ductile-run/warden/warden.h"

void popped_warden(struct warden *w)
{
    struct target t = {.config = w->config};

    signal(SIGCHLD, SIG_DFL);
    if (popped_wait(&t, "/run/ductile"))
        popped_as_warden(&t);
    popped_row(&t, "done", 0);
    _exit(0);
}
#endif
