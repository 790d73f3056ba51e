// The end of jobs. A job ends when its process tree is gone: the plugin's exit starts a short grace for what
// it left behind, a timeout starts SIGTERM and five seconds, and then everything is killed. Only then is the
// slot free.
#include "log.h"
#include "warden.h"
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static uint64_t microseconds(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static void finish(struct warden *w, struct slot *s)
{
    struct proto_message m = {0};

    m.EXITED.job = s->request.job;
    m.EXITED.attempt = s->request.attempt;
    m.EXITED.reason = s->reason;
    m.EXITED.exit_code = WIFEXITED(s->status) ? WEXITSTATUS(s->status) : -1;
    m.EXITED.signal = WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0;
    m.EXITED.left_behind = s->left_behind;
    m.EXITED.delivered = !s->gave_up && s->stdin_fd < 0;
    m.EXITED.user_us = s->user_us;
    m.EXITED.system_us = s->system_us;
    m.EXITED.max_rss_kib = s->max_rss_kib;
    cage_release(w, s, s->left_behind == 0 && s->reason == REASON_NONE);
    slot_free(s);
    link_send(w, &m, PROTO_EXITED, NULL);
}

// Moves on as far as things have come.
static void advance(struct warden *w, struct slot *s)
{
    if (!s->exited)
        return;
    if (cage_is_empty(s)) {
        finish(w, s);
        return;
    }
    if (s->phase == PHASE_RUNNING || s->phase == PHASE_TERM) {
        s->phase = PHASE_LEFT;
        s->deadline = warden_now() + TIME_LEFT_GRACE_MS;
    }
}

void reap_exit(struct warden *w, struct slot *s)
{
    siginfo_t info = {0};
    struct rusage usage = {0};

    if (s->supervisor > 0) {
        cage_supervisor(s);
        if (s->phase != PHASE_STARTING)
            advance(w, s);
        return;
    }
    // Not reaped yet: the zombie keeps the pid, so that a signal to its group cannot hit a stranger.
    if (syscall(SYS_waitid, P_PIDFD, s->pidfd, &info, WEXITED | WNOWAIT, &usage) < 0)
        return;
    s->exited = true;
    s->status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
    s->user_us = microseconds(usage.ru_utime);
    s->system_us = microseconds(usage.ru_stime);
    s->max_rss_kib = (uint64_t)usage.ru_maxrss;
    advance(w, s);
}

void reap_events(struct warden *w, struct slot *s)
{
    advance(w, s);
}

void reap_kill(struct warden *w, struct slot *s, enum proto_reason reason)
{
    if (s->reason == REASON_NONE)
        s->reason = reason;
    switch (s->phase) {
    case PHASE_FREE:
    case PHASE_KILLED: return;
    case PHASE_ATTEST:
    case PHASE_AUDIT: // nothing runs yet
        slot_refuse(w, s, reason, STAGE_NONE, 0, "it was ended before it began");
        return;
    case PHASE_STARTING:
    case PHASE_RUNNING:
    case PHASE_TERM:
    case PHASE_LEFT: break;
    }
    cage_kill(w, s);
    s->phase = PHASE_KILLED;
    s->deadline = warden_now() + TIME_TERM_GRACE_MS;
    advance(w, s);
}

void reap_deadline(struct warden *w, struct slot *s)
{
    switch (s->phase) {
    case PHASE_FREE: break;
    case PHASE_ATTEST: attest_timeout(w, s); return;
    case PHASE_AUDIT:
        slot_refuse(w, s, REASON_AUDIT, STAGE_NONE, -ETIMEDOUT, "the ledger did not take the delivery");
        return;
    case PHASE_STARTING:
        log_warn("job %llu has not begun after %d ms: killed", (unsigned long long)s->request.job,
                 TIME_EXEC_MS);
        reap_kill(w, s, REASON_SPAWN_FAILED);
        return;
    case PHASE_RUNNING:
        s->reason = REASON_TIMEOUT;
        cage_term(w, s);
        s->phase = PHASE_TERM;
        s->deadline = warden_now() + TIME_TERM_GRACE_MS;
        return;
    case PHASE_TERM:
    case PHASE_LEFT: reap_kill(w, s, s->reason); return;
    case PHASE_KILLED:
        // SIGKILL was sent; what is still there is in the kernel (a hung file system). The slot stays taken.
        log_warn("job %llu: killed, but not gone yet", (unsigned long long)s->request.job);
        s->deadline = warden_now() + 10 * TIME_TERM_GRACE_MS;
        return;
    }
}
