// What any process tries first: other ids, other processes, other files, other ways into the kernel.
#include "popped.h"
#include "str.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

// ---- reporting ----------------------------------------------------------------------------------

bool popped_wait(struct target *t, const char *dir)
{
    char path[300], text[512] = "";
    const struct timespec moment = {.tv_nsec = 50000000};

    snprintf(path, sizeof(path), "%s/popped.targets", dir);
    snprintf(t->out, sizeof(t->out), "%s/popped.rows", dir);
    for (int i = 0; i < 400; i++) {
        OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
            break;
        nanosleep(&moment, NULL);
    }
    unlink(path); // a gateway that is started again is not attacked again
    return sscanf(text, "warden %d bus %d cgroup %255s", &t->warden, &t->bus, t->cgroup) >= 2;
}

void popped_row(const struct target *t, const char *row, int r)
{
    char line[256];
    const char *name = r < 0 ? errno_name(-r) : "";
    int n = snprintf(line, sizeof(line), "{\"row\":\"%s\",\"found\":\"%s\",\"errno\":\"%s\"}\n", row,
                     r < 0 ? "denied" : "allowed", name ? name : "unknown");
    OWNED(fd_closep) int fd = open(t->out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (write(fd >= 0 ? fd : STDOUT_FILENO, line, (size_t)n) != n)
        _exit(9);
}

void popped_try(const struct target *t, const struct attempt *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int status = 0, r;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(20);
            _exit(-list[i].fn(t, list[i].number, list[i].text) & 0xff);
        }
        if (pid < 0)
            r = list[i].fn(t, list[i].number, list[i].text);
        else
            r = waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
        popped_row(t, list[i].row, r);
    }
}

static int answer(long r)
{
    return r < 0 ? -errno : 0;
}

// ---- ids ----------------------------------------------------------------------------------------

#define PLUS32 (1L << 32)

// Every way to one id, every argument of it, also where the others stay; ids that a filter reads otherwise.
static int become_root(const struct target *t, long gid, const char *text)
{
    const long calls[2][4] = {{SYS_setuid, SYS_setreuid, SYS_setresuid, SYS_setfsuid},
                              {SYS_setgid, SYS_setregid, SYS_setresgid, SYS_setfsgid}};
    const long id = text ? PLUS32 : 0; // the kernel takes the low word of either
    const long forms[][3] = {{id, id, id}, {-1, id, -1}, {id, -1, -1}, {-1, -1, id}, {-1, id, id}};
    int r = -EPERM;
    (void)t;

    for (int c = 0; c < 4; c++)
        for (size_t f = 0; f < ARRAY_LEN(forms); f++) {
            long got = syscall(calls[gid][c], forms[f][0], forms[f][1], forms[f][2]);
            r = got < 0 ? -errno : r;
            uid_t u[3] = {1, 1, 1}; // nobody answers behind the bus's filter
            gid_t g[3] = {1, 1, 1};
            getresuid(&u[0], &u[1], &u[2]);
            getresgid(&g[0], &g[1], &g[2]);
            for (int i = 0; i < 3; i++)
                if ((gid ? g[i] : u[i]) == 0)
                    return 0;
            if ((gid ? setfsgid((gid_t)-1) : setfsuid((uid_t)-1)) == 0)
                return 0;
        }
    return r;
}

static int drop_groups(const struct target *t, long count, const char *text)
{
    static const gid_t ids[] = {0, 42, 4};
    (void)t;
    (void)text;
    return answer(syscall(SYS_setgroups, count, ids));
}

static int raise_caps(const struct target *t, long cap, const char *text)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{1u << cap, 1u << cap, 0}};
    (void)t;
    (void)text;
    return answer(syscall(SYS_capset, &header, data));
}

// ---- namespaces, foreign numbers -----------------------------------------------------------------

static int clone_into(const struct target *t, long flags, const char *text)
{
    (void)t;
    (void)text;
    long pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    return answer(pid);
}

static int clone3_into(const struct target *t, long flags, const char *text)
{
    uint64_t args[8] = {(uint64_t)flags, 0, 0, 0, SIGCHLD};
    (void)t;
    (void)text;
    long pid = syscall(SYS_clone3, args, sizeof(args));
    if (pid == 0)
        _exit(0);
    return answer(pid);
}

static int unshare_into(const struct target *t, long flags, const char *text)
{
    (void)t;
    (void)text;
    return answer(unshare((int)flags));
}

