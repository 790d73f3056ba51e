// Every rule of the payload (age-encryption.org/v1: "Payload"): chunk counter, last-chunk flag, the empty
// last chunk, what may follow; and what has come out by the time it fails.
#include "age_lab.h"

#define C       AGE_CHUNK
#define PAYLOAD AGE_E_PAYLOAD

struct row {
    const char *rule;
    struct {
        int len, counter, last;
    } chunks[4];
    int n, cut, trailing; // bytes taken from the end, bytes of rubbish behind it
    int want;
    int out; // bytes that come out
};

static int decrypt_in(struct pieces_room *room, const struct strbuf *file, size_t step,
                      const struct age_keys *keys)
{
    struct pieces in = {file->p, file->len, step};
    const struct age_source source = {pieces_read, &in};
    const struct age_sink sink = {pieces_room_write, room, pieces_room};
    return age_decrypt_stream(&source, keys, &sink);
}

static void check(const struct row *rows, size_t n)
{
    static const size_t steps[] = {61, 4096, 1 << 20};
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    static uint8_t plain[4 * C];
    randombytes_buf(plain, sizeof(plain));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
            struct strbuf file = {0}, out = {0};
            uint8_t nonce[16];
            size_t at = 0;
            randombytes_buf(nonce, 16);
            lab_header(&file, "{v}{x}{end}");
            sb_add(&file, nonce, 16);
            for (int c = 0; c < rows[i].n; c++) {
                lab_chunk(&file, nonce, plain + at, (size_t)rows[i].chunks[c].len,
                          (uint64_t)rows[i].chunks[c].counter, rows[i].chunks[c].last);
                at += (size_t)rows[i].chunks[c].len;
            }
            file.len -= (size_t)rows[i].cut;
            for (int b = 0; b < rows[i].trailing; b++)
                sb_addc(&file, 'x');
            int r = lab_decrypt(&file, steps[k], &keys, &out);
            if (r != rows[i].want || out.len != (size_t)rows[i].out)
                fail_msg("%s: %s, not %s; %zu bytes came out, not %d", rows[i].rule, lab_name(r),
                         lab_name(rows[i].want), out.len, rows[i].out);
            assert_memory_equal(out.p ? out.p : "", plain, out.len);
            struct pieces_room room = {malloc(file.len), file.len, 0};
            r = decrypt_in(&room, &file, steps[k], &keys);
            if (r != rows[i].want || room.len > out.len || (r == 0 && room.len < out.len))
                fail_msg("%s: in place %s, %zu bytes", rows[i].rule, lab_name(r), room.len);
            assert_memory_equal(room.p, plain, room.len);
            free(room.p);
            sb_free(&file);
            sb_free(&out);
        }
}

// A sink that has less room than the file is long. What fills it is no chunk, also where it was sealed as
// one.
static void test_age_stream_decrypt__room_for_less_than_a_chunk(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    uint8_t nonce[16] = {0}, buf[300];
    (void)s;
    for (int last = 0; last < 2; last++) {
        struct strbuf file = {0};
        struct pieces_room room = {buf, 100 + 16, 0};
        lab_header(&file, "{v}{x}{end}");
        sb_add(&file, nonce, 16);
        lab_chunk(&file, nonce, buf, 100, 0, last);
        lab_chunk(&file, nonce, buf, 100, 1, true);
        assert_int_equal(decrypt_in(&room, &file, 1 << 20, &keys), AGE_E_PAYLOAD);
        assert_int_equal(room.len, 0);
        sb_free(&file);
    }
}

