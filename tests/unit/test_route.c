// needs: ductile-run/bus/route.c ductile-run/bus/response.c
// needs: ductile-run/bus/queue.c ductile-run/bus/plugins.c
#include "../../ductile-run/bus/bus.h"
#include "log.h"
#include "unit.h"

static const char yaml[] =
    "pipelines:\n"
    "  - {name: three, on: a.b, steps: [{uses: p}, {uses: q.poll, id: second}, {uses: r}]}\n"
    "  - {name: from, on: a.b, from_plugin: src, steps: [{uses: q.write}]}\n"
    "  - {name: longer, on: a.b.c, steps: [{uses: x}]}\n"
    "  - {name: shorter, on: a, steps: [{uses: x}]}\n"
    "  - {name: upper, on: A.B, steps: [{uses: x}]}\n"
    "  - {name: again, on: again, steps: [{uses: same}]}\n"
    "  - {name: again_too, on: again, steps: [{uses: same.poll}]}\n"
    "  - {name: quiet, on: ductile.step.succeeded, steps: [{uses: x}]}\n"
    "  - {name: posted, on: ductile.webhook, steps: [{uses: x}]}\n"
    "webhooks:\n"
    "  - {name: one, secret_ref: k, plugin: p, accept_untrusted_input: true}\n"
    "  - {name: flow, secret_ref: l, pipeline: three, accept_untrusted_input: true}\n";

#include "bus_lab.h"

// All rows of a query of one column, one a line.
static const char *rows_of(struct lab *lab, const char *query)
{
    static char text[4096];
    sqlite3_stmt *s = ledger_query(&lab->bus.ledger, query, "");
    assert_non_null(s);
    text[0] = '\0';
    while (sqlite3_step(s) == SQLITE_ROW)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s\n",
                 sqlite3_column_type(s, 0) == SQLITE_NULL ? "NULL" : (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return text;
}

static void rows_are(struct lab *lab, const char *query, const char *expected)
{
    const char *rows = rows_of(lab, query);
    if (!str_eq(rows, expected))
        fail_msg("%s:\n%sinstead of\n%s", query, rows, expected);
}

static int64_t number_of(struct lab *lab, const char *query)
{
    return strtoll(rows_of(lab, query), NULL, 10);
}

static const char new_jobs[] =
    "SELECT submitted_by || ' ' || plugin || '.' || command || ' ' || state FROM job"
    " WHERE submitted_by <> 'test' ORDER BY id";

// ---- doing ------------------------------------------------------------------------------------------

// A job of plugin that succeeded, as dispatch.c loads it.
static struct queued_job ended_job(struct lab *lab, const char *plugin, int64_t depth)
{
    int64_t id = 0, equals = 0;
    const struct new_job n = {
        .plugin = plugin, .command = "handle", .payload = "{}", .submitted_by = "test", .depth = depth};
    assert_int_equal(queue_add(&lab->bus, &n, &id, &equals), 0);
    struct queued_job j = {.id = id, .depth = depth};
    snprintf(j.plugin, sizeof(j.plugin), "%s", plugin);
    snprintf(j.command, sizeof(j.command), "handle");
    assert_int_equal(queue_start(&lab->bus, &j), 0);
    assert_int_equal(queue_move(&lab->bus, id, 1, "running", "succeeded", "x"), 0);
    return j;
}

// The oldest queued job, run to `state`.
static struct queued_job run_next(struct lab *lab, const char *state)
{
    struct queued_job j = {0};
    assert_int_equal(queue_next(&lab->bus, &j), 1);
    assert_int_equal(queue_start(&lab->bus, &j), 0);
    assert_int_equal(queue_move(&lab->bus, j.id, j.attempt, "running", state, "x"), 0);
    free(ptr_take(&j.payload));
    return j;
}

static int try_route(struct lab *lab, const struct queued_job *j, const char *events)
{
    struct response r;
    char text[2048], why[160];
    int n = snprintf(text, sizeof(text), "{\"status\":\"ok\",\"result\":{\"n\":7},\"events\":%s}", events);
    if (response_parse(lab->bus.config, text, (size_t)n, &(struct mask_set){0}, &(long){0}, &r, why) < 0)
        fail_msg("%s: %s", why, text);
    int e = route_success(&lab->bus, j, &r);
    response_free(&r);
    return e;
}

static void route(struct lab *lab, const struct queued_job *j, const char *events)
{
    assert_int_equal(try_route(lab, j, events), 0);
}

// ---- which pipelines --------------------------------------------------------------------------------

static void test_route_success__exact_type_to_every_match(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "src", 0);
    route(lab, &j, "[{\"type\":\"a.b\",\"payload\":{\"x\":1}}]");
    rows_are(lab, new_jobs,
             "pipeline:three/step_1 p.handle queued\n"
             "pipeline:from/step_1 q.write queued\n");
    rows_are(lab, "SELECT pipeline || ' ' || state || ' ' || event FROM pipeline_run ORDER BY id",
             "three running 1\nfrom running 1\n"); // one event, a run each
    rows_are(lab, "SELECT type || ' ' || payload || ' ' || source_plugin || ' ' || source_job FROM event",
             "a.b {\"x\":1} src 1\n");
}

