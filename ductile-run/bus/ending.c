// The end of an attempt: its start, its exit, its outcome, its events and the jobs they start are one
// transaction. What the ledger cannot take - a full disk - is kept here and tried again, and until then no
// new work begins. Nothing that was acknowledged is lost by that: a gateway that ends meanwhile finds those
// jobs running, and runs them again.
#include "bus.h"
#include "fd.h"
#include "log.h"
#include "wall.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

void output_close(struct bus *bus, struct output *o)
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
    output_close(bus, &run->out);
    output_close(bus, &run->err);
    sb_free(&run->out.text);
    sb_free(&run->err.text);
    mask_free(&run->mask);
    if (run->end)
        response_free(&run->end->response);
    free(run->end);
    free(run);
}

// ---- rows ---------------------------------------------------------------------------------------

static int record_start(struct bus *bus, const struct run *run)
{
    const struct proto_started *m = &run->begun;
    char layers[256], caps[64], lock[2 * TREE_HASH_LEN + 1];
    const struct privs_record *p = &m->record;

    wall_layers_text(m->layers, layers, sizeof(layers));
    str_hex(m->lock_hash, TREE_HASH_LEN, lock);
    snprintf(caps, sizeof(caps), "eff=%llx prm=%llx inh=%llx amb=%u", (unsigned long long)p->caps_effective,
             (unsigned long long)p->caps_permitted, (unsigned long long)p->caps_inheritable, p->n_ambient);
    return ledger_run(
        &bus->ledger, NULL,
        "UPDATE job_attempt SET account=?, mode=?, pid=?, start_ticks=?, boot_id=?, uid=?, gid=?, groups=?,"
        " caps=?, no_new_privs=?, layers=?, lock_hash=? WHERE job=? AND attempt=?",
        "ssiisiiisissii", m->account, account_mode_name((enum account_mode)m->mode), (int64_t)m->pid,
        (int64_t)m->start_ticks, bus->boot_id, (int64_t)p->euid, (int64_t)p->egid, (int64_t)p->n_groups, caps,
        (int64_t)p->no_new_privs, layers, lock, run->job, (int64_t)run->attempt);
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

// What the plugin keeps so far. Only "there is no row" is an empty state: one that cannot be read must not be
// written over.
static int load_state(struct bus *bus, const char *plugin, json_t **ret)
{
    sqlite3_stmt *s =
        ledger_query(&bus->ledger, "SELECT state FROM plugin_state WHERE plugin=?", "s", plugin);
    int step = s ? sqlite3_step(s) : SQLITE_ERROR, r = 0;

    if (step == SQLITE_ROW)
        *ret = json_loads((const char *)sqlite3_column_text(s, 0), 0, NULL);
    else if (step == SQLITE_DONE)
        *ret = json_object();
    else
        r = ledger_failed(&bus->ledger);
    sqlite3_finalize(s);
    return r;
}

static int merge_state(struct bus *bus, const char *plugin, const struct response *response)
{
    if (!response->state_updates || json_object_size(response->state_updates) == 0)
        return 0;
    OWNED(json_decrefp) json_t *state = NULL;
    int r = load_state(bus, plugin, &state);
    if (r < 0)
        return r;
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
    int r = s && sqlite3_step(s) == SQLITE_ROW ? 0 : ledger_failed(&bus->ledger);

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

// ---- writing, now or later ----------------------------------------------------------------------

static int write_all(struct bus *bus, const struct run *run)
{
    int r = ledger_begin(&bus->ledger);

    if (r == 0 && run->start_due)
        r = record_start(bus, run);
    if (r == 0 && run->exit_due)
        r = record_exit(bus, run, &run->exited);
    if (r == 0 && run->end)
        r = complete(bus, run->job, run->attempt, run->end);
    return r < 0 ? r : ledger_commit(&bus->ledger);
}

// Nothing of its answer is kept, and the job failed.
static void without_answer(struct outcome *o, const char *reason)
{
    response_free(&o->response);
    *o = (struct outcome){.state = "failed"};
    snprintf(o->reason, sizeof(o->reason), "%s", reason);
}

static bool write_run(struct bus *bus, struct run *run)
{
    int r = write_all(bus, run);

    // Its state is over limits.state, or the ledger refuses a row for what is in it: no answer of a plugin
    // may end the gateway.
    if (r < 0 && run->end && run->end->response.root && (r == -EFBIG || !bus->ledger.waits)) {
        char reason[200];
        snprintf(reason, sizeof(reason), "protocol: the ledger does not take it: %.120s", bus->ledger.error);
        ledger_rollback(&bus->ledger);
        without_answer(run->end, r == -EFBIG ? "state-limit" : reason);
        r = write_all(bus, run);
    }
    if (r < 0) {
        char what[64];
        snprintf(what, sizeof(what), "the %s of job %lld", run->end ? "end" : "start", (long long)run->job);
        ledger_rollback(&bus->ledger);
        bus_stall(bus, what);
        return false;
    }
    run->start_due = run->exit_due = false;
    return true;
}

void ending_started(struct bus *bus, struct run *run, const struct proto_started *m)
{
    run->begun = *m;
    run->start_due = true;
    if (!bus->stalled)
        (void)write_run(bus, run);
}

void ending_take(struct bus *bus, struct run *run, const struct outcome *o)
{
    run->end = malloc(sizeof(*run->end));
    if (!run->end)
        bus_die("out of memory");
    *run->end = *o;
    // It may name a file, and be cut: what is no text cannot be shown as JSON.
    str_make_utf8(run->end->reason);
    output_close(bus, &run->out);
    output_close(bus, &run->err);
    if (!bus->stalled && write_run(bus, run))
        drop_run(bus, run);
}

unsigned ending_settle(struct bus *bus)
{
    unsigned left = 0;
    bool writes = true;

    for (struct run *run = bus->runs, *next; run; run = next) {
        next = run->next;
        if (writes && (run->start_due || run->end))
            writes = write_run(bus, run);
        if (run->end && writes)
            drop_run(bus, run);
        else
            left += run->end != NULL;
    }
    return left;
}

static void on_stall(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct bus *bus = timer->data;
    (void)loop;
    (void)events;

    bus->stalled = false;
    ending_settle(bus);
    if (!bus->stalled && !book_settle(bus))
        bus_stall(bus, "a fact");
    if (!bus->stalled)
        dispatch(bus);
    if (!bus->stalled) {
        bus->stall_said = false;
        log_info("the ledger can be written again");
    }
    end_if_idle(bus);
}

void ending_init(struct bus *bus)
{
    ev_timer_init(&bus->stall_timer, on_stall, 0.0, 0.0);
    bus->stall_timer.data = bus;
}

void bus_stall(struct bus *bus, const char *what)
{
    if (!bus->ledger.waits)
        bus_die("%s cannot be written: %s", what, bus->ledger.error);
    if (!bus->stall_said)
        log_msg(LOG_LEVEL_ERR, "%s cannot be written: %s; no work begins until it can", what,
                bus->ledger.error);
    bus->stalled = bus->stall_said = true;
    ev_timer_set(&bus->stall_timer, 1.0, 0.0);
    ev_timer_start(bus->loop, &bus->stall_timer);
}
