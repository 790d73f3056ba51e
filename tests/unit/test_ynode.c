#include "str.h"
#include "unit.h"
#include "ynode.h"

static int parse(const char *text, struct ynode **ret, char **ret_errors)
{
    struct diags diags = {0};
    int r = yaml_parse("t.yaml", text, strlen(text), &diags, ret);
    *ret_errors = diags_text(&diags);
    diags_free(&diags);
    return r;
}

static void test_yaml_parse__positions_and_kinds(void **s)
{
    struct ynode *root = NULL;
    char *errors;
    (void)s;
    assert_int_equal(parse("a: 1\nb:\n  - x\n  - 'y'\n", &root, &errors), 0);
    assert_int_equal(root->kind, YNODE_MAP);
    const struct ynode *b = ynode_get(root, "b");
    assert_int_equal(b->n, 2);
    assert_int_equal(b->items[1]->pos.line, 4);
    assert_int_equal(b->items[1]->pos.column, 5);
    assert_false(b->items[1]->plain);
    assert_string_equal(ynode_get_text(root, "a"), "1");
    assert_null(ynode_get(root, "c"));
    ynode_free(root);
    free(errors);
}

static void refused(const char *text, const char *at, const char *word)
{
    struct ynode *root = NULL;
    char *errors;
    assert_int_equal(parse(text, &root, &errors), -EINVAL);
    assert_non_null(strstr(errors, at));
    assert_non_null(strstr(errors, word));
    free(errors);
}

static void test_yaml_parse__duplicate_key(void **s)
{
    (void)s;
    refused("a: 1\nb: 2\na: 3\n", "t.yaml:3:1", "twice");
}

static void test_yaml_parse__anchor_alias_tag(void **s)
{
    (void)s;
    refused("a: &x 1\nb: *x\n", "t.yaml:1:4", "anchors");
    refused("b: *x\n", "t.yaml:1:4", "anchors");
    refused("a: !!python/object x\n", "t.yaml:1:4", "tags");
    refused("a: !custom x\n", "t.yaml:1:4", "tags");
}

static void test_yaml_parse__second_document(void **s)
{
    (void)s;
    refused("a: 1\n---\nb: 2\n", "t.yaml:2:1", "second document");
}

static void test_yaml_parse__depth(void **s)
{
    char text[256] = "a: ";
    (void)s;
    for (int i = 0; i < 40; i++)
        strcat(text, "[");
    for (int i = 0; i < 40; i++)
        strcat(text, "]");
    refused(text, "t.yaml:1", "nested too deeply");
}

static void test_yaml_parse__syntax(void **s)
{
    (void)s;
    refused("a: [1\nb: 2\n", "t.yaml:", "");
    refused("a: \"x\n", "t.yaml:", "");
    refused("? [a]\n: b\n", "t.yaml:1", "plain word");
    refused("a: \"x\\0y\"\n", "t.yaml:1:4", "NUL");
}

static void dump(struct strbuf *sb, const struct ynode *node, size_t n)
{
    if (!node)
        return;
    sb_addf(sb, "%d@%u:%u/%d'%s'(", (int)node->kind, node->pos.line, node->pos.column, node->plain,
            node->text ? node->text : "");
    for (size_t i = 0; i < n; i++) {
        const struct ynode *below = node->kind == YNODE_MAP ? node->pairs[i].value : node->items[i];
        if (node->kind == YNODE_MAP)
            sb_addf(sb, "%s@%u:%u=", node->pairs[i].key, node->pairs[i].pos.line, node->pairs[i].pos.column);
        dump(sb, below, below ? below->n : 0);
    }
    sb_addc(sb, ')');
}

