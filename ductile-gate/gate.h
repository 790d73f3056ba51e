// ductile-gate: may the gateway start? Facts in, findings out; the wall is tried, not assumed. Runs as the
// service user with the two capabilities, exactly as the warden will.
#pragma once
#include "config.h"
#include "layout.h"
#include "lock.h"
#include "opt.h"
#include "str.h"
#include <stdio.h>

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

// NOTHING: this host has no such target, and there was nothing to try. No result of it is kept.
enum cell { CELL_DENIED, CELL_ALLOWED, CELL_UNPROVEN, CELL_ABSENT, CELL_NOTHING };

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
    bool complete;                        // every attempt was made
    size_t first, n;                      // its results: those of an identity stand together
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
    bool quiet;                   // prove -q: no matrix, and no warnings that each boot gives
    bool failed;                  // out of memory while noting something
    int64_t deadline;             // monotonic ms: what is not known by then is unproven
    struct pace *pace;            // in a child of guard_run
    char hung[8][256];            // what did not answer: nothing in it is asked again
    size_t n_hung;
    struct book *book; // gate_book
};

// Notes a finding. A PASS of the same check and another subject is noted once each.
__attribute__((format(printf, 5, 6))) void gate_note(struct gate *g, enum check_id check,
                                                     enum verdict verdict, const char *subject,
                                                     const char *evidence, ...);
// What a door of an account (GATE-DOOR-NN) does: a warning for a credentialed one and under `warn`, else a
// refusal. gate_note takes the refusal back where the config accepts that door, and the day has not passed.
enum verdict gate_door_verdict(const struct gate *g, const struct account_config *account);
enum verdict gate_outcome(const struct gate *g);

// book.c: who is in /etc/passwd and /etc/group.
struct book_user {
    char *name;
    uid_t uid;
    gid_t gid;
};
struct book_group {
    char *name, **members; // NULL at the end
    gid_t gid;
};
struct book {
    struct book_user *users;
    struct book_group *groups;
    size_t n_users, n_groups;
    bool has_users, has_groups; // false: the file cannot be read
};
// Read at the first call. NULL on no memory.
const struct book *gate_book(struct gate *g);
void book_free(struct book *book);

// guard.c
int64_t gate_now(void); // monotonic ms
struct guarded {
    const char *word;
    void (*run)(struct gate *);
};
// Runs the checks in a child, in their order. A step that hangs is noted (GATE-TIME-01) and passed over.
void guard_run(struct gate *g, const struct guarded *checks, size_t n);
// In a check: before each thing that may hang by itself. False: pass over it.
MUST bool gate_step(struct gate *g, const char *subject);
// Lies path in what did not answer an earlier step?
MUST bool gate_hangs(const struct gate *g, const char *path);
// Runs fn in a child for at most TIME_PROBE_MS. True: it returned 0.
MUST bool guard_call(struct gate *g, int (*fn)(struct gate *, void *), void *arg);
void guard_send(struct gate *g, const struct finding *f); // gate_note's
int gate_pidfd(pid_t pid);

// decide.c: the boot table, kernel facts and what the config alone shows.
void check_posture(struct gate *g);
void check_kernel(struct gate *g);
void check_plugins(struct gate *g);
// floor.c: every row of the layout; homes.
void check_floor(struct gate *g);
extern const char *const gate_creds[]; // creds.c: below a home, up to NULL
void check_answers(struct gate *g);    // does every home answer at all? Before all that looks into one
void check_homes(struct gate *g);
// drift.c: plugin code against its lock, and what lies in the roots without one.
void check_drift(struct gate *g);
void check_home(struct gate *g, const struct account_config *a); // its owner and kind only
// fit.c: secret zero fits the vault.
void check_vault(struct gate *g);
// cover.c: directories of plugin roots in homes hand the service's group down.
void check_cover(struct gate *g);
// doors.c: groups of the host that lead to root. ids.c: its users and ids.
void check_doors(struct gate *g);
void check_ids(struct gate *g);
// asked.c: doors that are asked as the account itself. Before the warden's filter is loaded.
void check_asked(struct gate *g);
// image.c: an image below --root: what its files say, and which checks need a running host (`unproven`, with
// GATE_HOST as their subject).
#define GATE_HOST "the running host"
void look_at_image(struct gate *g);
// A file below root as a stream, or NULL.
FILE *gate_stream(int root, const char *path);
// facts.c: doors that only root could see, as it wrote them down.
void check_facts(struct gate *g);
// unit.c: the installed unit and its drop-ins, beside the one that the config gives.
void check_unit(struct gate *g);
// doctor.c: clock, room, layers and versions: no reason to refuse.
void check_host(struct gate *g);

// probes.c
enum expected { EXPECTED_DENIED, EXPECTED_ALLOWED, EXPECTED_EITHER }; // either: a door that is told of
struct probe_row {
    const char *word, *layer, *what;
    enum expected expected;
    bool brief;
    int abi; // of Landlock, from which on it is denied; 0: on every host
};
const struct probe_row *probe_row(unsigned probe);
// Which accounts try it: "every account", "confined", "credentialed", ...
const char *probe_who(unsigned probe);
// Tries the wall as every identity; all: the long form too. Results into g, findings where something was
// climbed.
void run_probes(struct gate *g, bool all);

// flag.c: what was seen open, into the flag that the warden obeys; rows that were on it and are shut, off it.
void flag_breaches(struct gate *g);

// report.c
// A row's remedy with the subject in the place of its %s.
void finding_remedy(const char *remedy, const char *subject, char out[static 1024]);
void report_findings(const struct gate *g, bool all);
void report_matrix(const struct gate *g);
void report_json(const struct gate *g, const char *verb, enum verdict outcome);
// The end of every verb that prints a report: 0, or 74 where standard output did not take it.
int report_written(void);
// A row of what was decided, by a child that first became the ledger's owner; never creates a ledger.
void report_ledger(const struct gate *g, const char *verb, enum verdict outcome);
