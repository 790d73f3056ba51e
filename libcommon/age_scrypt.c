// The scrypt recipient: a passphrase. scrypt's own memory (1 KiB x N) is libsodium's: unmapped after use, and
// not in the arena, which cannot be that large.
#include "age_parts.h"
#include <sodium.h>
#include <string.h>

static const char label[] = "age-encryption.org/v1/scrypt";
enum { BLOCK = 8, PARALLEL = 1, LABEL_LEN = sizeof(label) - 1 };

int age_scrypt_parse(const char *salt, size_t salt_len, const char *work, size_t work_len, const char *body,
                     size_t body_len, struct age_scrypt *ret)
{
    size_t n;

    if (age_b64_decode(salt, salt_len, false, ret->salt, sizeof(ret->salt), &n) < 0 ||
        n != sizeof(ret->salt) ||
        age_b64_decode(body, body_len, false, ret->body, sizeof(ret->body), &n) < 0 || n != sizeof(ret->body))
        return AGE_E_HEADER;
    if (work_len == 0 || work[0] == '0')
        return AGE_E_HEADER;
    ret->work = 0;
    for (size_t i = 0; i < work_len; i++) {
        if (work[i] < '0' || work[i] > '9')
            return AGE_E_HEADER;
        ret->work =
            MIN(ret->work * 10 + (unsigned)(work[i] - '0'), 1000u); // any more is too much all the same
    }
    return 0;
}

static int derive(const struct secret *passphrase, const uint8_t salt[static AGE_SALT_LEN], unsigned work,
                  uint8_t key[static 32])
{
    uint8_t salted[LABEL_LEN + AGE_SALT_LEN];

    memcpy(salted, label, LABEL_LEN);
    memcpy(salted + LABEL_LEN, salt, AGE_SALT_LEN);
    return crypto_pwhash_scryptsalsa208sha256_ll(passphrase->data, passphrase->len, salted, sizeof(salted),
                                                 UINT64_C(1) << work, BLOCK, PARALLEL, key, 32) == 0
               ? 0
               : -ENOMEM;
}

int age_scrypt_open(const struct age_scrypt *stanza, const struct secret *passphrase, unsigned max_work,
                    uint8_t file_key[static AGE_FILE_KEY_LEN])
{
    uint8_t key[32];

    if (stanza->work > (max_work ? max_work : (unsigned)AGE_SCRYPT_WORK_MAX))
        return AGE_E_HEADER;
    int r = derive(passphrase, stanza->salt, stanza->work, key);
    if (r == 0)
        r = age_open_key(key, stanza->body, file_key);
    sodium_memzero(key, sizeof(key));
    return r;
}

int age_scrypt_write(struct strbuf *sb, const struct secret *passphrase, unsigned work,
                     const uint8_t file_key[static AGE_FILE_KEY_LEN])
{
    uint8_t salt[AGE_SALT_LEN], key[32], body[AGE_WRAPPED_LEN];
    char salt_text[32], body_text[AGE_B64_32 + 1];

    work = work ? work : (unsigned)AGE_SCRYPT_WORK;
    randombytes_buf(salt, sizeof(salt));
    int r = derive(passphrase, salt, work, key);
    if (r == 0) {
        age_seal_key(key, file_key, body);
        sodium_bin2base64(salt_text, sizeof(salt_text), salt, sizeof(salt),
                          sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
        sodium_bin2base64(body_text, sizeof(body_text), body, sizeof(body),
                          sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
        sb_addf(sb, "-> scrypt %s %u\n%s\n", salt_text, work, body_text);
    }
    sodium_memzero(key, sizeof(key));
    return r;
}