// What comments say is not given to libyaml, but where something is quoted. So: with a quoted value at the
// end it is the same, positions too; and a line that looks like a comment within a scalar is none.
static void test_yaml_parse__comments(void **s)
{
    static const char *const rows[] = {
        "a: 1\n# c\nb: 2\n",
        "# it's \"one\" | > of\n#\n  # indented: x\na:\n  # below\n  - x\n\t# with a tab\n  - y\n",
        "a: [1,\n  # in a list\n  2]\nb: {x: 1,\n# in a map\n  y: 2}\n",
        "a: one\n  two\nb: one\n  # ends it\nc: 3\n",
        "a: one\n  # ends it\n  two\n",
        "a: x#y\nb: x # behind\n#c: 3\nd: 4\n",
        "# \xc3\xa4\na: 1\n# c\r\nb: 2\r\n",
        "# c\na: 1\n# c\na: 2\n",
        "# \xff\na: 1\n",
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ynode *bare = NULL, *whole = NULL;
        struct strbuf one = {0}, other = {0};
        char *errors, *same;
        OWNED(freep) char *quoted = NULL;
        assert_true(asprintf(&quoted, "%szz: 'q'\n", rows[i]) > 0);
        int r = parse(rows[i], &bare, &errors);
        assert_int_equal(parse(quoted, &whole, &same), r);
        assert_string_equal(errors, same);
        dump(&one, bare, bare ? bare->n : 0);
        dump(&other, whole, whole ? whole->n - 1 : 0);
        if (r == 0)
            assert_string_equal(one.p, other.p);
        ynode_free(bare);
        ynode_free(whole);
        sb_free(&one);
        sb_free(&other);
        free(errors);
        free(same);
    }
    static const char *const within[] = {"a: |\n  # kept\n", "a: >-\n  # kept\n", "a: \"\n  # kept\"\n",
                                         "a: '\n  # kept'\n"};
    for (size_t i = 0; i < ARRAY_LEN(within); i++) {
        struct ynode *root = NULL;
        char *errors;
        assert_int_equal(parse(within[i], &root, &errors), 0);
        assert_non_null(strstr(ynode_get_text(root, "a"), "# kept"));
        ynode_free(root);
        free(errors);
    }
}

static void test_yaml_parse__empty(void **s)
{
    struct ynode *root = NULL;
    char *errors;
    (void)s;
    assert_int_equal(parse("# nothing\n", &root, &errors), 0);
    assert_null(root);
    free(errors);
}

static enum yscalar kind_of(const char *text)
{
    const struct ynode n = {.text = (char *)text, .plain = true};
    return ynode_scalar(&n);
}

static void test_ynode_scalar__core_schema(void **s)
{
    (void)s;
    assert_int_equal(kind_of("true"), YSCALAR_BOOL);
    assert_int_equal(kind_of("yes"), YSCALAR_STRING); // not in the core schema
    assert_int_equal(kind_of("~"), YSCALAR_NULL);
    assert_int_equal(kind_of(""), YSCALAR_NULL);
    assert_int_equal(kind_of("-12"), YSCALAR_INT);
    assert_int_equal(kind_of("1.5e3"), YSCALAR_FLOAT);
    assert_int_equal(kind_of("1.2.3"), YSCALAR_STRING);
    assert_int_equal(kind_of("-"), YSCALAR_STRING);
    const struct ynode quoted = {.text = (char *)"true", .plain = false};
    assert_int_equal(ynode_scalar(&quoted), YSCALAR_STRING);
}

static void test_ynode_merge__maps_lists_scalars(void **s)
{
    struct ynode *a = NULL, *b = NULL;
    struct diags diags = {0};
    char *errors;
    (void)s;
    assert_int_equal(parse("m: {x: 1, y: 2}\nl: [1]\ns: old\nn:\n", &a, &errors), 0);
    free(errors);
    assert_int_equal(parse("m: {y: 3, z: 4}\nl: [2, 3]\ns: new\nn: {q: 1}\n", &b, &errors), 0);
    free(errors);
    assert_int_equal(ynode_merge(&a, b, "", &diags), 0);
    assert_string_equal(ynode_get_text(ynode_get(a, "m"), "x"), "1");
    assert_string_equal(ynode_get_text(ynode_get(a, "m"), "y"), "3");
    assert_string_equal(ynode_get_text(ynode_get(a, "m"), "z"), "4");
    assert_int_equal(ynode_get(a, "l")->n, 3);
    assert_string_equal(ynode_get_text(a, "s"), "new");
    assert_string_equal(ynode_get_text(ynode_get(a, "n"), "q"), "1");
    ynode_free(a);
    diags_free(&diags);
}

static void test_ynode_merge__other_kind(void **s)
{
    struct ynode *a = NULL, *b = NULL;
    struct diags diags = {0};
    char *errors;
    (void)s;
    assert_int_equal(parse("m: {x: 1}\n", &a, &errors), 0);
    free(errors);
    assert_int_equal(parse("m: [1]\n", &b, &errors), 0);
    free(errors);
    assert_int_equal(ynode_merge(&a, b, "", &diags), -EINVAL);
    assert_int_equal(diags.n, 1);
    assert_string_equal(diags.list[0].path, "m");
    ynode_free(a);
    diags_free(&diags);
}

RUN(T(yaml_parse__positions_and_kinds), T(yaml_parse__comments), T(yaml_parse__duplicate_key),
    T(yaml_parse__anchor_alias_tag), T(yaml_parse__second_document), T(yaml_parse__depth),
    T(yaml_parse__syntax), T(yaml_parse__empty), T(ynode_scalar__core_schema),
    T(ynode_merge__maps_lists_scalars), T(ynode_merge__other_kind))
