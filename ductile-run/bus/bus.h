// The bus: everything that parses hostile bytes - plugin output, HTTP, JSON - and the ledger. Its own user,
// no capability, no secret. It asks the warden to run things and believes what the warden says of processes.
//
//   main.c      start (config by the wire, sandbox, ledger), loop, stop
//   queue.c     jobs in the ledger: enqueue, next, transitions, recovery
//   dispatch.c  due jobs to the warden; pipes; what the warden says of them
//   ending.c    the end of an attempt: one transaction, or kept until the ledger takes it
//   request.c   the body of a plugin's request          response.c  what a plugin answered
//   route.c     events to pipelines to jobs             api.c       HTTP on the unix socket and over TCP
//   show.c      what the API tells about jobs and posture
//   auth.c      who asks the API, and what for          hook.c      signed requests of others
//   crowd.c     how long a connection over TCP may take, and which makes room
//   plugins.c   which plugins there are: locks and manifests from the warden
#pragma once
#include "config.h"
#include "json.h"
#include "ledger.h"
#include "lock.h"
#include "manifest.h"
#include "mask.h"
#include "proto.h"
#include "str.h"
#include "token.h"
#include <ev.h>
#include <stdbool.h>

struct plugin {
    const char *name;                     // an alias has its own
    const struct lock_plugin *lock;       // of the code it uses
    const struct manifest *manifest;      // ditto
    const struct account_config *account; // NULL: unconfined
    bool enabled;
    unsigned parallelism;
};

// All that came with the last CONFIG message.
struct catalog {
    struct lock lock;
    struct manifest *manifests; // one per plugin of the lock; name NULL where it was left out
    struct plugin *list;        // sorted by name
    size_t n;
};

struct output {
    ev_io watcher; // first member
    struct run *run;
    int fd;
    struct strbuf text;
    uint64_t total; // bytes seen, kept or not
    uint64_t limit;
    bool fails; // over the limit: the job fails (stdout); else: truncated (stderr)
};

// What a plugin answered.
struct response {
    json_t *root; // owned
    bool ok, retry;
    const char *error;
    json_t *result, *events, *state_updates; // borrowed, may be NULL
};

// How an attempt ended.
struct outcome {
    const char *state; // succeeded, failed, timed_out, refused, cancelled, queued
    char reason[256];  // why
    const char *error; // what the plugin said, may be NULL; borrowed from response
    bool retry;
    struct response response; // of a success
};

// A job that the warden has - or had, and whose end is not in the ledger yet.
struct run {
    struct run *next;
    struct bus *bus;
    int64_t job;
    unsigned attempt;
    char plugin[LIMIT_NAME], command[LIMIT_NAME];
    struct output out, err;
    bool started;
    struct proto_started begun; // the warden's words, until they are written
    struct proto_exited exited;
    bool start_due, exit_due; // not written yet
    struct outcome *end;      // NULL while it runs
    struct mask_set mask;     // of the secrets it was given
    long masked;              // how often they stood in its answer
};

// A signature that was taken, and counts once in its webhook's window.
struct seen {
    uint8_t mark[16]; // a hash of it
    int64_t until_ms;
};

struct bus {
    struct config *config;
    char snapshot_hex[2 * TREE_HASH_LEN + 1];
    uint8_t snapshot[TREE_HASH_LEN];
    int64_t snapshot_id;
    struct catalog catalog;
    struct ledger ledger;
    struct proto_link warden;
    struct ev_loop *loop;
    ev_io wire_watcher;
    struct kept_fact *kept; // facts the ledger could not take
    ev_timer due_timer, drain_timer, stall_timer, head_timer;
    struct run *runs;
    unsigned n_runs;
    struct api *api;
    struct token_table tokens; // who may ask over TCP; the warden's words
    struct {
        struct seen *list;
        size_t n;
        bool loaded; // what the ledger has of an earlier run
    } seen;
    bool stopping, landlocked;
    bool stopped;             // the ledger is closed; what else this turn of the loop brings is too late
    int landlock_abi;         // as it was before the filter, behind which nobody can ask
    bool stalled, stall_said; // the ledger cannot be written: no work begins
    char boot_id[40];
    int64_t started_ms;
    int64_t looked_ms; // when queue_next last looked: what was due then is no timer's affair
};

