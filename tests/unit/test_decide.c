// needs: ductile-gate/decide.c ductile-gate/guard.c
#include "../../ductile-gate/gate.h"
#include "privs.h"
#include "unit.h"
#include "wall.h"

enum { SERVICE = 64901, ACCOUNT = 64902 };

static struct config *parsed(const char *text)
{
    struct config *c = NULL;
    struct refusal refusal = {0};
    struct config_file *files = calloc(1, sizeof(*files));
    files[0] = (struct config_file){strdup("/etc/ductile/config.yaml"), strdup(text), strlen(text)};
    if (config_parse(files, 1, &c, &refusal) < 0)
        print_message("# %s\n", refusal.why);
    return c;
}

static struct gate gate_of(const char *text)
{
    struct gate g = {.config = parsed(text), .root = -1};
    assert_non_null(g.config);
    return g;
}

static void gate_drop(struct gate *g)
{
    config_free(g->config);
    lock_free(&g->lock);
    free(g->findings);
    *g = (struct gate){0};
}

// A lock of name, with one secret required or none.
static void locked(struct gate *g, const char *name, const char *secret)
{
    struct lock_plugin p = {.name = strdup(name)};
    if (secret) {
        p.requires = calloc(1, sizeof(*p.requires));
        p.requires[0] = strdup(secret);
        p.n_requires = 1;
    }
    assert_int_equal(lock_put(&g->lock, &p), 0);
}

static size_t count(const struct gate *g, enum check_id check)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_findings; i++)
        n += g->findings[i].check == check;
    return n;
}

static const struct finding *found(const struct gate *g, enum check_id check, const char *subject)
{
    for (size_t i = 0; i < g->n_findings; i++)
        if (g->findings[i].check == check && str_eq(g->findings[i].subject, subject))
            return &g->findings[i];
    return NULL;
}

// The finding is there, with this verdict and this word in its evidence.
static void finds(const struct gate *g, enum check_id check, const char *subject, enum verdict verdict,
                  const char *word)
{
    const struct finding *f = found(g, check, subject);
    if (!f || f->verdict != verdict || !strstr(f->evidence, word))
        fail_msg("%s %s: %s, %s", check_rows[check].id, subject, f ? verdict_name(f->verdict) : "not found",
                 f ? f->evidence : "");
}

// ---- the table, verdicts ------------------------------------------------------------------------------

static void test_check_rows__complete(void **s)
{
    (void)s;
    for (int i = 0; i < CHECK_COUNT_; i++) {
        const struct check_row *row = &check_rows[i];
        unsigned holes = 0;
        assert_true(str_starts(row->id, "GATE-"));
        assert_true(row->good[0] && row->bad[0] && row->remedy[0] && row->theory[0]);
        for (const char *p = strchr(row->remedy, '%'); p; p = strchr(p + 1, '%')) {
            assert_int_equal(p[1], 's'); // the subject, and no other hole
            holes++;
        }
        assert_true(holes <= 1);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(row->id, check_rows[j].id);
    }
}

static void test_verdict_name__each(void **s)
{
    (void)s;
    assert_string_equal(verdict_name(VERDICT_PASS), "pass");
    assert_string_equal(verdict_name(VERDICT_WARN), "warn");
    assert_string_equal(verdict_name(VERDICT_UNPROVEN), "unproven");
    assert_string_equal(verdict_name(VERDICT_REFUSE), "refuse");
}

static void test_gate_note__keeps_order_and_cuts(void **s)
{
    struct gate g = {0};
    char text[1000];
    (void)s;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 100; i++)
        gate_note(&g, CHECK_LAYOUT, VERDICT_WARN, "/a", "number %d", i);
    gate_note(&g, CHECK_DOOR, VERDICT_REFUSE, text, "%s", text);
    assert_int_equal(g.n_findings, 101);
    assert_string_equal(g.findings[42].evidence, "number 42");
    assert_int_equal(g.findings[42].check, CHECK_LAYOUT);
    assert_int_equal(g.findings[100].verdict, VERDICT_REFUSE);
    assert_int_equal(strlen(g.findings[100].subject), sizeof(g.findings[100].subject) - 1);
    assert_int_equal(strlen(g.findings[100].evidence), sizeof(g.findings[100].evidence) - 1);
    assert_false(g.failed);
    free(g.findings);
}

