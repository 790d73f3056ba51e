#include "capture.h"
#include "str.h"
#include "unit.h"
#include <sys/prctl.h>
#include <time.h>

static int run(const char *script, unsigned ms, size_t max, char **ret, int *status)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    return capture_run(argv, ms, max, ret, status);
}

static void test_capture_run__output_and_status(void **s)
{
    OWNED(freep) char *text = NULL;
    int status;
    (void)s;
    setenv("SECRET", "not handed on", 1);
    assert_int_equal(
        run("echo out; echo err >&2; echo $LC_ALL $SECRET; cat; exit 3", 5000, 1000, &text, &status), 0);
    assert_string_equal(text, "out\nerr\nC\n");
    assert_int_equal(WEXITSTATUS(status), 3);
}

static void test_capture_run__no_such_program(void **s)
{
    OWNED(freep) char *text = NULL;
    int status;
    const char *const argv[] = {"/nowhere/to/be/found", NULL};
    (void)s;
    assert_int_equal(capture_run(argv, 5000, 1000, &text, &status), 0);
    assert_int_equal(WEXITSTATUS(status), 127);
}

static void test_capture_run__late_or_too_much_is_killed_with_its_children(void **s)
{
    char *text = NULL;
    int status;
    time_t began = time(NULL);
    (void)s;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0),
                     0); // who is left comes to us, and is waited for
    assert_int_equal(run("sleep 60 & sleep 60", 200, 1000, &text, &status), -ETIMEDOUT);
    assert_int_equal(run("exec >&- 2>&-; sleep 60", 200, 1000, &text, &status), -ETIMEDOUT);
    assert_int_equal(run("while :; do echo more; done", 5000, 1000, &text, &status), -EFBIG);
    assert_null(text);
    while (waitpid(-1, &status, 0) > 0)
        ;
    assert_true(time(NULL) - began < 5);
}

static void test_capture_run__descriptors_stay_here(void **s)
{
    OWNED(freep) char *text = NULL;
    OWNED(fd_closep) int leak = dup(0);
    int status;
    (void)s;
    assert_true(leak > 2);
    assert_int_equal(
        run("for f in 3 4 5 6 7; do test -e /dev/fd/$f && echo $f; done; :", 5000, 1000, &text, &status), 0);
    assert_string_equal(text, "");
}

RUN(T(capture_run__output_and_status), T(capture_run__no_such_program),
    T(capture_run__late_or_too_much_is_killed_with_its_children), T(capture_run__descriptors_stay_here))
