// What is around a job, so that nothing of it outlives it. Where a cgroup is delegated: one kept cgroup per
// worker slot, left only when it is empty. Elsewhere: a supervisor per job, a subreaper from which nothing of
// the job can escape by setsid or double fork.
//
// With only CAP_SETUID and CAP_SETGID the warden may not signal another uid (kill(2): EPERM). So SIGTERM goes
// by a helper, and the supervisor has the same shape: its effective uid is the account's, which lets it
// signal; its real and saved uid stay the service's, which keeps the account from signalling it.
#include "fd.h"
#include "log.h"
#include "str.h"
#include "warden.h"
#include <dirent.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

// ---- cgroups ------------------------------------------------------------------------------------

static void close_cgroup(struct slot *s)
{
    fd_closep(&s->procs_fd);
    fd_closep(&s->events_fd);
    fd_closep(&s->cgroup_dir);
}

// The kept cgroup gets the limits of the account that comes next; mostly it has them already.
static int limit(struct warden *w, struct slot *s)
{
    const struct account_config *a = s->account;

    if (w->controllers == 0 || !a || s->limited == a)
        return 0;
    int r = cgroup_limit(s->cgroup_dir, w->controllers, a->memory, a->pids, a->cpu);
    s->limited = r < 0 ? NULL : a;
    return r;
}

void cage_name(const struct slot *s, char name[static 32])
{
    snprintf(name, 32, s->generation ? "slot-%u.%u" : "slot-%u", s->index, s->generation);
}

int cage_prepare(struct warden *w, struct slot *s)
{
    char name[32];
    int r;

    if (w->cgroup_root < 0)
        return 0;
    if (s->cgroup_dir >= 0)
        return limit(w, s);
    cage_name(s, name);
    r = cgroup_make(w->cgroup_root, name, &s->cgroup_dir);
    if (r == 0)
        r = s->procs_fd = cgroup_open_procs(s->cgroup_dir);
    if (r >= 0)
        r = s->events_fd = cgroup_open_events(s->cgroup_dir);
    s->limited = NULL;
    if (r >= 0)
        r = limit(w, s);
    if (r >= 0)
        return 0;
    close_cgroup(s);
    return r;
}

// After an unclean end the cgroup is not used again: what was done to it is nobody's business.
static void discard_cgroup(struct warden *w, struct slot *s)
{
    char name[32];

    cage_name(s, name);
    close_cgroup(s);
    if (unlinkat(w->cgroup_root, name, AT_REMOVEDIR) < 0)
        log_warn("rmdir %s: %s", name, errno_name(errno));
}

// ---- signals as the account ---------------------------------------------------------------------

// Effective uid of the account, nothing else of it; no capability left.
static int lend_uid(const struct account_config *a)
{
    if (a && setresuid((uid_t)-1, (uid_t)a->uid, (uid_t)-1) < 0)
        return err_last();
    int r = privs_clear_caps();
    return r < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ? MIN(r, -1) : 0;
}

static void signal_group(const struct slot *s, int signal)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(lend_uid(s->account) < 0 || kill(-s->pid, signal) < 0 ? 1 : 0);
    // The helper does three system calls, and the account cannot stop it: waiting is short.
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0 || status != 0)
        log_warn("SIGTERM to job %llu could not be sent", (unsigned long long)s->request.job);
}

// ---- the supervisor -----------------------------------------------------------------------------

struct report {
    enum { REPORT_BEGUN, REPORT_ENDED, REPORT_EXITED, REPORT_EMPTY } kind;
    pid_t pid;
    int status;
    unsigned left_behind;
    uint64_t user_us, system_us, max_rss_kib;
};

enum order { ORDER_TERM, ORDER_KILL };

struct supervisor {
    int fd, children; // the warden's orders; SIGCHLD as a descriptor
    int pidfd;        // the plugin's; -1 once it has ended
    pid_t plugin;
    bool exited, killing;
    unsigned left_behind;
};

static pid_t parent_of(const char *pid)
{
    char path[300], text[1024];
    int parent = -1;

    snprintf(path, sizeof(path), "/proc/%.200s/stat", pid);
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    const char *p = strrchr(text, ')');
    char state;
    if (!p || sscanf(p + 1, " %c %d", &state, &parent) != 2 || state == 'Z')
        return -1;
    return parent;
}

