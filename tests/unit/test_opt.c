#include "log.h"
#include "opt.h"
#include "posture.h"
#include "str.h"
#include "unit.h"

static struct opts seen;
static char seen_args[4][64];

static int record(const struct opts *o)
{
    seen = *o;
    for (int i = 0; i < o->n_args && i < 4; i++)
        snprintf(seen_args[i], sizeof(seen_args[i]), "%s", o->args[i]);
    return 42;
}

static const struct opt_verb verbs[] = {
    {.name = "job run",
     .args = "PLUGIN COMMAND",
     .min_args = 2,
     .max_args = 2,
     .options = OPT_BIT(PAYLOAD),
     .summary = "s",
     .example = "e",
     .exits = "1",
     .run = record},
    {.name = "status", .args = "", .summary = "s", .example = "e", .exits = "", .run = record},
    {.name = "decrypt",
     .args = "[FILE]",
     .max_args = 1,
     .options = OPT_BIT(IDENTITY) | OPT_BIT(PASSPHRASE),
     .summary = "s",
     .example = "e",
     .exits = "",
     .run = record},
};
static const struct opt_program program = {
    .name = "prog", .summary = "sum", .detail = "detail", .verbs = verbs, .n_verbs = ARRAY_LEN(verbs)};

// Runs with standard output and error in out; the exit code.
static int call(char *out, size_t size, const char *line)
{
    static char copy[256]; // what was parsed points into it
    char *argv[16] = {(char *)"prog"};
    int argc = 1, pipes[2], saved[2];
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *save = NULL, *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    fflush(NULL);
    assert_int_equal(pipe(pipes), 0);
    saved[0] = dup(1);
    saved[1] = dup(2);
    dup2(pipes[1], 1);
    dup2(pipes[1], 2);
    close(pipes[1]);
    optind = 0; // start getopt anew
    seen = (struct opts){0};
    int code = opt_main(&program, argc, argv);
    fflush(NULL);
    dup2(saved[0], 1);
    dup2(saved[1], 2);
    close(saved[0]);
    close(saved[1]);
    ssize_t n = read(pipes[0], out, size - 1);
    out[MAX(n, 0)] = '\0';
    close(pipes[0]);
    log_set_level(LOG_LEVEL_INFO);
    return code;
}

static void test_opt_main__options_anywhere(void **s)
{
    char out[4096];
    (void)s;
    assert_int_equal(call(out, sizeof(out), "--json job run p c --payload {}"), 42);
    assert_true(opt_given(&seen, OPT_JSON));
    assert_string_equal(seen.value[OPT_PAYLOAD], "{}");
    assert_string_equal(seen_args[1], "c");
    assert_int_equal(call(out, sizeof(out), "job run --payload=x p -c file c"), 42);
    assert_string_equal(seen.value[OPT_CONFIG], "file");
}

// -i and -p are the verb's own where it has them.
static void test_opt_main__a_letter_is_the_verbs_own_first(void **s)
{
    char out[4096];
    (void)s;
    assert_int_equal(call(out, sizeof(out), "decrypt -i key -p file"), 42);
    assert_string_equal(seen.value[OPT_IDENTITY], "key");
    assert_null(seen.value[OPT_INSTANCE]);
    assert_true(opt_given(&seen, OPT_PASSPHRASE));
    assert_int_equal(seen.n_args, 1);
    assert_int_equal(call(out, sizeof(out), "-i key decrypt -pq"), 42);
    assert_string_equal(seen.value[OPT_IDENTITY], "key");
    assert_true(opt_given(&seen, OPT_PASSPHRASE) && opt_given(&seen, OPT_QUIET));
    assert_int_equal(call(out, sizeof(out), "-i name --json status"), 42);
    assert_string_equal(seen.value[OPT_INSTANCE], "name");
    assert_int_equal(call(out, sizeof(out), "job run -p {} p c"), 42);
    assert_string_equal(seen.value[OPT_PAYLOAD], "{}");
    assert_null(seen.value[OPT_PASSPHRASE]);
}

static void test_opt_main__repeated_options_in_order(void **s)
{
    char out[4096], line[1024] = "decrypt";
    (void)s;
    assert_int_equal(call(out, sizeof(out), "decrypt -i a -q --identity=b -ic"), 42);
    assert_int_equal(seen.n_all, 4);
    assert_string_equal(seen.all[0].value, "a");
    assert_int_equal(seen.all[1].id, OPT_QUIET);
    assert_string_equal(seen.all[2].value, "b");
    assert_string_equal(seen.all[3].value, "c");
    assert_string_equal(seen.value[OPT_IDENTITY], "c");
    strcat(line, " -");
    for (int i = 0; i < OPT_GIVEN_MAX; i++)
        strcat(line, "q");
    assert_int_equal(call(out, sizeof(out), line), 42);
    strcat(line, "q");
    assert_int_equal(call(out, sizeof(out), line), EXITCODE_USAGE);
}

