// plugin add, lock, verify. A lock is when code takes effect: what runs is what was locked, and for code in a
// home that is the root-owned copy made here.
#include "fd.h"
#include "install.h"
#include "ledger.h"
#include "lock.h"
#include "log.h"
#include "manifest.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

// ---- add ----------------------------------------------------------------------------------------

static int target_root(struct host *h, const struct opts *o, const char **ret, struct refusal *refusal)
{
    const struct tree nothing = {0};
    char where[LIMIT_PATH];

    if (opt_given(o, OPT_TO)) {
        *ret = o->value[OPT_TO];
        for (size_t i = 0; i < h->config->plugin_roots.n; i++)
            if (str_eq(h->config->plugin_roots.list[i], *ret))
                return 0;
        refuse(refusal, REFUSE_PLUGIN_UNKNOWN, "copying to %s", *ret);
        refuse_why(refusal, "it is not one of plugin_roots");
        return refuse_remedy(refusal, "add it to plugin_roots in %s", h->config->path);
    }
    for (size_t i = 0; i < h->config->plugin_roots.n; i++) {
        *ret = h->config->plugin_roots.list[i];
        if (geteuid() != 0 || h->root_path || !tree_writable(*ret, &nothing, where))
            return 0;
    }
    refuse(refusal, REFUSE_PLUGIN_UNKNOWN, "copying the plugin");
    refuse_why(refusal, "no plugin root can be written by root alone");
    return refuse_remedy(refusal, "ductile-install apply, or --to ROOT");
}

static void say_next(const struct config *c, const struct manifest *m)
{
    char principal[LIMIT_NAME];

    config_principal_of(c, m->name, principal);
    printf("next:\n");
    if (m->config_required.n > 0 || m->requires_secrets.n > 0) {
        printf("  write %s/plugins.d/%s.yaml:\n", c->dir, m->name);
        if (m->requires_secrets.n > 0 && c->accounts.n > 0)
            printf("    accounts:\n      %.24s: {}     # it gets secrets: an account of its own\n",
                   principal);
        printf("    plugins:\n      %s:\n", m->name);
        if (m->requires_secrets.n > 0 && c->accounts.n > 0)
            printf("        run_as: %.24s\n", principal);
        printf("        config:%s\n", m->config_required.n ? "" : " {}");
        for (size_t i = 0; i < m->config_required.n; i++)
            printf("          %s: ...\n", m->config_required.list[i]);
        printf("  ductile-install apply && systemctl restart %s\n", c->name);
    }
    for (size_t i = 0; i < m->requires_secrets.n; i++)
        printf("  ductile vault secret set %s && ductile vault grant %s %s\n", m->requires_secrets.list[i],
               m->requires_secrets.list[i], principal);
    printf("  ductile plugin lock %s\n", m->name);
    printf("  ductile job run %s %s\n", m->name, m->commands[0].name);
}

static int add(struct host *h, const struct opts *o, struct refusal *refusal)
{
    struct tree tree = {0};
    struct manifest m = {0};
    struct stat st;
    const char *root = "";
    char target[2 * LIMIT_PATH];
    OWNED(freep) char *from = realpath(o->args[0], NULL);
    OWNED(fd_closep) int real = fd_open_root(NULL);
    // The operator names the directory and is trusted with it: it is read as whoever runs this.
    const struct code code = {real, from, geteuid(), getegid()};
    int r = target_root(h, o, &root, refusal);

    if (r == 0 && !from) {
        refuse(refusal, REFUSE_PLUGIN_UNKNOWN, "the directory %s", o->args[0]);
        refuse_why(refusal, "%s", strerror(errno));
        r = refuse_remedy(refusal, "ductile plugin add DIRECTORY");
    }
    if (r == 0)
        r = code_read(&code, &tree, &m, refusal);
    if (r == 0) {
        snprintf(target, sizeof(target), "%s/%s", root, m.name);
        if (fd_stat(h->root, target, &st) == 0 && !opt_given(o, OPT_FORCE)) {
            refuse(refusal, REFUSE_PLUGIN_EXISTS, "adding %s", m.name);
            refuse_why(refusal, "%s exists", target);
            r = refuse_remedy(refusal, "ductile plugin add --force %s", o->args[0]);
        }
    }
    if (r == 0 && !opt_given(o, OPT_DRY_RUN))
        r = code_copy(h, &code, &tree, target, refusal);
    if (r == 0 && opt_given(o, OPT_JSON))
        printf("{\"plugin\":\"%s\",\"version\":\"%s\",\"path\":\"%s\",\"entries\":%zu}\n", m.name, m.version,
               target, tree.n);
    else if (r == 0) {
        printf("%s %s %s: %zu entries, root-owned\n",
               opt_given(o, OPT_DRY_RUN) ? "would be copied to" : "copied to", target, m.version, tree.n);
        say_next(h->config, &m);
    }
    tree_free(&tree);
    manifest_free(&m);
    return r;
}

