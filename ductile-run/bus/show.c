// What the API tells: rows of the ledger as JSON, and the posture as four facts told apart - valid (the
// config), attested (the code), enforcing (the drop), proven (the wall, with its time).
#include "bus.h"
#include "egress.h"
#include "wall.h"
#include <string.h>

// One row as an object: names are the columns', `json` columns are embedded.
static json_t *row_object(sqlite3_stmt *s)
{
    static const char *const embedded[] = {"payload", "result", "secrets", "detail"};
    json_t *o = json_object();

    for (int i = 0; o && i < sqlite3_column_count(s); i++) {
        const char *name = sqlite3_column_name(s, i), *text = (const char *)sqlite3_column_text(s, i);
        json_t *value = NULL;
        bool embed = false;
        for (size_t k = 0; k < ARRAY_LEN(embedded); k++)
            embed |= str_eq(name, embedded[k]);
        if (sqlite3_column_type(s, i) == SQLITE_NULL)
            continue;
        if (sqlite3_column_type(s, i) == SQLITE_INTEGER)
            value = json_integer(sqlite3_column_int64(s, i));
        else
            value = embed ? json_loads(text, JSON_DECODE_ANY, NULL) : json_string(text);
        if (!value || json_object_set_new(o, name, value) < 0)
            json_decrefp(&o);
    }
    return o;
}

static json_t *rows(struct bus *bus, const char *sql, const char *types, int64_t a, const char *b)
{
    sqlite3_stmt *s = str_eq(types, "i")    ? ledger_query(&bus->ledger, sql, "i", a)
                      : str_eq(types, "si") ? ledger_query(&bus->ledger, sql, "si", b, a)
                                            : ledger_query(&bus->ledger, sql, "");
    json_t *list = json_array();

    while (s && list && sqlite3_step(s) == SQLITE_ROW)
        json_array_append_new(list, row_object(s));
    sqlite3_finalize(s);
    return list;
}

#define JOB_COLUMNS                                                                                          \
    "id, plugin, command, state, attempt, max_attempts, reason, created_ms, started_ms, ended_ms, "          \
    "submitted_by, parent, pipeline_run, step"

json_t *show_jobs(struct bus *bus, const char *state, int64_t limit)
{
    json_t *list =
        state ? rows(bus, "SELECT " JOB_COLUMNS " FROM job WHERE state=? ORDER BY id DESC LIMIT ?", "si",
                     limit, state)
              : rows(bus, "SELECT " JOB_COLUMNS " FROM job ORDER BY id DESC LIMIT ?", "i", limit, NULL);

    return json_pack("{s:o}", "jobs", list);
}

json_t *show_job(struct bus *bus, int64_t id)
{
    json_t *found =
        rows(bus, "SELECT " JOB_COLUMNS ", payload, result, error, event, not_before_ms FROM job WHERE id=?",
             "i", id, NULL);
    json_t *job = json_incref(json_array_get(found, 0));

    json_decref(found);
    if (!job)
        return NULL;
    json_object_set_new(
        job, "transitions",
        rows(
            bus,
            "SELECT attempt, from_state, to_state, at_ms, reason FROM job_transition WHERE job=? ORDER BY id",
            "i", id, NULL));
    json_object_set_new(job, "attempts",
                        rows(bus, "SELECT * FROM job_attempt WHERE job=? ORDER BY attempt", "i", id, NULL));
    json_object_set_new(job, "events",
                        rows(bus, "SELECT id, type, at_ms, payload FROM event WHERE source_job=? ORDER BY id",
                             "i", id, NULL));
    // What led to it: the event, and the job that emitted that.
    json_t *causes = rows(
        bus,
        "SELECT id, type, source_plugin, source_job FROM event WHERE id=(SELECT event FROM job WHERE id=?)",
        "i", id, NULL);
    json_object_set(job, "cause_event",
                    json_array_size(causes) > 0 ? json_array_get(causes, 0) : json_null());
    json_decref(causes);
    json_object_set_new(
        job, "children",
        rows(bus, "SELECT " JOB_COLUMNS " FROM job WHERE parent=? ORDER BY id", "i", id, NULL));
    return job;
}