static enum verdict outcome(const char *sidedoor, const enum verdict *verdicts, size_t n, bool failed)
{
    char text[128];
    snprintf(text, sizeof(text), "service: {admission: {fail_on_sidedoor: %s}}\n", sidedoor);
    struct gate g = gate_of(text);
    g.failed = failed;
    for (size_t i = 0; i < n; i++)
        gate_note(&g, CHECK_DOOR, verdicts[i], "x", "y");
    enum verdict v = gate_outcome(&g);
    gate_drop(&g);
    return v;
}

// pass < warn < refuse; "unproven" is a warning, and under strict a refusal.
static void test_gate_outcome__worst_wins_in_any_order(void **s)
{
    static const char *const modes[] = {"warn", "refuse", "strict"};
    (void)s;
    for (size_t m = 0; m < ARRAY_LEN(modes); m++)
        for (int i = 0; i < VERDICT_COUNT_; i++)
            for (int j = 0; j < VERDICT_COUNT_; j++)
                for (int k = 0; k < VERDICT_COUNT_; k++) {
                    enum verdict three[] = {(enum verdict)i, (enum verdict)j, (enum verdict)k};
                    enum verdict expected = VERDICT_PASS;
                    for (int n = 0; n < 3; n++) {
                        bool refuses = three[n] == VERDICT_REFUSE || (three[n] == VERDICT_UNPROVEN && m == 2);
                        if (refuses)
                            expected = VERDICT_REFUSE;
                        else if (three[n] != VERDICT_PASS && expected == VERDICT_PASS)
                            expected = VERDICT_WARN;
                    }
                    if (outcome(modes[m], three, 3, false) != expected)
                        fail_msg("%s: %d %d %d", modes[m], i, j, k);
                }
}

static void test_gate_outcome__nothing_and_failed(void **s)
{
    static const enum verdict pass[] = {VERDICT_PASS};
    (void)s;
    assert_int_equal(outcome("refuse", NULL, 0, false), VERDICT_PASS);
    assert_int_equal(outcome("refuse", pass, 1, true), VERDICT_REFUSE); // what could not be noted refuses
    assert_int_equal(outcome("warn", NULL, 0, true), VERDICT_REFUSE);
}

// ---- the boot table -----------------------------------------------------------------------------------

struct boot_case {
    const char *text; // the config
    int (*become)(void);
    enum check_id check;
    enum verdict verdict;
    const char *word;
    bool enforce;
    bool wrong_user;
};

static int as_service(void)
{
    return privs_shed(SERVICE, SERVICE);
}
static int as_service_without(void)
{
    return privs_become(SERVICE, SERVICE);
}
static int as_somebody(void)
{
    return privs_shed(ACCOUNT + 1, ACCOUNT + 1);
}
static int as_root(void)
{
    return 0;
}

static int posture_in_cell(void *arg)
{
    const struct boot_case *c = arg;
    struct gate g = {.config = parsed(c->text), .root = -1};
    if (!g.config || c->become() < 0)
        return 100;
    check_posture(&g);
    const struct finding *f = found(&g, c->check, "ductile");
    if (!f || f->verdict != c->verdict || !strstr(f->evidence, c->word))
        return 1;
    if (g.enforce != c->enforce)
        return 2;
    const struct finding *user = found(&g, CHECK_USER, "ductile");
    if ((user != NULL) != c->wrong_user || (user && user->verdict != VERDICT_REFUSE))
        return 3;
    if (g.n_findings != (c->wrong_user ? 2u : 1u))
        return 4;
    return gate_outcome(&g) == (c->wrong_user ? VERDICT_REFUSE : c->verdict) ? 0 : 5;
}

