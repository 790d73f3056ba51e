// A header: an input is its text up to the mark "---"; a MAC that is right for it, and an empty payload, are
// put behind. Its key is the scalar 1, 2, 3, ..., its passphrase "p", its file key sixteen times 'k'.
#include "lab.h"

static struct age_identity id;
static struct secret passphrase;
static const uint8_t file_key[] = "kkkkkkkkkkkkkkkk";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    lab_open(1 << 20);
    MUST_HOLD(secret_new(AGE_KEY_LEN, &id.scalar) == 0 && secret_copy("p", 1, &passphrase) == 0, "keys");
    for (int i = 0; i < AGE_KEY_LEN; i++)
        id.scalar.data[i] = (uint8_t)(i + 1);
    MUST_HOLD(crypto_scalarmult_base(id.recipient, id.scalar.data) == 0, "a recipient");
    return 0;
}

// ---- the model: the grammar, over the whole text at once --------------------------------------------

static bool base64_line(const char *s, size_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i++)
        if (!memchr(letters, s[i], 64))
            return false;
    if (n % 4 == 1)
        return false;
    size_t spare = n % 4 == 2 ? 16 : n % 4 == 3 ? 4 : 1; // the last character stands for a multiple of it
    return n == 0 || ((const char *)memchr(letters, s[n - 1], 64) - letters) % (long)spare == 0;
}

static bool arguments(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < '!' || s[i] > '~') {
            if (s[i] != ' ' || i == 0 || i == n - 1 || s[i + 1] == ' ')
                return false;
        }
    return n > 0;
}

// Is text a header? *strange: a kind of stanza that has rules of its own is in it; *alone: scrypt, and it is
// not.
static bool model(const char *text, size_t len, bool *known, size_t *scrypts, size_t *stanzas)
{
    const char *p = text, *end = text + len;
    int state = 0; // 0 version, 1 stanza or end, 2 body
    *known = false;
    *scrypts = *stanzas = 0;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (!lf)
            return false;
        size_t n = (size_t)(lf - p);
        if (state == 0) {
            if (n != 21 || memcmp(p, "age-encryption.org/v1", 21) != 0)
                return false;
            state = 1;
        } else if (state == 2) {
            if (n > 64 || !base64_line(p, n))
                return false;
            state = n < 64 ? 1 : 2;
        } else if (n >= 3 && memcmp(p, "-> ", 3) == 0) {
            if (!arguments(p + 3, n - 3))
                return false;
            bool s = n >= 9 && memcmp(p + 3, "scrypt", 6) == 0 && (n == 9 || p[9] == ' ');
            bool x = n >= 9 && memcmp(p + 3, "X25519", 6) == 0 && (n == 9 || p[9] == ' ');
            *known |= s || x;
            *scrypts += s;
            ++*stanzas;
            state = 2;
        } else
            return n == 47 && memcmp(p, "--- ", 4) == 0 && base64_line(p + 4, 43) && *stanzas > 0;
        p = lf + 1;
    }
    return false;
}

static int decrypt(const struct strbuf *file, size_t step, bool with_passphrase, struct strbuf *plain)
{
    struct pieces in = {(const uint8_t *)file->p, file->len, step};
    const struct age_source source = {pieces_read, &in};
    const struct age_sink sink = {.write = pieces_write, .ctx = plain};
    const struct age_keys keys = {
        .identities = &id, .n = 1, .passphrase = with_passphrase ? &passphrase : NULL, .max_work = 2};
    return age_decrypt_stream(&source, &keys, &sink);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf file = {0}, plain = {0};
    uint8_t key[32], mac[32];
    char text[64];
    bool known;
    size_t scrypts, stanzas;
    static const uint8_t nonce[AGE_NONCE_LEN], chunk_nonce[12] = {[11] = 1};
    uint8_t sealed[16];

    if (size < 1)
        return 0;
    const size_t step = data[0] % 64 + 1;
    const bool with_passphrase = data[0] & 64;
    sb_add(&file, data + 1, size - 1);
    sb_adds(&file, "---");
    age_hkdf(file_key, 16, NULL, 0, "header", key);
    crypto_auth_hmacsha256(mac, (const uint8_t *)file.p, file.len, key);
    sodium_bin2base64(text, sizeof(text), mac, 32, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    sb_addf(&file, " %s\n", text);
    const bool good = model(file.p, file.len, &known, &scrypts, &stanzas);
    age_hkdf(file_key, 16, nonce, 16, "payload", key);
    sb_add(&file, nonce, 16);
    crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, NULL, 0, NULL, 0, NULL, chunk_nonce, key);
    sb_add(&file, sealed, 16);
    const size_t before = secret_in_use();
    int r = decrypt(&file, step, with_passphrase, &plain),
        again = decrypt(&file, file.len, with_passphrase, &plain);
    MUST_HOLD(r == again, "in pieces or whole, the verdict is one");
    MUST_HOLD(r == 0 || r == AGE_E_HEADER || r == AGE_E_NO_MATCH || r == AGE_E_HMAC || r == AGE_E_PAYLOAD ||
                  r == AGE_E_ARMOR,
              "a verdict");
    MUST_HOLD(good || r == AGE_E_HEADER || r == AGE_E_ARMOR, "what is no header is refused as such");
    MUST_HOLD(!good || known || r == AGE_E_NO_MATCH, "a header of unknown stanzas is well formed");
    MUST_HOLD(!good || scrypts == 0 || stanzas == 1 || r == AGE_E_HEADER, "scrypt stands alone");
    MUST_HOLD(plain.len == 0 && secret_in_use() == before, "nothing comes out, nothing is left");
    sb_free(&file);
    sb_free(&plain);
    return 0;
}
