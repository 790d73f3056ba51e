// Who makes the attempts. Each identity has a lane: a child that drops exactly as the warden's children do,
// then makes one attempt after the other. What an attempt that succeeded may have changed (ids, capabilities)
// must not colour the next: the child ends then, and a fresh one goes on behind it. A process per attempt
// would be cleaner still, and costs more than all attempts together.
//
// Time: an attempt has TIME_PROBE_MS, all of them until the gate's deadline. The child's own alarm ends what
// can be ended; what hangs in the kernel is given up, and nobody waits for it.
#include "fd.h"
#include "log.h"
#include "probes.h"
#include "wall.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { AT_ONCE = 32, SLACK_MS = 500 }; // SLACK: what the alarm has, before the child is given up

bool lane_add(struct lane *lane, const struct probe_try *attempt)
{
    if (lane->n == lane->n_all) {
        size_t room = lane->n_all ? 2 * lane->n_all : 64;
        struct probe_try *list = reallocarray(lane->tries, room, sizeof(*list));
        if (!list)
            return false;
        lane->tries = list;
        lane->n_all = room;
    }
    lane->tries[lane->n++] = *attempt;
    return true;
}

static void free_tries(struct lane *lane)
{
    for (size_t i = 0; lane->tries && i < lane->n; i++)
        free((char *)lane->tries[i].target.path);
    free(ptr_take(&lane->tries));
}

void lane_free(struct lane *lane)
{
    free_tries(lane);
    free(lane->track);
    *lane = (struct lane){.pidfd = -1};
}

// ---- in the child -------------------------------------------------------------------------------

// Behind its 0700 directory an account cannot tell a file that is gone from one that is denied. Before the
// drop we can; here and not in the gate, because it may hang.
static void look_for(const struct gate *g, struct lane *lane)
{
    struct stat st;

    for (size_t i = 0; i < lane->n; i++) {
        struct probe_try *t = &lane->tries[i];
        t->gone = t->must_be && fd_stat(g->root, t->target.path, &st) == -ENOENT;
    }
}

// Returns whether what it did may colour the next.
static bool make_attempt(const struct probe_try *t, unsigned identity, struct probe_result *ret)
{
    struct probe_result r = {.probe = t->probe, .identity = identity};
    const struct attempt *a = t->attempt;
    const struct attempt_target *target = &t->target;

    snprintf(r.target, sizeof(r.target), "%.150s", target->path ? target->path : target->shown);
    int e = a->run(target);           // first: a control may give up what the attempt would use
    bool outside = target->port != 0; // its control was made by the gate: only another uid can show it
    r.twin = a->control != NULL || outside;
    r.control = !r.twin || e == 0 || (outside ? target->reached : a->control() == 0);
    r.error = -e;
    r.cell = e == 0 ? CELL_ALLOWED : attempt_is_denial(a, -e) ? CELL_DENIED : CELL_UNPROVEN;
    if (t->optional && (e == -ENOENT || e == -ENOTDIR || e == -ECONNREFUSED))
        r.cell = CELL_NOTHING;
    if (t->gone && e != 0) {
        r.cell = CELL_UNPROVEN;
        r.error = ENOENT;
    }
    if (e == 0 && wall_landlock_abi() < t->abi)
        r.cell = CELL_ABSENT; // said, not refused: this kernel has no such layer
    *ret = r;
    return e == 0 && a->taints;
}