int plugin_add(const struct opts *o)
{
    struct host h;
    struct refusal refusal;
    int r = host_open(o, true, &h, &refusal);

    if (r == 0)
        r = add(&h, o, &refusal);
    host_close(&h);
    return r < 0 ? refusal_print(&refusal, opt_given(o, OPT_JSON)) : EXITCODE_OK;
}

// ---- lock ---------------------------------------------------------------------------------------

// Who reads the code: in a home the service user, as the warden will; else whoever runs this.
static struct code code_in(const struct host *h, const char *dir, bool home)
{
    return (struct code){h->root, dir, home ? (uid_t)h->config->uid : geteuid(),
                         home ? (gid_t)h->config->gid : getegid()};
}

static int fill(struct lock_plugin *p, const char *name, const struct found_plugin *f,
                const struct manifest *m, struct tree *tree)
{
    p->name = strdup(name);
    p->source = strdup(f->dir);
    p->entrypoint = strdup(m->entrypoint);
    p->serial = !m->concurrency_safe;
    p->locked_ms = (uint64_t)ledger_now_ms();
    p->requires = calloc(MAX(m->requires_secrets.n, (size_t)1), sizeof(*p->requires));
    for (size_t i = 0; p->requires && i < m->requires_secrets.n; i++)
        if ((p->requires[i] = strdup(m->requires_secrets.list[i])))
            p->n_requires++;
    for (size_t i = 0; i < tree->n; i++)
        if (str_eq(tree->list[i].path, "manifest.yaml"))
            memcpy(p->manifest, tree->list[i].hash, TREE_HASH_LEN);
    p->tree = *tree;
    *tree = (struct tree){0};
    return p->name && p->source && p->entrypoint && p->requires ? 0 : -ENOMEM;
}

// Where it runs from: in place where root alone can write, a copy of ours for code in a home.
// What root took over by chown may still be open for writing by who had it before: stores through a mapping
// would change it unseen, so it must be let go of, or copied.
static int refuse_held(const struct lock_plugin *p, struct refusal *refusal)
{
    char where[LIMIT_PATH];
    int r = tree_held(p->source, &p->tree, where);

    if (r == 0)
        return 0;
    if (r < 0) {
        log_warn(
            "whether somebody has %s open for writing cannot be told (%s); `ductile plugin add` copies it",
            where, errno_name(-r));
        return 0;
    }
    refuse(refusal, REFUSE_PLUGIN_BAD, "the plugin in %s", p->source);
    refuse_why(refusal, "%s is open for writing, and its lock would not hold against who has it open", where);
    return refuse_remedy(refusal, "ductile plugin add a copy of it, or end who has it open (fuser -v %s)",
                         where);
}

static int place(struct host *h, const struct found_plugin *f, struct lock_plugin *p, struct refusal *refusal)
{
    char hex[2 * TREE_HASH_LEN + 1], dir[LIMIT_PATH], code[LIMIT_PATH], where[LIMIT_PATH];
    struct stat st;

    if (!f->home) {
        p->code = strdup(p->source);
        if (h->config->posture != POSTURE_UNCONFINED && !h->root_path &&
            tree_writable(p->source, &p->tree, where)) {
            refuse(refusal, REFUSE_PLUGIN_BAD, "the plugin in %s", p->source);
            refuse_why(refusal,
                       "%s may be changed by others than root, and code must not be writable by who runs it",
                       where);
            return refuse_remedy(refusal, "chown -R root: it and chmod -R go-w it; or ductile plugin add %s",
                                 p->source);
        }
        if (!p->code)
            return -ENOMEM;
        return h->config->posture != POSTURE_UNCONFINED && !h->root_path ? refuse_held(p, refusal) : 0;
    }
    str_hex(p->tree.hash, TREE_HASH_LEN, hex);
    char locked[LIMIT_PATH];
    snprintf(dir, sizeof(dir), "%.900s/%s", config_locked_dir(h->config, locked), p->name);
    snprintf(code, sizeof(code), "%.900s/%.32s", dir, hex);
    p->code = strdup(code);
    if (!p->code)
        return -ENOMEM;
    const struct layout_item item = {.kind = LAYOUT_KIND_DIR, .presence = LAYOUT_PRESENCE_MAKE, .mode = 0755};
    struct layout_item parent = item;
    snprintf(parent.path, sizeof(parent.path), "%s", dir);
    int r = layout_apply(h->root, &parent);
    if (r < 0) {
        refuse(refusal, REFUSE_APPLY, "%s", dir);
        refuse_why(refusal, "%s", strerror(-r));
        return refuse_remedy(refusal, "ductile-install apply");
    }
    if (fd_stat(h->root, code, &st) == 0) { // the same content was locked before
        struct tree there = {0};
        struct tree_error error;
        OWNED(fd_closep) int fd = fd_open(h->root, code, O_RDONLY | O_DIRECTORY, 0);
        bool same = fd >= 0 && tree_scan(fd, &there, &error) == 0 && tree_same(&p->tree, &there, where);
        tree_free(&there);
        if (same)
            return 0;
    }
    const struct code source = code_in(h, p->source, true);
    return code_copy(h, &source, &p->tree, code, refusal);
}

