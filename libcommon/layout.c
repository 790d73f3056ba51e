// The layout table's two interpreters.
#include "layout.h"
#include "acl.h"
#include "fd.h"
#include "keyfile.h"
#include "str.h"
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum principal { OWNER_ROOT, OWNER_SERVICE, OWNER_BUS, OWNER_ACCOUNT, OWNER_OPERATORS };

static const struct row {
    const char *path;
    enum layout_kind kind;
    enum principal owner, group;
    mode_t mode;
    enum layout_presence presence;
    const char *what;
} table[LAYOUT_COUNT_] = {
#define LAYOUT(id, path, kind, owner, group, mode, presence, what)                                           \
    [LAYOUT_##id] = {path, LAYOUT_KIND_##kind,         OWNER_##owner, OWNER_##group,                         \
                     mode, LAYOUT_PRESENCE_##presence, what},
#include "layout.def"
#undef LAYOUT
};

const struct layout_row *layout_rows(size_t *ret_n)
{
    static const char *const names[] = {"root", "the service", "the bus", "the account",
                                        "the operators' group"};
    static struct layout_row out[LAYOUT_COUNT_];

    for (size_t i = 0; i < LAYOUT_COUNT_; i++)
        out[i] = (struct layout_row){table[i].path, names[table[i].owner], names[table[i].group],
                                     table[i].what, table[i].mode};
    *ret_n = LAYOUT_COUNT_;
    return out;
}

// ---- expansion ----------------------------------------------------------------------------------

static const char *dir_of(const char *path, char buf[static LIMIT_PATH])
{
    const char *slash = strrchr(path, '/');

    snprintf(buf, LIMIT_PATH, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return buf;
}

static const char *variable(const struct config *c, const char *name, size_t len, const char *each,
                            char buf[static LIMIT_PATH])
{
    const struct {
        const char *name, *value;
        bool dir, base;
    } vars[] = {
        {"etc", c->dir, false, false},
        {"secret", c->age_key_file, true, false},
        {"key", c->age_key_file, false, true},
        {"vault", c->vault_file, true, false},
        {"vaultfile", c->vault_file, false, true},
        {"ledger", c->state_path, true, false},
        {"ledgerfile", c->state_path, false, true},
        {"run", c->api_socket, true, false},
        {"i", c->name, false, false},
        {"bin", DUCTILE_BINDIR, false, false},
        {"libexec", DUCTILE_LIBEXECDIR, false, false},
        {"account", each, false, false},
        {"file", each, false, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(vars); i++)
        if (strlen(vars[i].name) == len && memcmp(vars[i].name, name, len) == 0) {
            if (vars[i].dir)
                return dir_of(vars[i].value, buf);
            return vars[i].base ? strrchr(vars[i].value, '/') + 1 : vars[i].value;
        }
    return "";
}

static void expand_path(const struct config *c, const char *pattern, const char *each,
                        char out[static LIMIT_PATH])
{
    size_t n = 0;
    char buf[LIMIT_PATH];

    out[0] = '\0';
    for (const char *p = pattern; *p && n < LIMIT_PATH - 1; p++) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (!end) {
            out[n++] = *p;
            out[n] = '\0';
            continue;
        }
        const char *value = variable(c, p + 1, (size_t)(end - p - 1), each, buf);
        n += (size_t)snprintf(out + n, LIMIT_PATH - n, "%s", value);
        p = end;
    }
}

static void resolve(const struct config *c, const struct account_config *a, enum principal who,
                    char name[static 64], int64_t *uid, int64_t *gid)
{
    const char *text = "root";
    int64_t u = 0, g = 0;

    if (c->personal) {
        snprintf(name, 64, "%lld", (long long)(uid ? c->uid : c->gid));
        if (uid)
            *uid = c->uid;
        if (gid)
            *gid = c->gid;
        return;
    }
    switch (who) {
    case OWNER_ROOT: break;
    case OWNER_SERVICE: text = c->user, u = c->uid, g = c->gid; break;
    case OWNER_BUS: text = c->bus_user, u = c->bus_uid, g = c->bus_gid; break;
    case OWNER_ACCOUNT: text = a ? a->user : "?", u = a ? a->uid : ID_AUTO, g = a ? a->gid : ID_AUTO; break;
    case OWNER_OPERATORS: text = c->operators, u = ID_AUTO, g = c->operators_gid; break;
    }
    snprintf(name, 64, "%s", text);
    if (uid)
        *uid = u;
    if (gid)
        *gid = g;
}

static int add(struct layout *l, const struct config *c, enum layout_id id, const char *each,
               const struct account_config *a)
{
    const struct row *row = &table[id];
    struct layout_item *list = reallocarray(l->list, l->n + 1, sizeof(*list));

    if (!list)
        return -ENOMEM;
    l->list = list;
    struct layout_item *item = &list[l->n++];
    enum layout_presence presence =
        row->presence == LAYOUT_PRESENCE_UNCONFINED ? LAYOUT_PRESENCE_MAKE : row->presence;
    *item = (struct layout_item){
        .id = id, .kind = row->kind, .presence = presence, .mode = row->mode, .what = row->what};
    expand_path(c, row->path, each, item->path);
    resolve(c, a, row->owner, item->owner, &item->uid, NULL);
    resolve(c, a, row->group, item->group, NULL, &item->gid);
    item->personal = c->personal;
    return 0;
}

// Rows that the config's own paths place; all others are the host's.
static bool is_own_path(const char *pattern)
{
    return pattern[0] == '{' && !str_starts(pattern, "{bin}") && !str_starts(pattern, "{libexec}");
}

int layout_expand(const struct config *c, struct layout *ret)
{
    struct layout l = {0};
    int r = 0;

    for (int id = 0; r == 0 && id < LAYOUT_COUNT_; id++) {
        if (table[id].presence == LAYOUT_PRESENCE_UNCONFINED && c->posture != POSTURE_UNCONFINED)
            continue;
        if (c->personal && !is_own_path(table[id].path))
            continue;
        if (keyfile_is_credential(c->age_key_file) && str_starts(table[id].path, "{secret}"))
            continue; // the service manager's to place
        bool accounts = strstr(table[id].path, "{account}"), files = strstr(table[id].path, "{file}");
        if (!accounts && !files)
            r = add(&l, c, (enum layout_id)id, "", NULL);
        for (size_t i = 0; r == 0 && accounts && i < c->accounts.n; i++)
            if (c->accounts.list[i].mode == MODE_CONFINED)
                r = add(&l, c, (enum layout_id)id, c->accounts.list[i].state_dir, &c->accounts.list[i]);
        for (size_t i = 0; r == 0 && files && i < c->n_files; i++)
            r = add(&l, c, (enum layout_id)id, c->files[i].name, NULL);
    }
    if (r < 0) {
        layout_free(&l);
        return r;
    }
    *ret = l;
    return 0;
}

void layout_free(struct layout *layout)
{
    free(layout->list);
    *layout = (struct layout){0};
}

// ---- check --------------------------------------------------------------------------------------

static void describe_want(const struct layout_item *item, char out[static 128])
{
    snprintf(out, 128, "%s %.40s:%.40s %04o", item->kind == LAYOUT_KIND_DIR ? "directory" : "file",
             item->owner, item->group, item->mode);
}

static void describe_found(const struct stat *st, char out[static 128])
{
    const char *kind = S_ISDIR(st->st_mode)   ? "directory"
                       : S_ISREG(st->st_mode) ? "file"
                       : S_ISLNK(st->st_mode) ? "symbolic link"
                                              : "special file";

    snprintf(out, 128, "%s %u:%u %04o", kind, st->st_uid, st->st_gid, st->st_mode & 07777);
}

// Every directory on the way: no link (openat2 refuses those), and nobody but root or the item's own owner
// may change what it holds. A sticky directory (/tmp) is not acceptable, as somebody else may own the next
// component - but for a personal instance, where that component is its owner's.
static enum layout_fault check_parents(int root, const struct layout_item *item, char before[static 128])
{
    char dir[LIMIT_PATH];
    struct stat st;
    // The component below exists, and is root's or the owner's.
    bool below = fd_stat(root, item->path, &st) == 0 && (int64_t)st.st_uid == item->uid;

    snprintf(dir, sizeof(dir), "%s", item->path);
    for (char *slash = strrchr(dir, '/'); slash && slash > dir; slash = strrchr(dir, '/')) {
        *slash = '\0';
        int r = fd_stat(root, dir, &st);
        if (r < 0)
            return r == -ENOENT ? LAYOUT_MISSING : r == -ELOOP ? LAYOUT_PARENT : LAYOUT_UNKNOWN;
        // An account that owns the way to its state_dir could put another in its place.
        bool own = st.st_uid == 0 || ((int64_t)st.st_uid == item->uid && item->id != LAYOUT_ACCOUNT);
        bool sticky = item->personal && below && (st.st_mode & S_ISVTX);
        below = own;
        if (!S_ISDIR(st.st_mode) || !own || ((st.st_mode & 0022) && !sticky)) {
            snprintf(before, 128, "%.80s is %u:%u %04o", dir, st.st_uid, st.st_gid, st.st_mode & 07777);
            return LAYOUT_PARENT;
        }
    }
    return LAYOUT_OK;
}

// Capabilities of a file are no bit of its mode, and give its power to whoever runs it.
static bool has_file_caps(int fd)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return getxattr(path, "security.capability", NULL, 0) > 0;
}

static enum layout_fault compare(int fd, const struct stat *st, const struct layout_item *item)
{
    if (item->kind == LAYOUT_KIND_DIR ? !S_ISDIR(st->st_mode) : !S_ISREG(st->st_mode))
        return LAYOUT_KIND;
    if ((item->uid != ID_AUTO && (int64_t)st->st_uid != item->uid) || (int64_t)st->st_gid != item->gid)
        return LAYOUT_OWNER;
    int extended = acl_is_extended(fd);
    if (extended !=
        0) // the group bits of the mode are the mask then: compare the whole ACL, which is to be plain
        return extended < 0 ? LAYOUT_UNKNOWN : LAYOUT_ACL;
    if (has_file_caps(fd))
        return LAYOUT_CAPS;
    return (st->st_mode & 07777) == item->mode ? LAYOUT_OK : LAYOUT_MODE;
}

enum layout_fault layout_check(int root, const struct layout_item *item, char before[static 128],
                               char after[static 128])
{
    struct stat st;

    describe_want(item, after);
    snprintf(before, 128, "absent");
    OWNED(fd_closep) int fd = fd_open(root, item->path, O_PATH, 0);
    if (fd == -ENOENT)
        return item->presence == LAYOUT_PRESENCE_MAY ? LAYOUT_OK : LAYOUT_MISSING;
    if (fd == -ELOOP) {
        snprintf(before, 128, "a component is a symbolic link");
        return LAYOUT_PARENT;
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        snprintf(before, 128, "cannot be examined: %s", strerror(fd < 0 ? -fd : errno));
        return LAYOUT_UNKNOWN;
    }
    describe_found(&st, before);
    enum layout_fault fault = compare(fd, &st, item);
    if (fault == LAYOUT_ACL)
        snprintf(before + strlen(before), 128 - strlen(before), " with ACL entries");
    if (fault == LAYOUT_CAPS)
        snprintf(before + strlen(before), 128 - strlen(before), " with file capabilities");
    return fault == LAYOUT_OK ? check_parents(root, item, before) : fault;
}

// ---- apply --------------------------------------------------------------------------------------

int layout_apply(int root, const struct layout_item *item)
{
    const char *name;
    struct stat st;
    int r = item->gid == ID_AUTO || item->uid == ID_AUTO ? -EAGAIN : 0; // its user does not exist yet

    if (r == 0 && item->kind == LAYOUT_KIND_DIR)
        r = fd_make_parents(root, item->path); // they hold nothing of ours but the way
    if (r < 0)
        return r;
    OWNED(fd_closep) int parent = fd_open_parent(root, item->path, &name);
    if (parent < 0)
        return parent;
    if (item->kind == LAYOUT_KIND_DIR && mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return err_last();
    // Opened for reading, not O_PATH: fchmod and acl_set_fd want a real descriptor. NONBLOCK: a FIFO must not
    // hold us.
    OWNED(fd_closep) int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_last();
    if (item->kind == LAYOUT_KIND_DIR ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode))
        return -ENOTDIR; // we remove nothing that we did not make
    // Close first, then hand over, then open: at no moment may a wrong one come in.
    if (fchmod(fd, st.st_mode & item->mode & 0700) < 0 || fchown(fd, (uid_t)item->uid, (gid_t)item->gid) < 0)
        return err_last();
    r = acl_remove_extended(fd);
    return r < 0 ? r : fchmod(fd, item->mode) < 0 ? err_last() : 0;
}
