// The payload: a nonce, then chunks of 64 KiB under ChaCha20-Poly1305 with a counter and a flag for the last
// one. A chunk is released once it is authenticated, never before.
#include "age_parts.h"
#include <sodium.h>
#include <string.h>

enum { SEALED = AGE_CHUNK + AGE_TAG_LEN };

static void chunk_nonce(uint8_t nonce[static 12], uint64_t counter, bool last)
{
    memset(nonce, 0, 12); // eleven bytes of counter; a file that fills eight of them is beyond any disk
    for (int i = 0; i < 8; i++)
        nonce[10 - i] = (uint8_t)(counter >> (8 * i));
    nonce[11] = last;
}

// Fills up to size bytes, fewer only at the end.
static ssize_t fill(const struct age_source *source, uint8_t *buf, size_t size)
{
    size_t n = 0;

    while (n < size) {
        ssize_t got = source->read(source->ctx, buf + n, size - n);
        if (got < 0)
            return got;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static int encrypt_chunks(const struct age_source *source, const uint8_t key[static 32], uint8_t *plain,
                          uint8_t *sealed, const struct age_sink *sink)
{
    uint8_t nonce[12];
    size_t held = 0; // one byte more than a chunk tells whether it is the last

    for (uint64_t counter = 0;; counter++) {
        ssize_t got = fill(source, plain + held, AGE_CHUNK + 1 - held);
        if (got < 0)
            return (int)got;
        size_t n = held + (size_t)got;
        bool last = n <= AGE_CHUNK;
        n = MIN(n, (size_t)AGE_CHUNK);
        chunk_nonce(nonce, counter, last);
        crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, plain, n, NULL, 0, NULL, nonce, key);
        int r = sink->write(sink->ctx, sealed, n + AGE_TAG_LEN);
        if (r < 0 || last)
            return r;
        plain[0] = plain[AGE_CHUNK];
        held = 1;
    }
}

int age_stream_encrypt(const struct age_source *source, const uint8_t file_key[static AGE_FILE_KEY_LEN],
                       const struct age_sink *sink)
{
    OWNED(freep) uint8_t *sealed = malloc(SEALED);
    uint8_t nonce[AGE_NONCE_LEN], key[32];
    struct secret plain;

    if (!sealed)
        return -ENOMEM;
    int r = secret_new(AGE_CHUNK + 1, &plain);
    if (r < 0)
        return r;
    randombytes_buf(nonce, sizeof(nonce));
    age_hkdf(file_key, AGE_FILE_KEY_LEN, nonce, sizeof(nonce), "payload", key);
    r = sink->write(sink->ctx, nonce, sizeof(nonce));
    if (r == 0)
        r = encrypt_chunks(source, key, plain.data, sealed, sink);
    sodium_memzero(key, sizeof(key));
    secret_wipe(&plain);
    return r;
}

// ---- decryption ---------------------------------------------------------------------------------

static bool open_chunk(const uint8_t *sealed, size_t n, const uint8_t key[static 32], uint64_t counter,
                       bool last, uint8_t *plain)
{
    uint8_t nonce[12];

    chunk_nonce(nonce, counter, last);
    return crypto_aead_chacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed, n, NULL, 0, nonce, key) == 0;
}

// sealed, plain: for a chunk; NULL where the sink has room.
static int decrypt_chunks(struct age_input *in, const uint8_t key[static 32], uint8_t *sealed, uint8_t *plain,
                          const struct age_sink *sink)
{
    for (uint64_t counter = 0;; counter++) {
        uint8_t *from = sealed, *to = plain;
        size_t n, room = SEALED;
        if (!from) {
            room = MIN(sink->room(sink->ctx, &from), room);
            to = from;
        }
        int r = age_input_read(in, from, room, &n);
        if (r < 0)
            return r;
        if (n < AGE_TAG_LEN ||
            (n == AGE_TAG_LEN && counter > 0)) // an empty last chunk: of an empty file only
            return AGE_E_PAYLOAD;
        int more = n == room ? age_input_more(in) : 0;
        if (more > 0 && room < SEALED) // longer than the sink was told
            return AGE_E_PAYLOAD;
        bool last = more == 0, opened = open_chunk(from, n, key, counter, last, to);
        if (!opened &&
            n == SEALED) { // whole, and yet the file goes on behind its last chunk, or stops before it
            last = !last;
            opened = open_chunk(from, n, key, counter, last, to);
        }
        if (!opened)
            return AGE_E_PAYLOAD;
        r = sink->write(sink->ctx, to, n - AGE_TAG_LEN);
        if (r < 0)
            return r;
        if (more < 0)
            return more;
        if (last != (more == 0))
            return AGE_E_PAYLOAD;
        if (last)
            return 0;
    }
}

int age_stream_decrypt(struct age_input *in, const uint8_t file_key[static AGE_FILE_KEY_LEN],
                       const struct age_sink *sink)
{
    OWNED(freep) uint8_t *sealed = sink->room ? NULL : malloc(SEALED);
    uint8_t nonce[AGE_NONCE_LEN], key[32];
    struct secret plain = {0};
    size_t n;

    if (!sealed && !sink->room)
        return -ENOMEM;
    int r = age_input_read(in, nonce, sizeof(nonce), &n);
    if (r < 0)
        return r;
    if (n < sizeof(nonce))
        return AGE_E_HEADER;
    r = sink->room ? 0 : secret_new(AGE_CHUNK, &plain);
    if (r < 0)
        return r;
    age_hkdf(file_key, AGE_FILE_KEY_LEN, nonce, sizeof(nonce), "payload", key);
    r = decrypt_chunks(in, key, sealed, plain.data, sink);
    sodium_memzero(key, sizeof(key));
    secret_wipe(&plain);
    return r;
}
