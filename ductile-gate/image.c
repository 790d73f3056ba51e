// An image below --root, judged as whoever runs this: what its files say. A drop, the kernel, sockets, other
// people's eyes and the wall itself need a running host; each of these checks is told by name.
#include "egress.h"
#include "gate.h"

static void leave_to_host(struct gate *g, enum check_id check)
{
    gate_note(g, check, VERDICT_UNPROVEN, GATE_HOST, "it needs %s", GATE_HOST);
}

static void leave_all(struct gate *g)
{
    static const enum check_id walled[] = {
        CHECK_LANDLOCK,    CHECK_DUMPABLE,  CHECK_HIDEPID, CHECK_PROTECTED,    CHECK_REACH,
        CHECK_DOOR_SOCKET, CHECK_DOOR_CORE, CHECK_PROBE,   CHECK_PROBE_BROKEN, CHECK_WORKS,
    };
    static const enum check_id hybrid[] = {CHECK_HOME_CODE, CHECK_HOME_CREDS, CHECK_LOGIN};
    const struct config *c = g->config;

    if (c->unconfined)
        gate_note(g, CHECK_UNCONFINED, VERDICT_WARN, c->name, "service.unconfined is true in %s", c->path);
    else
        leave_to_host(g, c->accounts.n > 0 ? CHECK_CAP_LACK : CHECK_CAP_NONE);
    leave_to_host(g, CHECK_USER);
    leave_to_host(g, CHECK_VAULT);
    for (size_t i = 0; c->posture != POSTURE_UNCONFINED && i < ARRAY_LEN(walled); i++)
        leave_to_host(g, walled[i]);
    for (size_t i = 0; c->posture == POSTURE_HYBRID && i < ARRAY_LEN(hybrid); i++)
        leave_to_host(g, hybrid[i]);
    if (c->posture != POSTURE_UNCONFINED && egress_any(c))
        leave_to_host(g, CHECK_EGRESS);
}

void look_at_image(struct gate *g)
{
    const struct config *c = g->config;

    leave_all(g);
    check_floor(g);
    for (size_t i = 0; i < c->accounts.n; i++)
        if (c->accounts.list[i].mode == MODE_CREDENTIALED)
            check_home(g, &c->accounts.list[i]);
    check_cover(g);
    check_doors(g);
    check_asked(g);
    check_plugins(g);
}
