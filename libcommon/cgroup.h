// cgroup v2: finding the delegated one, leaves for warden, bus and worker slots, and the kill that needs only
// file permission. Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst (cgroup.kill since 5.14).
#pragma once
#include "owned.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Opens the directory of this process's own cgroup v2 for use as a delegated root. -ENOENT: there is no
// cgroup2 mount or no entry in /proc/self/cgroup; -EACCES: it may not be written, so it was not delegated.
MUST int cgroup_open_own(int *ret_dir);
// Makes (or finds) a child cgroup and opens its directory.
MUST int cgroup_make(int parent, const char *name, int *ret_dir);
// Moves this process into dir.
MUST int cgroup_enter(int dir);
// cgroup.procs opened for writing: whoever holds the descriptor may put itself in.
MUST int cgroup_open_procs(int dir);
// cgroup.events opened; poll(2) it for POLLPRI and ask cgroup_populated again.
MUST int cgroup_open_events(int dir);
// 1 while any process lives in dir or below, 0 when none does. -errno.
MUST int cgroup_populated(int events_fd);
// How many processes are in dir itself (what is not reaped counts not).
MUST int cgroup_count(int dir);
// The controllers of dir, enabled for its children where the kernel lets us. Bits of enum cgroup_controller.
enum cgroup_controller { CGROUP_MEMORY = 1, CGROUP_PIDS = 2, CGROUP_CPU = 4 };
MUST unsigned cgroup_enable(int dir);
// Sets the limits of a job's cgroup, for those of `controllers`. 0 is no limit; bytes, processes, percent of
// one CPU. -errno.
MUST int cgroup_limit(int dir, unsigned controllers, uint64_t memory, uint64_t pids, uint64_t cpu);
// SIGKILL to everything in dir and below.
MUST int cgroup_kill(int dir);
// Kills and removes every child of parent whose name starts with prefix, waiting at most timeout_ms for each
// to be empty. Returns how many of them still held processes, or -errno.
MUST int cgroup_sweep(int parent, const char *prefix, int timeout_ms);
