// Users and ids of the host: the warden drops to numbers, so a number must be one user's and one group's, and
// those that were installed.
#include "fd.h"
#include "gate.h"
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>

FILE *gate_stream(int root, const char *path)
{
    int fd = fd_open(root, path, O_RDONLY, 0);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "re");

    if (!f && fd >= 0)
        close(fd);
    return f;
}

struct user_fact {
    const char *name; // of the config
    int64_t uid, gid;
    bool login; // a person's: his group may be anybody's
    unsigned users, groups;
    char fault[160]; // "": none
};

__attribute__((format(printf, 2, 3))) static void blame(struct user_fact *u, const char *format, ...)
{
    va_list ap;

    if (u->fault[0]) // the first is the cause
        return;
    va_start(ap, format);
    vsnprintf(u->fault, sizeof(u->fault), format, ap);
    va_end(ap);
}

static void judge_passwd(struct user_fact *u, const struct passwd *p)
{
    bool same = str_eq(p->pw_name, u->name);

    if (same && ++u->users > 1)
        blame(u, "/etc/passwd has %s twice", u->name);
    if (same && ((int64_t)p->pw_uid != u->uid || (int64_t)p->pw_gid != u->gid))
        blame(u, "/etc/passwd does not have it with %lld:%lld", (long long)u->uid, (long long)u->gid);
    if (!same && (int64_t)p->pw_uid == u->uid)
        blame(u, "uid %lld is also %.60s's", (long long)u->uid, p->pw_name);
    if (!same && !u->login && (int64_t)p->pw_gid == u->gid)
        blame(u, "gid %lld is also the group of %.60s", (long long)u->gid, p->pw_name);
}

static void judge_group(struct user_fact *u, const struct group *g)
{
    bool same = str_eq(g->gr_name, u->name), number = (int64_t)g->gr_gid == u->gid;

    if (u->login) {
        u->groups += number;
        return;
    }
    if (same && ++u->groups > 1)
        blame(u, "/etc/group has %s twice", u->name);
    if (same && !number)
        blame(u, "/etc/group does not have it with gid %lld", (long long)u->gid);
    if (!same && number)
        blame(u, "gid %lld is also the group %.60s", (long long)u->gid, g->gr_name);
}

static void check_user(struct gate *g, struct user_fact u)
{
    FILE *passwd = gate_stream(g->root, "/etc/passwd"), *group = gate_stream(g->root, "/etc/group");

    for (struct passwd *p; passwd && (p = fgetpwent(passwd));)
        judge_passwd(&u, p);
    for (struct group *p; group && (p = fgetgrent(group));)
        judge_group(&u, p);
    if (passwd && u.users == 0)
        blame(&u, "/etc/passwd does not have it with %lld:%lld", (long long)u.uid, (long long)u.gid);
    if (group && u.groups == 0)
        blame(&u, "/etc/group does not have it with gid %lld", (long long)u.gid);
    if (u.fault[0])
        gate_note(g, CHECK_IDS, VERDICT_REFUSE, u.name, "%s", u.fault);
    else if (!passwd || !group)
        gate_note(g, CHECK_IDS, VERDICT_UNPROVEN, u.name, "%s cannot be read",
                  passwd ? "/etc/group" : "/etc/passwd");
    else
        gate_note(g, CHECK_IDS, VERDICT_PASS, u.name, "%lld:%lld", (long long)u.uid, (long long)u.gid);
    if (passwd)
        fclose(passwd);
    if (group)
        fclose(group);
}

// Whose group is that? NULL: nobody's of this config but the account's own.
static const char *whose(const struct config *c, const struct account_config *self, int64_t gid)
{
    if (gid == self->gid)
        return NULL;
    if (gid == c->gid || gid == c->bus_gid || gid == c->operators_gid)
        return gid == c->gid ? c->user : gid == c->bus_gid ? c->bus_user : c->operators;
    for (size_t i = 0; i < c->accounts.n; i++)
        if (c->accounts.list[i].gid == gid)
            return c->accounts.list[i].user;
    return NULL;
}

// A confined account has its own group and no other of ours: the service's reads the config and the code in
// homes, the operators' speaks to the API.
static void check_member(struct gate *g, const struct account_config *a)
{
    FILE *f = gate_stream(g->root, "/etc/group");

    for (struct group *group; f && (group = fgetgrent(f));)
        for (char **m = group->gr_mem; *m; m++)
            if (str_eq(*m, a->user) && whose(g->config, a, (int64_t)group->gr_gid))
                gate_note(g, CHECK_IDS, VERDICT_REFUSE, a->user, "/etc/group has it in %s",
                          whose(g->config, a, (int64_t)group->gr_gid));
    if (f)
        fclose(f);
}

void check_ids(struct gate *g)
{
    const struct config *c = g->config;

    check_user(g, (struct user_fact){.name = c->user, .uid = c->uid, .gid = c->gid});
    if (c->posture == POSTURE_UNCONFINED)
        return;
    check_user(g, (struct user_fact){.name = c->bus_user, .uid = c->bus_uid, .gid = c->bus_gid});
    for (size_t i = 0; i < c->accounts.n; i++) {
        const struct account_config *a = &c->accounts.list[i];
        bool login = a->mode == MODE_CREDENTIALED;
        check_user(g, (struct user_fact){.name = a->user, .uid = a->uid, .gid = a->gid, .login = login});
        if (!login)
            check_member(g, a);
    }
}
