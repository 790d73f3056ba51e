// The warden's end of the wire. Requests are a table whose default is deny: proto_recv has checked kind,
// side, number and descriptors; what a request means is checked here, against what the warden knows itself.
#include "bundle.h"
#include "fd.h"
#include "log.h"
#include "sd.h"
#include "str.h"
#include "warden.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

// What the bus has not taken yet. The warden never waits for it; a bus that lets this many pile up is stuck.
struct pending {
    struct pending *next;
    struct proto_message message;
    enum proto_type type;
    int fds[PROTO_FDS_MAX];
};
enum { PENDING_MAX = 8 * LIMIT_WORKERS };

static void drop_first(struct warden *w)
{
    struct pending *p = w->pending;

    w->pending = p->next;
    w->n_pending--;
    for (int i = 0; i < PROTO_FDS_MAX; i++)
        fd_closep(&p->fds[i]);
    free(p);
}

void link_flush(struct warden *w)
{
    while (w->pending) {
        int r = proto_send(&w->bus, &w->pending->message, w->pending->type, w->pending->fds);
        if (r == -EAGAIN)
            return;
        drop_first(w); // sent, or the bus is gone: the loop notices its end
    }
}

static void queue(struct warden *w, const struct proto_message *m, enum proto_type type, const int *fds)
{
    struct pending *p = calloc(1, sizeof(*p)), **last = &w->pending;

    if (!p || w->n_pending == PENDING_MAX) {
        free(p);
        w->bus_stuck = true;
        return;
    }
    *p = (struct pending){.message = *m, .type = type, .fds = {-1, -1}};
    for (int i = 0; i < proto_fds(type); i++)
        p->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
    while (*last)
        last = &(*last)->next;
    *last = p;
    w->n_pending++;
}

void link_send(struct warden *w, struct proto_message *m, enum proto_type type, const int *fds)
{
    link_flush(w);
    int r = w->pending ? -EAGAIN : proto_send(&w->bus, m, type, fds);

    if (r == -EAGAIN)
        queue(w, m, type, fds);
    else if (r < 0 && r != -EPIPE && r != -ECONNRESET) // those two: the loop sees the bus's end itself
        log_err(r, "to the bus");
}

void link_journal(const struct slot *s, enum audit_kind kind, uint64_t seq, const char *detail)
{
    struct strbuf sb = {0};

    sb_addf(&sb, "audit %s %s %llu %s", audit_word(kind), s->request.plugin, (unsigned long long)seq, detail);
    OWNED(freep) char *line = sb_finish(&sb);
    log_fact(line ? line : "audit: no memory");
}

void link_audit(struct warden *w, struct slot *s, enum audit_kind kind, const char *detail, bool wait)
{
    struct proto_message m = {0};
    OWNED(fd_closep) int fd = fd_sealed("audit", detail, strlen(detail));

    if (!wait)
        link_journal(s, kind, 0, detail);
    if (fd < 0) {
        log_err(fd, "audit");
        return;
    }
    m.AUDIT.job = s->request.job;
    m.AUDIT.kind = kind;
    m.AUDIT.wants_answer = wait;
    snprintf(m.AUDIT.subject, sizeof(m.AUDIT.subject), "%s", s->request.plugin);
    link_send(w, &m, PROTO_AUDIT, &fd);
}

// ---- what the bus is given ----------------------------------------------------------------------

static void hash_files(const struct config *c, uint8_t out[static TREE_HASH_LEN])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, TREE_HASH_LEN);
    for (size_t i = 0; i < c->n_files; i++) {
        const uint64_t len = c->files[i].len;
        crypto_generichash_update(&state, (const unsigned char *)c->files[i].name,
                                  strlen(c->files[i].name) + 1);
        crypto_generichash_update(&state, (const unsigned char *)&len, sizeof(len));
        crypto_generichash_update(&state, (const unsigned char *)c->files[i].text, c->files[i].len);
    }
    crypto_generichash_final(&state, out, TREE_HASH_LEN);
}

