// What the gate says: findings, the access matrix, JSON, and a row in the ledger.
#include "gate.h"
#include "ledger.h"
#include "log.h"
#include <stdio.h>
#include <string.h>

void finding_remedy(const char *remedy, const char *subject, char out[static 1024])
{
    const char *mark = strstr(remedy, "%s");

    snprintf(out, 1024, "%.*s%s%s", mark ? (int)(mark - remedy) : (int)strlen(remedy), remedy,
             mark ? subject : "", mark ? mark + 2 : "");
}

static void print_refusal(const struct finding *f)
{
    const struct check_row *row = &check_rows[f->check];
    char remedy[1024];

    finding_remedy(row->remedy, f->subject, remedy);
    enum log_level level = f->verdict == VERDICT_REFUSE ? LOG_LEVEL_ERR : LOG_LEVEL_WARN;
    log_plain(level, "%s %s: %s: %s", f->verdict == VERDICT_REFUSE ? "refused" : verdict_name(f->verdict),
              row->id, row->bad, f->subject);
    log_plain(level, "  why: %s", f->evidence);
    log_plain(level, "  do:  %s", remedy);
}

// An image leaves much to the host it will run on: one line, not three for each.
static bool is_for_host(const struct finding *f)
{
    return f->verdict == VERDICT_UNPROVEN && str_eq(f->subject, GATE_HOST);
}

static void print_for_host(const struct gate *g)
{
    struct strbuf sb = {0};

    for (size_t i = 0; i < g->n_findings; i++)
        if (is_for_host(&g->findings[i]))
            sb_addf(&sb, " %s", check_rows[g->findings[i].check].id);
    OWNED(freep) char *ids = sb_finish(&sb);
    if (ids && ids[0])
        log_plain(LOG_LEVEL_WARN, "unproven, as they need %s:%s", GATE_HOST, ids);
}

void report_findings(const struct gate *g, bool all)
{
    for (int v = g->quiet ? VERDICT_UNPROVEN : VERDICT_WARN; v < VERDICT_COUNT_;
         v++) // the worst last, where the eye is
        for (size_t i = 0; i < g->n_findings; i++)
            if (g->findings[i].verdict == (enum verdict)v && !is_for_host(&g->findings[i]))
                print_refusal(&g->findings[i]);
    print_for_host(g);
    for (size_t i = 0; all && i < g->n_findings; i++)
        if (g->findings[i].verdict == VERDICT_PASS)
            printf("pass      %-16s %-44s %s\n", check_rows[g->findings[i].check].id, g->findings[i].subject,
                   g->findings[i].evidence);
}

// The cell of a probe and identity: the worst of its targets.
static const struct probe_result *worst(const struct gate *g, unsigned probe, unsigned identity)
{
    static const int rank[] = {
        [CELL_DENIED] = 1, [CELL_UNPROVEN] = 2, [CELL_ALLOWED] = 3, [CELL_ABSENT] = 2, [CELL_NOTHING] = 0};
    bool must = probe_row(probe)->expected == EXPECTED_ALLOWED;
    const struct probe_result *found = NULL;

    const struct identity *id = &g->identities[identity];
    for (size_t i = id->first; i < id->first + id->n; i++) {
        const struct probe_result *r = &g->results[i];
        if (r->probe != probe)
            continue;
        if (!found || (must ? rank[r->cell] < rank[found->cell] : rank[r->cell] > rank[found->cell]))
            found = r;
    }
    return found;
}

static void cell_text(const struct probe_result *r, enum expected expected, char out[static 40])
{
    const bool must = expected == EXPECTED_ALLOWED;

    if (!r)
        snprintf(out, 40, "-");
    else if (r->cell == CELL_ALLOWED)
        snprintf(out, 40, must ? "works" : expected == EXPECTED_EITHER ? "open: by consent" : "ALLOWED");
    else if (expected == EXPECTED_EITHER)
        snprintf(out, 40, "closed %s", errno_name(r->error));
    else if (r->cell == CELL_ABSENT)
        snprintf(out, 40, "absent layer");
    else if (must)
        snprintf(out, 40, "BROKEN %s", errno_name(r->error));
    else if (r->cell == CELL_DENIED)
        snprintf(out, 40, "denied %s%s", errno_name(r->error),
                 !r->twin     ? " | no twin"
                 : r->control ? " | twin opens"
                              : " | TWIN TOO");
    else
        snprintf(out, 40, "unproven %s", r->error ? errno_name(r->error) : "");
}

