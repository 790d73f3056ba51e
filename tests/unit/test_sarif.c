// needs: ductile-gate/
#include "../../ductile-gate/output.h"
#include "unit.h"
#include <jansson.h>

static json_t *sarif(struct config *config, const struct finding *list, size_t n, bool passes)
{
    struct gate g = {.config = config, .findings = (struct finding *)list, .n_findings = n};
    struct strbuf sb = {0};
    json_error_t error;
    sarif_add(&g, VERDICT_REFUSE, 78, passes, &sb);
    OWNED(freep) char *text = sb_finish(&sb);
    assert_non_null(text);
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!j)
        fail_msg("%s in %s", error.text, text);
    return j;
}

static const char *at(json_t *run, size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(json_object_get(run, "results"), i), key));
}

static const struct finding findings[] = {
    {.check = CHECK_LAYOUT,
     .verdict = VERDICT_REFUSE,
     .subject = "/etc/a b%\xc3\xa9",
     .evidence = "found \"x\""},
    {.check = CHECK_DOOR, .verdict = VERDICT_WARN, .subject = "matt", .evidence = "in docker"},
    {.check = CHECK_PROBE_BROKEN, .verdict = VERDICT_UNPROVEN, .subject = "default", .evidence = "neither"},
    {.check = CHECK_USER, .verdict = VERDICT_PASS, .subject = "ductile", .evidence = "it is"},
};

static void test_sarif__results_have_rules_and_levels(void **s)
{
    struct config config = {.path = "/etc/ductile/config.yaml"};
    json_t *j = sarif(&config, findings, ARRAY_LEN(findings), false),
           *run = json_array_get(json_object_get(j, "runs"), 0);
    json_t *driver = json_object_get(json_object_get(run, "tool"), "driver"),
           *rules = json_object_get(driver, "rules"), *r;
    size_t i;
    (void)s;
    assert_string_equal(json_string_value(json_object_get(j, "version")), "2.1.0");
    assert_int_equal(json_array_size(rules), CHECK_COUNT_);
    assert_int_equal(json_array_size(json_object_get(run, "results")), 3);
    assert_string_equal(at(run, 0, "level"), "error");
    assert_string_equal(at(run, 1, "level"), "warning");
    assert_string_equal(at(run, 2, "level"), "warning");
    json_array_foreach(json_object_get(run, "results"), i, r)
    {
        json_t *rule = json_array_get(rules, (size_t)json_integer_value(json_object_get(r, "ruleIndex")));
        assert_string_equal(json_string_value(json_object_get(rule, "id")), at(run, i, "ruleId"));
    }
    json_decref(j);
}

static void test_sarif__passes_and_strict(void **s)
{
    struct config config = {.path = "/etc/ductile/config.yaml", .fail_on_sidedoor = SIDEDOOR_STRICT};
    json_t *j = sarif(&config, findings, ARRAY_LEN(findings), true),
           *run = json_array_get(json_object_get(j, "runs"), 0);
    (void)s;
    assert_int_equal(json_array_size(json_object_get(run, "results")), 4);
    assert_string_equal(at(run, 1, "level"), "warning"); // consent stays consent
    assert_string_equal(at(run, 2, "level"), "error");   // could not determine is not clean
    assert_string_equal(at(run, 3, "level"), "none");
    assert_string_equal(at(run, 3, "kind"), "pass");
    json_decref(j);
}

static void test_sarif__where_it_is(void **s)
{
    struct config config = {.path = "/etc/ductile/config.yaml"};
    json_t *j = sarif(&config, findings, 2, false), *run = json_array_get(json_object_get(j, "runs"), 0);
    const char *uri[2], *name = NULL;
    (void)s;
    for (size_t i = 0; i < 2; i++) {
        json_t *where = json_array_get(
            json_object_get(json_array_get(json_object_get(run, "results"), i), "locations"), 0);
        assert_int_equal(
            json_unpack(where, "{s:{s:{s:s}}}", "physicalLocation", "artifactLocation", "uri", &uri[i]), 0);
        json_unpack(where, "{s:[{s:s}]}", "logicalLocations", "name", &name);
    }
    assert_string_equal(uri[0], "file:///etc/a%20b%25%C3%A9");
    assert_string_equal(uri[1], "file:///etc/ductile/config.yaml");
    assert_string_equal(name, "matt");
    json_decref(j);
}

static void test_sarif__what_is_quoted_means_nothing(void **s)
{
    static const struct finding odd[] = {
        {.check = CHECK_DOOR,
         .verdict = VERDICT_WARN,
         .subject = "//etc/./a//b/.c/..d/",
         .evidence = "{0} [here](1) }{"},
        {.check = CHECK_DOOR, .verdict = VERDICT_WARN, .subject = "/"},
        {.check = CHECK_DOOR, .verdict = VERDICT_WARN, .subject = "/usr/../etc/./"}};
    static const char *const uris[] = {"file:///etc/a/b/.c/..d", "file:///", "file:///etc"};
    struct config config = {.path = "/etc/ductile/config.yaml"};
    json_t *j = sarif(&config, odd, 3, false), *run = json_array_get(json_object_get(j, "runs"), 0);
    const char *uri, *text;
    (void)s;
    for (size_t i = 0; i < 3; i++) {
        json_t *r = json_array_get(json_object_get(run, "results"), i);
        assert_int_equal(json_unpack(r, "{s:{s:s}, s:[{s:{s:{s:s}}}]}", "message", "text", &text, "locations",
                                     "physicalLocation", "artifactLocation", "uri", &uri),
                         0);
        assert_string_equal(uri, uris[i]);
        assert_true(i > 0 || strstr(text, "({{0}} [here] (1) }}{{)"));
    }
    json_decref(j);
}

static void test_finding_remedy__one_hole(void **s)
{
    char out[1024];
    (void)s;
    finding_remedy("lock %s now", "x%s", out);
    assert_string_equal(out, "lock x%s now");
    finding_remedy("nothing", "x", out);
    assert_string_equal(out, "nothing");
}

RUN(T(sarif__results_have_rules_and_levels), T(sarif__passes_and_strict), T(sarif__where_it_is),
    T(sarif__what_is_quoted_means_nothing), T(finding_remedy__one_hole))
