#include "json.h"
#include "unit.h"

static void test_json_parse__limits(void **s)
{
    char error[160], deep[600];
    (void)s;
    const char *text = "{\"a\": [1, {\"b\": \"[[[[\"}]}";
    json_t *j = json_parse(text, strlen(text), 3, error);
    if (!j)
        fail_msg("%s: %s", text, error);
    json_decref(j);
    assert_null(json_parse("[[[[]]]]", 8, 3, error));
    assert_non_null(strstr(error, "3 levels"));
    memset(deep, '[', 500);
    assert_null(json_parse(deep, 500, 64, error));
    assert_null(json_parse("{\"a\":1,\"a\":2}", 13, 8, error)); // duplicate keys
    assert_null(json_parse("{} x", 4, 8, error));               // rubbish behind it
    assert_null(json_parse("{\"a\":\"\xff\"}", 9, 8, error));   // not UTF-8
    assert_null(json_parse("{\"a\":\"\\u0000\"}", 14, 8, error));
    assert_null(json_parse("{\"a\":1\0}", 8, 8, error)); // jansson skips it
    assert_non_null(strstr(error, "NUL"));
    assert_null(json_parse("", 0, 8, error));
    assert_null(json_parse("{\"n\":1e999}", 11, 8, error));
}

// What does not parse may be a secret: the place is told, never a piece of it.
static void test_json_parse__error_quotes_nothing(void **s)
{
    static const char *const texts[] = {"hunter2", "{\"a\": hunter2}", "{\"a\" hunter2", "[1,2] hunter2",
                                        "{\"hunter2\": 1, \"hunter2\": 2}"};
    char error[160];
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_null(json_parse(texts[i], strlen(texts[i]), 8, error));
        if (strstr(error, "hunter2"))
            fail_msg("%s: %s", texts[i], error);
        assert_non_null(strstr(error, "line 1"));
    }
}

static void test_json_from_ynode__core_schema(void **s)
{
    struct ynode *root = NULL;
    struct diags diags = {0};
    const char *text =
        "a: 1\nb: 1.5\nc: true\nd: null\ne: x\nf: '1'\ng: [1, {h: -3}]\ni: 99999999999999999999\n";
    (void)s;
    assert_int_equal(yaml_parse("t", text, strlen(text), &diags, &root), 0);
    json_t *j = json_from_ynode(root);
    char *out = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(
        out,
        "{\"a\":1,\"b\":1.5,\"c\":true,\"d\":null,\"e\":\"x\",\"f\":\"1\",\"g\":[1,{\"h\":-3}],\"i\":1e20}");
    free(out);
    json_decref(j);
    ynode_free(root);
}

RUN(T(json_parse__limits), T(json_parse__error_quotes_nothing), T(json_from_ynode__core_schema))
