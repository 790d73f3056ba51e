#include "err.h"
#include "json.h"
#include "log.h"
#include "str.h"
#include "unit.h"

// What refusal_print says on either stream; its return value.
static int printed(const struct refusal *refusal, bool json, bool service, char out[static 16384],
                   char err[static 16384])
{
    char *texts[2] = {out, err};
    int saved[2], files[2];
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        FILE *f = tmpfile();
        assert_non_null(f);
        files[i] = dup(fileno(f));
        fclose(f);
        saved[i] = dup(i + 1);
        dup2(files[i], i + 1);
    }
    log_open("prog", service);
    int code = refusal_print(refusal, json);
    fflush(NULL);
    log_open("test_err", false);
    for (int i = 0; i < 2; i++) {
        dup2(saved[i], i + 1);
        close(saved[i]);
        ssize_t n = pread(files[i], texts[i], 16383, 0);
        close(files[i]);
        assert_true(n >= 0);
        texts[i][n] = '\0';
    }
    return code;
}

static void test_refuse__sets_id_code_and_first_line(void **s)
{
    struct refusal r;
    (void)s;
    memset(&r, 'x', sizeof(r)); // nothing of an earlier refusal is left
    assert_int_equal(refuse(&r, REFUSE_RUN_TWICE, "%s is number %d", "it", 2), -ECANCELED);
    assert_string_equal(r.id, "RUN-TWICE-01");
    assert_int_equal(r.code, EXITCODE_AGAIN);
    assert_string_equal(r.what, "it is number 2");
    assert_string_equal(r.why, "");
    assert_string_equal(r.remedy, "");
}

static void test_refuse__every_row(void **s)
{
    (void)s;
    for (int i = 0; i < REFUSE_COUNT_; i++) {
        struct refusal r;
        assert_int_equal(refuse(&r, (enum refusal_kind)i, "x"), -ECANCELED);
        assert_string_equal(r.id, refusal_id((enum refusal_kind)i));
        assert_int_equal(r.code, refusal_code((enum refusal_kind)i));
    }
}

static void test_refuse_why__any_order_and_again(void **s)
{
    struct refusal r;
    (void)s;
    assert_int_equal(refuse(&r, REFUSE_USAGE, "what"), -ECANCELED);
    assert_int_equal(refuse_remedy(&r, "do %d", 1), -ECANCELED);
    assert_int_equal(refuse_why(&r, "a longer why, %d", 1), -ECANCELED);
    assert_string_equal(r.remedy, "do 1");
    assert_string_equal(r.why, "a longer why, 1");
    assert_int_equal(refuse_why(&r, "why"), -ECANCELED);
    assert_int_equal(refuse_remedy(&r, "do"), -ECANCELED);
    assert_string_equal(r.why, "why"); // replaced, not overlaid
    assert_string_equal(r.remedy, "do");
    assert_string_equal(r.what, "what");
    assert_string_equal(r.id, "CLI-USE-01");
    assert_int_equal(r.code, EXITCODE_USAGE);
}

static void test_refuse__longer_than_its_fields(void **s)
{
    struct refusal r;
    char *text = malloc(9000);
    (void)s;
    memset(text, 'a', 8999);
    text[8999] = '\0';
    assert_int_equal(refuse(&r, REFUSE_IO, "%s", text), -ECANCELED);
    assert_int_equal(refuse_why(&r, "%s", text), -ECANCELED);
    assert_int_equal(refuse_remedy(&r, "%s", text), -ECANCELED);
    assert_int_equal(strlen(r.what), sizeof(r.what) - 1);
    assert_int_equal(strlen(r.why), sizeof(r.why) - 1);
    assert_int_equal(strlen(r.remedy), sizeof(r.remedy) - 1);
    assert_string_equal(r.id, "CLI-IO-01");
    free(text);
}

// A format in what somebody else wrote is text.
static void test_refusal_print__three_lines(void **s)
{
    char out[16384], err[16384];
    struct refusal r;
    (void)s;
    refuse(&r, REFUSE_VAULT_KEY, "%s", "100%s of it");
    refuse_why(&r, "%s", "%n is a format");
    refuse_remedy(&r, "chmod 0600 %s", "/k");
    for (int service = 0; service < 2; service++) { // logfmt would hide it from `systemctl status`
        assert_int_equal(printed(&r, false, service, out, err), 78);
        assert_string_equal(err, "prog: refused VAULT-KEY-01: 100%s of it\n"
                                 "prog:   why: %n is a format\n"
                                 "prog:   do:  chmod 0600 /k\n");
        assert_string_equal(out, "");
    }
}

static void test_refusal_print__json_is_one_document(void **s)
{
    static const char what[] = "a \"quoted\" \\ one", why[] = "two\nlines\tand \x01",
                      remedy[] = "\xc3\xa4 \xff";
    char out[16384], err[16384], why_not[160];
    struct refusal r;
    (void)s;
    refuse(&r, REFUSE_PLUGIN_BAD, "%s", what);
    refuse_why(&r, "%s", why);
    refuse_remedy(&r, "%s", remedy);
    assert_int_equal(printed(&r, true, false, out, err), EXITCODE_DATA);
    assert_true(str_starts(err, "prog: refused PLUG-LOAD-01: ")); // the three lines are there too
    json_t *root = json_parse(out, strlen(out), 4, why_not), *body = json_object_get(root, "refused");
    if (!root)
        fail_msg("%s: %s", why_not, out);
    assert_string_equal(json_string_value(json_object_get(body, "id")), "PLUG-LOAD-01");
    assert_string_equal(json_string_value(json_object_get(body, "what")), what);
    assert_string_equal(json_string_value(json_object_get(body, "why")), why);
    assert_string_equal(json_string_value(json_object_get(body, "do")), "\xc3\xa4 \xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(root, "exit_code")), EXITCODE_DATA);
    assert_int_equal(json_object_size(body), 4);
    assert_int_equal(json_object_size(root), 2);
    assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1); // and one line
    json_decref(root);
}

