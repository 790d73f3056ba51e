// From due jobs to the warden, and from its messages to the ledger. A job is acknowledged only when its row
// is on disk; its end, its events and the jobs they start are one transaction.
#include "bus.h"
#include "fd.h"
#include "log.h"
#include "wall.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static struct run *find_run(struct bus *bus, uint64_t job)
{
    for (struct run *run = bus->runs; run; run = run->next)
        if ((uint64_t)run->job == job && !run->end)
            return run;
    return NULL;
}

static void send_or_die(struct bus *bus, struct proto_message *m, enum proto_type type, const int *fds)
{
    int r = proto_send(&bus->warden, m, type, fds);

    if (r < 0)
        bus_die("the warden does not listen: %s", strerror(-r));
}

// ---- handing out --------------------------------------------------------------------------------

static int send_spawn(struct bus *bus, const struct queued_job *j)
{
    struct proto_message m = {0};
    OWNED(freep) char *body = NULL;
    size_t len;
    int r = request_body(bus, j, &body, &len);
    OWNED(fd_closep) int fd = r < 0 ? r : fd_sealed("request", body, len);

    if (fd < 0)
        return fd;
    m.SPAWN.job = (uint64_t)j->id;
    m.SPAWN.attempt = (uint32_t)j->attempt;
    m.SPAWN.body_len = len;
    memcpy(m.SPAWN.snapshot, bus->snapshot, sizeof(bus->snapshot));
    snprintf(m.SPAWN.plugin, sizeof(m.SPAWN.plugin), "%s", j->plugin);
    snprintf(m.SPAWN.command, sizeof(m.SPAWN.command), "%s", j->command);
    send_or_die(bus, &m, PROTO_SPAWN, &fd);
    return 0;
}

static struct run *new_run(struct bus *bus, const struct queued_job *j)
{
    struct run *run = calloc(1, sizeof(*run));

    if (!run)
        bus_die("out of memory");
    *run = (struct run){.next = bus->runs, .bus = bus, .job = j->id, .attempt = (unsigned)j->attempt};
    snprintf(run->plugin, sizeof(run->plugin), "%s", j->plugin);
    snprintf(run->command, sizeof(run->command), "%s", j->command);
    run->out = (struct output){.run = run, .fd = -1, .limit = bus->config->limit_stdout, .fails = true};
    run->err = (struct output){.run = run, .fd = -1, .limit = bus->config->limit_stderr};
    bus->runs = run;
    bus->n_runs++;
    return run;
}

static void refuse_unsent(struct bus *bus, struct run *run, int error)
{
    struct outcome o = {.state = "refused", .retry = false};

    snprintf(o.reason, sizeof(o.reason),
             error == -EFBIG ? "request-limit: the request is larger than limits.request" : "request: %s",
             strerror(-error));
    ending_take(bus, run, &o);
}

static void arm_timer(struct bus *bus)
{
    int64_t due = queue_due_ms(bus), now = ledger_now_ms();

    ev_timer_stop(bus->loop, &bus->due_timer);
    if (due == INT64_MAX || bus->stopping)
        return;
    ev_timer_set(&bus->due_timer, (double)MAX(due - now, (int64_t)1) / 1000.0, 0.0);
    ev_timer_start(bus->loop, &bus->due_timer);
}

void dispatch(struct bus *bus)
{
    int r = 0;

    while (!bus->stopping && !bus->stalled && bus->n_runs < bus->config->max_workers) {
        struct queued_job j = {0};
        r = queue_next(bus, &j);
        if (r <= 0)
            break;
        r = queue_start(bus, &j);
        if (r == 0) {
            struct run *run = new_run(bus, &j);
            int unsent = send_spawn(bus, &j);
            if (unsent < 0)
                refuse_unsent(bus, run, unsent);
        }
        queued_job_free(&j);
        if (r < 0 && r != -ESTALE)
            break;
    }
    if (r < 0 && r != -ESTALE)
        bus_stall(bus, "the start of a job");
    // With every slot taken the end of a job calls again; the timer is for work that is not due yet.
    if (bus->n_runs < bus->config->max_workers)
        arm_timer(bus);
}

// ---- output -------------------------------------------------------------------------------------

static void over_limit(struct output *o)
{
    struct bus *bus = o->run->bus;
    struct proto_message m = {0};

    m.KILL.job = (uint64_t)o->run->job;
    m.KILL.reason = REASON_OUTPUT_LIMIT;
    send_or_die(bus, &m, PROTO_KILL, NULL);
}

