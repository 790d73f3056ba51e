#include "config.h"
#include "fd.h"
#include "str.h"
#include "token.h"
#include "unit.h"

static int load(const char *text, struct config **ret, struct refusal *refusal)
{
    struct config_file *files = calloc(1, sizeof(*files));
    files[0] = (struct config_file){strdup("/etc/ductile/config.yaml"), strdup(text), strlen(text)};
    return config_parse(files, 1, ret, refusal);
}

static struct config *good(const char *text)
{
    struct config *c = NULL;
    struct refusal refusal = {0};
    int r = load(text, &c, &refusal);
    if (r < 0)
        print_message("# %s\n", refusal.why);
    assert_int_equal(r, 0);
    return c;
}

// The config is refused, and every one of the words stands in what it says.
static void bad(const char *text, const char *position, const char *word)
{
    struct config *c = NULL;
    struct refusal refusal = {0};
    assert_int_equal(load(text, &c, &refusal), -ECANCELED);
    if (!strstr(refusal.why, position) || !strstr(refusal.why, word))
        print_message("# wanted \"%s\" and \"%s\" in: %s\n", position, word, refusal.why);
    assert_non_null(strstr(refusal.why, position));
    assert_non_null(strstr(refusal.why, word));
    assert_string_equal(refusal.id, "CONF-LOAD-01");
    assert_int_equal(refusal.code, EXITCODE_CONFIG);
    assert_true(refusal.what[0] && refusal.remedy[0]);
}

static void test_config_parse__defaults(void **s)
{
    struct config *c = good("");
    (void)s;
    assert_string_equal(c->name, "ductile");
    assert_string_equal(c->user, "ductile");
    assert_string_equal(c->operators, "ductile-operators");
    assert_string_equal(c->age_key_file, "/etc/ductile/secret/age.key");
    assert_string_equal(c->api_socket, "/run/ductile/api.sock");
    assert_string_equal(c->plugin_roots.list[0], "/opt/ductile/plugins");
    assert_int_equal(c->posture, POSTURE_UNCONFINED);
    assert_int_equal(c->limit_stdout, 10 << 20);
    assert_int_equal(c->drain, 30000);
    assert_int_equal(c->retention_facts, INT64_C(30) * 86400000);
    assert_int_equal(c->fail_on_sidedoor, SIDEDOOR_REFUSE);
    config_free(c);
}

static void test_config_parse__instance_names_everything(void **s)
{
    struct config *c = good("service: {name: ductile-admin}\naccounts: {default: {}}\n");
    (void)s;
    assert_string_equal(c->user, "ductile-admin");
    assert_string_equal(c->bus_user, "ductile-admin-bus");
    assert_string_equal(c->state_path, "/var/lib/ductile-admin/ledger/ductile.db");
    assert_string_equal(c->accounts.list[0].user, "ductile-admin-default");
    assert_string_equal(c->accounts.list[0].state_dir, "/var/lib/ductile-admin/accounts/default");
    config_free(c);
}

static void test_config_parse__postures(void **s)
{
    (void)s;
    struct config *c = good("accounts: {default: {}, untrusted: {}}\n");
    assert_int_equal(c->posture, POSTURE_FULL_PRIVSEP);
    config_free(c);
    c = good("accounts: {default: {}, me: {home: /home/me}}\n");
    assert_int_equal(c->posture, POSTURE_HYBRID);
    assert_int_equal(c->accounts.list[1].mode, MODE_CREDENTIALED);
    assert_int_equal(c->accounts.list[1].landlock, LANDLOCK_SCOPE);
    assert_int_equal(c->accounts.list[0].landlock, LANDLOCK_WRITE);
    config_free(c);
    c = good("service: {unconfined: true}\naccounts: {default: {}}\n");
    assert_int_equal(c->posture, POSTURE_UNCONFINED);
    config_free(c);
}

static void test_config_parse__unknown_key_with_hint(void **s)
{
    (void)s;
    bad("acounts: {}\n", "config.yaml:1:1", "did you mean \"accounts\"");
    bad("plugins:\n  x:\n    run-as: y\n", "config.yaml:3:5: plugins.x.run-as", "did you mean \"run_as\"");
    bad("zzzzzzzzzzz: 1\n", "config.yaml:1:1", "unknown key");
}

