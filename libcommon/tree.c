// Whole-tree attestation. Reads; changes nothing. The caller decides who reads (a helper without capabilities
// in the warden, the service user in the installer).
#include "tree.h"
#include "fd.h"
#include "str.h"
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct scan {
    struct tree *tree;
    struct tree_error *error;
    uint64_t bytes;
};

__attribute__((format(printf, 4, 5))) static int fail(struct scan *s, int error, const char *path,
                                                      const char *why, ...)
{
    va_list ap;

    s->error->error = error;
    snprintf(s->error->path, sizeof(s->error->path), "%s", path);
    va_start(ap, why);
    vsnprintf(s->error->why, sizeof(s->error->why), why, ap);
    va_end(ap);
    return error;
}

void tree_free(struct tree *tree)
{
    for (size_t i = 0; i < tree->n; i++) {
        free(tree->list[i].path);
        free(tree->list[i].target);
    }
    free(tree->list);
    *tree = (struct tree){0};
}

int tree_add(struct tree *tree, const struct tree_entry *entry)
{
    if ((tree->n & (tree->n - 1)) == 0) {
        struct tree_entry *list = reallocarray(tree->list, MAX((size_t)1, tree->n * 2), sizeof(*list));
        if (!list)
            return -ENOMEM;
        tree->list = list;
    }
    tree->list[tree->n++] = *entry;
    return 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct tree_entry *)a)->path, ((const struct tree_entry *)b)->path);
}

static void hash_text(crypto_generichash_state *state, const char *s)
{
    crypto_generichash_update(state, (const unsigned char *)s, strlen(s) + 1); // the NUL separates fields
}

int tree_seal(struct tree *tree)
{
    crypto_generichash_state state;

    if (tree->n > 0)
        qsort(tree->list, tree->n, sizeof(*tree->list), by_path);
    crypto_generichash_init(&state, NULL, 0, TREE_HASH_LEN);
    hash_text(&state, "ductile tree 1");
    for (size_t i = 0; i < tree->n; i++) {
        const struct tree_entry *e = &tree->list[i];
        const char kind[2] = {(char)e->kind, '\0'};
        if (i > 0 && str_eq(e->path, tree->list[i - 1].path))
            return -EEXIST;
        hash_text(&state, kind);
        hash_text(&state, e->path);
        hash_text(&state, e->target ? e->target : "");
        crypto_generichash_update(&state, e->hash, sizeof(e->hash));
    }
    crypto_generichash_final(&state, tree->hash, TREE_HASH_LEN);
    return 0;
}

// A relative link that never climbs above the directory its tree starts at.
static bool link_stays_inside(const char *path, const char *target)
{
    int depth = 0;

    if (target[0] == '/' || target[0] == '\0')
        return false;
    for (const char *p = path; *p; p++)
        depth += *p == '/';
    for (const char *p = target; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (--depth < 0)
                return false;
        } else if (n > 0 && !(n == 1 && p[0] == '.'))
            depth++;
        p += n;
        p += strspn(p, "/");
    }
    return true;
}

static int scan_link(struct scan *s, int dir, const char *name, struct tree_entry *e)
{
    char target[LIMIT_PATH];
    ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

    if (n < 0)
        return fail(s, err_last(), e->path, "the link cannot be read");
    target[n] = '\0';
    if (!link_stays_inside(e->path, target))
        return fail(s, -EPERM, e->path, "the link leads out of the plugin");
    e->kind = TREE_LINK;
    e->target = strdup(target);
    return e->target ? 0 : -ENOMEM;
}

static int scan_file(struct scan *s, int dir, const char *name, const struct stat *st, struct tree_entry *e)
{
    unsigned char chunk[65536];
    crypto_generichash_state state;
    OWNED(fd_closep) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return fail(s, err_last(), e->path, "the file cannot be read");
    if (st->st_mode & (S_ISUID | S_ISGID))
        return fail(s, -EPERM, e->path, "a setuid or setgid file");
    e->kind = st->st_mode & 0111 ? TREE_EXEC : TREE_FILE;
    crypto_generichash_init(&state, NULL, 0, TREE_HASH_LEN);
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(s, err_last(), e->path, "the file cannot be read");
        if (n == 0)
            break;
        e->size += (uint64_t)n;
        s->bytes += (uint64_t)n;
        if (s->bytes > LIMIT_TREE_BYTES)
            return fail(s, -EPERM, e->path, "the plugin is larger than %d MiB", LIMIT_TREE_BYTES >> 20);
        crypto_generichash_update(&state, chunk, (size_t)n);
    }
    crypto_generichash_final(&state, e->hash, TREE_HASH_LEN);
    return 0;
}

static int scan_dir(struct scan *s, int dir, const char *path, unsigned depth);

