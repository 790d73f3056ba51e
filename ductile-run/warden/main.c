// ductile-run serve: the warden. Phases by name, then one loop. See warden.h for the map.
#include "fd.h"
#include "log.h"
#include "opt.h"
#include "posture.h"
#include "sd.h"
#include "str.h"
#include "warden.h"
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

int64_t warden_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// ---- phases of the start ------------------------------------------------------------------------

static int load_config(const struct opts *o, struct warden *w, struct refusal *refusal)
{
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = config_load(root, o->value[OPT_CONFIG], o->value[OPT_INSTANCE], &w->config, refusal);

    if (r < 0)
        return r;
    log_set_level((enum log_level)w->config->log_level);
    if (!w->config->resolved && w->config->posture == POSTURE_UNCONFINED)
        config_resolve_self(w->config);
    if (w->config->resolved)
        return 0;
    refuse(refusal, REFUSE_IDS, "the accounts of %s have no ids yet", w->config->path);
    refuse_why(refusal, "there is no %s/accounts.lock.yaml", w->config->dir);
    return refuse_remedy(refusal, "ductile-install apply");
}

static int become_service(struct warden *w, struct refusal *refusal)
{
    const struct config *c = w->config;

    // Started as root with accounts (no systemd): root ends here, before anything else is touched.
    if (geteuid() == 0 && c->posture != POSTURE_UNCONFINED) {
        int r = privs_shed((uid_t)c->uid, (gid_t)c->gid);
        if (r < 0) {
            refuse(refusal, REFUSE_RUN_POSTURE, "becoming %s", c->user);
            refuse_why(refusal, "%s", strerror(-r));
            return refuse_remedy(refusal, "systemctl start %s", c->name);
        }
    }
    if ((int64_t)geteuid() == c->uid || (geteuid() == 0 && c->unconfined))
        return 0;
    refuse(refusal, REFUSE_RUN_POSTURE, "running the gateway as uid %u", geteuid());
    refuse_why(refusal, "the service user of %s is %s, uid %lld", c->path, c->user, (long long)c->uid);
    return refuse_remedy(refusal, "systemctl start %s", c->name);
}

static int decide_posture(struct warden *w, struct refusal *refusal)
{
    const struct config *c = w->config;
    int can = posture_can_drop(c);

    switch (posture_verdict(can == 1, c->accounts.n > 0, c->unconfined)) {
    case BOOT_ENFORCE: w->enforce = true; return 0;
    case BOOT_UNCONFINED:
        log_info("posture unconfined: plugins run as %s; nothing is walled off", c->user);
        return 0;
    case BOOT_UNCONFINED_LOUD:
        log_warn(
            "POSTURE UNCONFINED by service.unconfined: true - plugins can read secret zero and everything else %s can",
            c->user);
        return 0;
    case BOOT_REFUSE_NO_ACCOUNT:
        refuse(refusal, REFUSE_RUN_POSTURE, "starting with capabilities and no accounts");
        refuse_why(refusal, "this process can become other users, and %s names none to drop plugins to",
                   c->path);
        return refuse_remedy(
            refusal, "add accounts: to the config, or take the capabilities away (ductile-install apply)");
    case BOOT_REFUSE_NO_POWER:
        refuse(refusal, REFUSE_RUN_POSTURE, "starting with accounts and no way to drop to them");
        refuse_why(refusal,
                   "this process cannot become the accounts of %s: it lacks CAP_SETUID and CAP_SETGID",
                   c->path);
        return refuse_remedy(refusal,
                             "systemctl start %s (its unit gives the two), or remove accounts:", c->name);
    }
    return -EINVAL;
}

