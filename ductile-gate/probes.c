// Trying to climb the wall: the table of attempts, whom each is for, and what it is aimed at. lanes.c makes
// them, as each account, after exactly the warden's drop; judge.c says what came of it.
#include "probes.h"
#include "egress.h"
#include "fd.h"
#include "keyfile.h"
#include "wall.h"
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum who { WHO_ALL, WHO_CONFINED, WHO_CREDENTIALED, WHO_NETLESS, WHO_FILTERED };
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

const char *probe_who(unsigned probe)
{
    switch (rows[probe].who) {
    case WHO_ALL: return "every account";
    case WHO_CONFINED: return "confined";
    case WHO_CREDENTIALED: return "credentialed";
    case WHO_NETLESS: return "network: none";
    case WHO_FILTERED: return "egress";
    }
    return "";
}

// ---- targets ------------------------------------------------------------------------------------

struct trial {
    struct gate *gate;
    const struct actors *actors;
    struct lane *lane;
    unsigned identity;
    bool all;
    const struct account_config **owners; // of the locks; NULL in the short form
};

// Targets that a host may well lack: what is not there is no way in.
static bool may_lack(enum target target)
{
    switch (target) {
    case TARGET_HOME_SSH:
    case TARGET_HOME_GH:
    case TARGET_HOME_CREDS:
    case TARGET_HOME_CODE:
    case TARGET_CODE:
    case TARGET_UNITS:
    case TARGET_CRON:
    case TARGET_ROOT_PATH:
    case TARGET_CONTAINERS:
    case TARGET_SETUID_PROGRAMS:
    case TARGET_OWN_CODE:
    case TARGET_OWN_FILE:
    case TARGET_SOCKET: return true;
    case TARGET_NOTHING:
    case TARGET_KEY:
    case TARGET_VAULT:
    case TARGET_LEDGER:
    case TARGET_CONFIG:
    case TARGET_STATE:
    case TARGET_ACCOUNTS:
    case TARGET_SIBLINGS:
    case TARGET_UID_ROOT:
    case TARGET_UID_SERVICE:
    case TARGET_UID_BUS:
    case TARGET_UID_OTHERS:
    case TARGET_GID_ROOT:
    case TARGET_PID_WARDEN:
    case TARGET_PID_BUS:
    case TARGET_PID_SIBLING:
    case TARGET_LISTENER4:
    case TARGET_LISTENER6:
    case TARGET_INET:
    case TARGET_INET6:
    case TARGET_NETLINK:
    case TARGET_USER_MANAGER:
    case TARGET_USER_BUS:
    case TARGET_AUTHORIZED_KEYS:
    case TARGET_SHELL_RC:
    case TARGET_USER_UNITS:
    case TARGET_TMUX:
    case TARGET_SCREEN:
    case TARGET_LINGER:
    case TARGET_OWN_STATE:
    case TARGET_OWN_HOME:
    case TARGET_CWD:
    case TARGET_TMP: break;
    }
    return false;
}

// What should be there on every host, and the service can see.
static bool must_be(enum target target)
{
    return target == TARGET_KEY || target == TARGET_VAULT || target == TARGET_CONFIG;
}

static void one(struct trial *t, unsigned probe, const struct attempt_target *target)
{
    const struct row *row = &rows[probe];
    const struct probe_try attempt = {.probe = probe,
                                      .attempt = row->attempt,
                                      .abi = row->shown.abi,
                                      .optional = may_lack(row->target),
                                      .must_be = must_be(row->target),
                                      .target = *target};

    if (!lane_add(t->lane, &attempt))
        t->lane->failed = true;
}

__attribute__((format(printf, 3, 4))) static void on_path(struct trial *t, unsigned probe, const char *format,
                                                          ...)
{
    struct attempt_target target = {0};
    char path[LIMIT_PATH];
    va_list ap;

    va_start(ap, format);
    vsnprintf(path, sizeof(path), format, ap);
    va_end(ap);
    target.path = strdup(path); // the lane's from here on
    if (target.path)
        one(t, probe, &target);
    else
        t->lane->failed = true;
}

