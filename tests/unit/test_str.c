#include "str.h"
#include "unit.h"

static void test_str_to_u64__numbers(void **s)
{
    uint64_t v;
    (void)s;
    assert_int_equal(str_to_u64("0", 0, 10, &v), 0);
    assert_int_equal(str_to_u64("18446744073709551615", 0, UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(str_to_u64("11", 0, 10, &v), -ERANGE);
    assert_int_equal(str_to_u64("18446744073709551616", 0, UINT64_MAX, &v), -ERANGE);
}

static void test_str_to_u64__rubbish(void **s)
{
    static const char *const bad[] = {"", " 1", "1 ", "1x", "-1", "+1", "0x10", "010", "1.0", "1e3"};
    uint64_t v;
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(str_to_u64(bad[i], 0, 1000, &v), -EINVAL);
}

static void test_str_duration__round_trip(void **s)
{
    static const char *const words[] = {"0",  "1ms", "500ms", "1500ms", "30s",   "90s",   "5m",
                                        "1h", "25h", "1d",    "30d",    "3650d", "36500d"};
    char buf[32];
    uint64_t ms;
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_int_equal(str_to_duration(words[i], &ms), 0);
        assert_string_equal(str_duration(ms, buf), words[i]);
    }
    assert_string_equal(str_duration(UINT64_MAX, buf), "18446744073709551615ms");
}

static void test_str_to_duration__units(void **s)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"500ms", 500},    {"30s", 30000},      {"5m", 300000},
                {"24h", 86400000}, {"30d", 2592000000}, {"0", 0}};
    static const char *const bad[] = {"30", "s", "1w", "1 s", "1.5s", "-1s", "1S"};
    uint64_t v;
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(str_to_duration(good[i].text, &v), 0);
        assert_true(v == good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(str_to_duration(bad[i], &v), -EINVAL);
    assert_int_equal(str_to_duration("99999999999999999999d", &v), -ERANGE);
    assert_int_equal(str_to_duration("36501d", &v), -ERANGE);
}

static void test_str_to_size__units(void **s)
{
    uint64_t v;
    (void)s;
    assert_int_equal(str_to_size("64K", &v), 0);
    assert_true(v == 65536);
    assert_int_equal(str_to_size("2G", &v), 0);
    assert_true(v == 2147483648u);
    assert_int_equal(str_to_size("12", &v), 0);
    assert_int_equal(str_to_size("1k", &v), -EINVAL);
    assert_int_equal(str_to_size("99999999999T", &v), -ERANGE);
}

