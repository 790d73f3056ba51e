// audit and check: what was done to the vault, and what about it deserves a look.
#include "fd.h"
#include "lock.h"
#include "log.h"
#include "str.h"
#include "token.h"
#include "vault_cli.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// ---- audit --------------------------------------------------------------------------------------

static const char *string_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static void audit_text(const json_t *rows)
{
    char at[32];
    struct tm tm;
    size_t i;
    json_t *o;

    json_array_foreach(rows, i, o)
    {
        time_t t = (time_t)(json_integer_value(json_object_get(o, "at_ms")) / 1000);
        OWNED(freep) char *detail = json_dumps(json_object_get(o, "detail"), JSON_COMPACT);
        if (!gmtime_r(&t, &tm) || strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
            at[0] = '\0';
        printf("%6lld  %s  uid %-6lld %-20s %-24s %s\n",
               (long long)json_integer_value(json_object_get(o, "seq")), at,
               (long long)json_integer_value(json_object_get(o, "uid")), string_of(o, "kind"),
               string_of(o, "subject"), detail ? detail : "");
    }
}

static int audit(struct session *s)
{
    uint64_t limit = 20;
    const char *name = s->opts->n_args > 0 ? s->opts->args[0] : "";

    if (opt_given(s->opts, OPT_LIMIT) && str_to_u64(s->opts->value[OPT_LIMIT], 1, 100000, &limit) < 0)
        return session_name_refused(s, "limit", s->opts->value[OPT_LIMIT], "a number from 1 to 100000");
    json_t *rows = scribe_rows(s, SCRIBE_AUDIT, name, limit);
    if (!rows) {
        refuse(&s->refusal, REFUSE_LEDGER, "reading the ledger, %s", s->config->state_path);
        refuse_why(&s->refusal, "it did not answer");
        return refuse_remedy(&s->refusal, "ductile-install verify");
    }
    if (session_json(s))
        session_print(json_pack("{s:O}", "rows", rows));
    else
        audit_text(rows);
    json_decref(rows);
    return 0;
}

int verb_audit(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, NULL);

    return session_end(&s, r < 0 ? r : audit(&s));
}

// ---- check --------------------------------------------------------------------------------------

enum { SOON_MS = 14 * 24 * 3600 * 1000 };

__attribute__((format(printf, 4, 5))) static void find(json_t *to, const char *kind, const char *subject,
                                                       const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    json_array_append_new(to, json_pack("{s:s, s:s, s:s}", "kind", kind, "subject", subject, "text", text));
}

static void check_times(const struct vault_secret *x, json_t *to)
{
    int64_t now = vault_now_ms();
    char date[24];

    if (x->expires_ms > 0 && x->expires_ms <= now)
        find(to, "expired", x->name, "expired on %s: nobody gets it", secret_date(x->expires_ms, date));
    else if (x->expires_ms > 0 && x->expires_ms <= now + SOON_MS)
        find(to, "expiring", x->name, "expires on %s", secret_date(x->expires_ms, date));
    if (x->rotate_every_ms > 0 && x->updated_ms + x->rotate_every_ms <= now)
        find(to, "due", x->name, "was to be rolled by %s",
             secret_date(x->updated_ms + x->rotate_every_ms, date));
}

static bool was_delivered(const json_t *rows, const struct vault_grant *g)
{
    size_t i;
    json_t *o;

    json_array_foreach(rows, i, o) if (str_eq(string_of(o, "principal"), g->principal) &&
                                       str_eq(string_of(o, "as"), g->as)) return true;
    return false;
}

// Is it the gateway's own? Then it is never delivered to anybody.
static bool is_core(const struct vault_grant *g)
{
    return str_eq(g->principal, PRINCIPAL_CORE_NAME);
}

static void check_secrets(struct session *s, const json_t *delivered, json_t *to)
{
    for (size_t i = 0; i < s->vault.n_secrets; i++) {
        const struct vault_secret *x = &s->vault.secrets[i];
        if (x->revoked)
            continue;
        check_times(x, to);
        if (x->n_grants == 0)
            find(to, "granted-to-nobody", x->name, "nobody gets it");
        bool ever = !delivered || x->n_grants == 0;
        for (size_t j = 0; j < x->n_grants; j++)
            ever = ever || is_core(&x->grants[j]) || was_delivered(delivered, &x->grants[j]);
        if (!ever)
            find(to, "never-delivered", x->name, "granted, and never delivered to anybody");
    }
}

static size_t grants_of(struct vault *v, const char *principal)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n_secrets; i++)
        for (size_t j = 0; j < v->secrets[i].n_grants; j++)
            n += str_eq(v->secrets[i].grants[j].principal, principal);
    return n;
}

// Siblings of one uid share HOME: one plants a file, the other runs it with its secret in memory.
static void check_shared(struct session *s, const struct plugin_config *p, const char *principal, json_t *to)
{
    char theirs[LIMIT_NAME];
    const struct account_config *a = config_account_of(s->config, p->name);
    const struct plugin_list *all = &s->config->plugins;

    for (size_t i = 0; a && i < all->n; i++) {
        const struct plugin_config *q = &all->list[i];
        if (q == p || !q->enabled || config_account_of(s->config, q->name) != a ||
            str_eq(config_principal_of(s->config, q->name, theirs), principal))
            continue;
        find(to, "shared", principal, "its plugin %s has the account %s in common with %s", p->name, a->name,
             q->name);
        return;
    }
}

