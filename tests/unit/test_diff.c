// needs: ductile-gate/
#include "../../ductile-gate/diff.h"
#include "str.h"
#include "unit.h"

#define SEEN(id, verdict, subject, evidence)                                                                 \
    {                                                                                                        \
        (char *)(id), (char *)(verdict), (char *)(subject), (char *)(evidence)                               \
    }

// "new:ID:SUBJECT gone:... " of a comparison.
static void compare(const struct seen *before, size_t n_before, const struct seen *after, size_t n_after,
                    char out[static 256])
{
    OWNED(freep) struct change *list = NULL;
    size_t n = 99, used = 0;
    out[0] = '\0';
    assert_int_equal(diff_compare(before, n_before, after, n_after, &list, &n), 0);
    for (size_t i = 0; i < n; i++) {
        const struct seen *f = list[i].after ? list[i].after : list[i].before;
        used += (size_t)snprintf(out + used, 256 - used, "%s:%s:%s:%s ", change_name(list[i].kind), f->id,
                                 f->subject, f->evidence);
        assert_true((list[i].kind == CHANGE_NEW) == !list[i].before);
        assert_true((list[i].kind == CHANGE_GONE) == !list[i].after);
    }
}

static void test_diff_compare__each_kind(void **s)
{
    static const struct seen before[] = {SEEN("A", "warn", "x", "1"), SEEN("B", "warn", "x", "1"),
                                         SEEN("C", "warn", "x", "1"), SEEN("D", "warn", "x", "1")};
    static const struct seen after[] = {SEEN("D", "refuse", "x", "1"), SEEN("A", "warn", "x", "1"),
                                        SEEN("C", "warn", "x", "2"), SEEN("A", "warn", "y", "1")};
    char out[256];
    (void)s;
    compare(before, 4, after, 4, out);
    assert_string_equal(out, "changed:D:x:1 changed:C:x:2 new:A:y:1 gone:B:x:1 ");
}

static void test_diff_compare__alike_and_empty(void **s)
{
    static const struct seen a[] = {SEEN("A", "warn", "x", "1"), SEEN("B", "warn", "x", "1")};
    char out[256];
    (void)s;
    compare(a, 2, a, 2, out);
    assert_string_equal(out, "");
    compare(a, 0, a, 0, out);
    assert_string_equal(out, "");
    compare(a, 0, a, 2, out);
    assert_string_equal(out, "new:A:x:1 new:B:x:1 ");
    compare(a, 2, a, 0, out);
    assert_string_equal(out, "gone:A:x:1 gone:B:x:1 ");
}

// Several of one id and subject: what is alike is paired before what changed, in whatever order they stand.
static void test_diff_compare__several_of_one_subject(void **s)
{
    static const struct seen before[] = {SEEN("W", "refuse", "x", "1"), SEEN("W", "refuse", "x", "2"),
                                         SEEN("W", "refuse", "x", "2")};
    static const struct seen after[] = {SEEN("W", "refuse", "x", "2"), SEEN("W", "refuse", "x", "3"),
                                        SEEN("W", "refuse", "x", "1")};
    char out[256];
    (void)s;
    compare(before, 3, after, 3, out);
    assert_string_equal(out, "changed:W:x:3 ");
    compare(before, 3, after, 1, out);
    assert_string_equal(out, "gone:W:x:1 gone:W:x:2 ");
}

RUN(T(diff_compare__each_kind), T(diff_compare__alike_and_empty), T(diff_compare__several_of_one_subject))