// From here on this process can become the accounts of the config and nobody else.
static int build_wall(struct warden *w, struct refusal *refusal)
{
    static struct wall_filter filter;
    int r = 0;

    if (!w->enforce)
        return 0;
    if (wall_landlock_abi() < WALL_LANDLOCK_FLOOR && !privs_broken(BREAK_NOLANDLOCK)) {
        refuse(refusal, REFUSE_RUN_WALL, "enforcing without Landlock");
        refuse_why(refusal, "this kernel's Landlock ABI is %d, the wall needs %d (Linux 5.19)",
                   wall_landlock_abi(), WALL_LANDLOCK_FLOOR);
        return refuse_remedy(refusal, "boot a newer kernel, or put landlock into its lsm= list");
    }
    if (!privs_broken(BREAK_KEEPGROUPS) && setgroups(0, NULL) < 0)
        r = err_last();
    if (r == 0 && !privs_broken(BREAK_NONNP) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = err_last();
    if (r == 0)
        r = wall_filter_config(&filter, w->config);
    if (r == 0)
        r = wall_filter_load(&filter);
    if (r == 0)
        return 0;
    refuse(refusal, REFUSE_RUN_WALL, "loading the warden's own seccomp filter");
    refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(refusal, "use a kernel with CONFIG_SECCOMP_FILTER");
}

static int build_rulesets(struct warden *w, struct refusal *refusal)
{
    const struct config *c = w->config;

    w->rulesets = calloc(MAX(c->accounts.n, (size_t)1), sizeof(*w->rulesets));
    for (size_t i = 0; w->enforce && w->rulesets && i < c->accounts.n; i++) {
        const struct account_config *a = &c->accounts.list[i];
        if (privs_broken(BREAK_NOLANDLOCK)) {
            w->rulesets[i].fd = -1;
            continue;
        }
        int r = wall_landlock_of(c, a, &w->rulesets[i].layers);
        w->rulesets[i].fd = r;
        if (r < 0) {
            refuse(refusal, REFUSE_RUN_WALL, "the Landlock ruleset of account %s", a->name);
            refuse_why(refusal, "%s (%s)%s%s", strerror(-r), errno_name(-r), a->state_dir ? ": " : "",
                       a->state_dir ? a->state_dir : "");
            return refuse_remedy(refusal, "ductile-install apply");
        }
    }
    return w->rulesets ? 0 : -ENOMEM;
}

static int only_one(struct warden *w, struct refusal *refusal)
{
    char path[LIMIT_PATH + 8];
    OWNED(fd_closep) int root = fd_open_root(NULL);
    const char *slash = strrchr(w->config->api_socket, '/');

    snprintf(path, sizeof(path), "%.*s/lock", (int)(slash - w->config->api_socket), w->config->api_socket);
    int fd = fd_open(root, path, O_RDWR | O_CREAT, 0600); // held until this process ends
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        w->lock_fd = fd;
        return 0;
    }
    int e = fd < 0 ? -fd : errno;
    refuse(refusal, REFUSE_RUN_TWICE, "starting the gateway %s", w->config->name);
    refuse_why(refusal, e == EWOULDBLOCK ? "another one holds %s" : "%s cannot be locked: %s", path,
               strerror(e));
    return refuse_remedy(refusal,
                         e == EWOULDBLOCK ? "systemctl stop %s" : "ductile-install apply (instance %s)",
                         w->config->name);
}

// Who the gateway is, for the gate's probes.
static void say_who(const struct warden *w)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "warden %d\nbus %d\n", getpid(), w->bus_pid);

    if (ftruncate(w->lock_fd, 0) < 0 || pwrite(w->lock_fd, text, (size_t)n, 0) != n)
        log_warn("the lock file could not be written; `ductile-gate prove` tries twins instead");
}

static int use_cgroups(struct warden *w, bool wanted)
{
    int own = -1, r = wanted ? cgroup_open_own(&own) : -ENOENT;

    if (r == 0) {
        // First of all: what a crashed gateway left is killed before any job is taken.
        int held = cgroup_sweep(own, "slot-", TIME_TERM_GRACE_MS);
        if (held != 0)
            log_warn("%d job cgroups of an earlier run still held processes: killed", held);
        int mine = -1;
        r = held < 0 ? held : cgroup_make(own, "warden", &mine);
        if (r == 0)
            r = cgroup_enter(mine);
        fd_closep(&mine);
        if (r == 0)
            r = cgroup_make(own, "bus", &w->cgroup_bus);
    }
    if (r == 0) {
        w->cgroup_root = own;
        w->controllers = cgroup_enable(own);
        return 0;
    }
    fd_closep(&own);
    log_warn("no cgroup is delegated (%s): each job gets a supervisor instead", errno_name(-r));
    return prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? err_last() : 0;
}

// Signals as a descriptor; changes of plugins.lock and the vault as another (both take effect without a
// restart).
static int watch(struct warden *w)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return err_last();
    w->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    w->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->signal_fd < 0 || w->watch_fd < 0)
        return err_last();
    if (inotify_add_watch(w->watch_fd, w->config->dir, IN_MOVED_TO | IN_CLOSE_WRITE) < 0)
        return err_last();
    int r = breach_watch(w);

    return r < 0 ? r : warden_vault_watch(w);
}