static void check_plugins(struct session *s, json_t *to)
{
    char principal[LIMIT_NAME];

    for (size_t i = 0; i < s->config->plugins.n; i++) {
        const struct plugin_config *p = &s->config->plugins.list[i];
        if (!p->enabled)
            continue;
        config_principal_of(s->config, p->name, principal);
        const struct vault_principal *v = vault_principal(&s->vault, principal);
        if (!v && (p->requires_vault || p->vault_principal))
            find(to, "drift", principal, "the config has it for the plugin %s, the vault does not", p->name);
        else if (v && v->revoked)
            find(to, "drift", principal, "it is revoked, and the plugin %s is enabled", p->name);
        else if (v && grants_of(&s->vault, principal) > 0)
            check_shared(s, p, principal, to);
    }
}

static void check_principals(struct session *s, json_t *to)
{
    struct lock lock = {0};
    struct refusal ignored;
    OWNED(fd_closep) int root = fd_open_root(NULL);

    if (lock_load(root, s->config, &lock, &ignored) < 0)
        lock = (struct lock){0};
    for (size_t i = 0; i < s->vault.n_principals; i++) {
        const struct vault_principal *p = &s->vault.principals[i];
        if (!p->revoked && p->kind == PRINCIPAL_PLUGIN && !session_is_plugins(s, p->name, &lock))
            find(to, "drift", p->name, "no plugin of the config or the locks has this principal");
    }
    lock_free(&lock);
}

static void check_core_secret(struct session *s, const char *kind, const char *name, const char *ref,
                              bool token, json_t *to)
{
    const struct vault_secret *x = NULL;
    char why[512];
    int r = vault_core_secret(&s->vault, ref, vault_now_ms(), &x);

    if (r == 0 && token)
        r = token_check(x->value.data, x->value.len);
    if (r < 0)
        find(to, "not-valid", name, "%s %s is not valid: its secret %s", kind, name,
             vault_core_why(&s->vault, r, ref, why));
}

// What the config has the gateway itself look for: it fails closed, and that should be no surprise.
static void check_core(struct session *s, json_t *to)
{
    const struct config *c = s->config;

    for (size_t i = 0; i < c->tokens.n; i++)
        check_core_secret(s, "token", c->tokens.list[i].name, c->tokens.list[i].secret_ref, true, to);
    for (size_t i = 0; i < c->webhooks.n; i++)
        check_core_secret(s, "webhook", c->webhooks.list[i].name, c->webhooks.list[i].secret_ref, false, to);
}

static int accept_rollback(struct session *s)
{
    char detail[96];
    uint64_t was = s->vault.generation;

    if (was >= s->seen)
        return 0;
    snprintf(detail, sizeof(detail), "\"was\":%llu,\"seen\":%llu", (unsigned long long)was,
             (unsigned long long)s->seen);
    if (s->seen != UINT64_MAX) // damaged: then it goes on from here
        s->vault.generation = s->seen;
    int r = session_save(s, AUDIT_ROLLBACK_ACCEPTED, s->config->vault_file, detail);
    if (r == 0)
        log_warn("the vault of generation %llu is the newest now; what was changed after it is gone",
                 (unsigned long long)was);
    return r;
}

static int check(struct session *s)
{
    size_t i;
    json_t *o;
    bool accept = opt_given(s->opts, OPT_ACCEPT_ROLLBACK);
    int r = session_open(s, accept);

    if (r == 0 && accept)
        r = accept_rollback(s);
    if (r < 0)
        return r;
    json_t *delivered = scribe_rows(s, SCRIBE_DELIVERED, "", 1000000), *findings = json_array();
    if (!delivered)
        log_warn("the ledger did not answer: whether secrets were ever delivered is not known");
    if (s->config->recovery_recipients.n + s->vault.n_recipients == 0)
        find(findings, "recovery", "vault", "no recovery recipient: a lost host key is a lost vault");
    check_secrets(s, delivered, findings);
    check_plugins(s, findings);
    check_principals(s, findings);
    check_core(s, findings);
    bool any = json_array_size(findings) > 0;
    if (session_json(s))
        session_print(json_pack("{s:s, s:I, s:I, s:I, s:O}", "vault_id", s->vault.id, "generation",
                                (json_int_t)s->vault.generation, "principals",
                                (json_int_t)s->vault.n_principals, "secrets", (json_int_t)s->vault.n_secrets,
                                "findings", findings));
    else {
        printf("%s opens: generation %llu, %zu principals, %zu secrets\n", s->config->vault_file,
               (unsigned long long)s->vault.generation, s->vault.n_principals, s->vault.n_secrets);
        json_array_foreach(findings, i, o)
            printf("%-18s %-28s %s\n", string_of(o, "kind"), string_of(o, "subject"), string_of(o, "text"));
    }
    json_decref(findings);
    json_decref(delivered);
    return any ? EXITCODE_FINDING : 0;
}

int verb_check(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, opt_given(o, OPT_ACCEPT_ROLLBACK) ? "vault" : NULL);

    return session_end(&s, r < 0 ? r : check(&s));
}
