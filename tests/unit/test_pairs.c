// No check without a test that sees it pass and one that sees it fail.
#include "../../ductile-gate/gate.h"
#include "fd.h"
#include "unit.h"

// The rows as the gate has them; its program is not needed.
static const char *const ids[] = {
#define CHECK(name, id, good, bad, remedy, theory) [CHECK_##name] = id,
#include "../../ductile-gate/checks.def"
#undef CHECK
};

enum {
    PAIRS = 0
#define PAIR(name, pass, fail) +1
#include "pairs.def"
#undef PAIR
};
// A row that stands twice does not compile either (-Woverride-init): so each stands once.
_Static_assert(PAIRS == (int)CHECK_COUNT_,
               "a row of ductile-gate/checks.def has no pair in tests/unit/pairs.def");

static const struct {
    const char *pass, *fail;
} pairs[CHECK_COUNT_] = {
#define PAIR(name, pass, fail) [CHECK_##name] = {pass, fail},
#include "pairs.def"
#undef PAIR
};

// Is there a test of that name, in any suite? Every test of EXPECTED is run, and must pass.
static bool is_expected(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = list; (p = strstr(p, name)); p += len)
        if (p - list > 2 && p[-2] == ':' && p[-1] == ' ' && (p[len] == '\n' || p[len] == '\0') &&
            !memchr(p, '\n', len))
            return true;
    return false;
}

static void test_pairs__both_tests_are_there(void **s)
{
    OWNED(freep) char *list = NULL;
    size_t len;
    OWNED(fd_closep) int fd = open("tests/EXPECTED", O_RDONLY | O_CLOEXEC); // tests/run starts us at the top
    (void)s;
    assert_true(fd >= 0);
    assert_int_equal(fd_read_all(fd, 8 << 20, &list, &len), 0);
    for (int i = 0; i < CHECK_COUNT_; i++) {
        const char *names[] = {pairs[i].pass, pairs[i].fail};
        for (size_t j = 0; j < 2; j++) {
            if (!is_expected(list, names[j]))
                fail_msg("%s: tests/EXPECTED has no \"%s\"", ids[i], names[j]);
            // A test that is named after an id is not another one's.
            if (strstr(names[j], "GATE-") && !strstr(names[j], ids[i]))
                fail_msg("%s: \"%s\" is named after another check", ids[i], names[j]);
        }
    }
    // control: what is not there is not found
    assert_false(is_expected(list, "40-gate: GATE-WORKS-01: nothing"));
    assert_false(is_expected(list, "40-gate: GATE-WORKS-01"));
    assert_false(is_expected(list, "GATE-WORKS-01: a plugin that cannot write in"));
}

RUN(T(pairs__both_tests_are_there))
