// The rules of a config that need more than one key: ids, homes, references, names. What a key alone must be
// is in config.def.
#include "config.h"
#include "config_internal.h"
#include "egress.h"
#include "str.h"
#include "token.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 4, 5))) static void rule(struct decode *d, const struct ynode *node,
                                                       const char *path, const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    diag_add(d->diags, node ? node->pos : (struct ypos){d->config->path, 1, 1}, path, "%s", text);
}

static bool reserved_user(const struct config *c, const char *user)
{
    static const char *const programs[] = {"ductile-install", "ductile-gate", "ductile-run", "ductile-vault",
                                           "ductile-bus"};

    for (size_t i = 0; i < ARRAY_LEN(programs); i++)
        if (str_eq(user, programs[i]))
            return true;
    return str_eq(user, c->user) || str_eq(user, c->bus_user) || str_eq(user, c->operators);
}

static void derive_account(struct decode *d, struct account_config *a)
{
    char path[LIMIT_PATH];
    const struct ynode *n = a->node->kind == YNODE_MAP ? a->node : NULL;

    snprintf(path, sizeof(path), "accounts.%s", a->name);
    if (str_eq(a->name, "unconfined") || str_eq(a->name, "bus") || str_eq(a->name, "operators"))
        rule(d, a->node, path, "this name is reserved");
    if (a->home && a->state_dir)
        rule(d, ynode_get(n, "state_dir"), path,
             "home (credentialed) and state_dir (confined) exclude each other");
    a->mode = a->home ? MODE_CREDENTIALED : MODE_CONFINED;
    if (a->mode == MODE_CREDENTIALED) {
        static const char *const own[] = {"user", "uid", "gid"};
        for (size_t i = 0; i < ARRAY_LEN(own); i++)
            if (ynode_get(n, own[i]))
                rule(d, ynode_get(n, own[i]), path, "%s is taken from the user who owns home; leave it out",
                     own[i]);
        if (str_eq(a->name, "default") || str_eq(a->name, "untrusted"))
            rule(d, a->node, path, "cannot have a home: trust is granted by name, never inherited");
        if (str_eq(a->home, "/"))
            rule(d, a->node, path, "home cannot be /");
        if (!ynode_get(n, "landlock"))
            a->landlock = LANDLOCK_SCOPE;
        if (a->landlock != LANDLOCK_SCOPE)
            rule(d, ynode_get(n, "landlock"), path,
                 "a credentialed account acts as you: landlock is `scope`");
        if (egress_has(a))
            rule(d, ynode_get(n, "egress"), path,
                 "egress: would filter the operator's own login; give the plugin a confined account");
        // Its limits are the login's own, unless said otherwise.
        const struct {
            const char *key;
            uint64_t *value;
        } limits[] = {{"fsize", &a->fsize}, {"memory", &a->memory}, {"pids", &a->pids}};
        for (size_t i = 0; i < ARRAY_LEN(limits); i++)
            if (!ynode_get(ynode_get(n, "limits"), limits[i].key))
                *limits[i].value = 0;
        return;
    }
    if (a->read.n > 0 && a->landlock != LANDLOCK_STRICT)
        rule(d, ynode_get(n, "read"), path,
             "read: adds to what landlock: strict allows, and it is not strict");
    if (egress_has(a) && a->network == NETWORK_NONE)
        rule(d, ynode_get(n, "egress"), path, "egress: network: none leaves nothing to filter");
    if (!a->user)
        a->user = config_expand(d, "%i-%n", a->name);
    if (!a->state_dir)
        a->state_dir = config_expand(d, "/var/lib/%i/accounts/%n", a->name);
    if (a->user && strlen(a->user) > 31)
        rule(d, a->node, path, "its user name \"%s\" is longer than 31 characters", a->user);
    if (a->user && reserved_user(d->config, a->user))
        rule(d, a->node, path, "its user \"%s\" is the gateway's own", a->user);
}

