#include "json_text.h"
#include "unit.h"
#include <errno.h>

static struct json_text over(char *text)
{
    return (struct json_text){.at = text, .end = text + strlen(text)};
}

static void test_json_text_string__rows(void **s)
{
    static const struct {
        const char *text, *value; // NULL: it is a fault
    } rows[] = {
        {"\"\"", ""},
        {" \t\n\r\"a\"", "a"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\\uD83D\\uDE00x\"", "\xf0\x9f\x98\x80x"},
        {"\"\xc3\xa9\x7f\"", "\xc3\xa9\x7f"},
        {"\"\\u0000\"", NULL},
        {"\"\\ud83d\"", NULL},
        {"\"\\ude00\\ud83d\"", NULL},
        {"\"\\ud83d\\u0041\"", NULL},
        {"\"\\ud83d\\n\\u0041\"", NULL},
        {"\"\\u12g4\"", NULL},
        {"\"\\u123\"", NULL},
        {"\"\\x41\"", NULL},
        {"\"\\'\"", NULL},
        {"\"\\", NULL},
        {"\"a", NULL},
        {"\"", NULL},
        {"", NULL},
        {"'a'", NULL},
        {"a", NULL},
        {"\"\n\"", NULL},
        {"\"\x1f\"", NULL},
        {"\"\xc3\"", NULL},
        {"\"\xc0\xaf\"", NULL},
        {"\"\xed\xa0\x80\"", NULL},
        {"\"\xf4\x90\x80\x80\"", NULL},
        {"\"\x80\"", NULL},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        OWNED(freep) char *text = strdup(rows[i].text);
        struct json_text t = over(text);
        char *value = NULL;
        size_t len = 0;
        bool ok = json_text_string(&t, &value, &len);
        if (ok != !!rows[i].value || (ok && (strcmp(value, rows[i].value) != 0 || len != strlen(value))))
            fail_msg("row %zu: %s", i, rows[i].text);
        assert_int_equal(json_text_end(&t), ok);
    }
}

static void test_json_text_int__rows(void **s)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {" 17 ", true, 17},
        {"-17", true, -17},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999", false, 0},
        {"00", false, 0},
        {"-01", false, 0},
        {"-", false, 0},
        {"+1", false, 0},
        {"1.0", false, 0},
        {"1e2", false, 0},
        {"1E2", false, 0},
        {"", false, 0},
        {"\"1\"", false, 0},
        {"true", false, 0},
        {"null", false, 0},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        OWNED(freep) char *text = strdup(rows[i].text);
        struct json_text t = over(text);
        int64_t value = 0;
        bool ok = json_text_int(&t, &value) && json_text_end(&t);
        if (ok != rows[i].ok || (ok && value != rows[i].value))
            fail_msg("row %zu: %s", i, rows[i].text);
    }
}

// A NUL is no end and no white space.
static void test_json_text_end__nul(void **s)
{
    static const char *const texts[] = {"1\0", "\0001", "\0"};
    static const size_t sizes[] = {2, 2, 1};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char text[4];
        int64_t value;
        memcpy(text, texts[i], sizes[i]);
        struct json_text t = {.at = text, .end = text + sizes[i]};
        assert_false(json_text_int(&t, &value) && json_text_end(&t));
    }
}

static const char *read_list(const char *from, char *buf)
{
    OWNED(freep) char *text = strdup(from);
    struct json_text t = over(text);
    size_t count = 0;
    int64_t n;
    buf[0] = '\0';
    if (!json_text_begin(&t, '['))
        return "fault";
    while (json_text_more(&t, ']', &count) && json_text_int(&t, &n))
        sprintf(buf + strlen(buf), "%d ", (int)n);
    return json_text_end(&t) ? buf : "fault";
}

static void test_json_text_more__lists(void **s)
{
    char buf[64];
    (void)s;
    assert_string_equal(read_list("[]", buf), "");
    assert_string_equal(read_list(" [ 1 , 2,3 ] ", buf), "1 2 3 ");
    static const char *const bad[] = {"[",      "[1",   "[1,", "[1,]", "[,1]", "[1 2]",
                                      "[1,,2]", "[1]]", "[1}", "{1}",  "",     "]"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (strcmp(read_list(bad[i], buf), "fault") != 0)
            fail_msg("taken: %s", bad[i]);
}

static const char *read_object(const char *from, char *buf)
{
    static const char *const names[] = {"a", "b"};
    OWNED(freep) char *text = strdup(from);
    struct json_text t = over(text);
    uint32_t seen = 0;
    int64_t n;
    int i;
    buf[0] = '\0';
    if (!json_text_begin(&t, '{'))
        return "fault";
    while ((i = json_text_member(&t, names, 2, &seen)) >= 0 && json_text_int(&t, &n))
        sprintf(buf + strlen(buf), "%s=%d ", names[i], (int)n);
    return i == -ENOENT && json_text_end(&t) ? buf : "fault";
}

static void test_json_text_member__objects(void **s)
{
    char buf[64];
    (void)s;
    assert_string_equal(read_object("{}", buf), "");
    assert_string_equal(read_object("{\"b\":2,\"a\":1}", buf), "b=2 a=1 ");
    assert_string_equal(read_object("{ \"\\u0061\" : 1 }", buf), "a=1 ");
    static const char *const bad[] = {
        "{\"a\":1,\"a\":2}",       "{\"c\":1}", "{\"a\" 1}", "{\"a\":}",   "{\"a\":1,}", "{,\"a\":1}",
        "{\"a\":1 \"b\":2}",       "{\"a\":1",  "{a:1}",     "{\"a\":1]}", "{\"A\":1}",  "{\"\":1}",
        "{\"b\":1,\"\\u0062\":2}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (strcmp(read_object(bad[i], buf), "fault") != 0)
            fail_msg("taken: %s", bad[i]);
}

RUN(T(json_text_string__rows), T(json_text_int__rows), T(json_text_end__nul), T(json_text_more__lists),
    T(json_text_member__objects))
