// Asking. A child becomes the account and tries: connect(), and faccessat() with its ACLs, on a path and on
// every directory above it. Twice: once as any process of that user, with his groups of /etc/group (the door
// exists), and where that opened something once as a plugin, with no group, no_new_privs and its Landlock
// domain (it is open to a plugin). The first view takes groups, so it comes before the warden's filter.
#include "asked.h"
#include "fd.h"
#include "privs.h"
#include "wall.h"
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>

struct hit {
    uint32_t ask; // DONE: it went through all of them
    bool direct;  // the path itself, not a directory above it
    char path[LIMIT_PATH];
};
#define DONE UINT32_MAX

struct hits {
    struct hit *list;
    size_t n;
    bool done;
};

struct view {
    struct gate *gate;
    const struct asks *asks;
    const struct account_config *account;
    const struct hits *only; // the plugin's view: these again
    int out;
};

// ---- in the child -------------------------------------------------------------------------------

// Is the file system itself read-only, and not only this process's mount of it (the unit's ProtectSystem)?
// The line of mountinfo ends with the options of the file system: "ID ... - TYPE SOURCE ro,...".
static bool is_read_only(const struct asks *asks, const char *path)
{
    struct statx sx;
    char id[24];

    if (!asks->mounts || statx(AT_FDCWD, path, 0, STATX_MNT_ID, &sx) < 0 || !(sx.stx_mask & STATX_MNT_ID))
        return false;
    snprintf(id, sizeof(id), "%llu ", (unsigned long long)sx.stx_mnt_id);
    for (const char *line = asks->mounts; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        if (!str_starts(line, id))
            continue;
        const char *options = strstr(line, " - ");
        for (int i = 0; options && i < 3; i++)
            options = strchr(options + 1, ' ');
        return options && str_starts(options, " ro");
    }
    return false;
}

// Could a process of this user change what stands at path? The owner could, whatever the mode says. EROFS
// comes behind the check of rights where only the mount is read-only: other processes of the user have other
// mounts.
static bool may_change(const struct asks *asks, const char *path, const struct stat *st)
{
    return st->st_uid == geteuid() ||
           faccessat(AT_FDCWD, path, S_ISDIR(st->st_mode) ? W_OK | X_OK : W_OK, AT_EACCESS) == 0 ||
           (errno == EROFS && !is_read_only(asks, path));
}

// A unit that is masked leads to /dev/null: everybody's to write, and nobody's to change.
static bool is_special(const struct stat *st)
{
    return !S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode);
}

// One component of the way up.
struct step {
    struct stat st;
    bool missing;
};

// In a sticky directory another may be put in the place of a component only by its owner, or where it is
// missing.
static bool is_held_by_sticky(const struct step *dir, const struct step *below)
{
    return (dir->st.st_mode & S_ISVTX) && !below->missing && dir->st.st_uid != geteuid() &&
           below->st.st_uid != geteuid();
}

// The path, or the nearest directory above it in which another could be put in the place of the next
// component. Most paths share their directories: the last one that was closed, with all above it, is
// remembered.
static bool find_change(const struct asks *asks, const char *path, struct hit *ret)
{
    static char closed[LIMIT_PATH];
    struct step step, below = {0};
    size_t len = strlen(path), parent = 0;

    snprintf(ret->path, sizeof(ret->path), "%s", path);
    for (ret->direct = true;; ret->direct = false) {
        if (!ret->direct && str_eq(ret->path, closed))
            break;
        int r = stat(ret->path, &step.st) < 0 ? errno : 0;
        step.missing = r == ENOENT;
        if (r != 0)
            step.st = (struct stat){0};
        else if (may_change(asks, ret->path, &step.st) && !(ret->direct && is_special(&step.st)) &&
                 (ret->direct || !is_held_by_sticky(&step, &below)))
            return true;
        below = step;
        if (len <= 1)
            break;
        while (len > 0 && ret->path[len - 1] != '/')
            len--;
        len = len > 1 ? len - 1 : 1; // without its slash, but for "/"
        ret->path[len] = '\0';
        parent = parent ? parent : len;
    }
    struct stat st;
    snprintf(ret->path, sizeof(ret->path), "%.*s", (int)parent, path);
    if (parent && stat(ret->path, &st) == 0 && !(st.st_mode & S_ISVTX))
        memcpy(closed, ret->path, sizeof(closed));
    return false;
}

