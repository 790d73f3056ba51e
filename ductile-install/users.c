// Users and groups. systemd-sysusers makes them from the fragment that is rendered from the config; its exit
// code is no evidence (it answers 0 for a gid without its `g` line), so what came of it is read back from
// passwd and group.
#include "fd.h"
#include "install.h"
#include "log.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

__attribute__((format(printf, 4, 5))) static int contradiction(struct refusal *refusal, const char *who,
                                                               const char *remedy, const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    refuse(refusal, REFUSE_IDS, "the user %s", who);
    refuse_why(refusal, "%s", text);
    return refuse_remedy(refusal, "%s", remedy);
}

// A user of ours: its ids, if it exists; an id pinned in the config that belongs to somebody else is refused
// by name.
static int resolve_own(struct host *h, const char *name, int64_t *uid, int64_t *gid, struct refusal *refusal)
{
    const struct host_user *u = facts_user(&h->facts, name);
    const struct host_user *other = *uid == ID_AUTO ? NULL : facts_uid(&h->facts, (uid_t)*uid);
    const struct host_group *group = *gid == ID_AUTO ? NULL : facts_gid(&h->facts, (gid_t)*gid);

    if (other && !str_eq(other->name, name))
        return contradiction(refusal, name, "pin another uid, or leave `auto`", "uid %lld belongs to %s",
                             (long long)*uid, other->name);
    if (group && !str_eq(group->name, name))
        return contradiction(refusal, name, "pin another gid, or leave `auto`",
                             "gid %lld belongs to the group %s", (long long)*gid, group->name);
    if (!u)
        return -EAGAIN;
    if ((*uid != ID_AUTO && u->uid != (uid_t)*uid) || (*gid != ID_AUTO && u->gid != (gid_t)*gid))
        return contradiction(refusal, name, "userdel it, or pin its present ids",
                             "it exists with %u:%u, and the config pins %lld:%lld", u->uid, u->gid,
                             (long long)*uid, (long long)*gid);
    if (u->uid == 0 || u->uid == 65534 || u->gid == 0)
        return contradiction(refusal, name, "userdel it", "it exists with %u:%u", u->uid, u->gid);
    *uid = u->uid;
    *gid = u->gid;
    return 0;
}

// A login user: the passwd entry whose home this is, and who owns it.
static int resolve_login(struct host *h, struct account_config *a, struct refusal *refusal)
{
    struct stat st;
    const struct host_user *u = NULL;

    for (size_t i = 0; i < h->facts.n_users && !u; i++)
        if (str_eq(h->facts.users[i].home, a->home))
            u = &h->facts.users[i];
    if (!u)
        return contradiction(refusal, a->name, "give the home of an existing login user",
                             "%s is nobody's home in /etc/passwd", a->home);
    int r = fd_stat(h->root, a->home, &st);
    if (r < 0 || !S_ISDIR(st.st_mode) || st.st_uid != u->uid)
        return contradiction(refusal, a->name, "give the real path of a home that its user owns", "%s %s",
                             a->home,
                             r == -ELOOP ? "is reached through a symbolic link"
                             : r < 0     ? strerror(-r)
                                         : "is not a directory of its user");
    if (u->uid == 0 || (int64_t)u->uid == h->config->uid)
        return contradiction(refusal, a->name, "use an ordinary login user", "%s is %s", u->name,
                             u->uid ? "the service user" : "root");
    a->user = u->name;
    a->uid = u->uid;
    a->gid = u->gid;
    return 0;
}

int users_resolve(struct host *h, struct refusal *refusal)
{
    struct config *c = h->config;
    const struct host_group *operators = facts_group(&h->facts, c->operators);
    bool missing = !operators;
    int r = resolve_own(h, c->user, &c->uid, &c->gid, refusal);

    missing |= r == -EAGAIN;
    if (operators)
        c->operators_gid = operators->gid;
    if (r != -ECANCELED && c->posture == POSTURE_UNCONFINED) {
        c->bus_uid = c->uid;
        c->bus_gid = c->gid;
    } else if (r != -ECANCELED)
        r = resolve_own(h, c->bus_user, &c->bus_uid, &c->bus_gid, refusal);
    missing |= r == -EAGAIN;
    for (size_t i = 0; r != -ECANCELED && i < c->accounts.n; i++) {
        struct account_config *a = &c->accounts.list[i];
        r = a->mode == MODE_CREDENTIALED ? resolve_login(h, a, refusal)
                                         : resolve_own(h, a->user, &a->uid, &a->gid, refusal);
        missing |= r == -EAGAIN;
        if (r == 0 &&
            (a->gid == c->operators_gid || a->gid == c->gid || a->uid == c->uid || a->uid == c->bus_uid))
            r = contradiction(refusal, a->name, "give it ids of its own", "%lld:%lld are the gateway's own",
                              (long long)a->uid, (long long)a->gid);
    }
    if (r == -ECANCELED)
        return r;
    c->resolved = !missing;
    return missing ? -EAGAIN : 0;
}

static int run(char *const argv[])
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
            _exit(127);
        execvp(argv[0], argv);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_last();
    return pid < 0 ? err_last() : WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int users_make(struct host *h, struct refusal *refusal)
{
    char root[LIMIT_PATH + 16], fragment[LIMIT_PATH];
    char *argv[] = {(char *)"systemd-sysusers", root, fragment, NULL};

    snprintf(root, sizeof(root), "--root=%s", h->root_path ? h->root_path : "/");
    // systemd resolves a relative name in its own search path, which is where the fragment was written.
    snprintf(fragment, sizeof(fragment), "%s.conf", h->config->name);
    int code = run(argv);
    facts_free(&h->facts);
    int r = facts_read(h->root, !h->root_path, &h->facts);
    if (r == 0)
        r = users_resolve(h, refusal);
    if (r == -EAGAIN)
        return contradiction(refusal, h->config->user,
                             "systemd-sysusers must be installed; run it by hand and read what it says",
                             "systemd-sysusers %s answered %d, and not every user exists", fragment, code);
    if (r < 0 && r != -ECANCELED)
        return contradiction(refusal, h->config->user, "look at /etc/passwd", "%s", strerror(-r));
    return r;
}
