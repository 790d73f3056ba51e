// A config from disk: the main file, its includes, and the ids that root resolved into accounts.lock.yaml.
// Everything is read below a root fd without following links.
#include "config.h"
#include "config_internal.h"
#include "fd.h"
#include "log.h"
#include "str.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>

static void files_free(struct config_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(files[i].name);
        free(files[i].text);
    }
    free(files);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    ynode_free(c->root);
    for (size_t i = 0; i < c->n_pool; i++)
        free(c->pool[i]);
    free(c->pool);
    free(c->env_passthrough.list);
    free(c->recovery_recipients.list);
    free(c->plugin_roots.list);
    free(c->include.list);
    for (size_t i = 0; i < c->accounts.n; i++) {
        free(c->accounts.list[i].read.list);
        free(c->accounts.list[i].egress.list);
        free(c->accounts.list[i].accept_doors.list);
    }
    for (size_t i = 0; i < c->plugins.n; i++)
        free(c->plugins.list[i].timeouts.list);
    for (size_t i = 0; i < c->pipelines.n; i++)
        free(c->pipelines.list[i].steps.list);
    for (size_t i = 0; i < c->tokens.n; i++)
        free(c->tokens.list[i].scopes.list);
    free(c->tokens.list);
    free(c->webhooks.list);
    free(c->accounts.list);
    free(c->plugins.list);
    free(c->plugins_by_name);
    free(c->pipelines.list);
    files_free(c->files, c->n_files);
    free(c);
}

static int refuse_diags(struct refusal *refusal, const char *path, struct diags *diags)
{
    OWNED(freep) char *text = diags_text(diags);

    refuse(refusal, REFUSE_CONFIG, "the config %s has %zu error%s", path, diags->n, diags->n == 1 ? "" : "s");
    refuse_remedy(refusal, "mend the line%s above, then: ductile-gate check -c %s", diags->n == 1 ? "" : "s",
                  path);
    // The list may be longer than a refusal's line holds: print it whole, on lines of their own.
    if (text && strlen(text) >= sizeof(refusal->why)) {
        log_plain(LOG_LEVEL_ERR, "%s", text);
        return refuse_why(refusal, "%zu errors, printed above", diags->n);
    }
    return refuse_why(refusal, "%s", text ? text : "out of memory");
}

static uint64_t default_workers(void)
{
    cpu_set_t set; // of a host with more than 1,024 the call fails
    long cpus =
        sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);

    return cpus > 2 ? (uint64_t)cpus - 1 : 1;
}

// first: the main file, where it is parsed already; used up.
static int merge_files(struct config *c, struct ynode *first, struct diags *diags)
{
    int result = 0;

    for (size_t i = 0; i < c->n_files; i++) {
        struct ynode *node = i == 0 ? first : NULL;
        int r = node ? 0 : yaml_parse(c->files[i].name, c->files[i].text, c->files[i].len, diags, &node);
        if (r == 0 && i > 0 && ynode_get(node, "include"))
            diag_add(diags, ynode_get(node, "include")->pos, "include", "only the main file includes others");
        if (r == 0)
            r = ynode_merge(&c->root, node, "", diags);
        if (r < 0)
            result = r;
    }
    return result;
}

static int parse_files(struct config_file *files, size_t n, struct ynode *first, struct config **ret,
                       struct refusal *refusal)
{
    OWNED(diags_free) struct diags diags = {0};
    OWNED(config_freep) struct config *c = calloc(1, sizeof(*c));

    if (!c || n == 0) {
        files_free(files, n);
        ynode_free(first);
        refuse(refusal, REFUSE_IO, "the config");
        return refuse_why(refusal, "out of memory");
    }
    c->files = files;
    c->n_files = n;
    c->path = files[0].name;
    const char *slash = strrchr(c->path, '/');
    c->dir = config_pool(c, slash ? strndup(c->path, (size_t)(slash - c->path)) : strdup("."));
    c->max_workers = default_workers();
    int r = merge_files(c, first, &diags);
    struct decode d = {c, &diags, "ductile"};
    const char *name = ynode_get_text(ynode_get(c->root, "service"), "name");
    if (name && str_is_instance(name))
        d.instance = name;
    if (r == 0 || c->root) {
        config_decode(&d);
        if (r == 0)
            config_check_rules(&d);
    }
    if (diags.n > 0 || diags.failed || !c->dir)
        return refuse_diags(refusal, c->path, &diags);
    c->bus_uid = c->bus_gid = c->operators_gid = ID_AUTO;
    *ret = ptr_take(&c);
    return 0;
}

