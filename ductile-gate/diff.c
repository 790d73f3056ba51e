// `diff`: the last two runs of the ledger. A child that became the ledger's owner, without capabilities,
// reads them and prints too: nothing that a page of the ledger says comes back to a process that can become
// somebody.
#include "diff.h"
#include "fd.h"
#include "gate.h"
#include "ledger.h"
#include "log.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { FINDINGS_MAX = 4096 };

const char *change_name(enum change_kind kind)
{
    static const char *const names[CHANGE_COUNT_] = {"new", "gone", "changed"};

    return names[kind];
}

static bool same_subject(const struct seen *a, const struct seen *b)
{
    return str_eq(a->id, b->id) && str_eq(a->subject, b->subject);
}

static bool same(const struct seen *a, const struct seen *b)
{
    return same_subject(a, b) && str_eq(a->verdict, b->verdict) && str_eq(a->evidence, b->evidence);
}

// Pairs what `alike` says is one finding. pair[i]: index + 1 in before of after[i], 0: none; used[j]: 1 where
// before[j] is taken.
static void pair_up(bool (*alike)(const struct seen *, const struct seen *), const struct seen *before,
                    size_t n_before, const struct seen *after, size_t n_after, size_t *pair, bool *used)
{
    for (size_t i = 0; i < n_after; i++)
        for (size_t j = 0; pair[i] == 0 && j < n_before; j++)
            if (!used[j] && alike(&before[j], &after[i])) {
                pair[i] = j + 1;
                used[j] = true;
            }
}

int diff_compare(const struct seen *before, size_t n_before, const struct seen *after, size_t n_after,
                 struct change **ret, size_t *ret_n)
{
    OWNED(freep) size_t *pair = calloc(n_after + 1, sizeof(*pair));
    OWNED(freep) bool *used = calloc(n_before + 1, sizeof(*used));
    struct change *list = calloc(n_before + n_after + 1, sizeof(*list));
    size_t n = 0;

    if (!pair || !used || !list) {
        free(list);
        return -ENOMEM;
    }
    pair_up(same, before, n_before, after, n_after, pair, used);
    pair_up(same_subject, before, n_before, after, n_after, pair, used);
    for (size_t i = 0; i < n_after; i++) {
        const struct seen *old = pair[i] ? &before[pair[i] - 1] : NULL;
        if (!old || !same(old, &after[i]))
            list[n++] = (struct change){old ? CHANGE_CHANGED : CHANGE_NEW, old, &after[i]};
    }
    for (size_t j = 0; j < n_before; j++)
        if (!used[j])
            list[n++] = (struct change){CHANGE_GONE, &before[j], NULL};
    *ret = list;
    *ret_n = n;
    return 0;
}

// ---- the ledger, in the child -------------------------------------------------------------------

struct gate_run {
    int64_t id, at_ms, checks, probes;
    char *verb, *posture, *outcome;
    struct seen *list;
    size_t n;
};

struct request {
    bool json;
    struct answer { // shared with the parent
        int runs;   // 0, 1 or 2
        bool differs, written;
    } * answer;
};

// A copy without bytes that a terminal obeys.
static char *column(sqlite3_stmt *s, int i)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    char *copy = strdup(text ? text : "");

    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    if (copy)
        str_make_utf8(copy);
    return copy;
}

static void free_run(struct gate_run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        free(run->list[i].id);
        free(run->list[i].verdict);
        free(run->list[i].subject);
        free(run->list[i].evidence);
    }
    free(run->list);
    free(run->verb);
    free(run->posture);
    free(run->outcome);
}

static int read_findings(struct ledger *l, struct gate_run *run)
{
    sqlite3_stmt *s = ledger_query(
        l, "SELECT id, verdict, subject, evidence FROM gate_finding WHERE run = ? ORDER BY rowid LIMIT ?",
        "ii", run->id, (int64_t)FINDINGS_MAX + 1);
    int r = s ? 0 : -EIO, step = SQLITE_ROW;

    run->list = calloc(FINDINGS_MAX, sizeof(*run->list));
    if (!run->list)
        r = -ENOMEM;
    while (r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW) {
        if (run->n == FINDINGS_MAX) { // half a comparison would call gone what is there
            r = -EFBIG;
            break;
        }
        struct seen *f = &run->list[run->n++];
        *f = (struct seen){column(s, 0), column(s, 1), column(s, 2), column(s, 3)};
        if (!f->id || !f->verdict || !f->subject || !f->evidence)
            r = -ENOMEM;
    }
    sqlite3_finalize(s);
    return r == 0 && step != SQLITE_DONE ? ledger_failed(l) : r;
}