// Would its Landlock domain let it? Tried, and nothing is changed: a file is opened and left, in a directory
// a file without a name is made.
static bool is_let(const struct account_config *a, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return false;
    OWNED(fd_closep)
    int fd = S_ISDIR(st.st_mode) ? open(path, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600)
                                 : open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 || (errno != EACCES && errno != EPERM && errno != EROFS))
        return true;
    // Its own file that it may not write: it may change the mode first, where no domain closes it afterwards.
    struct statvfs fs;
    return errno == EACCES && st.st_uid == geteuid() && a->landlock == LANDLOCK_SCOPE &&
           faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0 && statvfs(path, &fs) == 0 &&
           !(fs.f_flag & ST_RDONLY);
}

static void tell_hit(const struct view *v, size_t ask, const struct hit *found)
{
    struct hit h = *found;

    h.ask = (uint32_t)ask;
    if (write(v->out, &h, sizeof(h)) != (ssize_t)sizeof(h))
        _exit(1);
}

static void ask_path(const struct view *v, size_t ask, const char *path)
{
    struct hit h = {0};

    if (find_change(v->asks, path, &h))
        tell_hit(v, ask, &h);
}

static void ask_entries(const struct view *v, size_t ask, const char *path)
{
    char **names = NULL, entry[LIMIT_PATH];
    size_t n = 0;
    struct stat st;
    OWNED(fd_closep) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0 || fd_list_some(dir, 2000, &names, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        // /dev/null and a link to it are everybody's to write, and nobody's to change
        if (fstatat(dir, names[i], &st, 0) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
            continue;
        snprintf(entry, sizeof(entry), "%.700s/%.255s", path, names[i]);
        struct hit h = {.direct = true};
        memcpy(h.path, entry, sizeof(entry));
        if (may_change(v->asks, entry, &st))
            tell_hit(v, ask, &h);
    }
    fd_list_free(names, n);
}

// Does somebody answer there? A queue that is full is an answer too, and nobody waits for its end.
static void ask_socket(const struct view *v, size_t ask, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct hit h = {.direct = true};
    OWNED(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || (size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >= sizeof(addr.sun_path))
        return;
    snprintf(h.path, sizeof(h.path), "%s", path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EAGAIN)
        tell_hit(v, ask, &h);
}

static void ask_read(const struct view *v, size_t ask, const char *path)
{
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); // a FIFO must not hold us
    struct hit h = {.direct = true};

    snprintf(h.path, sizeof(h.path), "%s", path);
    if (fd >= 0)
        tell_hit(v, ask, &h);
}

// What lies in one's own home is one's own: only what is another account's is a door.
static bool is_own(const struct view *v, const struct ask *a)
{
    return (a->check == CHECK_DOOR_CODE || a->check == CHECK_HOME || a->check == CHECK_HOME_CREDS) &&
           v->account->home && str_path_within(a->path, v->account->home);
}

static void ask_all(const struct view *v)
{
    for (size_t i = 0; i < v->asks->n; i++) {
        const struct ask *a = &v->asks->list[i];
        if (is_own(v, a))
            continue;
        switch (a->kind) {
        case ASK_SOCKET: ask_socket(v, i, a->path); break;
        case ASK_READ: ask_read(v, i, a->path); break;
        case ASK_FILE: ask_path(v, i, a->path); break;
        case ASK_TREE:
            ask_path(v, i, a->path);
            ask_entries(v, i, a->path);
            break;
        }
    }
}

static void ask_again(const struct view *v)
{
    for (size_t i = 0; i < v->only->n; i++) {
        const struct hit *h = &v->only->list[i];
        struct stat st;
        if (v->asks->list[h->ask].kind == ASK_SOCKET)
            ask_socket(v, h->ask, h->path);
        else if (v->asks->list[h->ask].kind == ASK_READ)
            ask_read(v, h->ask, h->path);
        else if (stat(h->path, &st) == 0 && may_change(v->asks, h->path, &st) && is_let(v->account, h->path))
            tell_hit(v, h->ask, h);
    }
}

// ---- becoming -----------------------------------------------------------------------------------

static bool is_in(const struct account_config *a, const struct group *group)
{
    for (char **m = group->gr_mem; *m; m++)
        if (str_eq(*m, a->user))
            return true;
    return (int64_t)group->gr_gid == a->gid;
}

// The gids of the user's groups, as /etc/group of this host says; -errno.
static int groups_of(struct gate *g, const struct account_config *a, gid_t **ret, size_t *ret_n)
{
    FILE *f = gate_stream(g->root, "/etc/group");
    int r = f ? 0 : -ENOENT;

    *ret = NULL;
    *ret_n = 0;
    for (struct group *group; f && r == 0 && (group = fgetgrent(f));) {
        if (!is_in(a, group))
            continue;
        gid_t *list = reallocarray(*ret, *ret_n + 1, sizeof(*list));
        if (list) {
            *ret = list;
            list[(*ret_n)++] = group->gr_gid;
        } else
            r = -ENOMEM;
    }
    if (f)
        fclose(f);
    return r;
}

static int become_user(struct gate *g, const struct account_config *a)
{
    OWNED(freep) gid_t *list = NULL;
    size_t n = 0;
    gid_t gid = (gid_t)a->gid;
    uid_t uid = (uid_t)a->uid;
    int r = groups_of(g, a, &list, &n);

    if (r < 0)
        return r;
    if (setgroups(n, list) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ||
        prctl(PR_SET_DUMPABLE, 0) < 0)
        return err_last();
    return privs_clear_caps();
}

static int become_plugin(struct gate *g, const struct account_config *a)
{
    uint32_t layers;
    int ruleset = wall_landlock_of(g->config, a, &layers);
    int r = privs_become((uid_t)a->uid, (gid_t)a->gid);

    if (r == 0 && ruleset >= 0)
        r = wall_landlock_enter(ruleset);
    return r;
}

static void run_view(const struct view *v)
{
    alarm(TIME_PROBE_MS / 1000); // what hangs says nothing, and is told as unproven
    int r = v->only ? become_plugin(v->gate, v->account) : become_user(v->gate, v->account);
    if (r < 0)
        _exit(2);
    if (v->only)
        ask_again(v);
    else
        ask_all(v);
    tell_hit(v, DONE, &(struct hit){0});
    _exit(0);
}

static void hits_free(struct hits *h)
{
    free(h->list);
    *h = (struct hits){0};
}

static struct hits look(struct gate *g, const struct asks *asks, const struct account_config *a,
                        const struct hits *only)
{
    struct hits found = {0};
    struct hit h;
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return found;
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        run_view(&(struct view){g, asks, a, only, p[1]});
    }
    close(p[1]);
    while (pid > 0 && !found.done && read(p[0], &h, sizeof(h)) == (ssize_t)sizeof(h)) {
        struct hit *more =
            h.ask == DONE || h.ask >= asks->n ? NULL : reallocarray(found.list, found.n + 1, sizeof(*more));
        found.done = h.ask == DONE;
        if (more)
            (found.list = more)[found.n++] = h;
        else if (!found.done)
            break;
    }
    close(p[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return found;
}

// ---- telling ------------------------------------------------------------------------------------

// One fault is one finding: a directory above many things is told where it is asked about itself, and of two
// rows that are asked about the same the later, more special one tells.
static bool told_elsewhere(const struct asks *asks, const struct hits *found, size_t i)
{
    const struct hit *h = &found->list[i];

    for (size_t j = 0; j < found->n; j++) {
        const struct hit *o = &found->list[j];
        if (j == i || !str_eq(o->path, h->path))
            continue;
        if (asks->list[o->ask].check == asks->list[h->ask].check ? j < i
            : o->direct != h->direct                             ? o->direct
            : h->direct ? asks->list[o->ask].check > asks->list[h->ask].check
                        : asks->list[o->ask].check < asks->list[h->ask].check)
            return true;
    }
    return false;
}

static size_t list_hits(const struct asks *asks, const struct hits *found, const struct hits *all,
                        enum check_id check, char *out, size_t size)
{
    size_t n = 0, len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < all->n; i++) {
        const struct hit *h = &all->list[i];
        bool seen = found == all;
        if (asks->list[h->ask].check != check || told_elsewhere(asks, all, i))
            continue;
        for (size_t j = 0; j < found->n && !seen; j++)
            seen = str_eq(found->list[j].path, h->path);
        if (seen && n++ < 3 && len < size)
            len += (size_t)snprintf(out + len, size - len, "%s%.90s", n > 1 ? ", " : "", h->path);
    }
    if (n > 3 && len < size)
        snprintf(out + len, size - len, " and %zu more", n - 3);
    return n;
}

static void tell(struct gate *g, const struct asks *asks, const struct account_config *a, enum check_id check,
                 const struct hits *user, const struct hits *plugin)
{
    char exists[340], open[340];
    size_t asked = 0;

    for (size_t i = 0; i < asks->n; i++)
        asked += asks->list[i].check == check;
    if (asked == 0) {
        gate_note(g, check, VERDICT_PASS, a->name, "none is there that its modes do not close");
        return;
    }
    if (list_hits(asks, user, user, check, exists, sizeof(exists)) == 0) {
        gate_note(g, check, user->done ? VERDICT_PASS : VERDICT_UNPROVEN, a->name,
                  user->done ? "asked %s about %zu, and none is open" : "asking as %s did not come to an end",
                  a->user, asked);
        return;
    }
    size_t n = list_hits(asks, plugin, user, check, open, sizeof(open));
    enum verdict v = a->mode == MODE_CREDENTIALED || g->config->fail_on_sidedoor == SIDEDOOR_WARN
                         ? VERDICT_WARN
                         : VERDICT_REFUSE;
    if (!plugin->done)
        snprintf(open, sizeof(open), "not known");
    else if (n == 0)
        snprintf(open, sizeof(open), "no");
    else if (str_eq(open, exists))
        snprintf(open, sizeof(open), "yes");
    gate_note(g, check, v, a->name, "exists: %s; open to a plugin: %s", exists, open);
}

static const enum check_id asked_checks[] = {
    CHECK_DOOR_SOCKET, CHECK_DOOR_PATH, CHECK_DOOR_SETID, CHECK_DOOR_FILECAPS, CHECK_DOOR_ETC,
    CHECK_DOOR_OURS,   CHECK_DOOR_CODE, CHECK_DOOR_CORE,  CHECK_HOME,          CHECK_HOME_CREDS};

static void ask_account(struct gate *g, const struct asks *asks, const struct account_config *a)
{
    struct hits user = look(g, asks, a, NULL), plugin = {.done = true};

    if (user.n > 0)
        plugin = look(g, asks, a, &user);
    for (size_t i = 0; i < ARRAY_LEN(asked_checks); i++)
        tell(g, asks, a, asked_checks[i], &user, &plugin);
    hits_free(&user);
    hits_free(&plugin);
}

// An image has nobody to ask. What modes close for all but root is closed; the rest is told as not proven.
static void judge_image(struct gate *g, const struct asks *asks)
{
    char open[LIMIT_PATH];

    for (size_t c = 0; c < ARRAY_LEN(asked_checks); c++) {
        size_t n = 0, opened = 0;
        for (size_t i = 0; i < asks->n && opened == 0; i++) {
            const struct ask *a = &asks->list[i];
            if (a->check != asked_checks[c] || a->kind == ASK_SOCKET)
                continue;
            const struct account_config *home =
                a->check == CHECK_DOOR_CODE ? config_home_of(g->config, a->path) : NULL;
            opened += !asks_closed(g->root, a->path, home ? home->uid : 0, open);
            n++;
        }
        if (opened > 0)
            gate_note(g, asked_checks[c], VERDICT_UNPROVEN, open,
                      "its mode does not close it to all but root, and an image has nobody to ask");
        else if (n > 0)
            gate_note(g, asked_checks[c], VERDICT_PASS, g->config->name, "%zu, closed by their modes", n);
    }
}

void check_asked(struct gate *g)
{
    struct asks asks = {0};
    const struct config *c = g->config;

    if (c->personal || c->posture == POSTURE_UNCONFINED || (g->live && !g->enforce))
        return;
    asks_collect(g, &asks);
    g->failed |= asks.failed;
    if (asks.cut)
        gate_note(g, CHECK_DOOR_CODE, VERDICT_UNPROVEN, c->name,
                  "there is more plugin code than is looked at");
    if (!g->live)
        judge_image(g, &asks);
    for (size_t i = 0; g->live && i < c->accounts.n; i++)
        if (gate_step(g, c->accounts.list[i].name))
            ask_account(g, &asks, &c->accounts.list[i]);
    asks_free(&asks);
}
