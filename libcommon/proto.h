// The wire: fixed-size messages over a seqpacket socketpair, descriptors by SCM_RIGHTS. Versioned, numbered,
// and checked on receipt against proto.def. Both sides are one build; a difference is a fault, not a
// negotiation.
#pragma once
#include "limits.h"
#include "owned.h"
#include "privs.h"
#include "tree.h"
#include <stdint.h>
#include <sys/types.h>

#define PROTO_VERSION 2
#define PROTO_FDS_MAX 2

enum proto_side { PROTO_WARDEN, PROTO_BUS };

enum proto_type {
#define MESSAGE(name, sender, payload, fds, meaning) PROTO_##name,
#include "proto.def"
#undef MESSAGE
    PROTO_COUNT_
};

// Why a job does not run, or ended without its own exit. The word is what the ledger stores.
enum proto_reason {
    REASON_NONE,
    REASON_UNKNOWN_PLUGIN, // not locked
    REASON_NO_ACCOUNT,
    REASON_NOT_ATTESTED,   // code differs from its lock
    REASON_CANNOT_ATTEST,  // code cannot be checked
    REASON_CODE_WRITABLE,  // somebody besides root may write what would run
    REASON_VAULT,          // unreadable, rolled back, revoked principal
    REASON_SECRET_MISSING, // declared or required, and not granted
    REASON_AUDIT,          // the bus did not commit the delivery in time
    REASON_REQUEST,        // body too large or not sealed
    REASON_DROP_FAILED,    // a stage of the wall failed
    REASON_SPAWN_FAILED,   // the host lacked something (retried)
    REASON_BUSY,           // no free slot (a fault of the bus)
    REASON_STOPPING,
    REASON_TIMEOUT,
    REASON_OUTPUT_LIMIT,
    REASON_CANCELLED,
    REASON_BREACHED, // the wall of its account was seen climbed
    REASON_COUNT_
};
const char *proto_reason_word(enum proto_reason reason);
// True for reasons after which a retry makes sense.
bool proto_reason_retries(enum proto_reason reason);

struct proto_none {
    uint8_t unused;
};
struct proto_failed {
    uint32_t refusal; // enum refusal_kind
    char what[256], why[512], remedy[256];
};
struct proto_bundle {
    uint8_t snapshot[TREE_HASH_LEN]; // hash of the config's files; spawn requests carry it back
    uint8_t first;                   // 0: an update of locks and manifests
};
struct proto_spawn {
    uint64_t job;
    uint32_t attempt;
    uint64_t body_len;
    uint8_t snapshot[TREE_HASH_LEN];
    char plugin[LIMIT_NAME], command[LIMIT_NAME];
};
struct proto_kill {
    uint64_t job;
    uint32_t reason; // enum proto_reason
};
#define PROTO_MAC_LEN 32
struct proto_verify {
    uint64_t id; // of the bus; comes back
    uint64_t body_len;
    uint8_t mac[PROTO_MAC_LEN]; // as the caller has it: HMAC-SHA256 of the body
    char webhook[LIMIT_NAME];
};
struct proto_verified {
    uint64_t id;
    uint32_t yes;
};
struct proto_audit {
    uint64_t job;
    uint32_t kind;         // enum audit_kind
    uint32_t wants_answer; // 1: AUDITED must follow, a secret waits for it
    char subject[2 * LIMIT_NAME];
};
struct proto_audited {
    uint64_t job;
    uint64_t seq; // 0: could not be committed
};
struct proto_mask {
    uint64_t job;
};
struct proto_started {
    uint64_t job;
    uint32_t attempt, pid;
    uint64_t start_ticks; // field 22 of /proc/PID/stat: with the boot id, the process's identity
    uint32_t layers;      // LAYER_BIT(...)
    uint32_t mode;        // enum account_mode
    char account[LIMIT_NAME];
    uint8_t lock_hash[TREE_HASH_LEN];
    struct privs_record record;
};
struct proto_refused {
    uint64_t job;
    uint32_t attempt, reason, stage;
    int32_t error;
    char text[LIMIT_PATH];
    char secret[LIMIT_NAME];
};
struct proto_exited {
    uint64_t job;
    uint32_t attempt;
    uint32_t reason; // REASON_NONE, _SPAWN_FAILED, _TIMEOUT, _OUTPUT_LIMIT, _CANCELLED, _STOPPING
    int32_t exit_code, signal;
    uint32_t left_behind; // processes that had to be killed with the job
    uint32_t stage;       // enum privs_stage of a child that was killed before its exec, or STAGE_NONE
    uint32_t gone;        // 0: killed, and still in the kernel (a hung file system)
    uint32_t delivered;   // 0: the plugin closed stdin before it had read the request
    uint64_t user_us, system_us, max_rss_kib;
};

struct proto_message {
    uint32_t magic;
    uint16_t version, type;
    uint64_t seq;
    union {
#define MESSAGE(name, sender, payload, fds, meaning) struct proto_##payload name;
#include "proto.def"
#undef MESSAGE
    };
};

struct proto_link {
    int fd;
    enum proto_side me;
    uint64_t sent, received;
};

// How many descriptors a message of this type carries.
int proto_fds(enum proto_type type);
// Sends; sets magic, version and number. The descriptors stay the caller's. -errno (-EAGAIN: the warden
// does not wait for a slow bus).
MUST int proto_send(struct proto_link *link, struct proto_message *m, enum proto_type type, const int *fds);
// Receives one. fds[PROTO_FDS_MAX] get the descriptors, -1 elsewhere; they are the caller's. 0; -EAGAIN;
// -ENOTCONN at the end; -EPROTO for anything that is not exactly right (descriptors are then closed).
MUST int proto_recv(struct proto_link *link, struct proto_message *m, int fds[static PROTO_FDS_MAX]);
