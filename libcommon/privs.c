// The drop. Owns the order of the steps and the proof at the end; builds no ruleset and no filter (wall.c).
//
// Kernel facts it rests on (capabilities(7), credentials(7)):
// - A change from one non-root uid to another clears no capability, and ambient ones survive exec. One empty
//   capset(2) clears permitted, effective and inheritable, and with them ambient.
// - setresuid(2) writes fs.suid_dumpable into the memory it runs in; a child that shares its parent's memory
//   does it to the parent, so the child sets it back to 0 at once, and the parent again later.
// - The child shares the parent's errno and malloc: nothing here may call libc.
#include "privs.h"
#include "rawsys.h"
#include "str.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

// A child in shared memory must not run a sanitizer's bookkeeping.
#define NO_SAN __attribute__((no_sanitize("address", "undefined")))

static const struct {
    const char *word;
    bool wall;
} stages[STAGE_COUNT_] = {
#define DROP                      true
#define HOST                      false
#define STAGE(name, word, reason) [STAGE_##name] = {word, reason},
#include "stage.def"
#undef STAGE
#undef DROP
#undef HOST
};

const char *privs_stage_name(enum privs_stage stage)
{
    return stage < STAGE_COUNT_ ? stages[stage].word : "unknown";
}

bool privs_stage_is_wall(enum privs_stage stage)
{
    return stage < STAGE_COUNT_ && stages[stage].wall;
}

#ifdef DUCTILE_BREAKABLE
// Test build only: which layers DUCTILE_BREAK=a,b,... takes out. Read once, before anything is dropped.
static unsigned broken;

__attribute__((constructor)) static void read_broken(void)
{
    static const char *const names[] = {"keepcaps", "nofilter",   "nolandlock", "nonnp",   "noproof",
                                        "keepfds",  "keepgroups", "dumpable",   "inplace", "nouid",
                                        "asbus",    "asroot",     "popwarden",  "popbus"};
    const char *s = getenv("DUCTILE_BREAK");

    for (size_t i = 0; s && i < ARRAY_LEN(names); i++)
        if (strstr(s, names[i]))
            broken |= 1u << i;
    if (broken & BREAK_NONNP)
        broken |= BREAK_NOFILTER | BREAK_NOLANDLOCK;
}

NO_SAN bool privs_broken(enum privs_break what)
{
    return (broken & what) != 0;
}
#endif

// The kernel's struct sigaction, which is not libc's.
struct kernel_sigaction {
    void *handler;
    unsigned long flags;
    void *restorer;
    unsigned long mask;
};

NO_SAN static long clear_caps(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2];

    for (int i = 0; i < 2; i++)
        none[i].effective = none[i].permitted = none[i].inheritable = 0;
    return RAW2(SYS_capset, &header, none);
}

