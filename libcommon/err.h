// Exit codes and refusals: how every program says no. A refusal is three lines - what, why, what to do -
// under a stable id; refusal.def and exitcode.def are the tables.
#pragma once
#include "owned.h"
#include <stdbool.h>

enum exitcode {
#define CODE(name, number, meaning) EXITCODE_##name = (number),
#include "exitcode.def"
#undef CODE
};

enum refusal_kind {
#define REFUSAL(name, id, code, theory) REFUSE_##name,
#include "refusal.def"
#undef REFUSAL
    REFUSE_COUNT_
};

struct refusal {
    char id[32];
    enum exitcode code;
    char what[512], why[2048], remedy[1024];
};

// Starts a refusal: sets id, code and the first line. Returns -ECANCELED, so that library code may write
// `return refuse(ret, REFUSE_X, ...)` and callers tell "refused, and said why" from a bare errno.
__attribute__((format(printf, 3, 4))) int refuse(struct refusal *ret, enum refusal_kind kind,
                                                 const char *what, ...);
// The second and third line. They may be set in any order, each again.
__attribute__((format(printf, 2, 3))) int refuse_why(struct refusal *ret, const char *why, ...);
__attribute__((format(printf, 2, 3))) int refuse_remedy(struct refusal *ret, const char *remedy, ...);

// Prints the three lines on standard error (and, with json, one document on standard output).
// Returns the exit code.
int refusal_print(const struct refusal *refusal, bool json);

// What stands in the tables, for help texts and the reference pages.
const char *refusal_id(enum refusal_kind kind);
const char *refusal_theory(enum refusal_kind kind);
enum exitcode refusal_code(enum refusal_kind kind);

// "EACCES" for 13; NULL for a number without a name.
const char *errno_name(int e);