static void test_config_parse__groups_is_refused_with_reason(void **s)
{
    (void)s;
    bad("accounts: {default: {groups: [docker]}}\n", "accounts.default.groups", "door to root");
}

#define ACCEPT(id, until)                                                                                    \
    "accounts: {default: {accept_doors: [{id: " id ", owner: o, reason: r, until: " until "}]}}\n"

static void test_config_parse__accept_doors(void **s)
{
    struct config *c = good(
        "accounts: {default: {accept_doors: [{id: GATE-DOOR-03, owner: Ann B, reason: why, until: 2030-02-28},"
        "{id: GATE-DOOR-03, owner: later, reason: r, until: 2031-01-01}]}, untrusted: {}}\n");
    (void)s;
    assert_int_equal(c->accounts.list[0].accept_doors.n, 2);
    assert_string_equal(config_accepted(&c->accounts.list[0], "GATE-DOOR-03")->owner, "later");
    assert_null(config_accepted(&c->accounts.list[0], "GATE-DOOR-04"));
    assert_null(config_accepted(&c->accounts.list[1], "GATE-DOOR-03"));
    config_free(c);
    bad("accounts: {default: {accept_doors: [{id: GATE-DOOR-03, owner: o, reason: r}]}}\n",
        "accounts.default.accept_doors[0]", "needs id, owner, reason and until");
    bad("accounts: {default: {accept_doors: [{id: GATE-DOOR-03, reason: r, ununtill: 2030-01-01}]}}\n",
        "accept_doors[0]", "needs id");
    bad(ACCEPT("GATE-KEY-01", "2030-01-01"), "accept_doors[0].id", "the id of a door");
    bad(ACCEPT("GATE-DOOR-3", "2030-01-01"), "accept_doors[0].id", "the id of a door");
    bad(ACCEPT("GATE-DOOR-03", "2030-02-29"), "accept_doors[0].until", "a day, YYYY-MM-DD");
    bad(ACCEPT("GATE-DOOR-03", "tomorrow"), "accept_doors[0].until", "a day");
    bad("accounts: {default: {accept_doors: [{id: GATE-DOOR-03, owner: o, reason: r, untill: 2030-01-01}]}}\n",
        "accept_doors[0].untill", "did you mean \"until\"");
}

static void test_config_date_ends__days(void **s)
{
    static const char *const none[] = {"",           "2030-1-01",  "2030-13-01", "2030-00-01",
                                       "2030-04-31", "2030-01-00", "1969-12-31", "2030-01-01 ",
                                       "2030/01/01", "203O-01-01", "0000-01-01", "2030-01--1"};
    (void)s;
    assert_int_equal(config_date_ends("1970-01-01"), 86400);
    assert_int_equal(config_date_ends("2000-02-29"), 951868800);
    assert_int_equal(config_date_ends("2038-12-31"), 2177452800);
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        if (config_date_ends(none[i]) != -EINVAL)
            fail_msg("%s", none[i]);
}

static void test_config_parse__wrong_types(void **s)
{
    (void)s;
    bad("service: {unconfined: \"true\"}\n", "1:23", "true or false");
    bad("service: {max_workers: many}\n", "1:24", "whole number");
    bad("service: {max_workers: 0}\n", "1:24", "out of range (1 to 1024)");
    bad("service: {drain: 30}\n", "1:18", "duration");
    bad("service: {retention: {facts: 30}}\n", "1:30", "duration");
    bad("service: {retention: {facts: 59m}}\n", "1:30", "out of range (1h to 3650d)");
    bad("service: {retention: {facts: 3651d}}\n", "1:30", "out of range");
    bad("service: {retention: {fact: 30d}}\n", "1:23", "facts");
    bad("limits: {stdout: big}\n", "1:18", "size");
    bad("plugin_roots: /opt\n", "1:15", "list");
    bad("accounts: [a]\n", "1:11", "map of names");
    bad("service: {name: 12}\n", "1:17", "expected text");
    bad("api: {operators: all}\n", "1:18", "ro, rw");
    bad("plugins: {x: {config: [1]}}\n", "1:23", "expected a map");
}

