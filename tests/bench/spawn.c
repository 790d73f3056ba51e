// What a spawn costs, in microseconds each, one line per spawn on standard output. `make bench-spawn`
// alternates the modes in one run (tests/bench/spawn.py).
//
//   spawn bare N PROGRAM            vfork, exec, wait
//   spawn drop N PROGRAM            vfork, setgroups, setresgid, setresuid, exec, wait: what a naive dropper
//   does spawn process N COMMAND...      vfork, exec of another dropper, wait spawn ours[-STEP] N PROGRAM the
//   warden's own launch: attested by identity, three pipes, the drop of privs.c,
//                                   Landlock, the inherited filter, a kept cgroup; without STEP where one is
//                                   named
//   spawn check PROGRAM             one launch of /bin/cat: says which layers held, exits 1 where one did not
//
// Started as the service is: a user that is not root, with exactly CAP_SETUID and CAP_SETGID, ambient.
#include "../../ductile-run/warden/launch.h"
#include "cgroup.h"
#include "config.h"
#include "fd.h"
#include "str.h"
#include "tree.h"
#include "wall.h"
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { ACCOUNT = 61003, BUS = 61002 };

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

__attribute__((noreturn)) static void die(const char *what)
{
    fprintf(stderr, "spawn: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            die("waitpid");
    return status;
}

static void plain(char **argv, bool drop)
{
    pid_t pid = vfork();

    if (pid == 0) {
        if (drop &&
            (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, ACCOUNT, ACCOUNT, ACCOUNT) < 0 ||
             syscall(SYS_setresuid, ACCOUNT, ACCOUNT, ACCOUNT) < 0))
            _exit(99);
        execvp(argv[0], argv);
        _exit(98);
    }
    if (pid < 0 || wait_for(pid) != 0)
        die(argv[0]);
}

// ---- ours ---------------------------------------------------------------------------------------

struct ours {
    struct launch *launch;
    int ruleset, procs, events;
    struct tree tree;
    char *code;
    uint8_t identity[TREE_HASH_LEN];
    const char *without;
};

static bool with(const struct ours *o, const char *step)
{
    return !o->without || !str_eq(o->without, step);
}

