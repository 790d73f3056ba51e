// needs: ductile-gate/guard.c ductile-gate/decide.c
#include "../../ductile-gate/gate.h"
#include "limits.h"
#include "unit.h"

static struct gate fresh(void)
{
    return (struct gate){.root = -1, .deadline = gate_now() + TIME_GATE_MS};
}

static const struct finding *found(const struct gate *g, enum check_id check, const char *subject)
{
    for (size_t i = 0; i < g->n_findings; i++)
        if (g->findings[i].check == check && str_eq(g->findings[i].subject, subject))
            return &g->findings[i];
    return NULL;
}

static void three(struct gate *g)
{
    static const char *const names[] = {"one", "two", "three"};
    gate_note(g, CHECK_LAYOUT, VERDICT_PASS, "before", "said twice, noted once");
    for (int i = 0; i < 3; i++)
        if (gate_step(g, names[i])) {
            if (i == 1)
                pause();
            gate_note(g, CHECK_HOME, VERDICT_PASS, names[i], "looked at");
        }
}

static void stuck(struct gate *g)
{
    gate_note(g, CHECK_IDS, VERDICT_PASS, "stuck", "until here");
    pause();
}

static void last(struct gate *g)
{
    gate_note(g, CHECK_DOOR, VERDICT_WARN, "last", "reached");
}

static void dies(struct gate *g)
{
    (void)g;
    _exit(0); // even with 0: it did not finish
}

static void opens(struct gate *g, const char *const *paths, int hangs)
{
    for (int i = 0; paths[i]; i++)
        if (gate_step(g, paths[i])) {
            if (i == hangs)
                pause();
            gate_note(g, CHECK_HOME, VERDICT_PASS, paths[i], "looked at");
        }
}

static void first_look(struct gate *g)
{
    opens(g, (const char *const[]){"/home/dead", "/home/live", NULL}, 0);
}

static void second_look(struct gate *g)
{
    opens(g, (const char *const[]){"/home/dead/code", "/home/dead", "/home/deadly", NULL}, -1);
}

// What hung costs its time once, whichever check comes by.
static void test_guard_run__asks_nothing_again_in_what_hung(void **s)
{
    struct gate g = fresh();
    const struct guarded checks[] = {{"homes", first_look}};
    const struct guarded more[] = {{"code", second_look}};
    (void)s;
    guard_run(&g, checks, 1);
    guard_run(&g, more, 1);
    assert_int_equal(found(&g, CHECK_TIME, "/home/dead")->verdict, VERDICT_UNPROVEN);
    assert_non_null(found(&g, CHECK_HOME, "/home/live"));
    assert_null(found(&g, CHECK_HOME, "/home/dead"));
    assert_null(found(&g, CHECK_HOME, "/home/dead/code"));
    assert_non_null(found(&g, CHECK_HOME, "/home/deadly"));
    free(g.findings);
}

static void test_guard_run__passes_over_a_step_that_hangs(void **s)
{
    struct gate g = fresh();
    const struct guarded checks[] = {{"numbers", three}, {"the end", last}};
    int64_t began = gate_now();
    guard_run(&g, checks, 2);
    int64_t took = gate_now() - began;
    assert_true(took >= TIME_PROBE_MS && took < TIME_PROBE_MS + 2000);
    assert_int_equal(found(&g, CHECK_TIME, "two")->verdict, VERDICT_UNPROVEN);
    assert_non_null(found(&g, CHECK_HOME, "one"));
    assert_null(found(&g, CHECK_HOME, "two"));
    assert_non_null(found(&g, CHECK_HOME, "three"));
    assert_non_null(found(&g, CHECK_DOOR, "last"));
    size_t n = 0;
    for (size_t i = 0; i < g.n_findings; i++)
        n += str_eq(g.findings[i].subject, "before");
    assert_int_equal(n, 1);
    assert_false(g.failed);
    free(g.findings);
    (void)s;
}

static void test_guard_run__ends_at_the_gates_deadline(void **s)
{
    struct gate g = fresh();
    const struct guarded checks[] = {{"a hole", stuck}, {"the end", last}};
    g.deadline = gate_now() + 300;
    guard_run(&g, checks, 2);
    assert_non_null(found(&g, CHECK_IDS, "stuck"));
    assert_int_equal(found(&g, CHECK_TIME, "a hole")->verdict, VERDICT_UNPROVEN);
    assert_null(found(&g, CHECK_DOOR, "last"));
    free(g.findings);
    (void)s;
}

static void test_guard_run__a_check_that_dies_decides_nothing(void **s)
{
    struct gate g = fresh();
    const struct guarded checks[] = {{"the end", last}, {"a crash", dies}, {"the end", last}};
    guard_run(&g, checks, 3);
    assert_non_null(found(&g, CHECK_DOOR, "last"));
    assert_true(g.failed);
    assert_int_equal(gate_outcome(&g), VERDICT_REFUSE);
    free(g.findings);
    (void)s;
}

static int answers(struct gate *g, void *arg)
{
    (void)g;
    return *(int *)arg;
}

static int hangs(struct gate *g, void *arg)
{
    (void)g;
    (void)arg;
    return pause();
}

static void test_guard_call__waits_so_long_and_no_longer(void **s)
{
    struct gate g = fresh();
    int r = 0;
    assert_true(guard_call(&g, answers, &r));
    r = -EIO;
    assert_false(guard_call(&g, answers, &r));
    int64_t began = gate_now();
    assert_false(guard_call(&g, hangs, NULL));
    assert_true(gate_now() - began < TIME_PROBE_MS + 2000);
    (void)s;
}

RUN(cmocka_unit_test(test_guard_run__asks_nothing_again_in_what_hung),
    cmocka_unit_test(test_guard_run__passes_over_a_step_that_hangs),
    cmocka_unit_test(test_guard_run__ends_at_the_gates_deadline),
    cmocka_unit_test(test_guard_run__a_check_that_dies_decides_nothing),
    cmocka_unit_test(test_guard_call__waits_so_long_and_no_longer))