static void test_age_stream_decrypt__chunks(void **s)
{
    static const struct row rows[] = {
        {"empty", {{0, 0, 1}}, 1, 0, 0, 0, 0},
        {"a byte", {{1, 0, 1}}, 1, 0, 0, 0, 1},
        {"a chunk less a byte", {{C - 1, 0, 1}}, 1, 0, 0, 0, C - 1},
        {"a whole chunk", {{C, 0, 1}}, 1, 0, 0, 0, C},
        {"a chunk and a byte", {{C, 0, 0}, {1, 1, 1}}, 2, 0, 0, 0, C + 1},
        {"two whole chunks", {{C, 0, 0}, {C, 1, 1}}, 2, 0, 0, 0, 2 * C},
        {"three and a bit", {{C, 0, 0}, {C, 1, 0}, {C, 2, 0}, {7, 3, 1}}, 4, 0, 0, 0, 3 * C + 7},
        {"no chunk", {{0, 0, 0}}, 0, 0, 0, PAYLOAD, 0},
        {"an empty chunk that is not the last", {{0, 0, 0}}, 1, 0, 0, PAYLOAD, 0},
        {"an empty last chunk behind a whole one", {{C, 0, 0}, {0, 1, 1}}, 2, 0, 0, PAYLOAD, C},
        {"an empty last chunk behind two", {{C, 0, 0}, {C, 1, 0}, {0, 2, 1}}, 3, 0, 0, PAYLOAD, 2 * C},
        {"a short chunk without the flag", {{5, 0, 0}}, 1, 0, 0, PAYLOAD, 0},
        {"a whole chunk without the flag", {{C, 0, 0}}, 1, 0, 0, PAYLOAD, C}, // it is authentic, and not the
                                                                              // last
        {"two whole chunks without the flag", {{C, 0, 0}, {C, 1, 0}}, 2, 0, 0, PAYLOAD, 2 * C},
        {"a whole last chunk that is not the last", {{C, 0, 1}, {3, 1, 1}}, 2, 0, 0, PAYLOAD, C},
        {"a last chunk twice", {{C, 0, 1}, {C, 0, 1}}, 2, 0, 0, PAYLOAD, C},
        {"a short chunk in the middle", {{100, 0, 0}, {3, 1, 1}}, 2, 0, 0, PAYLOAD, 0},
        {"another flag", {{5, 0, 2}}, 1, 0, 0, PAYLOAD, 0},
        {"all bits of the flag", {{5, 0, 255}}, 1, 0, 0, PAYLOAD, 0},
        {"a counter that begins at one", {{5, 1, 1}}, 1, 0, 0, PAYLOAD, 0},
        {"a counter that stays", {{C, 0, 0}, {5, 0, 1}}, 2, 0, 0, PAYLOAD, C},
        {"a counter that skips", {{C, 0, 0}, {5, 2, 1}}, 2, 0, 0, PAYLOAD, C},
        {"two chunks in another order", {{C, 1, 0}, {C, 0, 0}, {5, 2, 1}}, 3, 0, 0, PAYLOAD, 0},
        {"the first chunk missing", {{C, 1, 0}, {5, 2, 1}}, 2, 0, 0, PAYLOAD, 0},
        {"a middle chunk missing", {{C, 0, 0}, {5, 2, 1}}, 2, 0, 0, PAYLOAD, C},
        {"the last byte missing", {{5, 0, 1}}, 1, 1, 0, PAYLOAD, 0},
        {"the tag missing", {{5, 0, 1}}, 1, 16, 0, PAYLOAD, 0},
        {"all but a byte missing", {{5, 0, 1}}, 1, 20, 0, PAYLOAD, 0},
        {"cut between chunks", {{C, 0, 0}, {5, 1, 1}}, 2, 21, 0, PAYLOAD, C},
        {"cut in the second chunk", {{C, 0, 0}, {5, 1, 1}}, 2, 3, 0, PAYLOAD, C},
        {"a byte of the second chunk", {{C, 0, 0}, {5, 1, 1}}, 2, 20, 0, PAYLOAD, C},
        {"a byte behind a short chunk", {{5, 0, 1}}, 1, 0, 1, PAYLOAD, 0},
        {"rubbish behind a short chunk", {{5, 0, 1}}, 1, 0, 100000, PAYLOAD, 0},
        {"a byte behind a whole last chunk", {{C, 0, 1}}, 1, 0, 1, PAYLOAD, C}, // authentic, and all that was
                                                                                // meant
        {"a tag's length behind a whole last chunk", {{C, 0, 1}}, 1, 0, 16, PAYLOAD, C},
        {"rubbish behind a whole last chunk", {{C, 0, 1}}, 1, 0, 100000, PAYLOAD, C},
        {"rubbish behind an empty file", {{0, 0, 1}}, 1, 0, 1, PAYLOAD, 0},
    };
    (void)s;
    check(rows, ARRAY_LEN(rows));
}

