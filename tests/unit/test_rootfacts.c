#include "fd.h"
#include "rootfacts.h"
#include "str.h"
#include "unit.h"
#include <time.h>

// A made-up host. The service is 64901: what it cannot stat in there, the facts must name.
static const char lock[] =
    "service: {user: ductile, uid: 64901, gid: 64901}\nbus: {user: ductile-bus, uid: 64902, gid: 64902}\n"
    "operators: {group: ops, gid: 64903}\naccounts:\n"
    "  default: {user: ductile-default, uid: 64904, gid: 64904}\n"
    "  me: {user: me, uid: 64905, gid: 64905, home: /home/me}\n";

struct lab {
    char *dir;
    int root;
    struct config *config;
};

static struct config *parsed(const char *text)
{
    struct config *c = NULL;
    struct refusal refusal = {0};
    struct config_file *files = calloc(1, sizeof(*files));
    files[0] = (struct config_file){strdup("/etc/ductile/config.yaml"), strdup(text), strlen(text)};
    assert_int_equal(config_parse(files, 1, &c, &refusal), 0);
    assert_int_equal(config_resolve(c, lock, strlen(lock), &refusal), 0);
    return c;
}

static void run(const struct lab *lab, const char *command)
{
    char line[2048];
    snprintf(line, sizeof(line), "cd %s && { %s; }", lab->dir, command);
    assert_int_equal(system(line), 0);
}

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->dir = scratch_make();
    lab->root = fd_open_root(lab->dir);
    lab->config = parsed("accounts: {default: {}, me: {home: /home/me}}\n");
    run(lab,
        "umask 022; mkdir -p etc/ductile etc/sudoers.d usr/bin var/spool/cron/crontabs usr/libexec home/me;"
        "printf 'ductile-default:x:64904:64904::/nonexistent:/usr/sbin/nologin\\nme:x:64905:64905::/home/me:/bin/bash\\n' >etc/passwd;"
        "printf 'ductile-default:x:64904:\\nme:x:64905:\\n' >etc/group; printf 'ductile-default:!:1::::::\\n' >etc/shadow;"
        "chmod 640 etc/shadow; printf '@includedir sudoers.d\\n@include other\\n' >etc/sudoers;"
        "touch etc/sudoers.d/one etc/other; chmod 750 etc/sudoers.d; chmod 440 etc/sudoers");
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    config_free(lab->config);
    close(lab->root);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static int says_no(int root, const char *user, char **ret)
{
    (void)root;
    return asprintf(ret, "User %s is not allowed to run sudo on host.\n", user) < 0 ? -ENOMEM : 0;
}

static int says_yes(int root, const char *user, char **ret)
{
    (void)root;
    return asprintf(ret, "User %s may run the following commands on host:\n    (ALL) NOPASSWD: ALL\n", user) <
                   0
               ? -ENOMEM
               : 0;
}

static int asked;

static int is_late(int root, const char *user, char **ret)
{
    asked++;
    (void)root, (void)user, (void)ret;
    return -ETIMEDOUT;
}

static void collect(struct lab *lab, rootfacts_ask *ask)
{
    OWNED(freep) char *text = NULL;
    char path[LIMIT_PATH];
    assert_int_equal(rootfacts_collect(lab->root, lab->config, "the test", ask, &text), 0);
    assert_int_equal(
        fd_replace_file(lab->root, rootfacts_path(lab->config, path), text, strlen(text), 0640, 0, 0), 0);
}

static void fresh(struct lab *lab, struct rootfacts *f)
{
    char why[256] = "";
    if (rootfacts_read(lab->root, lab->config, time(NULL) * 1000, f, why) != 0)
        fail_msg("%s", why);
}

static void stale(struct lab *lab, const char *word)
{
    struct rootfacts f;
    char why[256] = "";
    int r = rootfacts_read(lab->root, lab->config, time(NULL) * 1000, &f, why);
    if (r != 1 || !strstr(why, word) || f.n)
        fail_msg("%d: %s, not %s", r, why, word);
}

static void has(const struct rootfacts *f, const char *account, enum rootdoor_id id, enum door_state state,
                const char *word)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->list[i].account, account) && f->list[i].id == id) {
            if (f->list[i].door.state != state || !strstr(f->list[i].door.evidence, word))
                fail_msg("%s: %d, %s", account, f->list[i].door.state, f->list[i].door.evidence);
            return;
        }
    fail_msg("%s has no such door", account);
}

