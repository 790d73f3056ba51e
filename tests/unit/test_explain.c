// needs: ductile-gate/
#include "../../ductile-gate/explain.h"
#include "../../ductile-gate/gate.h"
#include "unit.h"
#include <strings.h>

static struct entry entry_of(const char *id)
{
    struct entry e = {0};
    const char *near;
    if (entry_find(id, &e, &near) < 0)
        fail_msg("no %s", id);
    return e;
}

static void test_entry_get__every_row_of_the_tables(void **s)
{
    static const char *const ids[] = {
#define CHECK(name, id, good, bad, remedy, theory) id,
#include "../../ductile-gate/checks.def"
#undef CHECK
#define DOOR(group, reason) group,
#include "../../ductile-gate/doors.def"
#undef DOOR
#define PROBE(id, word, who, form, attempt, target, layer, what) word,
#define WORKS(id, word, who, form, attempt, target, what)        word,
#define LOGIN(id, word, form, attempt, target, what)             word,
#define SCOPED(id, word, who, form, attempt, target, abi, what)  word,
#include "../../ductile-gate/probes.def"
#undef PROBE
#undef WORKS
#undef LOGIN
#undef SCOPED
#define REFUSAL(name, id, code, theory) id,
#include "refusal.def"
#undef REFUSAL
    };
    (void)s;
    assert_int_equal(entry_count(), ARRAY_LEN(ids));
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct entry e;
        entry_get(i, &e);
        assert_string_equal(e.id, ids[i]);
    }
}

static void test_entry_get__one_id_one_row(void **s)
{
    (void)s;
    for (size_t i = 0; i < entry_count(); i++)
        for (size_t j = 0; j < i; j++) {
            struct entry a, b;
            entry_get(i, &a);
            entry_get(j, &b);
            if (strcasecmp(a.id, b.id) == 0)
                fail_msg("%s is there twice", a.id);
        }
}

static void test_entry_get__nothing_is_empty(void **s)
{
    (void)s;
    for (size_t i = 0; i < entry_count(); i++) {
        struct entry e;
        entry_get(i, &e);
        bool refusal = e.kind == ENTRY_REFUSAL;
        if (!e.tier[0] || !e.bad[0] || !e.theory[0] || (!refusal && (!e.good[0] || !e.remedy[0])))
            fail_msg("%s is not told in full", e.id);
        if (!refusal && (!e.tried[0] || !e.rule[0]))
            fail_msg("%s has no family in families.def", e.id);
        assert_null(strstr(e.remedy, "%s"));
    }
}

static void test_entry_get__a_probe_is_told_as_its_finding(void **s)
{
    (void)s;
    assert_string_equal(entry_of("secret-zero").family, "GATE-WALL-01");
    assert_string_equal(entry_of("egress-inet").family, "GATE-EGRESS-01");
    assert_string_equal(entry_of("write-tmp").family, "GATE-WORKS-01");
    assert_string_equal(entry_of("user-manager").family, "GATE-DOOR-02");
    assert_string_equal(entry_of("docker").family, "GATE-DOOR-01");
    assert_string_equal(entry_of("operator-ssh").tier, "confined");
    assert_non_null(strstr(entry_of("signal-sibling").tried, "from Landlock ABI 6 on"));
}

static void test_entry_get__the_longest_prefix_decides(void **s)
{
    (void)s;
    assert_string_equal(entry_of("GATE-DOOR-02").tier, "credentialed");
    assert_string_equal(entry_of("GATE-DOOR-01").tier, "every account");
    assert_string_not_equal(entry_of("GATE-WALL-01").rule, entry_of("GATE-WALL-02").rule);
}

static void test_entry_find__any_case_and_the_nearest(void **s)
{
    struct entry e;
    const char *near = NULL;
    (void)s;
    assert_string_equal(entry_of("gate-door-01").id, "GATE-DOOR-01");
    assert_string_equal(entry_of("CLI-USE-01").theory, refusal_theory(REFUSE_USAGE));
    assert_int_equal(entry_find("GATE-DOR-01", &e, &near), -ENOENT);
    assert_string_equal(near, "GATE-DOOR-01");
    assert_int_equal(entry_find("secret-zer", &e, &near), -ENOENT);
    assert_string_equal(near, "secret-zero");
    assert_int_equal(entry_find("nothing-like-any-of-them", &e, &near), -ENOENT);
    assert_null(near);
    assert_int_equal(entry_find("", &e, &near), -ENOENT);
}

RUN(T(entry_get__every_row_of_the_tables), T(entry_get__one_id_one_row), T(entry_get__nothing_is_empty),
    T(entry_get__a_probe_is_told_as_its_finding), T(entry_get__the_longest_prefix_decides),
    T(entry_find__any_case_and_the_nearest))
