#include "json.h"
#include "log.h"
#include "str.h"
#include "unit.h"
#include <sys/socket.h>

static char said[65536]; // what the last call left on standard error
static int lines_in_first_packet;

enum where { PIPE, JOURNAL };

static struct {
    int saved, ends[2];
} grip;

// Standard error becomes a pipe, or a socket as the journal gives it.
static void listen_on(enum where where, bool service)
{
    fflush(NULL);
    grip.saved = dup(STDERR_FILENO);
    assert_int_equal(where == PIPE ? pipe2(grip.ends, O_NONBLOCK)
                                   : socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, grip.ends),
                     0);
    dup2(grip.ends[1], STDERR_FILENO);
    close(grip.ends[1]);
    log_open("prog", service);
}

static const char *heard(void)
{
    size_t len = 0;
    dup2(grip.saved, STDERR_FILENO); // closes the last writer
    close(grip.saved);
    log_open("test_log", false);
    log_set_level(LOG_LEVEL_INFO);
    lines_in_first_packet = 0;
    for (ssize_t n; (n = read(grip.ends[0], said + len, sizeof(said) - 1 - len)) > 0; len += (size_t)n)
        for (ssize_t i = 0; len == 0 && i < n; i++)
            lines_in_first_packet += said[i] == '\n';
    close(grip.ends[0]);
    said[len] = '\0';
    return said;
}

static void test_log_msg__for_people(void **s)
{
    (void)s;
    listen_on(PIPE, false);
    log_info("%s and %d", "one", 2);
    log_warn("w");
    assert_string_equal(heard(), "prog: one and 2\nprog: w\n");
}

static void test_log_msg__logfmt(void **s)
{
    (void)s;
    listen_on(PIPE, true);
    log_info("one two");
    log_warn("x=y");
    log_msg(LOG_LEVEL_ERR, "%s", "");
    assert_string_equal(heard(), "level=info program=prog msg=\"one two\"\n"
                                 "level=warn program=prog msg=\"x=y\"\n"
                                 "level=error program=prog msg=\"\"\n");
}

// One line, whatever the text is; and the text comes out of it again.
static void test_log_msg__logfmt_escapes(void **s)
{
    static const char *const texts[] = {
        "say \"hello\"",
        "back\\slash \\\" both \\",
        "two\nlines",
        "a\r\nlevel=error program=sshd msg=\"forged\"",
        "tab\tbell\a escape\x1b[31m delete\x7f",
        "\xc3\xa4\xe2\x82\xac\xf0\x9f\xa6\x86",
        "%s %n %d",
        "\n",
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        static const char head[] = "level=info program=prog msg=";
        json_error_t e;
        listen_on(PIPE, true);
        log_info("%s", texts[i]);
        const char *line = heard();
        if (!str_starts(line, head) || strchr(line, '\n') != line + strlen(line) - 1)
            fail_msg("text %zu: %s", i, line);
        for (const char *p = line; p[1]; p++) // nothing a terminal or a parser of lines would obey
            assert_false((unsigned char)*p < 0x20 || *p == 0x7f);
        json_t *value = json_loads(line + strlen(head), JSON_DECODE_ANY, &e);
        assert_non_null(value);
        assert_string_equal(json_string_value(value), texts[i]);
        json_decref(value);
    }
}

static void test_log_msg__logfmt_not_utf8(void **s)
{
    (void)s;
    listen_on(PIPE, true);
    log_info("%s", "a\xff\xc3(");
    assert_string_equal(heard(), "level=info program=prog msg=\"a\xef\xbf\xbd\xef\xbf\xbd(\"\n");
}

static void test_log_msg__journal_priority(void **s)
{
    static const struct {
        enum log_level level;
        const char *line;
    } rows[] = {
        {LOG_LEVEL_DEBUG, "<7>level=debug program=prog msg=\"m\"\n"},
        {LOG_LEVEL_INFO, "<6>level=info program=prog msg=\"m\"\n"},
        {LOG_LEVEL_WARN, "<4>level=warn program=prog msg=\"m\"\n"},
        {LOG_LEVEL_ERR, "<3>level=error program=prog msg=\"m\"\n"},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        listen_on(JOURNAL, true);
        log_set_level(LOG_LEVEL_DEBUG);
        log_msg(rows[i].level, "m");
        assert_string_equal(heard(), rows[i].line);
        listen_on(PIPE, true); // control: a pipe is nobody who reads priorities
        log_set_level(LOG_LEVEL_DEBUG);
        log_msg(rows[i].level, "m");
        assert_string_equal(heard(), rows[i].line + 3);
    }
}

static void test_log_plain__in_a_service(void **s)
{
    (void)s;
    listen_on(JOURNAL, true);
    log_plain(LOG_LEVEL_ERR, "refused X: \"y\"");
    assert_string_equal(heard(), "<3>prog: refused X: \"y\"\n");
    listen_on(PIPE, true);
    log_plain(LOG_LEVEL_WARN, "p");
    assert_string_equal(heard(), "prog: p\n");
}

static void test_log_msg__forged_priority_stays_text(void **s)
{
    (void)s;
    listen_on(JOURNAL, true);
    log_info("%s", "x\n<0>the house is on fire");
    assert_string_equal(heard(), "<6>level=info program=prog msg=\"x\\u000a<0>the house is on fire\"\n");
}