#define IDS      "uid: 64901, gid: 64901"
#define ACCOUNTS "accounts: {default: {uid: 64902, gid: 64902}}\n"
#define QUIET    "service: {" IDS "}\n"
#define LOUD     "service: {unconfined: true, " IDS "}\n"

static void test_check_posture__every_cell(void **s)
{
    static const struct boot_case cells[] = {
        {QUIET ACCOUNTS, as_service, CHECK_CAP_LACK, VERDICT_PASS, "ductile-default", true, false},
        {QUIET, as_service, CHECK_CAP_NONE, VERDICT_REFUSE, "no accounts", false, false},
        {QUIET ACCOUNTS, as_service_without, CHECK_CAP_LACK, VERDICT_REFUSE, "64902", false, false},
        {QUIET, as_service_without, CHECK_CAP_NONE, VERDICT_PASS, "no accounts", false, false},
        {LOUD ACCOUNTS, as_service, CHECK_UNCONFINED, VERDICT_WARN, "/etc/ductile/config.yaml", false, false},
        {LOUD, as_service, CHECK_UNCONFINED, VERDICT_WARN, "true", false, false},
        {LOUD ACCOUNTS, as_service_without, CHECK_UNCONFINED, VERDICT_WARN, "true", false, false},
        {LOUD, as_service_without, CHECK_UNCONFINED, VERDICT_WARN, "true", false, false},
        // and whoever is not the service user says nothing about it
        {QUIET ACCOUNTS, as_somebody, CHECK_CAP_LACK, VERDICT_PASS, "", true, true},
        {QUIET ACCOUNTS, as_root, CHECK_CAP_LACK, VERDICT_PASS, "", true, true},
        {QUIET, as_root, CHECK_CAP_NONE, VERDICT_REFUSE, "", false, true},
        {LOUD, as_somebody, CHECK_UNCONFINED, VERDICT_WARN, "", false, true},
        {LOUD ACCOUNTS, as_root, CHECK_UNCONFINED, VERDICT_WARN, "", false, false}, // the one way as root
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
        int r = in_child(posture_in_cell, (void *)&cells[i]);
        if (r != 0)
            fail_msg("cell %zu (%s): %d", i, check_rows[cells[i].check].id, r);
    }
}

static void test_check_kernel__only_while_enforcing(void **s)
{
    struct gate g = gate_of(QUIET ACCOUNTS);
    (void)s;
    check_kernel(&g);
    assert_int_equal(g.n_findings, 0);
    g.enforce = true;
    check_kernel(&g);
    assert_int_equal(count(&g, CHECK_LANDLOCK), 1);
    assert_int_equal(count(&g, CHECK_DUMPABLE), 1);
    finds(&g, CHECK_LANDLOCK, "kernel",
          wall_landlock_abi() < WALL_LANDLOCK_FLOOR ? VERDICT_REFUSE : VERDICT_PASS, "Landlock ABI ");
    gate_drop(&g);
}

// ---- plugins ------------------------------------------------------------------------------------------

static void test_check_plugins__unlocked(void **s)
{
    static const char plugins[] = "plugins: {free: {}, off: {enabled: false}, here: {}, alias: {uses: here},"
                                  " stray: {uses: free}}\n";
    (void)s;
    for (int walled = 0; walled < 2; walled++) // a lock is wanted in every posture
        for (int fail = 0; fail < 2; fail++) {
            char text[512];
            snprintf(text, sizeof(text), "service: {admission: {fail_on_unlocked: %s}}\n%s%s",
                     fail ? "true" : "false", walled ? "accounts: {default: {}}\n" : "", plugins);
            struct gate g = gate_of(text);
            locked(&g, "here", NULL);
            locked(&g, "unmentioned", NULL);
            check_plugins(&g);
            enum verdict v = fail ? VERDICT_REFUSE : VERDICT_WARN;
            finds(&g, CHECK_UNLOCKED, "free", v, "no entry");
            finds(&g, CHECK_UNLOCKED, "stray", v, "no entry"); // its code is free's
            assert_int_equal(count(&g, CHECK_UNLOCKED), 2);
            assert_int_equal(gate_outcome(&g), v);
            gate_drop(&g);
        }
}

