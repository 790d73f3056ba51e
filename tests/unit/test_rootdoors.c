#include "fd.h"
#include "rootdoors.h"
#include "unit.h"

static char *groups[] = {"ductile-default", "netdev"};
static gid_t gids[] = {64901, 106};
static const struct door_subject me = {.user = "ductile-default",
                                       .uid = 64901,
                                       .gid = 64901,
                                       .groups = groups,
                                       .n_groups = 2,
                                       .gids = gids,
                                       .n_gids = 2};

static void is(const struct rootdoor *d, enum door_state state, bool open, const char *word)
{
    if (d->state != state || d->open != open || (word && !strstr(d->evidence, word)))
        fail_msg("state %d, open %d: %s", d->state, d->open, d->evidence);
}

static void test_rootdoors_note__the_worst_stays_in_one_line(void **s)
{
    struct rootdoor d = {0};
    (void)s;
    rootdoors_note(&d, DOOR_NONE, false, "clean");
    rootdoors_note(&d, DOOR_UNKNOWN, false, "not\nknown");
    rootdoors_note(&d, DOOR_NONE, false, "clean again");
    is(&d, DOOR_UNKNOWN, false, "not known");
    rootdoors_note(&d, DOOR_EXISTS, true, "a door");
    rootdoors_note(&d, DOOR_EXISTS, false, "another");
    is(&d, DOOR_EXISTS, true, "a door");
    char long_text[1000];
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[999] = '\0';
    d = (struct rootdoor){0};
    rootdoors_note(&d, DOOR_NONE, false, "%s", long_text);
    assert_int_equal(strlen(d.evidence), sizeof(d.evidence) - 1);
}

static void test_rootdoors_subject__every_name_of_a_gid(void **s)
{
    char *dir = scratch_make(), path[256];
    struct door_subject d;
    (void)s;
    snprintf(path, sizeof(path), "%s/etc", dir);
    mkdir(path, 0755);
    int root = fd_open_root(dir);
    assert_int_equal(rootdoors_subject(root, "me", 5, 6, &d), -ENOENT);
    snprintf(path, sizeof(path), "%s/etc/group", dir);
    put(path, "own:x:6:\nwheel:x:10:you,me\nalias:x:10:\nothers:x:11:meme\n");
    assert_int_equal(rootdoors_subject(root, "me", 5, 6, &d), 0);
    assert_int_equal(d.n_groups, 3);
    assert_string_equal(d.groups[0], "own");
    assert_string_equal(d.groups[1], "wheel");
    assert_string_equal(d.groups[2], "alias");
    assert_int_equal(d.n_gids, 2);
    assert_int_equal(d.gids[0], 6);
    assert_int_equal(d.gids[1], 10);
    rootdoors_subject_free(&d);
    close(root);
    scratch_remove(dir);
}

static void sudo(const char *answer, enum door_state state, const char *word)
{
    struct rootdoor d = {0};
    rootdoors_sudo(answer, &d);
    is(&d, state, false, word);
}

static void test_rootdoors_sudo__what_it_answers(void **s)
{
    (void)s;
    sudo("User ductile-default is not allowed to run sudo on host.\n", DOOR_NONE, "no rule");
    sudo("User ductile-default may run the following commands on host:\n    (ALL : ALL) NOPASSWD: ALL\n",
         DOOR_EXISTS, "without a password");
    sudo(
        "Matching Defaults entries for x on host:\n    env_reset\n\nUser x may run the following commands on "
        "host:\n    (ALL) ALL\n",
        DOOR_EXISTS, "with a password");
    sudo(
        "Matching Defaults entries for x on host:\n    !authenticate\n\nUser x may run the following commands "
        "on host:\n    (ALL) ALL\n",
        DOOR_EXISTS, "without a password");
    sudo("User x may run the following commands on host:\n    (root) /bin/a\n    (root) NOPASSWD: /bin/b\n",
         DOOR_EXISTS, "and more; exists: yes, without a password");
    sudo("sudo: /etc/sudoers:3:1: syntax error\n", DOOR_UNKNOWN, "syntax error");
    sudo("sudo: unknown user: ductile-default\n", DOOR_UNKNOWN, "unknown user");
    sudo("", DOOR_UNKNOWN, NULL);
    sudo("User x may run the following commands on host:\n", DOOR_UNKNOWN, "cannot be read");
}

static void doas(const char *text, enum door_state state, const char *word)
{
    struct rootdoor d = {0};
    rootdoors_doas(text, &me, &d);
    is(&d, state, false, word);
}

