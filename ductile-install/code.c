// Plugin code: finding it, holding it against the rules, copying it. What lies in a home is read as the
// service user, never as root: whatever a link or a swapped directory points at, it is no more than the
// service may read anyway, and its content must still be what the list says.
#include "fd.h"
#include "install.h"
#include "manifest.h"
#include "privs.h"
#include "tree.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int bad(struct refusal *refusal, const char *dir, const char *remedy, const char *why)
{
    refuse(refusal, REFUSE_PLUGIN_BAD, "the plugin in %s", dir);
    refuse_why(refusal, "%s", why);
    refuse_remedy(refusal, "%s", remedy);
    return -ECANCELED;
}

// Root becomes the reader for the time of an open; others are who they are.
static int enter(const struct code *c)
{
    return geteuid() == 0 && c->uid != 0 ? privs_enter(c->uid, c->gid) : 0;
}

static void leave(void)
{
    if (geteuid() != 0 && getuid() == 0 && privs_leave() < 0)
        abort(); // half a root is nothing to go on with
}

static int open_dir(const struct code *c, struct refusal *refusal)
{
    int fd = fd_open(c->root, c->dir, O_RDONLY | O_DIRECTORY, 0);

    if (fd >= 0)
        return fd;
    char why[160];
    snprintf(why, sizeof(why), "it cannot be opened: %s (%s)%s", strerror(-fd), errno_name(-fd),
             fd == -EACCES ? "; the service reads a home through the ACL of its group" : "");
    return bad(refusal, c->dir,
               fd == -EACCES  ? "ductile-install apply"
               : fd == -ELOOP ? "use a path without symbolic links"
                              : "name a directory that is there",
               why);
}

// Its needs and its entrypoint are taken from these bytes, so they must be the ones that the tree's hash is
// of: whoever may write there could swap it between the two readings.
static bool is_in_tree(const struct tree *tree, const char *text, size_t len)
{
    uint8_t hash[TREE_HASH_LEN];

    crypto_generichash(hash, sizeof(hash), (const unsigned char *)text, len, NULL, 0);
    for (size_t i = 0; i < tree->n; i++)
        if (str_eq(tree->list[i].path, "manifest.yaml"))
            return memcmp(tree->list[i].hash, hash, sizeof(hash)) == 0;
    return false;
}

static int read_manifest(int dir, const char *shown, const struct tree *tree, struct manifest *ret,
                         struct refusal *refusal)
{
    OWNED(freep) char *text = NULL;
    size_t len;
    char path[LIMIT_PATH + 32];
    int r = fd_read_file(dir, "/manifest.yaml", LIMIT_CONFIG_FILE, &text, &len);

    snprintf(path, sizeof(path), "%s/manifest.yaml", shown);
    if (r == 0 && !is_in_tree(tree, text, len))
        return bad(refusal, shown, "try again when nobody writes to it",
                   "its manifest.yaml changed while it was read");
    if (r == 0)
        return manifest_parse(path, text, len, ret, refusal);
    return bad(refusal, shown, "write one; share/plugins/_template shows how",
               r == -ENOENT ? "it has no manifest.yaml" : strerror(-r));
}

static int check_rules(const char *dir, const struct tree *tree, const struct manifest *m,
                       struct refusal *refusal)
{
    char why[LIMIT_PATH + 128];
    enum tree_kind kind = 0;

    for (size_t i = 0; i < tree->n; i++) {
        if (tree->list[i].loose) {
            snprintf(why, sizeof(why), "%.900s may be written by its group or by others",
                     tree->list[i].path[0] ? tree->list[i].path : dir);
            return bad(refusal, dir, "chmod -R go-w it", why);
        }
        if (str_eq(tree->list[i].path, m->entrypoint))
            kind = tree->list[i].kind;
    }
    snprintf(why, sizeof(why), "its entrypoint %.900s %s", m->entrypoint,
             kind == TREE_FILE ? "is not executable" : "is not a file in it");
    return kind == TREE_EXEC
               ? 0
               : bad(refusal, dir, kind == TREE_FILE ? "chmod 0755 it" : "mend entrypoint: in manifest.yaml",
                     why);
}

int code_read(const struct code *c, struct tree *ret_tree, struct manifest *ret_manifest,
              struct refusal *refusal)
{
    struct tree_error error = {0};
    struct tree tree = {0};
    struct manifest manifest = {0};
    const char *dir = c->dir;
    char why[LIMIT_PATH + 160];

    if (enter(c) < 0)
        return bad(refusal, dir, "run this as root", "its reader could not be become");
    OWNED(fd_closep) int fd = open_dir(c, refusal);
    int r = fd < 0 ? fd : tree_scan(fd, &tree, &error);
    if (r < 0 && r != -ECANCELED) {
        snprintf(why, sizeof(why), "%s: %s%s%s", error.why, error.path, error.error != -EPERM ? ": " : "",
                 error.error != -EPERM ? strerror(-error.error) : "");
        bad(refusal, dir,
            error.error == -EACCES ? "ductile-install apply (it sets the ACL anew), or chmod it"
                                   : "take it out of the plugin",
            why);
        r = -ECANCELED;
    }
    if (r == 0)
        r = read_manifest(fd, dir, &tree, &manifest, refusal);
    leave();
    if (r == 0)
        r = check_rules(dir, &tree, &manifest, refusal);
    if (r < 0) {
        tree_free(&tree);
        manifest_free(&manifest);
        return -ECANCELED;
    }
    *ret_tree = tree;
    *ret_manifest = manifest;
    return 0;
}

// ---- copying ------------------------------------------------------------------------------------

