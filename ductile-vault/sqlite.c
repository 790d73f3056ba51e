// SQLite, loaded by the scribe when it first needs it. So the process that holds secret zero has no SQL
// engine in it, and who only looks at the vault does not wait for one. The functions that ledger.c and the
// scribe call, each as sqlite3.h declares it; another one does not link.
#include "log.h"
#include <dlfcn.h>
#define SQLITE_API __attribute__((visibility("hidden"))) // SQLite must not find these when it calls its own
#include <sqlite3.h>
#include <stdarg.h>
#include <unistd.h>

// The scribe has no other use: whoever asks it hears nothing, and says so.
static void *find(const char *name)
{
    static void *library;
    void *found;

    if (!library)
        library = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library || !(found = dlsym(library, name))) {
        log_warn("the ledger is not opened: %s", dlerror());
        _exit(1);
    }
    return found;
}

#define REAL(name)                                                                                           \
    static __typeof__(&(name)) real;                                                                         \
    if (!real)                                                                                               \
    real = (__typeof__(&(name)))find(#name)

#define FORWARD(type, name, parameters, arguments)                                                           \
    type name parameters                                                                                     \
    {                                                                                                        \
        REAL(name);                                                                                          \
        return real arguments;                                                                               \
    }

FORWARD(int, sqlite3_open_v2, (const char *path, sqlite3 **db, int flags, const char *vfs),
        (path, db, flags, vfs))
FORWARD(int, sqlite3_close, (sqlite3 * db), (db))
FORWARD(int, sqlite3_busy_timeout, (sqlite3 * db, int ms), (db, ms))
FORWARD(int, sqlite3_exec,
        (sqlite3 * db, const char *sql, int (*row)(void *, int, char **, char **), void *arg, char **error),
        (db, sql, row, arg, error))
FORWARD(int, sqlite3_errcode, (sqlite3 * db), (db))
FORWARD(const char *, sqlite3_errmsg, (sqlite3 * db), (db))
FORWARD(int, sqlite3_changes, (sqlite3 * db), (db))
FORWARD(int, sqlite3_get_autocommit, (sqlite3 * db), (db))
FORWARD(sqlite3_int64, sqlite3_last_insert_rowid, (sqlite3 * db), (db))
FORWARD(int, sqlite3_prepare_v2,
        (sqlite3 * db, const char *sql, int len, sqlite3_stmt **s, const char **tail),
        (db, sql, len, s, tail))
FORWARD(int, sqlite3_bind_int64, (sqlite3_stmt * s, int i, sqlite3_int64 n), (s, i, n))
FORWARD(int, sqlite3_bind_text, (sqlite3_stmt * s, int i, const char *text, int len, void (*end)(void *)),
        (s, i, text, len, end))
FORWARD(int, sqlite3_bind_blob, (sqlite3_stmt * s, int i, const void *data, int len, void (*end)(void *)),
        (s, i, data, len, end))
FORWARD(int, sqlite3_step, (sqlite3_stmt * s), (s))
FORWARD(int, sqlite3_finalize, (sqlite3_stmt * s), (s))
FORWARD(const void *, sqlite3_column_blob, (sqlite3_stmt * s, int i), (s, i))
FORWARD(int, sqlite3_column_bytes, (sqlite3_stmt * s, int i), (s, i))
FORWARD(sqlite3_int64, sqlite3_column_int64, (sqlite3_stmt * s, int i), (s, i))
FORWARD(const unsigned char *, sqlite3_column_text, (sqlite3_stmt * s, int i), (s, i))

// What follows `op` depends on it; these are the three that ledger.c sets.
int sqlite3_config(int op, ...)
{
    va_list ap;
    REAL(sqlite3_config);

    va_start(ap, op);
    void *memory = op == SQLITE_CONFIG_PAGECACHE ? va_arg(ap, void *) : NULL;
    int size = va_arg(ap, int), n = va_arg(ap, int);
    va_end(ap);
    if (op == SQLITE_CONFIG_PAGECACHE)
        return real(op, memory, size, n);
    return op == SQLITE_CONFIG_LOOKASIDE ? real(op, size, n) : SQLITE_MISUSE;
}

int sqlite3_db_config(sqlite3 *db, int op, ...)
{
    va_list ap;
    REAL(sqlite3_db_config);

    va_start(ap, op);
    int on = va_arg(ap, int), *ret = va_arg(ap, int *);
    va_end(ap);
    return op == SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE ? real(db, op, on, ret) : SQLITE_MISUSE;
}
