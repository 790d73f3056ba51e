// age v1. HKDF-SHA256 is built from libsodium's HMAC (1.0.18 has no HKDF); every key is in the arena or
// wiped.
#include "age.h"
#include "bech32.h"
#include "limits.h"
#include "str.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { FILE_KEY_LEN = 16, TAG_LEN = 16, NONCE_LEN = 16, CHUNK = 64 << 10, COLUMNS = 64, B64_32 = 43 };
static const char version_line[] = "age-encryption.org/v1\n";
static const char wrap_info[] = "age-encryption.org/v1/X25519";

// HKDF-SHA256 (RFC 5869) with a 32-byte output: one block.
static void hkdf(const void *ikm, size_t ikm_len, const void *salt, size_t salt_len, const char *info,
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

static void mac_header(const uint8_t file_key[static FILE_KEY_LEN], const uint8_t *header, size_t len,
                       uint8_t out[static 32])
{
    uint8_t key[32];
    crypto_auth_hmacsha256_state state;

    hkdf(file_key, FILE_KEY_LEN, NULL, 0, "header", key);
    crypto_auth_hmacsha256_init(&state, key, sizeof(key));
    crypto_auth_hmacsha256_update(&state, header, len);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(key, sizeof(key));
    sodium_memzero(&state, sizeof(state));
}

// ---- keys ---------------------------------------------------------------------------------------

static int identity_from_scalar(struct age_identity *id)
{
    return crypto_scalarmult_base(id->recipient, id->scalar.data) == 0 ? 0 : -EINVAL;
}

int age_identity_new(struct age_identity *ret)
{
    struct age_identity id = {0};
    int r = secret_new(AGE_KEY_LEN, &id.scalar);

    if (r < 0)
        return r;
    randombytes_buf(id.scalar.data, AGE_KEY_LEN);
    r = identity_from_scalar(&id);
    if (r < 0) {
        age_identity_wipe(&id);
        return r;
    }
    *ret = id;
    return 0;
}

int age_identity_parse(const struct secret *text, struct age_identity *ret)
{
    struct age_identity id = {0};
    int found = 0, r = secret_new(AGE_KEY_LEN, &id.scalar);
    const char *p = (const char *)text->data, *end = p + text->len;

    while (r == 0 && p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((newline ? newline : end) - p);
        size_t line = n > 0 && p[n - 1] == '\r' ? n - 1 : n;
        if (line > 0 && p[0] != '#') {
            r = ++found > 1 ? -EINVAL
                            : bech32_decode("age-secret-key-", p, line, id.scalar.data, AGE_KEY_LEN);
            if (r == 0 && p[0] != 'A') // the format writes identities in upper case
                r = -EINVAL;
        }
        p += n + (newline != NULL);
    }
    if (r == 0)
        r = found == 1 ? identity_from_scalar(&id) : -EINVAL;
    if (r < 0) {
        age_identity_wipe(&id);
        return r;
    }
    *ret = id;
    return 0;
}

int age_identity_text(const struct age_identity *identity, struct secret *ret)
{
    char recipient[AGE_RECIPIENT_LEN + 1];
    struct secret s;
    enum { SIZE = 256 };
    int r = secret_new(SIZE, &s);

    if (r < 0)
        return r;
    age_recipient_text(identity->recipient, recipient);
    int head = snprintf((char *)s.data, SIZE,
                        "# secret zero: whoever reads this line reads the whole vault\n"
                        "# public key: %s\n",
                        recipient);
    char *key = (char *)s.data + head;
    r = bech32_encode("age-secret-key-", identity->scalar.data, AGE_KEY_LEN, key, SIZE - (size_t)head);
    for (char *p = key; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    size_t len = strlen((char *)s.data);
    s.data[len] = '\n';
    if (r == 0)
        r = secret_copy(s.data, len + 1, ret);
    secret_wipe(&s);
    return r;
}

void age_identity_wipe(struct age_identity *identity)
{
    secret_wipe(&identity->scalar);
    memset(identity->recipient, 0, sizeof(identity->recipient));
}

void age_recipient_text(const uint8_t recipient[static AGE_KEY_LEN], char out[static AGE_RECIPIENT_LEN + 1])
{
    if (bech32_encode("age", recipient, AGE_KEY_LEN, out, AGE_RECIPIENT_LEN + 1) < 0)
        out[0] = '\0'; // cannot happen: the size is right
}

int age_recipient_parse(const char *s, uint8_t ret[static AGE_KEY_LEN])
{
    return bech32_decode("age", s, strlen(s), ret, AGE_KEY_LEN);
}

// ---- encryption ---------------------------------------------------------------------------------

static void base64_32(const uint8_t *data, char out[static B64_32 + 1])
{
    sodium_bin2base64(out, B64_32 + 1, data, 32, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

static int wrap(struct strbuf *header, const uint8_t file_key[static FILE_KEY_LEN],
                const uint8_t recipient[static AGE_KEY_LEN])
{
    uint8_t scalar[32], share[32], shared[32], salt[64], key[32], body[FILE_KEY_LEN + TAG_LEN];
    static const uint8_t nonce[12];
    char text[B64_32 + 1];
    int r = 0;

    randombytes_buf(scalar, sizeof(scalar));
    if (crypto_scalarmult_base(share, scalar) != 0 || crypto_scalarmult(shared, scalar, recipient) != 0)
        r = -EINVAL; // a point of low order: the result would not be secret
    if (r == 0) {
        memcpy(salt, share, 32);
        memcpy(salt + 32, recipient, 32);
        hkdf(shared, sizeof(shared), salt, sizeof(salt), wrap_info, key);
        crypto_aead_chacha20poly1305_ietf_encrypt(body, NULL, file_key, FILE_KEY_LEN, NULL, 0, NULL, nonce,
                                                  key);
        base64_32(share, text);
        sb_addf(header, "-> X25519 %s\n", text);
        base64_32(body, text);
        sb_addf(header, "%s\n", text);
    }
    sodium_memzero(scalar, sizeof(scalar));
    sodium_memzero(shared, sizeof(shared));
    sodium_memzero(key, sizeof(key));
    return r;
}

static void chunk_nonce(uint8_t nonce[static 12], uint64_t counter, bool last)
{
    memset(nonce, 0, 12);
    for (int i = 0; i < 8; i++)
        nonce[10 - i] = (uint8_t)(counter >> (8 * i));
    nonce[11] = last;
}

static void add_payload(struct strbuf *file, const uint8_t file_key[static FILE_KEY_LEN],
                        const uint8_t *plain, size_t len)
{
    uint8_t nonce[NONCE_LEN], key[32], stream_nonce[12];
    static uint8_t chunk[CHUNK + TAG_LEN];

    randombytes_buf(nonce, sizeof(nonce));
    sb_add(file, nonce, sizeof(nonce));
    hkdf(file_key, FILE_KEY_LEN, nonce, sizeof(nonce), "payload", key);
    for (uint64_t counter = 0;; counter++) {
        size_t n = MIN(len, (size_t)CHUNK);
        chunk_nonce(stream_nonce, counter, n == len);
        crypto_aead_chacha20poly1305_ietf_encrypt(chunk, NULL, plain, n, NULL, 0, NULL, stream_nonce, key);
        sb_add(file, chunk, n + TAG_LEN);
        plain += n;
        len -= n;
        if (len == 0)
            break;
    }
    sodium_memzero(key, sizeof(key));
}

int age_encrypt(const void *plain, size_t len, const uint8_t (*recipients)[AGE_KEY_LEN], size_t n,
                uint8_t **ret_file, size_t *ret_len)
{
    uint8_t file_key[FILE_KEY_LEN], mac[32];
    char text[B64_32 + 1];
    struct strbuf file = {0};
    int r = n > 0 ? 0 : -EINVAL;

    randombytes_buf(file_key, sizeof(file_key));
    sb_adds(&file, version_line);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = wrap(&file, file_key, recipients[i]);
    sb_adds(&file, "---");
    if (r == 0 && !file.failed) {
        mac_header(file_key, (const uint8_t *)file.p, file.len, mac);
        base64_32(mac, text);
        sb_addf(&file, " %s\n", text);
        add_payload(&file, file_key, plain, len);
    }
    sodium_memzero(file_key, sizeof(file_key));
    size_t total = file.len;
    uint8_t *bytes = r == 0 ? (uint8_t *)sb_finish(&file) : NULL;
    sb_free(&file);
    if (!bytes)
        return r < 0 ? r : -ENOMEM;
    *ret_file = bytes;
    *ret_len = total;
    return 0;
}

// ---- decryption ---------------------------------------------------------------------------------

struct reader {
    const uint8_t *start, *p, *end;
};

// The next line without its newline. -EBADMSG without one, or for a line longer than a header may be.
static int next_line(struct reader *r, const char **ret, size_t *ret_len)
{
    size_t left = MIN((size_t)(r->end - r->p), (size_t)LIMIT_AGE_HEADER);
    const uint8_t *newline = memchr(r->p, '\n', left);

    if (!newline || newline - r->start > LIMIT_AGE_HEADER)
        return -EBADMSG;
    *ret = (const char *)r->p;
    *ret_len = (size_t)(newline - r->p);
    r->p = newline + 1;
    return 0;
}

// Canonical, unpadded base64 of exactly `want` bytes.
static int decode_base64(const char *s, size_t len, uint8_t *out, size_t want)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t got;
    const char *end;

    // libsodium 1.0.18 takes some bytes above 0x7f for characters of the alphabet: look first.
    for (size_t i = 0; i < len; i++)
        if (!s[i] || !strchr(alphabet, s[i]))
            return -EBADMSG;
    if (sodium_base642bin(out, want, s, len, NULL, &got, &end, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) !=
        0)
        return -EBADMSG;
    return got == want && end == s + len ? 0 : -EBADMSG; // it may stop early without failing
}

// A stanza's arguments: visible characters, single spaces. Returns how many, or -EBADMSG.
static int split_arguments(const char *s, size_t len, const char *args[static 3], size_t lens[static 3])
{
    int n = 0;

    for (size_t i = 0; i <= len;) {
        size_t begin = i;
        while (i < len && s[i] > ' ' && s[i] < 0x7f)
            i++;
        if (i == begin || (i < len && s[i] != ' '))
            return -EBADMSG;
        if (n < 3) {
            args[n] = s + begin;
            lens[n] = i - begin;
        }
        n++;
        i++;
    }
    return n;
}

// Reads a stanza's body: full lines of 64 columns, then a shorter one. *ret is its first line, *ret_len all
// its characters; a body that fits one line is thus whole in *ret.
static int read_body(struct reader *r, const char **ret, size_t *ret_len)
{
    *ret = NULL;
    *ret_len = 0;
    for (;;) {
        const char *line;
        size_t len;
        uint8_t sink[48];
        int e = next_line(r, &line, &len);
        if (e < 0 || len > COLUMNS)
            return -EBADMSG;
        if (len > 0 && decode_base64(line, len, sink, len * 3 / 4) < 0)
            return -EBADMSG;
        if (!*ret)
            *ret = line;
        *ret_len += len;
        if (len < COLUMNS)
            return 0;
    }
}

// 1 if it opened, 0 if it is for somebody else.
static int unwrap(const char *share_text, size_t share_len, const char *body, size_t body_len,
                  const struct age_identity *id, uint8_t file_key[static FILE_KEY_LEN])
{
    uint8_t share[32], shared[32], salt[64], key[32], wrapped[FILE_KEY_LEN + TAG_LEN];
    static const uint8_t nonce[12];

    if (decode_base64(share_text, share_len, share, 32) < 0 ||
        decode_base64(body, body_len, wrapped, sizeof(wrapped)) < 0)
        return -EBADMSG;
    if (crypto_scalarmult(shared, id->scalar.data, share) != 0)
        return -EBADMSG; // low order
    memcpy(salt, share, 32);
    memcpy(salt + 32, id->recipient, 32);
    hkdf(shared, sizeof(shared), salt, sizeof(salt), wrap_info, key);
    int opened = crypto_aead_chacha20poly1305_ietf_decrypt(file_key, NULL, NULL, wrapped, sizeof(wrapped),
                                                           NULL, 0, nonce, key) == 0;
    sodium_memzero(shared, sizeof(shared));
    sodium_memzero(key, sizeof(key));
    return opened;
}

static int read_stanza(struct reader *r, const char *line, size_t len, const struct age_identity *id,
                       uint8_t file_key[static FILE_KEY_LEN], bool *opened)
{
    const char *args[3], *body = NULL;
    size_t lens[3], body_len = 0;
    int n = split_arguments(line + 3, len - 3, args, lens);

    if (n < 1 || read_body(r, &body, &body_len) < 0)
        return -EBADMSG;
    if (lens[0] != 6 || memcmp(args[0], "X25519", 6) != 0)
        return 0; // a kind of recipient we do not have: somebody else's
    if (n != 2)
        return -EBADMSG;
    uint8_t candidate[FILE_KEY_LEN];
    int e = unwrap(args[1], lens[1], body, body_len, id, candidate);
    if (e == 1 && !*opened) {
        memcpy(file_key, candidate, FILE_KEY_LEN);
        *opened = true;
    }
    sodium_memzero(candidate, sizeof(candidate));
    return MIN(e, 0);
}

static int read_header(struct reader *r, const struct age_identity *id, uint8_t file_key[static FILE_KEY_LEN])
{
    const char *line;
    size_t len, stanzas = 0;
    bool opened = false;
    uint8_t mac[32], want[32];
    int e = next_line(r, &line, &len);

    if (e < 0 || len != strlen(version_line) - 1 || memcmp(line, version_line, len) != 0)
        return -EBADMSG;
    for (;; stanzas++) {
        e = next_line(r, &line, &len);
        if (e < 0)
            return e;
        if (len < 3 || memcmp(line, "-> ", 3) != 0)
            break;
        e = read_stanza(r, line, len, id, file_key, &opened);
        if (e < 0)
            return e;
    }
    if (stanzas == 0 || len != 4 + B64_32 || memcmp(line, "--- ", 4) != 0 ||
        decode_base64(line + 4, B64_32, want, 32) < 0)
        return -EBADMSG;
    if (!opened)
        return -ENOKEY;
    mac_header(file_key, r->start, (size_t)((const uint8_t *)line - r->start) + 3, mac);
    return sodium_memcmp(mac, want, 32) == 0 ? 0 : -EKEYREJECTED;
}

static int read_payload(struct reader *r, const uint8_t file_key[static FILE_KEY_LEN], size_t max,
                        struct secret *ret)
{
    uint8_t key[32], nonce[12];
    struct secret plain;
    size_t len = (size_t)(r->end - r->p);

    if (len < NONCE_LEN + TAG_LEN)
        return -EILSEQ;
    len -= NONCE_LEN;
    size_t chunks = (len + CHUNK + TAG_LEN - 1) / (CHUNK + TAG_LEN), size = len - chunks * TAG_LEN;
    if (len < chunks * TAG_LEN || size > max)
        return len < chunks * TAG_LEN ? -EILSEQ : -EFBIG;
    int e = secret_new(size, &plain);
    if (e < 0)
        return e;
    hkdf(file_key, FILE_KEY_LEN, r->p, NONCE_LEN, "payload", key);
    r->p += NONCE_LEN;
    uint8_t *out = plain.data;
    for (size_t i = 0; e == 0 && i < chunks; i++) {
        size_t n = MIN(len, (size_t)(CHUNK + TAG_LEN));
        bool last = i + 1 == chunks;
        chunk_nonce(nonce, i, last);
        // An empty last chunk is only right where the whole file is empty.
        if (n < TAG_LEN || (n == TAG_LEN && i > 0) ||
            crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, r->p, n, NULL, 0, nonce, key) != 0)
            e = -EILSEQ;
        r->p += n;
        len -= n;
        out += n - MIN(n, (size_t)TAG_LEN);
    }
    sodium_memzero(key, sizeof(key));
    if (e < 0)
        secret_wipe(&plain);
    else
        *ret = plain;
    return e;
}

int age_decrypt(const uint8_t *file, size_t len, const struct age_identity *identity, size_t max,
                struct secret *ret)
{
    struct reader r = {file, file, file + len};
    uint8_t file_key[FILE_KEY_LEN] = {0};
    int e = read_header(&r, identity, file_key);

    if (e == 0)
        e = read_payload(&r, file_key, max, ret);
    sodium_memzero(file_key, sizeof(file_key));
    return e;
}
