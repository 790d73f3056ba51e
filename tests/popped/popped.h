// The attacker who has taken one half over. Linked into build/broken only (DUCTILE_BREAK=popwarden, popbus):
// once the half is walled in and ready it jumps here, and this tries everything, row by row. The same
// attempts as a program of their own (build/broken/bin/popped), run as root behind no wall, are the control.
#pragma once
#include "config.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct target {
    const struct config *config;
    pid_t warden, bus;          // of the running gateway
    char cgroup[256], out[256]; // the unit's cgroup, "" where there is none; where the rows go
};

// An attempt: 0, it got what it wanted; else -errno. It may change what it is: where a process can be made it
// runs in one of its own.
typedef int attempt_fn(const struct target *t, long number, const char *text);
struct attempt {
    const char *row;
    attempt_fn *fn;
    long number;
    const char *text;
};

// Waits for the targets in DIR/popped.targets ("warden PID", "bus PID", "cgroup PATH", one a line), which
// starts it.
bool popped_wait(struct target *t, const char *dir);
// {"row", "found": "allowed" | "denied", "errno"} as one line. r as an attempt answers.
void popped_row(const struct target *t, const char *row, int r);
void popped_try(const struct target *t, const struct attempt *list, size_t n);
// What any half tries, whichever it is; and of the other one's process.
void popped_common(const struct target *t);
void popped_processes(const struct target *t, bool of_warden);
void popped_as_warden(const struct target *t);
void popped_as_bus(const struct target *t);