// Two keys, two meanings: neither does the other's work.
static void test_check_plugins__unlocked_is_no_sidedoor(void **s)
{
    struct gate g = gate_of("service: {admission: {fail_on_sidedoor: strict}}\nplugins: {free: {}}\n");
    (void)s;
    check_plugins(&g);
    finds(&g, CHECK_UNLOCKED, "free", VERDICT_WARN, "");
    assert_int_equal(gate_outcome(&g), VERDICT_WARN);
    gate_drop(&g);
}

static void test_check_plugins__sharing(void **s)
{
    struct gate g = gate_of("accounts: {default: {}, own: {}, me: {home: /home/me}}\n"
                            "plugins: {alone: {run_as: own}, mine: {run_as: me}}\n");
    (void)s;
    locked(&g, "alone", "token");
    locked(&g, "mine", "token");
    locked(&g, "careless", NULL);
    locked(&g, "needy", "token");
    locked(&g, "third", NULL);
    check_plugins(&g);
    finds(&g, CHECK_SHARE, "needy", VERDICT_WARN, "account default also runs careless");
    assert_int_equal(count(&g, CHECK_SHARE), 1); // once, and not for those who need none or are alone
    gate_drop(&g);
}

static void test_check_plugins__sharing_of_two_who_need(void **s)
{
    struct gate g =
        gate_of("accounts: {default: {}, own: {}}\nplugins: {a: {run_as: own}, b: {run_as: own}}\n");
    (void)s;
    locked(&g, "a", "token");
    locked(&g, "b", "token");
    locked(&g, "c", "token"); // alone on default
    check_plugins(&g);
    finds(&g, CHECK_SHARE, "a", VERDICT_WARN, "account own also runs b");
    finds(&g, CHECK_SHARE, "b", VERDICT_WARN, "account own also runs a");
    assert_int_equal(count(&g, CHECK_SHARE), 2);
    gate_drop(&g);
}

static const char taint[] =
    "accounts: {default: {}, me: {home: /home/me}, you: {home: /home/you}}\n"
    "plugins: {hands: {run_as: me}, other: {run_as: you}, feed: {}}\n"
    "pipelines:\n"
    "  - {name: open, on: a, steps: [{uses: feed}, {uses: hands.write, id: act}]}\n"
    "  - {name: said, on: a, steps: [{uses: feed}, {uses: hands.write, accepts_untrusted: true}]}\n"
    "  - {name: confined, on: a, from_plugin: hands, steps: [{uses: feed}, {uses: feed, id: again}]}\n"
    "  - {name: anyone, on: a, steps: [{uses: hands}]}\n"
    "  - {name: stranger, on: a, from_plugin: feed, steps: [{uses: hands}]}\n"
    "  - {name: trusted, on: a, from_plugin: other, steps: [{uses: hands}]}\n"
    "  - {name: later, on: a, from_plugin: other, steps: [{uses: feed}, {uses: hands}]}\n";

