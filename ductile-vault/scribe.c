// The scribe: a child that is the ledger's owner, so that nothing root-owned is ever left beside the ledger
// and no privileged process parses it. It writes facts and answers three questions, over a socket pair.
#include "ledger.h"
#include "log.h"
#include "str.h"
#include "vault_cli.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct ask {
    enum scribe_op op;
    char vault[NEWEST_ID_LEN + 1]; // that a fact is of, and its generation; "": it is of none
    uint64_t generation;
    enum audit_kind kind;
    uid_t uid;
    uint64_t limit;
    char subject[2 * LIMIT_NAME];
    char detail[4096];
};

struct seen {
    enum scribe_seen state;
    uint64_t generation;
};

enum { ROW_MAX = 16 << 10 };

// ---- the child ----------------------------------------------------------------------------------

// A packet. Whoever could not be answered waits: then it is better to end, which he sees.
static bool say(int fd, const void *data, size_t len)
{
    ssize_t n;

    while ((n = send(fd, data, len, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    return n == (ssize_t)len;
}

// Of this vault alone: where another was made in between, it is the last row of this one that counts.
static bool answer_seen(struct ledger *l, int fd, const char *vault)
{
    static const char *const newest[] = {
        "SELECT json_extract(detail, '$.generation') FROM audit WHERE actor = 'ductile-vault' AND"
        " json_extract(detail, '$.generation') IS NOT NULL AND json_extract(detail, '$.vault') = ?1"
        " ORDER BY seq DESC LIMIT 1",
        "SELECT 1 FROM audit WHERE actor = 'ductile-vault' AND json_extract(detail, '$.vault') <> ?1 LIMIT 1",
    };
    struct seen seen = {.state = SEEN_NEVER};

    for (size_t i = 0; seen.state == SEEN_NEVER && i < ARRAY_LEN(newest); i++) {
        sqlite3_stmt *q = ledger_query(l, newest[i], "s", vault);
        int step = q ? sqlite3_step(q) : SQLITE_ERROR;
        if (step == SQLITE_ROW) {
            seen.state = i == 0 ? SEEN_THIS : SEEN_OTHER;
            seen.generation = i == 0 ? (uint64_t)sqlite3_column_int64(q, 0) : 0;
        } else if (step != SQLITE_DONE)
            seen.state = SEEN_UNKNOWN;
        sqlite3_finalize(q);
    }
    return say(fd, &seen, sizeof(seen));
}

static const char *const questions[] = {
    [SCRIBE_AUDIT] =
        "SELECT json_object('seq', seq, 'at_ms', at_ms, 'actor', actor, 'uid', uid, 'kind', kind,"
        " 'subject', subject, 'detail', json(detail)) FROM audit"
        " WHERE (actor = 'ductile-vault' OR kind LIKE 'secret.%') AND (?1 = '' OR subject = ?1 OR"
        " instr(detail, '\"' || ?1 || '\"') > 0) ORDER BY seq DESC LIMIT ?2",
    [SCRIBE_DELIVERED] =
        "SELECT json_object('principal', json_extract(detail, '$.principal'), 'as', j.value)"
        " FROM audit, json_each(detail, '$.names') j WHERE kind = 'secret.delivered' AND ?1 = ''"
        " GROUP BY json_extract(detail, '$.principal'), j.value LIMIT ?2",
};

// A row is a packet; then one of a single byte: '.' for the end, '!' where the ledger did not answer.
static bool answer_rows(struct ledger *l, int fd, const struct ask *a)
{
    sqlite3_stmt *q = ledger_query(l, questions[a->op], "si", a->subject, (int64_t)a->limit);
    int step = q ? SQLITE_ROW : SQLITE_ERROR;

    while (q && (step = sqlite3_step(q)) == SQLITE_ROW) {
        int n = sqlite3_column_bytes(q, 0);
        if (n > 1 && n < ROW_MAX && !say(fd, sqlite3_column_text(q, 0), (size_t)n))
            break;
    }
    sqlite3_finalize(q);
    return say(fd, step == SQLITE_DONE ? "." : "!", 1);
}

// The fact, and before it what who only looks will read of it: both or neither.
static int write_fact(struct ledger *l, const struct config *config, const struct ask *a)
{
    int r = ledger_begin(l);

    if (r == 0 && a->vault[0])
        r = newest_note(l, config, a->vault, a->generation, a->kind == AUDIT_ROLLBACK_ACCEPTED);
    if (r == 0)
        r = ledger_audit(l, "ductile-vault", a->uid, a->kind, a->subject, a->detail, NULL);
    if (r == 0)
        r = ledger_commit(l);
    if (r < 0)
        ledger_rollback(l);
    return r;
}

struct served {
    const struct config *config;
    int fd;
};

static int serve(struct ledger *l, void *arg)
{
    const struct served *served = arg;
    struct ask a;
    int fd = served->fd, r = 0;

    ledger_leave_log(l, true); // until there is a fact
    for (bool heard = true; r == 0 && heard && recv(fd, &a, sizeof(a), 0) == sizeof(a);) {
        if (a.op == SCRIBE_SEEN)
            heard = answer_seen(l, fd, a.subject);
        else if (a.op != SCRIBE_FACT)
            heard = answer_rows(l, fd, &a);
        else {
            ledger_leave_log(l, false);
            r = write_fact(l, served->config, &a);
            const char ok = r == 0;
            heard = say(fd, &ok, 1);
        }
    }
    return r;
}

int scribe_start(struct session *s)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_last();
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        struct served served = {s->config, pair[1]};
        _exit(ledger_become_owner(s->config, true, serve, &served) == 0 ? 0 : 1);
    }
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return err_last();
    }
    s->scribe = pid;
    s->scribe_fd = pair[0];
    return 0;
}

