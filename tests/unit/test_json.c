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
    assert_null(json_parse("", 0, 8, error));
    assert_null(json_parse("{\"n\":1e999}", 11, 8, error));
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

RUN(T(json_parse__limits), T(json_from_ynode__core_schema))
