// Events. An event is a row first, then routed: to every pipeline whose `on` is its type, and to the next
// step of the pipeline that its job belongs to. All of it in the transaction that completes the job that
// emitted it.
#include "bus.h"
#include "log.h"
#include <stdio.h>
#include <string.h>

struct source {
    const struct queued_job *job;
    const char *type;
    const char *payload;
    const char *dedupe_key; // may be NULL
    int64_t event;
};

static void split_uses(const char *uses, char plugin[static LIMIT_NAME], char command[static LIMIT_NAME])
{
    const char *dot = strchr(uses, '.');

    snprintf(plugin, LIMIT_NAME, "%.*s", (int)(dot ? dot - uses : (long)strlen(uses)), uses);
    snprintf(command, LIMIT_NAME, "%s", dot ? dot + 1 : "handle");
}

// The job of one step, fed by an event.
// A run whose jobs have all ended has ended: well, if all of them did. run 0: every run.
static int end_run(struct bus *bus, int64_t run)
{
    return ledger_run(
        &bus->ledger, NULL,
        "UPDATE pipeline_run SET ended_ms=?, state=CASE WHEN EXISTS(SELECT 1 FROM job WHERE"
        " pipeline_run=pipeline_run.id AND state<>'succeeded') THEN 'failed' ELSE 'succeeded' END"
        " WHERE state='running' AND id BETWEEN ? AND ? AND NOT EXISTS(SELECT 1 FROM job WHERE"
        " pipeline_run=pipeline_run.id AND state IN ('queued','running'))",
        "iii", ledger_now_ms(), run, run > 0 ? run : INT64_MAX);
}

int route_settle(struct bus *bus)
{
    return end_run(bus, 0);
}

static int add_step(struct bus *bus, const struct pipeline_config *p, int64_t run, size_t step,
                    const struct source *s)
{
    char plugin[LIMIT_NAME], command[LIMIT_NAME], by[2 * LIMIT_NAME];
    int64_t id = 0, equals = 0;

    split_uses(p->steps.list[step].uses, plugin, command);
    snprintf(by, sizeof(by), "pipeline:%s/%s", p->name, p->steps.list[step].id);
    const struct new_job job = {
        .plugin = plugin,
        .command = command,
        .payload = s->payload,
        .submitted_by = by,
        .dedupe_key = s->dedupe_key,
        .parent = s->job->id,
        .event = s->event,
        .pipeline_run = run,
        .step = (int64_t)step + 1,
        .depth = s->job->depth + 1,
    };
    int r = queue_add(bus, &job, &id, &equals);
    if (r < 0)
        return r;
    if (equals > 0) // its step is that job, and what follows from it is that job's affair
        log_info("event %lld: step %s equals job %lld and was dropped", (long long)s->event, by,
                 (long long)equals);
    r = ledger_run(&bus->ledger, NULL, "INSERT INTO step_run(run, step, step_id, job) VALUES(?,?,?,?)",
                   "iisi", run, (int64_t)step + 1, p->steps.list[step].id, equals > 0 ? equals : id);
    if (r == 0 && equals == 0 && job.depth > LIMIT_ROUTE_DEPTH) // recorded, never dropped without a word
        r = queue_move(bus, id, 0, "queued", "failed", "max-depth");
    return r < 0 ? r : end_run(bus, run);
}

static int start_pipelines(struct bus *bus, const struct source *s)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < bus->config->pipelines.n; i++) {
        const struct pipeline_config *p = &bus->config->pipelines.list[i];
        int64_t run;
        if (!str_eq(p->on, s->type) || (p->from_plugin && !str_eq(p->from_plugin, s->job->plugin)))
            continue;
        r = ledger_run(&bus->ledger, &run,
                       "INSERT INTO pipeline_run(pipeline, event, state, created_ms) VALUES(?,?,'running',?)",
                       "sii", p->name, s->event, ledger_now_ms());
        if (r == 0)
            r = add_step(bus, p, run, 0, s);
    }
    return r;
}

static const struct pipeline_config *pipeline_of(struct bus *bus, int64_t run)
{
    sqlite3_stmt *s = ledger_query(&bus->ledger, "SELECT pipeline FROM pipeline_run WHERE id=?", "i", run);
    const struct pipeline_config *found = NULL;

    if (s && sqlite3_step(s) == SQLITE_ROW)
        for (size_t i = 0; i < bus->config->pipelines.n; i++)
            if (str_eq(bus->config->pipelines.list[i].name, (const char *)sqlite3_column_text(s, 0)))
                found = &bus->config->pipelines.list[i];
    sqlite3_finalize(s);
    return found;
}

