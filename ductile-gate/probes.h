// Between the table of attempts (probes.c) and those who make them (lanes.c, actors.c).
#pragma once
#include "attempts.h"
#include "gate.h"
#include "privs.h"
#include <stdatomic.h>

enum probe_id {
#define PROBE(id, word, who, form, attempt, target, layer, what) PROBE_##id,
#define WORKS(id, word, who, form, attempt, target, what)        PROBE_##id,
#define LOGIN(id, word, form, attempt, target, what)             PROBE_##id,
#define SCOPED(id, word, who, form, attempt, target, abi, what)  PROBE_##id,
#include "probes.def"
#undef PROBE
#undef SCOPED
#undef WORKS
#undef LOGIN
    PROBE_COUNT_
};

// One attempt on one target.
struct probe_try {
    unsigned probe;
    const struct attempt *attempt;
    int abi;       // of Landlock, from which on it is denied; 0: always
    bool optional; // a host may well lack the target: then there is nothing to try
    bool must_be;  // it should be there, and the service can see whether it is
    bool gone;     // it is not: nothing is known
    struct attempt_target target;
};

// What a child has done so far, in memory that it shares with the gate.
struct track {
    _Atomic uint32_t done; // attempts; their results are written
    _Atomic int64_t since; // monotonic ms: when the present one began
    _Atomic bool dropped;
    struct privs_record record; // of a drop that failed
    struct probe_result results[];
};

// One identity on its way. One child at a time makes its attempts, one after the other.
struct lane {
    unsigned identity;
    struct privs_plan plan;
    pid_t sibling; // a twin of the same uid
    struct probe_try *tries;
    size_t n, n_all; // n: still to be made; n_all: room
    struct track *track;
    size_t size;
    pid_t pid;
    int pidfd;
    unsigned late;    // how many did not answer
    bool ended, over; // over: the gate's time was, before its end
    bool failed;      // out of memory: nothing is known
};

// Makes all attempts of the lanes, each account beside the others. Every attempt that was made has its result
// in the lane's track; one that did not answer has ETIMEDOUT.
struct lane_owner {
    void (*fill)(const struct lane_owner *owner, struct lane *lane); // its attempts; called when it begins
    void (*emptied)(const struct lane_owner *owner, struct lane *lane);
    void *data;
};
void lanes_run(struct gate *g, struct lane *lanes, size_t n, const struct lane_owner *owner);
// Adds one; false on no memory.
MUST bool lane_add(struct lane *lane, const struct probe_try *attempt);
void lane_free(struct lane *lane);

// judge.c: the results of a lane, in words; into g.
void judge_lane(struct gate *g, const struct lane *lane);

// ---- actors.c -----------------------------------------------------------------------------------
struct actors {
    pid_t warden, bus;
    pid_t twins[2]; // to be ended
};
// The running gateway, or twins in its place.
void actors_start(struct gate *g, struct actors *ret);
void actors_end(struct gate *g, struct actors *actors);
// A dumpable process of an account, outside of any domain. -1 where it cannot be made.
pid_t actors_sibling(const struct account_config *account);
void actors_end_sibling(pid_t pid, const struct account_config *account);
// Ends a process (all: its session too) that has that uid; waits for it only where that is sure to end.
void actors_kill(pid_t pid, int64_t uid, bool all);