static void check_state_dir(struct decode *d, const struct account_config *a)
{
    const struct config *c = d->config;
    char path[LIMIT_PATH];

    snprintf(path, sizeof(path), "accounts.%s.state_dir", a->name);
    if (str_path_within(a->state_dir, "/etc") || str_path_within(a->state_dir, "/home"))
        rule(d, a->node, path, "cannot be inside /etc or /home");
    for (size_t i = 0; i < c->plugin_roots.n; i++)
        if (str_path_within(a->state_dir, c->plugin_roots.list[i]))
            rule(d, a->node, path, "cannot be inside the plugin root %s", c->plugin_roots.list[i]);
    for (size_t i = 0; i < c->accounts.n; i++) {
        const struct account_config *b = &c->accounts.list[i];
        if (b != a && b->state_dir && str_path_within(a->state_dir, b->state_dir))
            rule(d, a->node, path, "is inside the state_dir of account \"%s\"", b->name);
    }
}

static void check_accepted(struct decode *d, const struct account_config *a)
{
    for (size_t i = 0; i < a->accept_doors.n; i++) {
        const struct accept_config *x = &a->accept_doors.list[i];
        char path[LIMIT_PATH];
        snprintf(path, sizeof(path), "accounts.%s.accept_doors[%zu]", a->name, i);
        if (!x->id || !x->owner || !x->reason || !x->until) // consent without a name or an end is none
            rule(d, x->node, path, "needs id, owner, reason and until");
    }
}

static void check_ids(struct decode *d, const struct account_config *a)
{
    const struct config *c = d->config;
    char path[LIMIT_PATH];

    snprintf(path, sizeof(path), "accounts.%s", a->name);
    if (a->uid != ID_AUTO && a->uid == c->uid)
        rule(d, a->node, path, "its uid is the service's");
    if (a->gid != ID_AUTO && a->gid == c->gid)
        rule(d, a->node, path, "its gid is the service's: group-readable files would open");
    for (const struct account_config *b = c->accounts.list; b < a; b++) {
        if (a->uid != ID_AUTO && a->uid == b->uid)
            rule(d, a->node, path, "shares its uid with account \"%s\"", b->name);
        if (a->gid != ID_AUTO && a->gid == b->gid)
            rule(d, a->node, path, "shares its gid with account \"%s\"", b->name);
        if (a->user && b->user && str_eq(a->user, b->user))
            rule(d, a->node, path, "shares its user with account \"%s\"", b->name);
        if (a->home && b->home && str_eq(a->home, b->home))
            rule(d, a->node, path, "shares its home with account \"%s\"", b->name);
    }
}

static void check_plugin(struct decode *d, struct plugin_config *p)
{
    struct config *c = d->config;
    char path[LIMIT_PATH];
    const struct ynode *n = p->node->kind == YNODE_MAP ? p->node : NULL;

    snprintf(path, sizeof(path), "plugins.%s", p->name);
    if (p->run_as && !config_account(c, p->run_as))
        rule(d, ynode_get(n, "run_as"), path, "run_as: there is no account \"%s\"", p->run_as);
    if (!p->run_as && c->accounts.n > 0 && !config_account(c, "default"))
        rule(d, p->node, path, "has no run_as, and there is no account \"default\"");
    char principal[LIMIT_NAME];
    if (str_eq(config_principal_of(c, p->name, principal), PRINCIPAL_CORE_NAME))
        rule(d, p->node, path,
             "would have the vault principal \"%s\", which is the gateway's own; set vault_principal",
             principal);
    if (p->uses && str_eq(p->uses, p->name))
        rule(d, ynode_get(n, "uses"), path, "uses itself");
    if (p->parallelism > c->max_workers)
        rule(d, ynode_get(n, "parallelism"), path, "parallelism is more than service.max_workers (%llu)",
             (unsigned long long)c->max_workers);
}

struct principal {
    char name[LIMIT_NAME];
    const struct plugin_config *plugin;
};

static int compare_principals(const void *a, const void *b)
{
    const struct principal *p = a, *q = b;
    int r = strcmp(p->name, q->name);

    return r ? r : p->plugin < q->plugin ? -1 : p->plugin > q->plugin;
}

