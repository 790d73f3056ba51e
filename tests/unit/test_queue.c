// needs: ductile-run/bus/queue.c ductile-run/bus/plugins.c
#include "../../ductile-run/bus/bus.h"
#include "log.h"
#include "unit.h"

static const char yaml[] = "service: {dedupe_ttl: 1h, max_workers: 8}\n"
                           "plugins:\n"
                           "  p: {retry: {max_attempts: 3, backoff_base: 100ms}}\n"
                           "  once: {retry: {max_attempts: 1}}\n"
                           "  slow: {retry: {max_attempts: 100, backoff_base: 24h}}\n";

#include "bus_lab.h"

// The first column of the first row; "" for none or NULL.
static const char *text_of(struct lab *lab, const char *query, int64_t job)
{
    static char text[512];
    sqlite3_stmt *s = ledger_query(&lab->bus.ledger, query, job ? "i" : "", job);
    assert_non_null(s);
    text[0] = '\0';
    if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL)
        snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return text;
}

static int64_t number_of(struct lab *lab, const char *query, int64_t job)
{
    return strtoll(text_of(lab, query, job), NULL, 10);
}

static const char *state_of(struct lab *lab, int64_t job)
{
    return text_of(lab, "SELECT state FROM job WHERE id=?", job);
}

static int64_t transitions(struct lab *lab, int64_t job)
{
    return number_of(lab, "SELECT count(*) FROM job_transition WHERE job=?", job);
}

// The last row that says why: "attempt from>to: reason".
static const char *last_transition(struct lab *lab, int64_t job)
{
    return text_of(lab,
                   "SELECT attempt || ' ' || from_state || '>' || to_state || ': ' || reason"
                   " FROM job_transition WHERE job=? ORDER BY id DESC LIMIT 1",
                   job);
}

// ---- doing ------------------------------------------------------------------------------------------

static struct new_job job_for(const char *plugin, const char *key)
{
    return (struct new_job){
        .plugin = plugin, .command = "handle", .payload = "{}", .submitted_by = "test", .dedupe_key = key};
}

static int64_t put_job(struct lab *lab, const struct new_job *j, int64_t *ret_equals)
{
    int64_t id = -7;
    assert_int_equal(queue_add(&lab->bus, j, &id, ret_equals), 0);
    assert_true((id == 0) != (*ret_equals == 0)); // one of the two
    return id;
}

static int64_t add(struct lab *lab, const char *plugin, const char *key)
{
    int64_t equals = -7;
    const struct new_job j = job_for(plugin, key);
    int64_t id = put_job(lab, &j, &equals);
    assert_int_equal(equals, 0);
    return id;
}

// The id of the next job, 0 for none.
static int64_t next(struct lab *lab)
{
    struct queued_job j = {0};
    int r = queue_next(&lab->bus, &j);
    int64_t id = j.id;
    assert_true(r == 0 || r == 1);
    assert_int_equal(r == 1, id > 0);
    queued_job_free(&j);
    return id;
}

static void start(struct lab *lab, int64_t id)
{
    struct queued_job j = {.id = id, .attempt = number_of(lab, "SELECT attempt FROM job WHERE id=?", id)};
    assert_int_equal(queue_start(&lab->bus, &j), 0);
}

// A job that is at `state` in its nth attempt, by the way it really goes.
static int64_t job_at(struct lab *lab, const char *plugin, int64_t attempt, const char *state)
{
    int64_t id = add(lab, plugin, NULL);
    for (int64_t i = 1; i < attempt; i++) {
        start(lab, id);
        assert_int_equal(queue_move(&lab->bus, id, i, "running", "queued", "again"), 0);
    }
    start(lab, id);
    if (!str_eq(state, "running"))
        assert_int_equal(queue_move(&lab->bus, id, attempt, "running", state, "for the test"), 0);
    return id;
}

// ---- enqueue ----------------------------------------------------------------------------------------

