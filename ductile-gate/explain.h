// Everything the gate knows of by name: checks, doors, probes, refusals, with the rule for each tier. One
// list, from the tables, read by `list`, `explain`, the man page and their tests.
#pragma once
#include "opt.h"
#include "str.h"

enum entry_kind { ENTRY_CHECK, ENTRY_DOOR, ENTRY_PROBE, ENTRY_REFUSAL, ENTRY_COUNT_ };
const char *entry_kind_name(enum entry_kind kind);

struct entry {
    enum entry_kind kind;
    const char *id;     // GATE-DOOR-01, docker, secret-zero, CLI-USE-01
    const char *family; // of checks.def, for doors and probes; NULL for a refusal
    const char *tier;   // host, every, confined, credentialed, unconfined, network: none, egress
    char good[256], bad[256];
    char remedy[1024]; // "" for a refusal, which prints its own
    const char *theory;
    char tried[320];
    const char *rule; // which verdict for whom
};

// How many entries there are, and one of them. Their order is that of the tables; refusals come last.
size_t entry_count(void);
void entry_get(size_t i, struct entry *ret);
// 0; -ENOENT with the nearest id in *ret_near (NULL where none is near). Letter case does not matter.
MUST int entry_find(const char *id, struct entry *ret, const char **ret_near);
// The sections of ductile-gate(8).
void explain_man(void);

int verb_list(const struct opts *o);
int verb_explain(const struct opts *o);
