// cgroup v2 for real where this process may make one; the same calls against plain files where they must
// fail.
#include "cgroup.h"
#include "unit.h"
#include <signal.h>
#include <time.h>

static int own = -1;

static int setup(void **s)
{
    (void)s;
    int r = cgroup_open_own(&own);
    if (r < 0)
        print_message("# no writable cgroup2 here: %s\n", strerror(-r));
    return r;
}

static int teardown(void **s)
{
    (void)s;
    if (cgroup_sweep(own, "ductile-unit-", 1000) < 0)
        return -1;
    close(own);
    return 0;
}

static pid_t sleeper_in(int dir)
{
    int procs = cgroup_open_procs(dir);
    assert_true(procs >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (write(procs, "0", 1) != 1)
            _exit(1);
        if (fork() == 0) { // setsid does not lead out
            setsid();
            signal(SIGTERM, SIG_IGN);
            pause();
        }
        pause();
    }
    close(procs);
    for (int i = 0; i < 200 && cgroup_count(dir) < 2; i++)
        usleep(5000);
    assert_int_equal(cgroup_count(dir), 2);
    return pid;
}

static void test_cgroup_kill__everything_in_it(void **s)
{
    int dir, status;
    (void)s;
    assert_int_equal(cgroup_make(own, "ductile-unit-a", &dir), 0);
    OWNED(fd_closep) int events = cgroup_open_events(dir);
    assert_int_equal(cgroup_populated(events), 0);
    pid_t pid = sleeper_in(dir);
    assert_int_equal(cgroup_populated(events), 1);
    assert_int_equal(cgroup_kill(dir), 0);
    for (int i = 0; i < 200 && cgroup_populated(events) != 0; i++)
        usleep(5000);
    assert_int_equal(cgroup_populated(events), 0); // also while the zombie is not reaped
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(dir);
}

static void test_cgroup_sweep__counts_and_removes(void **s)
{
    int a, b;
    (void)s;
    assert_int_equal(cgroup_make(own, "ductile-unit-x1", &a), 0);
    assert_int_equal(cgroup_make(own, "ductile-unit-x2", &b), 0);
    pid_t pid = sleeper_in(a);
    assert_int_equal(cgroup_sweep(own, "ductile-unit-x", 2000), 1);
    waitpid(pid, NULL, 0);
    close(a);
    close(b);
    assert_true(openat(own, "ductile-unit-x1", O_RDONLY) < 0);
    assert_true(openat(own, "ductile-unit-x2", O_RDONLY) < 0);
}

static void test_cgroup_populated__what_is_no_cgroup(void **s)
{
    char *dir = scratch_make(), path[512];
    (void)s;
    snprintf(path, sizeof(path), "%s/cgroup.events", dir);
    put(path, "something else\n");
    OWNED(fd_closep) int fd = open(dir, O_RDONLY | O_DIRECTORY);
    OWNED(fd_closep) int events = cgroup_open_events(fd);
    assert_int_equal(cgroup_populated(events), -EPROTO);
    put(path, "populated 1\nfrozen 0\n");
    assert_int_equal(cgroup_populated(events), 1);
    assert_int_equal(cgroup_kill(fd), -ENOENT);
    assert_int_equal(cgroup_open_procs(fd), -ENOENT);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(cgroup_kill__everything_in_it), T(cgroup_sweep__counts_and_removes),
                                       T(cgroup_populated__what_is_no_cgroup)};
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