static void test_rootdoors_doas__rules(void **s)
{
    (void)s;
    doas("", DOOR_NONE, NULL);
    doas("# permit ductile-default\npermit persist keepenv matt as root\npermit :wheel\n", DOOR_NONE, NULL);
    doas("permit nopass ductile-default\n", DOOR_EXISTS, "without a password");
    doas("permit ductile-default as root cmd /bin/ls", DOOR_EXISTS, "with a password");
    doas("permit \"ductile-default\"\n", DOOR_EXISTS, NULL);
    doas("permit nopass \\\n  :netdev\n", DOOR_EXISTS, ":netdev");
    doas("permit setenv { A B=\"x y\" -C } 64901\n", DOOR_EXISTS, NULL);
    doas("permit setenv {A} matt\n", DOOR_NONE, NULL);
    doas("permit :64901\n", DOOR_EXISTS, NULL);
    doas("permit :106\n", DOOR_EXISTS, NULL);
    doas("permit :107\n", DOOR_NONE, NULL);
    doas("permit \" 0064901\"\n", DOOR_EXISTS, NULL);
    doas("deny nopass ductile-default\n", DOOR_UNKNOWN, "cannot be read");
    doas("permit \"matt\npermit ductile-default\n\"\n", DOOR_UNKNOWN, "does not end");
    doas("permit ductile-default\ndeny ductile-default\n", DOOR_NONE, NULL);
    doas("permit ductile-default\ndeny ductile-default cmd /bin/sh\n", DOOR_EXISTS, NULL);
    doas("deny ductile-default\npermit ductile-default\n", DOOR_EXISTS, NULL);
    doas("allow ductile-default\n", DOOR_UNKNOWN, "cannot be read");
    doas("permit nopass\n", DOOR_UNKNOWN, "without an identity");
    doas("permit \"ductile", DOOR_UNKNOWN, "does not end");
}

static void polkit(const char *body, enum door_state state, const char *word)
{
    struct rootdoor d = {0};
    char text[2048];
    snprintf(text, sizeof(text), "polkit.addRule(function(action, subject) { %s });\n", body);
    rootdoors_polkit("/r", text, &me, &d);
    is(&d, state, state == DOOR_EXISTS, word);
}

static void test_rootdoors_polkit__rules_that_are_understood(void **s)
{
    (void)s;
    polkit("return polkit.Result.YES;", DOOR_EXISTS, "everybody");
    polkit("if (action.id == \"a\") return polkit.Result.YES;", DOOR_EXISTS, "everybody");
    polkit("if (action.id == 'a') return \"yes\";", DOOR_EXISTS, "everybody");
    polkit("if (subject.user == \"ductile-default\") return polkit.Result.YES;", DOOR_EXISTS, "the account");
    polkit("if (subject.user === 'matt') return polkit.Result.YES;", DOOR_NONE, NULL);
    polkit("if (subject.isInGroup (\"netdev\")) return polkit.Result.YES;", DOOR_EXISTS, "a group of its");
    polkit("if (subject.isInGroup(\"sudo\")) return polkit.Result.YES;", DOOR_NONE, NULL);
    polkit("if (action.id == \"a\" && subject.local && subject.active && (subject.isInGroup (\"sudo\") || "
           "subject.isInGroup (\"plugdev\"))) { return polkit.Result.YES; }",
           DOOR_NONE, NULL);
    polkit(
        "if ((action.id == \"a\" || action.id == \"b\") && subject.user == \"matt\") return polkit.Result.YES;",
        DOOR_NONE, NULL);
    polkit("if (subject.active) return polkit.Result.YES;", DOOR_NONE, NULL);
    polkit("return polkit.Result.AUTH_ADMIN; // or YES\n", DOOR_NONE, NULL);
    polkit("/* return polkit.Result.YES */ return polkit.Result.NO;", DOOR_NONE, NULL);
    polkit(
        "polkit.log(\"(\" + subject); if (action.id.match(/^a\\/\\//) >= 0) { if (subject.user == \"matt\") return "
        "polkit.Result.YES; }",
        DOOR_NONE, NULL);
    polkit("var a = action.id.indexOf(\"a\") == 0; if (a) return polkit.Result.NO;", DOOR_NONE, NULL);
    polkit("if (subject.user == \"a\") return polkit.Result.YES; if (subject.user == \"b\") { return "
           "polkit.Result.YES; } return null;",
           DOOR_NONE, NULL);
    polkit("if (subject.user != \"ductile-default\") return polkit.Result.YES;", DOOR_NONE, NULL);
    polkit("if (subject.user == \"ductile-default\") return polkit.Result.NO; else return polkit.Result.YES;",
           DOOR_NONE, NULL);
    polkit("if (subject.seat == \"seat0\") return polkit.Result.YES;", DOOR_NONE, NULL);
}

