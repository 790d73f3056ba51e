// needs: ductile-gate/facts.c ductile-gate/unit.c ductile-gate/decide.c ductile-gate/guard.c
#include "../../ductile-gate/gate.h"
#include "fd.h"
#include "rootfacts.h"
#include "unit.h"
#include "unitfile.h"

static const char lock[] =
    "service: {user: ductile, uid: 64901, gid: 64901}\nbus: {user: ductile-bus, uid: 64902, gid: 64902}\n"
    "operators: {group: ops, gid: 64903}\naccounts:\n"
    "  default: {user: ductile-default, uid: 64904, gid: 64904}\n"
    "  me: {user: me, uid: 64905, gid: 64905, home: /home/me}\n";

struct lab {
    char *dir;
    struct gate gate;
};

static void run(const struct lab *lab, const char *command)
{
    char line[2048];
    snprintf(line, sizeof(line), "cd %s && { %s; }", lab->dir, command);
    assert_int_equal(system(line), 0);
}

static void configure(struct lab *lab, const char *text)
{
    struct refusal refusal = {0};
    struct config_file *files = calloc(1, sizeof(*files));
    files[0] = (struct config_file){strdup("/etc/ductile/config.yaml"), strdup(text), strlen(text)};
    config_free(lab->gate.config);
    assert_int_equal(config_parse(files, 1, &lab->gate.config, &refusal), 0);
    if (lab->gate.config->accounts.n)
        assert_int_equal(config_resolve(lab->gate.config, lock, strlen(lock), &refusal), 0);
    lab->gate.n_findings = 0;
}

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->dir = scratch_make();
    lab->gate.root = fd_open_root(lab->dir);
    configure(lab, "accounts: {default: {}, me: {home: /home/me}}\n");
    run(lab,
        "umask 022; mkdir -p etc/ductile usr/bin etc/systemd/system run/systemd/system usr/lib/systemd/system;"
        "printf 'ductile-default:x:64904:64904::/nonexistent:/usr/sbin/nologin\\nme:x:64905:64905::/home/me:/bin/bash\\n' >etc/passwd;"
        "printf 'ductile-default:x:64904:\\nme:x:64905:\\n' >etc/group; echo 'ductile-default:!:1::::::' >etc/shadow;"
        "touch usr/bin/sudo; chmod 4755 usr/bin/sudo");
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    config_free(lab->gate.config);
    free(lab->gate.findings);
    close(lab->gate.root);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static const char *answer;

static int answers(int root, const char *user, char **ret)
{
    (void)root;
    if (!answer)
        return -ETIMEDOUT;
    (void)user;
    return (*ret = strdup(answer)) ? 0 : -ENOMEM;
}

static void collect(struct lab *lab, const char *sudo)
{
    OWNED(freep) char *text = NULL;
    char path[LIMIT_PATH];
    answer = sudo;
    assert_int_equal(rootfacts_collect(lab->gate.root, lab->gate.config, "the test", answers, &text), 0);
    assert_int_equal(fd_replace_file(lab->gate.root, rootfacts_path(lab->gate.config, path), text,
                                     strlen(text), 0640, 0, 0),
                     0);
    lab->gate.n_findings = 0;
}

static void finds(const struct lab *lab, enum check_id check, const char *subject, enum verdict verdict,
                  const char *word)
{
    for (size_t i = 0; i < lab->gate.n_findings; i++) {
        const struct finding *f = &lab->gate.findings[i];
        if (f->check == check && str_eq(f->subject, subject) && f->verdict == verdict &&
            strstr(f->evidence, word))
            return;
    }
    for (size_t i = 0; i < lab->gate.n_findings; i++)
        print_message("# %s %s %s: %s\n", verdict_name(lab->gate.findings[i].verdict),
                      check_rows[lab->gate.findings[i].check].id, lab->gate.findings[i].subject,
                      lab->gate.findings[i].evidence);
    fail_msg("no %s of %s", check_rows[check].id, subject);
}

static const char none[] = "User x is not allowed to run sudo on host.\n";
static const char all[] = "User x may run the following commands on host:\n    (ALL) NOPASSWD: ALL\n";

