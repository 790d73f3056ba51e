#include "vault_lab.h"
#include <sys/mman.h>

// Twenty megabytes of arena are more than root may lock on a host that keeps it to 8 MiB. It is the document
// that is tested here; that its memory is locked, or refused, is test_secret's and 29-locked's.
int mlock2(const void *addr, size_t len, unsigned flags)
{
    (void)addr;
    (void)len;
    (void)flags;
    return 0;
}

static void with_arena(size_t size)
{
    secret_arena_close();
    assert_int_equal(secret_arena_open(size), 0);
}

static int parse(const char *text, size_t len, struct vault *v)
{
    struct secret plain;
    assert_int_equal(secret_copy(text, len, &plain), 0);
    int r = vault_parse(&plain, v);
    assert_null(plain.data); // it is the vault's now
    return r;
}

// A vault with n secrets and principals, by its text: adding them one by one looks through all each time.
static void fill(struct vault *v, int secrets, int principals)
{
    struct strbuf sb = {0};
    sb_adds(
        &sb,
        "{\"format\":\"ductile.vault/1\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9,"
        "\"principals\":{");
    for (int i = 0; i < principals; i++)
        sb_addf(&sb, "%s\"p%d\":{\"kind\":\"plugin\",\"status\":\"active\",\"created_ms\":1}", i ? "," : "",
                i);
    sb_adds(&sb, "},\"secrets\":{");
    for (int i = 0; i < secrets; i++)
        sb_addf(
            &sb,
            "%s\"s%d\":{\"value\":\"a-value\",\"pattern\":\"auto\",\"status\":\"active\",\"created_ms\":1,"
            "\"updated_ms\":1,\"grants\":[{\"principal\":\"p0\",\"as\":\"s%d\"}]}",
            i ? "," : "", i, i);
    sb_adds(&sb, "}}");
    OWNED(freep) char *text = sb_finish(&sb);
    assert_non_null(text);
    assert_int_equal(parse(text, strlen(text), v), 0);
}

// 10,000 secrets and 1,000 principals are written and read again, and not one more is taken.
static void test_vault_serialise__as_many_as_there_may_be(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    struct refusal refusal;
    const struct secret value = {(uint8_t *)"a-value", 7};
    with_arena(vault_arena_size(LIMIT_VAULT_TEXT));
    assert_int_equal(vault_new(lab->config->age_key_file, &v, &refusal), 0);
    fill(&v, LIMIT_SECRETS - 1, LIMIT_PRINCIPALS - 1);
    assert_int_equal(vault_add_principal(&v, "last", PRINCIPAL_PLUGIN), 0);
    assert_int_equal(vault_add_principal(&v, "one-more", PRINCIPAL_PLUGIN), -E2BIG);
    assert_int_equal(vault_set_secret(&v, "last", &value, PATTERN_AUTO), 0);
    assert_int_equal(vault_set_secret(&v, "one-more", &value, PATTERN_AUTO), -E2BIG);
    lab_save(lab, &v);
    vault_close(&v);
    lab_open(lab, &v);
    assert_int_equal(v.n_secrets, LIMIT_SECRETS);
    assert_int_equal(v.n_principals, LIMIT_PRINCIPALS);
    assert_string_equal(vault_secret(&v, "s9998")->grants[0].as, "s9998");
    vault_close(&v);
}

// Over 4 MiB it is refused, and the vault on the disk stays what it was.
static void test_vault_serialise__not_over_its_limit(void **s)
{
    struct lab *lab = *s;
    struct vault v;
    struct refusal refusal;
    char name[LIMIT_NAME];
    struct secret value;
    with_arena(vault_arena_size(LIMIT_VAULT_TEXT));
    assert_int_equal(secret_new(LIMIT_SECRET_VALUE, &value), 0);
    memset(value.data, 'v', value.len);
    lab_open(lab, &v);
    for (int i = 0; i < LIMIT_VAULT_TEXT / LIMIT_SECRET_VALUE; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(vault_set_secret(&v, name, &value, PATTERN_MANUAL), 0);
    }
    assert_int_equal(vault_save(&v, lab->config, &refusal), -ECANCELED);
    assert_non_null(strstr(refusal.why, "4 MiB"));
    assert_int_equal(vault_remove_secret(&v, "s0"), 1);
    assert_int_equal(vault_remove_secret(&v, "s1"), 1);
    lab_save(lab, &v); // just below
    vault_close(&v);
    secret_wipe(&value);
    lab_open(lab, &v);
    assert_int_equal(v.n_secrets, LIMIT_VAULT_TEXT / LIMIT_SECRET_VALUE - 2);
    vault_close(&v);
}

