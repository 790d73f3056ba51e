// Jobs in the ledger. Every change of state is one guarded UPDATE (state and attempt it leaves) and one row
// that says why; what belongs together is in one transaction.
#include "bus.h"
#include "jobstate.h"
#include "log.h"
#include <stdio.h>
#include <string.h>

static int64_t column(sqlite3_stmt *s, int i)
{
    return sqlite3_column_int64(s, i);
}

static int transition(struct bus *bus, int64_t job, int64_t attempt, const char *from, const char *to,
                      const char *reason)
{
    return ledger_run(
        &bus->ledger, NULL,
        "INSERT INTO job_transition(job, attempt, from_state, to_state, at_ms, reason) VALUES(?,?,?,?,?,?)",
        "iissis", job, attempt, from, to, ledger_now_ms(), reason);
}

// ---- enqueue ------------------------------------------------------------------------------------

// A key equal to one that is queued or running, or succeeded within dedupe_ttl, for the same plugin and
// command.
static int64_t find_equal(struct bus *bus, const struct new_job *j)
{
    if (!j->dedupe_key)
        return 0;
    sqlite3_stmt *s = ledger_query(&bus->ledger,
                                   "SELECT id FROM job WHERE plugin=? AND command=? AND dedupe_key=? AND"
                                   " (state IN ('queued','running') OR (state='succeeded' AND ended_ms > ?))"
                                   " ORDER BY id DESC LIMIT 1",
                                   "sssi", j->plugin, j->command, j->dedupe_key,
                                   ledger_now_ms() - (int64_t)bus->config->dedupe_ttl);
    int64_t id = s && sqlite3_step(s) == SQLITE_ROW ? column(s, 0) : s ? 0 : -1;
    sqlite3_finalize(s);
    return id;
}

static int insert(struct bus *bus, const struct new_job *j, int64_t *ret_id)
{
    const struct plugin_config *p = config_plugin(bus->config, j->plugin);
    int64_t now = ledger_now_ms(), max = p ? (int64_t)p->max_attempts : 4;
    int r =
        ledger_run(&bus->ledger, ret_id,
                   "INSERT INTO job(plugin, command, payload, state, max_attempts, not_before_ms, created_ms,"
                   " submitted_by, parent, depth, event, pipeline_run, step, dedupe_key, snapshot)"
                   " VALUES(?,?,?,'queued',?,?,?,?,NULLIF(?,0),?,NULLIF(?,0),NULLIF(?,0),NULLIF(?,0),?,?)",
                   "sssiiisiiiiisi", j->plugin, j->command, j->payload, max, now, now, j->submitted_by,
                   j->parent, j->depth, j->event, j->pipeline_run, j->step, j->dedupe_key, bus->snapshot_id);

    return r < 0 ? r : transition(bus, *ret_id, (int64_t)0, "", "queued", j->submitted_by);
}

int queue_add(struct bus *bus, const struct new_job *j, int64_t *ret_id, int64_t *ret_equals)
{
    bool own = sqlite3_get_autocommit(bus->ledger.db) != 0;
    int r = own ? ledger_begin(&bus->ledger) : 0;
    int64_t id = 0, equals = r == 0 ? find_equal(bus, j) : 0;

    if (equals < 0)
        r = -EIO;
    if (r == 0 && equals == 0)
        r = insert(bus, j, &id);
    if (own && r == 0)
        r = ledger_commit(&bus->ledger);
    if (r < 0) {
        if (own)
            ledger_rollback(&bus->ledger);
        return r;
    }
    *ret_id = id;
    *ret_equals = equals;
    return 0;
}

// ---- dequeue ------------------------------------------------------------------------------------

static unsigned running_of(const struct bus *bus, const char *plugin)
{
    unsigned n = 0;

    for (const struct run *run = bus->runs; run; run = run->next)
        n += str_eq(run->plugin, plugin);
    return n;
}

static bool may_run(struct bus *bus, const char *plugin)
{
    const struct plugin *p = catalog_find(&bus->catalog, plugin);

    // A plugin that is gone or disabled is handed out all the same: the warden refuses it, and the record
    // says why.
    return !p || running_of(bus, plugin) < p->parallelism;
}