static void prepare(struct ours *o, const char *program)
{
    static struct wall_filter filter;
    static char *const env[] = {(char *)"PATH=/usr/bin:/bin", NULL};
    const uint32_t ids[] = {ACCOUNT, BUS};
    const struct account_config account = {
        .name = "a", .landlock = LANDLOCK_WRITE, .state_dir = "/mnt/nest/state"};
    struct tree_error error;
    uint32_t layers;
    bool root_only;
    int own = -1, dir = -1;

    o->code = strdup(program);
    *strrchr(o->code, '/') = '\0';
    OWNED(fd_closep) int code = open(o->code, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (code < 0 || tree_scan(code, &o->tree, &error) < 0 ||
        tree_identity(o->code, &o->tree, o->identity, &root_only) < 0 || !root_only)
        die("its code is not root's alone");
    if (cgroup_open_own(&own) < 0 || cgroup_make(own, "bench", &dir) < 0 || cgroup_enter(dir) < 0 ||
        cgroup_make(own, "slot-0", &dir) < 0 || (o->procs = cgroup_open_procs(dir)) < 0 ||
        (o->events = cgroup_open_events(dir)) < 0)
        die("no cgroup is delegated");
    if (setgroups(0, NULL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        (with(o, "filter") &&
         (wall_filter_warden(&filter, ids, 2, ids, 2) < 0 || wall_filter_load(&filter) < 0)))
        die("the filter");
    o->ruleset = wall_landlock_build(&account, NULL, 0, &layers);
    if (o->ruleset < 0)
        die("Landlock");
    o->launch = launch_new();
    if (!o->launch)
        die("memory");
    o->launch->envp = (char **)env;
}

static pid_t launch(struct ours *o, const char *program, int pipes[3][2])
{
    struct launch *l = o->launch;
    uint8_t identity[TREE_HASH_LEN];
    bool root_only;
    pid_t pid;
    int pidfd, stage;
    char byte;

    if (with(o, "attest") && (tree_identity(o->code, &o->tree, identity, &root_only) < 0 || !root_only ||
                              memcmp(identity, o->identity, sizeof(identity)) != 0))
        die("the code has changed");
    for (int i = 0; with(o, "pipes") && i < 3; i++)
        if (pipe2(pipes[i], O_CLOEXEC) < 0 || fchmod(pipes[i][0], 0666) < 0)
            die("pipe");
    const bool piped = with(o, "pipes");
    l->plan = (struct privs_plan){
        .enforce = true,
        .uid = ACCOUNT,
        .gid = ACCOUNT,
        .service_uid = getuid(),
        .bus_uid = BUS,
        .fd_in = piped ? pipes[0][0] : -1,
        .fd_out = piped ? pipes[1][1] : -1,
        .fd_err = piped ? pipes[2][1] : -1,
        .cgroup_fd = with(o, "cgroup") ? o->procs : -1,
        .landlock_fd = with(o, "landlock") ? o->ruleset : -1,
        .cwd = "/mnt/nest/state",
        .limits = l->limits,
        .n_limits = 2,
    };
    l->limits[0] = (struct privs_limit){RLIMIT_NOFILE, {1024, 1024}};
    l->limits[1] = (struct privs_limit){RLIMIT_FSIZE, {1 << 30, 1 << 30}};
    snprintf(l->path, sizeof(l->path), "%s", program);
    if (launch_start(l, &pid, &pidfd, &stage) < 0)
        die("launch");
    struct pollfd p = {.fd = stage, .events = POLLIN};
    if (poll(&p, 1, 5000) != 1 || read(stage, &byte, 1) != 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        die("the stage pipe");
    if (l->record.stage != STAGE_EXEC || l->record.error < 0) {
        fprintf(stderr, "spawn: stage %s: %s\n", privs_stage_name((enum privs_stage)l->record.stage),
                strerror(-l->record.error));
        exit(1);
    }
    if (l->record.caps_effective || l->record.caps_permitted || l->record.n_ambient || l->record.n_groups ||
        l->record.no_new_privs != 1 || l->record.euid != ACCOUNT)
        die("the record shows a layer that did not hold");
    close(stage);
    close(pidfd);
    return pid;
}

static void close_all(int pipes[3][2])
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++)
            if (pipes[i][j] >= 0)
                close(pipes[i][j]);
}

static void ours(struct ours *o, const char *program)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};

    if (wait_for(launch(o, program, pipes)) != 0)
        die(program);
    if (with(o, "cgroup") && cgroup_populated(o->events) != 0)
        die("the cgroup is not empty");
    close_all(pipes);
}

// What a launched process sees of itself: the layers that its record cannot show.
static int check(struct ours *o)
{
    static const char script[] = "/opt/bench/check";
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    char text[4096];
    size_t n = 0;
    ssize_t got;
    pid_t pid = launch(o, script, pipes);

    close(pipes[1][1]);
    while ((got = read(pipes[1][0], text + n, sizeof(text) - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    wait_for(pid);
    printf("%s", text);
    return strstr(text, "NoNewPrivs:\t1") && strstr(text, "Seccomp:\t2") && strstr(text, "slot-0") &&
                   strstr(text, "landlock holds") && strstr(text, "CapEff:\t0000000000000000")
               ? 0
               : 1;
}

int main(int argc, char **argv)
{
    struct ours o = {.launch = NULL};
    const char *mode = argc > 2 ? argv[1] : "";

    if (str_eq(mode, "check")) {
        prepare(&o, argv[2]);
        return check(&o);
    }
    int n = argc > 3 ? (int)strtol(argv[2], NULL, 10) : 0;
    bool is_ours = str_starts(mode, "ours");
    if (n < 1)
        return 64;
    if (is_ours) {
        o.without = mode[4] == '-' ? mode + 5 : NULL;
        prepare(&o, argv[3]);
    }
    for (int i = -5; i < n; i++) { // the first five warm up
        double start = now_us();
        if (is_ours)
            ours(&o, argv[3]);
        else
            plain(argv + 3, str_eq(mode, "drop"));
        if (i >= 0)
            printf("%.1f\n", now_us() - start);
    }
    return 0;
}