struct process {
    pid_t pid, parent;
    bool mine;
};

// Every descendant of this process, by the parents in /proc: as a subreaper it is above all of them.
static unsigned descendants(struct process **ret)
{
    struct process *list = NULL;
    size_t n = 0;
    DIR *proc = opendir("/proc");
    unsigned mine = 0;

    for (struct dirent *e; proc && (e = readdir(proc));) {
        uint64_t pid;
        if (str_to_u64(e->d_name, 1, INT32_MAX, &pid) < 0)
            continue;
        struct process *more = reallocarray(list, n + 1, sizeof(*list));
        if (!more)
            break;
        list = more;
        list[n++] = (struct process){(pid_t)pid, parent_of(e->d_name), false};
    }
    if (proc)
        closedir(proc);
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < n; i++) {
            if (list[i].mine || list[i].parent < 0)
                continue;
            bool below = list[i].parent == getpid();
            for (size_t j = 0; j < n && !below; j++)
                below = list[j].mine && list[j].pid == list[i].parent;
            if (below)
                changed = list[i].mine = true;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (list[i].mine)
            list[mine++] = list[i];
    *ret = list;
    return mine;
}

static unsigned signal_all(int signal)
{
    struct process *list = NULL;
    unsigned n = descendants(&list);

    for (unsigned i = 0; i < n; i++)
        kill(list[i].pid, signal);
    free(list);
    return n;
}

static void report(const struct supervisor *sv, struct report r)
{
    if (send(sv->fd, &r, sizeof(r), MSG_NOSIGNAL) < 0)
        return; // the warden is gone; what follows kills everything anyway
}

// Reaps all that has ended. True while anything is left.
static bool supervise_reap(struct supervisor *sv)
{
    int status;
    struct rusage u;

    for (;;) {
        pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &u);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return pid == 0;
        if (pid != sv->plugin || WIFSTOPPED(status))
            continue; // a stop: a plugin made us its tracer
        sv->exited = true;
        report(sv, (struct report){.kind = REPORT_EXITED,
                                   .pid = pid,
                                   .status = status,
                                   .user_us = reap_us(u.ru_utime),
                                   .system_us = reap_us(u.ru_stime),
                                   .max_rss_kib = (uint64_t)u.ru_maxrss});
    }
}

static void supervise_order(struct supervisor *sv)
{
    enum order order;
    ssize_t n = recv(sv->fd, &order, sizeof(order), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == sizeof(order) && order == ORDER_TERM) {
        if (!sv->exited)
            kill(-sv->plugin, SIGTERM);
        return;
    }
    // ORDER_KILL, or the end of the connection: the warden died, and nothing of the job may outlive it.
    if (!sv->killing)
        sv->left_behind = signal_all(SIGKILL);
    sv->killing = true;
}

static void supervise(struct supervisor *sv)
{
    struct pollfd p[3] = {{.fd = sv->fd, .events = POLLIN},
                          {.fd = sv->children, .events = POLLIN},
                          {.fd = sv->pidfd, .events = POLLIN}};
    struct signalfd_siginfo info;

    while (supervise_reap(sv)) {
        // While killing, look again soon: a fork bomb may have made more since.
        if (poll(p, 3, sv->killing ? 20 : -1) > 0 && p[0].revents)
            supervise_order(sv);
        if (p[1].revents && read(sv->children, &info, sizeof(info)) < 0 && errno != EAGAIN)
            break;
        if (p[2].revents) { // its status may come later: see reap_exit
            report(sv, (struct report){.kind = REPORT_ENDED, .pid = sv->plugin});
            p[2].fd = -1;
        }
        if (sv->killing)
            signal_all(SIGKILL);
    }
    report(sv, (struct report){.kind = REPORT_EMPTY, .left_behind = sv->left_behind});
}