static void test_check_plugins__taint_by_webhook(void **s)
{
    static const char text[] =
        "accounts: {default: {}, me: {home: /home/me}, you: {home: /home/you}}\n"
        "plugins: {hands: {run_as: me}, other: {run_as: you}, feed: {}}\n"
        "pipelines:\n"
        "  - {name: fed, on: a, from_plugin: other, steps: [{uses: hands}]}\n"
        "  - {name: unfed, on: a, from_plugin: other, steps: [{uses: hands}]}\n"
        "webhooks:\n"
        "  - {name: open, secret_ref: k, plugin: hands}\n"
        "  - {name: said, secret_ref: l, plugin: hands, accept_untrusted_input: true}\n"
        "  - {name: walled, secret_ref: m, plugin: feed}\n"
        "  - {name: by-pipeline, secret_ref: n, pipeline: fed}\n";
    struct gate g = gate_of(text);
    (void)s;
    locked(&g, "hands", NULL);
    locked(&g, "other", NULL);
    locked(&g, "feed", NULL);
    check_plugins(&g);
    finds(&g, CHECK_TAINT, "open", VERDICT_WARN, "webhook open runs hands as me");
    finds(&g, CHECK_TAINT, "fed", VERDICT_WARN, "step step_1 runs hands as me");
    assert_int_equal(count(&g, CHECK_TAINT), 2);
    gate_drop(&g);
}

static void test_check_plugins__taint_by_token(void **s)
{
    static const char text[] =
        "accounts: {default: {}, me: {home: /home/me}}\n"
        "plugins: {hands: {run_as: me}, alias: {uses: feed, run_as: me}, feed: {}, off: {run_as: me, enabled: false}}\n"
        "api:\n"
        "  %s\n"
        "  tokens:\n"
        "  - {name: runs, secret_ref: k1, scopes: [\"plugin:rw\"]}\n"
        "  - {name: all, secret_ref: k2, scopes: [\"*\"]}\n"
        "  - {name: said, secret_ref: k3, scopes: [\"*\"], accept_untrusted_input: true}\n"
        "  - {name: reads, secret_ref: k4, scopes: [\"plugin:ro\", \"jobs:rw\", \"events:rw\"]}\n";
    static const char *const listens[] = {"listen: \"127.0.0.1:18780\"", "operators: rw"};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(listens); i++) {
        char filled[2048];
        snprintf(filled, sizeof(filled), text, listens[i]);
        struct gate g = gate_of(filled);
        locked(&g, "hands", NULL);
        locked(&g, "feed", NULL);
        locked(&g, "off", NULL);
        check_plugins(&g);
        assert_int_equal(count(&g, CHECK_TAINT), i == 0 ? 4 : 0); // nobody comes by TCP: no token is asked
        if (i == 0) {
            finds(&g, CHECK_TAINT, "runs", VERDICT_WARN, "token runs may run hands as me");
            finds(&g, CHECK_TAINT, "all", VERDICT_WARN, "token all may run hands as me");
        }
        gate_drop(&g);
    }
}

static void test_check_plugins__taint(void **s)
{
    struct gate g = gate_of(taint);
    (void)s;
    locked(&g, "hands", NULL);
    locked(&g, "other", NULL);
    locked(&g, "feed", NULL);
    check_plugins(&g);
    finds(&g, CHECK_TAINT, "open", VERDICT_WARN, "step act runs hands as me");
    finds(&g, CHECK_TAINT, "anyone", VERDICT_WARN,
          "step step_1 runs hands as me"); // who emitted is not known
    finds(&g, CHECK_TAINT, "stranger", VERDICT_WARN, "hands as me");
    finds(&g, CHECK_TAINT, "later", VERDICT_WARN, "step step_2"); // the trusted source was two steps ago
    assert_null(found(&g, CHECK_TAINT, "said"));
    assert_null(found(&g, CHECK_TAINT, "confined"));
    assert_null(found(&g, CHECK_TAINT, "trusted"));
    assert_int_equal(count(&g, CHECK_TAINT), 4);
    assert_int_equal(g.n_findings, 4);
    assert_int_equal(gate_outcome(&g), VERDICT_WARN);
    gate_drop(&g);
}

