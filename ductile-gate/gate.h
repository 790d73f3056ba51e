// ductile-gate: may the gateway start? Facts in, findings out; the wall is tried, not assumed. Runs as the
// service user with the two capabilities, exactly as the warden will.
#pragma once
#include "config.h"
#include "layout.h"
#include "lock.h"
#include "opt.h"
#include "str.h"

enum check_id {
#define CHECK(name, id, good, bad, remedy, theory) CHECK_##name,
#include "checks.def"
#undef CHECK
    CHECK_COUNT_
};

struct check_row {
    const char *id, *good, *bad, *remedy, *theory;
};
extern const struct check_row check_rows[CHECK_COUNT_];

enum verdict { VERDICT_PASS, VERDICT_WARN, VERDICT_UNPROVEN, VERDICT_REFUSE, VERDICT_COUNT_ };
const char *verdict_name(enum verdict verdict);

struct finding {
    enum check_id check;
    enum verdict verdict;
    char subject[256];  // a path, an account, a plugin
    char evidence[512]; // the fact that was found
};

enum cell { CELL_DENIED, CELL_ALLOWED, CELL_UNPROVEN, CELL_ABSENT };

int verb_why_not(const struct opts *opts); // whynot.c

// One attempt by one identity.
struct probe_result {
    unsigned probe; // row of probes.def
    unsigned identity;
    enum cell cell;
    int error;    // errno of the attempt
    bool twin;    // there is a harmless twin
    bool control; // on which the same succeeded; true where there is none
    char target[160];
};

struct identity {
    const char *name;
    enum account_mode mode;
    const struct account_config *account; // NULL: unconfined, the service user itself
};

// Where an account that is held to an egress list must not get, and the gate does.
struct listener {
    int fd; // -1: none, this host lacks the family
    uint16_t port;
    bool reached;
};

struct gate {
    struct config *config;
    struct lock lock;
    int root;
    bool enforce, live; // live: the running host, not an image below --root
    struct finding *findings;
    size_t n_findings;
    struct probe_result *results;
    size_t n_results;
    struct identity *identities;
    size_t n_identities;
    struct listener listeners[2]; // IPv4, IPv6; in use while the wall is tried
    bool failed;                  // out of memory while noting something
};

// Notes a finding. A PASS of the same check and another subject is noted once each.
__attribute__((format(printf, 5, 6))) void gate_note(struct gate *g, enum check_id check,
                                                     enum verdict verdict, const char *subject,
                                                     const char *evidence, ...);
enum verdict gate_outcome(const struct gate *g);

// decide.c: the boot table, kernel facts and what the config alone shows.
void check_posture(struct gate *g);
void check_kernel(struct gate *g);
void check_plugins(struct gate *g);
// floor.c: every row of the layout; homes.
void check_floor(struct gate *g);
void check_homes(struct gate *g);
// doors.c: users, ids and groups of the host.
void check_doors(struct gate *g);

// probes.c
enum expected { EXPECTED_DENIED, EXPECTED_ALLOWED, EXPECTED_EITHER }; // either: a door that is told of
struct probe_row {
    const char *word, *layer, *what;
    enum expected expected;
    bool brief;
    int abi; // of Landlock, from which on it is denied; 0: on every host
};
const struct probe_row *probe_row(unsigned probe);
// Tries the wall as every identity; all: the long form too. Results into g, findings where something was
// climbed.
void run_probes(struct gate *g, bool all);

// report.c
void report_findings(const struct gate *g, bool all);
void report_matrix(const struct gate *g);
void report_json(const struct gate *g, const char *verb, enum verdict outcome);
// A row of what was decided, by a child that first became the ledger's owner; never creates a ledger.
void report_ledger(const struct gate *g, const char *verb, enum verdict outcome);
