// needs: ductile-gate/decide.c ductile-gate/floor.c ductile-gate/ids.c ductile-gate/doors.c
// needs: ductile-gate/cover.c ductile-gate/asked.c ductile-gate/code.c ductile-gate/image.c
// needs: ductile-gate/creds.c ductile-gate/guard.c ductile-gate/book.c

// The floor over made-up images. Each test runs in a child without root: what may be owned by somebody else
// there is in tests/golden and tests/wall.
#include "../../ductile-gate/asked.h"
#include "fd.h"
#include "privs.h"
#include "unit.h"

enum { SELF = 64901, OTHER = 64903 };

static char *dir;

static void run(const char *command)
{
    char line[1024];
    snprintf(line, sizeof(line), "cd %s && { %s; }", dir, command);
    if (system(line) != 0)
        fail_msg("%s", command);
}

// Posture hybrid; the service, or the operator, is who runs this.
static struct gate gate_of(int64_t service, int64_t operator)
{
    static const char text[] =
        "accounts: {default: {}, me: {home: /home/me}}\nplugin_roots: [/home/me/code, /opt/ductile/plugins]\n";
    char lock[512];
    struct gate g = {.root = fd_open_root(dir)};
    struct refusal refusal;
    struct config_file *files = calloc(1, sizeof(*files));

    files[0] = (struct config_file){strdup("/etc/ductile/config.yaml"), strdup(text), strlen(text)};
    assert_int_equal(config_parse(files, 1, &g.config, &refusal), 0);
    snprintf(
        lock, sizeof(lock),
        "service: {user: ductile, uid: %lld, gid: %lld}\nbus: {user: ductile-bus, uid: 64911, gid: 64911}\n"
        "operators: {group: ductile-operators, gid: 64912}\naccounts:\n"
        "  default: {user: ductile-default, uid: 64913, gid: 64913}\n"
        "  me: {user: me, uid: %lld, gid: %lld, home: \"/home/me\"}\n",
        (long long)service, (long long)service, (long long)operator,(long long) operator);
    if (config_resolve(g.config, lock, strlen(lock), &refusal) < 0)
        fail_msg("%s", refusal.why);
    return g;
}

static void gate_drop(struct gate *g)
{
    config_free(g->config);
    free(g->findings);
    fd_closep(&g->root);
}

// The worst verdict on a check and subject; -1: none. word: in its evidence.
static int found(const struct gate *g, enum check_id check, const char *subject, const char *word)
{
    int worst = -1;

    for (size_t i = 0; i < g->n_findings; i++)
        if (g->findings[i].check == check && (!subject || str_eq(g->findings[i].subject, subject)) &&
            (!word || strstr(g->findings[i].evidence, word)))
            worst = MAX(worst, (int)g->findings[i].verdict);
    return worst;
}

static int unprivileged(void *fn)
{
    if (privs_become(SELF, SELF) < 0)
        return 99;
    ((void (*)(void))fn)(); // a failed assertion ends the child by exit, with another code
    return 0;
}

static void as_self(void (*fn)(void))
{
    dir = scratch_make();
    assert_int_equal(chown(dir, SELF, SELF), 0);
    int r = in_child(unprivileged, (void *)fn);
    scratch_remove(dir);
    assert_int_equal(r, 0);
}

// ---- secret zero --------------------------------------------------------------------------------

static int judged(const char *change, const char *undo, const char *subject)
{
    run(change);
    struct gate g = gate_of(SELF, OTHER);
    check_floor(&g);
    int v = found(&g, CHECK_KEY, subject, NULL);
    gate_drop(&g);
    run(undo);
    return v;
}