static int scan_entry(struct scan *s, int dir, const char *parent, const char *name, unsigned depth)
{
    struct stat st;
    struct tree_entry e = {0};
    char path[LIMIT_PATH + 256];

    snprintf(path, sizeof(path), "%s%s%s", parent, parent[0] ? "/" : "", name);
    if (strlen(path) >= LIMIT_PATH)
        return fail(s, -EPERM, parent, "a path longer than %d bytes", LIMIT_PATH);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return fail(s, -EPERM, parent, "a name with a control byte");
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(s, err_last(), path, "cannot be examined");
    if (s->tree->n >= LIMIT_TREE_ENTRIES)
        return fail(s, -EPERM, path, "more than %d entries", LIMIT_TREE_ENTRIES);
    e.path = strdup(path);
    e.loose = !S_ISLNK(st.st_mode) && (st.st_mode & 0022); // with an ACL the group bits are its mask
    int r = e.path ? 0 : -ENOMEM;
    if (r == 0 && S_ISDIR(st.st_mode))
        e.kind = TREE_DIR;
    else if (r == 0 && S_ISLNK(st.st_mode))
        r = scan_link(s, dir, name, &e);
    else if (r == 0 && S_ISREG(st.st_mode))
        r = scan_file(s, dir, name, &st, &e);
    else if (r == 0)
        r = fail(s, -EPERM, path, "neither file, directory nor link");
    if (r == 0)
        r = tree_add(s->tree, &e);
    if (r < 0) {
        free(e.path);
        free(e.target);
        return r;
    }
    if (!S_ISDIR(st.st_mode))
        return 0;
    OWNED(fd_closep) int below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0)
        return fail(s, err_last(), path, "the directory cannot be read");
    return scan_dir(s, below, path, depth + 1);
}

static int scan_dir(struct scan *s, int dir, const char *path, unsigned depth)
{
    char **names = NULL;
    size_t n = 0;

    if (depth > LIMIT_TREE_DEPTH)
        return fail(s, -EPERM, path, "more than %d directories deep", LIMIT_TREE_DEPTH);
    int r = fd_list_some(dir, LIMIT_TREE_ENTRIES, &names, &n);
    if (r == -E2BIG)
        return fail(s, -EPERM, path, "more than %d entries", LIMIT_TREE_ENTRIES);
    if (r < 0)
        return fail(s, r, path, "the directory cannot be listed");
    for (size_t i = 0; r == 0 && i < n; i++)
        r = scan_entry(s, dir, path, names[i], depth);
    fd_list_free(names, n);
    return r;
}

int tree_scan(int dir, struct tree *ret, struct tree_error *ret_error)
{
    struct tree tree = {0};
    struct scan s = {.tree = &tree, .error = ret_error};
    struct tree_entry top = {.kind = TREE_DIR, .path = strdup("")};
    struct stat st;

    top.loose = fstat(dir, &st) == 0 && (st.st_mode & 0022);
    *ret_error = (struct tree_error){0};
    int r = top.path ? tree_add(&tree, &top) : -ENOMEM;
    if (r == 0)
        r = scan_dir(&s, dir, "", 0);
    if (r == 0)
        r = tree_seal(&tree);
    if (r < 0) {
        if (ret_error->error == 0)
            fail(&s, r, "", "%s", strerror(-r));
        tree_free(&tree);
        return r;
    }
    *ret = tree;
    return 0;
}

static const char *difference(const struct tree_entry *a, const struct tree_entry *b)
{
    bool files =
        (a->kind == TREE_FILE || a->kind == TREE_EXEC) && (b->kind == TREE_FILE || b->kind == TREE_EXEC);

    if (a->kind != b->kind && !files)
        return "changed type of";
    if (a->target && b->target && !str_eq(a->target, b->target))
        return "retargeted link";
    if (memcmp(a->hash, b->hash, TREE_HASH_LEN) != 0)
        return "changed";
    if (a->kind != b->kind)
        return b->kind == TREE_EXEC ? "made executable" : "made not executable";
    return NULL;
}

bool tree_same(const struct tree *locked, const struct tree *now, char what[static LIMIT_PATH])
{
    for (size_t i = 0, j = 0; i < locked->n || j < now->n;) {
        int order = i == locked->n ? 1 : j == now->n ? -1 : strcmp(locked->list[i].path, now->list[j].path);
        const char *how = order < 0   ? "removed"
                          : order > 0 ? "added"
                                      : difference(&locked->list[i], &now->list[j]);
        if (how) {
            snprintf(what, LIMIT_PATH, "%s %.900s", how,
                     order > 0 ? now->list[j].path : locked->list[i].path);
            return false;
        }
        i += order <= 0;
        j += order >= 0;
    }
    return true;
}

// ---- who may change it, without reading it ------------------------------------------------------

struct identity {
    crypto_generichash_state state;
    bool root_only;
    char *where; // of LIMIT_PATH bytes, or NULL
};