static void test_vault_parse__strict(void **s)
{
#define HEAD                                                                                                 \
    "{\"format\":\"ductile.vault/1\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9,"
#define SECRET(more, grants)                                                                                       \
    HEAD                                                                                                           \
        "\"principals\":{\"p\":{\"kind\":\"plugin\",\"status\":\"active\",\"created_ms\":1}},\"secrets\":{\"s\":{" \
        "\"value\":\"v\",\"pattern\":\"manual\",\"status\":\"active\",\"created_ms\":1,\"updated_ms\":1" more      \
        ",\"grants\":[" grants "]}}}"
#define PRINCIPAL "\"p\":{\"kind\":\"plugin\",\"status\":\"active\",\"created_ms\":1}"
#define NAMED_SECRET(name, grants)                                                                           \
    "\"" name "\":{\"grants\":[" grants "],\"value\":\"v\",\"pattern\":\"manual\",\"status\":\"active\","    \
    "\"created_ms\":1,\"updated_ms\":1}"
#define NAMED     NAMED_SECRET("s", "")
#define GRANTED   NAMED_SECRET("s", "{\"principal\":\"p\",\"as\":\"n\"}")
#define SAME_NAME NAMED_SECRET("t", "{\"as\":\"n\",\"principal\":\"p\"}")
    static const struct {
        const char *text;
        int result;
    } rows[] = {
        {SECRET("", ""), 0},
        {SECRET(",\"expires_ms\":5,\"rotate_every_ms\":6,\"previous\":\"w\",\"previous_until_ms\":7", ""), 0},
        {SECRET(",\"expires_ms\":0", ""), -EBADMSG},
        {SECRET(",\"expires_ms\":\"5\"", ""), -EBADMSG},
        {SECRET(",\"expires_ms\":-5", ""), -EBADMSG},
        {SECRET(",\"previous\":\"w\"", ""), -EBADMSG},
        {SECRET(",\"previous_until_ms\":7", ""), -EBADMSG},
        {SECRET(",\"previous\":3,\"previous_until_ms\":7", ""), -EBADMSG},
        {SECRET(",\"unknown\":1", ""), -EBADMSG},
        {SECRET("", "{\"principal\":\"p\",\"as\":\"s\"}"), 0},
        {SECRET("", "{\"principal\":\"q\",\"as\":\"s\"}"), -EBADMSG},
        {SECRET("", "{\"principal\":\"p\",\"as\":\"S\"}"), -EBADMSG},
        {SECRET("", "{\"principal\":\"p\",\"as\":\"s\"},{\"principal\":\"p\",\"as\":\"s\"}"), -EBADMSG},
        {HEAD "\"principals\":{},\"secrets\":{},\"recovery_recipients\":[]}", 0},
        {HEAD "\"principals\":{},\"secrets\":{},\"recovery_recipients\":[\"age1x\"]}", -EBADMSG},
        {HEAD "\"principals\":{},\"secrets\":{},\"recovery_recipients\":{}}", -EBADMSG},
        {HEAD "\"principals\":{},\"secrets\":{\"S\":{}}}", -EBADMSG},
        {HEAD "\"principals\":{},\"secrets\":{}} ", 0},
        {HEAD "\"principals\":{},\"secrets\":{}}x", -EBADMSG},
        {HEAD "\"principals\":{},\"secrets\":{},\"secrets\":{}}", -EBADMSG},
        {HEAD "\"principals\":{}}", -EBADMSG},
        {HEAD "\"secrets\":{}}", -EBADMSG},
        {HEAD "\"principals\":{},\"secrets\":{},\"more\":1}", -EBADMSG},
        {"[]", -EBADMSG},
        {"", -EBADMSG},
        {SECRET("", "{\"principal\":\"p\",\"as\":\"s\",\"more\":1}"), -EBADMSG},
        {SECRET("", "{\"principal\":\"p\"}"), -EBADMSG},
        {SECRET("", "{\"principal\":\"p\",\"as\":\"s\"},{\"principal\":\"p\",\"as\":\"t\"}"), 0},
        {SECRET("", "{\"principal\":\"p\",\"as\":\"s\"},"), -EBADMSG},
        {SECRET(",\"created_ms\":1", ""), -EBADMSG},
        {SECRET(",\"expires_ms\":5.0", ""), -EBADMSG},
        {HEAD "\"principals\":{" PRINCIPAL "," PRINCIPAL "},\"secrets\":{}}", -EBADMSG},
        {HEAD "\"principals\":{},\"secrets\":{" NAMED "," NAMED "}}", -EBADMSG},
        {HEAD "\"secrets\":{" GRANTED "},\"principals\":{" PRINCIPAL "}}", 0}, // in any order
        {HEAD "\"secrets\":{" GRANTED "," SAME_NAME "},\"principals\":{" PRINCIPAL "}}", -EBADMSG},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vault v = {0};
        int r = parse(rows[i].text, strlen(rows[i].text), &v);
        if (r != rows[i].result)
            print_error("row %zu: %s\n", i, rows[i].text);
        assert_int_equal(r, rows[i].result);
        vault_close(&v);
    }
}