static void test_config_parse__all_errors_sorted(void **s)
{
    struct config *c = NULL;
    struct refusal refusal = {0};
    (void)s;
    assert_int_equal(load("z: 1\ny: 2\nx: 3\n", &c, &refusal), -ECANCELED);
    const char *z = strstr(refusal.why, ":1:1: z"), *y = strstr(refusal.why, ":2:1: y"),
               *x = strstr(refusal.why, ":3:1: x");
    assert_true(z && y && x && z < y && y < x);
}

static void test_config_parse__account_ids(void **s)
{
    (void)s;
    bad("accounts: {default: {uid: 0}}\n", "accounts.default.uid", "from 1");
    bad("accounts: {default: {uid: 65534}}\n", "accounts.default.uid", "nobody");
    bad("accounts: {default: {uid: 4294967296}}\n", "accounts.default.uid", "from 1");
    bad("accounts: {default: {uid: 5000}, b: {uid: 5000}}\n", "accounts.b", "shares its uid");
    bad("accounts: {default: {gid: 5000}, b: {gid: 5000}}\n", "accounts.b", "shares its gid");
    bad("service: {uid: 5000}\naccounts: {default: {uid: 5000}}\n", "accounts.default", "the service's");
    bad("service: {gid: 5000}\naccounts: {default: {gid: 5000}}\n", "accounts.default", "the service's");
}

static void test_config_parse__account_homes(void **s)
{
    (void)s;
    bad("accounts: {default: {home: /home/u}}\n", "accounts.default", "trust is granted by name");
    bad("accounts: {untrusted: {home: /home/u}}\n", "accounts.untrusted", "trust is granted by name");
    bad("accounts: {me: {home: /}}\n", "accounts.me", "cannot be /");
    bad("accounts: {me: {home: /home/me, state_dir: /var/x}}\n", "accounts.me", "exclude each other");
    bad("accounts: {me: {home: /home/me, uid: 1000}}\n", "accounts.me", "taken from the user");
    bad("accounts: {me: {home: /home/me, landlock: write}}\n", "accounts.me", "scope");
    bad("accounts: {a: {home: /home/x}, b: {home: /home/x}}\n", "accounts.b", "shares its home");
}

static void test_config_parse__account_state_dirs(void **s)
{
    (void)s;
    bad("accounts: {default: {state_dir: /etc/x}}\n", "accounts.default.state_dir", "/etc or /home");
    bad("accounts: {default: {state_dir: /home/x/y}}\n", "accounts.default.state_dir", "/etc or /home");
    bad("accounts: {default: {state_dir: /opt/ductile/plugins/x}}\n", "accounts.default.state_dir",
        "plugin root");
    bad("accounts: {default: {state_dir: /srv/a}, b: {state_dir: /srv/a/b}}\n", "accounts.b.state_dir",
        "inside the state_dir");
    bad("accounts: {default: {state_dir: rel}}\n", "accounts.default.state_dir", "absolute");
}

static void test_config_parse__account_names(void **s)
{
    (void)s;
    bad("accounts: {bus: {}}\n", "accounts.bus", "reserved");
    bad("accounts: {operators: {}}\n", "accounts.operators", "reserved");
    bad("accounts: {unconfined: {}}\n", "accounts.unconfined", "reserved");
    bad("accounts: {Default: {}}\n", "accounts.Default", "not a name");
    bad("accounts: {this-is-a-name-that-is-much-too-long: {}}\n", "accounts.this-is", "longer than 31");
    bad("accounts: {default: {user: ductile-bus}}\n", "accounts.default", "gateway's own");
    bad("service: {name: ductile-run}\n", "service.name", "name of a program");
}

