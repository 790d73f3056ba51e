// needs: ductile-run/bus/response.c
#include "../../ductile-run/bus/bus.h"
#include "unit.h"

static struct config *config;

static int setup(void **s)
{
    struct refusal refusal;
    struct config_file *files = calloc(1, sizeof(*files));
    (void)s;
    files[0] = (struct config_file){strdup("/c.yaml"), strdup("limits: {events: 2, json_depth: 8}\n"), 34};
    return config_parse(files, 1, &config, &refusal);
}

static int teardown(void **s)
{
    (void)s;
    config_free(config);
    return 0;
}

static const struct mask_set nothing;
static long masked;

static void accepted(const char *text, bool ok, bool retry)
{
    struct response r;
    char why[160];
    assert_int_equal(response_parse(config, text, strlen(text), &nothing, &masked, &r, why), 0);
    assert_int_equal(r.ok, ok);
    assert_int_equal(r.retry, retry);
    response_free(&r);
}

static void refused_n(const char *text, size_t len, const char *word)
{
    struct response r;
    char why[160] = "";
    assert_int_equal(response_parse(config, text, len, &nothing, &masked, &r, why), -EBADMSG);
    if (!strstr(why, word))
        fail_msg("%s: %s", text, why);
}

static void refused(const char *text, const char *word)
{
    refused_n(text, strlen(text), word);
}

static void test_response_parse__accepted(void **s)
{
    (void)s;
    accepted("{\"status\":\"ok\",\"result\":\"x\"}", true, true);
    accepted(
        " {\"status\":\"ok\",\"result\":{},\"events\":[{\"type\":\"a.b\"},{\"type\":\"c\",\"payload\":{}}],\"logs\":[]}\n",
        true, true);
    accepted("{\"status\":\"error\",\"error\":\"e\",\"retry\":false}", false, false);
    accepted("{\"status\":\"error\",\"error\":\"e\"}", false, true);
    accepted("{\"status\":\"ok\",\"result\":1,\"events\":null,\"state_updates\":null,\"unknown\":[1]}", true,
             true);
}

// A secret in a result, an error, an event's type and a key; as \u escapes too: none of it comes through.
static void test_response_parse__masked(void **s)
{
    static const char token[] = "ghp_Unit/T0ken+ThatMustNot";
    struct mask_set set;
    struct response r;
    char why[160];
    (void)s;
    assert_int_equal(secret_arena_open(1 << 20), 0);
    mask_begin(&set);
    assert_int_equal(mask_add(&set, (const uint8_t *)token, strlen(token)), 0);
    const char *text = "{\"status\":\"ok\",\"result\":{\"said\":\"it is \\u0067hp_Unit/T0ken+ThatMustNot.\"},"
                       "\"events\":[{\"type\":\"t\",\"payload\":{\"ghp_Unit/T0ken+ThatMustNot\":1}}],"
                       "\"state_updates\":{\"b64\":\"Z2hwX1VuaXQvVDBrZW4rVGhhdE11c3ROb3Q=\"}}";
    assert_int_equal(response_parse(config, text, strlen(text), &set, &masked, &r, why), 0);
    assert_int_equal(masked, 3);
    char *all = json_dumps(r.root, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(
        all,
        "{\"events\":[{\"payload\":{\"[masked]\":1},\"type\":\"t\"}],\"result\":{\"said\":\"it is [masked].\"},"
        "\"state_updates\":{\"b64\":\"[masked]Q=\"},\"status\":\"ok\"}");
    free(all);
    response_free(&r);
    mask_free(&set);
    secret_arena_close();
}

static void test_response_parse__hostile(void **s)
{
    char deep[64];
    (void)s;
    refused("", "printed nothing");
    refused("hello", "line 1");
    refused("[]", "not a JSON object");
    refused("{}", "status");
    refused("{\"status\":\"maybe\"}", "status");
    refused("{\"status\":\"ok\"}", "no result");
    refused("{\"status\":\"ok\",\"result\":null}", "no result");
    refused("{\"status\":\"error\"}", "no error");
    refused("{\"status\":\"ok\",\"result\":1} trailing", "end of file");
    refused("{\"status\":\"ok\",\"result\":1}{\"status\":\"ok\"}", "end of file");
    refused("{\"status\":\"ok\",\"status\":\"ok\",\"result\":1}", "duplicate");
    refused("{\"status\":\"ok\",\"result\":\"\xff\"}", "unable to decode");
    refused_n("{\"status\":\"ok\",\"result\":\"\0\"}", 27, "");
    refused("{\"status\":\"ok\",\"result\":1e999}", "");
    refused("{\"status\":\"ok\",\"result\":1,\"events\":{}}", "not a list");
    refused("{\"status\":\"ok\",\"result\":1,\"events\":[{}]}", "without a type");
    refused("{\"status\":\"ok\",\"result\":1,\"events\":[{\"type\":\"a\",\"payload\":[]}]}", "not an object");
    refused(
        "{\"status\":\"ok\",\"result\":1,\"events\":[{\"type\":\"a\"},{\"type\":\"a\"},{\"type\":\"a\"}]}",
        "more events");
    refused("{\"status\":\"ok\",\"result\":1,\"state_updates\":[]}", "state_updates");
    memset(deep, '[', sizeof(deep));
    refused_n(deep, sizeof(deep), "8 levels");
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(response_parse__accepted), L(response_parse__masked), L(response_parse__hostile))
