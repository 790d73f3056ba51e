// What SIGKILL does not end: a process in the kernel, mostly on a file system that has stopped answering (a
// dead NFS server, a FUSE server that reads requests and keeps them). It may stay for hours, and must cost
// others nothing: its job is reported, its slot is given to the next one with a fresh cgroup, and what it
// still uses of ours waits here. Its account gets no new job until it is gone, or such processes would pile
// up; and where reading a home once took too long, one reader at a time finds out whether it answers again.
#include "fd.h"
#include "str.h"
#include "warden.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

// ---- jobs ---------------------------------------------------------------------------------------

struct lost {
    struct lost *next;
    const struct account_config *account;
    int cgroup_dir, events_fd, supervisor_fd;
    char cgroup[32];
    struct launch *launch, *shared; // a child before its exec runs on it
};

bool lost_take(struct warden *w, struct slot *s)
{
    struct lost *l = calloc(1, sizeof(*l));

    if (!l)
        return false;
    *l = (struct lost){.next = w->lost,
                       .account = s->account,
                       .cgroup_dir = fd_take(&s->cgroup_dir),
                       .events_fd = fd_take(&s->events_fd),
                       .supervisor_fd = fd_take(&s->supervisor_fd),
                       .launch = ptr_take(&s->launch),
                       .shared = ptr_take(&s->shared)};
    cage_name(s, l->cgroup);
    fd_closep(&s->procs_fd);
    s->generation++; // the next cgroup of this slot has another name
    w->lost = l;
    return true;
}

// The supervisor ends when the last of its job has.
static bool supervisor_ended(int fd)
{
    char word[256];
    ssize_t n = recv(fd, word, sizeof(word), MSG_DONTWAIT);

    while (n > 0)
        n = recv(fd, word, sizeof(word), MSG_DONTWAIT);
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

static bool is_gone(struct warden *w, const struct lost *l)
{
    if (l->supervisor_fd >= 0)
        return supervisor_ended(l->supervisor_fd);
    return l->events_fd < 0 || (cgroup_populated(l->events_fd) == 0 &&
                                (unlinkat(w->cgroup_root, l->cgroup, AT_REMOVEDIR) == 0 || errno == ENOENT));
}

static void forget(struct lost *l)
{
    fd_closep(&l->cgroup_dir);
    fd_closep(&l->events_fd);
    fd_closep(&l->supervisor_fd);
    launch_free(l->launch);
    if (l->shared)
        munmap(l->shared, sizeof(*l->shared));
    free(l);
}

bool lost_holds(struct warden *w, const struct account_config *account)
{
    bool held = false;

    for (struct lost **p = &w->lost; *p;) {
        struct lost *l = *p;
        if (!is_gone(w, l)) {
            held |= l->account == account;
            p = &l->next;
            continue;
        }
        *p = l->next;
        forget(l);
    }
    return held;
}

// ---- homes --------------------------------------------------------------------------------------

enum { REAP_MS = 1000 }; // a killed process that can die is gone by then

struct hung {
    struct hung *next;
    pid_t reader;              // that was killed; 0 once it was reaped
    int64_t silent;            // from then on it counts as one that did not come back
    const struct slot *prober; // that tries again
    char where[LIMIT_PATH];
};

void lost_reader(struct warden *w, const char *where, pid_t reader, bool late)
{
    struct hung *h = w->hung;

    while (h && (h->reader > 0 || !str_eq(h->where, where)))
        h = h->next;
    if (!h) {
        h = calloc(1, sizeof(*h));
        if (!h)
            return; // then it is only tried again at the price of the time limit
        h->next = w->hung;
        snprintf(h->where, sizeof(h->where), "%s", where);
        w->hung = h;
    }
    h->reader = reader;
    h->silent = warden_now() + (late ? 0 : REAP_MS);
}

bool lost_may_read(struct warden *w, const char *where, const struct slot *s)
{
    struct hung *first = NULL;

    for (struct hung *h = w->hung; h; h = h->next)
        if (str_eq(h->where, where)) {
            first = h;
            if (h->prober || (h->reader > 0 && h->silent <= warden_now()))
                return false;
        }
    if (first)
        first->prober = s;
    return true;
}

void lost_probed(struct warden *w, const char *where, const struct slot *s, bool answered)
{
    for (struct hung **p = &w->hung; *p;) {
        struct hung *h = *p;
        if (h->prober == s)
            h->prober = NULL;
        if (!answered || h->reader > 0 || !str_eq(h->where, where)) {
            p = &h->next;
            continue;
        }
        *p = h->next;
        free(h);
    }
}

void lost_reaped(struct warden *w, pid_t pid)
{
    for (struct hung **p = &w->hung; *p; p = &(*p)->next) {
        struct hung *h = *p;
        if (h->reader != pid)
            continue;
        h->reader = 0;
        if (h->silent > warden_now()) { // its job was cancelled, and it died at once: nothing hangs
            *p = h->next;
            free(h);
        }
        return;
    }
}
