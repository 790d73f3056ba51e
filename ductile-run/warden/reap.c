// The end of jobs. A job ends when its process tree is gone: the plugin's exit starts a short grace for what
// it left behind, a timeout starts SIGTERM and five seconds, and then everything is killed. Only then is the
// slot free.
//
// Children are reaped in one place, without waiting for any one of them: a plugin can keep its own zombie
// from us by tracing it, can make us the tracer of its threads (PTRACE_TRACEME asks nobody), and could, were
// CLONE_PARENT not refused, give us children that are none of ours. A waitpid for one pid would stop the
// warden for good.
#include "log.h"
#include "warden.h"
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void report(struct warden *w, const struct slot *s, bool gone)
{
    struct proto_message m = {0};

    m.EXITED.job = s->request.job;
    m.EXITED.attempt = s->request.attempt;
    m.EXITED.reason = s->reason;
    m.EXITED.exit_code = WIFEXITED(s->status) ? WEXITSTATUS(s->status) : -1;
    m.EXITED.signal = WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0;
    m.EXITED.left_behind = s->left_behind;
    m.EXITED.stage = s->killed_at;
    m.EXITED.gone = gone;
    m.EXITED.delivered = !s->gave_up && s->stdin_fd < 0;
    m.EXITED.user_us = s->user_us;
    m.EXITED.system_us = s->system_us;
    m.EXITED.max_rss_kib = s->max_rss_kib;
    link_send(w, &m, PROTO_EXITED, NULL);
}

static void finish(struct warden *w, struct slot *s)
{
    report(w, s, true);
    cage_release(w, s, s->left_behind == 0 && s->reason == REASON_NONE);
    slot_free(s);
}

// SIGKILL was sent, and what is still there is in the kernel (a hung file system). The job ends here; nobody
// waits for it.
static void give_up_on(struct warden *w, struct slot *s)
{
    log_warn("job %llu: killed, but not gone: something of it hangs in the kernel",
             (unsigned long long)s->request.job);
    if (!lost_take(w, s)) {
        s->deadline = warden_now() + TIME_TERM_GRACE_MS;
        return;
    }
    report(w, s, false);
    slot_free(s);
}

// The plugin is gone; what it left behind has a moment to end too.
static void begin_grace(struct slot *s)
{
    if (s->phase != PHASE_RUNNING && s->phase != PHASE_TERM)
        return;
    s->phase = PHASE_LEFT;
    s->deadline = warden_now() + TIME_LEFT_GRACE_MS;
}

// Moves on as far as things have come.
static void advance(struct warden *w, struct slot *s)
{
    if (!s->exited)
        return;
    if (cage_is_empty(s))
        finish(w, s);
    else
        begin_grace(s);
}

static void child_ended(struct warden *w, pid_t pid, int status, const struct rusage *usage)
{
    lost_reaped(w, pid);
    for (unsigned i = 0; i < w->n_slots; i++) {
        struct slot *s = &w->slots[i];
        if (s->helper == pid)
            s->helper = 0;                                   // its pipe's end says the rest
        if (s->pid != pid || s->exited || s->supervisor > 0) // once reaped, its number may be another's
            continue;
        s->exited = true;
        s->status = status;
        s->user_us = reap_us(usage->ru_utime);
        s->system_us = reap_us(usage->ru_stime);
        s->max_rss_kib = (uint64_t)usage->ru_maxrss;
        if (s->phase != PHASE_STARTING) // else the stage pipe tells first how far it came
            advance(w, s);
    }
}

void reap_children(struct warden *w)
{
    int status;
    struct rusage usage;

    for (;;) {
        pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return;
        if (WIFEXITED(status) || WIFSIGNALED(status)) // else a stop: a plugin made us its tracer
            child_ended(w, pid, status, &usage);
    }
}

void reap_exit(struct warden *w, struct slot *s)
{
    if (s->supervisor > 0) {
        cage_supervisor(s);
        if (s->phase != PHASE_STARTING && s->exited)
            advance(w, s);
        if (s->exited || !s->ended)
            return;
    }
    // The pidfd is readable, the supervisor's or ours: it has ended. Its status may come later, or only once
    // everything of the job was killed: a process that traces it keeps the zombie from us. So nothing here
    // waits for it.
    s->ended = true;
    begin_grace(s);
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
        attest_abandon(w, s, false);
        slot_refuse(w, s, reason, STAGE_NONE, 0, "it was ended before it began");
        return;
    case PHASE_STARTING: // it has read nothing, and will not
        s->gave_up = true;
        pump_end(s);
        break;
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
        s->killed_at = (enum privs_stage)(s->shared ? s->shared : s->launch)->record.stage;
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
    case PHASE_KILLED: give_up_on(w, s); return;
    }
}