static void test_route_success__each_type_its_own(void **s)
{
    static const struct {
        const char *type, *pipelines;
    } cases[] = {
        {"a", "shorter\n"},
        {"a.b.c", "longer\n"},
        {"A.B", "upper\n"},
        {"a.b", "three\nfrom\n"},
        {"a.", ""},
        {"a.b.", ""},
        {"a.bb", ""},
        {"a.*", ""},
        {"*", ""},
        {" a.b", ""},
        {"a.B", ""},
        {"a.b%", ""},
        {"again", "again\nagain_too\n"},
    };
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "src", 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char events[64];
        snprintf(events, sizeof(events), "[{\"type\":\"%s\"}]", cases[i].type);
        route(lab, &j, events);
        rows_are(lab, "SELECT pipeline FROM pipeline_run WHERE event=(SELECT max(id) FROM event) ORDER BY id",
                 cases[i].pipelines);
    }
    // a row first: those that nobody waits for are events too
    assert_int_equal(number_of(lab, "SELECT count(*) FROM event"), ARRAY_LEN(cases));
}

static void test_route_success__from_plugin(void **s)
{
    struct lab *lab = *s;
    struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    rows_are(lab, "SELECT pipeline FROM pipeline_run", "three\n");
    j = ended_job(lab, "srcs", 0); // a name that begins alike
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    rows_are(lab, "SELECT pipeline FROM pipeline_run", "three\nthree\n");
    j = ended_job(lab, "src", 0); // control
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    rows_are(lab, "SELECT pipeline FROM pipeline_run ORDER BY id", "three\nthree\nthree\nfrom\n");
}

static void test_route_success__what_the_job_gets(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 4);
    route(lab, &j,
          "[{\"type\":\"a.b\",\"payload\":{\"deep\":[1,{\"s\":\"\\u00e4\\n\"}]},\"dedupe_key\":\"k\"}]");
    rows_are(lab,
             "SELECT parent || ' ' || depth || ' ' || event || ' ' || pipeline_run || ' ' || step || ' ' ||"
             " dedupe_key || ' ' || attempt FROM job WHERE plugin='p'",
             "1 5 1 1 1 k 0\n");
    rows_are(lab, "SELECT payload FROM job WHERE plugin='p'", "{\"deep\":[1,{\"s\":\"\xc3\xa4\\n\"}]}\n");
    rows_are(lab, "SELECT run || ' ' || step || ' ' || step_id || ' ' || job FROM step_run",
             "1 1 step_1 2\n");
    rows_are(lab, "SELECT dedupe_key FROM event", "k\n");
    rows_are(lab, "SELECT from_state || '>' || to_state || ' ' || reason FROM job_transition WHERE job=2",
             ">queued pipeline:three/step_1\n");
}

static void test_route_success__no_payload_is_an_empty_one(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a.b\"},{\"type\":\"a.b\",\"payload\":{},\"dedupe_key\":null}]");
    rows_are(lab, "SELECT payload FROM event", "{}\n{}\n");
    rows_are(lab, "SELECT payload FROM job WHERE plugin='p'", "{}\n{}\n");
    rows_are(lab, "SELECT dedupe_key FROM job WHERE plugin='p'", "NULL\nNULL\n");
}

