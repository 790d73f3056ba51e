// See book.h. A delivery's line carries the number of its row, so a line without its row, and a row that says
// something else than left, are told apart from each other; the heads of the chain that the bus said anchor
// everything before them.
#include "book.h"
#include "str.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

struct delivery { // a row, or a line, of secret.delivered
    int64_t seq, at_ms, job, attempt;
    char *subject, *detail;
    bool matched;
};

struct head {
    int64_t seq, at_ms;
    char hex[2 * CHAIN_HASH_LEN + 1];
};

struct denial {
    int64_t job, attempt;
};

struct book {
    struct chain_walk walk;
    bool broken;
    int64_t last_seq, last_ms;
    char (*hashes)[2 * CHAIN_HASH_LEN + 1]; // of row n + 1
    size_t n_hashes, room;
    struct delivery *rows, *lines;
    size_t n_rows, n_lines;
    struct denial *denials;
    size_t n_denials;
    struct head *heads;
    size_t n_heads;
    size_t said, matched, withdrawn, older;
    int64_t first_ms; // of the journal
    json_t *findings;
};

struct book *book_new(void)
{
    struct book *b = calloc(1, sizeof(*b));

    if (b && !(b->findings = json_array())) {
        free(b);
        return NULL;
    }
    return b;
}

static void free_list(struct delivery *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].subject);
        free(list[i].detail);
    }
    free(list);
}

void book_free(struct book *b)
{
    if (!b)
        return;
    free_list(b->rows, b->n_rows);
    free_list(b->lines, b->n_lines);
    free(b->hashes);
    free(b->denials);
    free(b->heads);
    json_decref(b->findings);
    free(b);
}

__attribute__((format(printf, 3, 4))) static int find(struct book *b, int64_t row, const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    return json_array_append_new(b->findings, json_pack("{s:I, s:s}", "row", (json_int_t)row, "what", text)) <
                   0
               ? -ENOMEM
               : 0;
}

static int64_t number(const json_t *o, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(o, key));
}

static int add_delivery(struct delivery **list, size_t *n, struct delivery d, const char *subject,
                        const char *detail)
{
    struct delivery *more = reallocarray(*list, *n + 1, sizeof(*more));
    OWNED(json_decrefp) json_t *o = json_loads(detail, 0, NULL);

    if (!more)
        return -ENOMEM;
    *list = more;
    d.job = number(o, "job");
    d.attempt = number(o, "attempt");
    d.subject = strdup(subject);
    d.detail = strdup(detail);
    more[(*n)++] = d;
    return d.subject && d.detail ? 0 : -ENOMEM;
}

static int add_denial(struct book *b, const char *detail)
{
    struct denial *more = reallocarray(b->denials, b->n_denials + 1, sizeof(*more));
    OWNED(json_decrefp) json_t *o = json_loads(detail, 0, NULL);

    if (!more)
        return -ENOMEM;
    b->denials = more;
    more[b->n_denials++] = (struct denial){number(o, "job"), number(o, "attempt")};
    return 0;
}

static int keep_hash(struct book *b, int64_t seq, const uint8_t hash[static CHAIN_HASH_LEN])
{
    if (seq < 1 || (size_t)seq <= b->n_hashes || seq > INT32_MAX)
        return 0;
    if ((size_t)seq > b->room) {
        size_t room = MAX((size_t)seq, MAX(2 * b->room, (size_t)1024));
        void *more = reallocarray(b->hashes, room, sizeof(*b->hashes));
        if (!more)
            return -ENOMEM;
        b->hashes = more;
        b->room = room;
    }
    while (b->n_hashes < (size_t)seq)
        b->hashes[b->n_hashes++][0] = '\0'; // a row that is missing
    str_hex(hash, CHAIN_HASH_LEN, b->hashes[seq - 1]);
    return 0;
}

int book_row(struct book *b, const struct chain_fact *f, const uint8_t hash[static CHAIN_HASH_LEN])
{
    int64_t row;
    const char *what = b->broken ? NULL : chain_step(&b->walk, f, hash, &row);
    int r = what ? find(b, row, "%s", what) : 0;

    b->broken |= what != NULL;
    b->last_seq = MAX(b->last_seq, f->seq);
    b->last_ms = f->at_ms;
    if (r == 0)
        r = keep_hash(b, f->seq, hash);
    if (r == 0 && str_eq(f->kind, "secret.delivered"))
        r = add_delivery(&b->rows, &b->n_rows, (struct delivery){.seq = f->seq, .at_ms = f->at_ms},
                         f->subject, f->detail);
    if (r == 0 && str_eq(f->kind, "secret.denied"))
        r = add_denial(b, f->detail);
    return r;
}

// ---- the journal --------------------------------------------------------------------------------

// "audit secret.delivered SUBJECT SEQ DETAIL"
static int take_delivery(struct book *b, char *text, int64_t at_ms)
{
    char *subject = text, *seq = strchr(text, ' '), *detail = seq ? strchr(seq + 1, ' ') : NULL;
    uint64_t n;

    if (!detail)
        return 0;
    *seq++ = '\0';
    *detail++ = '\0';
    if (str_to_u64(seq, 1, INT64_MAX, &n) < 0)
        return 0;
    int r = add_delivery(&b->lines, &b->n_lines, (struct delivery){.seq = (int64_t)n, .at_ms = at_ms},
                         subject, detail);
    return r < 0 ? r : 1;
}