static void test_queue_add__row_and_why(void **s)
{
    struct lab *lab = *s;
    const struct new_job j = {.plugin = "p",
                              .command = "poll",
                              .payload = "{\"a\":1}",
                              .submitted_by = "uid 7",
                              .dedupe_key = "k",
                              .depth = 3};
    int64_t equals, before = ledger_now_ms(), id = put_job(lab, &j, &equals);
    assert_string_equal(state_of(lab, id), "queued");
    assert_string_equal(
        text_of(lab,
                "SELECT plugin || command || payload || submitted_by || dedupe_key || depth ||"
                " attempt || max_attempts || snapshot FROM job WHERE id=?",
                id),
        "ppoll{\"a\":1}uid 7k3031");
    assert_string_equal(last_transition(lab, id), "0 >queued: uid 7");
    assert_int_equal(transitions(lab, id), 1);
    assert_in_range(number_of(lab, "SELECT not_before_ms FROM job WHERE id=?", id), before, ledger_now_ms());
    // 0 stands for none: no row of another table is pointed at
    assert_int_equal(number_of(lab,
                               "SELECT count(*) FROM job WHERE id=? AND parent IS NULL AND event IS NULL AND"
                               " pipeline_run IS NULL AND step IS NULL AND ended_ms IS NULL",
                               id),
                     1);
}

static void test_queue_add__attempts_by_plugin(void **s)
{
    struct lab *lab = *s;
    static const char max[] = "SELECT max_attempts FROM job WHERE id=?";
    assert_int_equal(number_of(lab, max, add(lab, "p", NULL)), 3);
    assert_int_equal(number_of(lab, max, add(lab, "once", NULL)), 1);
    assert_int_equal(number_of(lab, max, add(lab, "stranger", NULL)), 4);
}

static void test_queue_add__equal_to_one_that_waits_or_runs(void **s)
{
    struct lab *lab = *s;
    const struct new_job j = job_for("p", "k");
    int64_t equals = 0, first = add(lab, "p", "k");
    assert_int_equal(put_job(lab, &j, &equals), 0);
    assert_int_equal(equals, first);
    start(lab, first);
    assert_int_equal(put_job(lab, &j, &equals), 0);
    assert_int_equal(equals, first);
    // waiting for its second attempt is waiting
    assert_int_equal(queue_move(&lab->bus, first, 1, "running", "failed", "x"), 0);
    assert_int_equal(queue_retry(&lab->bus, first, 1, "failed", true), 0);
    assert_int_equal(put_job(lab, &j, &equals), 0);
    assert_int_equal(equals, first);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job", 0), 1);
}

static void test_queue_add__equal_is_all_three(void **s)
{
    struct lab *lab = *s;
    struct new_job other = job_for("p", "k");
    int64_t equals;
    add(lab, "p", "k");
    add(lab, "p", "K");
    add(lab, "p", "");
    add(lab, "once", "k");
    other.command = "poll";
    assert_true(put_job(lab, &other, &equals) > 0);
    add(lab, "p", NULL); // and nothing equals a job without a key
    add(lab, "p", NULL);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job", 0), 7);
}

static void test_queue_add__equal_to_a_success_within_the_ttl(void **s)
{
    struct lab *lab = *s;
    const struct new_job j = job_for("p", "k");
    int64_t equals = 0, first = add(lab, "p", "k"), second;
    start(lab, first);
    assert_int_equal(queue_move(&lab->bus, first, 1, "running", "succeeded", ""), 0);
    assert_int_equal(put_job(lab, &j, &equals), 0);
    assert_int_equal(equals, first);
    sql(lab, "UPDATE job SET ended_ms = ended_ms - 3590000"); // 10 s before the hour is over
    assert_int_equal(put_job(lab, &j, &equals), 0);
    assert_int_equal(equals, first);
    sql(lab, "UPDATE job SET ended_ms = ended_ms - 20000"); // 10 s after
    second = put_job(lab, &j, &equals);
    assert_true(second > first);
    assert_int_equal(put_job(lab, &j, &equals), 0); // from now on it is the second
    assert_int_equal(equals, second);
}

static void test_queue_add__no_ttl_at_all(void **s)
{
    struct lab *lab = *s;
    const struct new_job j = job_for("p", "k");
    int64_t equals = 0, first = add(lab, "p", "k");
    lab->bus.config->dedupe_ttl = 0;
    start(lab, first);
    assert_int_equal(put_job(lab, &j, &equals), 0); // it runs: equal all the same
    assert_int_equal(queue_move(&lab->bus, first, 1, "running", "succeeded", ""), 0);
    sql(lab, "UPDATE job SET ended_ms = ended_ms - 1");
    assert_true(put_job(lab, &j, &equals) > 0);
}