static int enter_namespace(const struct target *t, long number, const char *text)
{
    (void)t;
    (void)number;
    (void)text;
    OWNED(fd_closep) int pid = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int r = answer(syscall(SYS_setns, pid, 0));
    return r == -EINVAL || r == -EBADF ? 0 : r; // it reached the kernel
}

#if defined(__x86_64__)
static sigjmp_buf no_such_abi;

static void on_fault(int signal)
{
    (void)signal;
    siglongjmp(no_such_abi, 1);
}

// int 0x80: the numbers of another architecture. It faults where the kernel has none such.
static int ia32(const struct target *t, long nr, const char *text)
{
    const struct sigaction act = {.sa_handler = on_fault};
    long r;
    (void)t;
    (void)text;
    if (sigaction(SIGSEGV, &act, NULL) < 0)
        return -errno;
    if (sigsetjmp(no_such_abi, 1))
        return -ENOSYS;
    __asm__ volatile("int $0x80"
                     : "=a"(r)
                     : "a"(nr), "b"(0L), "c"(0L), "d"(0L)
                     : "r8", "r9", "r10", "r11", "memory");
    return (int)r < 0 ? (int)r : 0;
}

static int x32(const struct target *t, long nr, const char *text)
{
    (void)t;
    (void)text;
    return answer(syscall(0x40000000 | nr, 0, 0, 0));
}
#endif

// Reached what it is for: any errno but the three of a wall.
static int reached(long result)
{
    int r = answer(result);
    return r == -EPERM || r == -EACCES || r == -ENOSYS ? r : 0;
}

static int mount_something(const struct target *t, long number, const char *text)
{
    (void)t;
    (void)number;
    (void)text;
    return reached(syscall(SYS_mount, "none", "/opt/wall/mnt", "tmpfs", 0, NULL));
}

static int make_map(const struct target *t, long number, const char *text)
{
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    (void)t;
    (void)number;
    (void)text;
    OWNED(fd_closep) int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
    return reached(fd);
}

static int open_handle(const struct target *t, long number, const char *text)
{
    struct {
        unsigned bytes;
        int type;
        char handle[8];
    } handle = {8, 1, {0}};
    (void)t;
    (void)number;
    (void)text;
    OWNED(fd_closep) int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return reached(syscall(SYS_open_by_handle_at, root, &handle, O_RDONLY));
}

// Wrong arguments, so that nothing happens.
static int reaches(const struct target *t, long nr, const char *text)
{
    (void)t;
    (void)text;
    return reached(syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L));
}

// ---- other processes -----------------------------------------------------------------------------

static pid_t pid_of(const struct target *t, const char *who)
{
    return str_eq(who, "warden") ? t->warden : t->bus;
}

static int trace(const struct target *t, long number, const char *who)
{
    (void)number;
    return answer(syscall(SYS_ptrace, PTRACE_SEIZE, pid_of(t, who), 0, 0));
}

static int vm_read(const struct target *t, long nr, const char *who)
{
    char byte[8];
    struct iovec here = {byte, 1}, there = {(void *)0x400000, 1};
    int r = answer(syscall(nr, pid_of(t, who), &here, 1, &there, 1, 0));
    return r == -EFAULT ? 0 : r; // it could look
}

static int take_fd(const struct target *t, long number, const char *who)
{
    (void)number;
    OWNED(fd_closep) int pidfd = (int)syscall(SYS_pidfd_open, pid_of(t, who), 0);
    return answer(pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, 0, 0));
}

static int proc_file(const struct target *t, long flags, const char *who_file)
{
    char path[64], who[16];
    const char *slash = strchr(who_file, '/');
    snprintf(who, sizeof(who), "%.*s", (int)(slash - who_file), who_file);
    snprintf(path, sizeof(path), "/proc/%d%s", pid_of(t, who), slash);
    OWNED(fd_closep) int fd = open(path, (int)flags | O_CLOEXEC);
    return answer(fd);
}

static int signal_it(const struct target *t, long number, const char *who)
{
    return answer(kill(pid_of(t, who), (int)number));
}

// ---- files ---------------------------------------------------------------------------------------

static int open_file(const struct target *t, long flags, const char *path)
{
    (void)t;
    OWNED(fd_closep) int fd = open(path, (int)flags | O_CLOEXEC | O_NONBLOCK, 0600);
    return answer(fd);
}

static int open_cgroup(const struct target *t, long flags, const char *file)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", t->cgroup[0] ? t->cgroup : "/sys/fs/cgroup", file);
    return open_file(t, flags, path);
}