static int copy_file(int from, int to, const struct tree_entry *e, const struct code *c)
{
    char path[LIMIT_PATH + 1];
    unsigned char chunk[65536], hash[TREE_HASH_LEN];
    crypto_generichash_state state;

    snprintf(path, sizeof(path), "/%s", e->path);
    int r = enter(c);
    OWNED(fd_closep) int in = r < 0 ? r : fd_open(from, path, O_RDONLY | O_NONBLOCK, 0);
    leave();
    OWNED(fd_closep) int out = in < 0 ? in : fd_open(to, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (out < 0)
        return out;
    crypto_generichash_init(&state, NULL, 0, TREE_HASH_LEN);
    for (;;) {
        ssize_t n = read(in, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            r = n < 0 ? err_last() : 0;
            break;
        }
        crypto_generichash_update(&state, chunk, (size_t)n);
        r = fd_write_all(out, chunk, (size_t)n);
        if (r < 0)
            break;
    }
    crypto_generichash_final(&state, hash, sizeof(hash));
    if (r == 0 && memcmp(hash, e->hash, sizeof(hash)) != 0)
        r = -ESTALE; // changed since it was read
    if (r == 0 && (fchmod(out, e->kind == TREE_EXEC ? 0755 : 0644) < 0 || fsync(out) < 0))
        r = err_last();
    return r;
}

static int copy_entry(int from, int to, const struct tree_entry *e, const struct code *c)
{
    if (e->kind == TREE_DIR)
        return e->path[0] == '\0' ? 0 : mkdirat(to, e->path, 0755) < 0 ? err_last() : 0;
    if (e->kind == TREE_LINK)
        return symlinkat(e->target, to, e->path) < 0 ? err_last() : 0;
    return copy_file(from, to, e, c);
}

static int copy_all(int from, int to, const struct tree *tree, const struct code *c,
                    char where[static LIMIT_PATH])
{
    struct tree copy = {0};
    struct tree_error error;

    for (size_t i = 0; i < tree->n; i++) {
        snprintf(where, LIMIT_PATH, "%s", tree->list[i].path);
        int r = copy_entry(from, to, &tree->list[i], c);
        if (r < 0)
            return r;
    }
    int r = tree_scan(to, &copy, &error);
    if (r == 0 && !tree_same(tree, &copy, where))
        r = -ESTALE;
    tree_free(&copy);
    return r;
}

static int copy_into(int parent, const char *name, int from, const struct tree *tree, const struct code *c,
                     char where[static LIMIT_PATH])
{
    char temp[300], old[300];

    snprintf(temp, sizeof(temp), ".%.200s.new", name);
    snprintf(old, sizeof(old), ".%.200s.old", name);
    int r = fd_remove_tree(parent, temp); // of an interrupted run
    if (r == 0 && mkdirat(parent, temp, 0700) < 0)
        r = err_last();
    OWNED(fd_closep)
    int to = r < 0 ? r : openat(parent, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0)
        return r < 0 ? r : err_last();
    r = copy_all(from, to, tree, c, where);
    if (r == 0 && fchmod(to, 0755) < 0)
        r = err_last();
    // The old one, where there is one, steps aside first: a directory cannot be renamed over a full one.
    if (r == 0)
        r = fd_remove_tree(parent, old);
    if (r == 0 && renameat(parent, name, parent, old) < 0 && errno != ENOENT)
        r = err_last();
    if (r == 0 && renameat(parent, temp, parent, name) < 0)
        r = err_last();
    int e = fd_remove_tree(parent, r < 0 ? temp : old);
    OWNED(fd_closep) int real = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return r < 0 ? r : e < 0 ? e : fsync(real) < 0 ? err_last() : 0;
}

int code_copy(struct host *h, const struct code *from, const struct tree *tree, const char *target,
              struct refusal *refusal)
{
    char where[LIMIT_PATH] = "", why[2 * LIMIT_PATH];
    const char *name;
    int r = enter(from);
    OWNED(fd_closep) int in = r < 0 ? r : open_dir(from, refusal);

    leave();
    if (in < 0)
        return -ECANCELED;
    OWNED(fd_closep) int parent = fd_open_parent(h->root, target, &name);
    mode_t old = umask(0022);
    r = parent < 0 ? parent : copy_into(parent, name, in, tree, from, where);
    umask(old);
    if (r == 0)
        return 0;
    snprintf(why, sizeof(why), "%s%s%s", r == -ESTALE ? "it changed while it was copied" : strerror(-r),
             where[0] ? ": " : "", where);
    return bad(refusal, from->dir,
               r == -ESTALE ? "try again when nobody writes to it" : "make room, then try again", why);
}

// ---- finding ------------------------------------------------------------------------------------

int plugin_find(struct host *h, const char *name, struct found_plugin *ret, struct refusal *refusal)
{
    const struct config *c = h->config;
    struct stat st;

    for (size_t i = 0; str_is_plugin(name) && i < c->plugin_roots.n; i++) {
        *ret = (struct found_plugin){.root = c->plugin_roots.list[i]};
        if ((size_t)snprintf(ret->dir, sizeof(ret->dir), "%s/%s", ret->root, name) >= sizeof(ret->dir) ||
            fd_stat(h->root, ret->dir, &st) < 0)
            continue;
        ret->home = config_home_of(c, ret->dir);
        return 0;
    }
    struct strbuf sb = {0};
    for (size_t i = 0; i < c->plugin_roots.n; i++)
        sb_addf(&sb, "%s%s", i ? ", " : "", c->plugin_roots.list[i]);
    OWNED(freep) char *roots = sb_finish(&sb);
    refuse(refusal, REFUSE_PLUGIN_UNKNOWN, "the plugin \"%.80s\"", name);
    refuse_why(refusal, "no directory of that name in %s", roots ? roots : "plugin_roots");
    return refuse_remedy(refusal, "ductile plugin add DIRECTORY, or put it into a plugin root");
}
