// ductile-gate: check (may the gateway start), prove (try the whole wall), and what explains and compares
// them. The unit runs `check --boot` before it starts the warden, with the same user and the same two
// capabilities.
#include "derive.h"
#include "diff.h"
#include "explain.h"
#include "fd.h"
#include "gate.h"
#include "log.h"
#include "output.h"
#include "privs.h"
#include "rootfacts.h"
#include "wall.h"
#include <grp.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static int open_gate(const struct opts *o, struct gate *g, struct refusal *refusal)
{
    const char *image = o->value[OPT_ROOT];

    *g = (struct gate){.root = fd_open_root(image),
                       .live = !image || str_eq(image, "/"),
                       .deadline = gate_now() + TIME_GATE_MS};
    if (g->root < 0) {
        refuse(refusal, REFUSE_IO, "the system image %s", image ? image : "/");
        refuse_why(refusal, "%s", strerror(-g->root));
        refuse_remedy(refusal, "give a directory that is there");
        return -ECANCELED;
    }
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

    if (geteuid() != 0 || c->unconfined || !g->live)
        return 0;
    r = c->posture == POSTURE_UNCONFINED ? privs_become((uid_t)c->uid, (gid_t)c->gid)
                                         : privs_shed((uid_t)c->uid, (gid_t)c->gid);
    if (r == 0)
        return 0;
    refuse(refusal, REFUSE_RUN_POSTURE, "becoming %s", c->user);
    refuse_why(refusal, "%s", strerror(-r));
    return refuse_remedy(refusal, "ductile-install apply");
}

// While it is still root: ask what the service cannot.
static int refresh_facts(struct gate *g, struct refusal *refusal)
{
    const struct config *c = g->config;

    if (c->posture == POSTURE_UNCONFINED)
        return 0;
    int r = geteuid() == 0 ? rootfacts_write(g->root, c, "ductile doctor") : -EPERM;
    if (r == -EPERM && geteuid() != 0) {
        refuse(refusal, REFUSE_NEEDS_ROOT, "ductile doctor");
        refuse_why(refusal, "it asks what only root can know, and this is uid %u", geteuid());
        return refuse_remedy(refusal, "sudo ductile doctor; ductile-gate prove asks nothing that root knows");
    }
    if (r == 0)
        return 0;
    refuse(refusal, REFUSE_IO, "collecting what only root can know");
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
    book_free(g->book);
    fd_closep(&g->root);
}

struct decision {
    const char *verb;
    enum verdict outcome;
};

static int write_ledger(struct gate *g, void *arg)
{
    const struct decision *d = arg;

    report_ledger(g, d->verb, d->outcome);
    return 0;
}

static void look_at_all(struct gate *g, bool all)
{
    static const struct guarded checks[] = {{"the kernel", check_kernel},
                                            {"the floor", check_floor},
                                            {"the vault", check_vault},
                                            {"homes", check_homes},
                                            {"what homes hand down", check_cover},
                                            {"doors", check_doors},
                                            {"plugins", check_plugins},
                                            {"what root wrote down", check_facts},
                                            {"the unit", check_unit},
                                            {"plugin code", check_drift}};

    static const struct guarded before[] = {{"homes", check_answers},
                                            {"doors, as the accounts", check_asked}};

    check_posture(g);
    guard_run(g, before, ARRAY_LEN(before)); // it may become users with their groups: not behind the filter
    int r = enter_wall(g);
    if (r < 0)
        gate_note(g, CHECK_PROBE_BROKEN, VERDICT_REFUSE, "seccomp",
                  "the warden's filter cannot be loaded: %s", strerror(-r));
    guard_run(g, checks, ARRAY_LEN(checks));
    // The wall is not tried where its foundation is already refused: the findings above are the cause.
    if (gate_outcome(g) != VERDICT_REFUSE || all)
        run_probes(g, all);
    if (all && g->enforce)
        flag_breaches(g);
}

static int decide(const struct opts *o, struct gate *g, bool all, enum output output)
{
    const char *verb = o->verb->name;
    bool boot = opt_given(o, OPT_BOOT), doctor = str_eq(verb, "doctor");

    g->quiet = all && opt_given(o, OPT_QUIET);
    if (g->live)
        look_at_all(g, all);
    else
        look_at_image(g);
    if (doctor)
        check_host(g);
    enum verdict outcome = gate_outcome(g);
    struct decision decision = {verb, outcome};
    if (g->live && !guard_call(g, write_ledger, &decision))
        log_warn("the decision is not in the ledger: it did not answer");
    int written = output_print(o, g, output, all, outcome);
    if (outcome != VERDICT_REFUSE && written != EXITCODE_OK)
        return written;
    return outcome != VERDICT_REFUSE ? EXITCODE_OK : boot ? EXITCODE_CONFIG : EXITCODE_FINDING;
}