static void secret_zero(void)
{
    static const char key[] = "/etc/ductile/secret/age.key", secret[] = "/etc/ductile/secret";
    run("mkdir -p -m 755 etc/ductile; mkdir -m 700 etc/ductile/secret; (umask 077; echo x >etc/ductile/secret/age.key)");
    assert_int_equal(judged(":", ":", key), VERDICT_PASS);
    assert_int_equal(judged(":", ":", secret), VERDICT_PASS);
    static const struct {
        const char *change, *undo, *subject;
    } faults[] = {
        {"chmod 640 etc/ductile/secret/age.key", "chmod 600 etc/ductile/secret/age.key", key},
        {"chmod 4600 etc/ductile/secret/age.key", "chmod 600 etc/ductile/secret/age.key", key},
        {"setfacl -m u:64903:r etc/ductile/secret/age.key",
         "setfacl -b etc/ductile/secret/age.key; chmod 600 etc/ductile/secret/age.key", key},
        {"setfacl -m g:64903:r,m::--- etc/ductile/secret/age.key", "setfacl -b etc/ductile/secret/age.key",
         key},
        {"setfacl -m u:64903:x etc/ductile/secret",
         "setfacl -b etc/ductile/secret; chmod 700 etc/ductile/secret", secret},
        {"setfacl -d -m u:64903:rwx etc/ductile/secret", "setfacl -b etc/ductile/secret", secret},
        {"chmod 711 etc/ductile/secret", "chmod 700 etc/ductile/secret", secret},
        {"mv etc/ductile/secret/age.key etc/ductile/k; ln -s ../k etc/ductile/secret/age.key",
         "mv etc/ductile/k etc/ductile/secret/age.key", key},
        {"mv etc/ductile/secret etc/s; ln -s ../s etc/ductile/secret",
         "rm etc/ductile/secret; mv etc/s etc/ductile/secret", key},
        {"mv etc/ductile etc/d; ln -s d etc/ductile", "rm etc/ductile; mv etc/d etc/ductile", key},
        {"chmod g+w etc/ductile", "chmod g-w etc/ductile", key},
        {"chmod o+w etc", "chmod o-w etc", key},
        {"setfacl -m u:64903:rwx etc", "setfacl -b etc; chmod 755 etc", key},
    };
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (judged(faults[i].change, faults[i].undo, faults[i].subject) != VERDICT_REFUSE)
            fail_msg("not refused: %s", faults[i].change);
    assert_int_equal(judged(":", ":", key), VERDICT_PASS);
}
static void test_secret_zero__the_service_alone(void **s)
{
    (void)s;
    as_self(secret_zero);
}

// ---- users and groups ---------------------------------------------------------------------------

static const char passwd[] =
    "root:x:0:0::/root:/bin/sh\nductile:x:64901:64901::/:/bin/false\n"
    "ductile-bus:x:64911:64911::/:/bin/false\nductile-default:x:64913:64913::/:/bin/false\n"
    "me:x:64903:100::/home/me:/bin/sh\nother:x:64920:100::/:/bin/sh\n";
static const char group[] = "root:x:0:\nusers:x:100:\nductile:x:64901:\nductile-bus:x:64911:\n"
                            "ductile-default:x:64913:\nductile-operators:x:64912:me\ndocker:x:995:me\n";

static void write_users(const char *more_passwd, const char *more_group)
{
    char path[300];
    mkdir(dir, 0755);
    snprintf(path, sizeof(path), "%s/etc", dir);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/etc/passwd", dir);
    put(path, "%s%s", passwd, more_passwd);
    snprintf(path, sizeof(path), "%s/etc/group", dir);
    put(path, "%s%s", group, more_group);
}

static struct gate users(const char *more_passwd, const char *more_group)
{
    write_users(more_passwd, more_group);
    struct gate g = gate_of(SELF, OTHER);
    g.config->accounts.list[1].gid = 100; // a login user's group may be anybody's
    check_doors(&g);
    return g;
}