void popped_common(const struct target *t)
{
    static const struct attempt list[] = {
        {"become-root", become_root, 0, NULL},
        {"become-root-plus-2^32", become_root, 0, "plus"},
        {"group-root", become_root, 1, NULL},
        {"group-root-plus-2^32", become_root, 1, "plus"},
        {"setgroups-one", drop_groups, 1, NULL},
        {"setgroups-many", drop_groups, 3, NULL},
        {"cap-dac-override", raise_caps, CAP_DAC_OVERRIDE, NULL},
        {"cap-sys-admin", raise_caps, CAP_SYS_ADMIN, NULL},
        {"userns-clone", clone_into, CLONE_NEWUSER, NULL},
        {"userns-clone3", clone3_into, CLONE_NEWUSER, NULL},
        {"userns-unshare", unshare_into, CLONE_NEWUSER, NULL},
        {"mountns-unshare", unshare_into, CLONE_NEWNS, NULL},
        {"netns-unshare", unshare_into, CLONE_NEWNET, NULL},
        {"clone-parent", clone_into, CLONE_PARENT, NULL},
        {"setns", enter_namespace, 0, NULL},
#if defined(__x86_64__)
        {"ia32-call", ia32, 20 /* getpid */, NULL},
        {"ia32-setuid", ia32, 213 /* setuid32(0) */, NULL},
        {"x32-call", x32, SYS_getpid, NULL},
#endif
        {"mount", mount_something, 0, NULL},
        {"swap", reaches, SYS_swapoff, NULL},
        {"reboot", reaches, SYS_reboot, NULL},
        {"bpf", make_map, 0, NULL},
        {"open-by-handle", open_handle, 0, NULL},
        {"config-write", open_file, O_WRONLY, "/etc/ductile/config.yaml"},
        {"lock-write", open_file, O_WRONLY, "/etc/ductile/plugins.lock"},
        {"config-dir-write", open_file, O_WRONLY | O_CREAT, "/etc/ductile/more.yaml"},
        {"code-write", open_file, O_WRONLY | O_CREAT, "/opt/ductile/plugins/unruly/unruly.py"},
        {"unit-write", open_file, O_WRONLY | O_CREAT, "/etc/systemd/system/popped.service"},
        {"cron-write", open_file, O_WRONLY | O_CREAT, "/etc/cron.d/popped"},
        {"shadow", open_file, O_RDONLY, "/etc/shadow"},
        {"accounts-list", open_file, O_RDONLY | O_DIRECTORY, "/var/lib/ductile/accounts"},
        {"backups", open_file, O_RDONLY | O_DIRECTORY, "/var/backups/ductile"},
        {"install-record", open_file, O_RDONLY | O_DIRECTORY, "/var/lib/ductile-install/ductile"},
        {"operator-ssh-key", open_file, O_RDONLY, "/home/matt/.ssh/id_ed25519"},
        {"cgroup-outside", open_cgroup, O_WRONLY, "../cgroup.procs"},
    };
    popped_try(t, list, ARRAY_LEN(list));
}

// ---- what each half tries of the other ------------------------------------------------------------

void popped_processes(const struct target *t, bool of_warden)
{
    static const struct attempt warden[] = {
        {"ptrace-warden", trace, 0, "warden"},
        {"vm-readv-warden", vm_read, SYS_process_vm_readv, "warden"},
        {"vm-writev-warden", vm_read, SYS_process_vm_writev, "warden"},
        {"pidfd-getfd-warden", take_fd, 0, "warden"},
        {"mem-write-warden", proc_file, O_RDWR, "warden/mem"},
        {"environ-warden", proc_file, O_RDONLY, "warden/environ"},
        {"descriptors-warden", proc_file, O_RDONLY, "warden/fd/0"},
        {"signal-warden", signal_it, 0, "warden"},
    };
    static const struct attempt bus[] = {
        {"ptrace-bus", trace, 0, "bus"},        {"vm-readv-bus", vm_read, SYS_process_vm_readv, "bus"},
        {"pidfd-getfd-bus", take_fd, 0, "bus"}, {"mem-write-bus", proc_file, O_RDWR, "bus/mem"},
        {"signal-bus", signal_it, 0, "bus"},
    };
    if (of_warden)
        popped_try(t, warden, ARRAY_LEN(warden));
    else
        popped_try(t, bus, ARRAY_LEN(bus));
}
