// Starting a plugin: its environment, its pipes, its plan; and what came of it.
#include "egress.h"
#include "fd.h"
#include "log.h"
#include "str.h"
#include "warden.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

extern char **environ;

// ---- environment --------------------------------------------------------------------------------

static bool is_allowed(const char *entry, const struct config *config)
{
    // Names, never a prefix: a secret called LC_X must not slip through.
    static const char *const allowed[] = {
        "PATH",         "TZ",          "LANG",     "LANGUAGE",          "LC_ALL",
        "LC_ADDRESS",   "LC_COLLATE",  "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT",
        "LC_MESSAGES",  "LC_MONETARY", "LC_NAME",  "LC_NUMERIC",        "LC_PAPER",
        "LC_TELEPHONE", "LC_TIME",
    };
    const char *equals = strchr(entry, '=');
    size_t n = equals ? (size_t)(equals - entry) : 0;

    for (size_t i = 0; n > 0 && i < ARRAY_LEN(allowed); i++)
        if (strlen(allowed[i]) == n && memcmp(allowed[i], entry, n) == 0)
            return true;
    for (size_t i = 0; n > 0 && i < config->env_passthrough.n; i++)
        if (strlen(config->env_passthrough.list[i]) == n &&
            memcmp(config->env_passthrough.list[i], entry, n) == 0)
            return true;
    return false;
}

// A directory, or a link in a directory, that root alone may write all the way down.
static bool is_roots(const char *dir)
{
    static const struct tree none;
    char where[LIMIT_PATH], parent[LIMIT_PATH];
    OWNED(freep) char *real = dir[0] == '/' ? realpath(dir, NULL) : NULL;

    if (!real || tree_writable(real, &none, where))
        return false;
    if (str_eq(real, dir))
        return true;
    const char *slash = strrchr(dir, '/');
    snprintf(parent, sizeof(parent), "%.*s", MAX(1, (int)(slash - dir)), dir);
    return !tree_writable(parent, &none, where);
}

// PATH without the directories in which somebody could put another interpreter: `#!/usr/bin/env python3`
// takes the first, and what it takes gets the secret. Never NULL but on no memory.
static char *roots_path(const char *value)
{
    struct strbuf sb = {0};
    OWNED(freep) char *copy = strdup(value);

    sb_adds(&sb, "PATH=");
    for (char *save = NULL, *d = copy ? strtok_r(copy, ":", &save) : NULL; d;
         d = strtok_r(NULL, ":", &save)) {
        if (is_roots(d))
            sb_addf(&sb, "%s%s", sb.len > strlen("PATH=") ? ":" : "", d);
        else if (d[0] != '/' || access(d, F_OK) == 0)
            log_warn("plugins do not get %s in PATH: others than root may write there", d);
    }
    if (sb.len == strlen("PATH="))
        sb_adds(&sb, "/usr/local/bin:/usr/bin:/bin");
    return sb_finish(&sb);
}

char **spawn_environment(const struct config *config, bool enforce)
{
    size_t count = 0, n = 0;
    bool path = false;

    while (environ[count])
        count++;
    char **env = calloc(count + 2, sizeof(*env));
    for (size_t i = 0; env && i < count; i++)
        if (is_allowed(environ[i], config)) {
            const bool is_path = str_starts(environ[i], "PATH=");
            path |= is_path;
            env[n] = is_path && enforce && !privs_broken(BREAK_INPLACE)
                         ? roots_path(environ[i] + strlen("PATH="))
                         : environ[i];
            if (!env[n++])
                return NULL;
        }
    if (env && !path)
        env[n] = (char *)"PATH=/usr/local/bin:/usr/bin:/bin";
    return env;
}

// The contract's variables for this account, then what all share. Everything is copied into one block that
// the slot keeps until the child has exec'd.
static char **plugin_environment(struct warden *w, const struct account_config *a)
{
    struct strbuf own = {0};
    size_t shared = 0, n = 0;

    if (a) {
        const char *home = a->mode == MODE_CREDENTIALED ? a->home : a->state_dir;
        sb_addf(&own, "HOME=%s%c", home, 0);
        if (a->mode == MODE_CONFINED)
            sb_addf(&own, "XDG_CACHE_HOME=%s%cXDG_STATE_HOME=%s%cTMPDIR=%s/tmp%c", home, 0, home, 0, home, 0);
    } else if (getenv("HOME"))
        sb_addf(&own, "HOME=%s%c", getenv("HOME"), 0);
    size_t len = own.len;
    OWNED(freep) char *text = sb_finish(&own);
    while (w->plugin_env[shared])
        shared++;
    char **env = text ? malloc((shared + 8) * sizeof(*env) + len) : NULL;
    if (!env)
        return NULL;
    char *copy = (char *)(env + shared + 8);
    memcpy(copy, text, len);
    for (char *p = copy; p < copy + len; p += strlen(p) + 1)
        env[n++] = p;
    memcpy(env + n, w->plugin_env, (shared + 1) * sizeof(*env));
    return env;
}