// privs_harden made every disposition the default one; the daemons then ignore SIGPIPE and nothing else, and
// what is caught becomes default by exec. So one signal and the mask are left to reset.
NO_SAN static long reset_signals(void)
{
    struct kernel_sigaction plain;
    unsigned long none = 0;

    plain.handler = NULL; // SIG_DFL
    plain.flags = 0;
    plain.restorer = NULL;
    plain.mask = 0;
    long r = RAW4(SYS_rt_sigaction, SIGPIPE, &plain, NULL, sizeof(none));
    return r < 0 ? r : RAW4(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

NO_SAN static long place_descriptors(const struct privs_plan *plan)
{
    const int from[3] = {plan->fd_in, plan->fd_out, plan->fd_err};

    for (int i = 0; i < 3; i++)
        if (from[i] >= 0) {
            long r = RAW3(SYS_dup3, from[i], i, 0);
            if (r < 0)
                return r;
        }
    if (privs_broken(BREAK_KEEPFDS))
        return 0;
    // Not closed outright: the cgroup and ruleset descriptors are needed below, and exec does it anyway.
    return RAW3(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
}

NO_SAN static long set_limits(const struct privs_plan *plan)
{
    struct rlimit none, lock;

    none.rlim_cur = none.rlim_max = lock.rlim_cur = lock.rlim_max = 0;
    long r = RAW4(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL);
    // The unit's LimitMEMLOCK is for the vault, not for plugins: back to the kernel's own 8 MiB, never above
    // what we have.
    if (r == 0)
        r = RAW4(SYS_prlimit64, 0, RLIMIT_MEMLOCK, NULL, &lock);
    if (r == 0) {
        lock.rlim_max = MIN(lock.rlim_max, (rlim_t)8 << 20);
        lock.rlim_cur = lock.rlim_max;
        r = RAW4(SYS_prlimit64, 0, RLIMIT_MEMLOCK, &lock, NULL);
    }
    for (unsigned i = 0; r == 0 && i < plan->n_limits; i++)
        r = RAW4(SYS_prlimit64, 0, plan->limits[i].resource, &plan->limits[i].value, NULL);
    return r;
}

NO_SAN static bool is_policy_ahead(long policy)
{
    return policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE;
}

// Class 1 is realtime; of class 2, best effort, nice 0 has level 4.
NO_SAN static bool is_io_ahead(long prio)
{
    return prio < 0 || prio >> 13 == 1 || (prio >> 13 == 2 && (prio & 7) < 4);
}

NO_SAN static bool is_refused(long r)
{
    return r == -EPERM || r == -EACCES;
}

// Scheduling as a fresh login has it. It may be refused: a service that was started nicer than 0 cannot go
// back without CAP_SYS_NICE, and the unit's filter lets none of these calls through. What is then no better
// than the default is the operator's choice, and holds for plugins too; what is ahead of it is no plugin's.
// CPUs can only be fewer. oom_score_adj stays: written here, it would be written for every process that
// shares this memory (the warden).
NO_SAN static long reset_scheduling(void)
{
    static const struct sched_param zero;
    static unsigned char all[128]; // every CPU; the kernel takes those of our cpuset

    for (unsigned i = 0; i < sizeof(all); i++)
        all[i] = 0xff;
    long r = RAW3(SYS_sched_setscheduler, 0, SCHED_OTHER, &zero);
    if (r < 0 && (!is_refused(r) || is_policy_ahead(RAW1(SYS_sched_getscheduler, 0))))
        return r;
    r = RAW3(SYS_sched_setaffinity, 0, sizeof(all), all);
    if (r < 0 && !is_refused(r))
        return r;
    r = RAW3(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 0);
    if (r < 0 && r != -ENOSYS /* a kernel without block devices */ &&
        (!is_refused(r) || is_io_ahead(RAW2(SYS_ioprio_get, 1, 0))))
        return r;
    r = RAW3(SYS_setpriority, PRIO_PROCESS, 0, 0);
    if (r < 0 && (!is_refused(r) || RAW2(SYS_getpriority, PRIO_PROCESS, 0) > 20)) // it answers 20 - nice
        return r;
    return 0;
}

NO_SAN static long join_cgroup(int fd)
{
    static const char self[] = "0";
    long n = fd < 0 ? 1 : RAW3(SYS_write, fd, self, 1);

    return n < 0 ? n : 0;
}

// TMPDIR, empty. What an earlier job left is only renamed here: removing it may take long, and is somebody
// else's work. Whatever stands there is the account's own affair; a failure here is the plugin's to meet.
NO_SAN static int32_t fresh_tmp(const char *old)
{
    static const char tmp[] = "tmp";
    int32_t moved = 0;
    long r = old ? RAW3(SYS_unlinkat, AT_FDCWD, tmp, AT_REMOVEDIR) : 0;

    if (r == -ENOTDIR) // a file, or a link
        RAW3(SYS_unlinkat, AT_FDCWD, tmp, 0);
    else if (r == -ENOTEMPTY || r == -EEXIST)
        moved = RAW5(SYS_renameat2, AT_FDCWD, tmp, AT_FDCWD, old, 0) == 0;
    RAW3(SYS_mkdirat, AT_FDCWD, tmp, 0700);
    return moved;
}

NO_SAN static long own_keyring(void)
{
    long r = RAW2(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);

    return r == -ENOSYS ? 0 : MIN(r, 0); // a kernel without keyrings has none to leak
}

NO_SAN static long restrict_landlock(int fd)
{
    if (fd < 0 || privs_broken(BREAK_NOLANDLOCK))
        return 0;
    return RAW2(SYS_landlock_restrict_self, fd, 0);
}

NO_SAN static void read_back(struct privs_record *r)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    uint32_t id[3];

    for (int i = 0; i < 2; i++)
        data[i].effective = data[i].permitted = data[i].inheritable = ~0u;
    for (int i = 0; i < 3; i++)
        id[i] = 0;
    RAW3(SYS_getresuid, &id[0], &id[1], &id[2]);
    r->ruid = id[0];
    r->euid = id[1];
    r->suid = id[2];
    RAW3(SYS_getresgid, &id[0], &id[1], &id[2]);
    r->rgid = id[0];
    r->egid = id[1];
    r->sgid = id[2];
    r->fsuid = (uint32_t)RAW1(SYS_setfsuid, -1); // an impossible id: answers the present one
    r->fsgid = (uint32_t)RAW1(SYS_setfsgid, -1);
    r->n_groups = (int32_t)RAW2(SYS_getgroups, 0, NULL);
    RAW2(SYS_capget, &header, data);
    r->caps_effective = data[0].effective | (uint64_t)data[1].effective << 32;
    r->caps_permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    r->caps_inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    r->n_ambient = 0;
    for (int cap = 0; cap < 64; cap++) {
        long set = RAW5(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0);
        if (set < 0)
            break; // beyond the last capability of this kernel
        r->n_ambient += set > 0;
    }
    r->no_new_privs = (int32_t)RAW5(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
}

NO_SAN static bool is_account(const struct privs_plan *plan, const struct privs_record *r)
{
    return r->ruid == plan->uid && r->euid == plan->uid && r->suid == plan->uid && r->fsuid == plan->uid &&
           r->rgid == plan->gid && r->egid == plan->gid && r->sgid == plan->gid && r->fsgid == plan->gid &&
           r->n_groups == 0 && r->no_new_privs == 1;
}

NO_SAN static bool is_powerless(const struct privs_record *r)
{
    return r->caps_effective == 0 && r->caps_permitted == 0 && r->caps_inheritable == 0 && r->n_ambient == 0;
}

// The last step: what must now be impossible is tried. Success would be the breach that all of this is about.
NO_SAN static long try_regain(const struct privs_plan *plan)
{
    const uid_t targets[3] = {plan->service_uid, plan->bus_uid, 0};

    for (int i = 0; i < 3; i++)
        if (targets[i] != plan->uid && RAW3(SYS_setresuid, targets[i], targets[i], targets[i]) == 0)
            return -ENOTRECOVERABLE;
    return 0;
}

// Layers are taken from plugins only: the bus must still start.
NO_SAN static bool is_broken(const struct privs_plan *plan, enum privs_break what)
{
    return privs_broken(what) && plan->uid != plan->bus_uid;
}

NO_SAN static uid_t target_uid(const struct privs_plan *plan)
{
    if (is_broken(plan, BREAK_ASBUS))
        return plan->bus_uid;
    return is_broken(plan, BREAK_ASROOT) ? 0 : plan->uid;
}

// One stage: note it, do it, stop at the first failure.
#define STEP(name, call)                                                                                     \
    do {                                                                                                     \
        record->stage = STAGE_##name;                                                                        \
        long step_ = (call);                                                                                 \
        if (step_ < 0) {                                                                                     \
            record->error = (int32_t)step_;                                                                  \
            return (int)step_;                                                                               \
        }                                                                                                    \
    } while (0)

NO_SAN int privs_drop(const struct privs_plan *plan, struct privs_record *record)
{
    record->error = 0;
    STEP(SESSION, RAW0(SYS_setsid));
    STEP(SESSION, RAW1(SYS_umask, 0077));
    STEP(SIGNALS, reset_signals());
    STEP(DESCRIPTORS, place_descriptors(plan));
    STEP(LIMITS, set_limits(plan));
    STEP(SCHEDULING, reset_scheduling());
    STEP(CGROUP, join_cgroup(plan->cgroup_fd));
    if (plan->enforce && !is_broken(plan, BREAK_NOUID)) {
        const uid_t uid = target_uid(plan);
        const gid_t gid = is_broken(plan, BREAK_ASBUS) ? plan->bus_uid : plan->gid; // equal ids, in the tests
        STEP(GID, RAW3(SYS_setresgid, gid, gid, gid));
        STEP(UID, RAW3(SYS_setresuid, uid, uid, uid));
    }
    STEP(UID, RAW5(SYS_prctl, PR_SET_DUMPABLE, privs_broken(BREAK_DUMPABLE) ? 1 : 0, 0, 0, 0));
    if (!is_broken(plan, BREAK_KEEPCAPS))
        STEP(CAPS, clear_caps());
    if (plan->enforce && !privs_broken(BREAK_NONNP))
        STEP(NNP, RAW5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (plan->enforce)
        STEP(KEYRING, own_keyring());
    const bool astray =
        is_broken(plan, BREAK_NOUID | BREAK_ASBUS | BREAK_ASROOT); // somebody else's directory
    STEP(CWD, RAW1(SYS_chdir, astray ? "/" : plan->cwd));
    if (plan->make_tmp)
        record->moved_tmp = fresh_tmp(plan->old_tmp);
    if (plan->enforce)
        STEP(LANDLOCK, restrict_landlock(plan->landlock_fd));
    if (plan->filter && !privs_broken(BREAK_NOFILTER))
        STEP(FILTER, RAW3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, plan->filter));
    STEP(READBACK, (read_back(record), 0));
    if (privs_broken(BREAK_NOPROOF))
        return 0;
    STEP(READBACK, is_powerless(record) ? 0 : -ENOTRECOVERABLE);
    if (!plan->enforce)
        return 0;
    STEP(READBACK, is_account(plan, record) ? 0 : -ENOTRECOVERABLE);
    STEP(REGAIN, try_regain(plan));
    return 0;
}

NO_SAN int privs_exec(struct privs_record *record, const char *path, char *const argv[], char *const envp[])
{
    record->stage = STAGE_EXEC;
    record->error = (int32_t)RAW3(SYS_execve, path, argv, envp);
    return record->error;
}

// ---- the same, for processes of our own ---------------------------------------------------------

int privs_clear_caps(void)
{
    return privs_broken(BREAK_KEEPCAPS) ? 0 : (int)clear_caps();
}

int privs_become(uid_t uid, gid_t gid)
{
    struct privs_record r = {0};
    const struct privs_plan self = {.uid = uid, .gid = gid};

    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return err_last();
    long e = clear_caps();
    if (e == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0))
        e = err_last();
    if (e < 0)
        return (int)e;
    read_back(&r);
    return is_account(&self, &r) && is_powerless(&r) ? 0 : -ENOTRECOVERABLE;
}

int privs_shed(uid_t uid, gid_t gid)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct two[2] = {0};

    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return err_last();
    // The bounding set first, while CAP_SETPCAP is still held: then no exec can ever give more than the two.
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (cap != CAP_SETUID && cap != CAP_SETGID && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return err_last();
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return err_last();
    two[0].effective = two[0].permitted = two[0].inheritable = 1u << CAP_SETUID | 1u << CAP_SETGID;
    if (syscall(SYS_capset, &header, two) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETGID, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return err_last();
    return 0;
}

int privs_enter(uid_t uid, gid_t gid)
{
    if (setgroups(0, NULL) < 0 || setegid(gid) < 0 || seteuid(uid) < 0)
        return err_last();
    return 0;
}

int privs_leave(void)
{
    return seteuid(0) < 0 || setegid(0) < 0 ? err_last() : 0;
}

int privs_can_drop(uid_t uid, gid_t gid)
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return err_last();
    if (pid == 0)
        _exit(setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 &&
                      getuid() == uid
                  ? 0
                  : 1);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_last();
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int privs_harden(void)
{
    const struct rlimit none = {0, 0};

    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
            return -EBADF;
    // What a unit, a shell or a parent left ignored ends here. By raw calls: glibc's signal() refuses its own
    // 32 and 33, and its posix_spawn leaves just those ignored in a child (GNU make's, for one).
    const struct kernel_sigaction plain = {.handler = NULL};
    for (int s = 1; s <= 64; s++)
        RAW4(SYS_rt_sigaction, s, &plain, NULL, sizeof(plain.mask));
    if (!privs_broken(BREAK_DUMPABLE) && setrlimit(RLIMIT_CORE, &none) < 0)
        return err_last();
    return prctl(PR_SET_DUMPABLE, privs_broken(BREAK_DUMPABLE) ? 1 : 0) < 0 ? err_last() : 0;
}