// The last first.
static int read_runs(struct ledger *l, struct gate_run runs[static 2], int *ret_n)
{
    sqlite3_stmt *s = ledger_query(l,
                                   "SELECT id, at_ms, checks, probes, verb, posture, outcome FROM gate_run"
                                   " ORDER BY id DESC LIMIT 2",
                                   "");
    int r = s ? 0 : -EIO, step = SQLITE_ROW, n = 0;

    while (r == 0 && n < 2 && (step = sqlite3_step(s)) == SQLITE_ROW) {
        struct gate_run *run = &runs[n++];
        run->id = sqlite3_column_int64(s, 0);
        run->at_ms = sqlite3_column_int64(s, 1);
        run->checks = sqlite3_column_int64(s, 2);
        run->probes = sqlite3_column_int64(s, 3);
        run->verb = column(s, 4);
        run->posture = column(s, 5);
        run->outcome = column(s, 6);
        if (!run->verb || !run->posture || !run->outcome)
            r = -ENOMEM;
    }
    if (r == 0 && step != SQLITE_ROW && step != SQLITE_DONE)
        r = ledger_failed(l);
    sqlite3_finalize(s);
    for (int i = 0; r == 0 && n == 2 && i < n; i++)
        r = read_findings(l, &runs[i]);
    *ret_n = n;
    return r;
}

// ---- printing -----------------------------------------------------------------------------------

static void add_pair(struct strbuf *sb, const char *before, const char *key, const char *value)
{
    sb_addf(sb, "%s\"%s\":", before, key);
    sb_add_json(sb, value);
}

static void add_run(struct strbuf *sb, const char *key, const struct gate_run *run)
{
    sb_addf(sb, ",\"%s\":{\"run\":%" PRId64 ",\"at_ms\":%" PRId64, key, run->id, run->at_ms);
    add_pair(sb, ",", "verb", run->verb);
    add_pair(sb, ",", "posture", run->posture);
    add_pair(sb, ",", "outcome", run->outcome);
    sb_addf(sb, ",\"checks\":%" PRId64 ",\"probes\":%" PRId64 "}", run->checks, run->probes);
}

static void add_seen(struct strbuf *sb, const char *key, const struct seen *f)
{
    sb_addf(sb, ",\"%s\":", key);
    if (!f) {
        sb_adds(sb, "null");
        return;
    }
    add_pair(sb, "{", "verdict", f->verdict);
    add_pair(sb, ",", "evidence", f->evidence);
    sb_addc(sb, '}');
}

static void print_json(const struct gate_run runs[static 2], const struct change *changes, size_t n)
{
    struct strbuf sb = {0};

    sb_adds(&sb, "{\"verb\":\"diff\"");
    add_run(&sb, "before", &runs[1]);
    add_run(&sb, "after", &runs[0]);
    sb_adds(&sb, ",\"changes\":[");
    for (size_t i = 0; i < n; i++) {
        const struct seen *f = changes[i].after ? changes[i].after : changes[i].before;
        add_pair(&sb, i ? ",{" : "{", "change", change_name(changes[i].kind));
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a change has one of the two, or both
        add_pair(&sb, ",", "id", f->id);
        add_pair(&sb, ",", "subject", f->subject);
        add_seen(&sb, "before", changes[i].before);
        add_seen(&sb, "after", changes[i].after);
        sb_addc(&sb, '}');
    }
    sb_adds(&sb, "]}");
    OWNED(freep) char *text = sb_finish(&sb);
    puts(text ? text : "{}");
}

static void print_run(const char *word, const struct gate_run *run)
{
    time_t t = (time_t)(run->at_ms / 1000);
    struct tm tm;
    char at[32] = "-";

    if (localtime_r(&t, &tm))
        strftime(at, sizeof(at), "%Y-%m-%d %H:%M:%S", &tm);
    printf("%-7s run %" PRId64 ", %s, %s: %s, posture %s, %" PRId64 " checks, %" PRId64 " attempts\n", word,
           run->id, at, run->verb, run->outcome, run->posture, run->checks, run->probes);
}

