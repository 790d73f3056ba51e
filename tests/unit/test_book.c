// needs: ductile-run/ctl/book.c
#include "../../ductile-run/ctl/book.h"
#include "unit.h"
#include <sodium.h>

static const struct book_speakers who = {7, 8, "/bin/run", "/bin/bus"};
static struct chain_walk head;
static uint8_t hashes[32][CHAIN_HASH_LEN];

static int setup(void **s)
{
    memset(&head, 0, sizeof(head));
    *s = book_new();
    return *s ? 0 : -1;
}

static int teardown(void **s)
{
    book_free(*s);
    return 0;
}

static void row(struct book *b, const char *kind, const char *subject, const char *detail)
{
    struct chain_fact f = {.seq = head.seq + 1,
                           .at_ms = 1000 * (head.seq + 1),
                           .actor = "ductile-run",
                           .uid = 7,
                           .kind = kind,
                           .subject = subject,
                           .detail = detail};
    memcpy(f.prev, head.hash, sizeof(f.prev));
    chain_hash(&f, head.hash);
    head.seq++;
    memcpy(hashes[head.seq], head.hash, CHAIN_HASH_LEN);
    assert_int_equal(book_row(b, &f, head.hash), 0);
}

static int line_of(struct book *b, uid_t uid, const char *exe, const char *message)
{
    return book_line(b, &who, &(struct book_line){uid, exe, message, 1500});
}

#define MSG(text)      "level=info program=ductile-run msg=\"" text "\""
#define LEFT(seq, job) MSG("audit secret.delivered p " seq " {\\\"job\\\":" job ",\\\"attempt\\\":1}")
#define DETAIL(job)    "{\"job\":" job ",\"attempt\":1}"

static int say(struct book *b, const char *message)
{
    return line_of(b, 7, "/bin/run", message);
}

static int say_head(struct book *b, int64_t seq, const uint8_t *hash)
{
    char hex[65], text[256];
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    snprintf(text, sizeof(text), "level=info program=ductile-bus msg=\"audit head %lld %s\"", (long long)seq,
             hex);
    return line_of(b, 8, "/bin/bus", text);
}

// Exactly these findings, each "ROW WORD".
static void finds(struct book *b, size_t n, int64_t seq, const char *word)
{
    assert_int_equal(book_compare(b), 0);
    const struct book_sum sum = book_sum(b);
    if (json_array_size(sum.findings) != n)
        json_dumpf(sum.findings, stderr, 0);
    assert_int_equal(json_array_size(sum.findings), n);
    if (n == 0)
        return;
    const json_t *f = json_array_get(sum.findings, 0);
    assert_int_equal(json_integer_value(json_object_get(f, "row")), seq);
    if (!strstr(json_string_value(json_object_get(f, "what")), word))
        print_message("# %s\n", json_string_value(json_object_get(f, "what")));
    assert_non_null(strstr(json_string_value(json_object_get(f, "what")), word));
}

static void test_book_compare__the_same(void **s)
{
    struct book *b = *s;
    row(b, "service.started", "ductile", "{}");
    row(b, "secret.delivered", "p", DETAIL("5"));
    assert_int_equal(say(b, LEFT("2", "5")), 1);
    assert_int_equal(say_head(b, 2, hashes[2]), 1);
    finds(b, 0, 0, NULL);
    assert_int_equal(book_sum(b).deliveries, 1);
}

static void test_book_compare__left_and_is_not_in_the_book(void **s)
{
    struct book *b = *s;
    row(b, "service.started", "ductile", "{}");
    assert_int_equal(say(b, LEFT("2", "5")), 1);
    finds(b, 1, 2, "is cut off");
}

static void test_book_compare__another_row_stands_there(void **s)
{
    struct book *b = *s;
    row(b, "service.started", "ductile", "{}");
    assert_int_equal(say(b, LEFT("1", "5")), 1);
    finds(b, 1, 1, "missing, or something else");
}

static void test_book_compare__says_something_else(void **s)
{
    struct book *b = *s;
    row(b, "secret.delivered", "p", DETAIL("6"));
    assert_int_equal(say(b, LEFT("1", "5")), 1);
    finds(b, 1, 1, "something else than left");
}

