// Doors that only root can see. Root wrote down what it was told (rootfacts.h); here it is checked that this
// is still true, and judged. Missing or stale, nothing of it counts: could not determine is not clean.
#include "gate.h"
#include "rootfacts.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static enum check_id check_of(enum rootdoor_id id)
{
    switch (id) {
    case ROOTDOOR_SUDO: return CHECK_DOOR_SUDO;
    case ROOTDOOR_DOAS: return CHECK_DOOR_DOAS;
    case ROOTDOOR_POLKIT: return CHECK_DOOR_POLKIT;
    case ROOTDOOR_CRON: return CHECK_DOOR_CRON;
    case ROOTDOOR_LOGIN: return CHECK_DOOR_LOGIN;
    case ROOTDOOR_COUNT_: break;
    }
    return CHECK_FACTS;
}

static void judge(struct gate *g, const struct rootfact *fact)
{
    const struct account_config *a = config_account(g->config, fact->account);
    enum verdict v = VERDICT_UNPROVEN;

    switch (fact->door.state) {
    case DOOR_NONE: v = VERDICT_PASS; break;
    case DOOR_EXISTS: v = gate_door_verdict(g, a); break;
    case DOOR_UNKNOWN:
    case DOOR_COUNT_: break;
    }
    gate_note(g, check_of(fact->id), v, a->name, "%s", fact->door.evidence);
}

void check_facts(struct gate *g)
{
    const struct config *c = g->config;
    OWNED(rootfacts_free) struct rootfacts facts = {0};
    char why[256], path[LIMIT_PATH], day[32];

    if (c->posture == POSTURE_UNCONFINED || c->personal) // no account, no door out of it
        return;
    int r = rootfacts_read(g->root, c, (int64_t)time(NULL) * 1000, &facts, why);
    if (r != 0) {
        gate_note(g, CHECK_FACTS, VERDICT_UNPROVEN, rootfacts_path(c, path), "%s",
                  r < 0 ? strerror(-r) : why);
        return;
    }
    time_t at = (time_t)(facts.at_ms / 1000);
    struct tm tm;
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
    gate_note(g, CHECK_FACTS, VERDICT_PASS, rootfacts_path(c, path),
              "collected by %s at %s; %zu paths as they were%s", facts.by, day, facts.n_files,
              facts.n_unseen ? ", and of files that the service cannot stat their directory" : "");
    for (size_t i = 0; i < facts.n; i++)
        judge(g, &facts.list[i]);
}