// An id of checks.def that is not the judge's own would send every finding to the wrong row.
static void test_check_facts__ids_agree(void **s)
{
    static const enum check_id checks[] = {CHECK_DOOR_SUDO, CHECK_DOOR_DOAS, CHECK_DOOR_POLKIT,
                                           CHECK_DOOR_CRON, CHECK_DOOR_LOGIN};
    (void)s;
    assert_int_equal(ARRAY_LEN(checks), ROOTDOOR_COUNT_);
    for (int i = 0; i < ROOTDOOR_COUNT_; i++)
        assert_string_equal(check_rows[checks[i]].id, rootdoor_check((enum rootdoor_id)i));
}

static void test_check_facts__clean(void **s)
{
    struct lab *lab = *s;
    collect(lab, none);
    check_facts(&lab->gate);
    assert_int_equal(lab->gate.n_findings, 1 + 2 * ROOTDOOR_COUNT_);
    assert_int_equal(gate_outcome(&lab->gate), VERDICT_PASS);
    finds(lab, CHECK_FACTS, "/etc/ductile/facts.json", VERDICT_PASS, "collected by the test");
}

static void test_check_facts__a_door_by_tier(void **s)
{
    struct lab *lab = *s;
    collect(lab, all);
    check_facts(&lab->gate);
    finds(lab, CHECK_DOOR_SUDO, "default", VERDICT_REFUSE, "open to a plugin: no");
    finds(lab, CHECK_DOOR_SUDO, "me", VERDICT_WARN, "exists: yes");
    configure(
        lab,
        "service: {admission: {fail_on_sidedoor: warn}}\naccounts: {default: {}, me: {home: /home/me}}\n");
    check_facts(&lab->gate);
    finds(lab, CHECK_DOOR_SUDO, "default", VERDICT_WARN, "exists: yes");
}

static void test_check_facts__not_known_refuses_under_strict(void **s)
{
    struct lab *lab = *s;
    collect(lab, NULL);
    check_facts(&lab->gate);
    finds(lab, CHECK_DOOR_SUDO, "default", VERDICT_UNPROVEN, "timed out");
    assert_int_equal(gate_outcome(&lab->gate), VERDICT_WARN);
    configure(
        lab,
        "service: {admission: {fail_on_sidedoor: strict}}\naccounts: {default: {}, me: {home: /home/me}}\n");
    check_facts(&lab->gate);
    assert_int_equal(gate_outcome(&lab->gate), VERDICT_REFUSE);
}

static void test_check_facts__missing_or_stale_says_nothing_else(void **s)
{
    struct lab *lab = *s;
    check_facts(&lab->gate);
    finds(lab, CHECK_FACTS, "/etc/ductile/facts.json", VERDICT_UNPROVEN, "not collected any");
    assert_int_equal(lab->gate.n_findings, 1);
    collect(lab, all);
    run(lab, "touch etc/sudoers");
    check_facts(&lab->gate);
    finds(lab, CHECK_FACTS, "/etc/ductile/facts.json", VERDICT_UNPROVEN, "/etc/sudoers has changed");
    assert_int_equal(lab->gate.n_findings, 1);
}

static void test_check_facts__without_accounts_there_are_none(void **s)
{
    struct lab *lab = *s;
    configure(lab, "service: {name: ductile}\n");
    check_facts(&lab->gate);
    check_unit(&lab->gate);
    assert_int_equal(lab->gate.n_findings, 0);
}

static void install_unit(struct lab *lab)
{
    OWNED(freep) char *text = unitfile_render(lab->gate.config);
    assert_int_equal(fd_replace_file(lab->gate.root, "/etc/systemd/system/ductile.service", text,
                                     strlen(text), 0644, 0, 0),
                     0);
    lab->gate.n_findings = 0;
}

static void test_check_unit__as_rendered_or_not(void **s)
{
    struct lab *lab = *s;
    check_unit(&lab->gate);
    finds(lab, CHECK_UNIT, "ductile", VERDICT_WARN, "it is not installed");
    install_unit(lab);
    check_unit(&lab->gate);
    finds(lab, CHECK_UNIT, "ductile", VERDICT_PASS, "as rendered");
    run(lab, "sed -i 's/^User=ductile/User=matt/' etc/systemd/system/ductile.service");
    check_unit(&lab->gate);
    finds(lab, CHECK_UNIT, "ductile", VERDICT_WARN, "it has \"User=matt\", rendered is \"User=ductile\"");
    run(lab, "echo more >>etc/systemd/system/ductile.service");
    install_unit(lab);
    run(lab, "sed -i 's/^ExecStart=/ExecStart=+/' etc/systemd/system/ductile.service");
    check_unit(&lab->gate);
    finds(lab, CHECK_UNIT, "ductile", VERDICT_REFUSE, "ExecStart=+");
    run(lab, "rm etc/systemd/system/ductile.service; mkdir etc/systemd/system/ductile.service");
    check_unit(&lab->gate);
    finds(lab, CHECK_UNIT, "ductile", VERDICT_UNPROVEN, "Is a directory");
}