static void print_text(const struct gate_run runs[static 2], const struct change *changes, size_t n)
{
    print_run("before", &runs[1]);
    print_run("after", &runs[0]);
    if (!str_eq(runs[0].verb, runs[1].verb) || runs[0].probes != runs[1].probes)
        printf(
            "note    they tried different things: what only one of them tried is new or gone for that reason\n");
    for (size_t i = 0; i < n; i++) {
        const struct seen *b = changes[i].before, *a = changes[i].after, *f = a ? a : b;
        printf("%-7s %s %s: %s\n", change_name(changes[i].kind), f->id, f->verdict, f->subject);
        if (b && a)
            printf("  was:  %s, %s\n", b->verdict, b->evidence);
        printf("  %s %s\n", a ? "why: " : "was: ", f->evidence);
    }
    if (n == 0)
        printf("no finding is new, gone or changed\n");
}

static int compare(struct ledger *l, void *arg)
{
    const struct request *request = arg;
    struct gate_run runs[2] = {0};
    OWNED(freep) struct change *changes = NULL;
    size_t n = 0;
    int r = read_runs(l, runs, &request->answer->runs);

    if (r == 0 && request->answer->runs == 2)
        r = diff_compare(runs[1].list, runs[1].n, runs[0].list, runs[0].n, &changes, &n);
    if (r == 0 && request->answer->runs == 2) {
        if (request->json)
            print_json(runs, changes, n);
        else
            print_text(runs, changes, n);
        request->answer->differs =
            n > 0 || !str_eq(runs[0].posture, runs[1].posture) || !str_eq(runs[0].outcome, runs[1].outcome);
        request->answer->written = report_written() == EXITCODE_OK;
    }
    free_run(&runs[0]);
    free_run(&runs[1]);
    return r;
}

static int refuse_diff(struct refusal *refusal, int r, const struct config *c, int runs)
{
    if (r == -EPERM || r == -EACCES) {
        refuse(refusal, REFUSE_NEEDS_ROOT, "diff");
        refuse_why(refusal, "the ledger is read as %s, and uid %u cannot become it", c->bus_user, geteuid());
        return refuse_remedy(refusal, "sudo ductile-gate diff");
    }
    if (r < 0) {
        refuse(refusal, REFUSE_LEDGER, "diff");
        refuse_why(refusal, "%s: %s (%s)", c->state_path, strerror(-r), errno_name(-r));
        return refuse_remedy(refusal, "ductile-gate check says what is wrong with it");
    }
    refuse(refusal, REFUSE_GATE_DIFF, "diff");
    refuse_why(refusal,
               r == 1      ? "there is no ledger yet (%s)"
               : runs == 1 ? "%s has one run of the gate"
                           : "%s has no run of the gate",
               c->state_path);
    return refuse_remedy(refusal, "ductile-gate check");
}

int verb_diff(const struct opts *o)
{
    struct refusal refusal;
    OWNED(config_freep) struct config *c = NULL;
    OWNED(fd_closep) int root = fd_open_root(NULL);

    if (config_load(root, o->value[OPT_CONFIG], o->value[OPT_INSTANCE], &c, &refusal) < 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    if (!c->resolved && c->posture == POSTURE_UNCONFINED)
        config_resolve_self(c);
    if (!c->resolved) { // never applied: there is nothing to read
        (void)refuse_diff(&refusal, 1, c, 0);
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    struct answer *answer =
        mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (answer == MAP_FAILED)
        return EXITCODE_BUG;
    *answer = (struct answer){0};
    int r = ledger_as_owner(c, false, compare, &(struct request){opt_given(o, OPT_JSON), answer});
    const struct answer said = *answer;
    munmap(answer, sizeof(*answer));
    if (r != 0 || said.runs != 2) {
        (void)refuse_diff(&refusal, r, c, said.runs);
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    return !said.written ? EXITCODE_IO : said.differs ? EXITCODE_FINDING : EXITCODE_OK;
}
