// needs: ductile-gate/lanes.c ductile-gate/actors.c ductile-gate/guard.c
// needs: ductile-gate/decide.c ductile-gate/attempts.c
#include "../../ductile-gate/probes.h"
#include "limits.h"
#include "unit.h"
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

// Another tracer holds the target for a moment: that is no denial.
static void test_attempt_trace__waits_for_another_tracer(void **s)
{
    int held[2];
    char byte;
    (void)s;
    assert_int_equal(pipe(held), 0);
    pid_t target = fork();
    if (target == 0)
        for (;;)
            pause();
    pid_t other = fork();
    if (other == 0) {
        long r = ptrace(PTRACE_SEIZE, target, NULL, NULL);
        if (r < 0 || write(held[1], "x", 1) != 1)
            _exit(1);
        usleep(30000);
        _exit(0); // lets go
    }
    close(held[1]);
    assert_int_equal(read(held[0], &byte, 1), 1);
    close(held[0]);
    pid_t tries = fork(); // it stays a tracer until it ends
    if (tries == 0)
        _exit(-attempt_trace.run(&(struct attempt_target){.pid = target}));
    int status;
    assert_int_equal(waitpid(tries, &status, 0), tries);
    assert_int_equal(waitpid(other, NULL, 0), other);
    kill(target, SIGKILL);
    assert_int_equal(waitpid(target, NULL, 0), target);
    assert_int_equal(status, 0);
}

// Attempts of this test's own, each in a child that dropped; the target's id says which one it is.
static int works(const struct attempt_target *t)
{
    (void)t;
    return 0;
}

static int denied(const struct attempt_target *t)
{
    (void)t;
    return -EPERM;
}

static int hangs(const struct attempt_target *t)
{
    (void)t;
    return pause();
}

static int ignores_the_alarm(const struct attempt_target *t)
{
    signal(SIGALRM, SIG_IGN);
    return hangs(t);
}

static int crashes(const struct attempt_target *t)
{
    (void)t;
    raise(SIGKILL);
    return 0;
}

static bool tainted;
static int taints(const struct attempt_target *t)
{
    (void)t;
    tainted = true;
    return 0;
}

static int sees_taint(const struct attempt_target *t)
{
    (void)t;
    return tainted ? 0 : -EPERM;
}

static int fine(void)
{
    return 0;
}

static int broken(void)
{
    return -EACCES;
}

static const struct attempt attempts[] = {
    {.run = works, .control = fine, .denials = {EPERM}},
    {.run = denied, .control = fine, .denials = {EPERM}},
    {.run = denied, .control = broken, .denials = {EPERM}},
    {.run = denied, .control = fine, .denials = {EACCES}},
    {.run = hangs, .control = fine, .denials = {EPERM}},
    {.run = crashes, .control = fine, .denials = {EPERM}},
    {.run = taints, .control = fine, .denials = {EPERM}, .taints = true},
    {.run = sees_taint, .control = fine, .denials = {EPERM}},
    {.run = ignores_the_alarm, .control = fine, .denials = {EPERM}},
};
enum { WORKS, DENIED, TWIN_TOO, OTHER_ERRNO, HANGS, CRASHES, TAINTS, SEES_TAINT, IGNORES };

struct script {
    const int *steps[4]; // of each lane; -1 at the end
    int emptied;
};

static void fill(const struct lane_owner *owner, struct lane *lane)
{
    const struct script *s = owner->data;

    lane->plan = (struct privs_plan){
        .uid = geteuid(), .gid = getegid(), .cgroup_fd = -1, .landlock_fd = -1, .cwd = "/"};
    for (const int *p = s->steps[lane->identity]; *p >= 0; p++) {
        const struct probe_try t = {.attempt = &attempts[*p], .target = {.shown = "it"}};
        if (!lane_add(lane, &t))
            lane->failed = true;
    }
}

static void emptied(const struct lane_owner *owner, struct lane *lane)
{
    (void)lane;
    ((struct script *)owner->data)->emptied++;
}

struct lab {
    struct gate gate;
    struct identity identities[4];
    struct lane lanes[4];
    struct script script;
    int64_t took;
};

static void run(struct lab *lab, size_t n, int64_t limit_ms)
{
    const struct lane_owner owner = {fill, emptied, &lab->script};

    lab->gate = (struct gate){
        .root = -1, .identities = lab->identities, .n_identities = n, .deadline = gate_now() + limit_ms};
    for (unsigned i = 0; i < n; i++)
        lab->lanes[i] = (struct lane){.identity = i, .pidfd = -1};
    lab->took = gate_now();
    lanes_run(&lab->gate, lab->lanes, n, &owner);
    lab->took = gate_now() - lab->took;
    assert_int_equal(lab->script.emptied, n);
}

