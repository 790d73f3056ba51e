// HKDF, key wrapping, base64 and buffered input of the age reader and writer. HKDF-SHA256 is built from
// libsodium's HMAC (1.0.18 has no HKDF). Base64 has a decoder of its own: libsodium 1.0.18 takes some bytes
// above 0x7f for characters of the alphabet and may stop early without failing.
#include "age_parts.h"
#include <sodium.h>
#include <string.h>

void age_hkdf(const void *ikm, size_t ikm_len, const void *salt, size_t salt_len, const char *info,
              uint8_t out[static 32])
{
    static const uint8_t zeros[32];
    uint8_t prk[32];
    const uint8_t one = 1;
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, salt_len ? salt : zeros, salt_len ? salt_len : sizeof(zeros));
    crypto_auth_hmacsha256_update(&state, ikm, ikm_len);
    crypto_auth_hmacsha256_final(&state, prk);
    crypto_auth_hmacsha256_init(&state, prk, sizeof(prk));
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)info, strlen(info));
    crypto_auth_hmacsha256_update(&state, &one, 1);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(prk, sizeof(prk));
    sodium_memzero(&state, sizeof(state));
}

static const uint8_t zero_nonce[12];

void age_seal_key(const uint8_t key[static 32], const uint8_t file_key[static AGE_FILE_KEY_LEN],
                  uint8_t out[static AGE_WRAPPED_LEN])
{
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, file_key, AGE_FILE_KEY_LEN, NULL, 0, NULL,
                                              zero_nonce, key);
}

bool age_open_key(const uint8_t key[static 32], const uint8_t wrapped[static AGE_WRAPPED_LEN],
                  uint8_t file_key[static AGE_FILE_KEY_LEN])
{
    return crypto_aead_chacha20poly1305_ietf_decrypt(file_key, NULL, NULL, wrapped, AGE_WRAPPED_LEN, NULL, 0,
                                                     zero_nonce, key) == 0;
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int age_b64_decode(const char *s, size_t len, bool padded, uint8_t *out, size_t size, size_t *ret_len)
{
    uint32_t acc = 0;
    unsigned bits = 0;
    size_t n = 0;

    if (padded) {
        if (len % 4 != 0)
            return -EBADMSG;
        for (int pad = 0; pad < 2 && len > 0 && s[len - 1] == '='; pad++)
            len--;
    }
    if (len % 4 == 1)
        return -EBADMSG;
    for (size_t i = 0; i < len; i++) {
        int v = digit(s[i]);
        if (v < 0)
            return -EBADMSG;
        acc = (acc << 6 | (uint32_t)v) & 0xffff;
        bits += 6;
        if (bits < 8)
            continue;
        bits -= 8;
        if (n == size)
            return -EBADMSG;
        out[n++] = (uint8_t)(acc >> bits);
    }
    if (acc & ((1u << bits) - 1))
        return -EBADMSG; // another text for the same bytes
    *ret_len = n;
    return 0;
}

// ---- input --------------------------------------------------------------------------------------

int age_input_more(struct age_input *in)
{
    if (in->pos < in->len)
        return 1;
    if (in->error < 0 || in->end)
        return in->error;
    in->pos = in->len = 0;
    ssize_t n = in->source.read(in->source.ctx, in->buf, sizeof(in->buf));
    if (n < 0)
        in->error = (int)n;
    else if (n == 0)
        in->end = true;
    else
        in->len = (size_t)n;
    return n > 0 ? 1 : in->error;
}

size_t age_input_peek(struct age_input *in, size_t n, const char **ret)
{
    memmove(in->buf, in->buf + in->pos, in->len - in->pos);
    in->len -= in->pos;
    in->pos = 0;
    while (in->len < n && !in->end && in->error == 0) {
        ssize_t got = in->source.read(in->source.ctx, in->buf + in->len, sizeof(in->buf) - in->len);
        if (got < 0)
            in->error = (int)got;
        else if (got == 0)
            in->end = true;
        else
            in->len += (size_t)got;
    }
    *ret = (const char *)in->buf;
    return MIN(in->len, n);
}

int age_input_read(struct age_input *in, uint8_t *buf, size_t size, size_t *ret_len)
{
    size_t n = 0;

    while (n < size) {
        if (in->pos == in->len && size - n >= sizeof(in->buf) && !in->end && in->error == 0) {
            ssize_t got = in->source.read(in->source.ctx, buf + n, size - n);
            in->end = got == 0;
            in->error = got < 0 ? (int)got : 0;
            n += got > 0 ? (size_t)got : 0;
            continue;
        }
        int r = age_input_more(in);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        size_t take = MIN(in->len - in->pos, size - n);
        memcpy(buf + n, in->buf + in->pos, take);
        in->pos += take;
        n += take;
    }
    *ret_len = n;
    return 0;
}