// The manifest as it was locked, or nothing: the bus must not route by what is not attested.
static void add_manifest(struct strbuf *sb, int root, const struct lock_plugin *p)
{
    char path[2 * LIMIT_PATH];
    OWNED(freep) char *text = NULL;
    size_t len;
    uint8_t hash[TREE_HASH_LEN];

    snprintf(path, sizeof(path), "%s/manifest.yaml", p->code);
    int r = fd_read_file(root, path, LIMIT_CONFIG_FILE, &text, &len);
    if (r == 0)
        crypto_generichash(hash, sizeof(hash), (const unsigned char *)text, len, NULL, 0);
    if (r == 0 && memcmp(hash, p->manifest, sizeof(hash)) == 0)
        bundle_add(sb, BUNDLE_MANIFEST, p->name, text, len);
    else
        log_warn("plugin %s is left out: %s %s", p->name, path,
                 r < 0 ? errno_name(-r) : "is not what was locked (ductile plugin lock)");
}

int link_send_config(struct warden *w, bool first)
{
    struct proto_message m = {0};
    struct strbuf sb = {0};
    const struct config *c = w->config;
    char path[LIMIT_PATH];
    OWNED(freep) char *ids = NULL;
    size_t len;
    OWNED(fd_closep) int root = fd_open_root(NULL);

    for (size_t i = 0; i < c->n_files; i++)
        bundle_add(&sb, BUNDLE_CONFIG, c->files[i].name, c->files[i].text, c->files[i].len);
    if (fd_read_file(root, config_lock_path(c, "accounts.lock.yaml", path), LIMIT_CONFIG_FILE, &ids, &len) ==
        0)
        bundle_add(&sb, BUNDLE_IDS, "accounts.lock.yaml", ids, len);
    OWNED(freep) char *lock = lock_text(&w->lockset->lock);
    if (lock)
        bundle_add(&sb, BUNDLE_LOCK, "plugins.lock", lock, strlen(lock));
    for (size_t i = 0; i < w->lockset->lock.n; i++)
        add_manifest(&sb, root, &w->lockset->lock.list[i]);
    size_t total = sb.len;
    OWNED(freep) char *text = sb_finish(&sb);
    OWNED(fd_closep) int fd = text && lock ? fd_sealed("config", text, total) : -ENOMEM;
    if (fd < 0)
        return log_err(fd, "the config for the bus");
    if (first)
        hash_files(c, w->snapshot);
    memcpy(m.CONFIG.snapshot, w->snapshot, sizeof(w->snapshot));
    m.CONFIG.first = first;
    link_send(w, &m, PROTO_CONFIG, &fd); // in its order: what was said before it must arrive before it
    return 0;
}

// ---- start --------------------------------------------------------------------------------------

// The bus is started like a plugin, by the same drop: its own user, no capability, its own cgroup leaf. It
// has the wire as descriptor 0 and no other way to anybody.
static int start_bus(struct warden *w, const char *program, int wire)
{
    static char *env[] = {(char *)"PATH=/usr/bin:/bin", NULL, NULL};
    static struct launch *l; // kept: it is read until the bus has exec'd, and is 68 KiB once
    OWNED(fd_closep) int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    OWNED(fd_closep) int procs = w->cgroup_bus >= 0 ? cgroup_open_procs(w->cgroup_bus) : -1;
    OWNED(fd_closep) int stage = -1;
    // Or it could shut ours: the warden's lines in the journal are what the bus cannot take back.
    OWNED(fd_closep) int own_stderr = sd_own_stderr("ductile-bus");
    char byte;

    l = launch_new();
    if (!l || null < 0)
        return -ENOMEM;
    l->plan = (struct privs_plan){
        .enforce = w->enforce,
        .uid = (uid_t)w->config->bus_uid,
        .gid = (gid_t)w->config->bus_gid,
        .service_uid = (uid_t)w->config->uid,
        .bus_uid = (uid_t)w->config->bus_uid,
        .fd_in = wire,
        .fd_out = null,
        .fd_err = own_stderr,
        .cgroup_fd = procs,
        .landlock_fd = -1, // it makes its own, tighter one
        .cwd = "/",
    };
    snprintf(l->path, sizeof(l->path), "%s", program);
#ifdef DUCTILE_BREAKABLE
    static char broken[256] = "DUCTILE_BREAK="; // what is taken out here is taken out there
    strncat(broken, getenv("DUCTILE_BREAK") ? getenv("DUCTILE_BREAK") : "",
            sizeof(broken) - sizeof("DUCTILE_BREAK="));
    env[1] = broken;
#endif
    l->envp = env;
    int r = launch_start(l, &w->bus_pid, &w->bus_pidfd, &stage);
    if (r < 0)
        return r;
    if (read(stage, &byte, 1) < 0) // nothing hostile runs yet: waiting here freezes nobody
        return err_last();
    if (prctl(PR_SET_DUMPABLE, privs_broken(BREAK_DUMPABLE) ? 1 : 0) < 0)
        return err_last();
    if (l->record.stage != STAGE_EXEC || l->record.error < 0) {
        r = l->record.error < 0 ? l->record.error : -EIO;
        refuse_why(&w->bus_refusal, "stage %s failed: %s (%s)",
                   privs_stage_name((enum privs_stage)l->record.stage), strerror(-r), errno_name(-r));
        return r;
    }
    return 0;
}