static void ids(void)
{
    static const struct {
        const char *passwd, *group, *subject, *word;
    } faults[] = {
        {"twin:x:64913:100::/:/bin/sh\n", "", "ductile-default", "uid 64913 is also twin's"},
        {"twin:x:64903:100::/:/bin/sh\n", "", "me", "uid 64903 is also twin's"},
        {"twin:x:64920:64913::/:/bin/sh\n", "", "ductile-default", "the group of twin"},
        {"ductile:x:64901:64901::/:/bin/sh\n", "", "ductile", "/etc/passwd has ductile twice"},
        {"ductile-bus:x:0:0::/:/bin/sh\n", "", "ductile-bus", "twice"},
        {"", "twin:x:64911:\n", "ductile-bus", "also the group twin"},
        {"", "ductile-bus:x:64999:\n", "ductile-bus", "/etc/group has ductile-bus twice"},
        {"", "more:x:64912:ductile-default\n", "ductile-default", "has it in ductile-operators"},
        {"", "more:x:64901:ductile-default\n", "ductile-default", "has it in ductile"},
    };
    struct gate g = users("", "");
    for (size_t i = 0; i < g.n_findings; i++)
        if (g.findings[i].check == CHECK_IDS)
            assert_int_equal(g.findings[i].verdict, VERDICT_PASS);
    assert_int_equal(found(&g, CHECK_IDS, "me", NULL), VERDICT_PASS);
    gate_drop(&g);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        g = users(faults[i].passwd, faults[i].group);
        if (found(&g, CHECK_IDS, faults[i].subject, faults[i].word) != VERDICT_REFUSE)
            fail_msg("not refused: %s%s", faults[i].passwd, faults[i].group);
        gate_drop(&g);
    }
    run("sed -i /^ductile-default/d etc/group; sed -i s/64911:64911/64910:64911/ etc/passwd");
    g = gate_of(SELF, OTHER);
    check_doors(&g);
    assert_int_equal(found(&g, CHECK_IDS, "ductile-default", "/etc/group does not have it"), VERDICT_REFUSE);
    assert_int_equal(found(&g, CHECK_IDS, "ductile-bus", "/etc/passwd does not have it"), VERDICT_REFUSE);
    gate_drop(&g);
    run("rm etc/group");
    g = gate_of(SELF, OTHER);
    check_doors(&g);
    assert_int_equal(found(&g, CHECK_IDS, "ductile", "/etc/group cannot be read"), VERDICT_UNPROVEN);
    assert_int_equal(found(&g, CHECK_DOOR, "default", "cannot be read"), VERDICT_UNPROVEN);
    gate_drop(&g);
}
static void test_ids__of_one_user_and_one_group(void **s)
{
    (void)s;
    as_self(ids);
}

// A second name of docker's gid is docker.
static void doors(void)
{
    struct gate g = users("", "");
    assert_int_equal(found(&g, CHECK_DOOR, "default", NULL), VERDICT_PASS);
    assert_int_equal(found(&g, CHECK_DOOR, "me", "docker"), VERDICT_WARN);
    gate_drop(&g);
    g = users("", "whale:x:995:ductile-default\n");
    assert_int_equal(found(&g, CHECK_DOOR, "default", "whale (gid 995)"), VERDICT_REFUSE);
    gate_drop(&g);
}
static void test_doors__by_gid(void **s)
{
    (void)s;
    as_self(doors);
}

// ---- homes --------------------------------------------------------------------------------------

static void home(void)
{
    static const char sub[] = "/home/me/code/p/sub";
    run("mkdir -p home/me/code/p; setfacl -m g:64903:rx,d:g:64903:rx home/me/code home/me/code/p; mkdir home/me/code/p/sub; ln -s / home/me/code/link");
    struct gate g = gate_of(OTHER, SELF);
    check_cover(&g);
    check_home(&g, &g.config->accounts.list[1]);
    assert_int_equal(found(&g, CHECK_HOME_COVER, "/home/me/code", "3 directories"), VERDICT_PASS);
    assert_int_equal(found(&g, CHECK_HOME, "/home/me", NULL), VERDICT_PASS);
    gate_drop(&g);
    static const struct {
        const char *change, *word;
    } faults[] = {
        {"setfacl -k home/me/code/p/sub", "no entry for its group"},
        {"setfacl -d -m g:64903:x home/me/code/p/sub", "no entry for its group"},
        {"setfacl -d -m g:64903:rx,m::x home/me/code/p/sub", "the mask takes it away"},
    };
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        run(faults[i].change);
        g = gate_of(OTHER, SELF);
        check_cover(&g);
        if (found(&g, CHECK_HOME_COVER, sub, faults[i].word) != VERDICT_WARN)
            fail_msg("not told: %s", faults[i].change);
        gate_drop(&g);
    }
    g = gate_of(SELF, OTHER); // the home is not the operator's then
    check_home(&g, &g.config->accounts.list[1]);
    assert_int_equal(found(&g, CHECK_HOME, "/home/me", "owned by another"), VERDICT_REFUSE);
    gate_drop(&g);
}
static void test_home__and_what_it_hands_down(void **s)
{
    (void)s;
    as_self(home);
}