// Takes plugins.lock, and with it (unless this is the start) the bus: both or neither.
static int load_locks(struct warden *w, bool first, struct refusal *refusal)
{
    struct lock lock;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = lock_load(root, w->config, &lock, refusal);

    if (r < 0)
        return r;
    struct lockset *set = lockset_new(&lock);
    if (!set)
        return -ENOMEM;
    struct lockset *old = w->lockset;
    w->lockset = set;
    r = first ? 0 : link_send_config(w, false);
    if (r < 0)
        w->lockset = old;
    lockset_drop(r < 0 ? set : old);
    return r;
}

// ---- the loop -----------------------------------------------------------------------------------

static void on_files_changed(struct warden *w)
{
    char events[4096];
    struct refusal refusal;
    const char *vault = strrchr(w->config->vault_file, '/') + 1;
    bool changed = false, flagged = false, vault_changed = false;
    ssize_t n;

    while ((n = read(w->watch_fd, events, sizeof(events))) > 0)
        for (char *p = events; p < events + n;) {
            const struct inotify_event *e = (const struct inotify_event *)(void *)p;
            const bool any = e->mask & IN_Q_OVERFLOW; // what it was is lost
            changed |= any || (e->len > 0 && str_eq(e->name, "plugins.lock"));
            flagged |= any || (e->len > 0 && str_eq(e->name, "breach"));
            // Without a name it is the directory itself: moved, removed, no longer watched.
            vault_changed |= any || (e->wd == w->vault_watch && (e->len == 0 || str_eq(e->name, vault)));
            p += sizeof(*e) + e->len;
        }
    if (flagged && w->enforce)
        breach_load(w);
    if (vault_changed && !w->stopping)
        warden_vault_look(w);
    if (!changed || w->stopping)
        return;
    int r = load_locks(w, false, &refusal);
    if (r < 0)
        log_warn("the new plugins.lock is not used: %s", r == -ECANCELED ? refusal.why : strerror(-r));
    else
        log_info("plugins.lock was read again: %zu plugins", w->lockset->lock.n);
}

static void stop(struct warden *w)
{
    struct proto_message m = {0};

    if (w->stopping)
        return;
    w->stopping = true;
    log_info("stopping: running jobs have %llu s", (unsigned long long)w->config->drain / 1000);
    if (sd_tell("STOPPING=1\nSTATUS=draining") < 0)
        log_warn("the service manager could not be told");
    link_send(w, &m, PROTO_STOP, NULL);
}