int config_parse(struct config_file *files, size_t n, struct config **ret, struct refusal *refusal)
{
    return parse_files(files, n, NULL, ret, refusal);
}

struct loading {
    int root;
    struct config_file *files;
    size_t n;
    struct ynode *first; // what the main file says; NULL: it has errors
    struct refusal *refusal;
};

static int load_file(struct loading *l, const char *path)
{
    char *text = NULL;
    size_t len = 0;

    if (l->n == LIMIT_CONFIG_FILES) {
        refuse(l->refusal, REFUSE_CONFIG, "the config has more than %d files", LIMIT_CONFIG_FILES);
        refuse_why(l->refusal, "%s is one too many", path);
        return refuse_remedy(l->refusal, "join some of the files under include:");
    }
    int r = fd_read_file(l->root, path, LIMIT_CONFIG_FILE, &text, &len);
    if (r != 0) {
        refuse(l->refusal, r == -EACCES || r == -EPERM ? REFUSE_CONFIG_DENIED : REFUSE_CONFIG,
               "the config %s cannot be read", path);
        refuse_why(l->refusal, "%s (%s)%s", strerror(-r), errno_name(-r),
                   r == -ELOOP ? ": a component of the path is a symbolic link" : "");
        return refuse_remedy(l->refusal, "%s",
                             r == -ENOENT   ? "ductile-install init --posture hybrid --operator USER"
                             : r == -EACCES ? "run this as root or as the service user"
                                            : "make it a plain file of at most 1 MiB");
    }
    struct config_file *files = realloc(l->files, (l->n + 1) * sizeof(*files));
    if (files)
        l->files = files;
    char *name = strdup(path);
    if (!files || !name) {
        free(text);
        free(name);
        refuse(l->refusal, REFUSE_IO, "the config");
        return refuse_why(l->refusal, "out of memory");
    }
    files[l->n++] = (struct config_file){name, text, len};
    return 0;
}

static int load_include(struct loading *l, const char *entry)
{
    char path[LIMIT_PATH];
    const char *slash = strrchr(l->files[0].name, '/');
    struct stat st;

    if (entry[0] == '/')
        snprintf(path, sizeof(path), "%s", entry);
    else
        snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - l->files[0].name), l->files[0].name, entry);
    int r = fd_stat(l->root, path, &st);
    if (r < 0 || !S_ISDIR(st.st_mode))
        return load_file(l, path);
    OWNED(fd_closep) int dir = fd_open(l->root, path, O_RDONLY | O_DIRECTORY, 0);
    char **names = NULL;
    size_t n = 0;
    r = dir < 0 ? dir : fd_list(dir, &names, &n);
    if (r < 0) {
        refuse(l->refusal, REFUSE_CONFIG, "the config includes %s", path);
        refuse_remedy(l->refusal, "chgrp the directory to the service's group, mode 0750");
        return refuse_why(l->refusal, "it cannot be listed: %s", strerror(-r));
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        size_t len = strlen(names[i]);
        char file[LIMIT_PATH + 256];
        if (names[i][0] == '.' || len < 6 || !str_eq(names[i] + len - 5, ".yaml"))
            continue;
        snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        r = load_file(l, file);
    }
    fd_list_free(names, n);
    return r;
}

// The main file is parsed here for its include list; errors in it are told by parse_files.
static int load_includes(struct loading *l)
{
    OWNED(diags_free) struct diags diags = {0};
    int r = 0;

    if (yaml_parse(l->files[0].name, l->files[0].text, l->files[0].len, &diags, &l->first) < 0)
        return 0;
    const struct ynode *list = ynode_get(l->first, "include");
    for (size_t i = 0; r == 0 && list && list->kind == YNODE_LIST && i < list->n; i++)
        if (list->items[i]->kind == YNODE_SCALAR)
            r = load_include(l, list->items[i]->text);
    return r;
}

int config_read(int root, const char *path, const char *instance, struct config **ret,
                struct refusal *refusal)
{
    struct loading l = {.root = root, .refusal = refusal};
    char buf[LIMIT_PATH];
    OWNED(freep) char *absolute = NULL;

    if (path && path[0] != '/' && (absolute = realpath(path, NULL)))
        path = absolute;
    if (!path) {
        snprintf(buf, sizeof(buf), "/etc/%.64s/config.yaml", instance && *instance ? instance : "ductile");
        path = buf;
    }
    int r = load_file(&l, path);
    if (r == 0 && l.n > 0)
        r = load_includes(&l);
    if (r != 0) {
        files_free(l.files, l.n);
        ynode_free(l.first);
        return r;
    }
    return parse_files(l.files, l.n, l.first, ret, refusal);
}