static void test_config_parse__plugin_accounts(void **s)
{
    (void)s;
    bad("accounts: {default: {}}\nplugins: {x: {run_as: ghost}}\n", "plugins.x", "no account \"ghost\"");
    bad("accounts: {other: {}}\nplugins: {x: {}}\n", "plugins.x", "no account \"default\"");
    struct config *c = good("accounts: {default: {}, b: {}}\nplugins: {x: {run_as: b}, y: }\n");
    assert_string_equal(config_account_of(c, "x")->name, "b");
    assert_string_equal(config_account_of(c, "y")->name, "default");
    assert_string_equal(config_account_of(c, "never-mentioned")->name, "default");
    config_free(c);
}

static void test_config_parse__shared_principal(void **s)
{
    (void)s;
    bad("plugins: {a_b: {}, a-b: {}}\n", "plugins.a-b", "share the vault principal");
    struct config *c = good("plugins: {a_b: {vault_principal: z}, a-b: {vault_principal: z}}\n");
    char buf[LIMIT_NAME];
    assert_string_equal(config_principal_of(c, "a_b", buf), "z");
    assert_string_equal(config_principal_of(c, "github_repo_sync", buf), "github-repo-sync");
    config_free(c);
}

static void test_config_parse__env_passthrough(void **s)
{
    static const char *const refused[] = {"LD_PRELOAD", "PYTHONPATH", "BASH_ENV", "NODE_OPTIONS",
                                          "PATH",       "HOME",       "a-b",      ""};
    char text[128];
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        snprintf(text, sizeof(text), "service: {env_passthrough: [\"%s\"]}\n", refused[i]);
        bad(text, "env_passthrough[0]", "expected");
    }
    config_free(good("service: {env_passthrough: [MY_PROXY]}\n"));
}

static void test_config_parse__pipelines(void **s)
{
    (void)s;
    bad("pipelines: [{name: p}]\n", "pipelines[0]", "needs on");
    bad("pipelines: [{name: p, on: x}]\n", "pipelines[0]", "at least one step");
    bad("pipelines: [{name: p, on: x, steps: [{}]}]\n", "pipelines[0].steps[0]", "needs uses");
    bad("pipelines: [{name: p, on: x, steps: [{uses: 'a b'}]}]\n", "steps[0].uses", "PLUGIN.COMMAND");
    bad("pipelines: [{name: p, on: x, steps: [{uses: a}]}, {name: p, on: y, steps: [{uses: a}]}]\n",
        "pipelines[1]", "already a pipeline");
    struct config *c = good(
        "pipelines: [{name: p, on: x.y, steps: [{uses: a}, {id: two, uses: b.poll, accepts_untrusted: true}]}]\n");
    assert_string_equal(c->pipelines.list[0].steps.list[0].id, "step_1");
    assert_true(c->pipelines.list[0].steps.list[1].accepts_untrusted);
    config_free(c);
}

static void test_config_timeout_of__commands(void **s)
{
    struct config *c = good("plugins: {x: {timeouts: {poll: 5s, odd: 1m}}}\n");
    (void)s;
    assert_int_equal(config_timeout_of(c, "x", "poll"), 5000);
    assert_int_equal(config_timeout_of(c, "x", "odd"), 60000);
    assert_int_equal(config_timeout_of(c, "x", "health"), 10000);
    assert_int_equal(config_timeout_of(c, "y", "poll"), 60000);
    assert_int_equal(config_timeout_of(c, "y", "other"), 120000);
    config_free(c);
}

