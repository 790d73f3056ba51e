// What the age tests share: files built by hand from the specification, so that every rule can be broken
// alone. Its HKDF, MAC and chunks are a second opinion; nothing of the product writes what they write.
#pragma once
#include "../lib/pieces.h"
#include "age_parts.h"
#include "unit.h"
#include <sodium.h>

static const uint8_t lab_file_key[16] = "sixteen bytes..";
static struct age_identity lab_id, lab_other;
static struct secret lab_passphrase;

static inline int lab_setup(void **s)
{
    (void)s;
    if (sodium_init() < 0 || secret_arena_open(4 << 20) < 0 || age_identity_new(&lab_id) < 0 ||
        age_identity_new(&lab_other) < 0)
        return -1;
    return secret_copy("correct horse", 13, &lab_passphrase);
}

static inline int lab_teardown(void **s)
{
    (void)s;
    age_identity_wipe(&lab_id);
    age_identity_wipe(&lab_other);
    secret_wipe(&lab_passphrase);
    int leaked = secret_in_use() != 0;
    secret_arena_close();
    return leaked;
}

static inline void lab_hmac(const void *key, size_t key_len, const void *a, size_t a_len, const void *b,
                            size_t b_len, uint8_t out[32])
{
    crypto_auth_hmacsha256_state st;
    crypto_auth_hmacsha256_init(&st, key, key_len);
    crypto_auth_hmacsha256_update(&st, a, a_len);
    crypto_auth_hmacsha256_update(&st, b, b_len);
    crypto_auth_hmacsha256_final(&st, out);
}

static inline void lab_hkdf(const void *ikm, size_t ikm_len, const void *salt, size_t salt_len,
                            const char *info, uint8_t out[32])
{
    static const uint8_t none[32];
    uint8_t prk[32];
    lab_hmac(salt_len ? salt : none, salt_len ? salt_len : 32, ikm, ikm_len, "", 0, prk);
    lab_hmac(prk, 32, info, strlen(info), "\1", 1, out);
}

static inline const char *lab_b64(const void *data, size_t len, char *out, size_t size)
{
    return sodium_bin2base64(out, size, data, len, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

static inline void lab_wrap(const uint8_t key[32], uint8_t out[32])
{
    static const uint8_t nonce[12];
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, lab_file_key, 16, NULL, 0, NULL, nonce, key);
}

// The two texts of a good X25519 stanza.
static inline void lab_x25519(const struct age_identity *to, char share_text[64], char body_text[64])
{
    uint8_t secret[32], salt[64], shared[32], key[32], body[32];
    randombytes_buf(secret, 32);
    assert_int_equal(crypto_scalarmult_base(salt, secret), 0);
    memcpy(salt + 32, to->recipient, 32);
    assert_int_equal(crypto_scalarmult(shared, secret, to->recipient), 0);
    lab_hkdf(shared, 32, salt, 64, "age-encryption.org/v1/X25519", key);
    lab_wrap(key, body);
    lab_b64(salt, 32, share_text, 64);
    lab_b64(body, 32, body_text, 64);
}

static inline void lab_scrypt(unsigned work, char salt_text[64], char body_text[64])
{
    uint8_t salted[28 + 16], key[32], body[32];
    memcpy(salted, "age-encryption.org/v1/scrypt", 28);
    randombytes_buf(salted + 28, 16);
    assert_int_equal(crypto_pwhash_scryptsalsa208sha256_ll(lab_passphrase.data, lab_passphrase.len, salted,
                                                           sizeof(salted), UINT64_C(1) << work, 8, 1, key,
                                                           32),
                     0);
    lab_wrap(key, body);
    lab_b64(salted + 28, 16, salt_text, 64);
    lab_b64(body, 32, body_text, 64);
}

static inline void lab_mac(const struct strbuf *sb, const uint8_t file_key[16], char out[64])
{
    uint8_t key[32], mac[32];
    lab_hkdf(file_key, 16, NULL, 0, "header", key);
    lab_hmac(key, 32, sb->p, sb->len, "", 0, mac);
    lab_b64(mac, 32, out, 64);
}

// A header from a template: {x} a good stanza for lab_id, {o} one for lab_other, {share} {body} the texts of
// another good one, {v} the version line, {s} a good scrypt stanza of little work with {salt} and {wrapped}
// as its texts, {64} a full body line, {mac} the MAC of what stands before it, {end} "--- {mac}\n".
static inline void lab_header(struct strbuf *sb, const char *template)
{
    char share[64], body[64], salt[64], wrapped[64], a[64], b[64], mac[64];
    lab_x25519(&lab_id, share, body);
    lab_scrypt(2, salt, wrapped);
    for (const char *p = template; *p;) {
        const char *close = *p == '{' && p[1] > ' ' ? strchr(p, '}') : NULL;
        if (!close) {
            sb_addc(sb, *p++);
            continue;
        }
        char word[16] = "";
        memcpy(word, p + 1, (size_t)(close - p) - 1);
        p = close + 1;
        if (str_eq(word, "v"))
            sb_adds(sb, "age-encryption.org/v1\n");
        else if (str_eq(word, "x") || str_eq(word, "o")) {
            lab_x25519(word[0] == 'x' ? &lab_id : &lab_other, a, b);
            sb_addf(sb, "-> X25519 %s\n%s\n", a, b);
        } else if (str_eq(word, "s"))
            sb_addf(sb, "-> scrypt %s 2\n%s\n", salt, wrapped);
        else if (str_eq(word, "64"))
            sb_adds(sb, "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKKKLLLLMMMMNNNNOOOOPPPP\n");
        else if (str_eq(word, "end") || str_eq(word, "mac")) {
            if (word[0] == 'e')
                sb_adds(sb, "---");
            lab_mac(sb, lab_file_key, mac);
            sb_addf(sb, word[0] == 'e' ? " %s\n" : "%s", mac);
        } else
            sb_adds(sb, str_eq(word, "share")  ? share
                        : str_eq(word, "body") ? body
                        : str_eq(word, "salt") ? salt
                                               : wrapped);
    }
}

static inline void lab_chunk(struct strbuf *sb, const uint8_t nonce[16], const void *plain, size_t len,
                             uint64_t counter, int last)
{
    uint8_t key[32], n[12] = {0}, *sealed = malloc(len + 16);
    lab_hkdf(lab_file_key, 16, nonce, 16, "payload", key);
    for (int i = 0; i < 8; i++)
        n[3 + i] = (uint8_t)(counter >> (56 - 8 * i));
    n[11] = (uint8_t)last;
    crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, plain, len, NULL, 0, NULL, n, key);
    sb_add(sb, sealed, len + 16);
    free(sealed);
}

// ---- reading what was built, in pieces of `step` bytes ------------------------------------------

static inline int lab_decrypt(const struct strbuf *file, size_t step, const struct age_keys *keys,
                              struct strbuf *plain)
{
    struct pieces in = {file->p, file->len, step};
    const struct age_source source = {pieces_read, &in};
    const struct age_sink sink = {.write = pieces_write, .ctx = plain};
    return age_decrypt_stream(&source, keys, &sink);
}

static inline const char *lab_name(int r)
{
    return r == 0                ? "success"
           : r == AGE_E_HEADER   ? "header"
           : r == AGE_E_NO_MATCH ? "no match"
           : r == AGE_E_HMAC     ? "HMAC"
           : r == AGE_E_PAYLOAD  ? "payload"
           : r == AGE_E_ARMOR    ? "armor"
                                 : strerror(-r);
}