// ---- a plugin -----------------------------------------------------------------------------------

struct pipes {
    int in[2], out[2], err[2];
};

static void close_pipes(struct pipes *p)
{
    int *fds[] = {&p->in[0], &p->in[1], &p->out[0], &p->out[1], &p->err[0], &p->err[1]};

    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fd_closep(fds[i]);
}

static int make_pipes(struct pipes *p)
{
    *p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
    if (pipe2(p->in, O_CLOEXEC) < 0 || pipe2(p->out, O_CLOEXEC) < 0 || pipe2(p->err, O_CLOEXEC) < 0)
        return err_last();
    // Pipes are inodes of their maker, 0600: without this /dev/stdin and friends are EACCES for the account.
    // It opens nothing to others: /proc/PID/fd stays closed by the ptrace rules.
    if (fchmod(p->in[0], 0666) < 0 || fchmod(p->out[0], 0666) < 0 || fchmod(p->err[0], 0666) < 0)
        return err_last();
    // Never block on a plugin's pipe (the 1025th pipe of a user holds 8 KiB only).
    int r = fcntl(p->in[1], F_SETFL, O_WRONLY | O_NONBLOCK);
    return r < 0 ? err_last() : 0;
}

static bool holds(const struct warden *w, const struct slot *s, enum cgroup_controller controller)
{
    return s->procs_fd >= 0 && (w->controllers & controller);
}

// What no controller holds is left to rlimits: coarser (a process's memory, an account's processes), and said
// so.
static unsigned set_limits(const struct warden *w, const struct slot *s, struct privs_limit limits[static 4])
{
    const struct account_config *a = s->account;
    unsigned n = 0;

    if (!a)
        return 0;
    limits[n++] = (struct privs_limit){RLIMIT_NOFILE, {a->nofile, a->nofile}};
    if (a->fsize > 0)
        limits[n++] = (struct privs_limit){RLIMIT_FSIZE, {a->fsize, a->fsize}};
    // RLIMIT_DATA and not RLIMIT_AS: runtimes reserve far more than they use.
    if (a->memory > 0 && !holds(w, s, CGROUP_MEMORY))
        limits[n++] = (struct privs_limit){RLIMIT_DATA, {a->memory, a->memory}};
    if (a->pids > 0 && !holds(w, s, CGROUP_PIDS))
        limits[n++] = (struct privs_limit){RLIMIT_NPROC, {a->pids, a->pids}};
    return n;
}

static const char *cwd_of(const struct account_config *a)
{
    if (!a)
        return ".";
    return a->mode == MODE_CREDENTIALED ? a->home : a->state_dir;
}

static uint32_t layers_of(const struct warden *w, const struct slot *s)
{
    const struct account_config *a = s->account;
    uint32_t layers = s->procs_fd >= 0 ? LAYER_BIT(CGROUP) : LAYER_BIT(SUPERVISOR);

    if (!a)
        return layers;
    layers |= LAYER_BIT(UID) | LAYER_BIT(KEYRING);
    if (!privs_broken(BREAK_NONNP))
        layers |= LAYER_BIT(NNP);
    if (!privs_broken(BREAK_NOFILTER))
        layers |= LAYER_BIT(SECCOMP);
    if (a->network == NETWORK_NONE && !privs_broken(BREAK_NOFILTER))
        layers |= LAYER_BIT(NO_NETWORK);
    if (egress_has(a) &&
        !privs_broken(BREAK_NOFILTER)) // the rules themselves are the gate's to try, not ours
        layers |= LAYER_BIT(EGRESS_SOCKETS);
    if (a->memory > 0)
        layers |= holds(w, s, CGROUP_MEMORY) ? LAYER_BIT(MEMORY_CGROUP) : LAYER_BIT(MEMORY_RLIMIT);
    if (a->pids > 0)
        layers |= holds(w, s, CGROUP_PIDS) ? LAYER_BIT(PIDS_CGROUP) : LAYER_BIT(PIDS_RLIMIT);
    if (a->cpu > 0 && holds(w, s, CGROUP_CPU))
        layers |= LAYER_BIT(CPU_CGROUP);
    if (!privs_broken(BREAK_NOLANDLOCK))
        layers |= w->rulesets[a - w->config->accounts.list].layers;
    return layers;
}