void report_matrix(const struct gate *g)
{
    printf("%-16s %-13s", "attempt", "layer");
    for (size_t i = 0; i < g->n_identities; i++)
        printf(" %-28s", g->identities[i].name);
    printf("\n%-16s %-13s", "", "");
    for (size_t i = 0; i < g->n_identities; i++)
        printf(" %-28s", account_mode_name(g->identities[i].mode));
    putchar('\n');
    for (unsigned probe = 0;; probe++) {
        bool tried = false;
        const struct probe_row *row = probe_row(probe);
        if (!row)
            break;
        for (unsigned i = 0; i < g->n_identities; i++)
            tried |= worst(g, probe, i) != NULL;
        if (!tried)
            continue;
        printf("%-16s %-13s", row->word, row->layer);
        for (unsigned i = 0; i < g->n_identities; i++) {
            char text[40];
            cell_text(worst(g, probe, i), row->expected, text);
            printf(" %-28s", text);
        }
        putchar('\n');
    }
}

static void add_pair(struct strbuf *sb, const char *key, const char *value, bool first)
{
    sb_addf(sb, "%s\"%s\":", first ? "" : ",", key);
    sb_add_json(sb, value);
}

void report_json(const struct gate *g, const char *verb, enum verdict outcome)
{
    static const char *const cells[] = {"denied", "allowed", "unproven", "absent", "nothing"};
    static const char *const expectations[] = {"denied", "allowed", "either"};
    struct strbuf sb = {0};

    sb_adds(&sb, "{");
    add_pair(&sb, "verb", verb, true);
    add_pair(&sb, "outcome", verdict_name(outcome), false);
    add_pair(&sb, "posture", posture_name(g->config->posture), false);
    sb_adds(&sb, ",\"findings\":[");
    for (size_t i = 0; i < g->n_findings; i++) {
        const struct finding *f = &g->findings[i];
        sb_adds(&sb, i ? ",{" : "{");
        add_pair(&sb, "id", check_rows[f->check].id, true);
        add_pair(&sb, "verdict", verdict_name(f->verdict), false);
        add_pair(&sb, "subject", f->subject, false);
        add_pair(&sb, "evidence", f->evidence, false);
        sb_addc(&sb, '}');
    }
    sb_adds(&sb, "],\"matrix\":[");
    for (size_t i = 0; i < g->n_results; i++) {
        const struct probe_result *r = &g->results[i];
        sb_adds(&sb, i ? ",{" : "{");
        add_pair(&sb, "attempt", probe_row(r->probe)->word, true);
        add_pair(&sb, "identity", g->identities[r->identity].name, false);
        add_pair(&sb, "expected", expectations[probe_row(r->probe)->expected], false);
        add_pair(&sb, "found", cells[r->cell], false);
        add_pair(&sb, "errno", r->error ? errno_name(r->error) : "", false);
        add_pair(&sb, "layer", probe_row(r->probe)->layer, false);
        add_pair(&sb, "target", r->target, false);
        sb_addf(&sb, ",\"control\":%s}", r->control ? "true" : "false");
    }
    sb_adds(&sb, "]}");
    OWNED(freep) char *text = sb_finish(&sb);
    puts(text ? text : "{}");
}

// ---- ledger -------------------------------------------------------------------------------------

struct ledger_row {
    const struct gate *gate;
    const char *verb;
    enum verdict outcome;
};

static int write_run(struct ledger *l, void *arg)
{
    const struct ledger_row *row = arg;
    const struct gate *g = row->gate;
    const char *outcome = row->outcome == VERDICT_REFUSE ? "refuse"
                          : row->outcome == VERDICT_PASS ? "pass"
                                                         : "warn";
    char detail[160];
    int64_t run;
    int r = ledger_begin(l);

    if (r == 0)
        r = ledger_run(
            l, &run,
            "INSERT INTO gate_run(at_ms, verb, posture, outcome, checks, probes) VALUES(?,?,?,?,?,?)",
            "isssii", ledger_now_ms(), row->verb, posture_name(g->config->posture), outcome,
            (int64_t)g->n_findings, (int64_t)g->n_results);
    for (size_t i = 0; r == 0 && i < g->n_findings; i++)
        if (g->findings[i].verdict != VERDICT_PASS)
            r = ledger_run(
                l, NULL, "INSERT INTO gate_finding(run, id, verdict, subject, evidence) VALUES(?,?,?,?,?)",
                "issss", run, check_rows[g->findings[i].check].id, verdict_name(g->findings[i].verdict),
                g->findings[i].subject, g->findings[i].evidence);
    snprintf(detail, sizeof(detail), "{\"outcome\":\"%s\",\"posture\":\"%s\",\"probes\":%zu}", outcome,
             posture_name(g->config->posture), g->n_results);
    if (r == 0)
        r = ledger_audit(l, "ductile-gate", (uid_t)g->config->uid, AUDIT_GATE_DECIDED, row->verb, detail,
                         NULL);
    return r == 0 ? ledger_commit(l) : r;
}

void report_ledger(const struct gate *g, const char *verb, enum verdict outcome)
{
    struct ledger_row row = {g, verb, outcome};
    int r = ledger_as_owner(g->config, false, write_run, &row);

    // 1: there is no ledger yet, and a gate makes none. The decision stands either way.
    if (r < 0)
        log_warn("the decision is not in the ledger (%s)", strerror(-r));
}
