// The payload: an input is a size and a list of damages. What is not as it was written is refused, and what
// came out by then is whole chunks of what went in.
#include "lab.h"

static const uint8_t file_key[] = "kkkkkkkkkkkkkkkk";
static uint8_t plain[3 * AGE_CHUNK + 100];

static uint32_t always(void)
{
    return 0x01010101;
}

static void fill(void *const buf, const size_t size)
{
    memset(buf, 7, size); // the same nonce each time: a finding can be run again
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static struct randombytes_implementation fixed;
    (void)argc;
    (void)argv;
    fixed.implementation_name = (void *)0;
    fixed.random = always;
    fixed.buf = fill;
    randombytes_set_implementation(&fixed);
    lab_open(1 << 20);
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 31 + i / AGE_CHUNK);
    return 0;
}

// Whole chunks, and behind them a last one that is empty, each as authentic as can be.
static void empty_last(struct strbuf *s, size_t whole)
{
    static uint8_t sealed[AGE_CHUNK + AGE_TAG_LEN];
    uint8_t key[32], nonce[12] = {0};

    s->len = AGE_NONCE_LEN;
    age_hkdf(file_key, AGE_FILE_KEY_LEN, s->p, AGE_NONCE_LEN, "payload", key);
    for (size_t i = 0; i <= whole; i++) {
        const size_t n = i < whole ? AGE_CHUNK : 0;
        nonce[10] = (uint8_t)i;
        nonce[11] = i == whole;
        crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, plain + i * AGE_CHUNK, n, NULL, 0, NULL,
                                                  nonce, key);
        sb_add(s, sealed, n + AGE_TAG_LEN);
    }
}

static void damage(struct strbuf *s, const uint8_t op[static 4])
{
    const size_t sealed = AGE_CHUNK + AGE_TAG_LEN,
                 at = s->len ? (size_t)(op[1] << 16 | op[2] << 8 | op[3]) % s->len : 0;
    const size_t chunk = AGE_NONCE_LEN + op[1] % 4 * sealed,
                 n = s->len > chunk ? MIN(sealed, s->len - chunk) : 0;

    switch (op[0] % 8) {
    case 0: s->p[at] = (char)(s->p[at] ^ (op[0] >> 3 | 1)); break;
    case 1: s->len = at; break;
    case 2: sb_add(s, op, 1 + op[3] % 4u); break;
    case 3: // a chunk twice
        if (n > 0) {
            char *copy = malloc(n);
            memcpy(copy, s->p + chunk, n);
            sb_add(s, copy, n);
            free(copy);
        }
        break;
    case 4: // a chunk gone
        memmove(s->p + chunk - (n ? 0 : chunk), s->p + (n ? chunk + n : 0), n ? s->len - chunk - n : 0);
        s->len -= n;
        break;
    case 5: // bytes gone
        s->len -= MIN((size_t)op[3], s->len);
        break;
    case 6: // two chunks change places
        if (s->len >= AGE_NONCE_LEN + 2 * sealed)
            for (size_t i = 0; i < sealed; i++) {
                char c = s->p[AGE_NONCE_LEN + i];
                s->p[AGE_NONCE_LEN + i] = s->p[AGE_NONCE_LEN + sealed + i];
                s->p[AGE_NONCE_LEN + sealed + i] = c;
            }
        break;
    case 7:
        if (s->len >= AGE_NONCE_LEN)
            empty_last(s, 1 + op[1] % 2u);
        break;
    }
}

// Decrypted where it is read to, with as much room as the file is long and not a byte more: the same verdict,
// and the same of it.
static void in_place(const struct strbuf *file, size_t step, int want, const struct strbuf *out)
{
    static struct age_input input;
    struct pieces sealed = {(const uint8_t *)file->p, file->len, step};
    struct pieces_room room = {malloc(file->len), file->len, 0};
    const struct age_sink to_room = {pieces_room_write, &room, pieces_room};

    input = (struct age_input){.source = {pieces_read, &sealed}};
    MUST_HOLD(age_stream_decrypt(&input, file_key, &to_room) == want, "in place or not, it is one");
    MUST_HOLD(room.len <= out->len && (want < 0 || room.len == out->len), "no more of it than elsewhere");
    MUST_HOLD(room.len == 0 || memcmp(room.p, out->p, room.len) == 0, "the same of it");
    free(room.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t near[] = {
        0, 1, 17, AGE_CHUNK - 1, AGE_CHUNK, AGE_CHUNK + 1, 2 * AGE_CHUNK, 3 * AGE_CHUNK + 99};
    static struct age_input input;
    struct strbuf file = {0}, good = {0}, out = {0};

    if (size < 2)
        return 0;
    const size_t len = near[data[0] % ARRAY_LEN(near)],
                 step = data[0] & 0x80 ? 1 << 20 : 4000 + (size_t)data[1];
    struct pieces in = {plain, len, step};
    const struct age_source source = {pieces_read, &in};
    const struct age_sink to_file = {.write = pieces_write, .ctx = &file},
                          to_out = {.write = pieces_write, .ctx = &out};
    MUST_HOLD(age_stream_encrypt(&source, file_key, &to_file) == 0, "encrypted");
    sb_add(&good, file.p, file.len);
    for (size_t i = 2; i + 4 <= size && i < 2 + 4 * 6; i += 4)
        damage(&file, data + i);
    // With an empty last chunk other whole chunks of plain stand there: authentic, and not what was asked
    // for.
    size_t most = len;
    for (size_t i = 2; i + 4 <= size && i < 2 + 4 * 6; i += 4)
        most = data[i] % 8 == 7 ? sizeof(plain) : most;
    const bool same = file.len == good.len && memcmp(file.p, good.p, good.len) == 0;
    struct pieces sealed = {(const uint8_t *)file.p, file.len, step};
    input = (struct age_input){.source = {pieces_read, &sealed}};
    int r = age_stream_decrypt(&input, file_key, &to_out);
    MUST_HOLD((r == 0) == same, "what is as it was written opens, and nothing else");
    MUST_HOLD(r == 0 || r == (file.len < AGE_NONCE_LEN ? AGE_E_HEADER : AGE_E_PAYLOAD), "a verdict");
    MUST_HOLD(out.len <= most && (out.len == 0 || memcmp(out.p, plain, out.len) == 0),
              "what comes out went in");
    MUST_HOLD(out.len == len || out.len % AGE_CHUNK == 0, "in whole chunks");
    MUST_HOLD(r < 0 || out.len == len, "all of it");
    in_place(&file, step, r, &out);
    MUST_HOLD(secret_in_use() == 0, "nothing is left");
    sb_free(&file);
    sb_free(&good);
    sb_free(&out);
    return 0;
}