int config_load(int root, const char *path, const char *instance, struct config **ret,
                struct refusal *refusal)
{
    char buf[LIMIT_PATH];
    OWNED(config_freep) struct config *c = NULL;
    OWNED(freep) char *lock = NULL;
    size_t len;
    int r = config_read(root, path, instance, &c, refusal);

    if (r < 0 || !c)
        return r;
    r = fd_read_file(root, config_lock_path(c, "accounts.lock.yaml", buf), LIMIT_CONFIG_FILE, &lock, &len);
    if (r == 0)
        r = config_resolve(c, lock, len, refusal);
    else if (r == -ENOENT)
        r = 0;
    else {
        refuse(refusal, REFUSE_IDS, "%s cannot be read", buf);
        refuse_why(refusal, "%s", strerror(-r));
        r = refuse_remedy(refusal, "ductile-install apply");
    }
    if (r < 0)
        return r;
    *ret = ptr_take(&c);
    return 0;
}

// ---- ids ----------------------------------------------------------------------------------------

static int lock_id(const struct ynode *map, const char *key, int64_t pinned, int64_t *ret)
{
    uint64_t v;
    const char *text = ynode_get_text(map, key);

    if (!text || str_to_u64(text, 1, INT32_MAX, &v) < 0)
        return -ENOENT;
    if (pinned != ID_AUTO && pinned != (int64_t)v)
        return -ESTALE;
    *ret = (int64_t)v;
    return 0;
}

static int resolve_fail(struct refusal *refusal, const struct config *c, const char *who)
{
    refuse(refusal, REFUSE_IDS, "the ids of %s are not those that were installed", who);
    refuse_why(refusal, "%s/accounts.lock.yaml does not agree with %s", c->dir, c->path);
    return refuse_remedy(refusal, "ductile-install apply");
}

int config_resolve(struct config *c, const char *lock_text, size_t len, struct refusal *refusal)
{
    OWNED(diags_free) struct diags diags = {0};
    OWNED(ynode_freep) struct ynode *root = NULL;

    if (yaml_parse("accounts.lock.yaml", lock_text, len, &diags, &root) < 0 || !root)
        return resolve_fail(refusal, c, "the service");
    const struct ynode *service = ynode_get(root, "service"), *bus = ynode_get(root, "bus");
    const struct ynode *accounts = ynode_get(root, "accounts");
    if (lock_id(service, "uid", c->uid, &c->uid) < 0 || lock_id(service, "gid", c->gid, &c->gid) < 0)
        return resolve_fail(refusal, c, "the service");
    if (c->posture == POSTURE_UNCONFINED) {
        c->bus_uid = c->uid;
        c->bus_gid = c->gid;
    } else if (lock_id(bus, "uid", ID_AUTO, &c->bus_uid) < 0 || lock_id(bus, "gid", ID_AUTO, &c->bus_gid) < 0)
        return resolve_fail(refusal, c, "the bus");
    if (lock_id(ynode_get(root, "operators"), "gid", ID_AUTO, &c->operators_gid) < 0)
        return resolve_fail(refusal, c, "the operators' group");
    for (size_t i = 0; i < c->accounts.n; i++) {
        struct account_config *a = &c->accounts.list[i];
        const struct ynode *row = ynode_get(accounts, a->name);
        const char *user = ynode_get_text(row, "user");
        const char *home = ynode_get_text(row, "home");
        bool same_home = a->home ? home && str_eq(home, a->home) : !home;
        if (!user || !same_home || (a->user && !str_eq(a->user, user)) ||
            lock_id(row, "uid", a->uid, &a->uid) < 0 || lock_id(row, "gid", a->gid, &a->gid) < 0)
            return resolve_fail(refusal, c, a->name);
        if (!a->user)
            a->user = config_pool(c, strdup(user));
        if (!a->user || a->uid == c->uid || a->uid == c->bus_uid || a->gid == c->gid ||
            a->gid == c->bus_gid || a->gid == c->operators_gid)
            return resolve_fail(refusal, c, a->name);
    }
    c->resolved = true;
    return 0;
}

void config_resolve_self(struct config *c)
{
    c->uid = c->bus_uid = (int64_t)geteuid();
    c->gid = c->bus_gid = c->operators_gid = (int64_t)getegid();
    c->personal = geteuid() != 0;
    c->resolved = true;
}

const char *config_lock_path(const struct config *c, const char *name, char buf[static LIMIT_PATH])
{
    snprintf(buf, LIMIT_PATH, "%s/%s", c->dir, name);
    return buf;
}