static void test_queue_add__other_ends_do_not_count(void **s)
{
    static const char *const ends[] = {"failed", "timed_out", "refused", "cancelled", "dead"};
    struct lab *lab = *s;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        int64_t id = add(lab, "p", "k"); // asserts that it equals nothing
        start(lab, id);
        assert_int_equal(queue_move(&lab->bus, id, 1, "running", ends[i], "x"), 0);
    }
}

static void test_queue_add__in_the_callers_transaction(void **s)
{
    struct lab *lab = *s;
    const struct new_job j = job_for("p", "k");
    int64_t equals;
    assert_int_equal(ledger_begin(&lab->bus.ledger), 0);
    int64_t id = add(lab, "p", "k");
    assert_int_equal(put_job(lab, &j, &equals), 0); // it sees its own
    assert_int_equal(equals, id);
    assert_int_equal(sqlite3_get_autocommit(lab->bus.ledger.db), 0); // left open
    ledger_rollback(&lab->bus.ledger);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job", 0), 0);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job_transition", 0), 0);
    add(lab, "p", "k"); // control: its own one is committed
    assert_int_equal(sqlite3_get_autocommit(lab->bus.ledger.db), 1);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job", 0), 1);
}

static void test_queue_add__failure_leaves_nothing(void **s)
{
    struct lab *lab = *s;
    struct new_job j = job_for("p", NULL);
    int64_t id = -7, equals = -7;
    j.payload = "{not json";
    assert_int_equal(queue_add(&lab->bus, &j, &id, &equals), -EIO);
    assert_int_equal(id, -7); // written only on success
    assert_int_equal(equals, -7);
    j.payload = "{}";
    j.parent = 999; // no such job
    assert_int_equal(queue_add(&lab->bus, &j, &id, &equals), -EIO);
    sql(lab, "CREATE TRIGGER no_why BEFORE INSERT ON job_transition BEGIN SELECT RAISE(ABORT, 'full'); END");
    j.parent = 0;
    assert_int_equal(queue_add(&lab->bus, &j, &id, &equals), -EIO); // no job without the row that says why
    assert_int_equal(sqlite3_get_autocommit(lab->bus.ledger.db), 1);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job", 0), 0);
    sql(lab, "DROP TRIGGER no_why");
    add(lab, "p", NULL);
}

// ---- dequeue ----------------------------------------------------------------------------------------

static void test_queue_next__fifo_by_not_before_then_id(void **s)
{
    struct lab *lab = *s;
    int64_t ids[4];
    assert_int_equal(next(lab), 0);
    for (size_t i = 0; i < 4; i++)
        ids[i] = add(lab, "p", NULL);
    sql(lab, "UPDATE job SET not_before_ms = 1000");
    sql(lab, "UPDATE job SET not_before_ms = 500 WHERE id = (SELECT max(id) FROM job)");
    static const size_t order[] = {3, 0, 1, 2};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(next(lab), ids[order[i]]);
        assert_int_equal(next(lab), ids[order[i]]); // asking takes nothing
        start(lab, ids[order[i]]);
    }
    assert_int_equal(next(lab), 0);
}

static void test_queue_next__whole_job(void **s)
{
    struct lab *lab = *s;
    struct queued_job j = {0};
    struct new_job n = job_for("p", NULL);
    int64_t equals;
    n.payload = "{\"x\":[1,2]}";
    n.depth = 5;
    int64_t id = put_job(lab, &n, &equals);
    assert_int_equal(queue_next(&lab->bus, &j), 1);
    assert_true(j.id == id && j.attempt == 0 && j.max_attempts == 3 && j.depth == 5);
    assert_true(j.event == 0 && j.pipeline_run == 0 && j.step == 0);
    assert_string_equal(j.plugin, "p");
    assert_string_equal(j.command, "handle");
    assert_string_equal(j.payload, "{\"x\":[1,2]}");
    queued_job_free(&j);
    assert_null(j.payload);
}