// ---- an image -----------------------------------------------------------------------------------

static void image(void)
{
    write_users("", "");
    struct gate g = gate_of(SELF, OTHER);
    look_at_image(&g);
    static const enum check_id hosts[] = {
        CHECK_CAP_LACK,     CHECK_LANDLOCK,    CHECK_DUMPABLE,   CHECK_HIDEPID, CHECK_PROTECTED, CHECK_VAULT,
        CHECK_REACH,        CHECK_DOOR_SOCKET, CHECK_DOOR_CORE,  CHECK_PROBE,   CHECK_WORKS,     CHECK_USER,
        CHECK_PROBE_BROKEN, CHECK_HOME_CODE,   CHECK_HOME_CREDS, CHECK_LOGIN};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        assert_int_equal(found(&g, hosts[i], GATE_HOST, NULL), VERDICT_UNPROVEN);
    // Everything in it is ours, and so nothing of root's is closed.
    assert_int_equal(found(&g, CHECK_DOOR_PATH, "/", NULL), VERDICT_UNPROVEN);
    assert_int_equal(found(&g, CHECK_DOOR_ETC, "/etc/passwd", NULL), VERDICT_UNPROVEN);
    assert_int_equal(gate_outcome(&g), VERDICT_REFUSE); // the layout is missing
    gate_drop(&g);
}
static void test_image__says_what_needs_a_host(void **s)
{
    (void)s;
    as_self(image);
}

// ---- what is asked: as root, who may give files away -------------------------------------------

static bool closed(const char *change, int64_t owner, const char *expected)
{
    char open[LIMIT_PATH];
    OWNED(fd_closep) int root = fd_open_root(dir);
    run(change);
    bool r = asks_closed(root, "/a/b/c", owner, open);
    if (!r)
        assert_string_equal(open, expected);
    return r;
}

static void test_asks_closed__by_every_component(void **s)
{
    (void)s;
    dir = scratch_make();
    assert_true(closed("mkdir -p -m 755 a/b; echo >a/b/c", 0, ""));
    assert_false(closed("chmod g+w a/b/c", 0, "/a/b/c"));
    assert_false(closed("chmod 644 a/b/c; chown 64901 a/b/c", 0, "/a/b/c"));
    assert_true(closed(":", 64901, ""));
    assert_false(closed("chown 0 a/b/c; chmod o+w a/b", 0, "/a/b"));
    assert_true(closed("chmod 1777 a/b", 0, "")); // root's file in a sticky directory
    assert_false(closed("chown 64902 a/b/c", 0, "/a/b/c"));
    assert_false(closed("rm a/b/c", 0, "/a/b")); // anybody may make it
    assert_true(closed("chmod 755 a/b", 0, ""));
    assert_false(closed("setfacl -m u:64901:rwx a", 0, "/a")); // the mask stands in the group bits
    assert_true(closed("setfacl -m m::rx a", 0, ""));
    assert_false(closed("setfacl -b a; chown 64901 a", 0, "/a"));
    assert_false(closed("chown 0 a; chmod o+w .", 0, "/"));
    scratch_remove(dir);
}

static bool asks(const struct asks *a, enum check_id check, const char *path)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->list[i].check == check && str_eq(a->list[i].path, path))
            return true;
    return false;
}

