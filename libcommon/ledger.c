// The ledger: opening, schema, facts. Statements about jobs are the bus's (queue.c).
#include "ledger.h"
#include "chain.h"
#include "fd.h"
#include "log.h"
#include "privs.h"
#include "str.h"
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const char schema[] =
#include "ledger_schema.inc"
    ;

int64_t ledger_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool host_fault(int code)
{
    return code == SQLITE_FULL || code == SQLITE_IOERR || code == SQLITE_READONLY || code == SQLITE_BUSY ||
           code == SQLITE_LOCKED || code == SQLITE_CANTOPEN || code == SQLITE_PERM || code == SQLITE_NOMEM ||
           code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

// People are told what SQLite says, not the statement: the statement is ours, and in the source.
int ledger_failed(struct ledger *l)
{
    int code = l->db ? sqlite3_errcode(l->db) : SQLITE_NOMEM;

    snprintf(l->error, sizeof(l->error), "%s", l->db ? sqlite3_errmsg(l->db) : "out of memory");
    l->waits = host_fault(code & 0xff); // the low byte: an extended code says more
    return code == SQLITE_BUSY ? -EBUSY : -EIO;
}

static int exec(struct ledger *l, const char *sql)
{
    return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : ledger_failed(l);
}

int ledger_begin(struct ledger *l)
{
    l->waits = false;
    return exec(l, "BEGIN IMMEDIATE");
}

int ledger_commit(struct ledger *l)
{
    return exec(l, "COMMIT");
}

void ledger_rollback(struct ledger *l)
{
    // A failure here means that the connection is broken; closing it rolls back.
    if (!sqlite3_get_autocommit(l->db))
        (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
}

int ledger_changes(struct ledger *l)
{
    return sqlite3_changes(l->db);
}

static int bind(struct ledger *l, sqlite3_stmt *s, const char *types, va_list ap)
{
    for (int i = 1; *types; types++, i++) {
        int r = SQLITE_MISUSE;
        if (*types == 'i')
            r = sqlite3_bind_int64(s, i, va_arg(ap, int64_t));
        else if (*types == 's')
            r = sqlite3_bind_text(s, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        else if (*types == 'b') {
            const void *data = va_arg(ap, const void *);
            r = sqlite3_bind_blob(s, i, data, va_arg(ap, int), SQLITE_TRANSIENT);
        }
        if (r != SQLITE_OK)
            return ledger_failed(l);
    }
    return 0;
}

static sqlite3_stmt *prepare(struct ledger *l, const char *sql, const char *types, va_list ap)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(l->db, sql, -1, &s, NULL) != SQLITE_OK || bind(l, s, types, ap) < 0) {
        ledger_failed(l);
        sqlite3_finalize(s);
        return NULL;
    }
    return s;
}

sqlite3_stmt *ledger_query(struct ledger *l, const char *sql, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    sqlite3_stmt *s = prepare(l, sql, types, ap);
    va_end(ap);
    return s;
}

int ledger_run(struct ledger *l, int64_t *ret_id, const char *sql, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    sqlite3_stmt *s = prepare(l, sql, types, ap);
    va_end(ap);
    if (!s)
        return -EIO;
    int step, r = 0;
    while ((step = sqlite3_step(s)) == SQLITE_ROW)
        ;
    if (step != SQLITE_DONE)
        r = ledger_failed(l);
    sqlite3_finalize(s);
    if (r == 0 && ret_id)
        *ret_id = sqlite3_last_insert_rowid(l->db);
    return r;
}

static int64_t pragma(struct ledger *l, const char *sql)
{
    sqlite3_stmt *s = ledger_query(l, sql, "");
    int64_t v = s && sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;

    sqlite3_finalize(s);
    return v;
}

static int make_schema(struct ledger *l)
{
    char sql[128];
    int r = ledger_begin(l);

    if (r < 0)
        return r;
    if (pragma(l, "PRAGMA user_version") == LEDGER_SCHEMA) { // another writer was faster
        ledger_rollback(l);
        return 0;
    }
    snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d", LEDGER_APPLICATION_ID,
             LEDGER_SCHEMA);
    r = exec(l, schema);
    if (r == 0)
        r = exec(l, sql);
    if (r == 0)
        r = ledger_commit(l);
    if (r < 0)
        ledger_rollback(l);
    return r;
}