static int take_row(sqlite3_stmt *s, struct queued_job *ret)
{
    *ret = (struct queued_job){
        .id = column(s, 0),
        .attempt = column(s, 4),
        .max_attempts = column(s, 5),
        .event = column(s, 6),
        .pipeline_run = column(s, 7),
        .step = column(s, 8),
        .depth = column(s, 9),
    };
    snprintf(ret->plugin, sizeof(ret->plugin), "%s", (const char *)sqlite3_column_text(s, 1));
    snprintf(ret->command, sizeof(ret->command), "%s", (const char *)sqlite3_column_text(s, 2));
    ret->payload = strdup((const char *)sqlite3_column_text(s, 3));
    return ret->payload ? 1 : -ENOMEM;
}

int queue_next(struct bus *bus, struct queued_job *ret)
{
    int r = 0, step = SQLITE_ROW;

    bus->looked_ms = ledger_now_ms();
    // A job whose dedupe_key runs for the same target waits: FIFO for all others.
    sqlite3_stmt *s =
        ledger_query(&bus->ledger,
                     "SELECT id, plugin, command, payload, attempt, max_attempts, event, pipeline_run, step,"
                     " depth FROM job AS j WHERE state='queued' AND not_before_ms <= ? AND NOT EXISTS"
                     " (SELECT 1 FROM job AS k WHERE k.state='running' AND k.plugin=j.plugin AND"
                     "  k.command=j.command AND k.dedupe_key=j.dedupe_key) ORDER BY not_before_ms, id",
                     "i", bus->looked_ms);

    if (!s)
        return -EIO;
    while (r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW)
        if (may_run(bus, (const char *)sqlite3_column_text(s, 1)))
            r = take_row(s, ret);
    if (r == 0 && step != SQLITE_DONE)
        r = ledger_failed(&bus->ledger);
    sqlite3_finalize(s);
    return r;
}

void queued_job_free(struct queued_job *job)
{
    free(job->payload);
    *job = (struct queued_job){0};
}

int64_t queue_due_ms(struct bus *bus)
{
    int64_t due = INT64_MAX;
    sqlite3_stmt *s = ledger_query(
        &bus->ledger, "SELECT min(not_before_ms) FROM job WHERE state='queued' AND not_before_ms > ?", "i",
        bus->looked_ms);

    if (s && sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL)
        due = column(s, 0);
    sqlite3_finalize(s);
    return due;
}

// ---- transitions --------------------------------------------------------------------------------

int queue_move(struct bus *bus, int64_t job, int64_t attempt, const char *from, const char *to,
               const char *reason)
{
    int r =
        ledger_run(&bus->ledger, NULL,
                   "UPDATE job SET state=?, reason=?, ended_ms=CASE WHEN ? THEN ? ELSE NULL END"
                   " WHERE id=? AND state=? AND attempt=?",
                   "ssiiisi", to, reason, (int64_t)jobstate_over(to), ledger_now_ms(), job, from, attempt);

    if (r < 0)
        return r;
    if (ledger_changes(&bus->ledger) != 1)
        return -ESTALE;
    return transition(bus, job, attempt, from, to, reason);
}

int queue_start(struct bus *bus, struct queued_job *j)
{
    int64_t now = ledger_now_ms();
    int r = ledger_begin(&bus->ledger);

    if (r == 0)
        r = ledger_run(
            &bus->ledger, NULL,
            "UPDATE job SET attempt=attempt+1, started_ms=? WHERE id=? AND state='queued' AND attempt=?",
            "iii", now, j->id, j->attempt);
    if (r == 0 && ledger_changes(&bus->ledger) != 1)
        r = -ESTALE;
    if (r == 0)
        r = queue_move(bus, j->id, j->attempt + 1, "queued", "running", "dispatched");
    if (r == 0)
        r = ledger_run(&bus->ledger, NULL, "INSERT INTO job_attempt(job, attempt, started_ms) VALUES(?,?,?)",
                       "iii", j->id, j->attempt + 1, now);
    if (r == 0)
        r = ledger_commit(&bus->ledger);
    if (r < 0)
        ledger_rollback(&bus->ledger);
    else
        j->attempt++;
    return r;
}