static json_t *accounts_of(struct bus *bus)
{
    json_t *list = json_array();

    for (size_t i = 0; i < bus->config->accounts.n; i++) {
        const struct account_config *a = &bus->config->accounts.list[i];
        json_t *egress = egress_has(a) ? json_array() : json_null(); // null: every network
        for (size_t j = 0; j < a->egress.n; j++)
            json_array_append_new(egress, json_string(a->egress.list[j]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:o}", "name", a->name, "mode",
                                              account_mode_name(a->mode), "user", a->user, "uid",
                                              (json_int_t)a->uid, "gid", (json_int_t)a->gid, "landlock",
                                              landlock_level_name((enum landlock_level)a->landlock), "egress",
                                              egress));
    }
    return list;
}

json_t *show_plugins(struct bus *bus)
{
    json_t *list = json_array();

    for (size_t i = 0; i < bus->catalog.n; i++) {
        const struct plugin *p = &bus->catalog.list[i];
        char hex[2 * TREE_HASH_LEN + 1];
        json_t *commands = json_array();
        str_hex(p->lock->tree.hash, TREE_HASH_LEN, hex);
        for (size_t j = 0; j < p->manifest->n_commands; j++)
            json_array_append_new(commands, json_string(p->manifest->commands[j].name));
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:s, s:s, s:o}", "name", p->name,
                                              "version", p->manifest->version, "enabled", p->enabled,
                                              "account", p->account ? p->account->name : "", "lock", hex,
                                              "code", p->lock->code, "commands", commands));
    }
    return json_pack("{s:o}", "plugins", list);
}

// The last run of the gate that tried the wall.
static json_t *proven_of(struct bus *bus)
{
    json_t *list = rows(
        bus, "SELECT at_ms, verb, outcome, probes FROM gate_run WHERE probes > 0 ORDER BY id DESC LIMIT 1",
        "", 0, NULL);
    json_t *row = json_incref(json_array_get(list, 0));

    json_decref(list);
    return row ? row : json_null();
}

// Accounts that the last prove found breached; the warden starts none of their jobs.
static json_t *breached_of(struct bus *bus)
{
    return rows(bus,
                "SELECT subject AS account, group_concat(evidence, '; ') AS what FROM gate_finding "
                "WHERE run=(SELECT max(id) FROM gate_run WHERE verb='prove') AND verdict='refuse' "
                "AND id IN ('GATE-WALL-01', 'GATE-EGRESS-01') GROUP BY subject ORDER BY subject",
                "", 0, NULL);
}

json_t *show_posture(struct bus *bus)
{
    const struct config *c = bus->config;

    return json_pack(
        "{s:s, s:s, s:b, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:i, s:b, s:s, s:s}", "instance",
        c->name, "posture", posture_name(c->posture), "valid", 1, "attested", (json_int_t)bus->catalog.n,
        "enforcing", c->posture != POSTURE_UNCONFINED, "proven", proven_of(bus), "breached", breached_of(bus),
        "accounts", accounts_of(bus), "queue",
        rows(bus, "SELECT state, count(*) AS n FROM job GROUP BY state ORDER BY state", "", 0, NULL),
        "refusals",
        rows(
            bus,
            "SELECT id, plugin, command, reason, ended_ms FROM job WHERE state='refused' ORDER BY ended_ms DESC LIMIT 5",
            "", 0, NULL),
        "workers", (json_int_t)c->max_workers, "started_ms", (json_int_t)bus->started_ms, "landlock_abi",
        bus->landlock_abi, "stopping", bus->stopping, "version", DUCTILE_VERSION, "ledger",
        bus->stalled ? bus->ledger.error : "ok");
}

json_t *show_health(struct bus *bus)
{
    json_t *proven = proven_of(bus);
    json_t *at = json_object_get(proven, "at_ms");
    json_t *breached = breached_of(bus);
    size_t n = json_array_size(breached); // how many: names are for /posture
    json_t *health = json_pack("{s:s, s:s, s:b, s:b, s:I, s:O}", "status",
                               bus->stopping  ? "stopping"
                               : bus->stalled ? "ledger-stalled"
                               : n > 0        ? "breached"
                                              : "ok",
                               "posture", posture_name(bus->config->posture), "live", 1, "ready",
                               !bus->stopping && !bus->stalled, "breached", (json_int_t)n, "proven_ms",
                               at ? at : json_null());

    json_decref(proven);
    json_decref(breached);
    return health;
}