static void test_queue_next__not_due_or_not_queued(void **s)
{
    static const char *const others[] = {"running", "succeeded", "failed", "timed_out",
                                         "refused", "cancelled", "dead"};
    struct lab *lab = *s;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        job_at(lab, "p", 1, others[i]);
    assert_int_equal(next(lab), 0);
    int64_t id = add(lab, "p", NULL);
    sql(lab, "UPDATE job SET not_before_ms = not_before_ms + 60000 WHERE state = 'queued'");
    assert_int_equal(next(lab), 0);
    sql(lab, "UPDATE job SET not_before_ms = not_before_ms - 60000 WHERE state = 'queued'"); // control
    assert_int_equal(next(lab), id);
}

// Running is what the bus has handed out, not what the rows say.
static void test_queue_next__skips_at_parallelism(void **s)
{
    struct lab *lab = *s;
    struct plugin list[] = {{.name = "p", .parallelism = 2}, {.name = "q", .parallelism = 1}};
    struct run runs[3] = {{.plugin = "p"}, {.plugin = "p"}, {.plugin = "q"}};
    int64_t p = add(lab, "p", NULL), q = add(lab, "q", NULL), stranger = add(lab, "stranger", NULL);
    sql(lab, "UPDATE job SET not_before_ms = 1");
    lab->bus.catalog.list = list;
    lab->bus.catalog.n = 2;
    assert_int_equal(next(lab), p);
    lab->bus.runs = &runs[0];
    assert_int_equal(next(lab), p); // one of two
    runs[0].next = &runs[1];
    assert_int_equal(next(lab), q); // two of two: the next in line, who waits for nobody
    runs[1].next = &runs[2];
    assert_int_equal(next(lab), stranger); // not in the catalog: handed out, so that the record says why
    assert_int_equal(queue_move(&lab->bus, stranger, 0, "queued", "cancelled", "x"), 0);
    assert_int_equal(next(lab), 0);
    lab->bus.runs = &runs[1];
    assert_int_equal(next(lab), p); // one has ended
    lab->bus.runs = NULL;
}

static void test_queue_next__same_key_runs(void **s)
{
    struct lab *lab = *s;
    int64_t first = add(lab, "p", "k"), second = add(lab, "p", "other"), third = add(lab, "p", "third");
    start(lab, first);
    sql(lab, "UPDATE job SET dedupe_key = 'k' WHERE dedupe_key = 'other'"); // as after a retry by hand
    assert_int_equal(next(lab), third);
    assert_int_equal(queue_move(&lab->bus, first, 1, "running", "failed", "x"), 0);
    assert_int_equal(next(lab), second);
}

static void test_queue_next__same_key_of_another_target(void **s)
{
    struct lab *lab = *s;
    int64_t running = add(lab, "p", "k"), other = add(lab, "q", "k"), equals;
    struct new_job j = job_for("p", "k");
    start(lab, running);
    assert_int_equal(next(lab), other);
    start(lab, other);
    j.command = "poll";
    assert_int_equal(next(lab), 0);
    int64_t poll = put_job(lab, &j, &equals);
    assert_int_equal(next(lab), poll);
}

static void test_queue_due_ms__earliest_queued(void **s)
{
    struct lab *lab = *s;
    assert_true(queue_due_ms(&lab->bus) == INT64_MAX);
    job_at(lab, "p", 1, "running");
    job_at(lab, "p", 1, "dead");
    assert_true(queue_due_ms(&lab->bus) == INT64_MAX);
    add(lab, "p", NULL);
    // what was due at the last look waits for its turn, not for the clock; what has become due since is told
    assert_true(queue_due_ms(&lab->bus) < INT64_MAX);
    lab->bus.looked_ms = ledger_now_ms();
    assert_true(queue_due_ms(&lab->bus) == INT64_MAX);
    const int64_t far = INT64_C(1) << 60;
    lab->bus.looked_ms += 60000;
    sql(lab, "UPDATE job SET not_before_ms = CASE state WHEN 'queued' THEN 1152921504606846976 ELSE 1 END");
    assert_true(queue_due_ms(&lab->bus) == far);
    add(lab, "p", NULL);
    assert_true(queue_due_ms(&lab->bus) == far);
}

// ---- transitions ------------------------------------------------------------------------------------

