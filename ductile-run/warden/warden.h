// The warden: the only holder of capabilities and vault. One thread, one poll(2) loop, one slot per worker.
// It parses no byte of a plugin, knows no network and no SQL.
//
//   main.c    phases of the start, the loop, the stop          link.c    the wire to the bus
//   slot.c    one job's way through its phases     attest.c  is the code what was locked
//   spawn.c   contract, environment, pipes         launch.c  clone, drop, exec
//   pump.c    secrets and body into its stdin      cage.c    cgroup or supervisor around a job
//   reap.c    exits, timeouts, what is left        vault.c   the open vault and its renewal
//   lost.c    what even SIGKILL does not end       breach.c  accounts whose wall was climbed
//   core.c    tokens, webhook keys                 sockets.c where the API listens
#pragma once
#include "breach.h"
#include "cgroup.h"
#include "config.h"
#include "launch.h"
#include "ledger_kinds.h"
#include "lock.h"
#include "privs.h"
#include "proto.h"
#include "vault.h"
#include "wall.h"

// The locks in force, shared by slots that began under them.
struct lockset {
    struct lock lock;
    unsigned users;
    struct trusted {
        bool valid;
        uint8_t identity[TREE_HASH_LEN]; // of the code as it was when its hash was right; root-only trees
    } * trusted;                         // one per plugin of the lock
};

enum phase {
    PHASE_FREE,
    PHASE_ATTEST,   // a helper re-hashes
    PHASE_AUDIT,    // the bus commits the delivery
    PHASE_STARTING, // the child has not exec'd yet
    PHASE_RUNNING,
    PHASE_TERM,  // SIGTERM was sent
    PHASE_LEFT,  // the plugin ended; what it left behind has a moment to end too
    PHASE_KILLED // everything was killed; waiting until it is gone
};

struct slot {
    unsigned index;
    enum phase phase;
    int64_t deadline; // of the phase, monotonic ms; INT64_MAX: none

    struct proto_spawn request;
    int body_fd; // sealed memfd
    struct lockset *lockset;
    const struct lock_plugin *plugin;
    const struct account_config *account; // NULL: unconfined

    // attest
    pid_t helper;
    int helper_fd;
    uint8_t identity[TREE_HASH_LEN];
    bool root_only;

    // what it gets
    struct vault_delivery delivery;
    char *detail;  // of its row, until it is committed
    size_t pumped; // bytes of head + body written
    int stdin_fd;
    bool gave_up; // the plugin closed stdin early

    // the process
    struct launch *launch; // what the child reads until it has exec'd
    struct launch *shared; // supervisor only: its copy, in shared pages
    pid_t pid;
    int pidfd;
    int stage_fd; // its end: exec'd, or dead
    int out_fd, err_fd;
    struct privs_record record; // as the child left it
    uint32_t layers;
    uint64_t start_ticks; // field 22 of /proc/PID/stat
    bool ended;           // its pidfd says so; the status may come later
    bool exited;
    int status; // as waitpid(2) gives it
    enum proto_reason reason;
    enum privs_stage killed_at; // where a child that had not exec'd in time was
    unsigned left_behind;
    uint64_t user_us, system_us, max_rss_kib;

    // its cage: a kept cgroup, or a supervisor for this job
    int cgroup_dir, procs_fd, events_fd;
    unsigned generation;                  // how many cgroups of this slot hold lost jobs: part of the name
    const struct account_config *limited; // whose limits the cgroup has
    pid_t supervisor;
    int supervisor_fd;
    bool empty; // supervisor only: it has said that nothing is left
};

struct ruleset {
    int fd;
    uint32_t layers;
};

// One file, as it was: no padding, so that two are compared as bytes.
struct file_stamp {
    int64_t mtime_s, mtime_ns, ctime_s, ctime_ns;
    uint64_t size, inode;
};

struct warden {
    struct config *config;
    bool enforce;
    uint8_t snapshot[TREE_HASH_LEN];
    struct lockset *lockset;
    struct ruleset *rulesets; // one per account
    struct slot *slots;
    unsigned n_slots;
    struct lost *lost; // jobs that do not die
    struct hung *hung; // homes that did not answer
    struct breach_list breached;
    bool breach_unknown; // the flag cannot be read: all are