// The counter is big endian: chunks 255 and 256 are where another order would show.
static void test_age_stream__counter_above_a_byte(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    struct strbuf file = {0}, out = {0};
    uint8_t nonce[16] = {9};
    char *plain = calloc(1, C);
    (void)s;
    lab_header(&file, "{v}{x}{end}");
    sb_add(&file, nonce, 16);
    for (int i = 0; i < 258; i++)
        lab_chunk(&file, nonce, plain, C, (uint64_t)i, i == 257);
    assert_int_equal(lab_decrypt(&file, 1 << 20, &keys, &out), 0);
    assert_int_equal(out.len, 258 * C);
    sb_free(&file);
    sb_free(&out);
    free(plain);
}

// Every bit of nonce, ciphertext and tag counts.
static void test_age_stream_decrypt__every_bit(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    struct strbuf file = {0}, out = {0};
    uint8_t nonce[16] = {5};
    (void)s;
    lab_header(&file, "{v}{x}{end}");
    const size_t header = file.len;
    sb_add(&file, nonce, 16);
    lab_chunk(&file, nonce, "abc", 3, 0, 1);
    for (size_t i = header; i < file.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            file.p[i] = (char)(file.p[i] ^ 1 << bit);
            assert_int_equal(lab_decrypt(&file, 100, &keys, &out), PAYLOAD);
            file.p[i] = (char)(file.p[i] ^ 1 << bit);
        }
    assert_int_equal(out.len, 0);
    assert_int_equal(lab_decrypt(&file, 100, &keys, &out), 0);
    sb_free(&file);
    sb_free(&out);
}

// What we write is what the specification says, chunk by chunk, for sizes around every border and pieces of
// any size.
static void test_age_stream_encrypt__as_specified(void **s)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, C - 1, C, C + 1, 2 * C - 1, 2 * C, 2 * C + 1};
    static const size_t steps[] = {17, 4096, C, C + 1, 1 << 20};
    static uint8_t plain[2 * C + 1];
    (void)s;
    randombytes_buf(plain, sizeof(plain));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
            struct strbuf got = {0}, want = {0};
            struct pieces in = {(const char *)plain, sizes[i], steps[k]};
            const struct age_source source = {pieces_read, &in};
            const struct age_sink sink = {.write = pieces_write, .ctx = &got};
            assert_int_equal(age_stream_encrypt(&source, lab_file_key, &sink), 0);
            sb_add(&want, got.p, 16);
            size_t at = 0;
            for (uint64_t counter = 0; at < sizes[i] || counter == 0; counter++) {
                size_t n = MIN(sizes[i] - at, (size_t)C);
                lab_chunk(&want, (const uint8_t *)got.p, plain + at, n, counter, at + n == sizes[i]);
                at += n;
            }
            assert_int_equal(got.len, want.len);
            assert_memory_equal(got.p, want.p, got.len);
            sb_free(&got);
            sb_free(&want);
        }
}

static int full(void *ctx, const void *data, size_t len)
{
    (void)ctx;
    (void)data;
    (void)len;
    return -ENOSPC;
}

static void test_age_decrypt_stream__sink_fails(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    const struct age_sink sink = {.write = full, .ctx = NULL};
    struct strbuf file = {0};
    uint8_t nonce[16] = {0};
    (void)s;
    lab_header(&file, "{v}{x}{end}");
    sb_add(&file, nonce, 16);
    lab_chunk(&file, nonce, "x", 1, 0, 1);
    struct pieces in = {file.p, file.len, 100};
    const struct age_source source = {pieces_read, &in};
    assert_int_equal(age_decrypt_stream(&source, &keys, &sink), -ENOSPC);
    sb_free(&file);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, lab_setup, lab_teardown)
RUN(L(age_stream_decrypt__chunks), L(age_stream_decrypt__room_for_less_than_a_chunk),
    L(age_stream__counter_above_a_byte), L(age_stream_decrypt__every_bit),
    L(age_stream_encrypt__as_specified), L(age_decrypt_stream__sink_fails))
