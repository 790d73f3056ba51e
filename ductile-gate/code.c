// What is asked: collected once, as the service user, below the root descriptor. Reads and lists; opens no
// file but the few that name root's PATH.
#include "asked.h"
#include "fd.h"
#include "rootfacts.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

enum { CODE_ENTRIES = 20000, CODE_DEPTH = 32 };

static const struct {
    enum check_id check;
    enum ask_kind kind;
    const char *path;
} rows[] = {
#define ASK(check, kind, path, why) {CHECK_##check, ASK_##kind, path},
#define SCAN(path, depth)
#include "asked.def"
#undef ASK
#undef SCAN
};

static const struct {
    const char *path;
    unsigned depth;
} scans[] = {
#define ASK(check, kind, path, why)
#define SCAN(path, depth) {path, depth},
#include "asked.def"
#undef ASK
#undef SCAN
};

void asks_add(struct asks *asks, enum check_id check, enum ask_kind kind, const char *path, bool once)
{
    for (size_t i = 0; once && i < asks->n; i++)
        if (asks->list[i].check == check && str_eq(asks->list[i].path, path))
            return;
    struct ask *list = reallocarray(asks->list, asks->n + 1, sizeof(*list));
    char *copy = strdup(path);
    if (list)
        asks->list = list;
    if (!list || !copy) {
        asks->failed = true;
        free(copy);
        return;
    }
    list[asks->n++] = (struct ask){check, kind, copy};
}

void asks_free(struct asks *asks)
{
    for (size_t i = 0; i < asks->n; i++)
        free(asks->list[i].path);
    free(asks->list);
    free(asks->mounts);
    *asks = (struct asks){0};
}

// ---- modes --------------------------------------------------------------------------------------

static bool is_closed(const struct stat *st, int64_t owner)
{
    return (st->st_uid == 0 || (int64_t)st->st_uid == owner) && !(st->st_mode & 0022);
}

bool asks_closed(int root, const char *path, int64_t owner, char open[static LIMIT_PATH])
{
    struct stat st;
    bool below = true; // the component below is closed itself: then a sticky directory does not open it

    snprintf(open, LIMIT_PATH, "%s", path);
    for (size_t len = strlen(path);;) {
        int r = fd_stat(root, open, &st);
        if (r == 0) {
            bool closed = is_closed(&st, owner);
            if (!closed && !((st.st_mode & S_ISVTX) && st.st_uid == 0 && below))
                return false;
            below = closed;
        } else if (r != -ENOENT && r != -ELOOP && r != -ENOTDIR)
            return false;
        else
            below = r != -ENOENT;
        if (len <= 1)
            return true;
        while (len > 0 && open[len - 1] != '/')
            len--;
        len = len > 1 ? len - 1 : 1;
        open[len] = '\0';
    }
}

// ---- root's PATH --------------------------------------------------------------------------------

static void add_path(struct asks *asks, const char *dirs, size_t len)
{
    char dir[LIMIT_PATH];

    for (size_t i = 0, n; i < len; i += n + 1) {
        for (n = 0; i + n < len && dirs[i + n] != ':';)
            n++;
        snprintf(dir, sizeof(dir), "%.*s", (int)MIN(n, sizeof(dir) - 1), dirs + i);
        if (str_is_abspath(dir))
            asks_add(asks, CHECK_DOOR_PATH, ASK_FILE, dir, true);
    }
}

// Lines of a file that set PATH: `PATH=...`, or behind a word (ENV_SUPATH of login.defs).
static void read_path(struct gate *g, struct asks *asks, const char *file, const char *word)
{
    OWNED(freep) char *text = NULL;
    size_t len;

    if (fd_read_file(g->root, file, 1 << 18, &text, &len) < 0)
        return;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        line += strspn(line, " \t");
        if (!str_starts(line, word))
            continue;
        char *value = strstr(line, "PATH=");
        if (!value || line[0] == '#')
            continue;
        value += strlen("PATH=");
        value += strspn(value, "\"'");
        add_path(asks, value, strcspn(value, "\"' \t\r"));
    }
}