static void test_config_load__includes(void **s)
{
    char *dir = scratch_make(), path[512];
    struct config *c = NULL;
    struct refusal refusal = {0};
    OWNED(fd_closep) int root = fd_open_root(dir);
    (void)s;
    snprintf(path, sizeof(path), "%s/etc", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/etc/d", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/etc/config.yaml", dir);
    put(path, "include: [d, more.yaml]\naccounts: {default: {}}\nlimits: {events: 5}\n");
    snprintf(path, sizeof(path), "%s/etc/d/b.yaml", dir);
    put(path, "accounts: {two: {}}\n");
    snprintf(path, sizeof(path), "%s/etc/d/a.yaml", dir);
    put(path, "accounts: {one: {}}\nlimits: {events: 6}\n");
    snprintf(path, sizeof(path), "%s/etc/d/ignored.txt", dir);
    put(path, "not: [yaml\n");
    snprintf(path, sizeof(path), "%s/etc/more.yaml", dir);
    put(path, "limits: {events: 7}\n");
    assert_int_equal(config_load(root, "/etc/config.yaml", NULL, &c, &refusal), 0);
    assert_int_equal(c->accounts.n, 3); // no section can vanish in an include
    assert_int_equal(c->limit_events, 7);
    assert_int_equal(c->n_files, 4);
    config_free(c);
    put(path, "include: [d]\n");
    assert_int_equal(config_load(root, "/etc/config.yaml", NULL, &c, &refusal), -ECANCELED);
    assert_non_null(strstr(refusal.why, "only the main file includes"));
    put(path, "acounts: {}\n");
    assert_int_equal(config_load(root, "/etc/config.yaml", NULL, &c, &refusal), -ECANCELED);
    assert_non_null(strstr(refusal.why, "more.yaml:1:1"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(config_load(root, "/etc/config.yaml", NULL, &c, &refusal), -ECANCELED);
    assert_non_null(strstr(refusal.what, "more.yaml"));
    scratch_remove(dir);
}

static const char lock[] =
    "service: {user: ductile, uid: 990, gid: 990}\nbus: {user: ductile-bus, uid: 991, gid: 991}\n"
    "operators: {group: o, gid: 992}\naccounts:\n  default: {user: ductile-default, uid: 993, gid: 993}\n";

static void test_config_resolve__ids(void **s)
{
    struct config *c = good("accounts: {default: {}}\n");
    struct refusal refusal;
    (void)s;
    assert_int_equal(config_resolve(c, lock, strlen(lock), &refusal), 0);
    assert_true(c->resolved && c->uid == 990 && c->bus_uid == 991 && c->operators_gid == 992 &&
                c->accounts.list[0].uid == 993);
    config_free(c);
}

static void test_config_resolve__contradictions(void **s)
{
    static const char *const configs[] = {
        "accounts: {default: {}, more: {}}\n",           // an account without ids
        "accounts: {default: {uid: 5000}}\n",            // pinned otherwise since
        "accounts: {default: {user: somebody-else}}\n",  // another user
        "accounts: {default: {}}\nservice: {uid: 77}\n", // the service's
    };
    struct refusal refusal;
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
        struct config *c = good(configs[i]);
        assert_int_equal(config_resolve(c, lock, strlen(lock), &refusal), -ECANCELED);
        assert_string_equal(refusal.id, "CONF-IDS-01");
        assert_false(c->resolved);
        config_free(c);
    }
    struct config *c = good("accounts: {default: {}}\n");
    assert_int_equal(config_resolve(c, "x", 1, &refusal), -ECANCELED);
    config_free(c);
    // an account whose ids are the service's own
    static const char same[] =
        "service: {uid: 990, gid: 990}\nbus: {uid: 991, gid: 991}\noperators: {gid: 992}\n"
        "accounts: {default: {user: ductile-default, uid: 993, gid: 990}}\n";
    c = good("accounts: {default: {}}\n");
    assert_int_equal(config_resolve(c, same, strlen(same), &refusal), -ECANCELED);
    config_free(c);
}

static void test_config_parse__egress(void **s)
{
    (void)s;
    struct config *c =
        good("accounts: {default: {}, a: {egress: []}, b: {egress: [10.0.0.0/8, \"[::1]:53\"]}}\n");
    assert_null(c->accounts.list[0].egress.list); // absent: all
    assert_true(c->accounts.list[1].egress.list && c->accounts.list[1].egress.n == 0);
    assert_int_equal(c->accounts.list[2].egress.n, 2);
    config_free(c);
    bad("accounts: {me: {home: /home/me, egress: [10.0.0.0/8]}}\n", "config.yaml:1:", "operator's own login");
    bad("accounts: {me: {home: /home/me, egress: []}}\n", "config.yaml:1:", "operator's own login");
    bad("accounts: {a: {egress: [], network: none}}\n", "config.yaml:1:", "leaves nothing to filter");
    bad("accounts: {a: {egress: [example.org]}}\n", "config.yaml:1:", "accounts.a.egress[0]");
    bad("accounts: {a: {egress: 10.0.0.0/8}}\n", "config.yaml:1:", "expected a list");
}

#define TOKEN "{name: ci, secret_ref: ci-token, scopes: [plugin:rw, jobs:ro]}"
static void test_config_parse__tokens(void **s)
{
    (void)s;
    struct config *c = good("api: {listen: \"127.0.0.1:8780\", tokens: [" TOKEN
                            ", {name: all, secret_ref: all, scopes: [\"*\"]}]}\n");
    assert_string_equal(c->api_listen, "127.0.0.1:8780");
    assert_int_equal(c->tokens.n, 2);
    assert_int_equal(c->tokens.list[0].rights, TOKEN_PLUGIN_READ | TOKEN_PLUGIN_WRITE | TOKEN_JOBS_READ);
    assert_int_equal(c->tokens.list[1].rights, TOKEN_ALL);
    config_free(c);
    c = good("api: {tokens: [" TOKEN "]}\n"); // without TCP: of no use yet, and no fault
    assert_null(c->api_listen);
    config_free(c);
    bad("api:\n  tokens:\n  - {name: ci, secret_ref: x, scopes: [plugin:rx]}\n",
        "config.yaml:3:", "one of: plugin:ro plugin:rw");
    bad("api:\n  tokens:\n  - {name: ci, secret_ref: x, scopes: []}\n", "config.yaml:3:", "needs scopes");
    bad("api:\n  tokens:\n  - {name: ci, secret_ref: x}\n", "config.yaml:3:", "needs scopes");
    bad("api:\n  tokens:\n  - {secret_ref: x, scopes: [\"*\"]}\n", "config.yaml:3:", "needs name");
    bad("api:\n  tokens:\n  - {name: ci, scopes: [\"*\"]}\n", "config.yaml:3:", "needs secret_ref");
    bad("api:\n  tokens:\n  - " TOKEN "\n  - {name: ci, secret_ref: y, scopes: [\"*\"]}\n",
        "config.yaml:4:", "there is already a token");
    bad("api:\n  tokens:\n  - " TOKEN "\n  - {name: b, secret_ref: ci-token, scopes: [\"*\"]}\n",
        "config.yaml:4:", "has the secret of token");
    bad("api:\n  tokens:\n  - {name: ci, secret_ref: Not A Name, scopes: [\"*\"]}\n",
        "config.yaml:3:", "the name of a secret");
    bad("api:\n  tokens:\n  - {name: ci, value: 0123, secret_ref: x, scopes: [\"*\"]}\n",
        "config.yaml:3:", "unknown key");
    bad("api:\n  listen: \"127.0.0.1:8780\"\n", "config.yaml:2:", "needs a token");
    bad("api:\n  listen: \"localhost:8780\"\n  tokens: [" TOKEN "]\n",
        "config.yaml:2:", "an address and a port");
    // the gateway's own principal is no plugin's
    bad("plugins:\n  core: {}\n", "config.yaml:2:", "which is the gateway's own");
    bad("plugins:\n  x: {vault_principal: core}\n", "config.yaml:2:", "which is the gateway's own");
}

#define WALLED "accounts: {default: {}}\nplugins: {x: {}}\n"
static void test_config_parse__webhooks(void **s)
{
    (void)s;
    struct config *c = good(WALLED "pipelines: [{name: p, on: e, steps: [{uses: x}]}]\nwebhooks:\n"
                                   "- {name: gh, secret_ref: gh-key, plugin: x}\n"
                                   "- {name: b, path: a/b, secret_ref: b-key, pipeline: p, window: 1h}\n");
    assert_string_equal(c->webhooks.list[0].path, "gh");
    assert_int_equal(c->webhooks.list[0].window, 300000);
    assert_string_equal(c->webhooks.list[1].path, "a/b");
    assert_int_equal(c->webhooks.list[1].window, 3600000);
    assert_ptr_equal(config_webhook(c, "b"), &c->webhooks.list[1]);
    assert_null(config_webhook(c, "a/b"));
    config_free(c);
    bad("webhooks:\n- {name: gh, secret_ref: k, plugin: x}\n", "config.yaml:2:", "does not face strangers");
    config_free(good("webhooks:\n- {name: gh, secret_ref: k, plugin: x, accept_untrusted_input: true}\n"));
    bad("service: {unconfined: true}\n" WALLED "webhooks:\n- {name: gh, secret_ref: k, plugin: x}\n",
        "config.yaml:5:", "does not face strangers");
    static const struct {
        const char *entry, *word;
    } wrong[] = {
        {"{name: gh, secret_ref: k}", "needs plugin or pipeline"},
        {"{name: gh, secret_ref: k, plugin: x, pipeline: p}", "not both"},
        {"{name: gh, secret_ref: k, pipeline: nowhere}", "there is no pipeline"},
        {"{secret_ref: k, plugin: x}", "needs name"},
        {"{name: gh, plugin: x}", "needs secret_ref"},
        {"{name: gh, secret_ref: k, plugin: x, window: 0s}", "out of range"},
        {"{name: gh, secret_ref: k, plugin: x, path: /a}", "letters, digits"},
        {"{name: gh, secret_ref: k, plugin: x, path: a//b}", "letters, digits"},
        {"{name: gh, secret_ref: k, plugin: x, path: a%2fb}", "letters, digits"},
        {"{name: gh, secret_ref: k, plugin: x, path: ..}", "letters, digits"},
        {"{name: gh, secret_ref: k, plugin: x, key: y}", "unknown key"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[512];
        snprintf(text, sizeof(text), WALLED "webhooks:\n- %s\n", wrong[i].entry);
        bad(text, "config.yaml:4:", wrong[i].word);
    }
    bad(WALLED
        "webhooks:\n- {name: gh, secret_ref: k, plugin: x}\n- {name: gh, path: o, secret_ref: l, plugin: x}\n",
        "config.yaml:5:", "there is already a webhook \"gh\"");
    bad(WALLED
        "webhooks:\n- {name: gh, secret_ref: k, plugin: x}\n- {name: o, path: gh, secret_ref: l, plugin: x}\n",
        "config.yaml:5:", "already a webhook at /hook/gh");
    bad(WALLED "webhooks:\n- {name: gh, secret_ref: k, plugin: x}\n- {name: o, secret_ref: k, plugin: x}\n",
        "config.yaml:5:", "has the key of webhook \"gh\"");
    bad(WALLED "api: {tokens: [" TOKEN "]}\nwebhooks:\n- {name: gh, secret_ref: ci-token, plugin: x}\n",
        "config.yaml:5:", "is the value of an API token");
}

// Every default of the table goes through the same parser: a wrong one would show here.
static void test_config_rows__defaults_are_valid(void **s)
{
    size_t n, with_default = 0;
    const struct config_row *rows = config_rows(&n);
    (void)s;
    for (size_t i = 0; i < n; i++) {
        assert_true(rows[i].doc[0] != '\0');
        with_default += rows[i].def != NULL;
    }
    assert_true(n > 50 && with_default > 25);
    config_free(good(
        "accounts: {default: {}}\nplugins: {x: {}}\npipelines: [{name: p, on: e, steps: [{uses: x}]}]\n"));
}

RUN(T(config_parse__defaults), T(config_parse__instance_names_everything), T(config_parse__postures),
    T(config_parse__unknown_key_with_hint), T(config_parse__groups_is_refused_with_reason),
    T(config_parse__accept_doors), T(config_date_ends__days), T(config_parse__wrong_types),
    T(config_parse__all_errors_sorted), T(config_parse__account_ids), T(config_parse__account_homes),
    T(config_parse__account_state_dirs), T(config_parse__account_names), T(config_parse__plugin_accounts),
    T(config_parse__shared_principal), T(config_parse__env_passthrough), T(config_parse__pipelines),
    T(config_timeout_of__commands), T(config_load__includes), T(config_resolve__ids),
    T(config_resolve__contradictions), T(config_parse__egress), T(config_parse__tokens),
    T(config_parse__webhooks), T(config_rows__defaults_are_valid))
