// Doors: ways from an account to root that file modes do not show. Groups are judged by gid, so that a
// renamed docker group is still one.
#include "gate.h"
#include <stdio.h>

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

static void read_door_gids(const struct book *b, struct door_gids *ret)
{
    for (size_t k = 0; k < b->n_groups; k++)
        for (size_t i = 0; i < ARRAY_LEN(doors); i++)
            if (str_eq(doors[i].group, b->groups[k].name)) {
                ret->gid[i] = b->groups[k].gid;
                ret->known[i] = true;
            }
}

static bool has_member(const struct book_group *group, const char *user)
{
    for (char **m = group->members; *m; m++)
        if (str_eq(*m, user))
            return true;
    return false;
}

static void note_door(struct gate *g, const struct account_config *a, const struct book_group *group,
                      const char *reason)
{
    gate_note(
        g, CHECK_DOOR, gate_door_verdict(g, a), a->name,
        "%s is in the group %s (gid %u), which %s; exists: yes, open to a plugin: no (it gets no groups)",
        a->user, group->name, group->gid, reason);
}

static void check_groups(struct gate *g, const struct account_config *a, const struct door_gids *gids)
{
    const struct book *b = gate_book(g);
    bool door = false;

    if (!b || !b->has_groups) {
        gate_note(g, CHECK_DOOR, VERDICT_UNPROVEN, a->name, "/etc/group cannot be read");
        return;
    }
    for (size_t k = 0; k < b->n_groups; k++) {
        const struct book_group *group = &b->groups[k];
        bool in = (int64_t)group->gid == a->gid || has_member(group, a->user);
        for (size_t i = 0; in && i < ARRAY_LEN(doors); i++)
            if (gids->known[i] && gids->gid[i] == group->gid) {
                note_door(g, a, group, doors[i].reason);
                door = true;
                break;
            }
    }
    if (!door)
        gate_note(g, CHECK_DOOR, VERDICT_PASS, a->name, "no group of %s leads to root", a->user);
}

void check_doors(struct gate *g)
{
    const struct config *c = g->config;

    if (c->personal) // no user was installed: it is whoever runs this
        return;
    check_ids(g);
    struct door_gids gids = {0};
    const struct book *b = gate_book(g);
    if (b)
        read_door_gids(b, &gids);
    for (size_t i = 0; c->posture != POSTURE_UNCONFINED && i < c->accounts.n; i++)
        check_groups(g, &c->accounts.list[i], &gids);
}