int link_start(struct warden *w, const char *program)
{
    int pair[2];
    struct proto_message m = {0};

    refuse(&w->bus_refusal, REFUSE_RUN_BUS, "starting the bus, %s", program);
    refuse_remedy(&w->bus_refusal, "make install, then systemctl start %s", w->config->name);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return refuse_why(&w->bus_refusal, "no socket pair: %s", strerror(errno));
    OWNED(fd_closep) int theirs = pair[1];
    w->bus = (struct proto_link){.fd = pair[0], .me = PROTO_WARDEN};
    int r = start_bus(w, program, theirs);
    if (r < 0)
        return w->bus_refusal.why[0] ? -ECANCELED
                                     : refuse_why(&w->bus_refusal, "%s (%s)", strerror(-r), errno_name(-r));
    r = link_send_config(w, true);
    if (r < 0)
        return refuse_why(&w->bus_refusal, "it cannot be sent the config: %s (%s)", strerror(-r),
                          errno_name(-r));
    link_send(w, &m, PROTO_SOCKET, &w->api_fd);
    if (w->tcp_fd >= 0)
        link_send(w, &m, PROTO_LISTEN, &w->tcp_fd);
    core_send_tokens(w, true);
    return 0;
}

// ---- requests -----------------------------------------------------------------------------------

static void on_kill(struct warden *w, const struct proto_kill *k)
{
    struct slot *s = slot_find(w, k->job);
    // The bus may ask for an end, not invent a reason for one.
    bool known =
        k->reason == REASON_CANCELLED || k->reason == REASON_OUTPUT_LIMIT || k->reason == REASON_STOPPING;

    if (s)
        reap_kill(w, s, known ? (enum proto_reason)k->reason : REASON_CANCELLED);
}

static void on_audited(struct warden *w, const struct proto_audited *a)
{
    struct slot *s = slot_find(w, a->job);

    if (s)
        slot_audited(w, s, a->seq);
}

static int on_failed(struct warden *w, const struct proto_failed *f)
{
    if (f->refusal >= REFUSE_COUNT_)
        return -EPROTO;
    refuse(&w->bus_refusal, (enum refusal_kind)f->refusal, "%s", f->what);
    refuse_why(&w->bus_refusal, "%s", f->why);
    refuse_remedy(&w->bus_refusal, "%s", f->remedy);
    return -ECANCELED;
}

int link_receive(struct warden *w)
{
    struct proto_message m;
    int fds[PROTO_FDS_MAX];
    int r = proto_recv(&w->bus, &m, fds);

    if (r < 0)
        return r == -EAGAIN ? 0 : r;
    if (w->bus_ended && (m.type == PROTO_SPAWN || m.type == PROTO_VERIFY || m.type == PROTO_AUDITED)) {
        fd_closep(&fds[0]);
        return 1;
    }
    switch ((enum proto_type)m.type) {
    case PROTO_READY: w->bus_ready = true; break;
    case PROTO_FAILED: return on_failed(w, &m.FAILED);
    case PROTO_SPAWN: slot_take(w, &m.SPAWN, fd_take(&fds[0])); break;
    case PROTO_KILL: on_kill(w, &m.KILL); break;
    case PROTO_VERIFY: core_verify(w, &m.VERIFY, fd_take(&fds[0])); break;
    case PROTO_AUDITED: on_audited(w, &m.AUDITED); break;
    case PROTO_STOPPED: w->bus_stopped = true; break;
    case PROTO_CONFIG:
    case PROTO_SOCKET:
    case PROTO_LISTEN:
    case PROTO_TOKENS:
    case PROTO_VERIFIED:
    case PROTO_AUDIT:
    case PROTO_MASK:
    case PROTO_STARTED:
    case PROTO_REFUSED:
    case PROTO_EXITED:
    case PROTO_STOP:
    case PROTO_COUNT_: // proto_recv lets none of these through
        return -EPROTO;
    }
    return 1;
}
