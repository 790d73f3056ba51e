// Which plugins there are: those that root locked, with the manifest that was locked, and the aliases of the
// config.
#include "bundle.h"
#include "bus.h"
#include "log.h"
#include <stdio.h>
#include <string.h>

static int read_lock(const struct bundle *b, struct catalog *c)
{
    unsigned line;

    for (size_t i = 0; i < b->n; i++)
        if (b->list[i].kind == BUNDLE_LOCK) {
            OWNED(freep) char *copy = strdup(b->list[i].data);
            return copy ? lock_parse(copy, &c->lock, &line) : -ENOMEM;
        }
    return 0;
}

static void read_manifest(struct catalog *c, const struct bundle_entry *e)
{
    struct refusal refusal;
    const struct lock_plugin *p = lock_find(&c->lock, e->name);

    if (!p)
        return;
    struct manifest *m = &c->manifests[p - c->lock.list];
    if (m->name || manifest_parse(e->name, e->data, e->len, m, &refusal) == 0)
        return;
    log_warn("plugin %s is left out: %s", e->name, refusal.why);
}

static const char *missing_key(const struct config *config, const char *name, const struct manifest *m)
{
    const struct plugin_config *p = config_plugin(config, name);

    for (size_t i = 0; i < m->config_required.n; i++)
        if (!p || !ynode_get(p->config, m->config_required.list[i]))
            return m->config_required.list[i];
    return NULL;
}

static int add(struct catalog *c, const struct config *config, const char *name,
               const struct lock_plugin *lock)
{
    const struct plugin_config *p = config_plugin(config, name);
    const struct manifest *m = &c->manifests[lock - c->lock.list];

    if (!m->name)
        return 0; // left out, and said so
    const char *key = missing_key(config, name, m);
    if (key) {
        log_warn("plugin %s is left out: plugins.%s.config needs \"%s\"", name, name, key);
        return 0;
    }
    struct plugin *list = reallocarray(c->list, c->n + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    c->list = list;
    uint64_t parallelism = p && p->parallelism ? p->parallelism : config->max_workers;
    list[c->n++] = (struct plugin){
        .name = name,
        .lock = lock,
        .manifest = m,
        .account = config_account_of(config, name),
        .enabled = !p || p->enabled,
        .parallelism = lock->serial ? 1 : (unsigned)parallelism,
    };
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct plugin *)a)->name, ((const struct plugin *)b)->name);
}

int catalog_build(const struct config *config, const struct bundle *bundle, struct catalog *ret)
{
    struct catalog c = {0};
    int r = read_lock(bundle, &c);

    c.manifests = r == 0 ? calloc(MAX(c.lock.n, (size_t)1), sizeof(*c.manifests)) : NULL;
    if (r == 0 && !c.manifests)
        r = -ENOMEM;
    for (size_t i = 0; r == 0 && i < bundle->n; i++)
        if (bundle->list[i].kind == BUNDLE_MANIFEST)
            read_manifest(&c, &bundle->list[i]);
    for (size_t i = 0; r == 0 && i < c.lock.n; i++) {
        const struct plugin_config *p = config_plugin(config, c.lock.list[i].name);
        if (!p || !p->uses)
            r = add(&c, config, c.lock.list[i].name, &c.lock.list[i]);
    }
    for (size_t i = 0; r == 0 && i < config->plugins.n; i++) {
        const struct plugin_config *p = &config->plugins.list[i];
        const struct lock_plugin *lock = p->uses ? lock_find(&c.lock, p->uses) : NULL;
        if (lock)
            r = add(&c, config, p->name, lock);
        else if (p->enabled && !lock_find(&c.lock, p->name))
            log_warn("plugin %s is not locked and cannot run: ductile plugin lock %s", p->name,
                     p->uses ? p->uses : p->name);
    }
    if (r < 0) {
        catalog_free(&c);
        return r;
    }
    if (c.n > 0)
        qsort(c.list, c.n, sizeof(*c.list), by_name);
    *ret = c;
    return 0;
}

void catalog_free(struct catalog *c)
{
    for (size_t i = 0; c->manifests && i < c->lock.n; i++)
        manifest_free(&c->manifests[i]);
    free(c->manifests);
    free(c->list);
    lock_free(&c->lock);
    *c = (struct catalog){0};
}

const struct plugin *catalog_find(const struct catalog *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (str_eq(c->list[i].name, name))
            return &c->list[i];
    return NULL;
}

int catalog_runs(const struct catalog *c, const char *plugin, const char *command, char why[static 256])
{
    const struct plugin *p = catalog_find(c, plugin);

    if (p && p->enabled && manifest_command(p->manifest, command))
        return 0;
    if (!p)
        snprintf(why, 256, "there is no locked plugin \"%s\"", plugin);
    else if (!p->enabled)
        snprintf(why, 256, "plugin \"%s\" is disabled", plugin);
    else
        snprintf(why, 256, "plugin \"%s\" has no command \"%s\"", plugin, command);
    return p && !p->enabled ? -EACCES : -ENOENT;
}