static void say_difference(const struct lock_plugin *old, const struct tree *now)
{
    char what[LIMIT_PATH];

    if (!old)
        printf("  first lock: %zu entries\n", now->n);
    else if (tree_same(&old->tree, now, what))
        printf("  unchanged since it was last locked\n");
    else
        printf("  %s, ...: from now on this is what runs\n", what);
}

static int write_lock(struct host *h, const struct lock *lock, struct refusal *refusal)
{
    char path[LIMIT_PATH];
    OWNED(freep) char *text = lock_text(lock);
    bool root = geteuid() == 0;

    config_lock_path(h->config, "plugins.lock", path);
    int r = !text ? -ENOMEM
                  : fd_replace_file(h->root, path, text, strlen(text), 0640, root ? 0 : (uid_t)-1,
                                    root ? (gid_t)h->config->gid : (gid_t)-1);
    if (r == 0)
        return 0;
    refuse(refusal, REFUSE_APPLY, "writing %s", path);
    refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(refusal,
                         r == -EACCES ? "sudo ductile plugin lock NAME" : "make room, then lock again");
}

static int write_fact(struct ledger *l, void *arg)
{
    const struct lock_plugin *p = arg;
    char hex[2 * TREE_HASH_LEN + 1];
    struct strbuf sb = {0};

    str_hex(p->tree.hash, TREE_HASH_LEN, hex);
    sb_addf(&sb, "{\"hash\":\"%s\",\"source\":", hex);
    sb_add_json(&sb, p->source);
    sb_adds(&sb, ",\"code\":");
    sb_add_json(&sb, p->code);
    sb_addc(&sb, '}');
    OWNED(freep) char *detail = sb_finish(&sb);
    return detail ? ledger_audit(l, "ductile-install", 0, AUDIT_PLUGIN_LOCKED, p->name, detail, NULL)
                  : -ENOMEM;
}

static int lock_one(struct host *h, const struct opts *o, struct lock *lock, const char *name,
                    struct refusal *refusal)
{
    struct found_plugin found;
    struct tree tree = {0};
    struct manifest m = {0};
    struct lock_plugin p = {0};
    int r = plugin_find(h, name, &found, refusal);

    if (r == 0) {
        const struct code code = code_in(h, found.dir, found.home);
        r = code_read(&code, &tree, &m, refusal);
    }
    if (r == 0 && !str_eq(m.name, name)) {
        refuse(refusal, REFUSE_PLUGIN_BAD, "the plugin in %s", found.dir);
        refuse_why(refusal, "its manifest calls it \"%s\"", m.name);
        r = refuse_remedy(refusal, "name the directory and the plugin alike");
    }
    if (r == 0 && !opt_given(o, OPT_JSON)) {
        printf("%s %s in %s\n", name, m.version, found.dir);
        say_difference(lock_find(lock, name), &tree);
    }
    if (r == 0)
        r = fill(&p, name, &found, &m, &tree);
    if (r == 0 && !opt_given(o, OPT_DRY_RUN))
        r = place(h, &found, &p, refusal);
    if (r == 0 && !opt_given(o, OPT_DRY_RUN)) {
        struct lock_plugin copy = p; // for the ledger; the lock owns the strings from here
        r = lock_put(lock, &p);
        if (r == 0)
            r = write_lock(h, lock, refusal);
        if (r == 0 && !h->root_path && ledger_as_owner(h->config, true, write_fact, &copy) != 0)
            log_warn("the lock is not in the ledger");
        if (r == 0 && !opt_given(o, OPT_JSON))
            printf("  locked; what runs is %s\n", copy.code);
    }
    lock_plugin_free(&p);
    tree_free(&tree);
    manifest_free(&m);
    return r;
}

