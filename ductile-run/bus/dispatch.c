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
        if ((uint64_t)run->job == job)
            return run;
    return NULL;
}

static void close_output(struct bus *bus, struct output *o)
{
    if (o->fd >= 0)
        ev_io_stop(bus->loop, &o->watcher);
    fd_closep(&o->fd);
}

static void drop_run(struct bus *bus, struct run *run)
{
    struct run **p = &bus->runs;

    while (*p != run)
        p = &(*p)->next;
    *p = run->next;
    bus->n_runs--;
    close_output(bus, &run->out);
    close_output(bus, &run->err);
    sb_free(&run->out.text);
    sb_free(&run->err.text);
    mask_free(&run->mask);
    free(run);
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

// ---- the end of an attempt ----------------------------------------------------------------------

struct outcome {
    const char *state; // succeeded, failed, timed_out, refused, cancelled, queued
    char reason[256];  // why
    const char *error; // what the plugin said, may be NULL
    bool retry;
    struct response response; // of a success
};

static int record_end(struct bus *bus, int64_t job, int64_t attempt, const struct outcome *o)
{
    OWNED(freep)
    char *result = o->response.result ? json_dumps(o->response.result, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    int r = ledger_run(&bus->ledger, NULL,
                       "UPDATE job_attempt SET ended_ms=?, outcome=? WHERE job=? AND attempt=?", "isii",
                       ledger_now_ms(), o->state, job, attempt);

    if (r == 0)
        r = ledger_run(&bus->ledger, NULL, "UPDATE job SET result=?, error=? WHERE id=?", "ssi", result,
                       o->error, job);
    return r;
}

static int merge_state(struct bus *bus, const char *plugin, const struct response *response)
{
    if (!response->state_updates || json_object_size(response->state_updates) == 0)
        return 0;
    sqlite3_stmt *s =
        ledger_query(&bus->ledger, "SELECT state FROM plugin_state WHERE plugin=?", "s", plugin);
    OWNED(json_decrefp)
    json_t *state = s && sqlite3_step(s) == SQLITE_ROW
                        ? json_loads((const char *)sqlite3_column_text(s, 0), 0, NULL)
                        : json_object();
    sqlite3_finalize(s);
    if (!state || json_object_update(state, response->state_updates) < 0)
        return -ENOMEM;
    OWNED(freep) char *text = json_dumps(state, JSON_COMPACT);
    if (!text || strlen(text) > bus->config->limit_state)
        return text ? -EFBIG : -ENOMEM;
    return ledger_run(
        &bus->ledger, NULL,
        "INSERT INTO plugin_state(plugin, state, updated_ms) VALUES(?,?,?) ON CONFLICT(plugin) DO UPDATE"
        " SET state=excluded.state, updated_ms=excluded.updated_ms",
        "ssi", plugin, text, ledger_now_ms());
}

// The job row again, for routing: what the run knows plus where it stands in a pipeline.
static int load_job(struct bus *bus, int64_t id, struct queued_job *ret)
{
    sqlite3_stmt *s =
        ledger_query(&bus->ledger,
                     "SELECT attempt, max_attempts, event, pipeline_run, step, depth, plugin, command"
                     " FROM job WHERE id=?",
                     "i", id);
    int r = s && sqlite3_step(s) == SQLITE_ROW ? 0 : -EIO;

    if (r == 0) {
        *ret = (struct queued_job){.id = id,
                                   .attempt = sqlite3_column_int64(s, 0),
                                   .max_attempts = sqlite3_column_int64(s, 1),
                                   .event = sqlite3_column_int64(s, 2),
                                   .pipeline_run = sqlite3_column_int64(s, 3),
                                   .step = sqlite3_column_int64(s, 4),
                                   .depth = sqlite3_column_int64(s, 5)};
        snprintf(ret->plugin, sizeof(ret->plugin), "%s", (const char *)sqlite3_column_text(s, 6));
        snprintf(ret->command, sizeof(ret->command), "%s", (const char *)sqlite3_column_text(s, 7));
    }
    sqlite3_finalize(s);
    return r;
}

static int complete(struct bus *bus, int64_t job, int64_t attempt, const struct outcome *o)
{
    struct queued_job row;
    int r = load_job(bus, job, &row);

    if (r == 0)
        r = record_end(bus, job, attempt, o);
    if (r == 0)
        r = queue_move(bus, job, attempt, "running", o->state, o->reason);
    if (r == 0 && str_eq(o->state, "succeeded")) {
        r = merge_state(bus, row.plugin, &o->response);
        if (r == 0)
            r = route_success(bus, &row, &o->response);
    }
    if (r == 0 && (str_eq(o->state, "failed") || str_eq(o->state, "timed_out")))
        r = queue_retry(bus, job, attempt, o->state, o->retry);
    if (r == 0)
        r = route_ended(bus, job);
    return r;
}

static void finish(struct bus *bus, int64_t job, int64_t attempt, struct outcome *o)
{
    int r = ledger_begin(&bus->ledger);

    if (r == 0)
        r = complete(bus, job, attempt, o);
    if (r == -EFBIG) { // its state is over limits.state: nothing of it is kept, and the job failed
        ledger_rollback(&bus->ledger);
        struct outcome over = {.state = "failed", .retry = false};
        snprintf(over.reason, sizeof(over.reason), "state-limit");
        finish(bus, job, attempt, &over);
        return;
    }
    if (r == 0)
        r = ledger_commit(&bus->ledger);
    if (r < 0) {
        ledger_rollback(&bus->ledger);
        bus_die("the end of job %lld cannot be written: %s", (long long)job, bus->ledger.error);
    }
}

static void refuse_unsent(struct bus *bus, const struct queued_job *j, int error)
{
    struct outcome o = {.state = "refused", .retry = false};

    snprintf(o.reason, sizeof(o.reason),
             error == -EFBIG ? "request-limit: the request is larger than limits.request" : "request: %s",
             strerror(-error));
    finish(bus, j->id, j->attempt, &o);
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

    while (!bus->stopping && bus->n_runs < bus->config->max_workers) {
        struct queued_job j = {0};
        r = queue_next(bus, &j);
        if (r <= 0)
            break;
        r = queue_start(bus, &j);
        if (r == 0) {
            r = send_spawn(bus, &j);
            if (r == 0)
                new_run(bus, &j);
            else
                refuse_unsent(bus, &j, r);
            r = 0;
        }
        queued_job_free(&j);
        if (r < 0 && r != -ESTALE)
            break;
    }
    if (r < 0 && r != -ESTALE)
        bus_die("the queue cannot be read: %s", bus->ledger.error);
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
        close_output(o->run->bus, o);
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
    char layers[256], caps[64], lock[2 * TREE_HASH_LEN + 1];
    const struct privs_record *p = &m->record;

    if (!run || run->started || m->attempt != run->attempt || m->mode >= MODE_COUNT_)
        bus_die("the warden started job %llu, which nobody asked for", (unsigned long long)m->job);
    run->started = true;
    watch_output(bus, &run->out, out_fd);
    watch_output(bus, &run->err, err_fd);
    wall_layers_text(m->layers, layers, sizeof(layers));
    str_hex(m->lock_hash, TREE_HASH_LEN, lock);
    snprintf(caps, sizeof(caps), "eff=%llx prm=%llx inh=%llx amb=%u", (unsigned long long)p->caps_effective,
             (unsigned long long)p->caps_permitted, (unsigned long long)p->caps_inheritable, p->n_ambient);
    int r = ledger_run(
        &bus->ledger, NULL,
        "UPDATE job_attempt SET account=?, mode=?, pid=?, start_ticks=?, boot_id=?, uid=?, gid=?, groups=?,"
        " caps=?, no_new_privs=?, layers=?, lock_hash=? WHERE job=? AND attempt=?",
        "ssiisiiisissii", m->account, account_mode_name((enum account_mode)m->mode), (int64_t)m->pid,
        (int64_t)m->start_ticks, bus->boot_id, (int64_t)p->euid, (int64_t)p->egid, (int64_t)p->n_groups, caps,
        (int64_t)p->no_new_privs, layers, lock, run->job, (int64_t)run->attempt);
    if (r < 0)
        bus_die("the start of job %lld cannot be written: %s", (long long)run->job, bus->ledger.error);
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
    finish(bus, run->job, run->attempt, &o);
    drop_run(bus, run);
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
        snprintf(o->reason, sizeof(o->reason), "timeout, left_behind=%u", m->left_behind);
    } else if (m->reason == REASON_STOPPING) {
        o->state = "queued";
        snprintf(o->reason, sizeof(o->reason), "stopping");
    } else if (m->reason == REASON_CANCELLED) {
        o->state = "cancelled";
        snprintf(o->reason, sizeof(o->reason), "cancelled");
    } else if (m->reason != REASON_NONE)
        snprintf(o->reason, sizeof(o->reason), "%s", proto_reason_word((enum proto_reason)m->reason));
    else if (m->signal)
        snprintf(o->reason, sizeof(o->reason), "signal %d", m->signal);
    else if (m->exit_code != 0) {
        o->retry = m->exit_code != 78; // a permanent configuration failure, by the protocol
        snprintf(o->reason, sizeof(o->reason), "exit %d", m->exit_code);
    } else
        judge_response(bus, run, o);
}

static int record_exit(struct bus *bus, const struct run *run, const struct proto_exited *m)
{
    uint8_t hash[TREE_HASH_LEN];
    char out[2 * TREE_HASH_LEN + 1], err[2 * TREE_HASH_LEN + 1];

    crypto_generichash(hash, sizeof(hash), (const unsigned char *)(run->out.text.p ? run->out.text.p : ""),
                       run->out.text.len, NULL, 0);
    str_hex(hash, sizeof(hash), out);
    crypto_generichash(hash, sizeof(hash), (const unsigned char *)(run->err.text.p ? run->err.text.p : ""),
                       run->err.text.len, NULL, 0);
    str_hex(hash, sizeof(hash), err);
    return ledger_run(
        &bus->ledger, NULL,
        "UPDATE job_attempt SET exit_code=?, signal=?, left_behind=?, delivered=?, user_us=?, system_us=?,"
        " max_rss_kib=?, masked=?, stdout_len=?, stdout_hash=?, stderr_len=?, stderr_hash=? WHERE job=? AND attempt=?",
        "iiiiiiiiisisii", (int64_t)m->exit_code, (int64_t)m->signal, (int64_t)m->left_behind,
        (int64_t)m->delivered, (int64_t)m->user_us, (int64_t)m->system_us, (int64_t)m->max_rss_kib,
        (int64_t)run->masked, (int64_t)run->out.total, out, (int64_t)run->err.total, err, run->job,
        (int64_t)run->attempt);
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
    if (record_exit(bus, run, m) < 0)
        bus_die("the exit of job %lld cannot be written: %s", (long long)run->job, bus->ledger.error);
    finish(bus, run->job, run->attempt, &o);
    response_free(&o.response);
    drop_run(bus, run);
    dispatch(bus);
}

// The names in a delivery's detail go into the attempt's record too.
static int record_names(struct bus *bus, const json_t *detail, int64_t job)
{
    OWNED(freep) char *names = json_dumps(json_object_get(detail, "names"), JSON_COMPACT);

    if (!names)
        return 0;
    return ledger_run(
        &bus->ledger, NULL,
        "UPDATE job_attempt SET secrets=? WHERE job=? AND attempt=(SELECT attempt FROM job WHERE id=?)",
        "sii", names, job, job);
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

    if (detail) {
        r = ledger_begin(&bus->ledger);
        if (r == 0)
            r = record_names(bus, detail, (int64_t)m->job);
        if (r == 0)
            r = ledger_audit(&bus->ledger, "ductile-run", (uid_t)bus->config->uid, (enum audit_kind)m->kind,
                             m->subject, text, &seq);
        if (r == 0)
            r = ledger_commit(&bus->ledger);
        if (r < 0)
            ledger_rollback(&bus->ledger);
    } else
        r = -EBADMSG;
    if (r < 0)
        log_warn("a fact about job %llu was not recorded: %s", (unsigned long long)m->job, bus->ledger.error);
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
        m.KILL.job = (uint64_t)run->job;
        m.KILL.reason = REASON_STOPPING;
        send_or_die(bus, &m, PROTO_KILL, NULL);
    }
}