// Each is one that a look for names alone calls clean.
static void test_rootdoors_polkit__conditions_are_weighed(void **s)
{
    static const char *const grants[] = {
        "if (subject.user != \"matt\") return polkit.Result.YES;",
        "if (!(subject.user == \"matt\")) return polkit.Result.YES;",
        "if (!subject.isInGroup(\"sudo\")) return polkit.Result.YES;",
        "if (subject.isInGroup(\"sudo\") == false) return polkit.Result.YES;",
        "if (!subject.active) return polkit.Result.YES;",
        "if (subject.active == false) return polkit.Result.YES;",
        "if (subject.user == \"matt\") return polkit.Result.NO; else return polkit.Result.YES;",
        "if (subject.user == \"matt\") return polkit.Result.NO; return polkit.Result.YES;",
        "if (action.id == \"a\" || subject.user == \"matt\") return polkit.Result.YES;",
        "if (subject.user == \"matt\" || action.id == \"a\") return polkit.Result.YES;",
        "if (action.id == \"a\" || action.id == \"b\" && subject.user == \"matt\") return polkit.Result.YES;",
        "if (!(action.id == \"a\" && subject.user == \"matt\")) return polkit.Result.YES;",
        "if (action.id == \"a\") return polkit.Result.YES; if (subject.user == \"matt\") return polkit.Result.NO;",
        "if (subject.user == \"matt\") { polkit.log(\"matt\"); } return polkit.Result.YES;",
        "if (subject.user == \"matt\" || (true || subject.user == \"matt\")) return polkit.Result.YES;",
        "if (\"ductile-default\" == subject.user) return \"yes\"",
        "if (1 != 2) if (subject.isInGroup(\"netdev\") === true) return polkit.Result.YES",
        "{ if (action.lookup(\"unit\") == \"a\" && !subject.local) return polkit.Result.YES }",
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(grants); i++)
        polkit(grants[i], DOOR_EXISTS, "grants");
}

static void test_rootdoors_polkit__what_it_does_not_understand_is_not_clean(void **s)
{
    static const char *const odd[] = {
        "if (subject.user == ADMIN) return polkit.Result.YES;",
        "if (subject.user.match(/^ductile/)) return polkit.Result.YES;",
        "if (ours(subject)) return polkit.Result.YES;",
        "return subject.user == \"matt\" ? polkit.Result.NO : polkit.Result.YES;",
        "return \"y\" + \"es\";",
        "return \"\\x79es\";",
        "polkit.Result.NO = \"y\" + \"es\"; return polkit.Result.NO;",
        "polkit[\"Result\"].NO = \"y\" + \"es\"; return polkit.Result.NO;",
        "return eval(\"action.id\");",
        "if (subject.user == \"matt\" | 1) return polkit.Result.YES;",
        "if (subject.user = \"matt\") return polkit.Result.YES;",
        "if (subject.user == \"matt\", true) return polkit.Result.YES;",
        "if (subject.isInGroup(\"su\" + \"do\")) return polkit.Result.YES;",
        "if (subject.pid == 1) return polkit.Result.YES;",
        "if (action.lookup(subject.user) == \"x\") return polkit.Result.YES;",
        "if (subject.user == \"matt\") return polkit.Result.NO || \"x\"; return polkit.Result.YES + other;",
        "while (true) { return polkit.Result.YES; }",
        "if (action.id == \"a\") retrun polkit.Result.YES;",
        "return polkit.Result[\"Y\" + \"ES\"];",
    };
    struct rootdoor d = {0};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        polkit(odd[i], DOOR_UNKNOWN, "only polkit can judge");
    rootdoors_polkit("/r", "polkit.addRule(ours);\nfunction ours() { return polkit.Result.YES; }", &me, &d);
    is(&d, DOOR_UNKNOWN, false, "only polkit can judge");
    d = (struct rootdoor){0};
    rootdoors_polkit("/r", "polkit.addRule(function(action, subject) { return", &me, &d);
    is(&d, DOOR_UNKNOWN, false, "does not end");
    d = (struct rootdoor){0};
    rootdoors_polkit(
        "/r", "polkit.addAdminRule(function(action, subject) { return [\"unix-group:sudo\"]; });", &me, &d);
    assert_int_equal(d.state, DOOR_NONE);
    static const char *const more[] = {
        "polkit[\"add\" + \"Rule\"](function(action, subject) { return other(); });",
        "var add = polkit.addRule; add(function(action, subject) { return other(); });",
        "polkit._runRules = function() { return other(); };",
        "polkit.addRule(other);",
        "polkit.addRule(function(action, subject) { return null; }, this);",
    };
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        d = (struct rootdoor){0};
        rootdoors_polkit("/r", more[i], &me, &d);
        is(&d, DOOR_UNKNOWN, false, NULL);
    }
}

static void pkla(const char *text, enum door_state state)
{
    struct rootdoor d = {0};
    rootdoors_pkla("/p", text, &me, &d);
    is(&d, state, state == DOOR_EXISTS, NULL);
}

