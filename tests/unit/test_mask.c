#include "mask.h"
#include "str.h"
#include "unit.h"
#include <sodium.h>
#include <time.h>

static int setup(void **s)
{
    (void)s;
    return secret_arena_open(4 << 20);
}

static int teardown(void **s)
{
    (void)s;
    secret_arena_close();
    return 0;
}

static void set_of(struct mask_set *set, const char *value)
{
    mask_begin(set);
    assert_int_equal(mask_add(set, (const uint8_t *)value, strlen(value)), 0);
}

// text after masking value in it
static void masks(const char *value, const char *text, const char *expected)
{
    struct mask_set set;
    char *out = NULL;
    size_t len = 0;

    set_of(&set, value);
    long n = mask_text(&set, text, strlen(text), &out, &len);
    assert_true(n >= 0);
    if (!str_eq(out ? out : text, expected))
        fail_msg("%s in %s: %s, not %s", value, text, out ? out : text, expected);
    assert_true(!out || len == strlen(expected));
    free(out);
    mask_free(&set);
}

static void test_mask_text__encodings(void **s)
{
    static const char token[] = "hunter2\"and/so+on \xc3\xa4?";
    char text[512], base64[256];
    (void)s;
    masks("0123456789", "a 0123456789 b 0123456789", "a [masked] b [masked]");
    masks("0123456789", "012345678 1234567890 0123456788", "012345678 1234567890 0123456788");
    snprintf(text, sizeof(text), "<%s>", token);
    masks(token, text, "<[masked]>");
    masks(token, "x hunter2\\\"and/so+on \xc3\xa4? y", "x [masked] y");
    masks(token, "u=hunter2%22and%2Fso%2Bon%20%C3%A4%3F&v", "u=[masked]&v");
    masks(token, "u=hunter2%22and%2fso%2bon%20%c3%a4%3f&v", "u=[masked]&v");
    for (size_t skip = 0; skip < 3; skip++) // inside something larger, at every alignment
        for (int variant = 0; variant < 2; variant++) {
            snprintf(text, sizeof(text), "%.*s%s tail", (int)skip + 3, "xyzxyz", token);
            sodium_bin2base64(base64, sizeof(base64), (uint8_t *)text, strlen(text),
                              variant ? sodium_base64_VARIANT_URLSAFE : sodium_base64_VARIANT_ORIGINAL);
            struct mask_set set;
            char *out = NULL;
            size_t len;
            set_of(&set, token);
            assert_int_equal(mask_text(&set, base64, strlen(base64), &out, &len), 1);
            assert_true(strlen(out) < strlen(base64) - 15);
            free(out);
            mask_free(&set);
        }
}

static void test_mask_text__edges(void **s)
{
    (void)s;
    masks("12345678", "12345678", "[masked]");
    masks("1234567", "1234567", "1234567"); // below MASK_MIN: not looked for
    masks("12345678", "", "");
    masks("aaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaa", "[masked]"); // overlapping: nothing of it stays
    masks("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxy", "abcdefghijklmnopqrstuvwxy");
    masks("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopabcdefghijklmnopqrstuvwxyz!",
          "abcdefghijklmnop[masked]!");
}

static void test_mask_json__everything(void **s)
{
    struct mask_set set;
    (void)s;
    set_of(&set, "1234567890");
    json_t *v =
        json_loads("{\"1234567890\":[1234567890,123456789,{\"k\":\"a1234567890b\"},1.5,null,true]}", 0, NULL);
    assert_int_equal(mask_json(&set, &v), 3);
    char *text = json_dumps(v, JSON_COMPACT);
    assert_string_equal(text, "{\"[masked]\":[\"[masked]\",123456789,{\"k\":\"a[masked]b\"},1.5,null,true]}");
    free(text);
    json_decref(v);
    mask_free(&set);
}

