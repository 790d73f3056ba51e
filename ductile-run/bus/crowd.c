// Connections over TCP are strangers' until a token or a signature says otherwise. A byte now and then holds
// none of them: each has a time for its whole request. Where all places are taken, who showed nothing makes
// room.
#include "api.h"
#include "log.h"
#include <stdlib.h>
#include <sys/socket.h>

struct member {
    ev_timer timer; // first member
    struct crowd *crowd;
    struct member *next, *prev;
    int fd; // the connection's
    bool admitted, waits, shut;
};

// The connection closes as if its peer had hung up.
static void shut(struct member *m)
{
    if (m->shut)
        return;
    m->shut = true;
    m->crowd->n--;
    ev_timer_stop(m->crowd->loop, &m->timer);
    if (shutdown(m->fd, SHUT_RDWR) < 0)
        return; // the peer was faster
}

static void on_late(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    shut((struct member *)(void *)timer);
}

static void give_time(struct member *m)
{
    const int ms = m->admitted ? TIME_CALLER_MS : TIME_STRANGER_MS;

    ev_timer_stop(m->crowd->loop, &m->timer);
    if (m->shut)
        return;
    ev_timer_set(&m->timer, ms / 1000.0, 0.0);
    ev_timer_start(m->crowd->loop, &m->timer);
}

static void join(struct crowd *crowd, int fd, void **context)
{
    struct member *m = calloc(1, sizeof(*m));

    *context = m;
    if (!m) {
        log_warn("a connection was not taken: out of memory");
        if (shutdown(fd, SHUT_RDWR) < 0)
            log_warn("nor could it be shut");
        return;
    }
    *m = (struct member){.crowd = crowd, .fd = fd, .prev = crowd->last};
    ev_timer_init(&m->timer, on_late, 0.0, 0.0);
    *(crowd->last ? &crowd->last->next : &crowd->first) = m;
    crowd->last = m;
    crowd->n++;
    give_time(m);
}

static void leave(struct member *m)
{
    struct crowd *crowd = m->crowd;

    ev_timer_stop(crowd->loop, &m->timer);
    crowd->n -= !m->shut;
    *(m->prev ? &m->prev->next : &crowd->first) = m->next;
    *(m->next ? &m->next->prev : &crowd->last) = m->prev;
    free(m);
}

void crowd_notify(struct crowd *crowd, struct MHD_Connection *connection, void **context,
                  enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        if (info && auth_is_tcp(info->connect_fd))
            join(crowd, info->connect_fd, context);
    } else if (*context) {
        leave(*context);
        *context = NULL;
    }
}

bool crowd_takes(struct crowd *crowd)
{
    const bool full = crowd->n >= LIMIT_API_TCP;

    if (full && !crowd->full_said)
        log_warn("%d connections over TCP: the oldest that showed no token makes room for each more",
                 LIMIT_API_TCP);
    crowd->full_said = full;
    for (struct member *m = crowd->first; m && crowd->n >= LIMIT_API_TCP; m = m->next)
        if (!m->admitted && !m->waits)
            shut(m);
    return crowd->n < LIMIT_API_TCP;
}

struct member *crowd_member(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

// A stranger's headers win him no time: the body is part of his request.
void member_asks(struct member *m, bool admitted)
{
    if (!m || (!admitted && !m->admitted))
        return;
    m->admitted = admitted;
    give_time(m);
}

void member_is_done(struct member *m)
{
    if (m)
        give_time(m);
}

void member_waits(struct member *m)
{
    if (!m)
        return;
    m->waits = true;
    ev_timer_stop(m->crowd->loop, &m->timer);
}

void member_goes_on(struct member *m, bool admitted)
{
    if (!m)
        return;
    m->waits = false;
    m->admitted |= admitted;
    give_time(m);
}