static int check_schema(struct ledger *l)
{
    int64_t application = pragma(l, "PRAGMA application_id"), version = pragma(l, "PRAGMA user_version");

    if (application < 0 || version < 0)
        return -EIO; // fail() has said why
    if (application == 0 && version == 0)
        return make_schema(l);
    if (application != LEDGER_APPLICATION_ID || version > LEDGER_SCHEMA) {
        snprintf(l->error, sizeof(l->error),
                 application != LEDGER_APPLICATION_ID ? "the file is not a ledger (application id %lld)"
                                                      : "the file has schema %lld, this program knows %d",
                 (long long)(application != LEDGER_APPLICATION_ID ? application : version), LEDGER_SCHEMA);
        return -EIO;
    }
    return 0;
}

int ledger_open(const char *path, bool create, struct ledger *ret)
{
    struct ledger l = {0};
    int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_NOFOLLOW;
    mode_t old = umask(0077);

    *ret = l;
    if (!create && access(path, F_OK) < 0 && errno == ENOENT) {
        umask(old);
        return -ENOENT;
    }
    int r = sqlite3_open_v2(path, &l.db, flags, NULL) == SQLITE_OK ? 0 : ledger_failed(&l);
    if (r == 0) {
        sqlite3_busy_timeout(l.db, 5000);
        // Nothing temporary in files: under Landlock there is no place for them.
        r = exec(&l, "PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=ON; PRAGMA synchronous=FULL");
    }
    if (r == 0)
        r = exec(&l, "PRAGMA journal_mode=WAL");
    if (r == 0)
        r = check_schema(&l);
    umask(old);
    if (r < 0) {
        memcpy(ret->error, l.error, sizeof(l.error));
        sqlite3_close(l.db);
        return r;
    }
    *ret = l;
    return 0;
}

void ledger_close(struct ledger *l)
{
    sqlite3_close(l->db);
    l->db = NULL;
}

// ---- facts --------------------------------------------------------------------------------------