// Ends the bus: the warden, and with it the gateway, follows. For faults after which nothing can be promised.
__attribute__((noreturn, format(printf, 1, 2))) void bus_die(const char *format, ...);

// Once a stop was asked for and no job runs: the last row, the farewell, the end of the loop.
void end_if_idle(struct bus *bus);

// ---- plugins.c ----------------------------------------------------------------------------------
struct bundle;
// Builds the catalog of a bundle. -errno; a plugin that cannot be used is logged and left out.
MUST int catalog_build(const struct config *config, const struct bundle *bundle, struct catalog *ret);
void catalog_free(struct catalog *catalog);
const struct plugin *catalog_find(const struct catalog *catalog, const char *name);
// May this command be queued? -ENOENT: no such plugin, or no such command; -EACCES: the plugin is disabled;
// then why says it.
MUST int catalog_runs(const struct catalog *catalog, const char *plugin, const char *command,
                      char why[static 256]);

// ---- queue.c ------------------------------------------------------------------------------------
struct new_job {
    const char *plugin, *command, *payload, *submitted_by, *dedupe_key; // dedupe_key may be NULL
    int64_t parent, event, pipeline_run, step;                          // 0: none (step counts from 1)
    int64_t depth;
};

struct queued_job {
    int64_t id, attempt, max_attempts, event, pipeline_run, step, depth;
    char plugin[LIMIT_NAME], command[LIMIT_NAME];
    char *payload; // owned
};

// Inserts a job, or finds the one it equals (*ret_equals is then its id, *ret_id 0). In a transaction of the
// caller or of its own. -EIO.
MUST int queue_add(struct bus *bus, const struct new_job *job, int64_t *ret_id, int64_t *ret_equals);
// The next due job that its plugin's parallelism allows. 1, 0 (none) or -EIO.
MUST int queue_next(struct bus *bus, struct queued_job *ret);
void queued_job_free(struct queued_job *job);
// queued -> running, with its attempt row. 0, -ESTALE (somebody else moved it), -EIO.
MUST int queue_start(struct bus *bus, struct queued_job *job);
// When the next queued job is due; INT64_MAX for never.
int64_t queue_due_ms(struct bus *bus);
// One guarded transition of a job in `from` and `attempt`; in the caller's transaction. 0, -ESTALE, -EIO.
MUST int queue_move(struct bus *bus, int64_t job, int64_t attempt, const char *from, const char *to,
                    const char *reason);
// After failed or timed_out: back to queued while attempts are left and retry, else dead (or as it is, where
// a retry makes no sense).
MUST int queue_retry(struct bus *bus, int64_t job, int64_t attempt, const char *state, bool retry);
// Jobs found running at the start: their gateway is gone, and the warden has killed what was left of them.
MUST int queue_recover(struct bus *bus);

// ---- dispatch.c ---------------------------------------------------------------------------------
// Hands out due jobs while slots are free, and sets the timer for the next.
void dispatch(struct bus *bus);
// What must not stand in the answer of a job. Takes fd.
void dispatch_mask(struct bus *bus, const struct proto_mask *m, int fd);
void dispatch_started(struct bus *bus, const struct proto_started *m, int out_fd, int err_fd);
void dispatch_refused(struct bus *bus, const struct proto_refused *m);
void dispatch_exited(struct bus *bus, const struct proto_exited *m);
void dispatch_audit(struct bus *bus, const struct proto_audit *m, int detail_fd);
void dispatch_stop(struct bus *bus);