// The supervisor's life: start the plugin, then give up everything but the right to signal it.
static void run_supervisor(struct slot *s, struct launch *l, int fd, int stage_write)
{
    struct supervisor sv = {.fd = fd};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || sigprocmask(SIG_SETMASK, &child, NULL) < 0)
        _exit(126);
    sv.plugin = fork();
    if (sv.plugin < 0)
        _exit(126);
    if (sv.plugin == 0) {
        if (privs_drop(&l->plan, &l->record) == 0)
            privs_exec(&l->record, l->path, l->argv, l->envp);
        _exit(126);
    }
    report(&sv, (struct report){.kind = REPORT_BEGUN, .pid = sv.plugin});
    close(stage_write);
    // Pipes of this and of other jobs must end when the plugin's and the warden's ends do, not ours.
    if (dup2(fd, 3) < 0 || syscall(SYS_close_range, 4, ~0u, 0) < 0 || lend_uid(s->account) < 0)
        _exit(126);
    sv.fd = 3;
    sv.children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    sv.pidfd = (int)syscall(SYS_pidfd_open, sv.plugin, 0); // -1: then only its status tells
    supervise(&sv);
    _exit(0);
}

int cage_supervise(struct warden *w, struct slot *s)
{
    int pair[2], stage[2];
    (void)w;

    // The record must be seen here although the child is a copy: shared pages instead of shared memory.
    struct launch *l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (l == MAP_FAILED)
        return err_last();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        int r = err_last();
        munmap(l, sizeof(*l));
        return r;
    }
    OWNED(fd_closep) int ours = pair[0];
    OWNED(fd_closep) int theirs = pair[1];
    if (pipe2(stage, O_CLOEXEC) < 0) {
        int r = err_last();
        munmap(l, sizeof(*l));
        return r;
    }
    OWNED(fd_closep) int stage_read = stage[0];
    OWNED(fd_closep) int stage_write = stage[1];
    *l = *s->launch;
    l->argv[0] = l->path;
    l->plan.limits = l->limits;
    pid_t pid = fork();
    if (pid < 0) {
        int r = err_last();
        munmap(l, sizeof(*l));
        return r;
    }
    if (pid == 0)
        run_supervisor(s, l, theirs, stage_write);
    s->supervisor = pid;
    s->supervisor_fd = fd_take(&ours);
    s->stage_fd = fd_take(&stage_read);
    s->shared = l;
    return 0;
}

void cage_supervisor(struct slot *s)
{
    struct report r;
    ssize_t n = recv(s->supervisor_fd, &r, sizeof(r), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != sizeof(r) || r.kind == REPORT_EMPTY) { // its end: it goes last
        s->left_behind = n == sizeof(r) ? r.left_behind : s->left_behind;
        s->empty = true;
        s->exited = true;
        return;
    }
    s->pid = r.pid;
    if (r.kind == REPORT_BEGUN) {
        s->start_ticks = proc_start_ticks(r.pid);
        return;
    }
    if (r.kind == REPORT_ENDED) {
        s->ended = true;
        return;
    }
    s->exited = true;
    s->status = r.status;
    s->user_us = r.user_us;
    s->system_us = r.system_us;
    s->max_rss_kib = r.max_rss_kib;
}

// ---- either -------------------------------------------------------------------------------------

static void order(struct slot *s, enum order what)
{
    if (send(s->supervisor_fd, &what, sizeof(what), MSG_NOSIGNAL) < 0)
        log_warn("the supervisor of job %llu does not answer", (unsigned long long)s->request.job);
}

void cage_term(struct warden *w, struct slot *s)
{
    (void)w;
    if (s->supervisor > 0)
        order(s, ORDER_TERM);
    else
        signal_group(s, SIGTERM);
}

void cage_kill(struct warden *w, struct slot *s)
{
    (void)w;
    if (s->supervisor > 0) {
        order(s, ORDER_KILL);
        return;
    }
    int n = cgroup_count(s->cgroup_dir);
    if (n > 0)
        s->left_behind = (unsigned)n;
    int r = cgroup_kill(s->cgroup_dir);
    if (r < 0)
        log_err(r, "cgroup.kill of slot %u", s->index);
}

bool cage_is_empty(struct slot *s)
{
    return s->supervisor > 0 ? s->empty : s->events_fd < 0 || cgroup_populated(s->events_fd) == 0;
}

void cage_release(struct warden *w, struct slot *s, bool clean)
{
    if (s->shared)
        munmap(s->shared, sizeof(*s->shared));
    s->shared = NULL;
    if (!clean && s->cgroup_dir >= 0)
        discard_cgroup(w, s);
}
