#include "fd.h"
#include "str.h"
#include "token.h"
#include "unit.h"
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>

#define ONE "one-0123456789abcdef0123456789abcdef"
#define TWO "two-0123456789abcdef0123456789abcdef"

static int add(struct token_table *t, uint32_t i, const char *value, int64_t until)
{
    return token_add(t, i, (const uint8_t *)value, strlen(value), until);
}

static int find(const struct token_table *t, const char *value, int64_t now)
{
    return token_find(t, value, strlen(value), now);
}

static void test_token_rights__scopes(void **s)
{
    (void)s;
    assert_int_equal(token_rights("plugin:ro"), TOKEN_PLUGIN_READ);
    assert_int_equal(token_rights("plugin:rw"), TOKEN_PLUGIN_READ | TOKEN_PLUGIN_WRITE);
    assert_int_equal(token_rights("jobs:rw"), TOKEN_JOBS_READ | TOKEN_JOBS_WRITE);
    assert_int_equal(token_rights("*"), TOKEN_ALL);
    static const char *const none[] = {"",           "plugin", "plugin:", "plugin:RO",
                                       "plugin:ro ", "job:ro", "**",      "all"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(token_rights(none[i]), 0);
    // only the star has what has no scope of its own
    assert_int_equal(
        (token_rights("plugin:rw") | token_rights("jobs:rw") | token_rights("events:rw")) & TOKEN_ADMIN, 0);
}

static void test_token_scope_of__each_right(void **s)
{
    (void)s;
    assert_string_equal(token_scope_of(TOKEN_PLUGIN_READ), "plugin:ro");
    assert_string_equal(token_scope_of(TOKEN_EVENTS_WRITE), "events:rw");
    assert_string_equal(token_scope_of(TOKEN_ADMIN), "*");
    assert_string_equal(token_scope_of(TOKEN_JOBS_READ | TOKEN_EVENTS_READ), "*"); // no other has both
    assert_string_equal(token_scope_of(TOKEN_ALL + 1), "*");
    for (unsigned right = 1; right < TOKEN_ALL; right <<= 1)
        assert_int_equal(token_rights(token_scope_of(right)) & right, right);
}

static void test_token_find__values(void **s)
{
    struct token_table t;
    char cut[] = ONE, longer[] = ONE "x";
    (void)s;
    token_begin(&t);
    assert_int_equal(find(&t, ONE, 0), -EACCES); // nobody, before there is anybody
    assert_int_equal(find(&t, "", 0), -EACCES);
    assert_int_equal(add(&t, 0, ONE, 0), 0);
    assert_int_equal(add(&t, 3, TWO, 0), 0);
    assert_int_equal(find(&t, ONE, 5), 0);
    assert_int_equal(find(&t, TWO, 5), 3);
    cut[strlen(cut) - 1] = '\0';
    assert_int_equal(find(&t, cut, 5), -EACCES);
    assert_int_equal(find(&t, longer, 5), -EACCES);
    cut[0] ^= 1;
    assert_int_equal(find(&t, cut, 5), -EACCES);
    assert_int_equal(token_find(&t, ONE "\0", strlen(ONE) + 1, 5), -EACCES);
}

static void test_token_find__until(void **s)
{
    struct token_table t;
    (void)s;
    token_begin(&t);
    assert_int_equal(add(&t, 0, ONE, 100), 0);
    assert_int_equal(add(&t, 0, TWO, 0), 0);
    assert_int_equal(find(&t, ONE, 99), 0);
    assert_int_equal(find(&t, ONE, 100), -EACCES);
    assert_int_equal(find(&t, TWO, 100), 0);
}

static void test_token_add__refused(void **s)
{
    struct token_table t;
    char value[LIMIT_TOKEN_MAX + 2];
    (void)s;
    token_begin(&t);
    memset(value, 'a', sizeof(value));
    assert_int_equal(token_add(&t, 0, (uint8_t *)value, 0, 0), -EMSGSIZE);
    assert_int_equal(token_add(&t, 0, (uint8_t *)value, LIMIT_TOKEN_MIN - 1, 0), -EMSGSIZE);
    assert_int_equal(token_add(&t, 0, (uint8_t *)value, LIMIT_TOKEN_MAX + 1, 0), -EMSGSIZE);
    for (const char *c = " \t\n\r\x7f\x80\x01"; *c; c++) {
        value[7] = *c;
        assert_int_equal(token_add(&t, 0, (uint8_t *)value, LIMIT_TOKEN_MIN, 0), -EILSEQ);
    }
    assert_int_equal(t.n, 0);
    value[7] = 'b';
    for (unsigned i = 0; i < ARRAY_LEN(t.rows); i++)
        assert_int_equal(token_add(&t, 0, (uint8_t *)value, LIMIT_TOKEN_MIN, 0), 0);
    assert_int_equal(token_add(&t, 0, (uint8_t *)value, LIMIT_TOKEN_MIN, 0), -E2BIG);
}

// Two tables of the same values have nothing in common, and neither holds a value.
static void test_token_begin__fresh_key(void **s)
{
    struct token_table t, u;
    (void)s;
    token_begin(&t);
    token_begin(&u);
    assert_int_equal(add(&t, 0, ONE, 0), 0);
    assert_int_equal(add(&u, 0, ONE, 0), 0);
    assert_memory_not_equal(t.rows[0].hash, u.rows[0].hash, TOKEN_HASH_LEN);
    assert_null(memmem(&t, sizeof(t), ONE, 8));
}

static void test_token_load__flaws(void **s)
{
    struct token_table t, got = {.n = 77};
    (void)s;
    token_begin(&t);
    assert_int_equal(add(&t, 1, ONE, 0), 0);
    OWNED(fd_closep) int good = token_save(&t);
    assert_int_equal(token_load(good, 1, &got), -EBADMSG); // a token that the reader's config lacks
    assert_int_equal(got.n, 77);
    assert_int_equal(token_load(good, 2, &got), 0);
    assert_int_equal(find(&got, ONE, 1), 1);
    OWNED(fd_closep) int loose = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(loose, &t, sizeof(t)), sizeof(t));
    assert_int_equal(token_load(loose, 2, &got), -EPERM);
    OWNED(fd_closep) int cut = fd_sealed("t", &t, sizeof(t) - 1);
    assert_int_equal(token_load(cut, 2, &got), -EBADMSG);
    t.n = ARRAY_LEN(t.rows) + 1;
    OWNED(fd_closep) int many = token_save(&t);
    assert_int_equal(token_load(many, 2, &got), -EBADMSG);
}

RUN(T(token_rights__scopes), T(token_scope_of__each_right), T(token_find__values), T(token_find__until),
    T(token_add__refused), T(token_begin__fresh_key), T(token_load__flaws))
