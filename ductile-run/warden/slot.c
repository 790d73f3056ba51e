// One job's way: taken -> attested -> delivery committed -> started -> running -> gone. Every argument that
// the bus sent is checked here again: the bus parses hostile bytes, and this half holds the keys.
#include "fd.h"
#include "log.h"
#include "str.h"
#include "warden.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct slot *slot_find(struct warden *w, uint64_t job)
{
    for (unsigned i = 0; i < w->n_slots; i++)
        if (w->slots[i].phase != PHASE_FREE && w->slots[i].request.job == job)
            return &w->slots[i];
    return NULL;
}

static struct slot *slot_idle(struct warden *w)
{
    for (unsigned i = 0; i < w->n_slots; i++)
        if (w->slots[i].phase == PHASE_FREE)
            return &w->slots[i];
    return NULL;
}

void slot_free(struct slot *s)
{
    pump_end(s);
    vault_delivery_wipe(&s->delivery);
    free(s->detail);
    fd_closep(&s->helper_fd);
    fd_closep(&s->stage_fd);
    fd_closep(&s->out_fd);
    fd_closep(&s->err_fd);
    fd_closep(&s->pidfd);
    fd_closep(&s->supervisor_fd);
    launch_free(ptr_take(&s->launch));
    lockset_drop(ptr_take(&s->lockset));
    const struct slot kept = {.index = s->index,
                              .generation = s->generation,
                              .cgroup_dir = s->cgroup_dir,
                              .procs_fd = s->procs_fd,
                              .events_fd = s->events_fd,
                              .limited = s->limited};
    *s = kept;
    s->body_fd = s->helper_fd = s->stdin_fd = s->pidfd = s->stage_fd = s->out_fd = s->err_fd =
        s->supervisor_fd = -1;
    s->deadline = INT64_MAX;
}

static void tell_refused(struct warden *w, const struct proto_spawn *q, enum proto_reason reason,
                         enum privs_stage stage, int error, const char *text, const char *secret)
{
    struct proto_message m = {0};

    m.REFUSED.job = q->job;
    m.REFUSED.attempt = q->attempt;
    m.REFUSED.reason = reason;
    m.REFUSED.stage = stage;
    m.REFUSED.error = error;
    snprintf(m.REFUSED.text, sizeof(m.REFUSED.text), "%s", text);
    snprintf(m.REFUSED.secret, sizeof(m.REFUSED.secret), "%s", secret);
    link_send(w, &m, PROTO_REFUSED, NULL);
}

static enum audit_kind kind_of(enum proto_reason reason)
{
    switch (reason) {
    case REASON_NOT_ATTESTED:
    case REASON_CANNOT_ATTEST:
    case REASON_CODE_WRITABLE:
    case REASON_UNKNOWN_PLUGIN: return AUDIT_CODE_REFUSED;
    case REASON_VAULT:
    case REASON_SECRET_MISSING:
    case REASON_AUDIT: return AUDIT_SECRET_DENIED;
    case REASON_DROP_FAILED: return AUDIT_DROP_FAILED;
    case REASON_NONE:
    case REASON_NO_ACCOUNT:
    case REASON_BREACHED:
    case REASON_REQUEST:
    case REASON_SPAWN_FAILED:
    case REASON_BUSY:
    case REASON_STOPPING:
    case REASON_TIMEOUT:
    case REASON_OUTPUT_LIMIT:
    case REASON_CANCELLED:
    case REASON_COUNT_: break;
    }
    return AUDIT_JOB_REFUSED;
}

void slot_refuse(struct warden *w, struct slot *s, enum proto_reason reason, enum privs_stage stage,
                 int error, const char *format, ...)
{
    char text[LIMIT_PATH], principal[LIMIT_NAME];
    struct strbuf detail = {0};
    const char *name = error < 0 ? errno_name(-error) : NULL;
    va_list ap;

    va_start(ap, format);
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (name && n >= 0 && (size_t)n < sizeof(text))
        snprintf(text + n, sizeof(text) - (size_t)n, " (%s)", name);
    config_principal_of(w->config, s->request.plugin, principal);
    sb_addf(&detail,
            "{\"job\":%llu,\"attempt\":%u,\"reason\":\"%s\",\"stage\":\"%s\",\"errno\":\"%s\",\"principal\":",
            (unsigned long long)s->request.job, s->request.attempt, proto_reason_word(reason),
            privs_stage_name(stage), name ? name : "");
    sb_add_json(&detail, principal);
    sb_adds(&detail, ",\"what\":");
    sb_add_json(&detail, text);
    sb_addc(&detail, '}');
    OWNED(freep) char *json = sb_finish(&detail);
    if (json)
        link_audit(w, s, kind_of(reason), json, false);
    tell_refused(w, &s->request, reason, stage, error, text, "");
    slot_free(s);
}