// Two plugins have one principal only where both say so. Sorted: a thousand plugins are half a million pairs.
static void check_principals(struct decode *d)
{
    const struct config *c = d->config;
    char path[LIMIT_PATH];
    OWNED(freep) struct principal *list = calloc(c->plugins.n + 1, sizeof(*list));

    d->diags->failed |= !list;
    for (size_t i = 0; list && i < c->plugins.n; i++) {
        list[i].plugin = &c->plugins.list[i];
        config_principal_of(c, c->plugins.list[i].name, list[i].name);
    }
    if (list)
        qsort(list, c->plugins.n, sizeof(*list), compare_principals);
    for (size_t i = 0; list && i < c->plugins.n; i++)
        for (size_t k = i; k > 0 && str_eq(list[k - 1].name, list[i].name); k--) {
            const struct plugin_config *p = list[i].plugin, *q = list[k - 1].plugin;
            if (p->vault_principal && q->vault_principal)
                continue;
            snprintf(path, sizeof(path), "plugins.%s", p->name);
            rule(
                d, p->node, path,
                "would share the vault principal \"%s\" with plugin \"%s\"; say so with vault_principal on both",
                list[i].name, q->name);
        }
}

static void check_pipeline(struct decode *d, struct pipeline_config *p, size_t index)
{
    char path[LIMIT_PATH];
    struct config *c = d->config;

    snprintf(path, sizeof(path), "pipelines[%zu]", index);
    if (!p->name || !p->on)
        rule(d, p->node, path, "needs %s", p->name ? "on" : "name");
    if (p->steps.n == 0)
        rule(d, p->node, path, "needs at least one step");
    for (size_t i = 0; p->name && i < index; i++)
        if (c->pipelines.list[i].name && str_eq(c->pipelines.list[i].name, p->name))
            rule(d, p->node, path, "there is already a pipeline \"%s\"", p->name);
    for (size_t i = 0; i < p->steps.n; i++) {
        struct step_config *step = &p->steps.list[i];
        char number[32];
        snprintf(path, sizeof(path), "pipelines[%zu].steps[%zu]", index, i);
        if (!step->uses)
            rule(d, step->node, path, "needs uses");
        snprintf(number, sizeof(number), "step_%zu", i + 1);
        if (!step->id)
            step->id = config_expand(d, number, "");
        for (size_t j = 0; step->id && j < i; j++)
            if (p->steps.list[j].id && str_eq(p->steps.list[j].id, step->id))
                rule(d, step->node, path, "there is already a step \"%s\"", step->id);
    }
}

static void check_token(struct decode *d, struct token_config *t, size_t index)
{
    char path[LIMIT_PATH];

    snprintf(path, sizeof(path), "api.tokens[%zu]", index);
    if (!t->name || !t->secret_ref)
        rule(d, t->node, path, "needs %s",
             t->name ? "secret_ref, the name of its secret in the vault" : "name");
    if (t->scopes.n == 0) // also where each was refused on its own line
        rule(d, t->node, path, "needs scopes: a token that may do nothing is a mistake");
    for (size_t i = 0; i < t->scopes.n; i++)
        t->rights |= token_rights(t->scopes.list[i]);
    for (size_t i = 0; i < index; i++) {
        const struct token_config *other = &d->config->tokens.list[i];
        if (t->name && other->name && str_eq(other->name, t->name))
            rule(d, t->node, path, "there is already a token \"%s\"", t->name);
        // One value with two names would leave it to chance whose rights it has.
        if (t->secret_ref && other->secret_ref && str_eq(other->secret_ref, t->secret_ref))
            rule(d, t->node, path, "has the secret of token \"%s\": a secret of its own is told apart",
                 other->name ? other->name : "?");
    }
}

