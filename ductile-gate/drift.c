// Plugin code as it lies there: is it what was locked, and what lies in a plugin root without a lock? Told,
// never a refusal by itself: the warden refuses each spawn of such code.
#include "fd.h"
#include "gate.h"
#include "privs.h"
#include <stdio.h>
#include <string.h>

// Code in a home whose root the service cannot open at all: check_homes names the component.
static bool is_told(const struct gate *g, const char *path)
{
    for (size_t i = 0; config_home_of(g->config, path) && i < g->config->plugin_roots.n; i++) {
        const char *root = g->config->plugin_roots.list[i];
        if (!str_path_within(path, root))
            continue;
        OWNED(fd_closep) int fd = fd_open(g->root, root, O_RDONLY, 0);
        if (fd < 0)
            return true;
    }
    return false;
}

// One of a locked plugin's trees: where it is edited, or what runs.
static void compare(struct gate *g, const struct lock_plugin *p, const char *path)
{
    struct tree now = {0};
    struct tree_error e = {0};
    char what[LIMIT_PATH];

    if (!gate_step(g, path))
        return;
    OWNED(fd_closep) int dir = fd_open(g->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0 && is_told(g, path))
        return;
    if (dir < 0)
        gate_note(g, CHECK_DRIFT, VERDICT_WARN, p->name, "%.340s: %s", path, strerror(-dir));
    else if (tree_scan(dir, &now, &e) < 0)
        gate_note(g, CHECK_DRIFT, VERDICT_WARN, p->name, "%.200s: %.100s: %.200s", path, e.path, e.why);
    else if (!tree_same(&p->tree, &now, what))
        gate_note(g, CHECK_DRIFT, VERDICT_WARN, p->name, "%.200s: %.300s", path, what);
    else
        gate_note(g, CHECK_DRIFT, VERDICT_PASS, p->name, "%.340s is what was locked", path);
    tree_free(&now);
}

static bool is_enabled(const struct gate *g, const char *name)
{
    const struct plugin_config *p = config_plugin(g->config, name);

    return !p || p->enabled;
}

// What lies in a root and would run, were it locked. What the config names itself check_plugins has told of.
static void list_root(struct gate *g, const char *root)
{
    char **names = NULL;
    size_t n = 0;
    struct stat st;

    if (!gate_step(g, root))
        return;
    OWNED(fd_closep) int dir = fd_open(g->root, root, O_RDONLY | O_DIRECTORY, 0);
    int r = dir < 0 ? dir : fd_list_some(dir, LIMIT_TREE_ENTRIES, &names, &n);
    if (r < 0 && !config_home_of(g->config, root))
        gate_note(g, CHECK_DRIFT, VERDICT_WARN, root, "the plugin root cannot be read: %s", strerror(-r));
    for (size_t i = 0; r == 0 && i < n; i++)
        if (str_is_plugin(names[i]) && !config_plugin(g->config, names[i]) &&
            !lock_find(&g->lock, names[i]) && fstatat(dir, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode))
            gate_note(g, CHECK_UNLOCKED, g->config->fail_on_unlocked ? VERDICT_REFUSE : VERDICT_WARN,
                      names[i], "it lies in %.400s, and plugins.lock has no entry for it", root);
    fd_list_free(names, n);
}

// The last of the guarded checks: it gives the capabilities away, since who wrote those trees is not trusted.
void check_drift(struct gate *g)
{
    const struct config *c = g->config;

    if (g->pace && privs_clear_caps() < 0) {
        g->failed = true;
        return;
    }
    for (size_t i = 0; i < c->plugin_roots.n; i++)
        list_root(g, c->plugin_roots.list[i]);
    for (size_t i = 0; i < g->lock.n; i++) {
        const struct lock_plugin *p = &g->lock.list[i];
        if (!is_enabled(g, p->name))
            continue;
        compare(g, p, p->source);
        if (!str_eq(p->source, p->code))
            compare(g, p, p->code);
    }
}