bool slot_refuse_breached(struct warden *w, struct slot *s)
{
    const char *rows = breach_of(w, s->account);

    if (rows)
        slot_refuse(
            w, s, REASON_BREACHED, STAGE_NONE, 0,
            "GATE-WALL-01: the wall of account %s was climbed (%s); ductile-gate prove shows it, and one "
            "that passes lets its jobs start again",
            s->account->name, rows);
    return rows != NULL;
}

// What the bus asks for, held against what the warden knows. NULL: all is well.
static const char *check_request(struct warden *w, const struct proto_spawn *q, int body_fd,
                                 enum proto_reason *ret)
{
    uint64_t size;

    *ret = REASON_REQUEST;
    if (memcmp(q->snapshot, w->snapshot, sizeof(q->snapshot)) != 0)
        return "it was made under another config";
    if (!str_is_plugin(q->plugin) || !str_is_plugin(q->command) || q->job == 0)
        return "it names no plugin or command";
    if (fd_check_sealed(body_fd, &size) < 0 || size != q->body_len)
        return "its body is not sealed";
    if (size > w->config->limit_request)
        return "its body is larger than limits.request";
    *ret = REASON_UNKNOWN_PLUGIN;
    const struct plugin_config *p = config_plugin(w->config, q->plugin);
    if (p && !p->enabled)
        return "the plugin is disabled";
    return NULL;
}

void slot_take(struct warden *w, const struct proto_spawn *q, int body_fd)
{
    OWNED(fd_closep) int body = body_fd;
    enum proto_reason reason;
    struct slot *s = slot_idle(w);

    if (w->stopping || !s || slot_find(w, q->job)) {
        tell_refused(w, q, w->stopping ? REASON_STOPPING : REASON_BUSY, STAGE_NONE, 0,
                     w->stopping ? "the gateway is stopping" : "no slot is free", "");
        return;
    }
    s->request = *q;
    const char *why = check_request(w, q, body, &reason);
    const struct plugin_config *p = config_plugin(w->config, q->plugin);
    s->phase = PHASE_ATTEST;
    s->lockset = lockset_use(w->lockset);
    s->plugin = lock_find(&s->lockset->lock, p && p->uses ? p->uses : q->plugin);
    s->account = config_account_of(w->config, q->plugin);
    if (why) {
        slot_refuse(w, s, reason, STAGE_NONE, 0, "%s", why);
        return;
    }
    if (!s->plugin) {
        slot_refuse(w, s, REASON_UNKNOWN_PLUGIN, STAGE_NONE, 0, "it was never locked: ductile plugin lock %s",
                    q->plugin);
        return;
    }
    if (w->enforce && !s->account) {
        slot_refuse(w, s, REASON_NO_ACCOUNT, STAGE_NONE, 0, "no run_as, and no account named default");
        return;
    }
    if (slot_refuse_breached(w, s))
        return;
    if (lost_holds(w, s->account)) {
        slot_refuse(w, s, REASON_SPAWN_FAILED, STAGE_NONE, 0,
                    "an earlier job of its account was killed and is not gone: it hangs in the kernel");
        return;
    }
    s->body_fd = fd_take(&body);
    attest_begin(w, s);
}

// ---- secrets ------------------------------------------------------------------------------------

static char *delivery_detail(struct warden *w, const struct slot *s, const char *principal)
{
    char hex[2 * TREE_HASH_LEN + 1];
    struct strbuf sb = {0};

    str_hex(s->plugin->tree.hash, TREE_HASH_LEN, hex);
    sb_addf(&sb, "{\"job\":%llu,\"attempt\":%u,\"principal\":", (unsigned long long)s->request.job,
            s->request.attempt);
    sb_add_json(&sb, principal);
    sb_addf(&sb, ",\"account\":\"%s\",\"lock\":\"%s\",\"generation\":%llu,\"names\":[",
            s->account ? s->account->name : "", hex, (unsigned long long)w->vault.generation);
    for (size_t i = 0; i < s->delivery.n; i++) {
        sb_adds(&sb, i ? "," : "");
        sb_add_json(&sb, s->delivery.names[i]);
    }
    sb_addc(&sb, ']');
    if (s->delivery.withheld)
        sb_addf(&sb, ",\"withheld\":%s", s->delivery.withheld);
    sb_addc(&sb, '}');
    return sb_finish(&sb);
}

