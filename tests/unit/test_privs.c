// The drop, for real: each case forks, becomes the service with exactly two ambient capabilities (as the unit
// gives them), drops, and looks. Needs root; ids that no passwd entry has.
#include "privs.h"
#include "unit.h"
#include "wall.h"
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { SERVICE = 61001, BUS = 61002, ACCOUNT = 61003 };

static struct privs_plan plan(void)
{
    return (struct privs_plan){.enforce = true,
                               .uid = ACCOUNT,
                               .gid = ACCOUNT,
                               .service_uid = SERVICE,
                               .bus_uid = BUS,
                               .fd_in = -1,
                               .fd_out = -1,
                               .fd_err = -1,
                               .cgroup_fd = -1,
                               .landlock_fd = -1,
                               .cwd = "/"};
}

// As ExecStart= finds itself, with the groups already emptied.
static int be_service(void)
{
    return privs_shed(SERVICE, SERVICE);
}

static bool read_status(const char *key, char *out, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    bool found = false;
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') {
            snprintf(out, size, "%s", line + strlen(key) + 2);
            out[strcspn(out, "\n")] = '\0';
            found = true;
        }
    if (f)
        fclose(f);
    return found;
}

static int shed_shape(void *arg)
{
    char eff[32], amb[32], bnd[32], groups[64];
    (void)arg;
    if (be_service() < 0)
        return 1;
    read_status("CapEff", eff, sizeof(eff));
    read_status("CapAmb", amb, sizeof(amb));
    read_status("CapBnd", bnd, sizeof(bnd));
    read_status("Groups", groups, sizeof(groups));
    if (strcmp(eff, "00000000000000c0") || strcmp(amb, eff) || strcmp(bnd, eff))
        return 2;
    return geteuid() == SERVICE && groups[strspn(groups, " ")] == '\0' ? 0 : 3;
}

static void test_privs_shed__exactly_two(void **s)
{
    (void)s;
    assert_int_equal(in_child(shed_shape, NULL), 0);
}

// Negative control: what every naive dropper does, from the very same start.
static int naive_drop(void *arg)
{
    (void)arg;
    if (be_service() < 0 || setresgid(ACCOUNT, ACCOUNT, ACCOUNT) < 0 ||
        setresuid(ACCOUNT, ACCOUNT, ACCOUNT) < 0)
        return 1;
    if (setresuid(SERVICE, SERVICE, SERVICE) < 0) // back again
        return 2;
    return setresuid(0, 0, 0) < 0 ? 3 : 0; // and up
}

static void test_privs_drop__control_naive_drop_regains_everything(void **s)
{
    (void)s;
    assert_int_equal(in_child(naive_drop, NULL), 0);
}

static int full_drop(void *arg)
{
    struct privs_plan p = plan();
    struct privs_record r = {0};
    char caps[32], nnp[8];
    (void)arg;
    if (be_service() < 0 || privs_drop(&p, &r) < 0)
        return 1;
    if (getuid() != ACCOUNT || geteuid() != ACCOUNT || getgid() != ACCOUNT || getgroups(0, NULL) != 0)
        return 2;
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapAmb"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (!read_status(sets[i], caps, sizeof(caps)) || strcmp(caps, "0000000000000000"))
            return 3;
    if (!read_status("NoNewPrivs", nnp, sizeof(nnp)) || strcmp(nnp, "1"))
        return 4;
    static const uid_t targets[] = {0, SERVICE, BUS, 12345};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++)
        if (setresuid(targets[i], targets[i], targets[i]) == 0 || errno != EPERM)
            return 5;
    gid_t g = 0;
    if (setgroups(1, &g) == 0 || setresgid(0, 0, 0) == 0)
        return 6;
    // what was read back is what is
    if (r.ruid != ACCOUNT || r.fsuid != ACCOUNT || r.sgid != ACCOUNT || r.caps_effective ||
        r.caps_permitted || r.caps_inheritable || r.n_ambient || r.no_new_privs != 1 || r.n_groups != 0)
        return 7;
    struct rlimit core;
    if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0 || umask(0) != 077 || getsid(0) != getpid())
        return 8;
    return prctl(PR_GET_DUMPABLE) == 0 ? 0 : 9;
}

static void test_privs_drop__full(void **s)
{
    (void)s;
    assert_int_equal(in_child(full_drop, NULL), 0);
}