static void test_refusal_print__json_of_the_longest(void **s)
{
    char out[16384], err[16384], why_not[160];
    struct refusal r;
    (void)s;
    refuse(&r, REFUSE_CONFIG, "%0*d", 600, 0);
    refuse_why(&r, "%0*d", 3000, 0);
    refuse_remedy(&r, "%0*d", 2000, 0);
    assert_int_equal(printed(&r, true, false, out, err), 78);
    json_t *root = json_parse(out, strlen(out), 4, why_not);
    assert_int_equal(json_string_length(json_object_get(json_object_get(root, "refused"), "why")),
                     sizeof(r.why) - 1);
    json_decref(root);
}

static void test_refusal_print__returns_each_code(void **s)
{
    char out[16384], err[16384], line[80];
    (void)s;
    for (int i = 0; i < REFUSE_COUNT_; i++) {
        struct refusal r;
        refuse(&r, (enum refusal_kind)i, "x");
        assert_int_equal(printed(&r, false, false, out, err), refusal_code((enum refusal_kind)i));
        snprintf(line, sizeof(line), "prog: refused %s: x\n", refusal_id((enum refusal_kind)i));
        assert_true(str_starts(err, line));
    }
}

static bool is_id(const char *id)
{
    size_t n = strlen(id);
    if (n < 6 || n >= sizeof(((struct refusal *)0)->id) || strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != n - 2)
        return false;
    return id[0] != '-' && id[n - 3] == '-' && !strstr(id, "--") && strspn(id + n - 2, "0123456789") == 2;
}

// Operators search for an id: it stands for one thing, be it a refusal or a check of the gate.
static void test_refusal_id__unique_in_both_tables(void **s)
{
    static const char *const checks[] = {
#define CHECK(name, id, good, bad, remedy, theory) id,
#include "../../ductile-gate/checks.def"
#undef CHECK
    };
    const char *ids[REFUSE_COUNT_ + ARRAY_LEN(checks)];
    size_t n = 0;
    (void)s;
    for (int i = 0; i < REFUSE_COUNT_; i++)
        ids[n++] = refusal_id((enum refusal_kind)i);
    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        ids[n++] = checks[i];
    for (size_t i = 0; i < n; i++) {
        if (!is_id(ids[i]))
            fail_msg("%s is not an id", ids[i]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(ids[i], ids[j]);
    }
    // control: what is no id
    assert_false(is_id("CLI-USE-1"));
    assert_false(is_id("CLI_USE_01"));
    assert_false(is_id("-USE-01"));
}

static void test_refusal_code__is_a_failure_of_the_table(void **s)
{
    static const struct {
        int number;
        const char *meaning;
    } codes[] = {
#define CODE(name, number, meaning) {number, meaning},
#include "exitcode.def"
#undef CODE
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        assert_in_range(codes[i].number, 0, 125); // 126 and up are the shell's and signals'
        assert_true(codes[i].meaning[0]);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(codes[i].number, codes[j].number);
    }
    for (int i = 0; i < REFUSE_COUNT_; i++) {
        bool known = false;
        for (size_t j = 0; j < ARRAY_LEN(codes); j++)
            known |= codes[j].number == (int)refusal_code((enum refusal_kind)i);
        assert_true(known);
        assert_int_not_equal(refusal_code((enum refusal_kind)i), EXITCODE_OK);
        assert_int_not_equal(refusal_code((enum refusal_kind)i),
                             EXITCODE_PENDING); // plan's: nobody was refused
        assert_true(refusal_theory((enum refusal_kind)i)[0]);
    }
    // Written into units and scripts: 78 is what a refused boot ends with, 64.. are sysexits(3).
    assert_int_equal(EXITCODE_FINDING, 1);
    assert_int_equal(EXITCODE_PENDING, 2);
    assert_int_equal(EXITCODE_USAGE, 64);
    assert_int_equal(EXITCODE_NOPERM, 77);
    assert_int_equal(EXITCODE_CONFIG, 78);
}

static void test_errno_name__known_and_unknown(void **s)
{
    (void)s;
    assert_string_equal(errno_name(EACCES), "EACCES");
    assert_string_equal(errno_name(EAGAIN), "EAGAIN");
    assert_null(errno_name(9999));
    assert_null(errno_name(-EACCES));
}

RUN(T(refuse__sets_id_code_and_first_line), T(refuse__every_row), T(refuse_why__any_order_and_again),
    T(refuse__longer_than_its_fields), T(refusal_print__three_lines), T(refusal_print__json_is_one_document),
    T(refusal_print__json_of_the_longest), T(refusal_print__returns_each_code),
    T(refusal_id__unique_in_both_tables), T(refusal_code__is_a_failure_of_the_table),
    T(errno_name__known_and_unknown))