// Consent has an owner and an end, and is for that door of that account.
static void test_gate_note__an_accepted_door_does_not_refuse(void **s)
{
    struct gate g = gate_of(
        "accounts: {default: {accept_doors: [{id: GATE-DOOR-01, owner: Ann, reason: moving, until: 2999-01-01},"
        "{id: GATE-DOOR-03, owner: Ann, reason: moving, until: 2001-01-01}]},"
        "me: {home: /home/me, accept_doors: [{id: GATE-DOOR-03, owner: Ann, reason: moving, until: 2001-01-01}]}}\n");
    (void)s;
    gate_note(&g, CHECK_DOOR, gate_door_verdict(&g, &g.config->accounts.list[0]), "default", "a door");
    finds(&g, CHECK_DOOR, "default", VERDICT_WARN, "accepted by Ann until 2999-01-01: moving; a door");
    assert_int_equal(gate_outcome(&g), VERDICT_WARN);
    struct finding first = g.findings[0];
    gate_note(&g, CHECK_DOOR, first.verdict, "default", "%s", first.evidence); // handed on
    assert_string_equal(g.findings[1].evidence, g.findings[0].evidence);
    gate_note(&g, CHECK_DOOR_SUDO, gate_door_verdict(&g, &g.config->accounts.list[1]), "me", "a door");
    finds(&g, CHECK_DOOR_SUDO, "me", VERDICT_WARN,
          "no longer accepted by Ann until 2001-01-01, which has passed");
    assert_int_equal(gate_outcome(&g), VERDICT_WARN);
    gate_note(&g, CHECK_KEY, VERDICT_REFUSE, "default", "no door");
    finds(&g, CHECK_KEY, "default", VERDICT_REFUSE, "no door");
    gate_note(&g, CHECK_DOOR_DOAS, VERDICT_REFUSE, "default", "another");
    finds(&g, CHECK_DOOR_DOAS, "default", VERDICT_REFUSE, "another");
    gate_note(&g, CHECK_DOOR_SUDO, gate_door_verdict(&g, &g.config->accounts.list[0]), "default", "a door");
    finds(&g, CHECK_DOOR_SUDO, "default", VERDICT_REFUSE, "no longer accepted by Ann");
    gate_note(&g, CHECK_DOOR, VERDICT_PASS, "me", "none");
    finds(&g, CHECK_DOOR, "me", VERDICT_PASS, "none");
    g.n_findings = 0;
    gate_note(&g, CHECK_DOOR, VERDICT_UNPROVEN, "default", "not known"); // nobody accepts what is not known
    finds(&g, CHECK_DOOR, "default", VERDICT_UNPROVEN, "not known");
    gate_drop(&g);
}

// Without a wall there is nobody on the other side of it.
static void test_check_plugins__unconfined_has_neither(void **s)
{
    char text[2048];
    (void)s;
    snprintf(text, sizeof(text), "service: {unconfined: true}\n%s", taint);
    struct gate g = gate_of(text);
    locked(&g, "hands", "token");
    locked(&g, "other", "token");
    locked(&g, "feed", "token");
    locked(&g, "more", "token");
    check_plugins(&g);
    assert_int_equal(g.n_findings, 0);
    gate_drop(&g);
    g = gate_of(taint); // control: the same with the wall
    locked(&g, "feed", "token");
    locked(&g, "more", "token");
    check_plugins(&g);
    assert_true(count(&g, CHECK_SHARE) == 2 && count(&g, CHECK_TAINT) == 4);
    gate_drop(&g);
}

RUN(T(check_rows__complete), T(verdict_name__each), T(gate_note__keeps_order_and_cuts),
    T(gate_outcome__worst_wins_in_any_order), T(gate_outcome__nothing_and_failed),
    T(check_posture__every_cell), T(check_kernel__only_while_enforcing), T(check_plugins__unlocked),
    T(check_plugins__unlocked_is_no_sidedoor), T(check_plugins__sharing),
    T(check_plugins__sharing_of_two_who_need), T(check_plugins__taint), T(check_plugins__taint_by_webhook),
    T(check_plugins__taint_by_token), T(check_plugins__unconfined_has_neither),
    T(gate_note__an_accepted_door_does_not_refuse))