static int last_fact(struct ledger *l, struct chain_fact *f)
{
    sqlite3_stmt *s = ledger_query(l, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", "");

    if (!s)
        return -EIO;
    int step = sqlite3_step(s);
    f->seq = 1;
    if (step == SQLITE_ROW && sqlite3_column_bytes(s, 1) == LEDGER_HASH_LEN) {
        f->seq = sqlite3_column_int64(s, 0) + 1;
        memcpy(f->prev, sqlite3_column_blob(s, 1), LEDGER_HASH_LEN);
    }
    sqlite3_finalize(s);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : -EIO;
}

static int append(struct ledger *l, struct chain_fact *f)
{
    uint8_t hash[LEDGER_HASH_LEN];
    int r = last_fact(l, f);

    if (r < 0)
        return r;
    chain_hash(f, hash);
    return ledger_run(l, NULL,
                      "INSERT INTO audit(seq, at_ms, actor, uid, kind, subject, detail, prev, hash)"
                      " VALUES(?,?,?,?,?,?,?,?,?)",
                      "iisisssbb", f->seq, f->at_ms, f->actor, f->uid, f->kind, f->subject, f->detail,
                      f->prev, (int)sizeof(f->prev), hash, (int)sizeof(hash));
}

int ledger_audit(struct ledger *l, const char *actor, uid_t uid, enum audit_kind kind, const char *subject,
                 const char *detail, int64_t *ret_seq)
{
    struct chain_fact f = {.at_ms = ledger_now_ms(),
                           .uid = uid,
                           .actor = actor,
                           .kind = audit_word(kind),
                           .subject = subject,
                           .detail = detail};
    bool own = sqlite3_get_autocommit(l->db) != 0;
    int r = own ? ledger_begin(l) : 0;

    if (r == 0)
        r = append(l, &f);
    if (own && r == 0)
        r = ledger_commit(l);
    if (own && r < 0)
        ledger_rollback(l);
    if (r == 0 && ret_seq)
        *ret_seq = f.seq;
    return r;
}

bool ledger_fact(sqlite3_stmt *s, struct chain_fact *f, const uint8_t **ret_hash)
{
    const void *prev = sqlite3_column_blob(s, 7);

    *ret_hash = sqlite3_column_blob(s, 8);
    *f = (struct chain_fact){.seq = sqlite3_column_int64(s, 0),
                             .at_ms = sqlite3_column_int64(s, 1),
                             .actor = (const char *)sqlite3_column_text(s, 2),
                             .uid = sqlite3_column_int64(s, 3),
                             .kind = (const char *)sqlite3_column_text(s, 4),
                             .subject = (const char *)sqlite3_column_text(s, 5),
                             .detail = (const char *)sqlite3_column_text(s, 6)};
    if (!f->actor || !f->kind || !f->subject || !f->detail || sqlite3_column_bytes(s, 7) != LEDGER_HASH_LEN ||
        sqlite3_column_bytes(s, 8) != LEDGER_HASH_LEN)
        return false;
    memcpy(f->prev, prev, sizeof(f->prev));
    return true;
}

int ledger_verify(struct ledger *l, int64_t *ret_n)
{
    struct chain_fact f;
    struct chain_walk walk = {0};
    const uint8_t *hash;
    int64_t row = 0;
    int step = SQLITE_DONE, r = 0;
    sqlite3_stmt *s = ledger_query(l, LEDGER_FACTS " ORDER BY seq", "");

    if (!s)
        return -EIO;
    while (r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW)
        r = !ledger_fact(s, &f, &hash) || chain_step(&walk, &f, hash, &row);
    if (r == 0 && step != SQLITE_DONE)
        r = ledger_failed(l);
    sqlite3_finalize(s);
    *ret_n = row;
    return r;
}

int ledger_head(struct ledger *l, int64_t *ret_seq, uint8_t hash[static LEDGER_HASH_LEN])
{
    struct chain_fact f = {0};
    int r = last_fact(l, &f);

    *ret_seq = f.seq - 1;
    memcpy(hash, f.prev, LEDGER_HASH_LEN);
    return r;
}

// ---- for those who are not the owner ------------------------------------------------------------

void ledger_leave_log(struct ledger *l, bool leave)
{
    (void)sqlite3_db_config(l->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, (int)leave, NULL);
}

// Who asks a few questions needs no pools of pages and small blocks, which cost a fault per page to lay out.
static void make_do(void)
{
    if (sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK)
        log_warn("SQLite keeps its pools: it was in use already");
}

int ledger_become_owner(const struct config *config, bool create, int (*fn)(struct ledger *, void *),
                        void *arg)
{
    struct ledger l;
    uid_t uid = (uid_t)config->bus_uid;
    int r = geteuid() == uid ? privs_clear_caps() : privs_become(uid, (gid_t)config->bus_gid);

    make_do();
    if (r == 0)
        r = ledger_open(config->state_path, create, &l);
    if (r == -ENOENT && !create)
        return 255;
    if (r == 0) {
        r = fn(&l, arg);
        ledger_close(&l);
    }
    return r < 0 ? MIN(-r, 254) : 0;
}

int ledger_as_owner(const struct config *config, bool create, int (*fn)(struct ledger *, void *), void *arg)
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return err_last();
    if (pid == 0)
        _exit(ledger_become_owner(config, create, fn, arg));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_last();
    if (!WIFEXITED(status))
        return -EIO;
    return WEXITSTATUS(status) == 255 ? 1 : -WEXITSTATUS(status);
}
