// Decisions that need no more than the config, this process and a few facts of the kernel.
#include "fd.h"
#include "gate.h"
#include "posture.h"
#include "privs.h"
#include "token.h"
#include "wall.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const struct check_row check_rows[CHECK_COUNT_] = {
#define CHECK(name, id, good, bad, remedy, theory) [CHECK_##name] = {id, good, bad, remedy, theory},
#include "checks.def"
#undef CHECK
};

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[VERDICT_COUNT_] = {"pass", "warn", "unproven", "refuse"};

    return names[verdict];
}

enum verdict gate_door_verdict(const struct gate *g, const struct account_config *a)
{
    // Informed consent for an account that acts as the operator; for a confined one it is a lie about the
    // wall.
    return a->mode == MODE_CREDENTIALED || g->config->fail_on_sidedoor == SIDEDOOR_WARN ? VERDICT_WARN
                                                                                        : VERDICT_REFUSE;
}

// Informed consent, with an owner and an end. Said with each finding, so that it is in the ledger's rows too.
static void accept_door(const struct gate *g, struct finding *f)
{
    const char *id = check_rows[f->check].id;
    const struct account_config *a = g->config ? config_account(g->config, f->subject) : NULL;
    const struct accept_config *x = a && config_is_door(id) ? config_accepted(a, id) : NULL;
    char text[sizeof(f->evidence)];

    if (!x || f->verdict == VERDICT_PASS || f->verdict == VERDICT_UNPROVEN)
        return;
    if (str_starts(f->evidence, "accepted by ") || str_starts(f->evidence, "no longer accepted by "))
        return; // a child of ours noted it and handed it on
    bool counts = (int64_t)time(NULL) < config_date_ends(x->until);
    if (counts)
        f->verdict = VERDICT_WARN;
    snprintf(text, sizeof(text), "%s%.60s until %.10s%s: %.120s; %.260s",
             counts ? "accepted by " : "no longer accepted by ", x->owner, x->until,
             counts ? "" : ", which has passed", x->reason, f->evidence);
    str_make_utf8(text);
    memcpy(f->evidence, text, sizeof(text));
}

void gate_note(struct gate *g, enum check_id check, enum verdict verdict, const char *subject,
               const char *evidence, ...)
{
    va_list ap;
    struct finding *list = reallocarray(g->findings, g->n_findings + 1, sizeof(*list));

    if (!list) {
        g->failed = true;
        return;
    }
    g->findings = list;
    struct finding *f = &list[g->n_findings++];
    *f = (struct finding){.check = check, .verdict = verdict};
    snprintf(f->subject, sizeof(f->subject), "%s", subject);
    va_start(ap, evidence);
    vsnprintf(f->evidence, sizeof(f->evidence), evidence, ap);
    va_end(ap);
    if (g->pace) // the watching parent decides, once
        guard_send(g, f);
    else
        accept_door(g, f);
}

enum verdict gate_outcome(const struct gate *g)
{
    enum verdict worst = g->failed ? VERDICT_REFUSE : VERDICT_PASS;

    for (size_t i = 0; i < g->n_findings; i++) {
        enum verdict v = g->findings[i].verdict;
        // Could not determine is not clean: under `strict` it refuses.
        if (v == VERDICT_UNPROVEN)
            v = g->config->fail_on_sidedoor == SIDEDOOR_STRICT ? VERDICT_REFUSE : VERDICT_WARN;
        worst = MAX(worst, v);
    }
    return worst;
}

void check_posture(struct gate *g)
{
    const struct config *c = g->config;
    int can = posture_can_drop(c);

    if ((int64_t)geteuid() != c->uid && !(geteuid() == 0 && c->unconfined))
        gate_note(g, CHECK_USER, VERDICT_REFUSE, c->user, "this is uid %u, and %s has uid %lld", geteuid(),
                  c->user, (long long)c->uid);
    switch (posture_verdict(can == 1, c->accounts.n > 0, c->unconfined)) {
    case BOOT_ENFORCE:
        g->enforce = true;
        gate_note(g, CHECK_CAP_LACK, VERDICT_PASS, c->name, "a child became %s", c->accounts.list[0].user);
        break;
    case BOOT_UNCONFINED:
        gate_note(g, CHECK_CAP_NONE, VERDICT_PASS, c->name, "no accounts, and no way to drop");
        break;
    case BOOT_UNCONFINED_LOUD:
        gate_note(g, CHECK_UNCONFINED, VERDICT_WARN, c->name, "service.unconfined is true in %s", c->path);
        break;
    case BOOT_REFUSE_NO_ACCOUNT:
        gate_note(g, CHECK_CAP_NONE, VERDICT_REFUSE, c->name,
                  "a child could become uid 65534; %s has no accounts:", c->path);
        break;
    case BOOT_REFUSE_NO_POWER:
        gate_note(g, CHECK_CAP_LACK, VERDICT_REFUSE, c->name, "a child could not become %s (uid %lld)",
                  c->accounts.list[0].user, (long long)c->accounts.list[0].uid);
        break;
    }
}