static void test_queue_start__attempt_and_its_row(void **s)
{
    struct lab *lab = *s;
    struct queued_job j = {.id = add(lab, "p", NULL)};
    int64_t before = ledger_now_ms();
    assert_int_equal(queue_start(&lab->bus, &j), 0);
    assert_int_equal(j.attempt, 1);
    assert_string_equal(state_of(lab, j.id), "running");
    assert_string_equal(last_transition(lab, j.id), "1 queued>running: dispatched");
    assert_int_equal(number_of(lab, "SELECT attempt FROM job_attempt WHERE job=?", j.id), 1);
    assert_in_range(number_of(lab, "SELECT started_ms FROM job_attempt WHERE job=?", j.id), before,
                    ledger_now_ms());
    assert_string_equal(text_of(lab, "SELECT ended_ms FROM job WHERE id=?", j.id), "");
    assert_int_equal(sqlite3_get_autocommit(lab->bus.ledger.db), 1);
}

static void test_queue_start__somebody_was_faster(void **s)
{
    struct lab *lab = *s;
    struct queued_job mine = {.id = add(lab, "p", NULL)}, theirs = mine, gone = {.id = 999};
    assert_int_equal(queue_start(&lab->bus, &theirs), 0);
    assert_int_equal(queue_start(&lab->bus, &mine), -ESTALE);
    assert_int_equal(mine.attempt, 0);
    assert_int_equal(transitions(lab, mine.id), 2);
    assert_int_equal(number_of(lab, "SELECT attempt FROM job WHERE id=?", mine.id), 1);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job_attempt", 0), 1);
    // queued again meanwhile: its attempt tells
    assert_int_equal(queue_move(&lab->bus, mine.id, 1, "running", "queued", "x"), 0);
    assert_int_equal(queue_start(&lab->bus, &mine), -ESTALE);
    assert_string_equal(state_of(lab, mine.id), "queued");
    assert_int_equal(queue_start(&lab->bus, &gone), -ESTALE);
    assert_int_equal(sqlite3_get_autocommit(lab->bus.ledger.db), 1);
    mine.attempt = 1; // control
    assert_int_equal(queue_start(&lab->bus, &mine), 0);
}

static void test_queue_start__all_or_nothing(void **s)
{
    struct lab *lab = *s;
    struct queued_job j = {.id = add(lab, "p", NULL)};
    sql(lab, "CREATE TRIGGER full BEFORE INSERT ON job_attempt BEGIN SELECT RAISE(ABORT, 'full'); END");
    assert_int_equal(queue_start(&lab->bus, &j), -EIO);
    assert_int_equal(j.attempt, 0);
    assert_string_equal(state_of(lab, j.id), "queued");
    assert_int_equal(number_of(lab, "SELECT attempt FROM job WHERE id=?", j.id), 0);
    assert_int_equal(transitions(lab, j.id), 1);
    assert_int_equal(sqlite3_get_autocommit(lab->bus.ledger.db), 1);
}

static void test_queue_move__guarded_by_state_and_attempt(void **s)
{
    static const struct {
        int64_t attempt;
        const char *from;
    } stale[] = {{1, "running"}, {3, "running"}, {0, "running"}, {2, "queued"}, {2, "failed"}, {1, "queued"}};
    struct lab *lab = *s;
    int64_t id = job_at(lab, "p", 2, "running"), bystander = job_at(lab, "p", 2, "running");
    int64_t rows = transitions(lab, id);
    for (size_t i = 0; i < ARRAY_LEN(stale); i++) {
        assert_int_equal(queue_move(&lab->bus, id, stale[i].attempt, stale[i].from, "succeeded", "late"),
                         -ESTALE);
        assert_string_equal(state_of(lab, id), "running");
        assert_int_equal(transitions(lab, id), rows); // what did not happen is not written down
    }
    assert_int_equal(queue_move(&lab->bus, 999, 2, "running", "succeeded", "nobody"), -ESTALE);
    assert_int_equal(queue_move(&lab->bus, id, 2, "running", "succeeded", "in time"), 0);
    assert_string_equal(last_transition(lab, id), "2 running>succeeded: in time");
    assert_int_equal(queue_move(&lab->bus, id, 2, "running", "failed", "twice"), -ESTALE);
    assert_string_equal(state_of(lab, id), "succeeded");
    assert_string_equal(state_of(lab, bystander), "running");
}

