// needs: ductile-gate/doctor.c ductile-gate/decide.c ductile-gate/guard.c
#include "../../ductile-gate/doctor.h"
#include "fd.h"
#include "unit.h"

struct lab {
    char *dir;
    struct gate gate;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    struct refusal refusal = {0};
    struct config_file *files = calloc(1, sizeof(*files));
    lab->dir = scratch_make();
    lab->gate.root = fd_open_root(lab->dir);
    files[0] = (struct config_file){strdup("/config.yaml"), strdup("accounts: {default: {}}\n"),
                                    sizeof("accounts: {default: {}}\n") - 1};
    assert_int_equal(config_parse(files, 1, &lab->gate.config, &refusal), 0);
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

// The last finding about subject.
static void finds(const struct lab *lab, enum check_id check, const char *subject, enum verdict verdict,
                  const char *word)
{
    for (size_t i = lab->gate.n_findings; i-- > 0;) {
        const struct finding *f = &lab->gate.findings[i];
        if (f->check != check || !str_eq(f->subject, subject))
            continue;
        if (f->verdict != verdict || !strstr(f->evidence, word))
            fail_msg("%s %s: %s", verdict_name(f->verdict), subject, f->evidence);
        return;
    }
    fail_msg("nothing about %s", subject);
}

static void test_doctor_clock__set_back(void **s)
{
    struct lab *lab = *s;
    char path[256];
    time_t now = time(NULL);
    snprintf(path, sizeof(path), "%s/config.yaml", lab->dir);
    put(path, "x");
    doctor_clock(&lab->gate, now);
    finds(lab, CHECK_CLOCK, "clock", VERDICT_PASS, "");
    doctor_clock(&lab->gate, now - 86400);
    finds(lab, CHECK_CLOCK, "/config.yaml", VERDICT_WARN, "s from now");
}

static void test_doctor_room__some_none_unknown(void **s)
{
    struct lab *lab = *s;
    doctor_room(&lab->gate, "/dev/shm/x");
    finds(lab, CHECK_SPACE, "/dev/shm", VERDICT_PASS, "MiB");
    doctor_room(&lab->gate, "/proc/x"); // a file system without room
    finds(lab, CHECK_SPACE, "/proc", VERDICT_WARN, "0 MiB");
    doctor_room(&lab->gate, "/nowhere/at/all/x");
    finds(lab, CHECK_SPACE, "/nowhere/at/all", VERDICT_UNPROVEN, "No such file");
}

static void test_doctor_layers__there_or_absent(void **s)
{
    struct lab *lab = *s;
    doctor_layers(&lab->gate, 6, "kill_process errno allow\n", "cpuset cpu memory pids\n");
    assert_int_equal(gate_outcome(&lab->gate), VERDICT_PASS);
    assert_int_equal(lab->gate.n_findings, 5);
    doctor_layers(&lab->gate, 1, NULL, "cpuset memory-of-something pids\n");
    finds(lab, CHECK_LAYERS, "landlock", VERDICT_WARN, "ABI 1");
    finds(lab, CHECK_LAYERS, "seccomp", VERDICT_WARN, "absent");
    finds(lab, CHECK_LAYERS, "cpu", VERDICT_WARN, "no controller");
    finds(lab, CHECK_LAYERS, "memory", VERDICT_WARN, "no controller");
    finds(lab, CHECK_LAYERS, "pids", VERDICT_PASS, "a controller");
    doctor_layers(&lab->gate, 6, "errno\n", NULL);
    finds(lab, CHECK_LAYERS, "pids", VERDICT_WARN, "no cgroup v2");
}

static void test_doctor_version__same_or_not(void **s)
{
    struct lab *lab = *s;
    doctor_version(&lab->gate, "/same", "ductile-run " DUCTILE_VERSION "\n");
    finds(lab, CHECK_VERSION, "/same", VERDICT_PASS, DUCTILE_VERSION);
    doctor_version(&lab->gate, "/other", "ductile-run 0.0.1\n");
    finds(lab, CHECK_VERSION, "/other", VERDICT_WARN, "0.0.1, and this is " DUCTILE_VERSION);
    doctor_version(&lab->gate, "/longer", "ductile-run " DUCTILE_VERSION "1\n");
    finds(lab, CHECK_VERSION, "/longer", VERDICT_WARN, "and this is");
    doctor_version(&lab->gate, "/dead", "it does not start");
    finds(lab, CHECK_VERSION, "/dead", VERDICT_WARN, "it does not start");
}

#define TS(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(TS(doctor_clock__set_back), TS(doctor_room__some_none_unknown), TS(doctor_layers__there_or_absent),
    TS(doctor_version__same_or_not))