static void on_signal(struct warden *w)
{
    struct signalfd_siginfo info;

    while (read(w->signal_fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            stop(w);
    reap_children(w);
}

// Everything of every job dies; then so do we, in a way that the service manager restarts.
__attribute__((noreturn)) static void give_up(struct warden *w, const char *why)
{
    log_msg(LOG_LEVEL_ERR, "%s: killing every job and giving up", why);
    for (unsigned i = 0; i < w->n_slots; i++)
        if (w->slots[i].phase >= PHASE_STARTING)
            cage_kill(w, &w->slots[i]);
    if (w->cgroup_bus >= 0 && cgroup_kill(w->cgroup_bus) < 0)
        log_warn("the bus could not be killed");
    for (unsigned i = 0; i < w->n_slots; i++)
        for (int wait = 0; w->slots[i].phase >= PHASE_STARTING && !cage_is_empty(&w->slots[i]) && wait < 100;
             wait++) {
            struct pollfd p = {.fd = w->slots[i].supervisor_fd, .events = POLLIN};
            if (poll(&p, 1, 20) > 0)
                cage_supervisor(&w->slots[i]);
        }
    secret_arena_close();
    abort();
}

enum source { FROM_HELPER, FROM_STAGE, FROM_STDIN, FROM_PROCESS, FROM_EVENTS };

static void on_slot(struct warden *w, struct slot *s, enum source source)
{
    switch (source) {
    case FROM_HELPER:
        if (s->phase == PHASE_ATTEST && s->helper_fd >= 0)
            attest_answer(w, s);
        break;
    case FROM_STAGE:
        if (s->phase == PHASE_STARTING)
            spawn_settled(w, s);
        else
            fd_closep(&s->stage_fd);
        break;
    case FROM_STDIN: pump(s); break;
    case FROM_PROCESS: reap_exit(w, s); break;
    case FROM_EVENTS: reap_events(w, s); break;
    }
}

struct watched {
    struct slot *slot;
    enum source source;
};

static nfds_t add(struct pollfd *p, struct watched *of, nfds_t n, int fd, short events, struct slot *s,
                  enum source source)
{
    if (fd < 0 && s)
        return n; // the gateway's own four keep their places; poll(2) passes over -1
    p[n] = (struct pollfd){.fd = fd, .events = events};
    of[n] = (struct watched){s, source};
    return n + 1;
}

static nfds_t gather(struct warden *w, struct pollfd *p, struct watched *of, int64_t *ret_deadline)
{
    nfds_t n = 0;

    n = add(p, of, n, w->bus.fd, w->pending ? POLLIN | POLLOUT : POLLIN, NULL, 0);
    n = add(p, of, n, w->bus_pidfd, POLLIN, NULL, 0);
    n = add(p, of, n, w->signal_fd, POLLIN, NULL, 0);
    n = add(p, of, n, w->watch_fd, POLLIN, NULL, 0);
    for (unsigned i = 0; i < w->n_slots; i++) {
        struct slot *s = &w->slots[i];
        if (s->phase == PHASE_FREE)
            continue;
        *ret_deadline = MIN(*ret_deadline, s->deadline);
        n = add(p, of, n, s->helper_fd, POLLIN, s, FROM_HELPER);
        n = add(p, of, n, s->stage_fd, POLLIN, s, FROM_STAGE);
        if (s->phase > PHASE_STARTING) {
            n = add(p, of, n, s->stdin_fd, POLLOUT, s, FROM_STDIN);
            n = add(p, of, n, s->supervisor_fd, POLLIN, s, FROM_PROCESS);
            n = add(p, of, n, s->ended || s->exited ? -1 : s->pidfd, POLLIN, s, FROM_PROCESS);
            n = add(p, of, n, s->exited ? s->events_fd : -1, POLLPRI, s, FROM_EVENTS);
        }
    }
    return n;
}

static void check_deadlines(struct warden *w)
{
    int64_t now = warden_now();

    for (unsigned i = 0; i < w->n_slots; i++)
        if (w->slots[i].phase != PHASE_FREE && w->slots[i].deadline <= now)
            reap_deadline(w, &w->slots[i]);
}

enum {
    LAST_WORDS_MAX = 1024
}; // more than a socket holds; whoever got the bus's end from it may go on writing

// One message a turn. Of a bus that has ended, all that is left: behind what it asked may stand that it
// stopped, or why it cannot start.
static int hear_bus(struct warden *w)
{
    int r = link_receive(w);

    for (int i = 0; w->bus_ended && r > 0 && i < LAST_WORDS_MAX; i++)
        r = link_receive(w);
    if (r == -ENOTCONN && w->bus_stopped) {
        fd_closep(&w->bus.fd); // what is left is its exit
        return 0;
    }
    return MIN(r, 0);
}

static int turn(struct warden *w, struct pollfd *p, struct watched *of)
{
    int64_t deadline = warden_vault_look_at(w), now = warden_now();
    nfds_t n = gather(w, p, of, &deadline);
    int wait = deadline == INT64_MAX ? -1 : (int)MIN(MAX(deadline - now, (int64_t)0), (int64_t)60000);

    if (poll(p, n, wait) < 0 && errno != EINTR)
        return err_last();
    // Slots first: what a job did before the bus spoke is acted on before what the bus asks.
    for (nfds_t i = 4; i < n; i++)
        if (p[i].revents && of[i].slot->phase != PHASE_FREE)
            on_slot(w, of[i].slot, of[i].source);
    check_deadlines(w);
    if (p[2].revents)
        on_signal(w);
    if (p[3].revents)
        on_files_changed(w);
    if (warden_vault_look_at(w) <= warden_now())
        warden_vault_look(w);
    link_flush(w);
    if (w->bus_stuck)
        return -EPIPE;
    w->bus_ended = p[1].revents != 0;
    if (p[0].revents & ~POLLOUT || (w->bus_ended && w->bus.fd >= 0)) {
        int r = hear_bus(w);
        if (r < 0)
            return r;
    }
    return !w->bus_ended ? 1 : w->bus_stopped ? 0 : -EPIPE;
}

static void tell_ready(struct warden *w)
{
    char text[256];

    snprintf(text, sizeof(text), "READY=1\nSTATUS=%s: %zu accounts, %zu plugins, %u workers",
             posture_name(w->config->posture), w->config->accounts.n, w->lockset->lock.n, w->n_slots);
    if (sd_tell(text) < 0)
        log_warn("the service manager could not be told");
    log_info("ready: posture %s, %zu plugins locked, %u workers, Landlock ABI %d, %s",
             posture_name(w->config->posture), w->lockset->lock.n, w->n_slots, wall_landlock_abi(),
             w->cgroup_root >= 0 ? "a cgroup per worker" : "a supervisor per job");
}

static int loop(struct warden *w)
{
    size_t max = 4 + 5 * (size_t)w->n_slots;
    OWNED(freep) struct pollfd *p = calloc(max, sizeof(*p));
    OWNED(freep) struct watched *of = calloc(max, sizeof(*of));
    bool told = false;
    int r = p && of ? 1 : -ENOMEM;

    while (r > 0) {
        r = turn(w, p, of);
        if (w->bus_ready && !told) {
            tell_ready(w);
            told = true;
#ifdef DUCTILE_BREAKABLE
            if (privs_broken(BREAK_POPWARDEN))
                popped_warden(w);
#endif
        }
    }
    if (r == -ECANCELED && !told) { // the bus said why it cannot start: a refusal, not a crash
        refusal_print(&w->bus_refusal, false);
        return EXITCODE_CONFIG;
    }
    if (r < 0)
        give_up(w, r == -EPIPE || r == -ENOTCONN ? "the bus is gone" : strerror(-r));
    log_info("stopped");
    return EXITCODE_OK;
}

static int refuse_internal(const struct warden *w, struct refusal *refusal, int r)
{
    if (r == -ECANCELED)
        return r;
    refuse(refusal, REFUSE_IO, "starting the gateway");
    refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(refusal, "look at the lines above; journalctl -u %s",
                         w->config ? w->config->name : "ductile");
}

static int prepare(struct warden *w, const struct opts *o, struct refusal *refusal)
{
    int r = load_config(o, w, refusal);

    if (r == 0)
        r = become_service(w, refusal);
    if (r == 0)
        r = decide_posture(w, refusal);
    if (r == 0)
        r = only_one(w, refusal);
    if (r == 0)
        r = use_cgroups(w, !opt_given(o, OPT_NO_CGROUP));
    if (r == 0)
        r = build_wall(w, refusal);
    if (r == 0)
        r = warden_vault_open(w, refusal);
    if (r == 0)
        r = load_locks(w, true, refusal);
    if (r == 0)
        r = build_rulesets(w, refusal);
    if (r == 0)
        r = slots_make(w);
    if (r == 0 && !(w->plugin_env = spawn_environment(w->config, w->enforce)))
        r = -ENOMEM;
    if (r == 0)
        r = watch(w);
    if (r == 0 && !warden_vault_fresh(w, refusal)) // behind the watch: it was opened before there was one
        r = -ECANCELED;
    if (r == 0)
        r = sockets_bind(w, refusal);
    return r < 0 ? refuse_internal(w, refusal, r) : 0;
}

static int serve(const struct opts *o)
{
    static struct warden w = {
        .cgroup_root = -1, .cgroup_bus = -1, .bus_pidfd = -1, .api_fd = -1, .tcp_fd = -1};
    struct refusal refusal;
    const char *bus = opt_given(o, OPT_BUS) ? o->value[OPT_BUS] : DUCTILE_LIBEXECDIR "/ductile/ductile-bus";

    log_open("ductile-run", !isatty(STDERR_FILENO));
    int r = prepare(&w, o, &refusal);
    if (r < 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    if (link_start(&w, bus) < 0)
        return refusal_print(&w.bus_refusal, opt_given(o, OPT_JSON));
    say_who(&w);
    r = loop(&w);
    secret_arena_close();
    return r;
}

static const struct opt_verb verbs[] = {
    {.name = "serve",
     .args = "",
     .options = OPT_BIT(BUS) | OPT_BIT(NO_CGROUP),
     .summary = "run the gateway",
     .detail =
         "Starts the warden (this process: the two capabilities and the vault) and the bus (its own user, no "
         "capability). Normally the unit does this; started by root, it first becomes the service user with "
         "exactly CAP_SETUID and CAP_SETGID.",
     .example = "systemctl start ductile",
     .exits = "69 74 75",
     .run = serve},
};

int main(int argc, char **argv)
{
    static const struct opt_program program = {
        .name = "ductile-run",
        .summary =
            "verify a plugin's code, fetch its secrets, drop to its account, run it, kill what is left of it",
        .detail =
            "The gateway's privileged half. It runs as the service user with CAP_SETUID and CAP_SETGID, parses "
            "nothing that a plugin says, and can become the accounts of the config and nobody else.",
        .verbs = verbs,
        .n_verbs = ARRAY_LEN(verbs),
    };

    log_open(program.name, false);
    if (privs_harden() < 0 || sodium_init() < 0)
        return EXITCODE_BUG;
    return opt_main(&program, argc, argv);
}