#define OLD_TMP ".tmp.old."

// Is this the only job of its account? Siblings share TMPDIR, and it is emptied under none of them.
static bool alone(const struct warden *w, const struct slot *s)
{
    for (unsigned i = 0; i < w->n_slots; i++)
        if (&w->slots[i] != s && w->slots[i].account == s->account && w->slots[i].phase >= PHASE_STARTING)
            return false;
    return true;
}

// Removes what earlier jobs left in TMPDIR, as the account; reaped like any child, waited for by nobody.
static void sweep(const struct account_config *a)
{
    char **names = NULL;
    size_t n = 0;
    pid_t pid = fork();

    if (pid < 0)
        log_warn("the old TMPDIR of account %s stays: %s", a->name, errno_name(errno));
    if (pid != 0)
        return;
    alarm(TIME_SWEEP_S); // a tree that takes longer is the account's own disk space
    int dir = -1;
    if (syscall(SYS_close_range, 3, ~0u, 0) == 0 && privs_become((uid_t)a->uid, (gid_t)a->gid) == 0)
        dir = open(a->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0 || fd_list(dir, &names, &n) < 0)
        _exit(1);
    int r = 0;
    for (size_t i = 0; i < n; i++)
        if (str_starts(names[i], OLD_TMP) && fd_remove_tree(dir, names[i]) < 0)
            r = 1;
    _exit(r);
}

static void plan_launch(struct warden *w, struct slot *s, const struct pipes *p)
{
    const struct account_config *a = s->account;
    struct launch *l = s->launch;
    const char *code = privs_broken(BREAK_INPLACE) ? s->plugin->source : s->plugin->code;

    snprintf(l->old_tmp, sizeof(l->old_tmp), OLD_TMP "%llu.%u", (unsigned long long)s->request.job,
             s->request.attempt);
    l->plan = (struct privs_plan){
        .enforce = w->enforce,
        .uid = a ? (uid_t)a->uid : geteuid(),
        .gid = a ? (gid_t)a->gid : getegid(),
        .service_uid = (uid_t)w->config->uid,
        .bus_uid = (uid_t)w->config->bus_uid,
        .fd_in = p->in[0],
        .fd_out = p->out[1],
        .fd_err = p->err[1],
        .cgroup_fd = s->procs_fd,
        .landlock_fd = a ? w->rulesets[a - w->config->accounts.list].fd : -1,
        .cwd = cwd_of(a),
        .make_tmp = a && a->mode == MODE_CONFINED,
        .old_tmp = a && alone(w, s) ? l->old_tmp : NULL,
        .limits = l->limits,
        .n_limits = set_limits(w, s, l->limits),
        .filter = a ? wall_filter_of(a) : NULL,
    };
    snprintf(l->path, sizeof(l->path), "%s/%s", code, s->plugin->entrypoint);
    s->layers = layers_of(w, s);
}

// Field 22 of /proc/PID/stat: with the boot id, the identity of a process. Behind the last ')' of the name.
uint64_t proc_start_ticks(pid_t pid)
{
    char path[64], text[1024];
    uint64_t ticks = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (p && sscanf(p, "%llu", (unsigned long long *)&ticks) != 1)
        return 0;
    return ticks;
}

static int start(struct warden *w, struct slot *s, const struct pipes *p)
{
    s->launch = launch_new();
    if (!s->launch)
        return -ENOMEM;
    s->launch->envp = plugin_environment(w, s->account);
    if (!s->launch->envp)
        return -ENOMEM;
    plan_launch(w, s, p);
    if (s->procs_fd < 0)
        return cage_supervise(w, s);
    int r = launch_start(s->launch, &s->pid, &s->pidfd, &s->stage_fd);
    if (r == 0)
        s->start_ticks = proc_start_ticks(s->pid); // now: nobody else reaps it
    return r;
}

// Before STARTED, on the same wire: the bus must know what to look for before it can read a byte.
static int tell_mask(struct warden *w, struct slot *s)
{
    struct proto_message m = {.MASK = {.job = s->request.job}};
    OWNED(freep) char *data = NULL;
    size_t len = 0;

    if (s->delivery.n == 0)
        return 0;
    int r = vault_delivery_mask(&s->delivery);
    if (r == 0)
        r = mask_save(&s->delivery.mask, &data, &len);
    OWNED(fd_closep) int fd = r < 0 ? r : fd_sealed("mask", data, len);
    if (fd < 0)
        return fd;
    link_send(w, &m, PROTO_MASK, &fd);
    return 0;
}

