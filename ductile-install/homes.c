// Plugin code in an operator's home: readable to the service through a named ACL entry of its group, and to
// nobody else. What is done is done as the home's owner, in a child: root never follows a path that he
// controls.
#include "acl.h"
#include "fd.h"
#include "install.h"
#include "privs.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

struct walk {
    struct host *host;
    struct plan *plan;
    const struct account_config *account;
    struct refusal *refusal;
};

static int add(struct walk *w, const char *path, const char *before, enum acl_rights rights, bool inherit,
               bool make)
{
    struct action a = {
        .kind = ACTION_ACL, .account = w->account, .rights = (int)rights, .inherit = inherit, .make = make};
    char what[2 * LIMIT_PATH], after[128];

    snprintf(what, sizeof(what), "%s %s", make ? "directory" : inherit ? "default ACL of" : "ACL of", path);
    snprintf(after, sizeof(after), "group:%.40s:%s%s%s", w->host->config->user,
             rights & ACL_RIGHT_R ? "r" : "-", "-", rights & ACL_RIGHT_X ? "x" : "-");
    a.what = strdup(what);
    a.before = strdup(before);
    a.after = make ? strdup("made by its owner, 0700") : strdup(after);
    a.path = strdup(path);
    return a.path ? plan_add(w->plan, &a) : -ENOMEM;
}

static int check(struct walk *w, int fd, const char *path, enum acl_rights rights, bool inherit)
{
    bool masked;
    gid_t gid = (gid_t)w->host->config->gid;
    // Before the group exists nobody has an entry for it.
    int has = w->host->config->gid == ID_AUTO ? 0 : acl_group_has(fd, gid, rights, inherit, &masked);

    if (has != 0)
        return MIN(has, 0);
    return add(w, path, w->host->config->gid != ID_AUTO && masked ? "the mask takes it away" : "no entry",
               rights, inherit, false);
}

static int walk_tree(struct walk *w, int dir, const char *path, unsigned depth);

static int walk_entry(struct walk *w, int dir, const char *parent, const char *name, unsigned depth)
{
    struct stat st;
    char path[LIMIT_PATH];
    OWNED(fd_closep) int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", parent, name) >= sizeof(path))
        return -ENAMETOOLONG;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_last();
    if (S_ISDIR(st.st_mode)) {
        OWNED(fd_closep) int below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return below < 0 ? err_last() : walk_tree(w, below, path, depth + 1);
    }
    if (!S_ISREG(st.st_mode) ||
        st.st_uid != (uid_t)w->account->uid) // links have no rights; another's file is his
        return 0;
    return check(w, fd, path, st.st_mode & 0100 ? ACL_RIGHT_RX : ACL_RIGHT_R, false);
}

// Every existing directory and file; the default entry makes new ones right by themselves.
static int walk_tree(struct walk *w, int dir, const char *path, unsigned depth)
{
    char **names = NULL;
    size_t n = 0;
    int r = depth > LIMIT_TREE_DEPTH ? -ELOOP : check(w, dir, path, ACL_RIGHT_RX, false);

    if (r == 0)
        r = check(w, dir, path, ACL_RIGHT_RX, true);
    if (r == 0)
        r = fd_list(dir, &names, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = walk_entry(w, dir, path, names[i], depth);
    fd_list_free(names, n);
    return r;
}

// The way from the home down to the root: search permission, no listing. Missing directories are made.
static int walk_down(struct walk *w, const char *root_path, bool *ret_missing)
{
    char path[LIMIT_PATH];
    size_t home = strlen(w->account->home);

    *ret_missing = false;
    snprintf(path, sizeof(path), "%s", root_path);
    for (char *end = path + home;; end++) {
        char kept = *end;
        if (kept != '/' && kept != '\0')
            continue;
        *end = '\0';
        bool last = kept == '\0';
        OWNED(fd_closep) int fd = fd_open(w->host->root, path, O_PATH | O_DIRECTORY, 0);
        int r = fd == -ENOENT ? add(w, path, "absent", last ? ACL_RIGHT_RX : ACL_RIGHT_X, false, true)
                              : MIN(fd, 0);
        if (r == 0 && fd == -ENOENT) {
            *ret_missing = true;
            r = add(w, path, "no entry", last ? ACL_RIGHT_RX : ACL_RIGHT_X, false, false);
            if (r == 0 && last)
                r = add(w, path, "no entry", ACL_RIGHT_RX, true, false);
        } else if (r == 0 && !last)
            r = check(w, fd, path, ACL_RIGHT_X, false);
        *end = kept;
        if (r < 0 || last)
            return r;
    }
}

int homes_plan(struct host *h, struct plan *plan, struct refusal *refusal)
{
    const struct config *c = h->config;
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->plugin_roots.n; i++)
        for (size_t j = 0; r == 0 && j < c->accounts.n; j++) {
            struct walk w = {h, plan, &c->accounts.list[j], refusal};
            const char *path = c->plugin_roots.list[i];
            bool missing;
            if (w.account->mode != MODE_CREDENTIALED || !str_path_within(path, w.account->home))
                continue;
            r = walk_down(&w, path, &missing);
            OWNED(fd_closep)
            int dir = r < 0 || missing ? -1 : fd_open(h->root, path, O_RDONLY | O_DIRECTORY, 0);
            if (r == 0 && !missing)
                r = dir < 0 ? dir : walk_tree(&w, dir, path, 0);
            if (r < 0 && r != -ECANCELED) {
                refuse(refusal, REFUSE_APPLY, "the plugin root %s", path);
                refuse_why(refusal, "%s",
                           r == -ELOOP ? "a component of it is a symbolic link" : strerror(-r));
                r = refuse_remedy(refusal, "use the real path in plugin_roots");
            }
        }
    return r;
}

static int execute(const struct host *h, const struct action *a)
{
    const char *name;

    if (a->make) {
        OWNED(fd_closep) int parent = fd_open_parent(h->root, a->path, &name);
        if (parent < 0)
            return parent;
        return mkdirat(parent, name, 0700) < 0 && errno != EEXIST ? err_last() : 0;
    }
    OWNED(fd_closep) int fd = fd_open(h->root, a->path, O_PATH, 0);
    return fd < 0 ? fd : acl_group_grant(fd, (gid_t)h->config->gid, (enum acl_rights)a->rights, a->inherit);
}

int homes_execute(struct host *h, const struct action *a, struct refusal *refusal)
{
    int status;
    pid_t pid = fork();

    (void)refusal;
    if (pid == 0) {
        int r = privs_become((uid_t)a->account->uid, (gid_t)a->account->gid);
        if (r == 0)
            r = execute(h, a);
        _exit(MIN(-r, 255));
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0)
        return err_last();
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}