static void test_queue_move__an_end_has_a_time(void **s)
{
    static const char *const ends[] = {"succeeded", "failed", "timed_out", "refused", "cancelled", "dead"};
    struct lab *lab = *s;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        int64_t before = ledger_now_ms(), id = job_at(lab, "p", 1, ends[i]);
        assert_in_range(number_of(lab, "SELECT ended_ms FROM job WHERE id=?", id), before, ledger_now_ms());
        assert_string_equal(text_of(lab, "SELECT reason FROM job WHERE id=?", id), "for the test");
        assert_int_equal(queue_move(&lab->bus, id, 1, ends[i], "queued", "put back"), 0);
        assert_string_equal(text_of(lab, "SELECT ended_ms FROM job WHERE id=?", id), ""); // it has not ended
    }
}

static void test_queue_move__unknown_state(void **s)
{
    struct lab *lab = *s;
    int64_t id = job_at(lab, "p", 1, "running"), rows = transitions(lab, id);
    assert_int_equal(queue_move(&lab->bus, id, 1, "running", "finished", "x"), -EIO);
    assert_string_equal(state_of(lab, id), "running");
    assert_int_equal(transitions(lab, id), rows);
}

// ---- retry ------------------------------------------------------------------------------------------

static void test_queue_retry__backoff_bounds(void **s)
{
    enum { ROUNDS = 40, BASE = 100 };
    struct lab *lab = *s;
    sql(lab, "PRAGMA synchronous=OFF");
    for (int64_t n = 1; n <= 6; n++) {
        int64_t low = BASE << (n - 1), least = INT64_MAX, most = 0;
        int64_t id = job_at(lab, "p", n, "failed");
        sql(lab, "UPDATE job SET max_attempts = 10");
        for (int i = 0; i < ROUNDS; i++) {
            int64_t before = ledger_now_ms();
            assert_int_equal(queue_retry(&lab->bus, id, n, "failed", true), 0);
            int64_t after = ledger_now_ms(),
                    due = number_of(lab, "SELECT not_before_ms FROM job WHERE id=?", id);
            if (due < before + low || due > after + low + BASE)
                fail_msg("attempt %lld: %lld ms", (long long)n, (long long)(due - before));
            assert_string_equal(state_of(lab, id), "queued");
            assert_int_equal(next(lab), 0); // not yet
            least = MIN(least, due - after);
            most = MAX(most, due - before);
            assert_int_equal(queue_move(&lab->bus, id, n, "queued", "failed", "again"), 0);
        }
        assert_true(most - least > BASE / 10); // and it is spread: 40 draws of 0..100 are not one
        assert_int_equal(queue_move(&lab->bus, id, n, "failed", "dead", "done with"), 0);
    }
}

static void test_queue_retry__says_when(void **s)
{
    struct lab *lab = *s;
    long long delay = -1;
    int end = 0;
    int64_t id = job_at(lab, "p", 1, "timed_out"), now = ledger_now_ms();
    assert_int_equal(queue_retry(&lab->bus, id, 1, "timed_out", true), 0);
    assert_int_equal(
        sscanf(last_transition(lab, id), "1 timed_out>queued: retry 2 of 3 in %lld ms%n", &delay, &end), 1);
    assert_true(end > 0);
    assert_in_range(number_of(lab, "SELECT not_before_ms FROM job WHERE id=?", id) - delay, now,
                    ledger_now_ms());
    assert_int_equal(queue_due_ms(&lab->bus), number_of(lab, "SELECT not_before_ms FROM job WHERE id=?", id));
}

static void test_queue_retry__stranger_waits_the_default(void **s)
{
    struct lab *lab = *s;
    int64_t id = job_at(lab, "stranger", 1, "failed"), before = ledger_now_ms();
    assert_int_equal(queue_retry(&lab->bus, id, 1, "failed", true), 0);
    assert_in_range(number_of(lab, "SELECT not_before_ms FROM job WHERE id=?", id), before + 30000,
                    ledger_now_ms() + 60000);
}

