#include "lock.h"
#include "str.h"
#include "unit.h"

static struct lock_plugin sample(const char *name)
{
    struct lock_plugin p = {.name = strdup(name),
                            .source = strdup("/home/m/ductile/plugins/x y"),
                            .code = strdup("/opt/ductile/locked/x/1"),
                            .entrypoint = strdup("main.py"),
                            .serial = true,
                            .locked_ms = 1700000000000};
    p.requires = calloc(1, sizeof(*p.requires));
    p.requires[p.n_requires++] = strdup("github_token");
    const struct tree_entry entries[] = {
        {.kind = TREE_DIR, .path = strdup("")},
        {.kind = TREE_EXEC, .path = strdup("main.py"), .size = 3, .hash = {1, 2, 3}},
        {.kind = TREE_FILE, .path = strdup("odd %\xff name"), .size = 0, .hash = {9}},
        {.kind = TREE_LINK, .path = strdup("l"), .target = strdup("main.py")},
    };
    for (size_t i = 0; i < ARRAY_LEN(entries); i++)
        assert_int_equal(tree_add(&p.tree, &entries[i]), 0);
    assert_int_equal(tree_seal(&p.tree), 0);
    return p;
}

static char *sample_text(void)
{
    struct lock lock = {0};
    struct lock_plugin a = sample("alpha"), b = sample("beta");
    assert_int_equal(lock_put(&lock, &a), 0);
    assert_int_equal(lock_put(&lock, &b), 0);
    char *text = lock_text(&lock);
    assert_non_null(text);
    lock_free(&lock);
    return text;
}

static void test_lock_parse__round_trip(void **s)
{
    struct lock lock;
    unsigned line;
    char *text = sample_text();
    char *copy = strdup(text);
    (void)s;
    assert_int_equal(lock_parse(copy, &lock, &line), 0);
    assert_int_equal(lock.n, 2);
    const struct lock_plugin *p = lock_find(&lock, "beta");
    assert_string_equal(p->source, "/home/m/ductile/plugins/x y");
    assert_true(p->serial);
    assert_int_equal(p->tree.n, 4);
    assert_string_equal(p->tree.list[3].path, "odd %\xff name");
    assert_string_equal(p->requires[0], "github_token");
    char *again = lock_text(&lock);
    assert_string_equal(text, again);
    free(again);
    free(copy);
    free(text);
    lock_free(&lock);
}

// Every line left out, every line doubled, every line cut: never accepted as something else, never a crash.
static void test_lock_parse__every_line_damaged(void **s)
{
    char *text = sample_text();
    unsigned lines = 0, accepted = 0;
    (void)s;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    for (unsigned way = 0; way < 3; way++)
        for (unsigned i = 0; i < lines; i++) {
            struct strbuf sb = {0};
            unsigned n = 0, where;
            for (const char *p = text; *p; n++) {
                size_t len = strcspn(p, "\n") + 1;
                if (n == i && way == 1)
                    sb_add(&sb, p, len);
                if (n == i && way == 2) {
                    sb_add(&sb, p, (len - 1) / 2);
                    sb_addc(&sb, '\n');
                } else if (n != i || way == 1)
                    sb_add(&sb, p, len);
                p += len;
            }
            char *damaged = sb_finish(&sb);
            struct lock lock;
            if (lock_parse(damaged, &lock, &where) == 0) {
                accepted++;
                lock_free(&lock);
            }
            free(damaged);
        }
    // Comments may go; `serial`, `locked` and `requires` lines may go or be doubled; all else is refused.
    assert_true(accepted < 30);
    free(text);
}

static void parse_fails(const char *text)
{
    struct lock lock;
    unsigned line = 0;
    char *copy = strdup(text);
    assert_int_equal(lock_parse(copy, &lock, &line), -EBADMSG);
    free(copy);
}

static void test_lock_parse__refuses(void **s)
{
    (void)s;
    parse_fails("");
    parse_fails("# only a comment\n");
    parse_fails("ductile-lock 2\n");
    parse_fails("plugin x\n");
    parse_fails("ductile-lock 1\nplugin x\nend\n");                  // incomplete
    parse_fails("ductile-lock 1\nplugin x\nsource /a\nsource /b\n"); // twice
    parse_fails("ductile-lock 1\nplugin a/b\nend\n");
    parse_fails("ductile-lock 1\nwhat x\n");
}

static void test_lock_parse__list_behind_its_hash(void **s)
{
    char *text = sample_text();
    char *end = strstr(text, "end\n");
    struct strbuf sb = {0};
    struct lock lock;
    unsigned line;
    (void)s;
    sb_add(&sb, text, (size_t)(end - text));
    sb_adds(&sb, "d sneaked-in\n");
    sb_adds(&sb, end);
    char *damaged = sb_finish(&sb);
    assert_int_equal(lock_parse(damaged, &lock, &line), -EBADMSG);
    free(damaged);
    free(text);
}

static void test_lock_put__replaces(void **s)
{
    struct lock lock = {0};
    struct lock_plugin a = sample("alpha"), b = sample("alpha");
    (void)s;
    b.serial = false;
    assert_int_equal(lock_put(&lock, &a), 0);
    assert_int_equal(lock_put(&lock, &b), 0);
    assert_int_equal(lock.n, 1);
    assert_false(lock.list[0].serial);
    lock_free(&lock);
}

RUN(T(lock_parse__round_trip), T(lock_parse__every_line_damaged), T(lock_parse__refuses),
    T(lock_parse__list_behind_its_hash), T(lock_put__replaces))
