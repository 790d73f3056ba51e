// What the unit tests share: cmocka, a scratch directory, files.
#pragma once
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h> // wants the four above it
// clang-format on
#include "owned.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// A fresh directory under $TMPDIR or /tmp, mode 0755; removed by scratch_remove.
static inline char *scratch_make(void)
{
    char *path = NULL;
    const char *base = getenv("TMPDIR");

    assert_true(asprintf(&path, "%s/ductile-unit.XXXXXX", base ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(path));
    assert_int_equal(chmod(path, 0755), 0);
    return path;
}

static inline void scratch_remove(char *path)
{
    char command[512];

    snprintf(command, sizeof(command), "chmod -R u+rwx '%s'; rm -rf '%s'", path, path);
    assert_int_equal(system(command), 0);
    free(path);
}

__attribute__((format(printf, 2, 3))) static inline void put(const char *path, const char *format, ...)
{
    va_list ap;
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    va_start(ap, format);
    vfprintf(f, format, ap);
    va_end(ap);
    assert_int_equal(fclose(f), 0);
}

// Runs fn in a child; its exit code.
static inline int in_child(int (*fn)(void *), void *arg)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn(arg));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define T(name) cmocka_unit_test(test_##name)
#define RUN(...)                                                                                             \
    int main(void)                                                                                           \
    {                                                                                                        \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                                     \
        cmocka_set_message_output(CM_OUTPUT_TAP);                                                            \
        return cmocka_run_group_tests(tests, NULL, NULL);                                                    \
    }