// sudo's secure_path stands where only root can read.
static void read_secure_path(struct gate *g, struct asks *asks)
{
    OWNED(rootfacts_free) struct rootfacts facts = {0};
    char why[256];

    if (rootfacts_read(g->root, g->config, (int64_t)time(NULL) * 1000, &facts, why) == 0)
        add_path(asks, facts.secure_path, strlen(facts.secure_path));
}

static bool in_path(const struct asks *asks, const char *dir)
{
    for (size_t i = 0; i < asks->n; i++)
        if (asks->list[i].check == CHECK_DOOR_PATH && str_eq(asks->list[i].path, dir))
            return true;
    return false;
}

// ---- programs that run as root ------------------------------------------------------------------

static bool has_caps(int dir, const char *name)
{
    char path[LIMIT_PATH];

    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
    return getxattr(path, "security.capability", NULL, 0) > 0;
}

static void scan(struct gate *g, struct asks *asks, const char *path, unsigned depth);

static void scan_entry(struct gate *g, struct asks *asks, int dir, const char *parent, const struct dirent *e,
                       unsigned depth, bool closed, bool on_path)
{
    struct stat st;
    char path[LIMIT_PATH];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", parent, e->d_name) >= sizeof(path))
        return;
    if (e->d_type == DT_DIR) {
        if (depth > 0)
            scan(g, asks, path, depth - 1);
        return;
    }
    // A link is asked as what it leads to; in an image it might lead out. Libraries are many, and no
    // programs.
    if ((e->d_type == DT_LNK && !g->live) || strstr(e->d_name, ".so"))
        return;
    if (fstatat(dir, e->d_name, &st, 0) < 0 || !S_ISREG(st.st_mode))
        return;
    bool open = !is_closed(&st, 0);
    if (closed && !open)
        return;
    if (((st.st_mode & S_ISUID) && st.st_uid == 0) || ((st.st_mode & S_ISGID) && st.st_gid == 0))
        asks_add(asks, CHECK_DOOR_SETID, ASK_FILE, path, false);
    else if (has_caps(dir, e->d_name))
        asks_add(asks, CHECK_DOOR_FILECAPS, ASK_FILE, path, false);
    else if (open && on_path)
        asks_add(asks, CHECK_DOOR_PATH, ASK_FILE, path, false);
}

static void scan(struct gate *g, struct asks *asks, const char *path, unsigned depth)
{
    char open[LIMIT_PATH];
    int fd = fd_open(g->root, path, O_RDONLY | O_DIRECTORY, 0); // /bin is a link on a merged /usr: seen there
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        fd_closep(&fd);
        return;
    }
    bool closed = asks_closed(g->root, path, 0, open), on_path = in_path(asks, path);
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.' &&
            (e->d_type == DT_REG || e->d_type == DT_LNK || e->d_type == DT_DIR || e->d_type == DT_UNKNOWN))
            scan_entry(g, asks, fd, path, e, depth, closed, on_path);
    closedir(dir);
}

// ---- ours ---------------------------------------------------------------------------------------

static void add_units(const struct config *c, struct asks *asks)
{
    static const char *const units[] = {".service", "-egress.service", "-prove.service", "-prove.timer"};
    static const char *const dirs[] = {"/etc/systemd/system", "/run/systemd/system",
                                       "/usr/lib/systemd/system"};
    char path[LIMIT_PATH];

    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        for (size_t j = 0; j < ARRAY_LEN(dirs); j++) {
            snprintf(path, sizeof(path), "%s/%s%s", dirs[j], c->name, units[i]);
            asks_add(asks, CHECK_DOOR_OURS, ASK_FILE, path, true);
            snprintf(path, sizeof(path), "%s/%s%s.d", dirs[j], c->name, units[i]);
            asks_add(asks, CHECK_DOOR_OURS, ASK_TREE, path, true);
        }
}

