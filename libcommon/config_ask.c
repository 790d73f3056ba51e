// Questions about a loaded config. Pure.
#include "config_internal.h"
#include "str.h"
#include <stdio.h>
#include <string.h>

const struct account_config *config_account(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->accounts.n; i++)
        if (str_eq(c->accounts.list[i].name, name))
            return &c->accounts.list[i];
    return NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const struct plugin_config *const *)a)->name,
                  (*(const struct plugin_config *const *)b)->name);
}

int config_sort_plugins(struct config *c)
{
    c->plugins_by_name = calloc(c->plugins.n + 1, sizeof(struct plugin_config *));
    if (!c->plugins_by_name)
        return -ENOMEM;
    for (size_t i = 0; i < c->plugins.n; i++)
        c->plugins_by_name[i] = &c->plugins.list[i];
    qsort(c->plugins_by_name, c->plugins.n, sizeof(struct plugin_config *), compare_names);
    return 0;
}

const struct pipeline_config *config_pipeline(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->pipelines.n; i++)
        if (str_eq(c->pipelines.list[i].name, name))
            return &c->pipelines.list[i];
    return NULL;
}

const struct webhook_config *config_webhook(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->webhooks.n; i++)
        if (str_eq(c->webhooks.list[i].name, name))
            return &c->webhooks.list[i];
    return NULL;
}

const struct plugin_config *config_plugin(const struct config *c, const char *name)
{
    const struct plugin_config wanted = {.name = name}, *key = &wanted;
    const struct plugin_config *const *found =
        c->plugins.n == 0 ? NULL
                          : bsearch(&key, c->plugins_by_name, c->plugins.n, sizeof(key), compare_names);

    return found ? *found : NULL;
}

const struct account_config *config_account_of(const struct config *c, const char *plugin)
{
    const struct plugin_config *p = config_plugin(c, plugin);

    if (c->posture == POSTURE_UNCONFINED)
        return NULL;
    return config_account(c, p && p->run_as ? p->run_as : "default");
}

const struct account_config *config_home_of(const struct config *c, const char *path)
{
    for (size_t i = 0; i < c->accounts.n; i++)
        if (c->accounts.list[i].home && str_path_within(path, c->accounts.list[i].home))
            return &c->accounts.list[i];
    return NULL;
}

const char *config_locked_dir(const struct config *c, char buf[static LIMIT_PATH])
{
    snprintf(buf, LIMIT_PATH, "/opt/%s/locked", c->name);
    return buf;
}

const char *config_principal_of(const struct config *c, const char *plugin, char buf[static LIMIT_NAME])
{
    const struct plugin_config *p = config_plugin(c, plugin);

    snprintf(buf, LIMIT_NAME, "%s", p && p->vault_principal ? p->vault_principal : plugin);
    for (char *s = buf; *s; s++)
        if (*s == '_')
            *s = '-';
        else if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s - 'A' + 'a');
    return buf;
}

uint64_t config_timeout_of(const struct config *c, const char *plugin, const char *command)
{
    static const struct timeout_row usual[] = {
        {"poll", 60000},
        {"handle", 120000},
        {"health", 10000},
        {"init", 30000},
    };
    const struct plugin_config *p = config_plugin(c, plugin);

    for (size_t i = 0; p && i < p->timeouts.n; i++)
        if (str_eq(p->timeouts.list[i].command, command))
            return p->timeouts.list[i].ms;
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        if (str_eq(usual[i].command, command))
            return usual[i].ms;
    return 120000;
}

const struct accept_config *config_accepted(const struct account_config *a, const char *id)
{
    const struct accept_config *found = NULL;

    for (size_t i = 0; i < a->accept_doors.n; i++) {
        const struct accept_config *x = &a->accept_doors.list[i];
        if (str_eq(x->id, id) && (!found || config_date_ends(x->until) > config_date_ends(found->until)))
            found = x;
    }
    return found;
}