    bool vault_present;
    struct vault vault;
    struct file_stamp vault_stamp; // as last opened
    uint64_t vault_seen;           // the highest generation
    int vault_watch;               // inotify's number of its directory; negative: none
    int vault_watch_error;         // as last said
    int64_t vault_look;            // when to look next, monotonic ms
    bool vault_bad;                // it could not be opened, or is gone
    struct file_stamp vault_bad_stamp;
    int64_t vault_tried;
    struct refusal vault_refusal;

    int cgroup_root, cgroup_bus; // -1: none delegated
    unsigned controllers;        // enum cgroup_controller: those that hold for jobs
    struct proto_link bus;
    pid_t bus_pid;
    int bus_pidfd;
    bool bus_ready, stopping, bus_stopped, bus_stuck;
    bool bus_ended;             // its process: what it still asks for does not begin
    struct refusal bus_refusal; // why the bus does not start, once that is known
    struct pending *pending;    // messages it has not taken yet
    unsigned n_pending;
    int signal_fd, watch_fd, api_fd, lock_fd;
    int tcp_fd;           // -1: no api.listen
    bool tokens_withheld; // the bus has none, because the vault could not be used
    // What was said of each: 0 nothing yet, 1 good, else why not.
    int token_state[LIMIT_TOKENS], webhook_state[LIMIT_WEBHOOKS];
    char **plugin_env; // the part of the environment that every plugin gets
};

int64_t warden_now(void);

// ---- link.c -------------------------------------------------------------------------------------
// Starts the bus and hands it the config. -errno, logged.
MUST int link_start(struct warden *w, const char *program);
// Sends config, locks and manifests; first: with the hash that spawn requests must carry.
MUST int link_send_config(struct warden *w, bool first);
// One message from the bus: 1, or 0 where none waits. -errno ends the gateway; -ENOTCONN: all was read.
MUST int link_receive(struct warden *w);
// Sends, or keeps until the bus takes it (link_flush). Never waits.
void link_flush(struct warden *w);
void link_send(struct warden *w, struct proto_message *m, enum proto_type type, const int *fds);
// Has a fact written down; wait: the bus answers with its number (slot_audited). What is not waited for is
// said in the journal at once, a delivery when it leaves (link_journal).
void link_audit(struct warden *w, struct slot *s, enum audit_kind kind, const char *detail, bool wait);
// The line that `ductile ledger verify --journal` compares: the half that keeps the book is the less trusted
// one. seq: the number it says it has there; 0: not known.
void link_journal(const struct slot *s, enum audit_kind kind, uint64_t seq, const char *detail);

// ---- sockets.c ----------------------------------------------------------------------------------
// Makes and binds the sockets of the API. -ECANCELED.
MUST int sockets_bind(struct warden *w, struct refusal *refusal);

// ---- core.c -------------------------------------------------------------------------------------
// Hands the bus the hashes of the tokens that are good now; usable: the vault is. Says which are not, once.
void core_send_tokens(struct warden *w, bool usable);
// Is what the bus has the signature of that body? Answers yes or no. Takes body_fd.
void core_verify(struct warden *w, const struct proto_verify *q, int body_fd);

// ---- slot.c -------------------------------------------------------------------------------------
// As many empty slots as the config has workers. -ENOMEM.
MUST int slots_make(struct warden *w);
struct slot *slot_find(struct warden *w, uint64_t job);
// A request from the bus: check every argument again, take a slot, begin. Takes body_fd.
void slot_take(struct warden *w, const struct proto_spawn *request, int body_fd);
void slot_attested(struct warden *w, struct slot *s);
void slot_audited(struct warden *w, struct slot *s, uint64_t seq);
// It does not run: tell the bus, write it down, free the slot.
__attribute__((format(printf, 6, 7))) void slot_refuse(struct warden *w, struct slot *s,
                                                       enum proto_reason reason, enum privs_stage stage,
                                                       int error, const char *format, ...);
// Is its account breached? Then it is refused.
MUST bool slot_refuse_breached(struct warden *w, struct slot *s);
void slot_free(struct slot *s);

// ---- attest.c -----------------------------------------------------------------------------------
// Begins; the answer comes through slot_attested or slot_refuse, at once where a trusted identity stands for
// the hash.
void attest_begin(struct warden *w, struct slot *s);
// The helper's pipe is readable.
void attest_answer(struct warden *w, struct slot *s);
void attest_timeout(struct warden *w, struct slot *s);
// The job ends before its code was checked.
void attest_abandon(struct warden *w, struct slot *s, bool late);
struct lockset *lockset_new(struct lock *lock);
struct lockset *lockset_use(struct lockset *set);
void lockset_drop(struct lockset *set);