static void test_str_is_instance__names(void **s)
{
    (void)s;
    assert_true(str_is_instance("ductile") && str_is_instance("a-b-2"));
    assert_false(str_is_instance("") || str_is_instance("-a") || str_is_instance("a-") ||
                 str_is_instance("a--b") || str_is_instance("A") || str_is_instance("a_b") ||
                 str_is_instance("a/b"));
    assert_false(str_is_instance("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void test_str_is_account__names(void **s)
{
    (void)s;
    assert_true(str_is_account("default") && str_is_account("a1-"));
    assert_false(str_is_account("1a") || str_is_account("") || str_is_account("a.b"));
}

static void test_str_is_plugin__names(void **s)
{
    (void)s;
    assert_true(str_is_plugin("github_repo_sync") && str_is_plugin("A-b"));
    assert_false(str_is_plugin("_x") || str_is_plugin("1x") || str_is_plugin("a.b") || str_is_plugin("a/b") ||
                 str_is_plugin(""));
}

static void test_str_is_secret__names(void **s)
{
    (void)s;
    assert_true(str_is_secret("github_token") && str_is_secret("a") && str_is_secret("a-b_c"));
    assert_false(str_is_secret("a_") || str_is_secret("_a") || str_is_secret("A") || str_is_secret(""));
}

static void test_str_is_utf8__bytes(void **s)
{
    (void)s;
    assert_true(str_is_utf8("abc\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 12));
    assert_false(str_is_utf8("\xc0\x80", 2));         // overlong
    assert_false(str_is_utf8("\xed\xa0\x80", 3));     // surrogate
    assert_false(str_is_utf8("\xf4\x90\x80\x80", 4)); // beyond U+10FFFF
    assert_false(str_is_utf8("\xe2\x82", 2));         // cut off
    assert_false(str_is_utf8("\xff", 1));
}

static void test_str_is_abspath__paths(void **s)
{
    (void)s;
    assert_true(str_is_abspath("/") && str_is_abspath("/a/b.c") && str_is_abspath("/a..b"));
    assert_false(str_is_abspath("a") || str_is_abspath("//a") || str_is_abspath("/a/") ||
                 str_is_abspath("/a/../b") || str_is_abspath("/a/./b") || str_is_abspath("/a\nb") ||
                 str_is_abspath("/.."));
}

static void test_str_path_within__siblings(void **s)
{
    (void)s;
    assert_true(str_path_within("/a/b", "/a") && str_path_within("/a", "/a") && str_path_within("/a", "/"));
    assert_false(str_path_within("/ab", "/a") || str_path_within("/", "/a"));
}

static void test_str_distance__typos(void **s)
{
    (void)s;
    assert_int_equal(str_distance("accounts", "acounts"), 1);
    assert_int_equal(str_distance("", "abc"), 3);
    assert_int_equal(str_distance("same", "same"), 0);
}

static void test_str_unhex__round_trip(void **s)
{
    uint8_t in[] = {0, 0x7f, 0xff}, out[3];
    char text[7];
    (void)s;
    str_hex(in, 3, text);
    assert_string_equal(text, "007fff");
    assert_int_equal(str_unhex(text, out, 3), 0);
    assert_memory_equal(in, out, 3);
    assert_int_equal(str_unhex("0g", out, 1), -EINVAL);
    assert_int_equal(str_unhex("000", out, 1), -EINVAL);
}

static void test_sb_add_json__escapes(void **s)
{
    struct strbuf sb = {0};
    (void)s;
    sb_add_json(&sb, "a\"\\\n\x01\xff\xc3\xa9");
    char *text = sb_finish(&sb);
    assert_string_equal(text, "\"a\\\"\\\\\\u000a\\u0001\xef\xbf\xbd\xc3\xa9\"");
    free(text);
}

static void test_sb_add_word__round_trip(void **s)
{
    struct strbuf sb = {0};
    (void)s;
    sb_add_word(&sb, "a b%\n\xff");
    char *text = sb_finish(&sb);
    assert_string_equal(text, "a%20b%25%0a%ff");
    assert_int_equal(str_unword(text), 0);
    assert_string_equal(text, "a b%\n\xff");
    strcpy(text, "a%0");
    assert_int_equal(str_unword(text), -EINVAL);
    strcpy(text, "%00");
    assert_int_equal(str_unword(text), -EINVAL);
    free(text);
}

static void test_sb_addf__grows(void **s)
{
    struct strbuf sb = {0};
    (void)s;
    for (int i = 0; i < 1000; i++)
        sb_addf(&sb, "%d,", i);
    assert_int_equal(sb.len, 3890);
    char *text = sb_finish(&sb);
    assert_int_equal(strlen(text), 3890);
    free(text);
}

static void test_str_make_utf8__bytes_that_are_none(void **s)
{
    static const struct {
        const char *from, *to;
    } cases[] = {{"", ""},
                 {"plain", "plain"},
                 {"\xc3\xa4 \xf0\x9f\x98\x80", "\xc3\xa4 \xf0\x9f\x98\x80"},
                 {"a\xff\x80z", "a??z"},
                 {"cut \xc3", "cut ?"},
                 {"cut \xf0\x9f\x98", "cut ???"},
                 {"\xc0\xafover", "??over"}};
    char text[32];
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof(text), "%s", cases[i].from);
        str_make_utf8(text);
        assert_string_equal(text, cases[i].to);
    }
}

RUN(T(str_to_u64__numbers), T(str_to_u64__rubbish), T(str_to_duration__units), T(str_duration__round_trip),
    T(str_to_size__units), T(str_is_instance__names), T(str_is_account__names), T(str_is_plugin__names),
    T(str_is_secret__names), T(str_is_utf8__bytes), T(str_make_utf8__bytes_that_are_none),
    T(str_is_abspath__paths), T(str_path_within__siblings), T(str_distance__typos), T(str_unhex__round_trip),
    T(sb_add_json__escapes), T(sb_add_word__round_trip), T(sb_addf__grows))