// The longest that a config may ask for: no overflow, no time in the past.
static void test_queue_retry__longest_backoff(void **s)
{
    struct lab *lab = *s;
    int64_t id = job_at(lab, "slow", 1, "failed");
    sql(lab, "UPDATE job SET attempt = 99");
    int64_t before = ledger_now_ms();
    assert_int_equal(queue_retry(&lab->bus, id, 99, "failed", true), 0);
    assert_true(number_of(lab, "SELECT not_before_ms FROM job WHERE id=?", id) >= before + 86400000);
}

static void test_queue_retry__false_stays_as_it_is(void **s)
{
    static const char *const ends[] = {"failed", "timed_out"};
    struct lab *lab = *s;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        int64_t id = job_at(lab, "p", 1, ends[i]), rows = transitions(lab, id); // two attempts are left
        assert_int_equal(queue_retry(&lab->bus, id, 1, ends[i], false), 0);
        assert_string_equal(state_of(lab, id), ends[i]);
        assert_int_equal(transitions(lab, id), rows);
        assert_int_equal(queue_retry(&lab->bus, id, 1, ends[i], true), 0); // control
        assert_string_equal(state_of(lab, id), "queued");
    }
}

static void test_queue_retry__last_attempt_is_dead(void **s)
{
    struct lab *lab = *s;
    int64_t id = job_at(lab, "p", 3, "failed"), single = job_at(lab, "once", 1, "timed_out");
    int64_t left = job_at(lab, "p", 2, "failed");
    sql(lab, "UPDATE job SET reason='why' WHERE plugin='p'");
    assert_int_equal(queue_retry(&lab->bus, id, 3, "failed", true), 0);
    assert_string_equal(state_of(lab, id), "dead");
    assert_string_equal(last_transition(lab, id), "3 failed>dead: why; attempt 3 of 3");
    assert_true(number_of(lab, "SELECT ended_ms FROM job WHERE id=?", id) > 0);
    assert_int_equal(queue_retry(&lab->bus, single, 1, "timed_out", true), 0);
    assert_string_equal(last_transition(lab, single), "1 timed_out>dead: for the test; attempt 1 of 1");
    assert_int_equal(queue_retry(&lab->bus, left, 2, "failed", true), 0); // control: one before the last
    assert_string_equal(state_of(lab, left), "queued");
}

static void test_queue_retry__stale(void **s)
{
    struct lab *lab = *s;
    int64_t id = job_at(lab, "p", 2, "failed"), rows = transitions(lab, id);
    assert_int_equal(queue_retry(&lab->bus, id, 1, "failed", true), -ESTALE);
    assert_int_equal(queue_retry(&lab->bus, id, 2, "timed_out", true), -ESTALE);
    assert_int_equal(queue_retry(&lab->bus, id, 3, "failed", true), -ESTALE);
    assert_int_equal(queue_retry(&lab->bus, 999, 1, "failed", true), -EIO);
    assert_string_equal(state_of(lab, id), "failed");
    assert_int_equal(transitions(lab, id), rows);
}

// ---- recovery ---------------------------------------------------------------------------------------

static void test_queue_recover__running_is_queued_again_and_says_why(void **s)
{
    struct lab *lab = *s;
    int64_t id = job_at(lab, "p", 2, "running");
    assert_int_equal(queue_recover(&lab->bus), 1);
    assert_string_equal(state_of(lab, id), "queued");
    assert_true(str_starts(last_transition(lab, id), "2 running>queued: recovered: "));
    assert_string_equal(text_of(lab, "SELECT ended_ms FROM job WHERE id=?", id), "");
    assert_string_equal(text_of(lab, "SELECT outcome FROM job_attempt WHERE job=? AND attempt=2", id),
                        "lost");
    assert_true(number_of(lab, "SELECT ended_ms FROM job_attempt WHERE job=? AND attempt=2", id) > 0);
    assert_string_equal(text_of(lab, "SELECT outcome FROM job_attempt WHERE job=? AND attempt=1", id), "");
    assert_int_equal(next(lab), id); // at once
    start(lab, id);
    assert_int_equal(number_of(lab, "SELECT attempt FROM job WHERE id=?", id), 3); // a lost one counts
}