static int next_step(struct bus *bus, const struct source *s)
{
    const struct pipeline_config *p = s->job->pipeline_run ? pipeline_of(bus, s->job->pipeline_run) : NULL;

    if (!p || (size_t)s->job->step >= p->steps.n) // the last one, or the config has changed since
        return 0;
    return add_step(bus, p, s->job->pipeline_run, (size_t)s->job->step, s);
}

static int add_event(struct bus *bus, struct source *s)
{
    return ledger_run(
        &bus->ledger, &s->event,
        "INSERT INTO event(at_ms, type, payload, source_plugin, source_job, dedupe_key) VALUES(?,?,?,?,?,?)",
        "isssis", ledger_now_ms(), s->type, s->payload, s->job->plugin, s->job->id, s->dedupe_key);
}

static int emit(struct bus *bus, const struct queued_job *job, const char *type, const json_t *payload,
                const char *dedupe_key, bool synthetic)
{
    OWNED(freep) char *text = payload ? json_dumps(payload, JSON_COMPACT) : strdup("{}");
    struct source s = {.job = job, .type = type, .payload = text, .dedupe_key = dedupe_key};
    int r = text ? add_event(bus, &s) : -ENOMEM;

    if (r == 0 && !synthetic)
        r = start_pipelines(bus, &s);
    return r < 0 ? r : next_step(bus, &s);
}

int route_success(struct bus *bus, const struct queued_job *job, const struct response *response)
{
    size_t i;
    json_t *e;
    int r = 0;

    json_array_foreach(response->events, i, e)
    {
        if (r < 0)
            break;
        r = emit(bus, job, json_string_value(json_object_get(e, "type")), json_object_get(e, "payload"),
                 json_string_value(json_object_get(e, "dedupe_key")), false);
    }
    // A step that emits nothing still advances its pipeline.
    if (r == 0 && json_array_size(response->events) == 0 && job->pipeline_run) {
        OWNED(json_decrefp) json_t *payload = json_pack("{s:O}", "result", response->result);
        r = emit(bus, job, "ductile.step.succeeded", payload, NULL, true);
    }
    return r;
}

int route_ended(struct bus *bus, int64_t job)
{
    sqlite3_stmt *s = ledger_query(&bus->ledger, "SELECT pipeline_run FROM job WHERE id=?", "i", job);
    int64_t run = s && sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;

    sqlite3_finalize(s);
    if (!s)
        return -EIO;
    return run == 0 ? 0 : end_run(bus, run);
}

// ---- webhooks -----------------------------------------------------------------------------------

// The first step of its pipeline: nobody's child, so one level above a child of nobody.
static int start_pipeline(struct bus *bus, const struct pipeline_config *p, const char *payload,
                          int64_t event, int64_t *ret_job)
{
    static const struct queued_job nobody = {.depth = -1};
    const struct source s = {.job = &nobody, .payload = payload, .event = event};
    int64_t run;
    int r = ledger_run(&bus->ledger, &run,
                       "INSERT INTO pipeline_run(pipeline, event, state, created_ms) VALUES(?,?,'running',?)",
                       "sii", p->name, event, ledger_now_ms());

    if (r == 0)
        r = add_step(bus, p, run, 0, &s);
    sqlite3_stmt *q =
        r < 0 ? NULL : ledger_query(&bus->ledger, "SELECT job FROM step_run WHERE run=?", "i", run);
    if (r == 0)
        r = q && sqlite3_step(q) == SQLITE_ROW ? 0 : -EIO;
    if (r == 0)
        *ret_job = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return r;
}

int route_webhook(struct bus *bus, const struct webhook_config *hook, const char *payload, const char *mark,
                  int64_t *ret_job)
{
    char by[2 * LIMIT_NAME];
    int64_t event = 0, equals = 0;
    int r = ledger_begin(&bus->ledger);

    snprintf(by, sizeof(by), "webhook:%s", hook->name);
    if (r < 0)
        return r;
    r = ledger_run(&bus->ledger, &event,
                   "INSERT INTO event(at_ms, type, payload, source_plugin, dedupe_key) VALUES(?,?,?,?,?)",
                   "issss", ledger_now_ms(), EVENT_WEBHOOK, payload, by, mark);
    if (r == 0 && hook->plugin) {
        const struct new_job job = {.plugin = hook->plugin,
                                    .command = "handle",
                                    .payload = payload,
                                    .submitted_by = by,
                                    .event = event};
        r = queue_add(bus, &job, ret_job, &equals);
    } else if (r == 0)
        r = start_pipeline(bus, config_pipeline(bus->config, hook->pipeline), payload, event, ret_job);
    if (r == 0)
        r = ledger_commit(&bus->ledger);
    if (r < 0)
        ledger_rollback(&bus->ledger);
    return r;
}
