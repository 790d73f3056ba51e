// ductile-gate: check (may the gateway start) and prove (try the whole wall). The unit runs `check --boot`
// before it starts the warden, with the same user and the same two capabilities.
#include "fd.h"
#include "gate.h"
#include "log.h"
#include "privs.h"
#include "wall.h"
#include <grp.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static int open_gate(const struct opts *o, struct gate *g, struct refusal *refusal)
{
    *g = (struct gate){.root = fd_open_root(NULL), .live = true};
    int r = config_load(g->root, o->value[OPT_CONFIG], o->value[OPT_INSTANCE], &g->config, refusal);

    if (r < 0)
        return r;
    if (!g->config->resolved && g->config->posture == POSTURE_UNCONFINED)
        config_resolve_self(g->config);
    if (!g->config->resolved) {
        refuse(refusal, REFUSE_IDS, "the accounts of %s have no ids yet", g->config->path);
        refuse_why(refusal, "there is no %s/accounts.lock.yaml", g->config->dir);
        return refuse_remedy(refusal, "ductile-install apply");
    }
    return lock_load(g->root, g->config, &g->lock, refusal);
}

// Run by hand as root: what root sees says nothing about the service. Become it, as the unit would have.
static int become_service(struct gate *g, struct refusal *refusal)
{
    const struct config *c = g->config;
    int r;

    if (geteuid() != 0 || c->unconfined)
        return 0;
    r = c->posture == POSTURE_UNCONFINED ? privs_become((uid_t)c->uid, (gid_t)c->gid)
                                         : privs_shed((uid_t)c->uid, (gid_t)c->gid);
    if (r == 0)
        return 0;
    refuse(refusal, REFUSE_RUN_POSTURE, "becoming %s", c->user);
    refuse_why(refusal, "%s", strerror(-r));
    return refuse_remedy(refusal, "ductile-install apply");
}

// The warden's own filter, so that probes meet exactly what plugins meet.
static int enter_wall(struct gate *g)
{
    static struct wall_filter filter;

    if (!g->enforce)
        return 0;
    if (!privs_broken(BREAK_KEEPGROUPS) && setgroups(0, NULL) < 0)
        return err_last();
    if (!privs_broken(BREAK_NONNP) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_last();
    int r = wall_filter_config(&filter, g->config);
    return r < 0 ? r : wall_filter_load(&filter);
}

static void close_gate(struct gate *g)
{
    config_free(g->config);
    lock_free(&g->lock);
    free(g->findings);
    free(g->results);
    free(g->identities);
    fd_closep(&g->root);
}

static int decide(const struct opts *o, struct gate *g, bool all)
{
    const char *verb = o->verb->name;
    bool boot = opt_given(o, OPT_BOOT);

    check_posture(g);
    int r = enter_wall(g);
    if (r < 0)
        gate_note(g, CHECK_PROBE_BROKEN, VERDICT_REFUSE, "seccomp",
                  "the warden's filter cannot be loaded: %s", strerror(-r));
    check_kernel(g);
    check_floor(g);
    check_homes(g);
    check_doors(g);
    check_plugins(g);
    // The wall is not tried where its foundation is already refused: the findings above are the cause.
    if (gate_outcome(g) != VERDICT_REFUSE || all)
        run_probes(g, all);
    enum verdict outcome = gate_outcome(g);
    report_ledger(g, verb, outcome);
    if (opt_given(o, OPT_JSON))
        report_json(g, verb, outcome);
    else {
        report_findings(g, opt_given(o, OPT_VERBOSE));
        if (all)
            report_matrix(g);
        if (!opt_given(o, OPT_QUIET) || outcome == VERDICT_REFUSE)
            log_plain(outcome == VERDICT_REFUSE ? LOG_LEVEL_ERR : LOG_LEVEL_INFO,
                      "%s: posture %s, %zu checks, %zu attempts to climb the wall",
                      outcome == VERDICT_REFUSE ? "REFUSED"
                      : outcome == VERDICT_PASS ? "pass"
                                                : "pass, with warnings",
                      posture_name(g->config->posture), g->n_findings, g->n_results);
    }
    return outcome != VERDICT_REFUSE ? EXITCODE_OK : boot ? EXITCODE_CONFIG : EXITCODE_FINDING;
}

static int run(const struct opts *o, bool all)
{
    struct gate g;
    struct refusal refusal;
    int r = open_gate(o, &g, &refusal);

    if (r == 0)
        r = become_service(&g, &refusal);
    if (r < 0)
        r = opt_given(o, OPT_BOOT) ? (refusal_print(&refusal, opt_given(o, OPT_JSON)), EXITCODE_CONFIG)
                                   : refusal_print(&refusal, opt_given(o, OPT_JSON));
    else
        r = decide(o, &g, all);
    close_gate(&g);
    return r;
}

static int verb_check(const struct opts *o)
{
    return run(o, false);
}

static int verb_prove(const struct opts *o)
{
    return run(o, true);
}

static const struct opt_verb verbs[] = {
    {.name = "check",
     .args = "",
     .options = OPT_BIT(BOOT),
     .summary = "may the gateway start",
     .detail =
         "Capability and accounts, the filesystem floor, homes, doors, locks, and the short form of the probes. Changes "
         "nothing. Run by root it first becomes the service user with the two capabilities.",
     .example = "ductile-gate check -v",
     .exits = "1 77",
     .run = verb_check},
    {.name = "prove",
     .args = "",
     .options = 0,
     .summary = "try to climb the wall, all of it, and print the matrix",
     .detail =
         "For each account: drop as the warden does, then attempt everything in probes.def. A cell is denied only "
         "with the right errno and a twin on which the same attempt succeeded (\"no twin\": there can be none behind the filter).",
     .example = "ductile-gate prove",
     .exits = "1 77",
     .run = verb_prove},
    {.name = "why-not",
     .args = "ACCOUNT PATH",
     .min_args = 2,
     .max_args = 2,
     .options = 0,
     .summary = "what keeps an account from reading a path",
     .detail =
         "Walks the path as the account, and names the component, owner, mode and ACL that deny; or the Landlock "
         "level, where file modes would let it. `ductile why-not` is the same. Needs root. Exits with 1 where it is "
         "denied.",
     .example = "ductile why-not default /home/matt/.ssh/id_ed25519",
     .exits = "1 66 77",
     .run = verb_why_not},
};

int main(int argc, char **argv)
{
    static const struct opt_program program = {
        .name = "ductile-gate",
        .summary = "decide whether the gateway may start, and prove its wall by trying to climb it",
        .detail =
            "Run by the unit before the warden (check --boot: exit 78 for every refusal), and by you at any time.",
        .verbs = verbs,
        .n_verbs = ARRAY_LEN(verbs),
    };

    log_open(program.name, false);
    if (privs_harden() < 0 || sodium_init() < 0)
        return EXITCODE_BUG;
    return opt_main(&program, argc, argv);
}