static void test_route_success__equal_events_are_one_job(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j,
          "[{\"type\":\"again\",\"dedupe_key\":\"k\"},{\"type\":\"again\",\"dedupe_key\":\"k\"},"
          "{\"type\":\"again\",\"dedupe_key\":\"l\"}]");
    rows_are(lab, new_jobs, // another command is another target
             "pipeline:again/step_1 same.handle queued\npipeline:again_too/step_1 same.poll queued\n"
             "pipeline:again/step_1 same.handle queued\npipeline:again_too/step_1 same.poll queued\n");
    rows_are(lab, "SELECT dedupe_key FROM event", "k\nk\nl\n"); // the event happened all the same
    // the dropped ones' steps are the jobs they equal, and their runs have ended; the others go on
    assert_int_equal(number_of(lab, "SELECT count(*) FROM step_run"), 6);
    assert_int_equal(number_of(lab, "SELECT count(DISTINCT job) FROM step_run"), 4);
    rows_are(lab, "SELECT state || ' ' || count(*) FROM pipeline_run GROUP BY state ORDER BY state",
             "running 4\nsucceeded 2\n");
}

static void test_route_settle__runs_without_jobs_left(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    assert_true(number_of(lab, "SELECT count(*) FROM pipeline_run WHERE state='running'") > 0);
    assert_int_equal(route_settle(&lab->bus), 0);
    assert_true(number_of(lab, "SELECT count(*) FROM pipeline_run WHERE state='running'") >
                0); // theirs are queued
    sql(lab, "UPDATE job SET state='dead' WHERE state='queued'");
    assert_int_equal(route_settle(&lab->bus), 0);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM pipeline_run WHERE state='running'"), 0);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM pipeline_run WHERE state='succeeded'"), 0);
}

// ---- the next step ----------------------------------------------------------------------------------

static void test_route_success__next_step_by_its_events(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    const struct queued_job first = run_next(lab, "succeeded");
    route(lab, &first,
          "[{\"type\":\"any.one\",\"payload\":{\"k\":1}},{\"type\":\"any.two\",\"payload\":{\"k\":2}}]");
    rows_are(
        lab,
        "SELECT plugin || '.' || command || ' ' || payload || ' ' || step || ' ' || depth || ' ' || parent"
        " FROM job WHERE step=2 ORDER BY id",
        "q.poll {\"k\":1} 2 2 2\nq.poll {\"k\":2} 2 2 2\n");
    rows_are(lab, "SELECT submitted_by FROM job WHERE step=2 ORDER BY id",
             "pipeline:three/second\npipeline:three/second\n");
    rows_are(lab, "SELECT step || ' ' || step_id FROM step_run ORDER BY job",
             "1 step_1\n2 second\n2 second\n");
    assert_int_equal(number_of(lab, "SELECT count(*) FROM pipeline_run"), 1); // the same journey
}

static void test_route_success__next_step_and_other_pipelines(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    const struct queued_job first = run_next(lab, "succeeded");
    route(lab, &first, "[{\"type\":\"a\"}]");
    rows_are(lab, "SELECT submitted_by || ' ' || pipeline_run FROM job WHERE parent=2 ORDER BY id",
             "pipeline:shorter/step_1 2\npipeline:three/second 1\n");
}

static void test_route_success__emits_nothing_and_advances(void **s)
{
    static const char *const nothings[] = {"[]", "null"};
    struct lab *lab = *s;
    for (size_t i = 0; i < ARRAY_LEN(nothings); i++) {
        const struct queued_job j = ended_job(lab, "other", 0);
        route(lab, &j, "[{\"type\":\"a.b\"}]");
        const struct queued_job first = run_next(lab, "succeeded");
        route(lab, &first, nothings[i]);
        rows_are(lab,
                 "SELECT type || ' ' || payload || ' ' || source_plugin FROM event ORDER BY id DESC LIMIT 1",
                 "ductile.step.succeeded {\"result\":{\"n\":7}} p\n");
        rows_are(lab,
                 "SELECT submitted_by || ' ' || payload || ' ' || state FROM job ORDER BY id DESC LIMIT 1",
                 "pipeline:three/second {\"result\":{\"n\":7}} queued\n");
        const struct queued_job second = run_next(lab, "succeeded");
        route(lab, &second, nothings[i]);
        const struct queued_job third = run_next(lab, "succeeded");
        assert_string_equal(third.plugin, "r");
        route(lab, &third, nothings[i]); // there is no fourth
        assert_int_equal(number_of(lab, "SELECT count(*) FROM job WHERE state='queued'"), 0);
    }
    // it belongs to its pipeline: `on: ductile.step.succeeded` hears nothing of it
    rows_are(lab, "SELECT DISTINCT pipeline FROM pipeline_run", "three\n");
}