static void test_rootdoors_pkla__sections(void **s)
{
    (void)s;
    pkla("[a]\nIdentity=unix-user:ductile-default\nAction=*\nResultAny=yes\n", DOOR_EXISTS);
    pkla("[a]\nIdentity=unix-user:matt;unix-group:net*\nResultAny = yes\n", DOOR_EXISTS);
    pkla("[a]\nResultAny=yes\nIdentity=unix-user:*\n", DOOR_EXISTS);
    pkla("[a]\nIdentity=unix-user:matt\nResultAny=yes\n", DOOR_NONE);
    pkla("[a]\nIdentity=unix-user:*\nResultAny=auth_admin\nResultActive=yes\n", DOOR_NONE);
    pkla("[a]\nIdentity=unix-user:*\n[b]\nIdentity=unix-user:matt\nResultAny=yes\n", DOOR_NONE);
}

static void login(const char *passwd, const char *shadow, enum door_state state, bool open, const char *word)
{
    struct rootdoor d = {0};
    rootdoors_login(passwd, shadow, &me, &d);
    is(&d, state, open, word);
}

static void test_rootdoors_login__shell_and_password(void **s)
{
    const char *nologin =
        "root:x:0:0::/root:/bin/sh\nductile-default:x:64901:64901::/nonexistent:/usr/sbin/nologin\n";
    const char *shell = "ductile-default:x:64901:64901::/nonexistent:/bin/bash\n";
    (void)s;
    login(nologin, "ductile-default:!*:1::::::\n", DOOR_NONE, false, "locked");
    login(nologin, "root:$y$x:1::::::\n", DOOR_NONE, false, "locked");
    login(nologin, "ductile-default:$y$j9T$x:1::::::\n", DOOR_EXISTS, false, "password usable");
    login(nologin, "ductile-default::1::::::\n", DOOR_EXISTS, true, "EMPTY");
    login(shell, "ductile-default:!:1::::::\n", DOOR_EXISTS, false, "shell /bin/bash, password locked");
    login("ductile-default:x:64901:64901::/nonexistent:\n", "ductile-default:!:1::::::\n", DOOR_EXISTS, false,
          "/bin/sh");
    login("ductile-default:$1$x:64901:64901::/:/bin/false\n", "", DOOR_EXISTS, false, "usable");
    login("root:x:0:0::/root:/bin/sh\n", "", DOOR_UNKNOWN, false, "no line");
}

static void test_rootdoors_cron__crontab_job_and_lists(void **s)
{
    char *dir = scratch_make(), line[1024];
    int root = fd_open_root(dir);
    static const struct {
        const char *make;
        enum door_state state;
        bool open;
        const char *word;
    } cases[] = {
        {":", DOOR_NONE, false, "no crontab"},
        {"mkdir -p var/spool/cron/crontabs; touch var/spool/cron/crontabs/matt", DOOR_NONE, false, NULL},
        {"touch var/spool/cron/crontabs/ductile-default", DOOR_EXISTS, true, "crontabs/ductile-default"},
        {"rm var/spool/cron/crontabs/ductile-default; mkdir etc; echo matt >etc/cron.allow", DOOR_NONE, false,
         NULL},
        {"echo ductile-default >>etc/cron.allow", DOOR_EXISTS, false, "/etc/cron.allow names it"},
        {"rm etc/cron.allow; echo ductile-default-not >etc/at.allow", DOOR_NONE, false, NULL},
        {"echo ductile-default >etc/at.allow", DOOR_EXISTS, false, "/etc/at.allow"},
        {"rm etc/at.allow; mkdir etc/at.allow", DOOR_UNKNOWN, false, "cannot be read"},
        {"rmdir etc/at.allow; mkdir var/spool/cron/atjobs; touch var/spool/cron/atjobs/a1", DOOR_NONE, false,
         NULL},
        {"chown 64901 var/spool/cron/atjobs/a1", DOOR_EXISTS, true, "atjobs/a1"},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rootdoor d = {0};
        snprintf(line, sizeof(line), "cd %s && { %s; }", dir, cases[i].make);
        assert_int_equal(system(line), 0);
        rootdoors_cron(root, &me, &d);
        is(&d, cases[i].state, cases[i].open, cases[i].word);
    }
    close(root);
    scratch_remove(dir);
}

RUN(T(rootdoors_note__the_worst_stays_in_one_line), T(rootdoors_subject__every_name_of_a_gid),
    T(rootdoors_sudo__what_it_answers), T(rootdoors_doas__rules),
    T(rootdoors_polkit__rules_that_are_understood), T(rootdoors_polkit__conditions_are_weighed),
    T(rootdoors_polkit__what_it_does_not_understand_is_not_clean), T(rootdoors_pkla__sections),
    T(rootdoors_login__shell_and_password), T(rootdoors_cron__crontab_job_and_lists))