// The first line of a file of /proc, without its newline. "" where it cannot be read.
static void read_line(const char *path, char out[static 256])
{
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, 255);

    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static bool proc_hides(char options[static 512])
{
    OWNED(freep) char *text = NULL;
    size_t len;
    OWNED(fd_closep) int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fd_read_all(fd, 1 << 20, &text, &len) < 0)
        return false;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        const char *hide = strstr(line, " /proc ") ? strstr(line, "hidepid=") : NULL;
        if (hide && !str_starts(hide, "hidepid=0") && !str_starts(hide, "hidepid=off")) {
            snprintf(options, 512, "%.*s", (int)strcspn(hide, ", "), hide);
            return true;
        }
    }
    return false;
}

// Each is a number above 0 where it is on. Told, not refused: it opens nothing by itself.
static void check_protected(struct gate *g)
{
    static const char *const names[] = {"hardlinks", "symlinks", "fifos", "regular"};
    char off[128] = "", value[256];
    size_t len = 0, known = 0;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/sys/fs/protected_%s", names[i]);
        read_line(path, value);
        known += value[0] != '\0';
        if (str_eq(value, "0"))
            len += (size_t)snprintf(off + len, sizeof(off) - len, " protected_%s", names[i]);
    }
    gate_note(g, CHECK_PROTECTED,
              len                        ? VERDICT_WARN
              : known < ARRAY_LEN(names) ? VERDICT_UNPROVEN
                                         : VERDICT_PASS,
              "fs.protected_*",
              len                        ? "0:%s"
              : known < ARRAY_LEN(names) ? "not all can be read%s"
                                         : "all are on%s",
              off);
}

void check_kernel(struct gate *g)
{
    char value[256], options[512];
    int abi = wall_landlock_abi();

    if (!g->enforce)
        return;
    gate_note(g, CHECK_LANDLOCK, abi < WALL_LANDLOCK_FLOOR ? VERDICT_REFUSE : VERDICT_PASS, "kernel",
              "Landlock ABI %d", abi);
    read_line("/proc/sys/fs/suid_dumpable", value);
    gate_note(g, CHECK_DUMPABLE,
              str_eq(value, "1") ? VERDICT_REFUSE
              : value[0]         ? VERDICT_PASS
                                 : VERDICT_UNPROVEN,
              "fs.suid_dumpable", "it is \"%s\"", value);
    check_protected(g);
    if (proc_hides(options))
        gate_note(g, CHECK_HIDEPID, VERDICT_REFUSE, "/proc", "mounted with %s", options);
}

// ---- plugins ------------------------------------------------------------------------------------

static const struct lock_plugin *lock_of(const struct gate *g, const struct plugin_config *p)
{
    return lock_find(&g->lock, p->uses ? p->uses : p->name);
}

static void check_locks(struct gate *g)
{
    enum verdict missing = g->config->fail_on_unlocked ? VERDICT_REFUSE : VERDICT_WARN;

    for (size_t i = 0; i < g->config->plugins.n; i++) {
        const struct plugin_config *p = &g->config->plugins.list[i];
        if (p->enabled && !lock_of(g, p))
            gate_note(g, CHECK_UNLOCKED, missing, p->name, "plugins.lock has no entry for it");
    }
}

// Who may run: what is locked, and the aliases of the config (`uses`), each under its own name.
struct runner {
    const char *name;
    const struct account_config *account;
    bool needs; // a secret
};

static size_t list_runners(const struct gate *g, struct runner *list)
{
    size_t n = 0;

    for (size_t i = 0; i < g->lock.n; i++) {
        const struct lock_plugin *l = &g->lock.list[i];
        const struct plugin_config *p = config_plugin(g->config, l->name);
        if (p && !p->enabled)
            continue;
        list[n++] = (struct runner){l->name, config_account_of(g->config, l->name),
                                    l->n_requires > 0 || (p && p->requires_vault)};
    }
    for (size_t i = 0; i < g->config->plugins.n; i++) {
        const struct plugin_config *p = &g->config->plugins.list[i];
        const struct lock_plugin *code = lock_of(g, p);
        if (p->uses && p->enabled && code)
            list[n++] = (struct runner){p->name, config_account_of(g->config, p->name),
                                        code->n_requires > 0 || p->requires_vault};
    }
    return n;
}