// A credential lies where the service manager put it for this unit, or for the gateway's.
static void on_key(struct trial *t, unsigned probe)
{
    const struct config *c = t->gate->config;
    const char *dir = getenv("CREDENTIALS_DIRECTORY"), *name = c->age_key_file + strlen(KEYFILE_CREDENTIAL);

    if (!keyfile_is_credential(c->age_key_file))
        on_path(t, probe, "%s", c->age_key_file);
    else if (dir)
        on_path(t, probe, "%s/%s", dir, name);
    else
        on_path(t, probe, "/run/credentials/%s.service/%s", c->name, name);
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

// The others of an account, those first that come after it. The short form tries the next few state_dirs
// only: each is still tried by some, and 200 accounts take 200 times as long as one, not 40,000 times.
enum { SHORT_OTHERS = 4 };

static void on_others(struct trial *t, unsigned probe, enum target kind)
{
    static const char *const creds[] = {".netrc", ".aws", ".gnupg"};
    const struct config *c = t->gate->config;
    const struct account_config *self = t->gate->identities[t->identity].account;
    const size_t n = c->accounts.n, from = self ? (size_t)(self - c->accounts.list) + 1 : 0;
    size_t siblings = t->all ? SIZE_MAX : SHORT_OTHERS;

    for (size_t i = 0; i < n; i++) {
        const struct account_config *a = &c->accounts.list[(from + i) % n];
        if (a == self)
            continue;
        if (kind == TARGET_UID_OTHERS)
            on_id(t, probe, a->uid, a->name);
        else if (kind == TARGET_SIBLINGS && a->state_dir) {
            on_path(t, probe, "%s", a->state_dir);
            if (--siblings == 0)
                return;
        } else if (kind == TARGET_HOME_SSH && a->home)
            on_path(t, probe, "%s/.ssh", a->home);
        else if (kind == TARGET_HOME_GH && a->home)
            on_path(t, probe, "%s/.config/gh", a->home);
        for (size_t k = 0; kind == TARGET_HOME_CREDS && a->home && k < ARRAY_LEN(creds); k++)
            on_path(t, probe, "%s/%s", a->home, creds[k]);
    }
}

static void on_paths(struct trial *t, unsigned probe, const char *const *paths)
{
    for (; *paths; paths++)
        on_path(t, probe, "%s", *paths);
}

// Every tree that code runs from, but those in its own home: there the operator edits, and what runs is a
// copy.
static void on_code(struct trial *t, unsigned probe)
{
    const struct config *c = t->gate->config;
    const struct account_config *self = t->gate->identities[t->identity].account;
    char locked[LIMIT_PATH];

    for (size_t i = 0; i < c->plugin_roots.n; i++)
        if (!self || config_home_of(c, c->plugin_roots.list[i]) != self)
            on_path(t, probe, "%s", c->plugin_roots.list[i]);
    on_path(t, probe, "%s", config_locked_dir(c, locked));
}

static void on_own_code(struct trial *t, unsigned probe)
{
    const struct gate *g = t->gate;

    for (size_t i = 0; t->owners && i < g->lock.n; i++)
        if (t->owners[i] && t->owners[i] == g->identities[t->identity].account)
            on_path(t, probe, "%s", g->lock.list[i].code);
}

static const char *const units[] = {"/etc/systemd/system", "/run/systemd/system",
                                    "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", NULL};
static const char *const cron[] = {"/etc/cron.d",      "/etc/cron.hourly",         "/etc/cron.daily",
                                   "/etc/cron.weekly", "/var/spool/cron/crontabs", NULL};
static const char *const root_path[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", NULL};
static const char *const containers[] = {"/run/docker.sock",
                                         "/run/podman/podman.sock",
                                         "/run/containerd/containerd.sock",
                                         "/run/crio/crio.sock",
                                         "/var/lib/incus/unix.socket",
                                         "/var/lib/lxd/unix.socket",
                                         "/var/snap/lxd/common/lxd/unix.socket",
                                         "/run/libvirt/libvirt-sock",
                                         "/run/libvirt/virtqemud-sock",
                                         NULL};
static const char *const setuid_programs[] = {"/usr/bin/sudo", "/usr/bin/su", "/usr/bin/pkexec",
                                              "/usr/bin/doas", NULL};

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
    case TARGET_KEY: on_key(t, probe); break;
    case TARGET_VAULT: on_path(t, probe, "%s", c->vault_file); break;
    case TARGET_LEDGER: on_path(t, probe, "%s", c->state_path); break;
    case TARGET_CONFIG: on_path(t, probe, "%s", c->path); break;
    case TARGET_STATE: on_path(t, probe, "/var/lib/%s", c->name); break;
    case TARGET_ACCOUNTS: on_path(t, probe, "/var/lib/%s/accounts", c->name); break;
    case TARGET_SOCKET: on_path(t, probe, "%s", c->api_socket); break;
    case TARGET_SIBLINGS:
    case TARGET_HOME_SSH:
    case TARGET_HOME_GH:
    case TARGET_HOME_CREDS:
    case TARGET_UID_OTHERS: on_others(t, probe, rows[probe].target); break;
    case TARGET_CODE: on_code(t, probe); break;
    case TARGET_UNITS: on_paths(t, probe, units); break;
    case TARGET_CRON: on_paths(t, probe, cron); break;
    case TARGET_ROOT_PATH: on_paths(t, probe, root_path); break;
    case TARGET_CONTAINERS: on_paths(t, probe, containers); break;
    case TARGET_SETUID_PROGRAMS: on_paths(t, probe, setuid_programs); break;
    case TARGET_OWN_CODE: on_own_code(t, probe); break;
    case TARGET_CWD: on_path(t, probe, "."); break;
    case TARGET_HOME_CODE: on_home_code(t, probe); break;
    case TARGET_UID_ROOT: on_id(t, probe, 0, "root"); break;
    case TARGET_UID_SERVICE: on_id(t, probe, c->uid, c->user); break;
    case TARGET_UID_BUS: on_id(t, probe, c->bus_uid, c->bus_user); break;
    case TARGET_GID_ROOT: on_id(t, probe, 0, "root"); break;
    case TARGET_PID_WARDEN: on_pid(t, probe, t->actors->warden, "warden"); break;
    case TARGET_PID_BUS: on_pid(t, probe, t->actors->bus, "bus"); break;
    case TARGET_PID_SIBLING: on_pid(t, probe, t->lane->sibling, "sibling"); break;
    case TARGET_OWN_STATE:
    case TARGET_OWN_FILE:
    case TARGET_OWN_HOME: on_path(t, probe, "%s", own_home(self)); break;
    case TARGET_USER_MANAGER:
        on_path(t, probe, "/run/user/%lld/systemd/private", self ? (long long)self->uid : -1LL);
        break;
    case TARGET_USER_BUS: on_path(t, probe, "/run/user/%lld/bus", self ? (long long)self->uid : -1LL); break;
    case TARGET_AUTHORIZED_KEYS: on_path(t, probe, "%s/.ssh/authorized_keys", own_home(self)); break;
    case TARGET_SHELL_RC: on_path(t, probe, "%s/.profile", own_home(self)); break;
    case TARGET_USER_UNITS: on_path(t, probe, "%s/.config/systemd/user", own_home(self)); break;
    case TARGET_TMUX: on_path(t, probe, "/tmp/tmux-%lld", self ? (long long)self->uid : -1LL); break;
    case TARGET_SCREEN: on_path(t, probe, "/run/screen/S-%s", self ? self->user : ""); break;
    case TARGET_LINGER: on_path(t, probe, "/var/lib/systemd/linger/%s", self ? self->user : ""); break;
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

static struct privs_plan plan_for(const struct gate *g, const struct account_config *a)
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
        .landlock_fd = -1, // the child makes it
        .filter = a ? wall_filter_of(a) : NULL,
        .cwd = !a        ? "/"
               : a->home ? a->home
                         : a->state_dir,
        .make_tmp = a && !a->home,
    };
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

// Which account each lock's plugin runs as. NULL on no memory.
static const struct account_config **owners_of(const struct gate *g)
{
    const struct account_config **list = calloc(g->lock.n + 1, sizeof(*list));

    for (size_t i = 0; list && i < g->lock.n; i++)
        list[i] = config_account_of(g->config, g->lock.list[i].name);
    return list;
}

struct plan {
    struct gate *gate;
    struct actors actors;
    const struct account_config **owners;
    bool all;
};

static void fill(const struct lane_owner *owner, struct lane *lane)
{
    const struct plan *p = owner->data;
    const struct identity *id = &p->gate->identities[lane->identity];
    struct trial t = {p->gate, &p->actors, lane, lane->identity, p->all, p->owners};

    lane->plan = plan_for(p->gate, id->account);
    lane->sibling = p->all && id->account ? actors_sibling(id->account) : 0;
    for (unsigned k = 0; k < PROBE_COUNT_; k++)
        if ((p->all || rows[k].shown.brief) && concerns(&rows[k], id))
            on_target(&t, k);
}

static void emptied(const struct lane_owner *owner, struct lane *lane)
{
    const struct plan *p = owner->data;

    if (lane->sibling > 0)
        actors_end_sibling(lane->sibling, p->gate->identities[lane->identity].account);
}

static void try_all(struct gate *g, struct lane *lanes, bool all)
{
    OWNED(freep) const struct account_config **owners = all ? owners_of(g) : NULL;
    struct plan plan = {.gate = g, .owners = owners, .all = all};
    const struct lane_owner owner = {fill, emptied, &plan};

    if (all && g->enforce)
        actors_start(g, &plan.actors);
    for (unsigned i = 0; i < g->n_identities; i++)
        lanes[i] = (struct lane){.identity = i, .pidfd = -1};
    lanes_run(g, lanes, g->n_identities, &owner);
    actors_end(g, &plan.actors);
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
        g->identities[g->n_identities++] = (struct identity){
            .name = a ? a->name : "unconfined", .mode = a ? a->mode : MODE_UNCONFINED, .account = a};
    }
    bool filtered = g->enforce && egress_any(g->config);
    for (int i = 0; i < 2; i++)
        g->listeners[i] = filtered ? open_listener(i ? AF_INET6 : AF_INET) : (struct listener){.fd = -1};
    OWNED(freep) struct lane *lanes = calloc(g->n_identities, sizeof(*lanes));
    g->failed |= !lanes;
    if (lanes)
        try_all(g, lanes, all);
    for (unsigned i = 0; lanes && i < g->n_identities; i++) {
        judge_lane(g, &lanes[i]);
        lane_free(&lanes[i]);
    }
    fd_closep(&g->listeners[0].fd);
    fd_closep(&g->listeners[1].fd);
}
