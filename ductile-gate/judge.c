// What the attempts of an identity say, as results and findings. A denial without a control that succeeded
// proves nothing; what did not answer is unproven.
#include "egress.h"
#include "probes.h"
#include <stdio.h>
#include <string.h>

static bool is_egress(unsigned probe)
{
    return probe == PROBE_EGRESS4 || probe == PROBE_EGRESS6;
}

static void note_result(struct gate *g, const struct probe_result *r)
{
    const struct identity *id = &g->identities[r->identity];

    struct probe_result *list = reallocarray(g->results, g->n_results + 1, sizeof(*list));
    if (!list) {
        g->failed = true;
        return;
    }
    g->results = list;
    list[g->n_results++] = *r;
    const struct probe_row *row = probe_row(r->probe);
    const char *error = r->error ? errno_name(r->error) : "no error";
    if (!id->account)
        return; // unconfined: what is open is told in the matrix, and nothing was promised
    const bool must = row->expected == EXPECTED_ALLOWED;
    if (r->cell == CELL_UNPROVEN && r->error == ETIMEDOUT)
        gate_note(g, CHECK_TIME, VERDICT_UNPROVEN, id->name, "%s: %s %s: no answer within %d s", row->word,
                  row->what, r->target, TIME_PROBE_MS / 1000);
    else if (row->expected == EXPECTED_EITHER)
        return; // note_login
    else if (must && r->cell != CELL_ALLOWED)
        gate_note(g, CHECK_WORKS, VERDICT_REFUSE, id->name, "%s: %s (%s)", row->what, r->target, error);
    else if (!must && r->cell == CELL_ALLOWED)
        gate_note(g, is_egress(r->probe) ? CHECK_EGRESS : CHECK_PROBE, VERDICT_REFUSE, id->name,
                  "ALLOWED: %s %s", row->what, r->target);
    else if (!must && r->cell == CELL_UNPROVEN && r->error == ENOENT)
        gate_note(g, CHECK_PROBE_BROKEN, VERDICT_UNPROVEN, id->name,
                  "%s %s: the target is not there, so that nothing is known", row->what, r->target);
    else if (!must && r->cell == CELL_UNPROVEN)
        gate_note(g, is_egress(r->probe) ? CHECK_EGRESS : CHECK_PROBE_BROKEN, VERDICT_UNPROVEN, id->name,
                  "%s %s: neither denied nor allowed (%s)", row->what, r->target, error);
    else if (!r->control)
        gate_note(g, CHECK_PROBE_BROKEN, VERDICT_UNPROVEN, id->name, "%s %s: %s, but so was the twin",
                  row->what, r->target, error);
}

// One line for each account that has such doors.
static void note_login(struct gate *g, unsigned identity)
{
    char words[160] = "";
    size_t len = 0;

    const struct identity *id = &g->identities[identity];
    for (size_t i = id->first; i < id->first + id->n; i++) {
        const struct probe_result *r = &g->results[i];
        const struct probe_row *row = probe_row(r->probe);
        if (row->expected == EXPECTED_EITHER && r->cell == CELL_ALLOWED)
            len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", len ? ", " : "", row->word);
    }
    if (g->identities[identity].mode == MODE_CREDENTIALED)
        gate_note(g, CHECK_LOGIN, len ? VERDICT_WARN : VERDICT_PASS, g->identities[identity].name,
                  "open to a plugin: %s", len ? words : "none");
}

// What was tried and held passes; where nothing could be tried, nothing is known.
static void check_egress(struct gate *g, unsigned identity)
{
    const struct identity *id = &g->identities[identity];
    unsigned tried = 0, denied = 0;

    if (!id->account || !egress_has(id->account))
        return;
    for (size_t i = id->first; i < id->first + id->n; i++)
        if (is_egress(g->results[i].probe)) {
            tried++;
            denied += g->results[i].cell == CELL_DENIED && g->results[i].control;
        }
    if (tried == 0)
        gate_note(g, CHECK_EGRESS, VERDICT_UNPROVEN, id->name,
                  "no loopback address of this host is outside of its list: there was nothing to try");
    else if (denied == tried)
        gate_note(g, CHECK_EGRESS, VERDICT_PASS, id->name, "%u attempts refused by the rules", denied);
}

// The drop itself did not come about: nothing was tried.
static void note_drop(struct gate *g, const struct lane *lane)
{
    const struct privs_record *record = &lane->track->record;
    const char *name = g->identities[lane->identity].name,
               *stage = privs_stage_name((enum privs_stage)record->stage);

    if (lane->late > 0)
        gate_note(g, CHECK_TIME, VERDICT_UNPROVEN, name, "the drop did not get past stage %s within %d s: %s",
                  stage, TIME_PROBE_MS / 1000, lane->plan.cwd);
    else
        gate_note(g, CHECK_REACH, VERDICT_REFUSE, name, "the drop failed at stage %s: %s (%s)", stage,
                  lane->plan.cwd, errno_name(-record->error));
}

void judge_lane(struct gate *g, const struct lane *lane)
{
    const char *name = g->identities[lane->identity].name;
    const size_t before = g->n_results;

    if (lane->failed || !lane->track) {
        g->failed = true;
        return;
    }
    for (uint32_t i = 0; i < lane->track->done; i++)
        if (lane->track->results[i].cell != CELL_NOTHING)
            note_result(g, &lane->track->results[i]);
    g->identities[lane->identity].complete = lane->track->dropped && lane->track->done == lane->n;
    if (lane->over)
        gate_note(g, CHECK_TIME, VERDICT_UNPROVEN, name,
                  "the gate's %d s were over: %zu of %zu attempts were not made", TIME_GATE_MS / 1000,
                  lane->n - lane->track->done, lane->n);
    else if (!lane->track->dropped)
        note_drop(g, lane);
    g->identities[lane->identity].first = before;
    g->identities[lane->identity].n = g->n_results - before;
    note_login(g, lane->identity);
    if (g->n_results > before)
        gate_note(g, CHECK_PROBE, VERDICT_PASS, name, "%zu attempts", g->n_results - before);
    else
        gate_note(g, CHECK_PROBE_BROKEN, VERDICT_UNPROVEN, name, "no attempt was made");
    check_egress(g, lane->identity);
}