__attribute__((noreturn)) static void run_child(struct gate *g, struct lane *lane)
{
    struct track *track = lane->track;
    const struct account_config *a = g->identities[lane->identity].account;
    uint32_t layers;

    alarm(TIME_PROBE_MS / 1000);
    look_for(g, lane);
    // A descriptor that would survive an exec: the drop must see to it.
    OWNED(fd_closep) int decoy = open("/dev/null", O_RDONLY);
    OWNED(fd_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    lane->plan.fd_in = lane->plan.fd_out = lane->plan.fd_err = null;
    lane->plan.landlock_fd =
        a && !privs_broken(BREAK_NOLANDLOCK) ? wall_landlock_of(g->config, a, &layers) : -1;
    if (decoy < 0 || null < 0 || privs_drop(&lane->plan, &track->record) < 0)
        _exit(0); // at which stage, and why, is in the record
    track->dropped = true;
    for (uint32_t i = track->done; i < lane->n; i++) {
        track->since = gate_now();
        alarm(TIME_PROBE_MS / 1000);
        bool taints = make_attempt(&lane->tries[i], lane->identity, &track->results[i]);
        track->done = i + 1;
        if (taints)
            _exit(0);
    }
    _exit(0);
}

// ---- in the gate --------------------------------------------------------------------------------

static bool start(struct gate *g, struct lane *lane)
{
    lane->track->dropped = false;
    lane->track->record = (struct privs_record){0};
    lane->track->since = gate_now();
    lane->pid = fork();
    if (lane->pid == 0)
        run_child(g, lane);
    lane->pidfd = lane->pid < 0 ? -1 : gate_pidfd(lane->pid);
    return lane->pidfd >= 0;
}

static bool begin(struct gate *g, struct lane *lane, const struct lane_owner *owner)
{
    lane->pidfd = -1;
    owner->fill(owner, lane);
    if (lane->failed)
        return false;
    lane->size = sizeof(struct track) + lane->n * sizeof(struct probe_result);
    lane->track = mmap(NULL, lane->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (lane->track == MAP_FAILED)
        lane->track = NULL;
    return lane->track && start(g, lane);
}

// The present attempt gets a result of the gate's.
static void give_result(struct lane *lane, int error)
{
    uint32_t i = lane->track->done;
    const struct probe_try *t = &lane->tries[i];
    struct probe_result r = {
        .probe = t->probe, .identity = lane->identity, .cell = CELL_UNPROVEN, .error = error};

    snprintf(r.target, sizeof(r.target), "%.150s", t->target.path ? t->target.path : t->target.shown);
    lane->track->results[i] = r;
    lane->track->done = i + 1;
}

// Its child is gone, or given up; late: because it did not answer. Goes on behind it, where that is of use.
static void next(struct gate *g, struct lane *lane, bool late, bool clean)
{
    fd_closep(&lane->pidfd);
    lane->late += late;
    if (!lane->track->dropped) { // without a drop nothing is tried
        if (late && lane->track->record.error == 0)
            lane->track->record.error = -ETIMEDOUT;
        lane->ended = true;
        return;
    }
    if (lane->track->done < lane->n && !clean)
        give_result(lane, late ? ETIMEDOUT : 0);
    lane->ended = lane->track->done >= lane->n;
    if (!lane->ended && !start(g, lane))
        lane->failed = lane->ended = true;
}

static void give_up(struct gate *g, struct lane *lane)
{
    const struct account_config *a = g->identities[lane->identity].account;

    actors_kill(lane->pid, a ? a->uid : -1, true);
    waitpid(lane->pid, NULL, WNOHANG);
}

static void look(struct gate *g, struct lane *lane, int64_t now)
{
    int status;
    pid_t r = waitpid(lane->pid, &status, WNOHANG);

    if (r == lane->pid) {
        bool late = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
        next(g, lane, late, WIFEXITED(status) && WEXITSTATUS(status) == 0);
    } else if (now >= g->deadline) {
        give_up(g, lane);
        fd_closep(&lane->pidfd);
        lane->over = lane->ended = true;
    } else if (now >= lane->track->since + TIME_PROBE_MS + SLACK_MS) {
        give_up(g, lane);
        next(g, lane, true, false);
    }
}

// What 200 of them would hold mapped, every further fork would copy: the results move to the heap, all else
// ends.
static void end(struct lane *lane, const struct lane_owner *owner)
{
    struct track *kept = malloc(lane->size);

    owner->emptied(owner, lane);
    if (kept)
        memcpy(kept, lane->track, lane->size);
    munmap(lane->track, lane->size);
    lane->track = kept;
    lane->failed |= !kept;
    free_tries(lane);
}

// Until one of the running ones has ended or is late.
static void wait_for(struct gate *g, struct lane *const *running, size_t n)
{
    struct pollfd p[AT_ONCE];
    int64_t end = g->deadline;

    for (size_t i = 0; i < n; i++) {
        p[i] = (struct pollfd){.fd = running[i]->pidfd, .events = POLLIN};
        end = MIN(end, running[i]->track->since + TIME_PROBE_MS + SLACK_MS);
    }
    if (poll(p, n, (int)MAX(end - gate_now(), (int64_t)0)) < 0 && errno != EINTR)
        g->failed = true;
}

void lanes_run(struct gate *g, struct lane *lanes, size_t n, const struct lane_owner *owner)
{
    struct lane *running[AT_ONCE];
    size_t n_running = 0, begun = 0;

    while (begun < n || n_running > 0) {
        while (begun < n && n_running < AT_ONCE) {
            struct lane *lane = &lanes[begun++];
            if (begin(g, lane, owner))
                running[n_running++] = lane;
            else
                lane->failed = true;
        }
        if (n_running == 0)
            break;
        wait_for(g, running, n_running);
        int64_t now = gate_now();
        for (size_t i = 0; i < n_running;) {
            look(g, running[i], now);
            if (running[i]->ended) {
                end(running[i], owner);
                running[i] = running[--n_running];
            } else
                i++;
        }
    }
}