static void test_asks_collect__only_what_is_open(void **s)
{
    struct asks a = {0};
    (void)s;
    dir = scratch_make();
    run("mkdir -p etc usr/bin usr/lib/x usr/local/bin opt/ductile/plugins/p/d opt/ductile/locked home/me/code/q");
    run("printf '#PATH=/no\\nPATH=\"/tools:/usr/bin:relative\"\\n' >etc/environment; printf 'ENV_PATH PATH=/no\\nENV_SUPATH\\tPATH=/super:/sbin\\n' >etc/login.defs;"
        "echo PATH=/clock >etc/crontab");
    run("cd usr/bin; for n in plain suid sgid caps open suidopen; do echo >$n; done; chmod 4755 suid; chmod 2755 sgid; setcap cap_net_raw+ep caps; chmod 666 open; chmod 4777 suidopen");
    run("cd usr/lib/x; for n in plain suid sgid caps; do echo >$n; done; chmod 4755 suid; chmod 2755 sgid; setcap cap_net_raw+ep caps; chmod 777 .");
    run("cd opt/ductile/plugins/p; echo >closed; echo >open; echo >d/deep; chmod o+w open d/deep; chown -R 64903 ../../../../home/me; echo >../../../../home/me/code/q/roots; chmod o+w ../../../../home/me/code/q");
    struct gate g = gate_of(SELF, OTHER);
    asks_collect(&g, &a);
    assert_false(a.failed || a.cut);
    static const char *const in_path[] = {"/usr/local/bin", "/tools", "/usr/bin",
                                          "/super",         "/clock", "/usr/bin/open"};
    for (size_t i = 0; i < ARRAY_LEN(in_path); i++)
        assert_true(asks(&a, CHECK_DOOR_PATH, in_path[i]));
    assert_false(asks(&a, CHECK_DOOR_PATH, "/no") || asks(&a, CHECK_DOOR_PATH, "relative") ||
                 asks(&a, CHECK_DOOR_PATH, "/usr/bin/plain"));
    assert_true(asks(&a, CHECK_DOOR_SETID, "/usr/bin/suidopen") &&
                asks(&a, CHECK_DOOR_SETID, "/usr/lib/x/suid") &&
                asks(&a, CHECK_DOOR_SETID, "/usr/lib/x/sgid"));
    assert_false(asks(&a, CHECK_DOOR_SETID, "/usr/bin/suid") || asks(&a, CHECK_DOOR_SETID, "/usr/bin/sgid") ||
                 asks(&a, CHECK_DOOR_SETID, "/usr/lib/x/plain"));
    assert_true(asks(&a, CHECK_DOOR_FILECAPS, "/usr/lib/x/caps"));
    assert_false(asks(&a, CHECK_DOOR_FILECAPS, "/usr/bin/caps") ||
                 asks(&a, CHECK_DOOR_FILECAPS, "/usr/lib/x/plain"));
    assert_true(asks(&a, CHECK_DOOR_CODE, "/opt/ductile/plugins/p/open") &&
                asks(&a, CHECK_DOOR_CODE, "/opt/ductile/plugins/p/d/deep") &&
                asks(&a, CHECK_DOOR_CODE, "/home/me/code/q") &&
                asks(&a, CHECK_DOOR_CODE, "/opt/ductile/locked"));
    assert_false(asks(&a, CHECK_DOOR_CODE, "/opt/ductile/plugins/p/closed") ||
                 asks(&a, CHECK_DOOR_CODE, "/home/me/code/q/roots"));
    assert_true(asks(&a, CHECK_DOOR_OURS, "/etc/ductile/accounts.lock.yaml") &&
                asks(&a, CHECK_DOOR_OURS, "/etc/systemd/system/ductile.service.d"));
    assert_false(asks(&a, CHECK_DOOR_OURS, "/etc/ductile/secret")); // the service's: the probes try it
    asks_free(&a);
    gate_drop(&g);
    scratch_remove(dir);
}

RUN(T(secret_zero__the_service_alone), T(ids__of_one_user_and_one_group), T(doors__by_gid),
    T(home__and_what_it_hands_down), T(image__says_what_needs_a_host), T(asks_closed__by_every_component),
    T(asks_collect__only_what_is_open))
