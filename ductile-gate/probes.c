// Trying to climb the wall. For each identity a child drops exactly as the warden's children do, by the same
// function; every attempt then runs in a child of its own, with its control: the same thing done to a
// harmless twin, which must succeed. A denial without a control that succeeded proves nothing.
#include "attempts.h"
#include "egress.h"
#include "fd.h"
#include "gate.h"
#include "log.h"
#include "privs.h"
#include "wall.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum who { WHO_ALL, WHO_CONFINED, WHO_CREDENTIALED, WHO_NETLESS, WHO_FILTERED };
enum probe_id {
#define PROBE(id, word, who, form, attempt, target, layer, what) PROBE_##id,
#define WORKS(id, word, who, form, attempt, target, what)        PROBE_##id,
#define LOGIN(id, word, form, attempt, target, what)             PROBE_##id,
#define SCOPED(id, word, who, form, attempt, target, abi, what)  PROBE_##id,
#include "probes.def"
#undef PROBE
#undef SCOPED
#undef WORKS
#undef LOGIN
    PROBE_COUNT_
};

static const struct row {
    struct probe_row shown;
    enum who who;
    const struct attempt *attempt;
    enum target target;
} rows[PROBE_COUNT_] = {
#define SHORT true
#define LONG  false
#define PROBE(id, word, who, form, attempt, target, layer, what)                                             \
    [PROBE_##id] = {                                                                                         \
        {word, layer, what, EXPECTED_DENIED, form, 0}, WHO_##who, &attempt_##attempt, TARGET_##target},
#define WORKS(id, word, who, form, attempt, target, what)                                                    \
    [PROBE_##id] = {{word, "must work", what, EXPECTED_ALLOWED, form, 0},                                    \
                    WHO_##who,                                                                               \
                    &attempt_##attempt,                                                                      \
                    TARGET_##target},
#define LOGIN(id, word, form, attempt, target, what)                                                         \
    [PROBE_##id] = {{word, "login", what, EXPECTED_EITHER, form, 0},                                         \
                    WHO_CREDENTIALED,                                                                        \
                    &attempt_##attempt,                                                                      \
                    TARGET_##target},
#define SCOPED(id, word, who, form, attempt, target, abi, what)                                              \
    [PROBE_##id] = {{word, "landlock", what, EXPECTED_DENIED, form, abi},                                    \
                    WHO_##who,                                                                               \
                    &attempt_##attempt,                                                                      \
                    TARGET_##target},
#include "probes.def"
#undef PROBE
#undef SCOPED
#undef WORKS
#undef LOGIN
#undef SHORT
#undef LONG
};

const struct probe_row *probe_row(unsigned probe)
{
    return probe < PROBE_COUNT_ ? &rows[probe].shown : NULL;
}

// ---- twins and the real ones --------------------------------------------------------------------

struct actors {
    pid_t warden, bus, sibling;
    pid_t twins[3]; // to be ended
};

// A child that only waits. uid -1: as we are.
static pid_t start_twin(int64_t uid, int64_t gid, bool dumpable)
{
    int ready[2];
    char byte;

    if (pipe2(ready, O_CLOEXEC) < 0)
        return -1;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(ready[0]);
        if ((uid >= 0 && privs_become((uid_t)uid, (gid_t)gid) < 0) || prctl(PR_SET_DUMPABLE, dumpable) < 0)
            _exit(1);
        close(ready[1]);
        while (getppid() == parent) // ends with us, whatever happens: a drop clears any death signal
            usleep(50000);
        _exit(0);
    }
    close(ready[1]);
    if (pid > 0 && read(ready[0], &byte, 1) != 0)
        pid = -1;
    close(ready[0]);
    return pid;
}

static void end_twin(pid_t pid, int64_t uid)
{
    if (pid <= 0)
        return;
    // It has another uid, and we may not signal it: a helper that is that uid may.
    pid_t helper = fork();
    if (helper == 0)
        _exit((uid < 0 || setresuid((uid_t)-1, (uid_t)uid, (uid_t)-1) == 0) && kill(pid, SIGKILL) == 0 ? 0
                                                                                                       : 1);
    if (helper > 0)
        waitpid(helper, NULL, 0);
    waitpid(pid, NULL, 0);
}

// The running gateway says in its lock file who it is. 0 where none runs.
static void find_gateway(const struct gate *g, struct actors *a)
{
    char path[LIMIT_PATH + 8];
    OWNED(freep) char *text = NULL;
    size_t len;
    int warden = 0, bus = 0;
    const char *slash = strrchr(g->config->api_socket, '/');

    snprintf(path, sizeof(path), "%.*s/lock", (int)(slash - g->config->api_socket), g->config->api_socket);
    if (fd_read_file(g->root, path, 256, &text, &len) < 0 ||
        sscanf(text, "warden %d\nbus %d", &warden, &bus) != 2)
        return;
    if (warden > 1 && bus > 1 && (kill(warden, 0) == 0 || errno == EPERM) &&
        (kill(bus, 0) == 0 || errno == EPERM)) {
        a->warden = warden;
        a->bus = bus;
    }
}

static void start_actors(struct gate *g, struct actors *a, const struct account_config *account, bool real)
{
    if (real)
        find_gateway(g, a);
    if (!a->warden) {
        a->warden = a->twins[0] = start_twin(-1, -1, false);
        a->bus = a->twins[1] = start_twin(g->config->bus_uid, g->config->bus_gid, false);
    }
    // Same uid, dumpable, outside of any domain: only the domain can keep a sibling out.
    a->sibling = a->twins[2] = account ? start_twin(account->uid, account->gid, true) : 0;
}

static void end_actors(struct gate *g, struct actors *a, const struct account_config *account)
{
    end_twin(a->twins[0], -1);
    end_twin(a->twins[1], g->config->bus_uid);
    end_twin(a->twins[2], account ? account->uid : -1);
}

// ---- targets ------------------------------------------------------------------------------------

struct trial {
    struct gate *gate;
    const struct actors *actors;
    unsigned identity;
    bool all;
    int out; // results go here
};

static void one(struct trial *t, unsigned probe, const struct attempt_target *target)
{
    struct probe_result r = {.probe = probe, .identity = t->identity, .cell = CELL_UNPROVEN};
    const struct row *row = &rows[probe];

    snprintf(r.target, sizeof(r.target), "%.150s", target->path[0] ? target->path : target->shown);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(4);                          // a probe that hangs proves nothing, and holds up nothing
        int e = row->attempt->run(target); // first: a control may give up what the attempt would use
        bool outside = target->port != 0;  // its control was made by the gate: only another uid can show it
        r.twin = row->attempt->control != NULL || outside;
        r.control = !r.twin || e == 0 || (outside ? target->reached : row->attempt->control() == 0);
        r.error = -e;
        r.cell = e == 0 ? CELL_ALLOWED : attempt_is_denial(row->attempt, -e) ? CELL_DENIED : CELL_UNPROVEN;
        if (e == 0 && wall_landlock_abi() < row->shown.abi)
            r.cell = CELL_ABSENT; // said, not refused: this kernel has no such layer
        _exit(write(t->out, &r, sizeof(r)) == sizeof(r) ? 0 : 1);
    }
    int status = 1;
    if (pid > 0)
        waitpid(pid, &status, 0);
    if (status != 0 && write(t->out, &r, sizeof(r)) < 0)
        _exit(1);
}

__attribute__((format(printf, 3, 4))) static void on_path(struct trial *t, unsigned probe, const char *format,
                                                          ...)
{
    struct attempt_target target = {0};
    va_list ap;

    va_start(ap, format);
    vsnprintf(target.path, sizeof(target.path), format, ap);
    va_end(ap);
    one(t, probe, &target);
}

static void on_id(struct trial *t, unsigned probe, int64_t id, const char *who)
{
    struct attempt_target target = {.id = (uint32_t)id, .shown = who};

    one(t, probe, &target);
}

static void on_pid(struct trial *t, unsigned probe, pid_t pid, const char *who)
{
    struct attempt_target target = {.pid = pid, .shown = who};

    if (pid > 0)
        one(t, probe, &target);
}

// Nothing is tried where the list names the very port: check_egress says so.
static void on_listener(struct trial *t, unsigned probe, int family)
{
    const struct listener *l = &t->gate->listeners[family == AF_INET6];
    const struct account_config *a = t->gate->identities[t->identity].account;
    const struct attempt_target target = {.id = (uint32_t)family,
                                          .port = l->port,
                                          .reached = l->reached,
                                          .shown = family == AF_INET ? "127.0.0.1" : "::1"};
    struct sockaddr_storage addr;

    attempt_loopback(family, l->port, &addr);
    const void *bytes = family == AF_INET ? (const void *)&((struct sockaddr_in *)&addr)->sin_addr
                                          : (const void *)&((struct sockaddr_in6 *)&addr)->sin6_addr;
    if (l->fd >= 0 && !egress_allows(a, family, bytes, l->port))
        one(t, probe, &target);
}

static void on_others(struct trial *t, unsigned probe, enum target kind)
{
    const struct config *c = t->gate->config;
    const struct account_config *self = t->gate->identities[t->identity].account;

    for (size_t i = 0; i < c->accounts.n; i++) {
        const struct account_config *a = &c->accounts.list[i];
        if (a == self)
            continue;
        if (kind == TARGET_UID_OTHERS)
            on_id(t, probe, a->uid, a->name);
        else if (kind == TARGET_SIBLINGS && a->state_dir)
            on_path(t, probe, "%s", a->state_dir);
        else if (kind == TARGET_HOME_SSH && a->home)
            on_path(t, probe, "%s/.ssh", a->home);
        else if (kind == TARGET_HOME_GH && a->home)
            on_path(t, probe, "%s/.config/gh", a->home);
    }
}

static void on_home_code(struct trial *t, unsigned probe)
{
    const struct config *c = t->gate->config;

    for (size_t i = 0; i < c->plugin_roots.n; i++)
        if (config_home_of(c, c->plugin_roots.list[i]))
            on_path(t, probe, "%s", c->plugin_roots.list[i]);
}

static const char *own_home(const struct account_config *a)
{
    return a && a->home ? a->home : a ? a->state_dir : "/";
}

static void on_target(struct trial *t, unsigned probe)
{
    const struct config *c = t->gate->config;
    const struct account_config *self = t->gate->identities[t->identity].account;

    switch (rows[probe].target) {
    case TARGET_KEY: on_path(t, probe, "%s", c->age_key_file); break;
    case TARGET_VAULT: on_path(t, probe, "%s", c->vault_file); break;
    case TARGET_LEDGER: on_path(t, probe, "%s", c->state_path); break;
    case TARGET_CONFIG: on_path(t, probe, "%s", c->path); break;
    case TARGET_STATE: on_path(t, probe, "/var/lib/%s", c->name); break;
    case TARGET_ACCOUNTS: on_path(t, probe, "/var/lib/%s/accounts", c->name); break;
    case TARGET_SOCKET: on_path(t, probe, "%s", c->api_socket); break;
    case TARGET_SIBLINGS:
    case TARGET_HOME_SSH:
    case TARGET_HOME_GH:
    case TARGET_UID_OTHERS: on_others(t, probe, rows[probe].target); break;
    case TARGET_HOME_CODE: on_home_code(t, probe); break;
    case TARGET_UID_ROOT: on_id(t, probe, 0, "root"); break;
    case TARGET_UID_SERVICE: on_id(t, probe, c->uid, c->user); break;
    case TARGET_UID_BUS: on_id(t, probe, c->bus_uid, c->bus_user); break;
    case TARGET_GID_ROOT: on_id(t, probe, 0, "root"); break;
    case TARGET_PID_WARDEN: on_pid(t, probe, t->actors->warden, "warden"); break;
    case TARGET_PID_BUS: on_pid(t, probe, t->actors->bus, "bus"); break;
    case TARGET_PID_SIBLING: on_pid(t, probe, t->actors->sibling, "sibling"); break;
    case TARGET_OWN_STATE:
    case TARGET_OWN_HOME: on_path(t, probe, "%s", own_home(self)); break;
    case TARGET_USER_MANAGER:
        on_path(t, probe, "/run/user/%lld/systemd/private", self ? (long long)self->uid : -1LL);
        break;
    case TARGET_USER_BUS: on_path(t, probe, "/run/user/%lld/bus", self ? (long long)self->uid : -1LL); break;
    case TARGET_AUTHORIZED_KEYS: on_path(t, probe, "%s/.ssh/authorized_keys", own_home(self)); break;
    case TARGET_SHELL_RC: on_path(t, probe, "%s/.profile", own_home(self)); break;
    case TARGET_TMP: on_path(t, probe, "/tmp"); break;
    case TARGET_INET: on_id(t, probe, AF_INET, "AF_INET"); break;
    case TARGET_INET6: on_id(t, probe, AF_INET6, "AF_INET6"); break;
    case TARGET_LISTENER4: on_listener(t, probe, AF_INET); break;
    case TARGET_LISTENER6: on_listener(t, probe, AF_INET6); break;
    case TARGET_NETLINK: on_id(t, probe, AF_NETLINK, "AF_NETLINK"); break;
    case TARGET_NOTHING: on_id(t, probe, 0, ""); break;
    }
}

// ---- one identity -------------------------------------------------------------------------------

static bool concerns(const struct row *row, const struct identity *id)
{
    return row->who == WHO_ALL || (row->who == WHO_CONFINED && id->mode == MODE_CONFINED) ||
           (row->who == WHO_CREDENTIALED && id->mode == MODE_CREDENTIALED) ||
           (row->who == WHO_FILTERED && id->account && egress_has(id->account)) ||
           (row->who == WHO_NETLESS && id->account && id->account->network == NETWORK_NONE);
}

static void try_all(struct trial *t)
{
    for (unsigned i = 0; i < PROBE_COUNT_; i++)
        if ((t->all || rows[i].shown.brief) && concerns(&rows[i], &t->gate->identities[t->identity]))
            on_target(t, i);
}

static struct privs_plan plan_for(const struct gate *g, const struct account_config *a, int landlock)
{
    return (struct privs_plan){
        .enforce = a != NULL,
        .uid = a ? (uid_t)a->uid : geteuid(),
        .gid = a ? (gid_t)a->gid : getegid(),
        .service_uid = (uid_t)g->config->uid,
        .bus_uid = (uid_t)g->config->bus_uid,
        .fd_in = -1,
        .fd_out = -1,
        .fd_err = -1,
        .cgroup_fd = -1,
        .landlock_fd = landlock,
        .filter = a ? wall_filter_of(a) : NULL,
        .cwd = !a        ? "/"
               : a->home ? a->home
                         : a->state_dir,
        .make_tmp = a && !a->home,
    };
}

// In a child: drop, then try. A drop that fails is told as a result of its own.
static void run_identity(struct trial *t)
{
    const struct account_config *a = t->gate->identities[t->identity].account;
    struct privs_record record = {0};
    uint32_t layers;
    int landlock = a && !privs_broken(BREAK_NOLANDLOCK) ? wall_landlock_of(t->gate->config, a, &layers) : -1;
    const struct privs_plan plan = plan_for(t->gate, a, landlock);

    if (privs_drop(&plan, &record) < 0) {
        struct probe_result r = {.probe = PROBE_COUNT_, .identity = t->identity, .error = -record.error};
        snprintf(r.target, sizeof(r.target), "stage %s: %s", privs_stage_name((enum privs_stage)record.stage),
                 plan.cwd);
        _exit(write(t->out, &r, sizeof(r)) == sizeof(r) ? 0 : 1);
    }
    try_all(t);
    _exit(0);
}

static bool is_egress(unsigned probe)
{
    return probe == PROBE_EGRESS4 || probe == PROBE_EGRESS6;
}

static void note_result(struct gate *g, const struct probe_result *r)
{
    const struct identity *id = &g->identities[r->identity];

    if (r->probe == PROBE_COUNT_) {
        gate_note(g, CHECK_REACH, VERDICT_REFUSE, id->name, "the drop failed at %s (%s)", r->target,
                  errno_name(r->error));
        return;
    }
    struct probe_result *list = reallocarray(g->results, g->n_results + 1, sizeof(*list));
    if (!list) {
        g->failed = true;
        return;
    }
    g->results = list;
    list[g->n_results++] = *r;
    const struct probe_row *row = &rows[r->probe].shown;
    const char *error = r->error ? errno_name(r->error) : "no error";
    if (!id->account)
        return; // unconfined: what is open is told in the matrix, and nothing was promised
    if (row->expected == EXPECTED_EITHER)
        return; // note_login
    const bool must = row->expected == EXPECTED_ALLOWED;
    if (must && r->cell != CELL_ALLOWED)
        gate_note(g, CHECK_WORKS, VERDICT_REFUSE, id->name, "%s: %s (%s)", row->what, r->target, error);
    else if (!must && r->cell == CELL_ALLOWED)
        gate_note(g, is_egress(r->probe) ? CHECK_EGRESS : CHECK_PROBE, VERDICT_REFUSE, id->name,
                  "ALLOWED: %s %s", row->what, r->target);
    else if (!must && (r->cell == CELL_UNPROVEN && r->error != ENOENT))
        gate_note(g, is_egress(r->probe) ? CHECK_EGRESS : CHECK_PROBE_BROKEN, VERDICT_UNPROVEN, id->name,
                  "%s %s: neither denied nor allowed (%s)", row->what, r->target, error);
    else if (!r->control)
        gate_note(g, CHECK_PROBE_BROKEN, VERDICT_UNPROVEN, id->name, "%s %s: %s, but so was the twin",
                  row->what, r->target, error);
}

// One line for each account that has such doors.
static void note_login(struct gate *g, unsigned identity)
{
    char words[160] = "";
    size_t len = 0;

    for (size_t i = 0; i < g->n_results; i++) {
        const struct probe_result *r = &g->results[i];
        const struct probe_row *row = probe_row(r->probe);
        if (r->identity == identity && row->expected == EXPECTED_EITHER && r->cell == CELL_ALLOWED)
            len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", len ? ", " : "", row->word);
    }
    if (g->identities[identity].mode == MODE_CREDENTIALED)
        gate_note(g, CHECK_LOGIN, len ? VERDICT_WARN : VERDICT_PASS, g->identities[identity].name,
                  "open to a plugin: %s", len ? words : "none");
}

static void collect(struct gate *g, int fd, unsigned identity)
{
    struct probe_result r;
    size_t before = g->n_results;

    while (read(fd, &r, sizeof(r)) == sizeof(r))
        if (r.identity == identity && r.probe <= PROBE_COUNT_)
            note_result(g, &r);
    note_login(g, identity);
    if (g->n_results > before)
        gate_note(g, CHECK_PROBE, VERDICT_PASS, g->identities[identity].name, "%zu attempts",
                  g->n_results - before);
    else
        gate_note(g, CHECK_PROBE_BROKEN, VERDICT_UNPROVEN, g->identities[identity].name,
                  "no attempt was made");
}

static void try_identity(struct gate *g, unsigned identity, bool all)
{
    struct actors actors = {0};
    int p[2];
    const struct account_config *a = g->identities[identity].account;

    if (all && a) // before the pipe: a twin that held an end of it would keep it open
        start_actors(g, &actors, a, true);
    if (pipe2(p, O_CLOEXEC) < 0) {
        g->failed = true;
        return;
    }
    struct trial t = {.gate = g, .actors = &actors, .identity = identity, .all = all, .out = p[1]};
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        run_identity(&t);
    }
    close(p[1]);
    if (pid > 0)
        collect(g, p[0], identity);
    close(p[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    end_actors(g, &actors, a);
}

// ---- egress -------------------------------------------------------------------------------------

// A port of the gate's own on a loopback address, and the control: the gate, for whom there is no rule,
// connects.
static struct listener open_listener(int family)
{
    struct listener l = {.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_storage addr;
    socklen_t len = attempt_loopback(family, 0, &addr);

    if (l.fd < 0 || bind(l.fd, (struct sockaddr *)&addr, len) < 0 || listen(l.fd, SOMAXCONN) < 0 ||
        getsockname(l.fd, (struct sockaddr *)&addr, &len) < 0) {
        fd_closep(&l.fd);
        return (struct listener){.fd = -1};
    }
    l.port = ntohs(family == AF_INET ? ((struct sockaddr_in *)&addr)->sin_port
                                     : ((struct sockaddr_in6 *)&addr)->sin6_port);
    l.reached = attempt_dial.run(&(struct attempt_target){.id = (uint32_t)family, .port = l.port}) == 0;
    return l;
}

// What was tried and held passes; where nothing could be tried, nothing is known.
static void check_egress(struct gate *g, unsigned identity)
{
    const struct identity *id = &g->identities[identity];
    unsigned tried = 0, denied = 0;

    if (!id->account || !egress_has(id->account))
        return;
    for (size_t i = 0; i < g->n_results; i++)
        if (g->results[i].identity == identity && is_egress(g->results[i].probe)) {
            tried++;
            denied += g->results[i].cell == CELL_DENIED && g->results[i].control;
        }
    if (tried == 0)
        gate_note(g, CHECK_EGRESS, VERDICT_UNPROVEN, id->name,
                  "no loopback address of this host is outside of its list: there was nothing to try");
    else if (denied == tried)
        gate_note(g, CHECK_EGRESS, VERDICT_PASS, id->name, "%u attempts refused by the rules", denied);
}

void run_probes(struct gate *g, bool all)
{
    size_t n = g->enforce ? g->config->accounts.n : 1;

    g->identities = calloc(MAX(n, (size_t)1), sizeof(*g->identities));
    if (!g->identities) {
        g->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct account_config *a = g->enforce ? &g->config->accounts.list[i] : NULL;
        g->identities[g->n_identities++] =
            (struct identity){a ? a->name : "unconfined", a ? a->mode : MODE_UNCONFINED, a};
    }
    bool filtered = g->enforce && egress_any(g->config);
    for (int i = 0; i < 2; i++)
        g->listeners[i] = filtered ? open_listener(i ? AF_INET6 : AF_INET) : (struct listener){.fd = -1};
    for (unsigned i = 0; i < g->n_identities; i++) {
        try_identity(g, i, all);
        check_egress(g, i);
    }
    fd_closep(&g->listeners[0].fd);
    fd_closep(&g->listeners[1].fd);
}