static int add_identity(struct identity *id, int dir, const char *name, const char *shown)
{
    struct statx st;

    if (statx(dir, name, AT_SYMLINK_NOFOLLOW | (name[0] ? 0 : AT_EMPTY_PATH), STATX_BASIC_STATS, &st) < 0)
        return err_last();
    const uint64_t facts[] = {
        (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor,
        st.stx_ino,
        st.stx_size,
        (uint64_t)st.stx_mode << 32 | st.stx_uid,
        st.stx_gid,
        (uint64_t)st.stx_mtime.tv_sec,
        st.stx_mtime.tv_nsec,
        (uint64_t)st.stx_ctime.tv_sec,
        st.stx_ctime.tv_nsec,
    };
    crypto_generichash_update(&id->state, (const unsigned char *)facts, sizeof(facts));
    // The mode bits of the group are the mask of an ACL where there is one: a named entry cannot hide from
    // them.
    bool open = st.stx_uid != 0 || (!S_ISLNK(st.stx_mode) && (st.stx_mode & 0022));
    if (open && id->root_only) {
        id->root_only = false;
        if (id->where)
            snprintf(id->where, LIMIT_PATH, "%s", shown);
    }
    return 0;
}

// Opens path component by component, adding each directory on the way.
static int walk_ancestors(struct identity *id, const char *path, int *ret_dir)
{
    char shown[LIMIT_PATH];
    OWNED(fd_closep) int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0 || path[0] != '/' || strlen(path) >= sizeof(shown))
        return dir < 0 ? err_last() : -EINVAL;
    int r = add_identity(id, dir, "", "/");
    for (const char *p = path + 1; r == 0 && *p;) {
        size_t n = strcspn(p, "/");
        char name[256];
        if (n >= sizeof(name))
            return -ENAMETOOLONG;
        memcpy(name, p, n);
        name[n] = '\0';
        snprintf(shown, sizeof(shown), "%.*s", (int)(p + n - path), path);
        int below = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0)
            return err_last();
        fd_closep(&dir);
        dir = below;
        r = add_identity(id, dir, "", shown);
        p += n;
        p += *p == '/';
    }
    if (r == 0)
        *ret_dir = fd_take(&dir);
    return r;
}

static int examine(const char *path, const struct tree *known, struct identity *id)
{
    char shown[2 * LIMIT_PATH];
    OWNED(fd_closep) int dir = -1;
    int r = walk_ancestors(id, path, &dir);

    for (size_t i = 0; r == 0 && i < known->n; i++) {
        const char *name = known->list[i].path;
        if (name[0] == '\0')
            continue; // the directory itself was the last ancestor
        snprintf(shown, sizeof(shown), "%s/%s", path, name);
        r = add_identity(id, dir, name, shown);
    }
    return r;
}

int tree_identity(const char *path, const struct tree *known, uint8_t identity[static TREE_HASH_LEN],
                  bool *ret_root_only)
{
    struct identity id = {.root_only = true};

    crypto_generichash_init(&id.state, NULL, 0, TREE_HASH_LEN);
    int r = examine(path, known, &id);
    crypto_generichash_final(&id.state, identity, TREE_HASH_LEN);
    *ret_root_only = r == 0 && id.root_only;
    return r;
}

bool tree_writable(const char *path, const struct tree *known, char where[static LIMIT_PATH])
{
    struct identity id = {.root_only = true, .where = where};

    crypto_generichash_init(&id.state, NULL, 0, TREE_HASH_LEN);
    int r = examine(path, known, &id);
    if (r < 0)
        snprintf(where, LIMIT_PATH, "%s", path);
    return r < 0 || !id.root_only;
}

// A read lease is refused while anybody has the file open for writing; a shared mapping keeps it open.
static int is_held(int dir, const char *name)
{
    OWNED(fd_closep) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return err_last();
    if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
        return errno == EAGAIN ? 1 : err_last();
    return fcntl(fd, F_SETLEASE, F_UNLCK) < 0 ? err_last() : 0;
}

int tree_held(const char *path, const struct tree *known, char where[static LIMIT_PATH])
{
    struct identity id = {.root_only = true};
    OWNED(fd_closep) int dir = -1;

    crypto_generichash_init(&id.state, NULL, 0, TREE_HASH_LEN);
    int r = walk_ancestors(&id, path, &dir);
    snprintf(where, LIMIT_PATH, "%s", path);
    for (size_t i = 0; r == 0 && i < known->n; i++) {
        const struct tree_entry *e = &known->list[i];
        if (e->kind != TREE_FILE && e->kind != TREE_EXEC)
            continue;
        snprintf(where, LIMIT_PATH, "%.500s/%.500s", path, e->path);
        r = is_held(dir, e->path);
    }
    return r;
}