void scribe_dismiss(struct session *s)
{
    fd_closep(&s->scribe_fd);
}

// ---- this side ----------------------------------------------------------------------------------

static bool ask(struct session *s, const struct ask *a)
{
    ssize_t n = -1;

    if (s->scribe_fd < 0)
        return false;
    while ((n = send(s->scribe_fd, a, sizeof(*a), MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    return n == sizeof(*a);
}

// One packet. After a failure nothing more is asked: what comes would be the answer to another question.
static ssize_t hear(struct session *s, void *buf, size_t size)
{
    ssize_t n;

    while ((n = recv(s->scribe_fd, buf, size, 0)) < 0 && errno == EINTR)
        ;
    if (n <= 0)
        fd_closep(&s->scribe_fd);
    return n;
}

bool scribe_tell(struct session *s, enum audit_kind kind, const char *subject, const char *detail,
                 bool of_vault)
{
    struct ask a = {.op = SCRIBE_FACT, .kind = kind, .uid = s->root ? 0 : getuid()}; // who asked
    char ok = 0;
    ssize_t n = -1;

    snprintf(a.subject, sizeof(a.subject), "%s", subject);
    snprintf(a.detail, sizeof(a.detail), "%s", detail);
    if (of_vault) {
        snprintf(a.vault, sizeof(a.vault), "%s", s->vault.id);
        a.generation = s->vault.generation;
    }
    if (ask(s, &a))
        n = hear(s, &ok, 1);
    if (n == 1 && ok)
        return true;
    log_warn("not recorded in the ledger: %s %s", audit_word(kind), subject);
    return false;
}

enum scribe_seen scribe_seen(struct session *s, const char *vault, uint64_t *ret)
{
    struct ask a = {.op = SCRIBE_SEEN};
    struct seen seen = {.state = SEEN_UNKNOWN};

    snprintf(a.subject, sizeof(a.subject), "%s", vault);
    if (!ask(s, &a) || hear(s, &seen, sizeof(seen)) != sizeof(seen))
        seen = (struct seen){.state = SEEN_UNKNOWN};
    *ret = seen.generation;
    return seen.state;
}

json_t *scribe_rows(struct session *s, enum scribe_op op, const char *name, uint64_t limit)
{
    struct ask a = {.op = op, .limit = limit};
    OWNED(freep) char *row = malloc(ROW_MAX);
    json_t *rows = json_array();
    ssize_t n = 0;

    snprintf(a.subject, sizeof(a.subject), "%s", name);
    if (row && rows && ask(s, &a))
        while ((n = hear(s, row, ROW_MAX)) > 1) {
            json_t *o = json_loadb(row, (size_t)n, 0, NULL);
            if (o)
                json_array_append_new(rows, o);
        }
    if (n == 1 && *row == '.')
        return rows;
    json_decref(rows);
    return NULL;
}