// ---- ending.c -----------------------------------------------------------------------------------
// What the warden said of a start, into the attempt's row; kept in the run where the ledger cannot take it.
void ending_started(struct bus *bus, struct run *run, const struct proto_started *m);
// Takes over *o, writes what is unwritten of the run in one transaction, and drops the run. Where the ledger
// cannot take it the run stays, and the bus stalls.
void ending_take(struct bus *bus, struct run *run, const struct outcome *o);
// Tries once more to write what was kept. Returns how many ends are still unwritten.
unsigned ending_settle(struct bus *bus);
void ending_init(struct bus *bus);
// After a failure of the ledger, before anything else is asked of it: no work begins until it takes writes
// again (looked at once a second). Ends the bus where the fault is ours, not the host's.
void bus_stall(struct bus *bus, const char *what);
void output_close(struct bus *bus, struct output *o);

// ---- request.c, response.c ----------------------------------------------------------------------
// The request without its secrets: what follows the warden's `{"secrets":{...},`. -errno.
MUST int request_body(struct bus *bus, const struct queued_job *job, char **ret, size_t *ret_len);

// mask: what must not stand in it (*ret_masked: how often it did). 0, or -EBADMSG with the reason in why.
MUST int response_parse(const struct config *config, const char *text, size_t len,
                        const struct mask_set *mask, long *ret_masked, struct response *ret,
                        char why[static 160]);
void response_free(struct response *response);

// ---- route.c
// ------------------------------------------------------------------------------------------------ In the
// transaction that completes `job`: its events, the jobs they start, the next step. -EIO.
MUST int route_success(struct bus *bus, const struct queued_job *job, const struct response *response);
// The pipeline run of a job that reached an end.
MUST int route_ended(struct bus *bus, int64_t job);
#define EVENT_WEBHOOK "ductile.webhook"
// What a webhook was sent, as an event, and the job that it starts (of its plugin, or the first step of its
// pipeline); all or nothing. mark: of its signature. -EIO.
MUST int route_webhook(struct bus *bus, const struct webhook_config *hook, const char *payload,
                       const char *mark, int64_t *ret_job);
// At start: ends every run whose jobs ended without it (one that was recovered to dead).
MUST int route_settle(struct bus *bus);

// ---- api.c, auth.c, crowd.c, hook.c, show.c --------------------------------------------------------------
MUST int api_start(struct bus *bus);
// Serves the listening sockets (takes them over); tcp_fd -1: there is none.
MUST int api_serve(struct bus *bus, int unix_fd, int tcp_fd);
void api_stop(struct bus *bus);
// The warden's answer about a signature. -ENOENT: nobody asked.
MUST int api_verified(struct bus *bus, const struct proto_verified *m);

json_t *show_jobs(struct bus *bus, const char *state, int64_t limit);
// NULL: there is no such job.
json_t *show_job(struct bus *bus, int64_t id);
json_t *show_posture(struct bus *bus);
json_t *show_plugins(struct bus *bus);
json_t *show_health(struct bus *bus);

// ---- book.c -------------------------------------------------------------------------------------
// Writes what the warden told; detail is text, parsed. -EIO, -EBUSY.
MUST int book_write(struct bus *bus, const struct proto_audit *m, const json_t *detail, const char *text,
                    int64_t *ret_seq);
// Keeps a fact that the ledger cannot take now. book_settle writes what is kept; false: still not.
void book_keep(struct bus *bus, const struct proto_audit *m, const char *text);
MUST bool book_settle(struct bus *bus);
// The audit rows after a number, as they stand in the ledger, at most `limit`. NULL where it cannot be read.
json_t *book_rows(struct bus *bus, int64_t after, int64_t limit);
// Says the head of the chain in the log, now and then every hour: a later truncation shows.
void book_begin(struct bus *bus);
void book_say_head(struct bus *bus);

#ifdef DUCTILE_BREAKABLE
// tests/popped: the attacker.
__attribute__((noreturn)) void popped_bus(struct bus *bus);
#endif