static void check_webhook(struct decode *d, struct webhook_config *h, size_t index)
{
    const struct config *c = d->config;
    char path[LIMIT_PATH];

    snprintf(path, sizeof(path), "webhooks[%zu]", index);
    if (!h->name || !h->secret_ref)
        rule(d, h->node, path, "needs %s", h->name ? "secret_ref, the name of its key in the vault" : "name");
    if (!h->plugin == !h->pipeline)
        rule(d, h->node, path, "needs plugin or pipeline%s", h->plugin ? ", not both" : "");
    if (h->pipeline && !config_pipeline(c, h->pipeline))
        rule(d, ynode_get(h->node, "pipeline"), path, "there is no pipeline \"%s\"", h->pipeline);
    if (c->posture == POSTURE_UNCONFINED && !h->accept_untrusted_input)
        rule(
            d, h->node, path,
            "an unconfined instance does not face strangers: give it accounts, or say accept_untrusted_input: true");
    if (!h->path)
        h->path = h->name;
    for (size_t i = 0; i < index; i++) {
        const struct webhook_config *other = &c->webhooks.list[i];
        if (h->name && other->name && str_eq(other->name, h->name))
            rule(d, h->node, path, "there is already a webhook \"%s\"", h->name);
        if (h->path && other->path && str_eq(other->path, h->path))
            rule(d, h->node, path, "there is already a webhook at /hook/%s", h->path);
        // A signature is of the body alone: one that was made for either would be good at both.
        if (h->secret_ref && other->secret_ref && str_eq(other->secret_ref, h->secret_ref))
            rule(d, h->node, path,
                 "has the key of webhook \"%s\": what is signed for one would count at the other",
                 other->name ? other->name : "?");
    }
    for (size_t i = 0; h->secret_ref && i < c->tokens.n; i++)
        if (c->tokens.list[i].secret_ref && str_eq(c->tokens.list[i].secret_ref, h->secret_ref))
            rule(d, h->node, path,
                 "its key is the value of an API token: whoever sends it one has the other");
}

static void check_api(struct decode *d)
{
    struct config *c = d->config;
    const struct ynode *api = ynode_get(c->root, "api");

    if (c->tokens.n > LIMIT_TOKENS)
        rule(d, ynode_get(api, "tokens"), "api.tokens", "more than %d", LIMIT_TOKENS);
    if (c->webhooks.n > LIMIT_WEBHOOKS)
        rule(d, ynode_get(c->root, "webhooks"), "webhooks", "more than %d", LIMIT_WEBHOOKS);
    if (c->api_listen && c->tokens.n == 0)
        rule(d, ynode_get(api, "listen"), "api.listen", "needs a token: add api.tokens, or take listen away");
    for (size_t i = 0; i < c->tokens.n; i++)
        check_token(d, &c->tokens.list[i], i);
    for (size_t i = 0; i < c->webhooks.n; i++)
        check_webhook(d, &c->webhooks.list[i], i);
}

static enum posture derive_posture(const struct config *c)
{
    enum posture posture = c->accounts.n > 0 ? POSTURE_FULL_PRIVSEP : POSTURE_UNCONFINED;

    for (size_t i = 0; i < c->accounts.n; i++)
        if (c->accounts.list[i].mode == MODE_CREDENTIALED)
            posture = POSTURE_HYBRID;
    return c->unconfined ? POSTURE_UNCONFINED : posture;
}

void config_check_rules(struct decode *d)
{
    struct config *c = d->config;
    static const char *const taken[] = {"ductile-install", "ductile-gate", "ductile-run", "ductile-vault",
                                        "ductile-bus"};

    for (size_t i = 0; i < ARRAY_LEN(taken); i++)
        if (str_eq(c->name, taken[i]))
            rule(d, ynode_get(ynode_get(c->root, "service"), "name"), "service.name",
                 "is the name of a program");
    if (c->accounts.n > LIMIT_ACCOUNTS)
        rule(d, ynode_get(c->root, "accounts"), "accounts", "more than %d", LIMIT_ACCOUNTS);
    c->bus_user = config_expand(d, "%i-bus", "");
    for (size_t i = 0; i < c->accounts.n; i++)
        derive_account(d, &c->accounts.list[i]);
    for (size_t i = 0; i < c->accounts.n; i++) {
        check_ids(d, &c->accounts.list[i]);
        check_accepted(d, &c->accounts.list[i]);
        if (c->accounts.list[i].state_dir)
            check_state_dir(d, &c->accounts.list[i]);
    }
    c->posture = derive_posture(c);
    if (c->posture == POSTURE_UNCONFINED)
        c->bus_user = c->user;
    d->diags->failed |= config_sort_plugins(c) < 0;
    if (d->diags->failed)
        return;
    for (size_t i = 0; i < c->plugins.n; i++)
        check_plugin(d, &c->plugins.list[i]);
    check_principals(d);
    for (size_t i = 0; i < c->pipelines.n; i++)
        check_pipeline(d, &c->pipelines.list[i], i);
    check_api(d);
}