static int run(const struct opts *o, bool all)
{
    struct gate g;
    struct refusal refusal;
    enum output output;
    int r = output_of(o, &output);

    if (r != 0)
        return r;
    r = open_gate(o, &g, &refusal);
    if (r == 0 && str_eq(o->verb->name, "doctor"))
        r = refresh_facts(&g, &refusal);
    if (r == 0)
        r = become_service(&g, &refusal);
    if (r < 0)
        r = opt_given(o, OPT_BOOT) ? (refusal_print(&refusal, opt_given(o, OPT_JSON)), EXITCODE_CONFIG)
                                   : refusal_print(&refusal, opt_given(o, OPT_JSON));
    else
        r = decide(o, &g, all, output);
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
     .options = OPT_BIT(BOOT) | OPT_BIT(ROOT) | OPT_BIT(SARIF) | OPT_BIT(FORMAT),
     .summary = "may the gateway start",
     .detail =
         "Capability and accounts, the filesystem floor, homes, doors, locks, and the short form of the probes. Changes "
         "nothing. Run by root it first becomes the service user with the two capabilities. With --root DIR it judges a "
         "system image, as whoever runs it: what needs a running host is told as unproven.",
     .example = "ductile-gate check -v",
     .exits = "1 74 77",
     .run = verb_check},
    {.name = "prove",
     .args = "",
     .options = OPT_BIT(SARIF) | OPT_BIT(FORMAT),
     .summary = "try to climb the wall, all of it, and print the matrix",
     .detail =
         "For each account: drop as the warden does, then attempt everything in probes.def. A cell is denied only "
         "with the right errno and a twin on which the same attempt succeeded (\"no twin\": there can be none behind the filter). What it finds "
         "open stops the running gateway's jobs of that account, until a later prove finds it shut. "
         "--format svg and mermaid draw the result: what should be denied and was allowed is red, what is unproven dashed.",
     .example = "ductile-gate prove --format svg > wall.svg",
     .exits = "1 74 77",
     .run = verb_prove},
    {.name = "doctor",
     .args = "",
     .options = OPT_BIT(SARIF) | OPT_BIT(FORMAT),
     .summary = "collect what only root can know, then check and prove everything",
     .detail =
         "Asks sudo, doas, polkit, cron and shadow about each account, and writes it down for the gate, which is never "
         "root. Then everything of check and prove as the service user, and the clock, free room, kernel layers and "
         "program versions. `ductile doctor` is the same. Needs root.",
     .example = "ductile doctor",
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
    {.name = "list",
     .args = "",
     .options = 0,
     .summary = "everything that is checked, tried or refused, by name",
     .detail =
         "Checks, groups that are doors, attempts and refusals: whom each concerns, how it reads when it is good and "
         "when it is bad, and what to do. -q prints the names alone.",
     .example = "ductile-gate list",
     .exits = "74",
     .run = verb_list},
    {.name = "explain",
     .args = "ID",
     .min_args = 1,
     .max_args = 1,
     .options = 0,
     .summary = "what stands behind a finding, a door, an attempt or a refusal",
     .detail =
         "Theory, what is tried, the rule for each tier, and what to do. ID is a finding (GATE-DOOR-01), a refusal "
         "(CLI-USE-01), an attempt (secret-zero) or a group (docker). `ductile explain` is the same.",
     .example = "ductile-gate explain GATE-DOOR-01",
     .exits = "74",
     .run = verb_explain},
    {.name = "posture",
     .args = "",
     .options = OPT_BIT(ROOT),
     .summary = "which posture the config makes, why, and when to pick which",
     .detail = "Reads the config only, and tries nothing: what holds is what `prove` draws.",
     .example = "ductile-gate posture",
     .exits = "74 77",
     .run = verb_posture},
    {.name = "diff",
     .args = "",
     .options = 0,
     .summary = "what is new, gone or changed between the last two runs",
     .detail =
         "The runs are rows of the ledger, read by a child that became its owner. Exits with 1 where something differs, "
         "with 66 where there are not two runs.",
     .example = "ductile-gate diff",
     .exits = "1 66 74 77",
     .run = verb_diff},
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
        .man = explain_man,
    };

    log_open(program.name, false);
    if (privs_harden() < 0 || sodium_init() < 0)
        return EXITCODE_BUG;
    return opt_main(&program, argc, argv);
}
