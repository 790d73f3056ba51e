// Doors: ways from an account to root that file modes do not show. Groups are judged by gid, so that a
// renamed docker group is still one; users by the numbers the warden will drop to.
#include "fd.h"
#include "gate.h"
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

static FILE *open_stream(int root, const char *path)
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
    bool found, other_owner;
    char other[64];
};

static void check_user(struct gate *g, struct user_fact u)
{
    FILE *f = open_stream(g->root, "/etc/passwd");

    if (!f) {
        gate_note(g, CHECK_IDS, VERDICT_UNPROVEN, u.name, "/etc/passwd cannot be read");
        return;
    }
    for (struct passwd *p; (p = fgetpwent(f));) {
        if (str_eq(p->pw_name, u.name))
            u.found = (int64_t)p->pw_uid == u.uid && (int64_t)p->pw_gid == u.gid;
        else if ((int64_t)p->pw_uid == u.uid) {
            u.other_owner = true;
            snprintf(u.other, sizeof(u.other), "%s", p->pw_name);
        }
    }
    fclose(f);
    if (u.found && !u.other_owner)
        gate_note(g, CHECK_IDS, VERDICT_PASS, u.name, "%lld:%lld", (long long)u.uid, (long long)u.gid);
    else
        gate_note(g, CHECK_IDS, VERDICT_REFUSE, u.name,
                  u.other_owner ? "uid %lld is also %s's" : "/etc/passwd does not have it with uid %lld%s",
                  (long long)u.uid, u.other);
}

static const struct {
    const char *group, *reason;
} doors[] = {
#define DOOR(group, reason) {group, reason},
#include "doors.def"
#undef DOOR
};

// The gids behind the names of doors.def on this host. Judged by gid: a second name of docker's gid is
// docker.
struct door_gids {
    gid_t gid[ARRAY_LEN(doors)];
    bool known[ARRAY_LEN(doors)];
};

static bool read_door_gids(struct gate *g, struct door_gids *ret)
{
    FILE *f = open_stream(g->root, "/etc/group");

    if (!f)
        return false;
    for (struct group *group; (group = fgetgrent(f));)
        for (size_t i = 0; i < ARRAY_LEN(doors); i++)
            if (str_eq(doors[i].group, group->gr_name)) {
                ret->gid[i] = group->gr_gid;
                ret->known[i] = true;
            }
    fclose(f);
    return true;
}

static bool has_member(const struct group *group, const char *user)
{
    for (char **m = group->gr_mem; *m; m++)
        if (str_eq(*m, user))
            return true;
    return false;
}

static void note_door(struct gate *g, const struct account_config *a, const struct group *group,
                      const char *reason)
{
    // Informed consent for an account that acts as the operator; for a confined one it is a lie about the
    // wall.
    enum verdict v = a->mode == MODE_CREDENTIALED || g->config->fail_on_sidedoor == SIDEDOOR_WARN
                         ? VERDICT_WARN
                         : VERDICT_REFUSE;

    gate_note(
        g, CHECK_DOOR, v, a->name,
        "%s is in the group %s (gid %u), which %s; exists: yes, open to a plugin: no (it gets no groups)",
        a->user, group->gr_name, group->gr_gid, reason);
}

static void check_groups(struct gate *g, const struct account_config *a)
{
    struct door_gids gids = {0};
    bool door = false;
    FILE *f = read_door_gids(g, &gids) ? open_stream(g->root, "/etc/group") : NULL;

    if (!f) {
        gate_note(g, CHECK_DOOR, VERDICT_UNPROVEN, a->name, "/etc/group cannot be read");
        return;
    }
    for (struct group *group; (group = fgetgrent(f));) {
        bool in = (int64_t)group->gr_gid == a->gid || has_member(group, a->user);
        for (size_t i = 0; in && i < ARRAY_LEN(doors); i++)
            if (gids.known[i] && gids.gid[i] == group->gr_gid) {
                note_door(g, a, group, doors[i].reason);
                door = true;
                break;
            }
    }
    fclose(f);
    if (!door)
        gate_note(g, CHECK_DOOR, VERDICT_PASS, a->name, "no group of %s leads to root", a->user);
}

void check_doors(struct gate *g)
{
    const struct config *c = g->config;

    if (c->personal) // no user was installed: it is whoever runs this
        return;
    check_user(g, (struct user_fact){.name = c->user, .uid = c->uid, .gid = c->gid});
    if (c->posture == POSTURE_UNCONFINED)
        return;
    check_user(g, (struct user_fact){.name = c->bus_user, .uid = c->bus_uid, .gid = c->bus_gid});
    for (size_t i = 0; i < c->accounts.n; i++) {
        const struct account_config *a = &c->accounts.list[i];
        check_user(g, (struct user_fact){.name = a->user, .uid = a->uid, .gid = a->gid});
        check_groups(g, a);
    }
}