static int lock_names(struct host *h, const struct opts *o, struct refusal *refusal)
{
    struct lock lock = {0};
    int r = lock_load(h->root, h->config, &lock, refusal);

    for (int i = 0; r == 0 && i < o->n_args; i++)
        r = lock_one(h, o, &lock, o->args[i], refusal);
    if (r == 0 && opt_given(o, OPT_JSON)) {
        printf("{\"locked\":[");
        for (int i = 0; i < o->n_args; i++) {
            char hex[2 * TREE_HASH_LEN + 1] = "";
            const struct lock_plugin *p = lock_find(&lock, o->args[i]);
            if (p)
                str_hex(p->tree.hash, TREE_HASH_LEN, hex);
            printf("%s{\"plugin\":\"%s\",\"hash\":\"%s\",\"code\":\"%s\"}", i ? "," : "", o->args[i], hex,
                   p ? p->code : "");
        }
        printf("]}\n");
    }
    lock_free(&lock);
    return r;
}

int plugin_lock(const struct opts *o)
{
    struct host h;
    struct refusal refusal;
    int r = host_open(o, true, &h, &refusal);

    if (r == 0)
        r = lock_names(&h, o, &refusal);
    if (r < 0 && r != -ECANCELED) {
        refuse(&refusal, REFUSE_IO, "locking");
        refuse_why(&refusal, "%s", strerror(-r));
        refuse_remedy(&refusal, "try again");
    }
    host_close(&h);
    return r < 0 ? refusal_print(&refusal, opt_given(o, OPT_JSON)) : EXITCODE_OK;
}

// ---- verify -------------------------------------------------------------------------------------

// What differs, or "" where nothing does. Could not be checked is told apart from does not match.
static bool verify_tree(const struct code *code, const struct lock_plugin *p, char what[static LIMIT_PATH])
{
    struct tree now = {0};
    struct manifest m = {0};
    struct refusal why;
    bool same = false;

    what[0] = '\0';
    if (code_read(code, &now, &m, &why) < 0)
        snprintf(what, LIMIT_PATH, "%.900s", why.why);
    else
        same = tree_same(&p->tree, &now, what);
    tree_free(&now);
    manifest_free(&m);
    return same;
}

static bool verify_one(struct host *h, const struct lock_plugin *p, bool json, bool first)
{
    const bool home = config_home_of(h->config, p->source) != NULL;
    char source[LIMIT_PATH] = "", copy[LIMIT_PATH] = "";

    const struct code edited = code_in(h, p->source, home), runs = code_in(h, p->code, false);
    bool good = verify_tree(&edited, p, source);
    if (!str_eq(p->source, p->code))
        good &= verify_tree(&runs, p, copy);
    if (json) {
        struct strbuf sb = {0};
        sb_addf(&sb, "%s{\"plugin\":\"%s\",\"attested\":%s,\"source\":", first ? "" : ",", p->name,
                good ? "true" : "false");
        sb_add_json(&sb, source);
        sb_adds(&sb, ",\"code\":");
        sb_add_json(&sb, copy);
        sb_addc(&sb, '}');
        OWNED(freep) char *text = sb_finish(&sb);
        printf("%s", text ? text : "");
    } else {
        printf("%-10s %s%s%s%s%s\n", good ? "attested" : "DRIFT", p->name, source[0] ? ": " : "", source,
               copy[0] ? "; the locked copy: " : "", copy);
    }
    return good;
}

static int verify(struct host *h, const struct opts *o, struct refusal *refusal)
{
    struct lock lock = {0};
    bool json = opt_given(o, OPT_JSON), good = true;
    int r = lock_load(h->root, h->config, &lock, refusal), shown = 0;

    for (int i = 0; r == 0 && i < o->n_args; i++)
        if (!lock_find(&lock, o->args[i])) {
            refuse(refusal, REFUSE_PLUGIN_UNKNOWN, "verifying %s", o->args[i]);
            refuse_why(refusal, "it was never locked");
            r = refuse_remedy(refusal, "ductile plugin lock %s", o->args[i]);
        }
    if (r == 0 && json)
        printf("{\"plugins\":[");
    for (size_t i = 0; r == 0 && i < lock.n; i++) {
        bool wanted = o->n_args == 0;
        for (int j = 0; j < o->n_args; j++)
            wanted |= str_eq(o->args[j], lock.list[i].name);
        if (wanted)
            good &= verify_one(h, &lock.list[i], json, shown++ == 0);
    }
    if (r == 0 && json)
        printf("]}\n");
    else if (r == 0 && shown == 0)
        log_info("nothing is locked yet: ductile plugin lock NAME");
    lock_free(&lock);
    return r < 0 ? r : good ? EXITCODE_OK : EXITCODE_FINDING;
}

int plugin_verify(const struct opts *o)
{
    struct host h;
    struct refusal refusal;
    int r = host_open(o, true, &h, &refusal);

    if (r == 0)
        r = verify(&h, o, &refusal);
    host_close(&h);
    return r < 0 ? refusal_print(&refusal, opt_given(o, OPT_JSON)) : r;
}