static void test_check_unit__drop_ins_wherever_they_are(void **s)
{
    struct lab *lab = *s;
    static const char *const dirs[] = {
        "etc/systemd/system/ductile.service.d", "run/systemd/system/ductile.service.d",
        "usr/lib/systemd/system/service.d", "etc/systemd/system.control/ductile.service.d"};
    char line[512];
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        install_unit(lab);
        snprintf(line, sizeof(line),
                 "mkdir -p %s; printf '[Service]\\nTimeoutStopSec=1\\n' >%s/a.conf; echo User=root >%s/a.txt",
                 dirs[i], dirs[i], dirs[i]);
        run(lab, line);
        check_unit(&lab->gate);
        assert_int_equal(lab->gate.n_findings, 1);
        snprintf(line, sizeof(line),
                 "echo User=root >%s/b.conf; echo ExecStop=+/x >%s/c.conf; ln -s /dev/null %s/d.conf",
                 dirs[i], dirs[i], dirs[i]);
        run(lab, line);
        check_unit(&lab->gate);
        snprintf(line, sizeof(line), "/%s/b.conf: User=root", dirs[i]);
        finds(lab, CHECK_UNIT, "ductile", VERDICT_WARN, line);
        finds(lab, CHECK_UNIT, "ductile", VERDICT_REFUSE, "/c.conf: ExecStop=+/x");
        snprintf(line, sizeof(line), "rm -r %s", dirs[i]);
        run(lab, line);
    }
}

static void test_check_unit__no_root_beside_it(void **s)
{
    struct lab *lab = *s;
    install_unit(lab);
    run(lab, "echo ExecStart=/x >etc/systemd/system/ductile-prove.service");
    check_unit(&lab->gate);
    assert_int_equal(gate_outcome(&lab->gate), VERDICT_PASS);
    run(lab, "echo ExecStart=!/x >etc/systemd/system/ductile-prove.service");
    check_unit(&lab->gate);
    finds(lab, CHECK_UNIT, "ductile", VERDICT_REFUSE,
          "/etc/systemd/system/ductile-prove.service: ExecStart=!/x");
    lab->gate.n_findings = 0;
    run(lab,
        "rm etc/systemd/system/ductile-prove.service; mkdir -p run/systemd/system/ductile-egress.service.d;"
        "echo ExecStop=+/x >run/systemd/system/ductile-egress.service.d/a.conf");
    check_unit(&lab->gate);
    finds(lab, CHECK_UNIT, "ductile", VERDICT_REFUSE, "ductile-egress.service.d/a.conf: ExecStop=+/x");
}

static void test_check_unit__of_a_name_with_hyphens(void **s)
{
    struct lab *lab = *s;
    static const char two[] =
        "service: {name: one-two, user: ductile}\naccounts: {default: {user: ductile-default}}\n";
    configure(lab, two);
    run(lab,
        "mkdir -p etc/systemd/system/one-.service.d; echo User=root >etc/systemd/system/one-.service.d/x.conf");
    check_unit(&lab->gate);
    finds(lab, CHECK_UNIT, "one-two", VERDICT_WARN, "/one-.service.d/x.conf: User=root");
}

#define TS(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(T(check_facts__ids_agree), TS(check_facts__clean), TS(check_facts__a_door_by_tier),
    TS(check_facts__not_known_refuses_under_strict), TS(check_facts__missing_or_stale_says_nothing_else),
    TS(check_facts__without_accounts_there_are_none), TS(check_unit__as_rendered_or_not),
    TS(check_unit__drop_ins_wherever_they_are), TS(check_unit__of_a_name_with_hyphens),
    TS(check_unit__no_root_beside_it))
