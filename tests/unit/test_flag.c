// needs: ductile-gate/flag.c ductile-gate/guard.c ductile-gate/decide.c
#include "../../ductile-gate/gate.h"
#include "breach.h"
#include "fd.h"
#include "unit.h"

// Rows of this test's own: two that must be denied, one that must work.
static const struct probe_row rows[] = {
    {"key", "dac", "", EXPECTED_DENIED, true, 0},
    {"signal", "dac", "", EXPECTED_DENIED, false, 0},
    {"shell", "must work", "", EXPECTED_ALLOWED, true, 0},
};
enum { KEY, SIGNAL, SHELL };

const struct probe_row *probe_row(unsigned probe)
{
    return probe < ARRAY_LEN(rows) ? &rows[probe] : NULL;
}

struct lab {
    char *dir;
    struct config config;
    struct identity identities[2];
    struct probe_result results[8];
    struct gate gate;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    char command[512];
    lab->dir = scratch_make();
    snprintf(command, sizeof(command), "mkdir %s/run", lab->dir);
    assert_int_equal(system(command), 0);
    lab->config = (struct config){.api_socket = "/run/api.sock", .uid = geteuid(), .gid = getegid()};
    lab->identities[0] = (struct identity){.name = "default", .complete = true};
    lab->identities[1] = (struct identity){.name = "other", .complete = true};
    lab->gate = (struct gate){.config = &lab->config,
                              .root = fd_open_root(lab->dir),
                              .identities = lab->identities,
                              .n_identities = 2,
                              .results = lab->results};
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    close(lab->gate.root);
    free(lab->gate.findings);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static void again(struct lab *lab)
{
    lab->gate.n_results = lab->gate.n_findings = 0;
}

static void saw(struct lab *lab, unsigned identity, unsigned probe, enum cell cell)
{
    lab->results[lab->gate.n_results++] =
        (struct probe_result){.probe = probe, .identity = identity, .cell = cell, .control = true};
}

// "default key,signal;" for what the flag says.
static void flag_is(struct lab *lab, const char *expected)
{
    struct breach_list list;
    char text[256] = "";
    flag_breaches(&lab->gate);
    assert_false(lab->gate.failed);
    assert_int_equal(breach_read(lab->gate.root, &lab->config, &list), 0);
    for (size_t i = 0; i < list.n; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.60s %.60s;", list.list[i].account,
                 list.list[i].rows);
    assert_string_equal(text, expected);
    breach_free(&list);
}

static void test_flag_breaches__only_what_must_be_denied_and_was_not(void **s)
{
    struct lab *lab = *s;
    saw(lab, 0, KEY, CELL_DENIED);
    saw(lab, 0, SHELL, CELL_ALLOWED);
    saw(lab, 1, SIGNAL, CELL_ABSENT);
    saw(lab, 1, KEY, CELL_UNPROVEN);
    flag_is(lab, "");
    saw(lab, 1, SIGNAL, CELL_ALLOWED);
    flag_is(lab, "other signal;");
    assert_int_equal(lab->gate.n_findings, 0); // the results were told already
}

static void test_flag_breaches__lifted_only_by_what_was_tried_and_held(void **s)
{
    struct lab *lab = *s;
    saw(lab, 0, KEY, CELL_ALLOWED);
    saw(lab, 0, SIGNAL, CELL_ALLOWED);
    flag_is(lab, "default key,signal;");
    again(lab);
    saw(lab, 0, KEY, CELL_DENIED);
    saw(lab, 0, SIGNAL, CELL_UNPROVEN);
    flag_is(lab, "default signal;");
    assert_int_equal(lab->gate.n_findings, 1);
    assert_int_equal(lab->gate.findings[0].verdict, VERDICT_REFUSE);
    again(lab);
    saw(lab, 0, SIGNAL, CELL_DENIED);
    lab->results[0].control = false; // its twin was denied too
    flag_is(lab, "default signal;");
    again(lab);
    lab->identities[0].complete = false; // it may not have come to that row
    flag_is(lab, "default signal;");
    lab->identities[0].complete = true;
    again(lab);
    flag_is(lab, ""); // all was tried, and the row has no target any more
}

static void test_flag_breaches__an_account_that_is_gone_leaves_it(void **s)
{
    struct lab *lab = *s;
    saw(lab, 1, KEY, CELL_ALLOWED);
    flag_is(lab, "other key;");
    again(lab);
    lab->gate.n_identities = 1;
    flag_is(lab, "");
}

static void test_flag_breaches__one_that_cannot_be_read_is_made_anew(void **s)
{
    struct lab *lab = *s;
    char command[512];
    snprintf(command, sizeof(command), "echo nonsense >%s/run/breach", lab->dir);
    assert_int_equal(system(command), 0);
    saw(lab, 0, KEY, CELL_ALLOWED);
    flag_is(lab, "default key;");
}

RUN(cmocka_unit_test_setup_teardown(test_flag_breaches__only_what_must_be_denied_and_was_not, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(test_flag_breaches__lifted_only_by_what_was_tried_and_held, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(test_flag_breaches__an_account_that_is_gone_leaves_it, setup, teardown),
    cmocka_unit_test_setup_teardown(test_flag_breaches__one_that_cannot_be_read_is_made_anew, setup,
                                    teardown))