static void test_queue_recover__last_attempt_is_dead(void **s)
{
    struct lab *lab = *s;
    int64_t id = job_at(lab, "p", 3, "running"), single = job_at(lab, "once", 1, "running");
    assert_int_equal(queue_recover(&lab->bus), 2);
    assert_string_equal(state_of(lab, id), "dead");
    assert_true(str_starts(last_transition(lab, id), "3 running>dead: recovered: "));
    assert_true(number_of(lab, "SELECT ended_ms FROM job WHERE id=?", id) > 0);
    assert_string_equal(state_of(lab, single), "dead");
    assert_string_equal(text_of(lab, "SELECT outcome FROM job_attempt WHERE job=?", single), "lost");
}

static void test_queue_recover__only_running_ones(void **s)
{
    static const char *const others[] = {"succeeded", "failed", "timed_out", "refused", "cancelled", "dead"};
    struct lab *lab = *s;
    int64_t ids[ARRAY_LEN(others)], waiting = add(lab, "p", NULL);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        ids[i] = job_at(lab, "p", 1, others[i]);
    assert_int_equal(queue_recover(&lab->bus), 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_string_equal(state_of(lab, ids[i]), others[i]);
        assert_int_equal(transitions(lab, ids[i]), 3);
    }
    assert_string_equal(state_of(lab, waiting), "queued");
    assert_int_equal(transitions(lab, waiting), 1);
}

static void test_queue_recover__many_once(void **s)
{
    struct lab *lab = *s;
    sql(lab, "PRAGMA synchronous=OFF");
    for (int i = 0; i < 50; i++)
        job_at(lab, "p", 1, "running");
    assert_int_equal(queue_recover(&lab->bus), 50);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job WHERE state='queued' AND attempt=1", 0), 50);
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job_transition WHERE reason LIKE 'recovered%'", 0),
                     50);
    assert_int_equal(queue_recover(&lab->bus), 0); // again: there is nothing left
    assert_int_equal(number_of(lab, "SELECT count(*) FROM job_transition WHERE reason LIKE 'recovered%'", 0),
                     50);
}

static void test_queue_recover__all_or_nothing(void **s)
{
    struct lab *lab = *s;
    int64_t first = job_at(lab, "p", 1, "running"), second = job_at(lab, "once", 1, "running");
    sql(lab, "CREATE TRIGGER full BEFORE UPDATE ON job WHEN new.state = 'dead'"
             " BEGIN SELECT RAISE(ABORT, 'full'); END");
    assert_int_equal(queue_recover(&lab->bus), -EIO);
    assert_string_equal(state_of(lab, first), "running");
    assert_string_equal(state_of(lab, second), "running");
    assert_int_equal(sqlite3_get_autocommit(lab->bus.ledger.db), 1);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(queue_add__row_and_why), L(queue_add__attempts_by_plugin),
    L(queue_add__equal_to_one_that_waits_or_runs), L(queue_add__equal_is_all_three),
    L(queue_add__equal_to_a_success_within_the_ttl), L(queue_add__no_ttl_at_all),
    L(queue_add__other_ends_do_not_count), L(queue_add__in_the_callers_transaction),
    L(queue_add__failure_leaves_nothing), L(queue_next__fifo_by_not_before_then_id), L(queue_next__whole_job),
    L(queue_next__not_due_or_not_queued), L(queue_next__skips_at_parallelism), L(queue_next__same_key_runs),
    L(queue_next__same_key_of_another_target), L(queue_due_ms__earliest_queued),
    L(queue_start__attempt_and_its_row), L(queue_start__somebody_was_faster), L(queue_start__all_or_nothing),
    L(queue_move__guarded_by_state_and_attempt), L(queue_move__an_end_has_a_time),
    L(queue_move__unknown_state), L(queue_retry__backoff_bounds), L(queue_retry__says_when),
    L(queue_retry__stranger_waits_the_default), L(queue_retry__longest_backoff),
    L(queue_retry__false_stays_as_it_is), L(queue_retry__last_attempt_is_dead), L(queue_retry__stale),
    L(queue_recover__running_is_queued_again_and_says_why), L(queue_recover__last_attempt_is_dead),
    L(queue_recover__only_running_ones), L(queue_recover__many_once), L(queue_recover__all_or_nothing))