// ---- spawn.c ------------------------------------------------------------------------------------
// With the boot id, the identity of a process; 0 where it is gone.
uint64_t proc_start_ticks(pid_t pid);
// The plugin of a slot whose secrets may leave.
void spawn_plugin(struct warden *w, struct slot *s);
// The stage pipe has ended: it runs, or it failed at a stage.
void spawn_settled(struct warden *w, struct slot *s);
// The environment that all plugins share: what the allowlist and env_passthrough let through; enforcing, PATH
// has only directories of root's. NULL on no memory.
char **spawn_environment(const struct config *config, bool enforce);

// ---- pump.c -------------------------------------------------------------------------------------
void pump(struct slot *s);
void pump_end(struct slot *s);

// ---- cage.c -------------------------------------------------------------------------------------
// The name of the slot's cgroup.
void cage_name(const struct slot *s, char name[static 32]);
// The cage of a slot: a kept cgroup where one is delegated. -errno.
MUST int cage_prepare(struct warden *w, struct slot *s);
// Starts the child inside a supervisor of its own, for hosts without cgroups. -errno.
MUST int cage_supervise(struct warden *w, struct slot *s);
// A message of the supervisor.
void cage_supervisor(struct slot *s);
void cage_term(struct warden *w, struct slot *s);
// Kills everything and counts it first.
void cage_kill(struct warden *w, struct slot *s);
bool cage_is_empty(struct slot *s);
// The job is over. clean: the cgroup may serve the next one.
void cage_release(struct warden *w, struct slot *s, bool clean);

// ---- reap.c -------------------------------------------------------------------------------------
static inline uint64_t reap_us(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}
// Reaps every child that has ended, whosever it is; never waits.
void reap_children(struct warden *w);
// The supervisor has said something, or the pidfd is readable.
void reap_exit(struct warden *w, struct slot *s);
void reap_events(struct warden *w, struct slot *s);
void reap_deadline(struct warden *w, struct slot *s);
void reap_kill(struct warden *w, struct slot *s, enum proto_reason reason);

// ---- lost.c -------------------------------------------------------------------------------------
// Takes what a killed job that is not gone still uses; the slot may then be freed. False on no memory.
MUST bool lost_take(struct warden *w, struct slot *s);
// Does the account have such a job? Forgets those that are gone.
bool lost_holds(struct warden *w, const struct account_config *account);
// A helper that read below `where` was killed, because it was late or its job was cancelled; lost_reaped when
// it has ended.
void lost_reader(struct warden *w, const char *where, pid_t reader, bool late);
void lost_reaped(struct warden *w, pid_t pid);
// May a helper of this slot read there? Where one did not come back, one at a time.
MUST bool lost_may_read(struct warden *w, const char *where, const struct slot *s);
// The slot's helper has ended; answered: it came back with something.
void lost_probed(struct warden *w, const char *where, const struct slot *s, bool answered);

// ---- breach.c -----------------------------------------------------------------------------------
// Reads the gate's flag, and watches for the next. -errno.
MUST int breach_watch(struct warden *w);
// The flag has changed.
void breach_load(struct warden *w);
// The rows by which an account's wall was climbed; NULL: none. The account of a job that may start has none.
const char *breach_of(const struct warden *w, const struct account_config *account);

// ---- vault.c ------------------------------------------------------------------------------------
// Opens it where there is one. -ECANCELED.
MUST int warden_vault_open(struct warden *w, struct refusal *refusal);
// Opens it again if it changed on disk, and says so. False: it cannot be read now; said once.
bool warden_vault_fresh(struct warden *w, struct refusal *refusal);
// Watches its directory on watch_fd, also another one that took the place of the first. -errno.
MUST int warden_vault_watch(struct warden *w);
// When the next look is due, whatever inotify says; INT64_MAX: nobody needs one.
int64_t warden_vault_look_at(const struct warden *w);
// Is the file what it was? Watched anew, opened again.
void warden_vault_look(struct warden *w);

#ifdef DUCTILE_BREAKABLE
// tests/popped: the attacker.
__attribute__((noreturn)) void popped_warden(struct warden *w);
#endif