static int64_t backoff_ms(struct bus *bus, const char *plugin, int64_t attempt)
{
    const struct plugin_config *p = config_plugin(bus->config, plugin);
    uint64_t base = p ? p->backoff_base : 30000, delay = base;
    uint32_t random;

    for (int64_t i = 1; i < attempt && delay < 86400000; i++)
        delay *= 2;
    sqlite3_randomness(sizeof(random), &random);
    return (int64_t)(delay + random % (base + 1));
}

static int read_attempts(struct bus *bus, int64_t job, int64_t *ret_max, char plugin[static LIMIT_NAME],
                         char cause[static 192])
{
    sqlite3_stmt *s =
        ledger_query(&bus->ledger, "SELECT max_attempts, plugin, reason FROM job WHERE id=?", "i", job);
    int r = s && sqlite3_step(s) == SQLITE_ROW ? 0 : ledger_failed(&bus->ledger);

    if (r == 0) {
        *ret_max = column(s, 0);
        snprintf(plugin, LIMIT_NAME, "%s", (const char *)sqlite3_column_text(s, 1));
        snprintf(cause, 192, "%.180s", (const char *)sqlite3_column_text(s, 2));
    }
    sqlite3_finalize(s);
    return r;
}

int queue_retry(struct bus *bus, int64_t job, int64_t attempt, const char *state, bool retry)
{
    char plugin[LIMIT_NAME] = "", cause[192] = "", reason[320];
    int64_t max = 0;
    int r = read_attempts(bus, job, &max, plugin, cause);

    if (r < 0 || !retry)
        return r;
    if (attempt >= max) {
        // What happened stays in front: it is what `job list` shows.
        snprintf(reason, sizeof(reason), "%s%sattempt %lld of %lld", cause, cause[0] ? "; " : "",
                 (long long)attempt, (long long)max);
        return queue_move(bus, job, attempt, state, "dead", reason);
    }
    int64_t delay = backoff_ms(bus, plugin, attempt);
    r = ledger_run(&bus->ledger, NULL, "UPDATE job SET not_before_ms=? WHERE id=?", "ii",
                   ledger_now_ms() + delay, job);
    snprintf(reason, sizeof(reason), "retry %lld of %lld in %lld ms", (long long)attempt + 1, (long long)max,
             (long long)delay);
    return r < 0 ? r : queue_move(bus, job, attempt, state, "queued", reason);
}

static int recover_one(struct bus *bus, int64_t job, int64_t attempt, int64_t max)
{
    const char *why = "recovered: the gateway ended while it ran; what was left of it was killed";
    int r = ledger_run(&bus->ledger, NULL,
                       "UPDATE job_attempt SET outcome='lost', ended_ms=? WHERE job=? AND attempt=?", "iii",
                       ledger_now_ms(), job, attempt);

    if (r < 0)
        return r;
    return queue_move(bus, job, attempt, "running", attempt < max ? "queued" : "dead", why);
}

int queue_recover(struct bus *bus)
{
    int r = ledger_begin(&bus->ledger), step = SQLITE_DONE, n = 0;
    sqlite3_stmt *s =
        ledger_query(&bus->ledger, "SELECT id, attempt, max_attempts FROM job WHERE state='running'", "");

    if (r == 0 && !s)
        r = -EIO;
    while (r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW) {
        r = recover_one(bus, column(s, 0), column(s, 1), column(s, 2));
        n++;
    }
    sqlite3_finalize(s);
    if (r == 0 && step != SQLITE_DONE)
        r = -EIO;
    if (r == 0)
        r = ledger_commit(&bus->ledger);
    if (r < 0)
        ledger_rollback(&bus->ledger);
    else if (n > 0)
        log_info("%d jobs of an earlier run were found running", n);
    return r < 0 ? r : n;
}