static void done(struct lab *lab, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lane_free(&lab->lanes[i]);
}

static void result(const struct lab *lab, unsigned lane, unsigned i, enum cell cell, int error)
{
    assert_true(i < lab->lanes[lane].track->done);
    assert_int_equal(lab->lanes[lane].track->results[i].cell, cell);
    assert_int_equal(lab->lanes[lane].track->results[i].error, error);
    assert_string_equal(lab->lanes[lane].track->results[i].target, "it");
}

static void test_lanes_run__each_result_in_its_place(void **s)
{
    static const int steps[] = {WORKS, DENIED, TWIN_TOO, OTHER_ERRNO, DENIED, -1};
    struct lab lab = {.script.steps = {steps}};
    run(&lab, 1, TIME_GATE_MS);
    result(&lab, 0, 0, CELL_ALLOWED, 0);
    result(&lab, 0, 1, CELL_DENIED, EPERM);
    assert_true(lab.lanes[0].track->results[1].control);
    assert_false(lab.lanes[0].track->results[2].control);
    result(&lab, 0, 3, CELL_UNPROVEN, EPERM);
    result(&lab, 0, 4, CELL_DENIED, EPERM);
    assert_true(lab.lanes[0].track->dropped && !lab.lanes[0].over && lab.lanes[0].late == 0);
    done(&lab, 1);
    (void)s;
}

static void test_lanes_run__what_taints_does_not_colour_the_next(void **s)
{
    static const int steps[] = {SEES_TAINT, TAINTS, SEES_TAINT, -1};
    struct lab lab = {.script.steps = {steps}};
    run(&lab, 1, TIME_GATE_MS);
    result(&lab, 0, 0, CELL_DENIED, EPERM);
    result(&lab, 0, 1, CELL_ALLOWED, 0);
    result(&lab, 0, 2, CELL_DENIED, EPERM);
    done(&lab, 1);
    (void)s;
}

static void test_lanes_run__a_crash_is_unproven_and_the_next_is_tried(void **s)
{
    static const int steps[] = {CRASHES, DENIED, -1};
    struct lab lab = {.script.steps = {steps}};
    run(&lab, 1, TIME_GATE_MS);
    result(&lab, 0, 0, CELL_UNPROVEN, 0);
    result(&lab, 0, 1, CELL_DENIED, EPERM);
    done(&lab, 1);
    (void)s;
}

// Two that hang, in two lanes: beside each other, not one after the other; one of them cannot be woken.
static void test_lanes_run__hangs_cost_their_time_once(void **s)
{
    static const int one[] = {HANGS, DENIED, -1}, two[] = {DENIED, IGNORES, DENIED, -1},
                     three[] = {DENIED, -1};
    struct lab lab = {.script.steps = {one, two, three}};
    run(&lab, 3, TIME_GATE_MS);
    assert_true(lab.took >= TIME_PROBE_MS - 100 && lab.took < TIME_PROBE_MS + 2500);
    result(&lab, 0, 0, CELL_UNPROVEN, ETIMEDOUT);
    result(&lab, 0, 1, CELL_DENIED, EPERM);
    result(&lab, 1, 1, CELL_UNPROVEN, ETIMEDOUT);
    result(&lab, 1, 2, CELL_DENIED, EPERM);
    result(&lab, 2, 0, CELL_DENIED, EPERM);
    done(&lab, 3);
    (void)s;
}

static void test_lanes_run__ends_at_the_gates_deadline(void **s)
{
    static const int steps[] = {DENIED, HANGS, DENIED, -1}, two[] = {DENIED, -1};
    struct lab lab = {.script.steps = {steps, two}};
    run(&lab, 2, 400);
    assert_true(lab.took < 1500);
    assert_true(lab.lanes[0].over);
    assert_int_equal(lab.lanes[0].track->done, 1);
    assert_false(lab.lanes[1].over);
    result(&lab, 1, 0, CELL_DENIED, EPERM);
    done(&lab, 2);
    (void)s;
}

RUN(cmocka_unit_test(test_attempt_trace__waits_for_another_tracer),
    cmocka_unit_test(test_lanes_run__each_result_in_its_place),
    cmocka_unit_test(test_lanes_run__what_taints_does_not_colour_the_next),
    cmocka_unit_test(test_lanes_run__a_crash_is_unproven_and_the_next_is_tried),
    cmocka_unit_test(test_lanes_run__hangs_cost_their_time_once),
    cmocka_unit_test(test_lanes_run__ends_at_the_gates_deadline))
