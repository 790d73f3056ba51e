// The ledger: one SQLite file, owned by the bus's user. The bus opens it itself; every other program writes
// through a child that first became that user without capabilities, so no privileged process parses a page of
// it.
#pragma once
#include "chain.h"
#include "config.h"
#include "ledger_kinds.h"
#include "limits.h"
#include "owned.h"
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#define LEDGER_APPLICATION_ID 0x4455434c // "DUCL"
#define LEDGER_SCHEMA         1
#define LEDGER_HASH_LEN       CHAIN_HASH_LEN

struct ledger {
    sqlite3 *db;
    char error[256]; // of the last failure
    bool waits; // it is the host's (a full disk, an unwritable file, a busy one), and may pass; else it is
                // ours
};

// Opens path; create: make it, with its schema, where it is not there. -ENOENT; -EIO with l->error (a newer
// schema, a corrupt file, a full disk). The file's mode is 0600 from the start.
MUST int ledger_open(const char *path, bool create, struct ledger *ret);
void ledger_close(struct ledger *l);

// Notes what SQLite says of the call that just failed, for who steps a query: -EBUSY or -EIO.
int ledger_failed(struct ledger *l);

// BEGIN IMMEDIATE / COMMIT / ROLLBACK. -EIO, -EBUSY.
MUST int ledger_begin(struct ledger *l);
MUST int ledger_commit(struct ledger *l);
// Keeps error and waits of the failure that led to it.
void ledger_rollback(struct ledger *l);

// Runs one statement with parameters by type letters: i int64_t, s const char * (NULL allowed), b (const void
// *, int). ret_id, where not NULL, gets the row id of an INSERT. -EIO.
MUST int ledger_run(struct ledger *l, int64_t *ret_id, const char *sql, const char *types, ...);
// Prepares a query with the same letters; the caller steps and finalizes. NULL with l->error.
sqlite3_stmt *ledger_query(struct ledger *l, const char *sql, const char *types, ...);
// How many rows the last statement changed.
int ledger_changes(struct ledger *l);

// Appends a fact, inside the caller's transaction or in one of its own. detail is JSON. *ret_seq may be NULL.
MUST int ledger_audit(struct ledger *l, const char *actor, uid_t uid, enum audit_kind kind,
                      const char *subject, const char *detail, int64_t *ret_seq);
// Walks the hash chain. 0: whole, *ret_n facts; 1: broken at row *ret_n, which may be missing; -EIO.
MUST int ledger_verify(struct ledger *l, int64_t *ret_n);
// The number and hash of the last fact; 0 and zeros where there is none. -EIO.
MUST int ledger_head(struct ledger *l, int64_t *ret_seq, uint8_t hash[static LEDGER_HASH_LEN]);
// A row of LEDGER_FACTS; what it points to holds until the next step. False: it is no fact.
#define LEDGER_FACTS "SELECT seq, at_ms, actor, uid, kind, subject, detail, prev, hash FROM audit"
bool ledger_fact(sqlite3_stmt *s, struct chain_fact *ret, const uint8_t **ret_hash);

// For who only reads: closing does not move the log into the file, which costs syncs; the next who writes
// does that.
void ledger_leave_log(struct ledger *l, bool leave);

int64_t ledger_now_ms(void);

// For programs that are not the bus: forks a child that becomes the ledger's owner, opens the file (create as
// said) and runs fn. 0; 1 where the file does not exist and create is false; -errno. fn's result is the
// child's.
MUST int ledger_as_owner(const struct config *config, bool create, int (*fn)(struct ledger *, void *),
                         void *arg);
// The same in a process that is there for nothing else: it is the owner from then on. Its exit code: 0, an
// errno, or 255 where there is no ledger.
MUST int ledger_become_owner(const struct config *config, bool create, int (*fn)(struct ledger *, void *),
                             void *arg);