static void test_route_success__emits_nothing_outside_of_a_pipeline(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "src", 0);
    route(lab, &j, "[]");
    assert_int_equal(number_of(lab, "SELECT count(*) FROM event"), 0);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job"), 1);
}

// The config has changed since: the journey ends, nothing breaks.
static void test_route_success__pipeline_is_gone(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    sql(lab, "UPDATE pipeline_run SET pipeline='gone'");
    const struct queued_job first = run_next(lab, "succeeded");
    route(lab, &first, "[]");
    route(lab, &first, "[{\"type\":\"any\"}]");
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job"), 2);
    sql(lab, "UPDATE pipeline_run SET pipeline='again'"); // and one that has become shorter
    route(lab, &first, "[]");
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job"), 2);
    sql(lab, "UPDATE pipeline_run SET pipeline='three'"); // control
    route(lab, &first, "[]");
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job"), 3);
}

// ---- depth ------------------------------------------------------------------------------------------

static void test_route_success__max_depth_is_a_recorded_failure(void **s)
{
    struct lab *lab = *s;
    struct queued_job j = ended_job(lab, "other", LIMIT_ROUTE_DEPTH - 1);
    route(lab, &j, "[{\"type\":\"a\"}]"); // control: the last one that may
    rows_are(lab, "SELECT state || ' ' || depth FROM job WHERE plugin='x'", "queued 32\n");
    sql(lab, "UPDATE job SET state='succeeded' WHERE plugin='x'");
    j = ended_job(lab, "other", LIMIT_ROUTE_DEPTH);
    route(lab, &j, "[{\"type\":\"a\",\"payload\":{\"kept\":1}}]");
    rows_are(
        lab,
        "SELECT state || ' ' || depth || ' ' || reason || ' ' || payload || ' ' || (ended_ms IS NOT NULL)"
        " FROM job ORDER BY id DESC LIMIT 1",
        "failed 33 max-depth {\"kept\":1} 1\n");
    rows_are(
        lab,
        "SELECT from_state || '>' || to_state || ' ' || reason FROM job_transition ORDER BY id DESC LIMIT 1",
        "queued>failed max-depth\n");
    assert_int_equal(number_of(lab, "SELECT count(*) FROM event"), 2);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job WHERE state='queued'"), 0);
}

// A pipeline that feeds itself comes to an end, and the end says why.
static void test_route_success__a_circle_ends(void **s)
{
    struct lab *lab = *s;
    struct queued_job j = ended_job(lab, "other", 0);
    int hops = 0;
    sql(lab, "PRAGMA synchronous=OFF");
    route(lab, &j, "[{\"type\":\"a\"}]");
    while (number_of(lab, "SELECT count(*) FROM job WHERE state='queued'") > 0 && hops < 100) {
        j = run_next(lab, "succeeded");
        route(lab, &j, "[{\"type\":\"a\"}]");
        hops++;
    }
    assert_int_equal(hops, LIMIT_ROUTE_DEPTH);
    rows_are(lab, "SELECT reason FROM job WHERE state='failed'", "max-depth\n");
}

// ---- the run ----------------------------------------------------------------------------------------

static const char runs[] = "SELECT state || ' ' || (ended_ms IS NOT NULL) FROM pipeline_run ORDER BY id";

static void test_route_ended__when_nothing_is_left(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    assert_int_equal(route_ended(&lab->bus, j.id), 0); // its own run: none
    rows_are(lab, runs, "running 0\n");
    for (int step = 1; step <= 3; step++) {
        rows_are(lab, runs, "running 0\n");
        const struct queued_job at = run_next(lab, "succeeded");
        route(lab, &at, "[]");
        assert_int_equal(route_ended(&lab->bus, at.id), 0);
    }
    rows_are(lab, runs, "succeeded 1\n");
}