static void test_mask_save__load(void **s)
{
    struct mask_set set, back;
    char *data = NULL, *out = NULL;
    size_t len = 0, n;
    (void)s;
    set_of(&set, "correct horse battery");
    assert_int_equal(mask_save(&set, &data, &len), 0);
    // the value itself is not in it, nor any encoding
    assert_null(memmem(data, len, "correct", 7));
    assert_null(memmem(data, len, "Y29ycmVjd", 9));
    assert_int_equal(mask_load(data, len, &back), 0);
    assert_int_equal(mask_text(&back, "a correct horse battery b", 25, &out, &n), 1);
    assert_string_equal(out, "a [masked] b");
    free(out);
    mask_free(&back);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(mask_load(data, cut, &back), -EPROTO);
    data[0] ^= 1;
    assert_int_equal(mask_load(data, len, &back), -EPROTO);
    data[0] ^= 1;
    memset(data + len - sizeof(struct mask_needle), 0, sizeof(struct mask_needle)); // a needle of length 0
    assert_int_equal(mask_load(data, len, &back), -EPROTO);
    free(data);
    mask_free(&set);
}

// Two sets of one value share nothing: what one job's bus saw tells nothing about the next.
static void test_mask_begin__fresh_every_time(void **s)
{
    struct mask_set a, b;
    (void)s;
    set_of(&a, "correct horse battery");
    set_of(&b, "correct horse battery");
    assert_memory_not_equal(a.key, b.key, sizeof(a.key));
    assert_true(a.base != b.base && a.list[0].roll != b.list[0].roll);
    assert_memory_not_equal(a.list[0].mac, b.list[0].mac, 16);
    mask_free(&a);
    mask_free(&b);
}

// The first bytes of a long secret, more often than can be confirmed: what follows is still found.
static void test_mask_text__more_candidates_than_budget(void **s)
{
    enum { LEN = 8000, TIMES = 100000 };
    struct mask_set set;
    char *secret = calloc(1, LEN + 1), *text = calloc(1, TIMES * MASK_WINDOW + 2 * LEN + 1), *out = NULL;
    size_t len = 0, out_len = 0;
    (void)s;
    for (size_t i = 0; i < LEN; i++)
        secret[i] = (char)('a' + i * i % 23);
    for (int i = 0; i < TIMES; i++, len += MASK_WINDOW)
        memcpy(text + len, secret, MASK_WINDOW);
    memcpy(text + len, secret, LEN);
    len += LEN;
    text[len++] = '.';
    set_of(&set, secret);
    assert_true(mask_text(&set, text, len, &out, &out_len) > 0);
    assert_non_null(out);
    assert_null(strstr(out, secret + LEN / 2)); // neither it nor its second half
    assert_int_equal(out[out_len - 1], '.');
    free(out);
    free(text);
    free(secret);
    mask_free(&set);
}

// Needles of every window length at once: each is found, and none where its last byte is another.
static void test_mask_text__every_window(void **s)
{
    struct mask_set set;
    char value[32], text[64], *out;
    size_t len;
    (void)s;
    mask_begin(&set);
    for (int n = MASK_MIN; n <= MASK_WINDOW + 4; n++) {
        snprintf(value, sizeof(value), "%c%.*s%c", 'A' + n, n - 2, "234567890123456789", 'a' + n);
        assert_int_equal(mask_add(&set, (const uint8_t *)value, (size_t)n), 0);
    }
    for (int n = MASK_MIN; n <= MASK_WINDOW + 4; n++) {
        snprintf(text, sizeof(text), "<%c%.*s%c>", 'A' + n, n - 2, "234567890123456789", 'a' + n);
        assert_int_equal(mask_text(&set, text, strlen(text), &out, &len), 1);
        assert_string_equal(out, "<[masked]>");
        free(out);
        text[n] = '!';
        assert_int_equal(mask_text(&set, text, strlen(text), &out, &len), 0);
        assert_null(out);
    }
    mask_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(mask_text__encodings),        T(mask_text__edges),
        T(mask_text__every_window),     T(mask_text__more_candidates_than_budget),
        T(mask_json__everything),       T(mask_save__load),
        T(mask_begin__fresh_every_time)};
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
