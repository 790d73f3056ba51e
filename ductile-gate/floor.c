// The filesystem floor: every row of the layout, as whoever owns it (a row below somebody's 0700 directory
// can only be seen by them), and the homes of credentialed accounts. Verifies; changes nothing.
#include "acl.h"
#include "fd.h"
#include "gate.h"
#include "privs.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

struct seen {
    enum layout_fault fault;
    char before[128], after[128];
};

static void look(struct gate *g, const struct layout_item *item, struct seen *ret)
{
    ret->fault = layout_check(g->root, item, ret->before, ret->after);
}

// In a child that became the row's owner.
static bool look_as(struct gate *g, const struct layout_item *item, struct seen *ret)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        struct seen s = {.fault = LAYOUT_UNKNOWN};
        if (privs_become((uid_t)item->uid, (gid_t)item->gid) == 0)
            look(g, item, &s);
        _exit(write(p[1], &s, sizeof(s)) == sizeof(s) ? 0 : 1);
    }
    close(p[1]);
    bool ok = pid > 0 && read(p[0], ret, sizeof(*ret)) == sizeof(*ret);
    close(p[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return ok;
}

static enum check_id check_of(enum layout_id id)
{
    return id == LAYOUT_KEY || id == LAYOUT_SECRET ? CHECK_KEY
           : id == LAYOUT_ACCOUNT                  ? CHECK_STATE
                                                   : CHECK_LAYOUT;
}

// A directory that many rows lie below is told of once, by the first of them; the rest follows from it.
static bool is_told(const struct gate *g, const struct seen *s)
{
    const char *end = strstr(s->before, " is ");
    size_t len = end ? (size_t)(end - s->before) : 0;

    for (size_t i = 0; s->fault == LAYOUT_PARENT && len > 0 && i < g->n_findings; i++) {
        const struct finding *f = &g->findings[i];
        if (f->verdict == VERDICT_REFUSE &&
            (f->check == CHECK_LAYOUT || f->check == CHECK_KEY || f->check == CHECK_STATE) &&
            ((strlen(f->subject) == len && strncmp(f->subject, s->before, len) == 0) ||
             (str_starts(f->evidence, "found ") && str_starts(f->evidence + 6, s->before))))
            return true;
    }
    return false;
}

// What lies below a row that is refused follows from it too, where it cannot be seen.
static bool is_behind(const struct gate *g, const char *path)
{
    for (size_t i = 0; i < g->n_findings; i++)
        if (g->findings[i].check == CHECK_LAYOUT && g->findings[i].verdict == VERDICT_REFUSE &&
            str_path_within(path, g->findings[i].subject))
            return true;
    return false;
}

static void check_item(struct gate *g, const struct layout_item *item)
{
    struct seen s;

    look(g, item, &s);
    if (s.fault == LAYOUT_UNKNOWN && g->enforce && item->uid > 0 && !look_as(g, item, &s))
        s.fault = LAYOUT_UNKNOWN;
    enum check_id check = check_of(item->id);
    if (s.fault == LAYOUT_OK)
        gate_note(g, check, VERDICT_PASS, item->path, "%s", s.before);
    else if (s.fault == LAYOUT_UNKNOWN) {
        if (!is_behind(g, item->path))
            gate_note(g, check, VERDICT_UNPROVEN, item->path, "%s", s.before);
    } else if (item->id == LAYOUT_KEY || !is_told(g, &s)) // of secret zero it is always said
        gate_note(g, check, VERDICT_REFUSE, item->path, "found %s, expected %s", s.before, s.after);
}

void check_floor(struct gate *g)
{
    struct layout layout;

    if (layout_expand(g->config, &layout) < 0) {
        g->failed = true;
        return;
    }
    for (size_t i = 0; i < layout.n; i++)
        if (gate_step(g, layout.list[i].path))
            check_item(g, &layout.list[i]);
    layout_free(&layout);
}

// ---- homes --------------------------------------------------------------------------------------

void check_home(struct gate *g, const struct account_config *a)
{
    struct stat st;
    int r = fd_stat(g->root, a->home, &st);

    if (r < 0 || !S_ISDIR(st.st_mode) || (int64_t)st.st_uid != a->uid)
        gate_note(g, CHECK_HOME, VERDICT_REFUSE, a->home, "%s",
                  r < 0                  ? strerror(-r)
                  : !S_ISDIR(st.st_mode) ? "not a directory"
                                         : "owned by another");
    else
        gate_note(g, CHECK_HOME, VERDICT_PASS, a->home, "owned by %s", a->user);
}

// Which component keeps the service out, and whether the ACL's mask is the cause.
static void explain_unreadable(struct gate *g, const char *path)
{
    char dir[LIMIT_PATH];
    bool masked = false;

    snprintf(dir, sizeof(dir), "%s", path);
    for (char *p = dir + 1;; p++) {
        char kept = *p;
        if (kept != '/' && kept != '\0')
            continue;
        *p = '\0';
        OWNED(fd_closep) int fd = fd_open(g->root, dir, O_PATH, 0);
        if (fd >= 0 && faccessat(fd, "", kept ? X_OK : R_OK | X_OK, AT_EACCESS | AT_EMPTY_PATH) < 0) {
            int has =
                acl_group_has(fd, (gid_t)g->config->gid, kept ? ACL_RIGHT_X : ACL_RIGHT_RX, false, &masked);
            gate_note(g, CHECK_HOME_CODE, VERDICT_WARN, path, "%s keeps the service out: %s", dir,
                      masked    ? "the ACL has its entry, and the mask takes it away"
                      : has < 0 ? "its ACL cannot be read"
                                : "no ACL entry for its group");
            return;
        }
        if (fd < 0 || kept == '\0') {
            gate_note(g, CHECK_HOME_CODE, VERDICT_WARN, path, "%s: %s", dir,
                      fd < 0 ? strerror(-fd) : "it cannot be listed");
            return;
        }
        *p = kept;
    }
}

static void check_home_code(struct gate *g, const struct account_config *a)
{
    for (size_t i = 0; i < g->config->plugin_roots.n; i++) {
        const char *path = g->config->plugin_roots.list[i];
        if (!str_path_within(path, a->home))
            continue;
        OWNED(fd_closep) int fd = fd_open(g->root, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
            explain_unreadable(g, path);
        else
            gate_note(g, CHECK_HOME_CODE, VERDICT_PASS, path, "readable to %s", g->config->user);
    }
}

static void check_home_creds(struct gate *g, const struct account_config *a)
{
    for (const char *const *name = gate_creds; *name; name++) {
        char path[LIMIT_PATH];
        snprintf(path, sizeof(path), "%.900s/%s", a->home, *name);
        if (gate_hangs(g, path))
            continue;
        // Links are followed, as a thief would; a FIFO must not hold the boot. An image is not tried.
        OWNED(fd_closep) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
            gate_note(g, CHECK_HOME_CREDS, VERDICT_REFUSE, path, "uid %u opened it", geteuid());
        else if (errno != ENOENT)
            gate_note(g, CHECK_HOME_CREDS, VERDICT_PASS, path, "%s", strerror(errno));
    }
}

// A mount of its own may lie on the home, or on what in it holds credentials.
void check_answers(struct gate *g)
{
    char path[LIMIT_PATH];
    struct stat st;

    for (size_t i = 0; i < g->config->accounts.n; i++) {
        const struct account_config *a = &g->config->accounts.list[i];
        if (a->mode != MODE_CREDENTIALED || !gate_step(g, a->home) || fd_stat(g->root, a->home, &st) < 0)
            continue; // what it says, check_homes judges
        for (const char *const *name = gate_creds; *name; name++) {
            snprintf(path, sizeof(path), "%.900s/%s", a->home, *name);
            if (gate_step(g, path) && stat(path, &st) < 0)
                continue;
        }
    }
}

void check_homes(struct gate *g)
{
    for (size_t i = 0; i < g->config->accounts.n; i++) {
        const struct account_config *a = &g->config->accounts.list[i];
        if (a->mode != MODE_CREDENTIALED || !gate_step(g, a->home))
            continue;
        check_home(g, a);
        check_home_code(g, a);
        check_home_creds(g, a);
    }
}