static void test_route_ended__one_that_failed(void **s)
{
    static const char *const ends[] = {"failed", "timed_out", "refused", "cancelled", "dead"};
    struct lab *lab = *s;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        const struct queued_job j = ended_job(lab, "other", 0);
        route(lab, &j, "[{\"type\":\"a.b\"}]");
        const struct queued_job first = run_next(lab, "succeeded");
        route(lab, &first, "[]");
        const struct queued_job second = run_next(lab, ends[i]);
        assert_int_equal(route_ended(&lab->bus, second.id), 0);
        rows_are(lab, "SELECT state FROM pipeline_run ORDER BY id DESC LIMIT 1", "failed\n");
    }
}

static void test_route_ended__waits_for_the_others(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    const struct queued_job first = run_next(lab, "succeeded");
    route(lab, &first, "[{\"type\":\"one\"},{\"type\":\"two\"}]");
    const struct queued_job failed = run_next(lab, "failed");
    assert_int_equal(route_ended(&lab->bus, failed.id), 0);
    rows_are(lab, runs, "running 0\n"); // one is queued
    struct queued_job last = {0};
    assert_int_equal(queue_next(&lab->bus, &last), 1);
    assert_int_equal(queue_start(&lab->bus, &last), 0);
    assert_int_equal(route_ended(&lab->bus, failed.id), 0);
    rows_are(lab, runs, "running 0\n"); // and now it runs
    assert_int_equal(queue_move(&lab->bus, last.id, 1, "running", "cancelled", "x"), 0);
    assert_int_equal(route_ended(&lab->bus, last.id), 0);
    rows_are(lab, runs, "failed 1\n");
    queued_job_free(&last);
}

static void test_route_ended__another_run_is_left_alone(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    route(lab, &j, "[{\"type\":\"a\"},{\"type\":\"a\"}]");
    const struct queued_job first = run_next(lab, "succeeded");
    assert_int_equal(route_ended(&lab->bus, first.id), 0);
    rows_are(lab, runs, "succeeded 1\nrunning 0\n");
}

static void test_route_ended__max_depth_within_the_run(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", LIMIT_ROUTE_DEPTH - 1);
    route(lab, &j, "[{\"type\":\"a.b\"}]");
    const struct queued_job first = run_next(lab, "succeeded"); // at the limit: its next step is beyond
    route(lab, &first, "[]");
    assert_int_equal(route_ended(&lab->bus, first.id), 0);
    rows_are(lab, runs, "failed 1\n");
    rows_are(lab, "SELECT state || ' ' || reason FROM job WHERE step=2", "failed max-depth\n");
}

// ---- the transaction --------------------------------------------------------------------------------

static void test_route_success__all_in_the_callers_transaction(void **s)
{
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "src", 0);
    static const char all[] =
        "SELECT (SELECT count(*) FROM event) || ' ' || (SELECT count(*) FROM pipeline_run) ||"
        " ' ' || (SELECT count(*) FROM step_run) || ' ' || (SELECT count(*) FROM job)";
    assert_int_equal(ledger_begin(&lab->bus.ledger), 0);
    route(lab, &j, "[{\"type\":\"a.b\"},{\"type\":\"a\"}]");
    rows_are(lab, all, "2 3 3 4\n");
    assert_int_equal(sqlite3_get_autocommit(lab->bus.ledger.db), 0);
    ledger_rollback(&lab->bus.ledger);
    rows_are(lab, all, "0 0 0 1\n");
    route(lab, &j, "[{\"type\":\"a.b\"},{\"type\":\"a\"}]"); // control
    rows_are(lab, all, "2 3 3 4\n");
}

