// The consequence of a breach while the gateway serves: the flag that the warden obeys (breach.h). A row is
// taken off it only by a prove that tried that row as that account and found it shut; what could not be tried
// stays, and is told.
#include "breach.h"
#include "fd.h"
#include "gate.h"
#include "log.h"
#include <stdio.h>
#include <string.h>

static bool is_open(const struct probe_result *r)
{
    return probe_row(r->probe)->expected == EXPECTED_DENIED && r->cell == CELL_ALLOWED;
}

static int add_present(const struct gate *g, struct breach_list *list)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < g->n_results; i++)
        if (is_open(&g->results[i]))
            r = breach_add(list, g->identities[g->results[i].identity].name,
                           probe_row(g->results[i].probe)->word);
    return r;
}

// Does this run say that the row is shut?
static bool is_shut(const struct gate *g, unsigned identity, const char *row)
{
    for (size_t i = 0; i < g->n_results; i++) {
        const struct probe_result *r = &g->results[i];
        if (r->identity == identity && str_eq(probe_row(r->probe)->word, row) &&
            (r->cell == CELL_UNPROVEN || !r->control || is_open(r)))
            return false;
    }
    return g->identities[identity].complete;
}

static int add_past(struct gate *g, const struct breach *past, struct breach_list *list)
{
    unsigned identity = 0;
    char rows[sizeof(past->rows)], *save = NULL;
    int r = 0;

    while (identity < g->n_identities && !str_eq(g->identities[identity].name, past->account))
        identity++;
    if (identity == g->n_identities)
        return 0; // no such account any more
    snprintf(rows, sizeof(rows), "%s", past->rows);
    for (char *row = strtok_r(rows, ",", &save); r == 0 && row; row = strtok_r(NULL, ",", &save)) {
        if (is_shut(g, identity, row))
            continue;
        const struct breach *now = breach_find(list, past->account);
        if (!now || !breach_has(now, row))
            gate_note(g, CHECK_PROBE, VERDICT_REFUSE, past->account,
                      "%s was open when it was last tried, and could not be tried again", row);
        r = breach_add(list, past->account, row);
    }
    return r;
}

void flag_breaches(struct gate *g)
{
    struct breach_list past, now = {0};
    int r = breach_read(g->root, g->config, &past);

    if (r < 0) // another than we wrote it: what it says is void, and what is tried now counts
        log_warn("the flag of breaches cannot be read (%s); it is made anew", strerror(-r));
    r = add_present(g, &now);
    for (size_t i = 0; r == 0 && i < past.n; i++)
        r = add_past(g, &past.list[i], &now);
    if (r == 0)
        r = breach_write(g->root, g->config, &now);
    for (size_t i = 0; i < now.n; i++)
        log_msg(LOG_LEVEL_ERR, "account %s is breached (%s): the gateway starts none of its jobs",
                now.list[i].account, now.list[i].rows);
    if (r < 0) {
        g->failed = true;
        log_err(r, "the flag of breaches: the gateway is not told");
    }
    breach_free(&past);
    breach_free(&now);
}