// What stands as we write it is read faster. So: the same with a space before any one byte outside of
// strings, which is read member by member, is the same vault; and cut off anywhere it is none.
static void as_written_or_not(const char *pattern)
{
    static const char written[] =
        SECRET(",\"expires_ms\":5,\"rotate_every_ms\":6,\"previous\":\"w\",\"previous_until_ms\":7",
               "{\"principal\":\"p\",\"as\":\"s\"},{\"principal\":\"p\",\"as\":\"t\"}");
    char text[sizeof(written) + 8], spaced[sizeof(written) + 9];
    struct secret want, got;
    struct vault v = {0};
    const char *at = strstr(written, "manual");
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - written), written, pattern, at + strlen("manual"));
    const size_t len = strlen(text);
    assert_int_equal(parse(text, len, &v), 0);
    assert_int_equal(vault_serialise(&v, &want), 0);
    assert_int_equal(want.len, len + 1); // and a newline
    assert_memory_equal(want.data, text, len);
    vault_close(&v);
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(parse(text, i, &v), -EBADMSG);
        vault_close(&v);
        const bool word = strchr("0123456789", text[i]) && i > 0 && strchr("0123456789", text[i - 1]);
        if (!in_string && !word) {
            memcpy(spaced, text, i);
            spaced[i] = ' ';
            memcpy(spaced + i + 1, text + i, len + 1 - i);
            if (parse(spaced, len + 1, &v) != 0)
                fail_msg("not taken: %s", spaced);
            assert_int_equal(vault_serialise(&v, &got), 0);
            assert_int_equal(got.len, want.len);
            assert_memory_equal(got.data, want.data, want.len);
            secret_wipe(&got);
            vault_close(&v);
        }
        in_string ^= text[i] == '"';
    }
    secret_wipe(&want);
}

static void test_vault_parse__as_written_or_not(void **s)
{
    (void)s;
    as_written_or_not("manual");
    as_written_or_not("auto");
}

// Lists are made for all that a text may hold: of the shortest principals, secrets and grants there are, a
// thousand of each.
static void test_vault_parse__the_shortest_of_each(void **s)
{
#define NAME(i)                                                                                              \
    "0123456789abcdefghijklmnopqrstuvwxyz"[(i) / 36], "0123456789abcdefghijklmnopqrstuvwxyz"[(i) % 36]
    enum { MANY = LIMIT_PRINCIPALS };
    (void)s;
    for (int which = 0; which < 3; which++) {
        const int principals = which == 0 ? MANY : 1, secrets = which == 1 ? MANY : 1,
                  grants = which == 2 ? MANY : 0;
        struct strbuf sb = {0};
        struct vault v = {0};
        sb_adds(&sb, HEAD "\"principals\":{");
        for (int i = 0; i < principals; i++)
            sb_addf(&sb, "%s\"%c%c\":{\"kind\":\"core\",\"status\":\"active\",\"created_ms\":0}",
                    i ? "," : "", NAME(i));
        sb_adds(&sb, "},\"secrets\":{");
        for (int i = 0; i < secrets; i++) {
            sb_addf(&sb,
                    "%s\"%c%c\":{\"value\":\"\",\"pattern\":\"auto\",\"status\":\"active\",\"created_ms\":0,"
                    "\"updated_ms\":0,\"grants\":[",
                    i ? "," : "", NAME(i));
            for (int j = 0; j < grants; j++)
                sb_addf(&sb, "%s{\"principal\":\"00\",\"as\":\"%c%c\"}", j ? "," : "", NAME(j));
            sb_adds(&sb, "]}");
        }
        sb_adds(&sb, "}}");
        assert_int_equal(parse(sb.p, sb.len, &v), 0);
        assert_int_equal(v.n_principals, principals);
        assert_int_equal(v.n_secrets, secrets);
        assert_int_equal(v.n_grants, grants);
        vault_close(&v);
        sb_free(&sb);
    }
}

// Each member of the head, of another form.
static void test_vault_parse__head(void **s)
{
    static const char *const bad[] = {
        "\"format\":\"ductile.vault/2\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9",
        "\"format\":1,\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9",
        "\"format\":\"ductile.vault/1\",\"vault_id\":\"0000000000000000000000000000000\",\"generation\":9",
        "\"format\":\"ductile.vault/1\",\"vault_id\":\"0000000000000000000000000000000G\",\"generation\":9",
        "\"format\":\"ductile.vault/1\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":0",
        "\"format\":\"ductile.vault/1\",\"vault_id\":\"00000000000000000000000000000000\",\"generation\":\"9\"",
        "\"vault_id\":\"00000000000000000000000000000000\",\"generation\":9",
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct vault v = {0};
        OWNED(freep) char *text = NULL;
        assert_true(asprintf(&text, "{%s,\"principals\":{},\"secrets\":{}}", bad[i]) > 0);
        if (parse(text, strlen(text), &v) != -EBADMSG)
            fail_msg("taken: %s", bad[i]);
        vault_close(&v);
    }
}

RUN(L(vault_serialise__as_many_as_there_may_be), L(vault_serialise__not_over_its_limit),
    L(vault_parse__strict), L(vault_parse__as_written_or_not), L(vault_parse__the_shortest_of_each),
    L(vault_parse__head))