// Whatever cannot be written stops it: no event without its jobs is reported as done.
static void test_route_success__any_failed_write(void **s)
{
    static const char *const tables[] = {"event", "pipeline_run", "job", "job_transition", "step_run"};
    struct lab *lab = *s;
    const struct queued_job j = ended_job(lab, "other", 0);
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        char trigger[160];
        snprintf(trigger, sizeof(trigger),
                 "CREATE TRIGGER full BEFORE INSERT ON %s BEGIN SELECT RAISE(ABORT, 'full'); END", tables[i]);
        sql(lab, trigger);
        assert_int_equal(ledger_begin(&lab->bus.ledger), 0);
        assert_int_equal(try_route(lab, &j, "[{\"type\":\"a.b\"},{\"type\":\"nobody\"}]"), -EIO);
        ledger_rollback(&lab->bus.ledger);
        sql(lab, "DROP TRIGGER full");
    }
    assert_int_equal(number_of(lab, "SELECT count(*) FROM event"), 0);
    route(lab, &j, "[{\"type\":\"a.b\"},{\"type\":\"nobody\"}]");
    assert_int_equal(number_of(lab, "SELECT count(*) FROM event"), 2);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
static void test_route_webhook__plugin(void **s)
{
    struct lab *lab = *s;
    int64_t job = 0;
    assert_int_equal(route_webhook(&lab->bus, &lab->bus.config->webhooks.list[0], "{\"a\":1}", "mark", &job),
                     0);
    rows_are(lab, new_jobs, "webhook:one p.handle queued\n"); // no pipeline hears of it
    rows_are(lab, "SELECT type || ' ' || source_plugin || ' ' || dedupe_key || ' ' || payload FROM event",
             "ductile.webhook webhook:one mark {\"a\":1}\n");
    rows_are(lab, "SELECT id FROM job WHERE event=1 AND parent IS NULL AND depth=0 AND dedupe_key IS NULL",
             "1\n");
    assert_int_equal(job, 1);
}

static void test_route_webhook__pipeline(void **s)
{
    struct lab *lab = *s;
    int64_t job = 0;
    assert_int_equal(route_webhook(&lab->bus, &lab->bus.config->webhooks.list[1], "{}", "mark", &job), 0);
    rows_are(lab, new_jobs, "pipeline:three/step_1 p.handle queued\n");
    rows_are(lab, "SELECT pipeline || ' ' || state FROM pipeline_run", "three running\n");
    rows_are(lab,
             "SELECT id FROM job WHERE event=1 AND parent IS NULL AND depth=0 AND pipeline_run=1 AND step=1",
             "1\n");
    assert_int_equal(job, 1);
}

static void test_route_webhook__all_or_nothing(void **s)
{
    struct lab *lab = *s;
    int64_t job = 77;
    log_set_level(LOG_LEVEL_COUNT_);
    for (size_t i = 0; i < 2; i++) {
        sql(lab, "CREATE TRIGGER full BEFORE INSERT ON job BEGIN SELECT RAISE(ABORT, 'full'); END");
        assert_true(route_webhook(&lab->bus, &lab->bus.config->webhooks.list[i], "{}", "mark", &job) < 0);
        rows_are(lab, "SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM pipeline_run)", "0\n");
        sql(lab, "DROP TRIGGER full");
    }
    assert_true(sqlite3_get_autocommit(lab->bus.ledger.db) != 0);
    assert_int_equal(job, 77);
}

RUN(L(route_success__exact_type_to_every_match), L(route_success__each_type_its_own),
    L(route_success__from_plugin), L(route_success__what_the_job_gets),
    L(route_success__no_payload_is_an_empty_one), L(route_success__equal_events_are_one_job),
    L(route_settle__runs_without_jobs_left), L(route_success__next_step_by_its_events),
    L(route_success__next_step_and_other_pipelines), L(route_success__emits_nothing_and_advances),
    L(route_success__emits_nothing_outside_of_a_pipeline), L(route_success__pipeline_is_gone),
    L(route_success__max_depth_is_a_recorded_failure), L(route_success__a_circle_ends),
    L(route_ended__when_nothing_is_left), L(route_ended__one_that_failed),
    L(route_ended__waits_for_the_others), L(route_ended__another_run_is_left_alone),
    L(route_ended__max_depth_within_the_run), L(route_success__all_in_the_callers_transaction),
    L(route_success__any_failed_write), L(route_webhook__plugin), L(route_webhook__pipeline),
    L(route_webhook__all_or_nothing))