// A text of several lines, as refusals have: each with the priority that we chose, none that begins like one
// of ours.
static void test_log_plain__lines_cannot_be_forged(void **s)
{
    (void)s;
    listen_on(JOURNAL, false);
    log_plain(LOG_LEVEL_ERR, "%s", "one\n<0>prog: two\nprog: three");
    assert_string_equal(heard(), "<3>prog: one\n<3>    <0>prog: two\n<3>    prog: three\n");
}

static void test_log_msg__one_write_a_line(void **s)
{
    (void)s;
    listen_on(JOURNAL, true);
    log_info("first %d", 1);
    log_info("second");
    heard();
    assert_int_equal(lines_in_first_packet, 1);
    assert_non_null(strstr(said, "\"first 1\"\n<6>level=info program=prog msg=\"second\"\n"));
}

static void test_log_set_level__drops_below(void **s)
{
    (void)s;
    for (int least = 0; least < LOG_LEVEL_COUNT_; least++) {
        char expected[256] = "";
        listen_on(PIPE, true);
        log_set_level((enum log_level)least);
        for (int level = 0; level < LOG_LEVEL_COUNT_; level++) {
            log_msg((enum log_level)level, "m");
            if (level >= least)
                snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected),
                         "level=%s program=prog msg=\"m\"\n", log_level_name((enum log_level)level));
        }
        assert_string_equal(heard(), expected);
    }
    listen_on(PIPE, false); // and without a word of it: info
    log_debug("quiet");
    log_info("loud");
    assert_string_equal(heard(), "prog: loud\n");
}

static void test_log_level_name__as_the_config_writes_them(void **s)
{
    (void)s;
    assert_string_equal(log_level_name(LOG_LEVEL_DEBUG), "debug");
    assert_string_equal(log_level_name(LOG_LEVEL_INFO), "info");
    assert_string_equal(log_level_name(LOG_LEVEL_WARN), "warn");
    assert_string_equal(log_level_name(LOG_LEVEL_ERR), "error");
}

// Cut, never spilled over: still one line, closed as it was opened.
static void test_log_msg__too_long(void **s)
{
    static char text[20000];
    static const size_t lengths[] = {4094, 4095, 4096, sizeof(text) - 1};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
        for (int service = 0; service < 2; service++) {
            memset(text, 'z', sizeof(text) - 1);
            text[lengths[i]] = '\0';
            listen_on(PIPE, service);
            log_info("%s", text);
            const char *line = heard(), *first = strchr(line, 'z');
            assert_int_equal(strspn(first, "z"), MIN(lengths[i], (size_t)4095));
            assert_string_equal(first + strspn(first, "z"), service ? "\"\n" : "\n");
        }
    // 1,000 bytes that become 6,000
    memset(text, 1, 1000);
    text[1000] = '\0';
    listen_on(PIPE, true);
    log_info("%s", text);
    assert_int_equal(strlen(heard()), strlen("level=info program=prog msg=") + 6000 + 3);
}

static void test_log_msg__too_long_cuts_a_character(void **s)
{
    char text[4200];
    json_error_t e;
    (void)s;
    memset(text, 'a', 4094);
    snprintf(text + 4094, sizeof(text) - 4094, "\xe2\x82\xac and more");
    listen_on(PIPE, true);
    log_info("%s", text);
    json_t *value = json_loads(strchr(heard(), '"'), JSON_DECODE_ANY, &e); // jansson wants UTF-8
    assert_non_null(value);
    assert_string_equal(json_string_value(value) + 4094, "\xef\xbf\xbd");
    json_decref(value);
}

static void test_log_err__says_which(void **s)
{
    (void)s;
    listen_on(PIPE, false);
    int r = log_err(-EACCES, "cannot read %s", "/x");
    assert_string_equal(heard(), "prog: cannot read /x: Permission denied (EACCES)\n");
    assert_int_equal(r, -EACCES);
    listen_on(JOURNAL, true);
    r = log_err(-9999, "%s", "%s");
    assert_true(str_starts(heard(), "<3>level=error program=prog msg=\"%s: "));
    assert_non_null(strstr(said, "(unknown)\"\n"));
    assert_int_equal(r, -9999);
}

static void test_log_msg__nowhere_to_write(void **s)
{
    (void)s;
    listen_on(PIPE, false);
    close(STDERR_FILENO);
    log_info("lost");
    int r = log_err(-ENOENT, "lost too"); // and no crash
    assert_string_equal(heard(), "");
    assert_int_equal(r, -ENOENT);
}

RUN(T(log_msg__for_people), T(log_msg__logfmt), T(log_msg__logfmt_escapes), T(log_msg__logfmt_not_utf8),
    T(log_msg__journal_priority), T(log_plain__in_a_service), T(log_msg__forged_priority_stays_text),
    T(log_msg__one_write_a_line), T(log_plain__lines_cannot_be_forged), T(log_set_level__drops_below),
    T(log_level_name__as_the_config_writes_them), T(log_msg__too_long), T(log_msg__too_long_cuts_a_character),
    T(log_err__says_which), T(log_msg__nowhere_to_write))