static void check_sharing(struct gate *g)
{
    OWNED(freep) struct runner *list = calloc(g->lock.n + g->config->plugins.n + 1, sizeof(*list));
    size_t n = list ? list_runners(g, list) : 0;

    g->failed |= !list;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; list[i].needs && list[i].account && j < n; j++)
            if (j != i && list[j].account == list[i].account) {
                gate_note(g, CHECK_SHARE, VERDICT_WARN, list[i].name, "account %s also runs %s",
                          list[i].account->name, list[j].name);
                break;
            }
}

// A stranger's body goes to a credentialed plugin as it is, unless the webhook says that it may.
static void check_webhooks(struct gate *g)
{
    for (size_t i = 0; i < g->config->webhooks.n; i++) {
        const struct webhook_config *h = &g->config->webhooks.list[i];
        const struct account_config *a = h->plugin ? config_account_of(g->config, h->plugin) : NULL;
        if (a && a->mode == MODE_CREDENTIALED && !h->accept_untrusted_input)
            gate_note(g, CHECK_TAINT, g->config->fail_on_taint ? VERDICT_REFUSE : VERDICT_WARN, h->name,
                      "webhook %s runs %s as %s", h->name, h->plugin, a->name);
    }
}

// The API starts a plugin by its name, and no pipeline: a token that may do so reaches each credentialed one.
static void check_tokens(struct gate *g)
{
    OWNED(freep) struct runner *list = calloc(g->lock.n + g->config->plugins.n + 1, sizeof(*list));
    size_t n = list ? list_runners(g, list) : 0;

    g->failed |= !list;
    for (size_t i = 0; g->config->api_listen && i < g->config->tokens.n; i++) {
        const struct token_config *t = &g->config->tokens.list[i];
        for (size_t j = 0; (t->rights & TOKEN_PLUGIN_WRITE) && !t->accept_untrusted_input && j < n; j++)
            if (list[j].account && list[j].account->mode == MODE_CREDENTIALED)
                gate_note(g, CHECK_TAINT, g->config->fail_on_taint ? VERDICT_REFUSE : VERDICT_WARN, t->name,
                          "token %s may run %s as %s", t->name, list[j].name, list[j].account->name);
    }
}

// Does a webhook start it? Then its first step is fed by strangers, whoever else feeds it.
static bool has_webhook(const struct config *c, const struct pipeline_config *p)
{
    for (size_t i = 0; i < c->webhooks.n; i++)
        if (c->webhooks.list[i].pipeline && str_eq(c->webhooks.list[i].pipeline, p->name))
            return true;
    return false;
}

// A linear look: any pipeline whose steps or trigger come from a confined plugin and whose credentialed step
// does not say that it accepts that. The trigger's source is known only where from_plugin names it.
static void check_taint(struct gate *g)
{
    check_webhooks(g);
    check_tokens(g);
    for (size_t i = 0; i < g->config->pipelines.n; i++) {
        const struct pipeline_config *p = &g->config->pipelines.list[i];
        for (size_t j = 0; j < p->steps.n; j++) {
            char plugin[LIMIT_NAME];
            snprintf(plugin, sizeof(plugin), "%.*s", (int)strcspn(p->steps.list[j].uses, "."),
                     p->steps.list[j].uses);
            const struct account_config *a = config_account_of(g->config, plugin);
            const struct account_config *from =
                p->from_plugin ? config_account_of(g->config, p->from_plugin) : NULL;
            bool trusted = j == 0 && from && from->mode == MODE_CREDENTIALED && !has_webhook(g->config, p);
            if (a && a->mode == MODE_CREDENTIALED && !p->steps.list[j].accepts_untrusted && !trusted)
                gate_note(g, CHECK_TAINT, g->config->fail_on_taint ? VERDICT_REFUSE : VERDICT_WARN, p->name,
                          "step %s runs %s as %s", p->steps.list[j].id, plugin, a->name);
        }
    }
}

void check_plugins(struct gate *g)
{
    check_locks(g);
    if (g->config->posture == POSTURE_UNCONFINED)
        return;
    check_sharing(g);
    check_taint(g);
}