static void commit_delivery(struct warden *w, struct slot *s, const char *principal)
{
    s->detail = delivery_detail(w, s, principal);
    if (!s->detail || strlen(s->detail) > LIMIT_DELIVERY) {
        slot_refuse(w, s, REASON_AUDIT, STAGE_NONE, s->detail ? -E2BIG : -ENOMEM,
                    "the names of its %zu secrets are too many for one row", s->delivery.n);
        return;
    }
    s->phase = PHASE_AUDIT;
    s->deadline = warden_now() + TIME_AUDIT_MS;
    link_audit(w, s, AUDIT_SECRET_DELIVERED, s->detail, true);
}

static void refuse_compose(struct warden *w, struct slot *s, int r, const char *principal, const char *name)
{
    const struct vault_principal *p = vault_principal(&w->vault, principal);

    if (r == -EPERM)
        slot_refuse(w, s, REASON_VAULT, STAGE_NONE, 0,
                    "principal %s is the gateway's own: give the plugin another name, or vault_principal",
                    principal);
    else if (p && p->revoked)
        slot_refuse(w, s, REASON_VAULT, STAGE_NONE, 0, "principal %s is revoked", principal);
    else if (r == -ENOKEY && !w->vault_present)
        slot_refuse(w, s, REASON_SECRET_MISSING, STAGE_NONE, 0,
                    "it needs secrets, and there is no vault: ductile vault init");
    else if (r == -ENOKEY && str_eq(name, principal))
        slot_refuse(w, s, REASON_SECRET_MISSING, STAGE_NONE, 0,
                    "the vault has nothing for principal %s: ductile vault grant SECRET %s", principal,
                    principal);
    else if (r == -ENOKEY)
        slot_refuse(w, s, REASON_SECRET_MISSING, STAGE_NONE, 0,
                    "secret %s is not granted to %s: ductile vault grant %s %s", name, principal, name,
                    principal);
    else if (r == -EKEYREVOKED)
        slot_refuse(w, s, REASON_SECRET_MISSING, STAGE_NONE, 0, "secret %s is revoked", name);
    else if (r == -EKEYEXPIRED)
        slot_refuse(w, s, REASON_SECRET_MISSING, STAGE_NONE, 0,
                    "secret %s has expired: ductile vault secret roll %s", name, name);
    else if (r == -ENODATA)
        slot_refuse(w, s, REASON_SECRET_MISSING, STAGE_NONE, 0,
                    "secret %s is empty, and an empty value is never delivered", name);
    else
        slot_refuse(w, s, REASON_VAULT, STAGE_NONE, r, "the secrets of %s cannot be composed", principal);
}

void slot_attested(struct warden *w, struct slot *s)
{
    struct refusal refusal;
    char principal[LIMIT_NAME], name[LIMIT_NAME];
    const struct plugin_config *p = config_plugin(w->config, s->request.plugin);
    bool required = (p && p->requires_vault) || s->plugin->n_requires > 0;

    config_principal_of(w->config, s->request.plugin, principal);
    if (!warden_vault_fresh(w, &refusal)) {
        slot_refuse(w, s, REASON_VAULT, STAGE_NONE, 0, "%s: %s", refusal.what, refusal.why);
        return;
    }
    int r = vault_compose(&w->vault, principal, s->plugin->requires, s->plugin->n_requires, required,
                          w->config->limit_secrets, vault_now_ms(), &s->delivery, name);
    if (r < 0)
        refuse_compose(w, s, r, principal, name);
    else if (s->delivery.n > 0)
        commit_delivery(w, s, principal);
    else
        spawn_plugin(w, s);
}

void slot_audited(struct warden *w, struct slot *s, uint64_t seq)
{
    if (s->phase != PHASE_AUDIT)
        return;
    if (seq == 0) {
        slot_refuse(w, s, REASON_AUDIT, STAGE_NONE, 0, "the ledger did not take the delivery");
        return;
    }
    // Said when it leaves, and not when it is asked for: what the journal has is what happened.
    link_journal(s, AUDIT_SECRET_DELIVERED, seq, s->detail ? s->detail : "{}");
    spawn_plugin(w, s);
}

int slots_make(struct warden *w)
{
    w->n_slots = (unsigned)w->config->max_workers;
    w->slots = calloc(w->n_slots, sizeof(*w->slots));
    for (unsigned i = 0; w->slots && i < w->n_slots; i++) {
        struct slot *s = &w->slots[i];
        s->index = i;
        s->cgroup_dir = s->procs_fd = s->events_fd = -1;
        s->body_fd = s->helper_fd = s->stdin_fd = s->pidfd = s->stage_fd = s->out_fd = s->err_fd = -1;
        s->supervisor_fd = -1;
        s->deadline = INT64_MAX;
    }
    return w->slots ? 0 : -ENOMEM;
}