struct failing {
    void (*spoil)(struct privs_plan *);
    enum privs_stage stage;
    int error;
};

static int fail_at(void *arg)
{
    const struct failing *f = arg;
    struct privs_plan p = plan();
    struct privs_record r = {0};
    if (be_service() < 0)
        return 100;
    f->spoil(&p);
    int e = privs_drop(&p, &r);
    if (e == 0)
        return 101;
    if (r.stage != f->stage)
        return 102;
    return r.error == e && (f->error == 0 || e == -f->error) ? 0 : 103;
}

static void lead(struct privs_plan *p)
{
    (void)p;
    setsid();
}
static void bad_fd(struct privs_plan *p)
{
    p->fd_in = 900;
}
static const struct privs_limit impossible = {RLIMIT_NOFILE, {1 << 30, 1 << 30}};
static void bad_limit(struct privs_plan *p)
{
    p->limits = &impossible;
    p->n_limits = 1;
}
static void bad_cgroup(struct privs_plan *p)
{
    p->cgroup_fd = 900;
}
static void without_setgid(struct privs_plan *p)
{
    (void)p;
    struct {
        uint32_t version;
        int pid;
    } h = {0x20080522, 0};
    struct {
        uint32_t e, p, i;
    } d[2] = {{1u << 7, 1u << 7, 1u << 7}, {0, 0, 0}};
    syscall(SYS_capset, &h, d); // CAP_SETUID alone
}
static void without_setuid(struct privs_plan *p)
{
    (void)p;
    struct {
        uint32_t version;
        int pid;
    } h = {0x20080522, 0};
    struct {
        uint32_t e, p, i;
    } d[2] = {{1u << 6, 1u << 6, 1u << 6}, {0, 0, 0}};
    syscall(SYS_capset, &h, d);
}
static void bad_cwd(struct privs_plan *p)
{
    p->cwd = "/nonexistent/state";
}
static void bad_ruleset(struct privs_plan *p)
{
    p->landlock_fd = 900;
}
static void with_groups(struct privs_plan *p)
{
    const gid_t g = 4;
    (void)p;
    if (setgroups(1, &g) < 0)
        _exit(99);
}

// Each step made to fail: named by its stage, and privs_drop says no.
static void test_privs_drop__each_stage_fails_by_name(void **s)
{
    static const struct failing cases[] = {
        {lead, STAGE_SESSION, EPERM},
        {bad_fd, STAGE_DESCRIPTORS, EBADF},
        {bad_limit, STAGE_LIMITS, EPERM},
        {bad_cgroup, STAGE_CGROUP, EBADF},
        {without_setgid, STAGE_GID, EPERM},
        {without_setuid, STAGE_UID, EPERM},
        {bad_cwd, STAGE_CWD, ENOENT},
        {bad_ruleset, STAGE_LANDLOCK, 0},
        {with_groups, STAGE_READBACK, ENOTRECOVERABLE},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int r = in_child(fail_at, (void *)&cases[i]);
        if (r != 0)
            fail_msg("case %zu (%s): %d", i, privs_stage_name(cases[i].stage), r);
    }
}

static int descriptors_do_not_survive(void *arg)
{
    struct privs_plan p = plan();
    struct privs_record r = {0};
    int pipes[2];
    (void)arg;
    if (pipe(pipes) < 0 || fcntl(pipes[0], F_DUPFD, 500) < 0) // neither is close-on-exec
        return 1;
    fchmod(pipes[0], 0666);
    p.fd_out = pipes[1];
    if (be_service() < 0 || privs_drop(&p, &r) < 0)
        return 2;
    char *argv[] = {(char *)"sh", (char *)"-c",
                    (char *)"ls /proc/self/fd | tr '\\n' ' ' >&2; test \"$(ls /proc/$$/fd | wc -l)\" -le 4",
                    NULL};
    char *envp[] = {NULL};
    return privs_exec(&r, "/bin/sh", argv, envp);
}

static void test_privs_exec__no_descriptor_above_2(void **s)
{
    (void)s;
    assert_int_equal(in_child(descriptors_do_not_survive, NULL), 0);
}