// "audit head SEQ HASH"
static int take_head(struct book *b, const char *text, int64_t at_ms)
{
    struct head h = {.at_ms = at_ms};
    long long seq;

    if (sscanf(text, "%lld %64[0-9a-f]", &seq, h.hex) != 2 || seq < 0)
        return 0;
    h.seq = seq;
    struct head *more = reallocarray(b->heads, b->n_heads + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    b->heads = more;
    more[b->n_heads++] = h;
    return 1;
}

// What a line in logfmt says: the string behind msg=. NULL where it is no such line.
static char *said(const char *message, const char *program)
{
    char head[64];

    snprintf(head, sizeof(head), "level=info program=%s msg=", program);
    if (!str_starts(message, head))
        return NULL;
    OWNED(json_decrefp) json_t *text = json_loads(message + strlen(head), JSON_DECODE_ANY, NULL);
    return json_is_string(text) ? strdup(json_string_value(text)) : NULL;
}

int book_line(struct book *b, const struct book_speakers *who, const struct book_line *line)
{
    static const char delivered[] = "audit secret.delivered ", head[] = "audit head ";
    const bool warden = line->uid == who->warden_uid && str_eq(line->exe, who->warden_exe),
               bus = line->uid == who->bus_uid && str_eq(line->exe, who->bus_exe);
    OWNED(freep)
    char *text = warden ? said(line->message, "ductile-run")
                 : bus  ? said(line->message, "ductile-bus")
                        : NULL;
    int r = 0;

    if (text && warden && str_starts(text, delivered))
        r = take_delivery(b, text + strlen(delivered), line->at_ms);
    else if (text && bus && str_starts(text, head))
        r = take_head(b, text + strlen(head), line->at_ms);
    if (r > 0 && (b->said++ == 0 || line->at_ms < b->first_ms))
        b->first_ms = line->at_ms;
    return r;
}

// ---- held against each other --------------------------------------------------------------------

static struct delivery *row_of(struct book *b, int64_t seq)
{
    size_t low = 0, high = b->n_rows;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (b->rows[middle].seq == seq)
            return &b->rows[middle];
        if (b->rows[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const char *when(int64_t ms, char buf[static 32])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    localtime_r(&t, &tm);
    strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm);
    return buf;
}

static int compare_line(struct book *b, const struct delivery *line)
{
    struct delivery *row = row_of(b, line->seq);
    char at[32];

    if (!row)
        return find(b, line->seq, "is %s: secrets left for %s (job %lld) at %s",
                    line->seq > b->last_seq ? "cut off" : "missing, or something else", line->subject,
                    (long long)line->job, when(line->at_ms, at));
    if (row->matched)
        return find(b, line->seq, "stands for two deliveries: another left for %s (job %lld) at %s",
                    line->subject, (long long)line->job, when(line->at_ms, at));
    row->matched = true;
    if (!str_eq(row->subject, line->subject) || !str_eq(row->detail, line->detail))
        return find(b, line->seq, "says something else than left for %s (job %lld) at %s", line->subject,
                    (long long)line->job, when(line->at_ms, at));
    b->matched++;
    return 0;
}

static bool is_denied(const struct book *b, const struct delivery *row)
{
    for (size_t i = 0; i < b->n_denials; i++)
        if (b->denials[i].job == row->job && b->denials[i].attempt == row->attempt)
            return true;
    return false;
}

static int compare_row(struct book *b, const struct delivery *row)
{
    if (row->matched)
        return 0;
    if (is_denied(b, row)) { // written down too late: the spawn was refused, and nothing left
        b->withdrawn++;
        return 0;
    }
    if (row->at_ms < b->first_ms) {
        b->older++;
        return 0;
    }
    return find(b, row->seq, "was not seen to leave: the journal has no delivery of job %lld to %s",
                (long long)row->job, row->subject);
}

static int compare_head(struct book *b, const struct head *h)
{
    char at[32];

    if (h->seq == 0)
        return 0;
    if ((size_t)h->seq > b->n_hashes)
        return find(b, b->last_seq + 1, "is cut off: at %s the ledger reached to row %lld",
                    when(h->at_ms, at), (long long)h->seq);
    if (!str_eq(b->hashes[h->seq - 1], h->hex))
        return find(b, h->seq, "is not the one that was there at %s: it, or a row before it, was exchanged",
                    when(h->at_ms, at));
    return 0;
}

int book_compare(struct book *b)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < b->n_lines; i++)
        r = compare_line(b, &b->lines[i]);
    for (size_t i = 0; r == 0 && i < b->n_rows; i++)
        r = compare_row(b, &b->rows[i]);
    for (size_t i = 0; r == 0 && i < b->n_heads; i++)
        r = compare_head(b, &b->heads[i]);
    return r;
}

struct book_sum book_sum(const struct book *b)
{
    struct book_sum sum = {.rows = b->last_seq,
                           .lines = b->said,
                           .deliveries = b->matched,
                           .withdrawn = b->withdrawn,
                           .older = b->older,
                           .findings = b->findings};

    memcpy(sum.head, b->walk.hash, sizeof(sum.head));
    return sum;
}
