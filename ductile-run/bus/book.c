// The audit book as others see it: its rows, whole, for who checks the chain; its head, in the log, where
// this process cannot take it back. Rows are append-only: what is told once stays true, or does not follow.
#include "bus.h"
#include "chain.h"
#include "log.h"
#include "str.h"
#include <string.h>

// The names in a delivery's detail go into the attempt's record too.
static int record_names(struct bus *bus, const json_t *detail, int64_t job)
{
    OWNED(freep) char *names = json_dumps(json_object_get(detail, "names"), JSON_COMPACT);

    if (!names)
        return 0;
    return ledger_run(
        &bus->ledger, NULL,
        "UPDATE job_attempt SET secrets=? WHERE job=? AND attempt=(SELECT attempt FROM job WHERE id=?)",
        "sii", names, job, job);
}

int book_write(struct bus *bus, const struct proto_audit *m, const json_t *detail, const char *text,
               int64_t *ret_seq)
{
    int r = ledger_begin(&bus->ledger);

    if (r == 0)
        r = record_names(bus, detail, (int64_t)m->job);
    if (r == 0)
        r = ledger_audit(&bus->ledger, "ductile-run", (uid_t)bus->config->uid, (enum audit_kind)m->kind,
                         m->subject, text, ret_seq);
    if (r == 0)
        r = ledger_commit(&bus->ledger);
    if (r < 0)
        ledger_rollback(&bus->ledger);
    return r;
}

// ---- what could not be written ------------------------------------------------------------------

struct kept_fact {
    struct kept_fact *next;
    struct proto_audit m;
    char *text;
};
enum { KEPT_MAX = 4096 }; // 64 KiB each at most, and a refusal's is some hundred bytes

void book_keep(struct bus *bus, const struct proto_audit *m, const char *text)
{
    struct kept_fact *k = calloc(1, sizeof(*k)), **last = &bus->kept;
    unsigned n = 0;

    for (; *last; last = &(*last)->next)
        n++;
    if (k && n < KEPT_MAX && (k->text = strdup(text))) {
        k->m = *m;
        *last = k;
        return;
    }
    free(k);
    log_msg(LOG_LEVEL_ERR, "a fact about job %llu is lost to the ledger; the journal has it",
            (unsigned long long)m->job);
}

bool book_settle(struct bus *bus)
{
    while (bus->kept) {
        struct kept_fact *k = bus->kept;
        int r = ledger_audit(&bus->ledger, "ductile-run", (uid_t)bus->config->uid, (enum audit_kind)k->m.kind,
                             k->m.subject, k->text, NULL);
        if (r < 0)
            return false;
        bus->kept = k->next;
        free(k->text);
        free(k);
    }
    return true;
}

json_t *book_rows(struct bus *bus, int64_t after, int64_t limit)
{
    struct chain_fact f;
    const uint8_t *hash;
    char prev_hex[2 * CHAIN_HASH_LEN + 1], hash_hex[2 * CHAIN_HASH_LEN + 1];
    int step = SQLITE_ERROR;
    sqlite3_stmt *s =
        ledger_query(&bus->ledger, LEDGER_FACTS " WHERE seq>? ORDER BY seq LIMIT ?", "ii", after, limit);
    json_t *list = json_array();

    while (s && list && (step = sqlite3_step(s)) == SQLITE_ROW) {
        if (!ledger_fact(s, &f, &hash)) {
            step = SQLITE_CORRUPT;
            break;
        }
        str_hex(f.prev, sizeof(f.prev), prev_hex);
        str_hex(hash, CHAIN_HASH_LEN, hash_hex);
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "seq",
                                        (json_int_t)f.seq, "at_ms", (json_int_t)f.at_ms, "actor", f.actor,
                                        "uid", (json_int_t)f.uid, "kind", f.kind, "subject", f.subject,
                                        "detail", f.detail, "prev", prev_hex, "hash", hash_hex));
    }
    sqlite3_finalize(s);
    if (step == SQLITE_DONE)
        return json_pack("{s:o}", "rows", list);
    json_decref(list);
    return NULL;
}

void book_say_head(struct bus *bus)
{
    uint8_t hash[CHAIN_HASH_LEN];
    char hex[2 * CHAIN_HASH_LEN + 1], text[160];
    int64_t seq;

    if (ledger_head(&bus->ledger, &seq, hash) < 0) {
        log_warn("the head of the audit chain cannot be read: %s", bus->ledger.error);
        return;
    }
    str_hex(hash, sizeof(hash), hex);
    snprintf(text, sizeof(text), "audit head %lld %s", (long long)seq, hex);
    log_fact(text);
}

static void on_hour(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    book_say_head(timer->data);
}

void book_begin(struct bus *bus)
{
    book_say_head(bus);
    ev_timer_init(&bus->head_timer, on_hour, TIME_HEAD_S, TIME_HEAD_S);
    bus->head_timer.data = bus;
    ev_timer_start(bus->loop, &bus->head_timer);
}