static void test_book_compare__one_row_for_two(void **s)
{
    struct book *b = *s;
    row(b, "secret.delivered", "p", DETAIL("5"));
    assert_int_equal(say(b, LEFT("1", "5")), 1);
    assert_int_equal(say(b, LEFT("1", "5")), 1);
    finds(b, 1, 1, "two deliveries");
}

static void test_book_compare__written_and_not_seen(void **s)
{
    struct book *b = *s;
    row(b, "service.started", "ductile", "{}");
    assert_int_equal(say_head(b, 1, hashes[1]), 1);
    row(b, "secret.delivered", "p", DETAIL("5"));
    finds(b, 1, 2, "not seen to leave");
}

static void test_book_compare__written_too_late_and_refused(void **s)
{
    struct book *b = *s;
    row(b, "service.started", "ductile", "{}");
    assert_int_equal(say_head(b, 1, hashes[1]), 1);
    row(b, "secret.delivered", "p", DETAIL("5"));
    row(b, "secret.denied", "p", "{\"job\":5,\"attempt\":1,\"reason\":\"audit\"}");
    finds(b, 0, 0, NULL);
    assert_int_equal(book_sum(b).withdrawn, 1);
}

static void test_book_compare__older_than_the_journal(void **s)
{
    struct book *b = *s;
    row(b, "secret.delivered", "p", DETAIL("5"));
    row(b, "service.started", "ductile", "{}");
    assert_int_equal(say_head(b, 2, hashes[2]), 1);
    finds(b, 0, 0, NULL);
    assert_int_equal(book_sum(b).older, 1);
}

static void test_book_compare__heads(void **s)
{
    struct book *b = *s;
    uint8_t other[CHAIN_HASH_LEN] = {1};
    row(b, "service.started", "ductile", "{}");
    row(b, "service.stopped", "ductile", "{}");
    assert_int_equal(say_head(b, 3, hashes[2]), 1);
    finds(b, 1, 3, "cut off");
    setup(s);
    book_free(b);
    b = *s;
    row(b, "service.started", "ductile", "{}");
    assert_int_equal(say_head(b, 1, other), 1);
    finds(b, 1, 1, "was exchanged");
}

// A plugin writes what it likes into the journal, under its own uid or as its own program.
static void test_book_line__only_of_ours(void **s)
{
    static const struct {
        uid_t uid;
        const char *exe, *message;
    } forged[] = {
        {9, "/bin/run", LEFT("1", "5")},
        {0, "/bin/run", LEFT("1", "5")},
        {7, "/usr/bin/python3", LEFT("1", "5")},
        {7, "", LEFT("1", "5")},
        {8, "/bin/bus", LEFT("1", "5")}, // the bus does not speak of deliveries
        {7, "/bin/run", "audit secret.delivered p 1 {\"job\":5}"},
        {7, "/bin/run", "x " LEFT("1", "5")},
        {7, "/bin/run", MSG("a plugin said: audit secret.delivered p 1 {}")},
        {7, "/bin/run", MSG("audit secret.delivered p")},
        {7, "/bin/run", MSG("audit secret.delivered p x {}")},
        {7, "/bin/run", MSG("audit secret.denied p 0 {}")},
        {7, "/bin/run", "level=info program=ductile-run msg=not-json"},
    };
    struct book *b = *s;
    row(b, "service.started", "ductile", "{}");
    for (size_t i = 0; i < ARRAY_LEN(forged); i++)
        assert_int_equal(line_of(b, forged[i].uid, forged[i].exe, forged[i].message), 0);
    finds(b, 0, 0, NULL);
    assert_int_equal(book_sum(b).lines, 0);
}

static void test_book_row__names_the_first_bad_one(void **s)
{
    struct book *b = *s;
    row(b, "service.started", "ductile", "{}");
    head.seq++; // one is skipped
    row(b, "service.stopped", "ductile", "{}");
    finds(b, 1, 2, "is missing");
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(book_compare__the_same), L(book_compare__left_and_is_not_in_the_book),
    L(book_compare__another_row_stands_there), L(book_compare__says_something_else),
    L(book_compare__one_row_for_two), L(book_compare__written_and_not_seen),
    L(book_compare__written_too_late_and_refused), L(book_compare__older_than_the_journal),
    L(book_compare__heads), L(book_line__only_of_ours), L(book_row__names_the_first_bad_one))