static void test_rootfacts_collect__a_host_without_any_is_clean(void **s)
{
    OWNED(rootfacts_free) struct rootfacts f;
    collect(*s, says_yes); // nobody is asked
    fresh(*s, &f);
    assert_int_equal(f.n, 2 * ROOTDOOR_COUNT_);
    assert_string_equal(f.by, "the test");
    assert_true(f.n_files > 20);
    has(&f, "default", ROOTDOOR_SUDO, DOOR_NONE, "no sudo here");
    has(&f, "default", ROOTDOOR_DOAS, DOOR_NONE, "no doas here");
    has(&f, "default", ROOTDOOR_POLKIT, DOOR_NONE, "no polkit here");
    has(&f, "default", ROOTDOOR_CRON, DOOR_NONE, "no crontab");
    has(&f, "default", ROOTDOOR_LOGIN, DOOR_NONE, "locked");
    has(&f, "me", ROOTDOOR_LOGIN, DOOR_NONE, "a login user");
}

static void test_rootfacts_collect__each_door(void **s)
{
    OWNED(rootfacts_free) struct rootfacts f;
    run(*s, "touch usr/bin/sudo usr/bin/doas usr/libexec/polkitd; chmod 4755 usr/bin/sudo usr/bin/doas");
    collect(*s, says_no);
    fresh(*s, &f);
    for (int i = 0; i < ROOTDOOR_COUNT_; i++)
        has(&f, "default", (enum rootdoor_id)i, DOOR_NONE, "");
    rootfacts_free(&f);
    run(*s,
        "echo 'permit ductile-default' >etc/doas.conf; mkdir -p usr/share/polkit-1/rules.d;"
        "echo 'polkit.addRule(function(a, s) { return polkit.Result.YES; });' >usr/share/polkit-1/rules.d/1.rules;"
        "touch var/spool/cron/crontabs/ductile-default; echo 'ductile-default:$y$:1' >etc/shadow");
    collect(*s, says_yes);
    fresh(*s, &f);
    for (int i = 0; i < ROOTDOOR_COUNT_; i++)
        has(&f, "default", (enum rootdoor_id)i, DOOR_EXISTS, "exists: yes");
}

static void test_rootfacts_collect__what_cannot_be_asked_is_unknown(void **s)
{
    OWNED(rootfacts_free) struct rootfacts f;
    run(*s,
        "touch usr/bin/sudo usr/bin/doas usr/libexec/polkitd; chmod 4755 usr/bin/sudo usr/bin/doas; mkdir etc/doas.conf;"
        "mkdir -p usr/share/polkit-1/rules.d/1.rules; rm etc/shadow");
    collect(*s, is_late);
    fresh(*s, &f);
    has(&f, "default", ROOTDOOR_SUDO, DOOR_UNKNOWN, "timed out");
    has(&f, "me", ROOTDOOR_SUDO, DOOR_UNKNOWN, "timed out");
    assert_int_equal(asked, 1); // it is not waited for again
    has(&f, "me", ROOTDOOR_DOAS, DOOR_UNKNOWN, "cannot be read");
    has(&f, "me", ROOTDOOR_POLKIT, DOOR_UNKNOWN, "cannot be read");
    has(&f, "default", ROOTDOOR_LOGIN, DOOR_UNKNOWN, "shadow cannot be read");
}

static void test_rootfacts_collect__a_sudo_without_its_bit_is_no_door(void **s)
{
    OWNED(rootfacts_free) struct rootfacts f;
    run(*s, "touch usr/bin/sudo; chmod 755 usr/bin/sudo");
    collect(*s, says_yes);
    fresh(*s, &f);
    has(&f, "default", ROOTDOOR_SUDO, DOOR_NONE, "no sudo here");
}