static int signals_are_default(void *arg)
{
    struct privs_plan p = plan();
    struct privs_record r = {0};
    char ignored[32], blocked[32];
    sigset_t all;
    (void)arg;
    signal(SIGINT, SIG_IGN);
    // glibc's own two, as its posix_spawn leaves them in what GNU make starts; signal() does not touch them
    const unsigned long ignore[4] = {1 /* SIG_IGN */};
    if (syscall(SYS_rt_sigaction, 32, ignore, NULL, sizeof(long)) < 0 ||
        syscall(SYS_rt_sigaction, 33, ignore, NULL, sizeof(long)) < 0)
        return 4;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    if (privs_harden() < 0) // what every main begins with
        return 1;
    signal(SIGPIPE, SIG_IGN); // what the daemons do
    if (be_service() < 0 || privs_drop(&p, &r) < 0)
        return 2;
    read_status("SigIgn", ignored, sizeof(ignored));
    read_status("SigBlk", blocked, sizeof(blocked));
    return strcmp(ignored, "0000000000000000") == 0 && strcmp(blocked, "0000000000000000") == 0 ? 0 : 3;
}

static void test_privs_drop__signals(void **s)
{
    (void)s;
    assert_int_equal(in_child(signals_are_default, NULL), 0);
}

static int scheduling_is_default(void *arg)
{
    struct privs_plan p = plan();
    struct privs_record r = {0};
    struct rlimit lock = {1 << 30, RLIM_INFINITY};
    cpu_set_t one, now;
    const struct sched_param zero = {0};
    (void)arg;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (sched_setaffinity(0, sizeof(one), &one) < 0 || sched_setscheduler(0, SCHED_BATCH, &zero) < 0 ||
        syscall(SYS_ioprio_set, 1, 0, 3 << 13) < 0)
        return 1;
    setrlimit(RLIMIT_MEMLOCK, &lock); // where it may be raised; under the real unit it is 64 MiB anyway
    if (be_service() < 0 || privs_drop(&p, &r) < 0)
        return 2;
    if (sched_getaffinity(0, sizeof(now), &now) < 0 || getrlimit(RLIMIT_MEMLOCK, &lock) < 0)
        return 3;
    if (CPU_COUNT(&now) < (int)MIN(sysconf(_SC_NPROCESSORS_ONLN), 2L))
        return 4;
    if (sched_getscheduler(0) != SCHED_OTHER || syscall(SYS_ioprio_get, 1, 0) >> 13 == 3)
        return 5;
    return lock.rlim_max <= 8 << 20 ? 0 : 6;
}

static void test_privs_drop__scheduling_and_limits(void **s)
{
    (void)s;
    assert_int_equal(in_child(scheduling_is_default, NULL), 0);
}