// What root alone writes and the gateway obeys: the rows of the layout that are root's, and our units.
static void add_ours(struct gate *g, struct asks *asks)
{
    struct layout layout;

    if (layout_expand(g->config, &layout) < 0) {
        asks->failed = true;
        return;
    }
    for (size_t i = 0; i < layout.n; i++) {
        const struct layout_item *item = &layout.list[i];
        if (item->uid == 0 && item->id != LAYOUT_PLUGINS && item->id != LAYOUT_LOCKED)
            asks_add(asks, CHECK_DOOR_OURS, ASK_FILE, item->path, true);
    }
    layout_free(&layout);
    add_units(g->config, asks);
}

struct walk {
    struct gate *gate;
    struct asks *asks;
    int64_t owner; // of the home it lies in; 0: root alone
    unsigned left;
};

static void walk_code(struct walk *w, int fd, const char *path, unsigned depth)
{
    char **names = NULL, entry[LIMIT_PATH];
    size_t n = 0;
    struct stat st;

    if (fd_list_some(fd, CODE_ENTRIES, &names, &n) < 0)
        w->asks->cut = true;
    for (size_t i = 0; i < n; i++) {
        if (w->left == 0 || depth >= CODE_DEPTH) {
            w->asks->cut = true;
            break;
        }
        w->left--;
        if (fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISLNK(st.st_mode) ||
            (size_t)snprintf(entry, sizeof(entry), "%s/%s", path, names[i]) >= sizeof(entry))
            continue;
        if (!is_closed(&st, w->owner))
            asks_add(w->asks, CHECK_DOOR_CODE, ASK_FILE, entry, false);
        OWNED(fd_closep)
        int below =
            S_ISDIR(st.st_mode) ? openat(fd, names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (below >= 0)
            walk_code(w, below, entry, depth + 1);
    }
    fd_list_free(names, n);
}

static void add_code(struct gate *g, struct asks *asks)
{
    char locked[LIMIT_PATH];
    struct walk w = {.gate = g, .asks = asks, .left = CODE_ENTRIES};
    const struct config *c = g->config;

    config_locked_dir(c, locked);
    for (size_t i = 0; i <= c->plugin_roots.n; i++) {
        const char *path = i < c->plugin_roots.n ? c->plugin_roots.list[i] : locked;
        const struct account_config *home = config_home_of(c, path);
        if (gate_hangs(g, path))
            continue;
        OWNED(fd_closep) int fd = fd_open(g->root, path, O_RDONLY | O_DIRECTORY, 0);
        w.owner = home ? home->uid : 0;
        asks_add(asks, CHECK_DOOR_CODE, ASK_FILE, path, true);
        if (fd >= 0) // else the floor says why
            walk_code(&w, fd, path, 0);
    }
}

// Only of the running kernel: an image has none.
static void add_core(struct gate *g, struct asks *asks)
{
    OWNED(freep) char *text = NULL;
    size_t len;

    if (!g->live || fd_read_file(g->root, "/proc/sys/kernel/core_pattern", 4096, &text, &len) < 0 ||
        text[0] != '|')
        return;
    char *program = text + 1 + strspn(text + 1, " ");
    program[strcspn(program, " \t\n")] = '\0';
    if (str_is_abspath(program))
        asks_add(asks, CHECK_DOOR_CORE, ASK_FILE, program, true);
}

void asks_collect(struct gate *g, struct asks *asks)
{
    OWNED(fd_closep) int mounts = g->live ? open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC) : -1;
    size_t len;

    if (mounts >= 0 && fd_read_all(mounts, 1 << 20, &asks->mounts, &len) < 0)
        asks->mounts = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        asks_add(asks, rows[i].check, rows[i].kind, rows[i].path, true);
    read_path(g, asks, "/etc/environment", "PATH=");
    read_path(g, asks, "/etc/login.defs", "ENV_SUPATH");
    read_path(g, asks, "/etc/crontab", "PATH=");
    read_secure_path(g, asks);
    add_ours(g, asks);
    asks_add_homes(g, asks);
    add_code(g, asks);
    add_core(g, asks);
    for (size_t i = 0; i < ARRAY_LEN(scans); i++)
        scan(g, asks, scans[i].path, scans[i].depth);
}