static void test_rootfacts_read__every_change_is_seen(void **s)
{
    static const struct {
        const char *change, *word;
    } cases[] = {
        {"echo >>etc/sudoers", "/etc/sudoers has changed"},
        {"touch etc/other", "/etc/other has changed"},
        {"touch etc/sudoers.d/two", "/etc/sudoers.d has changed"},
        {"chmod 600 etc/shadow", "/etc/shadow has changed"},
        {"chown 5 etc/group", "/etc/group has changed"},
        {"mv etc/passwd etc/p; cp -p etc/p etc/passwd", "/etc/passwd has changed"},
        {"rm etc/group", "it is gone"},
        {"touch etc/doas.conf", "/etc/doas.conf has changed since (it is new)"},
        {"echo me >etc/cron.allow", "/etc/cron.allow"},
        {"touch var/spool/cron/crontabs/me", "/var/spool/cron/crontabs"},
        {"touch usr/bin/sudo; chmod 4755 usr/bin/sudo", "/usr/bin/sudo has changed since (it is new)"},
        {"mkdir -p etc/polkit-1/rules.d", "/etc/polkit-1/rules.d"},
        {"rm etc/ductile/facts.json", "has not collected any"},
        {"echo '{' >etc/ductile/facts.json", "does not parse"},
        {"echo '{}' >etc/ductile/facts.json", "damaged"},
        {"chown 64901 etc/ductile/facts.json", "not root's alone"},
        {"chmod 660 etc/ductile/facts.json", "not root's alone"},
        {"sed -i 's/\"account\":\"me\"/\"account\":\"you\"/' etc/ductile/facts.json",
         "nothing of the account me"},
        {"sed -i 's/64905/64906/' etc/ductile/facts.json", "another me"},
        {"sed -i 's/\"door\":\"sudo\"/\"door\":\"doas\"/' etc/ductile/facts.json",
         "damaged: account default"},
        {"sed -i '/\"door\":\"cron\"/d' etc/ductile/facts.json", "every door of default"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        OWNED(rootfacts_free) struct rootfacts f;
        if (i > 0) {
            teardown(s);
            setup(s);
        }
        collect(*s, says_no);
        fresh(*s, &f);
        run(*s, cases[i].change);
        stale(*s, cases[i].word);
    }
}

static void test_rootfacts_read__an_upgraded_program_is_no_change(void **s)
{
    OWNED(rootfacts_free) struct rootfacts f;
    run(*s, "touch usr/bin/sudo; chmod 4755 usr/bin/sudo");
    collect(*s, says_no);
    run(*s, "echo new >usr/bin/sudo; chmod 4755 usr/bin/sudo");
    fresh(*s, &f);
}

static void test_rootfacts_read__too_old_or_from_the_future(void **s)
{
    struct lab *lab = *s;
    struct rootfacts f;
    char why[256];
    collect(lab, says_no);
    fresh(lab, &f);
    int64_t at = f.at_ms;
    rootfacts_free(&f);
    assert_int_equal(rootfacts_read(lab->root, lab->config, at + INT64_C(30) * 86400000, &f, why), 0);
    rootfacts_free(&f);
    assert_int_equal(rootfacts_read(lab->root, lab->config, at + INT64_C(30) * 86400000 + 1, &f, why), 1);
    assert_non_null(strstr(why, "older than 30 days"));
    assert_int_equal(rootfacts_read(lab->root, lab->config, at - INT64_C(2) * 86400000, &f, why), 1);
    assert_non_null(strstr(why, "from the future"));
}

static void test_rootfacts_read__as_long_as_the_config_says(void **s)
{
    static const struct {
        const char *text, *why;
        int64_t ms;
    } cases[] = {{"31d", "older than 31 days", INT64_C(31) * 86400000},
                 {"36h", "older than 36 hours", INT64_C(36) * 3600000},
                 {"90m", "older than 90 minutes", INT64_C(90) * 60000},
                 {"3600001ms", "older than 3600001 milliseconds", 3600001}};
    struct lab *lab = *s;
    struct rootfacts f;
    char why[256], text[128];
    collect(lab, says_no);
    fresh(lab, &f);
    int64_t at = f.at_ms;
    rootfacts_free(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof(text),
                 "service: {retention: {facts: %s}}\naccounts: {default: {}, me: {home: /home/me}}\n",
                 cases[i].text);
        struct config *c = parsed(text);
        assert_int_equal(rootfacts_read(lab->root, c, at + cases[i].ms, &f, why), 0);
        rootfacts_free(&f);
        assert_int_equal(rootfacts_read(lab->root, c, at + cases[i].ms + 1, &f, why), 1);
        assert_non_null(strstr(why, cases[i].why));
        config_free(c);
    }
}

static void test_rootfacts_read__names_what_the_service_cannot_stat(void **s)
{
    struct lab *lab = *s;
    OWNED(rootfacts_free) struct rootfacts f;
    OWNED(freep) char *text = NULL;
    size_t len;
    collect(lab, says_no);
    fresh(lab, &f);
    assert_int_equal(f.n_unseen, 1);
    assert_int_equal(fd_read_file(lab->root, "/etc/ductile/facts.json", 1 << 20, &text, &len), 0);
    assert_non_null(strstr(text, "\"unseen\":[\"/etc/sudoers.d/one\"]"));
    assert_non_null(strstr(text, "\"path\":\"/etc/sudoers.d\""));
    assert_null(strstr(text, "\"path\":\"/etc/sudoers.d/one\""));
    run(lab, "chmod 755 etc/sudoers.d");
    collect(lab, says_no);
    rootfacts_free(&f);
    fresh(lab, &f);
    assert_int_equal(f.n_unseen, 0);
    run(lab, "echo >>etc/sudoers.d/one");
    stale(lab, "/etc/sudoers.d/one has changed");
}

#define TS(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(TS(rootfacts_collect__a_host_without_any_is_clean), TS(rootfacts_collect__each_door),
    TS(rootfacts_collect__what_cannot_be_asked_is_unknown),
    TS(rootfacts_collect__a_sudo_without_its_bit_is_no_door), TS(rootfacts_read__every_change_is_seen),
    TS(rootfacts_read__an_upgraded_program_is_no_change), TS(rootfacts_read__too_old_or_from_the_future),
    TS(rootfacts_read__as_long_as_the_config_says), TS(rootfacts_read__names_what_the_service_cannot_stat))