void spawn_plugin(struct warden *w, struct slot *s)
{
    struct pipes p;

    if (slot_refuse_breached(w, s)) // found while its code was read or its delivery written
        return;
    int r = tell_mask(w, s);

    if (r < 0) {
        slot_refuse(w, s, REASON_SPAWN_FAILED, STAGE_NONE, r, "what to mask cannot be told");
        return;
    }
    r = cage_prepare(w, s);
    if (r < 0) {
        slot_refuse(w, s, REASON_SPAWN_FAILED, STAGE_CGROUP, r, "its cgroup cannot be made");
        return;
    }
    r = make_pipes(&p);
    if (r == 0)
        r = start(w, s, &p);
    if (r < 0) {
        close_pipes(&p);
        slot_refuse(w, s, REASON_SPAWN_FAILED, STAGE_NONE, r, "it cannot be started");
        return;
    }
    s->stdin_fd = fd_take(&p.in[1]);
    s->out_fd = fd_take(&p.out[0]);
    s->err_fd = fd_take(&p.err[0]);
    close_pipes(&p);
    s->phase = PHASE_STARTING;
    s->deadline = warden_now() + TIME_EXEC_MS;
}

static void tell_started(struct warden *w, struct slot *s)
{
    struct proto_message m = {0};
    const int fds[2] = {s->out_fd, s->err_fd};
    const struct account_config *a = s->account;

    m.STARTED.job = s->request.job;
    m.STARTED.attempt = s->request.attempt;
    m.STARTED.pid = (uint32_t)s->pid;
    m.STARTED.start_ticks = s->start_ticks;
    if (s->record.caps_effective == 0 && s->record.caps_permitted == 0)
        s->layers |= LAYER_BIT(CAPS); // as read back, not as meant
    m.STARTED.layers = s->layers;
    m.STARTED.mode = a ? a->mode : MODE_UNCONFINED;
    snprintf(m.STARTED.account, sizeof(m.STARTED.account), "%s", a ? a->name : "");
    memcpy(m.STARTED.lock_hash, s->plugin->tree.hash, TREE_HASH_LEN);
    m.STARTED.record = s->record;
    link_send(w, &m, PROTO_STARTED, fds);
    fd_closep(&s->out_fd);
    fd_closep(&s->err_fd);
}

static const char *stage_subject(const struct slot *s, enum privs_stage stage)
{
    if (stage == STAGE_EXEC)
        return s->launch->path;
    return stage == STAGE_CWD ? s->launch->plan.cwd : "";
}

void spawn_settled(struct warden *w, struct slot *s)
{
    fd_closep(&s->stage_fd);
    // setresuid in shared memory wrote fs.suid_dumpable into us. The child set it back; so do we.
    if (prctl(PR_SET_DUMPABLE, privs_broken(BREAK_DUMPABLE) ? 1 : 0) < 0)
        log_warn("PR_SET_DUMPABLE: %s", errno_name(errno));
    s->record = s->shared ? s->shared->record : s->launch->record;
    for (int i = 0; s->supervisor > 0 && s->pid == 0 && i < 100;
         i++) { // its first word may still be on its way
        struct pollfd p = {.fd = s->supervisor_fd, .events = POLLIN};
        if (poll(&p, 1, 10) > 0)
            cage_supervisor(s);
    }
    enum privs_stage stage = (enum privs_stage)s->record.stage;
    int error = s->record.error;
    if (error < 0 || stage != STAGE_EXEC) {
        // The child ended before the plugin ran a single instruction.
        // Without an error nothing failed: somebody of its account killed it on the way, and it may try
        // again.
        const bool wall = error < 0 && privs_stage_is_wall(stage);
        slot_refuse(w, s, wall ? REASON_DROP_FAILED : REASON_SPAWN_FAILED, stage, error, "stage %s %s%s%s",
                    privs_stage_name(stage), error < 0 ? "failed" : "was not survived",
                    stage_subject(s, stage)[0] ? ": " : "", stage_subject(s, stage));
        return;
    }
    tell_started(w, s);
    if (s->record.moved_tmp)
        sweep(s->account);
    launch_free(ptr_take(&s->launch));
    s->phase = PHASE_RUNNING;
    s->deadline = warden_now() + (int64_t)config_timeout_of(w->config, s->request.plugin, s->request.command);
    pump(s);
    if (s->exited)
        reap_events(w, s);
}