// A flood gets its share of the loop, not all of it; what is left at the end fits a pipe (1 MiB for a user).
enum { CHUNKS_A_TURN = 8, CHUNKS_AT_END = 32 };

// Reads what there is, at most so many chunks. False at its end.
static bool read_output(struct output *o, int chunks)
{
    char chunk[65536];

    for (int i = 0; i < chunks; i++) {
        ssize_t n = read(o->fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        bool was_over = o->total > o->limit;
        o->total += (uint64_t)n;
        if (o->text.len < o->limit)
            sb_add(&o->text, chunk, MIN((size_t)n, o->limit - o->text.len));
        if (o->total > o->limit && !was_over && o->fails)
            over_limit(o);
    }
    return true;
}

static void on_output(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct output *o = (struct output *)(void *)watcher;
    (void)loop;
    (void)events;

    if (!read_output(o, CHUNKS_A_TURN))
        output_close(o->run->bus, o);
}

static void watch_output(struct bus *bus, struct output *o, int fd)
{
    o->fd = fd;
    if (fd_set_nonblock(fd, true) < 0)
        bus_die("a pipe of job %lld", (long long)o->run->job);
    ev_io_init(&o->watcher, on_output, fd, EV_READ);
    ev_io_start(bus->loop, &o->watcher);
}

// ---- what the warden says -----------------------------------------------------------------------

void dispatch_mask(struct bus *bus, const struct proto_mask *m, int mask_fd)
{
    OWNED(fd_closep) int fd = mask_fd;
    struct run *run = find_run(bus, m->job);
    OWNED(freep) char *data = NULL;
    size_t len;
    uint64_t size;

    // Once it runs it is read, and what was read is not looked at again.
    int r = !run || run->started ? -ENOENT : fd_check_sealed(fd, &size);
    if (r == 0)
        r = fd_read_all(fd, LIMIT_MASK, &data, &len);
    if (r == 0) {
        mask_free(&run->mask); // of an earlier spawn of the same attempt
        r = mask_load(data, len, &run->mask);
    }
    if (r < 0) // without it secrets would go through in clear
        bus_die("the fingerprints for job %llu: %s", (unsigned long long)m->job, strerror(-r));
}

void dispatch_started(struct bus *bus, const struct proto_started *m, int out_fd, int err_fd)
{
    struct run *run = find_run(bus, m->job);

    if (!run || run->started || m->attempt != run->attempt || m->mode >= MODE_COUNT_)
        bus_die("the warden started job %llu, which nobody asked for", (unsigned long long)m->job);
    run->started = true;
    watch_output(bus, &run->out, out_fd);
    watch_output(bus, &run->err, err_fd);
    ending_started(bus, run, m);
}

void dispatch_refused(struct bus *bus, const struct proto_refused *m)
{
    struct run *run = find_run(bus, m->job);
    enum proto_reason reason = (enum proto_reason)m->reason;
    struct outcome o = {.state = "refused", .retry = false};

    if (!run)
        return; // it was ended meanwhile
    if (run->started || m->attempt != run->attempt || reason >= REASON_COUNT_)
        bus_die("the warden refused job %llu, which runs", (unsigned long long)m->job);
    if (reason == REASON_STOPPING || reason == REASON_BUSY)
        o.state = "queued";
    else if (reason == REASON_CANCELLED)
        o.state = "cancelled";
    else if (proto_reason_retries(reason)) {
        o.state = "failed";
        o.retry = true;
    }
    snprintf(o.reason, sizeof(o.reason), "%s: %.200s", proto_reason_word(reason), m->text);
    ending_take(bus, run, &o);
    dispatch(bus);
}

static void judge_response(struct bus *bus, struct run *run, struct outcome *o)
{
    char why[160], hex[2 * TREE_HASH_LEN + 1];
    uint8_t hash[TREE_HASH_LEN];

    if (response_parse(bus->config, run->out.text.p ? run->out.text.p : "", run->out.text.len, &run->mask,
                       &run->masked, &o->response, why) < 0) {
        // By length and hash: its bytes may hold a secret.
        crypto_generichash(hash, sizeof(hash),
                           (const unsigned char *)(run->out.text.p ? run->out.text.p : ""), run->out.text.len,
                           NULL, 0);
        str_hex(hash, sizeof(hash), hex);
        o->state = "failed";
        snprintf(o->reason, sizeof(o->reason), "protocol: %.120s (%zu bytes, %.16s)", why, run->out.text.len,
                 hex);
        return;
    }
    if (o->response.ok) {
        o->state = "succeeded";
        return;
    }
    o->state = "failed";
    o->error = o->response.error;
    o->retry = o->response.retry;
    snprintf(o->reason, sizeof(o->reason), "the plugin answered status: error");
}

static void judge(struct bus *bus, struct run *run, const struct proto_exited *m, struct outcome *o)
{
    o->retry = true;
    o->state = "failed";
    if (m->reason == REASON_TIMEOUT) {
        o->state = "timed_out";
        snprintf(o->reason, sizeof(o->reason), "timeout, left_behind=%u%s", m->left_behind,
                 m->gone ? "" : ", not gone: it hangs in the kernel");
    } else if (m->reason == REASON_STOPPING) {
        o->state = "queued";
        snprintf(o->reason, sizeof(o->reason), "stopping");
    } else if (m->reason == REASON_CANCELLED) {
        o->state = "cancelled";
        snprintf(o->reason, sizeof(o->reason), "cancelled");
    } else if (m->stage != STAGE_NONE)
        snprintf(o->reason, sizeof(o->reason), "%s: killed before its exec, at stage %s%s",
                 proto_reason_word((enum proto_reason)m->reason),
                 privs_stage_name((enum privs_stage)m->stage),
                 m->gone ? "" : "; it is not gone: it hangs in the kernel");
    else if (m->reason != REASON_NONE)
        snprintf(o->reason, sizeof(o->reason), "%s", proto_reason_word((enum proto_reason)m->reason));
    else if (m->signal)
        snprintf(o->reason, sizeof(o->reason), "signal %d", m->signal);
    else if (m->exit_code != 0) {
        o->retry = m->exit_code != 78; // a permanent configuration failure, by the protocol
        snprintf(o->reason, sizeof(o->reason), "exit %d", m->exit_code);
    } else
        judge_response(bus, run, o);
}

void dispatch_exited(struct bus *bus, const struct proto_exited *m)
{
    struct run *run = find_run(bus, m->job);
    struct outcome o = {0};

    if (!run || m->attempt != run->attempt || m->reason >= REASON_COUNT_)
        bus_die("the warden ended job %llu, which nobody asked for", (unsigned long long)m->job);
    // Its whole tree is gone: what it wrote is in the pipes, and nobody can add to it.
    if (run->out.fd >= 0)
        read_output(&run->out, CHUNKS_AT_END);
    if (run->err.fd >= 0)
        read_output(&run->err, CHUNKS_AT_END);
    judge(bus, run, m, &o);
    run->exited = *m;
    run->exit_due = true;
    ending_take(bus, run, &o);
    dispatch(bus);
}

void dispatch_audit(struct bus *bus, const struct proto_audit *m, int detail_fd)
{
    struct proto_message answer = {0};
    OWNED(freep) char *text = NULL;
    size_t len;
    char why[160];
    int64_t seq = 0;
    uint64_t size;

    if (m->kind >= AUDIT_COUNT_ || fd_check_sealed(detail_fd, &size) < 0) // an open pipe would hold us
        bus_die("the warden told no fact about job %llu", (unsigned long long)m->job);
    int r = fd_read_all(detail_fd, LIMIT_DETAIL, &text, &len);
    OWNED(json_decrefp) json_t *detail = r == 0 ? json_parse(text, len, 8, why) : NULL;

    r = detail ? book_write(bus, m, detail, text, &seq) : -EBADMSG;
    if (r < 0)
        log_warn("a fact about job %llu was not recorded: %s", (unsigned long long)m->job, bus->ledger.error);
    // What nobody waits for happened all the same: it is written when that is possible again.
    if (r < 0 && detail && !m->wants_answer && bus->ledger.waits) {
        book_keep(bus, m, text);
        bus_stall(bus, "a fact");
    }
    if (!m->wants_answer)
        return;
    answer.AUDITED.job = m->job;
    answer.AUDITED.seq = r < 0 ? 0 : (uint64_t)seq;
    send_or_die(bus, &answer, PROTO_AUDITED, NULL);
}

void dispatch_stop(struct bus *bus)
{
    for (struct run *run = bus->runs; run; run = run->next) {
        struct proto_message m = {0};
        if (run->end)
            continue; // the warden has forgotten it
        m.KILL.job = (uint64_t)run->job;
        m.KILL.reason = REASON_STOPPING;
        send_or_die(bus, &m, PROTO_KILL, NULL);
    }
}