static void refused(const char *line, const char *word)
{
    char out[4096];
    assert_int_equal(call(out, sizeof(out), line), EXITCODE_USAGE);
    if (!strstr(out, word) || !strstr(out, "CLI-USE-01") || !strstr(out, "  why: ") ||
        !strstr(out, "  do:  "))
        fail_msg("%s: %s", line, out);
}

static void test_opt_main__refusals_are_three_lines(void **s)
{
    (void)s;
    refused("statsu", "did you mean \"status\"");
    refused("frobnicate", "there is no verb");
    refused("job", "\"job\" takes one of: run");
    refused("job run p", "needs PLUGIN COMMAND");
    refused("job run p c d", "one argument too many");
    refused("status --payload x", "not an option of this verb");
    refused("status --nonsense", "there is no option --nonsense");
    refused("status -Z", "there is no option -Z");
    refused("job run p c --payload", "needs an argument");
    refused("status --json=1", "takes no argument");
}

static void test_opt_first_word__by_the_table(void **s)
{
    char *vault[] = {(char *)"ductile",    (char *)"-c", (char *)"vault", (char *)"--json",
                     (char *)"--instance", (char *)"x",  (char *)"vault", NULL};
    char *flags[] = {(char *)"ductile", (char *)"-q", (char *)"--config=f", (char *)"plugin", NULL};
    char *none[] = {(char *)"ductile", (char *)"--payload", NULL};
    (void)s;
    assert_int_equal(opt_first_word(7, vault), 6);
    assert_int_equal(opt_first_word(4, flags), 3);
    assert_int_equal(opt_first_word(2, none), 2); // its argument is missing: nothing is read behind the end
    assert_int_equal(opt_first_word(1, none), 1);
}

static void test_opt_main__help_and_version(void **s)
{
    char out[8192];
    (void)s;
    assert_int_equal(call(out, sizeof(out), "--help"), 0);
    assert_non_null(strstr(out, "job run PLUGIN COMMAND"));
    assert_int_equal(call(out, sizeof(out), "job run --help"), 0);
    assert_non_null(strstr(out, "--payload JSON"));
    assert_non_null(strstr(out, "Exit codes:"));
    assert_null(strstr(out, "--posture"));
    assert_int_equal(call(out, sizeof(out), "job --help"), 0);
    assert_non_null(strstr(out, "job run "));
    assert_int_equal(call(out, sizeof(out), "--version"), 0);
    assert_string_equal(out, "prog " DUCTILE_VERSION "\n");
    assert_int_equal(call(out, sizeof(out), ""), EXITCODE_USAGE);
    assert_non_null(strstr(out, "Usage: prog"));
}

static void test_refusal_print__json(void **s)
{
    char out[4096];
    (void)s;
    assert_int_equal(call(out, sizeof(out), "--json frobnicate"), EXITCODE_USAGE);
    assert_non_null(strstr(out, "{\"refused\":{\"id\":\"CLI-USE-01\""));
}

static void test_refusal_id__unique(void **s)
{
    (void)s;
    for (int i = 0; i < REFUSE_COUNT_; i++) {
        assert_true(refusal_theory((enum refusal_kind)i)[0] != '\0');
        for (int j = 0; j < i; j++)
            assert_string_not_equal(refusal_id((enum refusal_kind)i), refusal_id((enum refusal_kind)j));
    }
}

// The boot gate's table, all eight cells.
static void test_posture_verdict__every_cell(void **s)
{
    (void)s;
    assert_int_equal(posture_verdict(true, true, false), BOOT_ENFORCE);
    assert_int_equal(posture_verdict(true, false, false), BOOT_REFUSE_NO_ACCOUNT);
    assert_int_equal(posture_verdict(false, true, false), BOOT_REFUSE_NO_POWER);
    assert_int_equal(posture_verdict(false, false, false), BOOT_UNCONFINED);
    for (int i = 0; i < 4; i++)
        assert_int_equal(posture_verdict(i & 1, i & 2, true), BOOT_UNCONFINED_LOUD);
}

RUN(T(opt_main__options_anywhere), T(opt_main__a_letter_is_the_verbs_own_first),
    T(opt_main__repeated_options_in_order), T(opt_main__refusals_are_three_lines),
    T(opt_main__help_and_version), T(opt_first_word__by_the_table), T(refusal_print__json),
    T(refusal_id__unique), T(posture_verdict__every_cell))