// As under the unit's SystemCallFilter=: EPERM for what sets scheduling.
static int refuse_scheduling(void)
{
    static const unsigned calls[] = {SYS_sched_setscheduler, SYS_sched_setaffinity, SYS_ioprio_set,
                                     SYS_setpriority};
    struct sock_filter filter[2 * ARRAY_LEN(calls) + 2] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    struct sock_fprog program = {.len = ARRAY_LEN(filter), .filter = filter};

    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        filter[1 + 2 * i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
        filter[2 + 2 * i] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    }
    filter[1 + 2 * ARRAY_LEN(calls)] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -1
                                                      : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

struct schedule {
    int nice, io; // io: class << 13 | level; 0: as it is
    int policy, priority;
};

static int drop_with_schedule(void *arg)
{
    const struct schedule *w = arg;
    const struct sched_param param = {.sched_priority = w->priority};
    struct privs_plan p = plan();
    struct privs_record r = {0};

    if (setpriority(PRIO_PROCESS, 0, w->nice) < 0 || sched_setscheduler(0, w->policy, &param) < 0 ||
        (w->io && syscall(SYS_ioprio_set, 1, 0, w->io) < 0))
        return 101;
    if (refuse_scheduling() < 0 || setpriority(PRIO_PROCESS, 0, w->nice) == 0 || be_service() < 0)
        return 102;
    if (privs_drop(&p, &r) == 0)
        return 0;
    return r.stage == STAGE_SCHEDULING && r.error == -EPERM && getuid() == SERVICE ? 1 : 103;
}

static void test_privs_drop__scheduling_that_cannot_be_set(void **s)
{
    struct schedule fine[] = {{0, 0, SCHED_OTHER, 0},          {5, 0, SCHED_OTHER, 0},
                              {0, 0, SCHED_BATCH, 0},          {0, 0, SCHED_IDLE, 0},
                              {0, 3 << 13, SCHED_OTHER, 0},    {0, 2 << 13 | 4, SCHED_OTHER, 0},
                              {0, 2 << 13 | 7, SCHED_OTHER, 0}};
    struct schedule ahead[] = {{-1, 0, SCHED_OTHER, 0},
                               {0, 0, SCHED_RR, 1},
                               {0, 0, SCHED_FIFO, 1},
                               {0, 1 << 13 | 4, SCHED_OTHER, 0},
                               {0, 2 << 13 | 3, SCHED_OTHER, 0}};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(fine); i++)
        assert_int_equal(in_child(drop_with_schedule, &fine[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(ahead); i++)
        if (in_child(drop_with_schedule, &ahead[i]) != 1)
            fail_msg("ahead[%zu]: %d", i, in_child(drop_with_schedule, &ahead[i]));
}

static int unconfined_keeps_its_uid(void *arg)
{
    struct privs_plan p = plan();
    struct privs_record r = {0};
    char caps[32];
    (void)arg;
    p.enforce = false;
    if (be_service() < 0 || privs_drop(&p, &r) < 0)
        return 1;
    read_status("CapEff", caps, sizeof(caps));
    return geteuid() == SERVICE && strcmp(caps, "0000000000000000") == 0 && r.caps_permitted == 0 ? 0 : 2;
}

static void test_privs_drop__unconfined_only_clears(void **s)
{
    (void)s;
    assert_int_equal(in_child(unconfined_keeps_its_uid, NULL), 0);
}

static int become_for_good(void *arg)
{
    (void)arg;
    if (be_service() < 0 || privs_become(ACCOUNT, ACCOUNT) < 0)
        return 1;
    return setresuid(SERVICE, SERVICE, SERVICE) < 0 && setresuid(0, 0, 0) < 0 &&
                   prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
               ? 0
               : 2;
}

static void test_privs_become__for_good(void **s)
{
    (void)s;
    assert_int_equal(in_child(become_for_good, NULL), 0);
}

static int can_drop_as_service(void *arg)
{
    (void)arg;
    return be_service() == 0 && privs_can_drop(ACCOUNT, ACCOUNT) == 1 && geteuid() == SERVICE ? 0 : 1;
}
static int can_drop_without(void *arg)
{
    (void)arg;
    return privs_become(ACCOUNT, ACCOUNT) == 0 && privs_can_drop(SERVICE, SERVICE) == 0 ? 0 : 1;
}

static void test_privs_can_drop__is_tried(void **s)
{
    (void)s;
    assert_int_equal(in_child(can_drop_as_service, NULL), 0);
    assert_int_equal(in_child(can_drop_without, NULL), 0);
}

static int enter_and_leave(void *arg)
{
    (void)arg;
    if (privs_enter(ACCOUNT, ACCOUNT) < 0 || open("/etc/shadow", O_RDONLY) >= 0)
        return 1;
    return privs_leave() == 0 && geteuid() == 0 && open("/etc/shadow", O_RDONLY) >= 0 ? 0 : 2;
}

static void test_privs_enter__reads_as_somebody(void **s)
{
    (void)s;
    assert_int_equal(in_child(enter_and_leave, NULL), 0);
}

static int harden_fills_standard_descriptors(void *arg)
{
    (void)arg;
    close(0);
    close(2);
    if (privs_harden() < 0)
        return 1;
    return fcntl(0, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0 && prctl(PR_GET_DUMPABLE) == 0 ? 0 : 2;
}

static void test_privs_harden__descriptors_and_dumpable(void **s)
{
    (void)s;
    assert_int_equal(in_child(harden_fills_standard_descriptors, NULL), 0);
}

RUN(T(privs_shed__exactly_two), T(privs_drop__control_naive_drop_regains_everything), T(privs_drop__full),
    T(privs_drop__each_stage_fails_by_name), T(privs_exec__no_descriptor_above_2), T(privs_drop__signals),
    T(privs_drop__scheduling_and_limits), T(privs_drop__scheduling_that_cannot_be_set),
    T(privs_drop__unconfined_only_clears), T(privs_become__for_good), T(privs_can_drop__is_tried),
    T(privs_enter__reads_as_somebody), T(privs_harden__descriptors_and_dumpable))
