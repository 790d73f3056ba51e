// The header: version line, recipient stanzas, MAC. It is read whole and line by line; what a stanza wraps is
// tried on the way, so that a malformed one of a kind that we know is refused wherever it stands, also behind
// the one that opened. Nothing that was read is ever written again: the MAC is over the bytes as they came.
#include "age_parts.h"
#include "limits.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char version_line[] = "age-encryption.org/v1\n";
static const char wrap_info[] = "age-encryption.org/v1/X25519";
enum { MAX_ARGS = 4 };

static void mac_header(const uint8_t file_key[static AGE_FILE_KEY_LEN], const void *header, size_t len,
                       uint8_t out[static 32])
{
    uint8_t key[32];
    crypto_auth_hmacsha256_state state;

    age_hkdf(file_key, AGE_FILE_KEY_LEN, NULL, 0, "header", key);
    crypto_auth_hmacsha256_init(&state, key, sizeof(key));
    crypto_auth_hmacsha256_update(&state, header, len);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(key, sizeof(key));
    sodium_memzero(&state, sizeof(state));
}

static void x25519_key(const uint8_t shared[static 32], const uint8_t share[static 32],
                       const uint8_t recipient[static AGE_KEY_LEN], uint8_t key[static 32])
{
    uint8_t salt[64];

    memcpy(salt, share, 32);
    memcpy(salt + 32, recipient, AGE_KEY_LEN);
    age_hkdf(shared, 32, salt, sizeof(salt), wrap_info, key);
}

// ---- writing ------------------------------------------------------------------------------------

static void base64_32(const uint8_t *data, char out[static AGE_B64_32 + 1])
{
    sodium_bin2base64(out, AGE_B64_32 + 1, data, 32, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

static int wrap(struct strbuf *sb, const uint8_t file_key[static AGE_FILE_KEY_LEN],
                const uint8_t recipient[static AGE_KEY_LEN])
{
    uint8_t scalar[32], share[32], shared[32], key[32], body[AGE_WRAPPED_LEN];
    char text[AGE_B64_32 + 1];
    int r = 0;

    randombytes_buf(scalar, sizeof(scalar));
    if (crypto_scalarmult_base(share, scalar) != 0 || crypto_scalarmult(shared, scalar, recipient) != 0)
        r = -EINVAL; // a point of low order: the result would not be secret
    if (r == 0) {
        x25519_key(shared, share, recipient, key);
        age_seal_key(key, file_key, body);
        base64_32(share, text);
        sb_addf(sb, "-> X25519 %s\n", text);
        base64_32(body, text);
        sb_addf(sb, "%s\n", text);
    }
    sodium_memzero(scalar, sizeof(scalar));
    sodium_memzero(shared, sizeof(shared));
    sodium_memzero(key, sizeof(key));
    return r;
}

int age_header_write(struct strbuf *sb, const struct age_targets *targets,
                     const uint8_t file_key[static AGE_FILE_KEY_LEN])
{
    const size_t begin = sb->len;
    uint8_t mac[32];
    char text[AGE_B64_32 + 1];
    int r = (targets->n == 0) == (targets->passphrase == NULL) ? -EINVAL : 0;

    sb_adds(sb, version_line);
    if (r == 0 && targets->passphrase)
        r = age_scrypt_write(sb, targets->passphrase, targets->work, file_key);
    for (size_t i = 0; r == 0 && i < targets->n; i++)
        r = wrap(sb, file_key, targets->recipients[i]);
    sb_adds(sb, "---");
    if (r < 0 || sb->failed)
        return r < 0 ? r : -ENOMEM;
    if (sb->len - begin > LIMIT_AGE_HEADER - 64)
        return -EINVAL; // more than we would read
    mac_header(file_key, sb->p + begin, sb->len - begin, mac);
    base64_32(mac, text);
    sb_addf(sb, " %s\n", text);
    return sb->failed ? -ENOMEM : 0;
}

// ---- reading ------------------------------------------------------------------------------------

struct reader {
    struct age_input *in;
    const struct age_keys *keys;
    char *text; // the header so far; LIMIT_AGE_HEADER bytes, so that lines stay where they are
    size_t len;
    size_t stanzas;
    bool opened, has_scrypt;
    bool bad; // a stanza is malformed for its kind: told once the header is known to be one
    struct age_scrypt scrypt;
    uint8_t file_key[AGE_FILE_KEY_LEN];
};

// The next line without its LF. AGE_E_HEADER without one, or beyond what a header may be.
static int next_line(struct reader *r, const char **ret, size_t *ret_len)
{
    const size_t begin = r->len;

    for (;;) {
        int more = age_input_more(r->in);
        if (more < 0)
            return more;
        if (more == 0 || r->len == LIMIT_AGE_HEADER)
            return AGE_E_HEADER;
        char c = (char)r->in->buf[r->in->pos++];
        r->text[r->len++] = c;
        if (c == '\n')
            break;
    }
    *ret = r->text + begin;
    *ret_len = r->len - begin - 1;
    return 0;
}

struct stanza {
    const char *args[MAX_ARGS], *body;
    size_t lens[MAX_ARGS], n_args, body_len;
};

// Arguments: visible characters, one space between. All are checked, the first MAX_ARGS are kept.
static int split_arguments(const char *s, size_t len, struct stanza *ret)
{
    ret->n_args = 0;
    for (size_t i = 0; i <= len; i++) {
        const size_t begin = i;
        while (i < len && s[i] > ' ' && s[i] < 0x7f)
            i++;
        if (i == begin || (i < len && s[i] != ' '))
            return AGE_E_HEADER;
        if (ret->n_args < MAX_ARGS) {
            ret->args[ret->n_args] = s + begin;
            ret->lens[ret->n_args] = i - begin;
        }
        ret->n_args++;
    }
    return 0;
}

// The body: full lines of 64 columns, then a shorter one, each of them canonical base64. A body that fits one
// line is whole at ret->body; body_len is the sum of the lines.
static int read_body(struct reader *r, struct stanza *ret)
{
    ret->body = NULL;
    ret->body_len = 0;
    for (;;) {
        const char *line;
        uint8_t sink[AGE_COLUMNS];
        size_t len, n;
        int e = next_line(r, &line, &len);
        if (e < 0)
            return e;
        if (len > AGE_COLUMNS || age_b64_decode(line, len, false, sink, sizeof(sink), &n) < 0)
            return AGE_E_HEADER;
        if (!ret->body)
            ret->body = line;
        ret->body_len += len;
        if (len < AGE_COLUMNS)
            return 0;
    }
}

static bool is_kind(const struct stanza *s, const char *kind)
{
    return s->lens[0] == strlen(kind) && memcmp(s->args[0], kind, s->lens[0]) == 0;
}

// 1 if it opened, 0 if it is for somebody else. AGE_E_HEADER: a share of low order.
static int unwrap(const uint8_t share[static 32], const uint8_t body[static AGE_WRAPPED_LEN],
                  const struct age_identity *id, uint8_t file_key[static AGE_FILE_KEY_LEN])
{
    uint8_t shared[32], key[32];

    if (crypto_scalarmult(shared, id->scalar.data, share) != 0) // the shared secret is all zero
        return AGE_E_HEADER;
    x25519_key(shared, share, id->recipient, key);
    int opened = age_open_key(key, body, file_key);
    sodium_memzero(shared, sizeof(shared));
    sodium_memzero(key, sizeof(key));
    return opened;
}

static int take_x25519(struct reader *r, const struct stanza *s)
{
    uint8_t share[32], body[AGE_WRAPPED_LEN], candidate[AGE_FILE_KEY_LEN];
    size_t n, m;
    int e = 0;

    if (s->n_args != 2 || age_b64_decode(s->args[1], s->lens[1], false, share, 32, &n) < 0 || n != 32 ||
        s->body_len != AGE_B64_32 || // before anything is tried: a longer one may open with several keys
        age_b64_decode(s->body, s->body_len, false, body, sizeof(body), &m) < 0 || m != sizeof(body))
        return AGE_E_HEADER;
    for (size_t i = 0; e >= 0 && i < r->keys->n; i++) {
        e = unwrap(share, body, &r->keys->identities[i], candidate);
        if (e == 1 && !r->opened) {
            memcpy(r->file_key, candidate, sizeof(candidate));
            r->opened = true;
        }
    }
    sodium_memzero(candidate, sizeof(candidate));
    return MIN(e, 0);
}

static int take_scrypt(struct reader *r, const struct stanza *s)
{
    if (r->has_scrypt || s->n_args != 3 || s->body_len != AGE_B64_32)
        return AGE_E_HEADER;
    r->has_scrypt = true; // its work is done once it is known to be alone
    return age_scrypt_parse(s->args[1], s->lens[1], s->args[2], s->lens[2], s->body, s->body_len, &r->scrypt);
}

static int read_stanza(struct reader *r, const char *line, size_t len)
{
    struct stanza s;
    int e = split_arguments(line + 3, len - 3, &s);

    if (e == 0)
        e = read_body(r, &s);
    if (e < 0)
        return e;
    r->stanzas++;
    if (is_kind(&s, "X25519"))
        r->bad |= take_x25519(r, &s) < 0;
    else if (is_kind(&s, "scrypt"))
        r->bad |= take_scrypt(r, &s) < 0;
    return 0; // any other kind is somebody else's
}

static int read_lines(struct reader *r)
{
    const char *line;
    size_t len, n;
    uint8_t mac[32], want[32];
    int e = next_line(r, &line, &len);

    if (e < 0)
        return e;
    if (len != strlen(version_line) - 1 || memcmp(line, version_line, len) != 0)
        return AGE_E_HEADER;
    for (;;) {
        e = next_line(r, &line, &len);
        if (e < 0)
            return e;
        if (len < 3 || memcmp(line, "-> ", 3) != 0)
            break;
        e = read_stanza(r, line, len);
        if (e < 0)
            return e;
    }
    if (r->stanzas == 0 || len != 4 + AGE_B64_32 || memcmp(line, "--- ", 4) != 0 ||
        age_b64_decode(line + 4, AGE_B64_32, false, want, sizeof(want), &n) < 0)
        return AGE_E_HEADER;
    if (r->bad)
        return AGE_E_HEADER;
    if (r->has_scrypt && r->stanzas > 1)
        return AGE_E_HEADER; // a passphrase is taken for proof of who wrote it: nobody else may hold the file
                             // key
    if (r->has_scrypt && r->keys->passphrase) {
        e = age_scrypt_open(&r->scrypt, r->keys->passphrase, r->keys->max_work, r->file_key);
        if (e < 0)
            return e;
        r->opened = e == 1;
    }
    if (!r->opened)
        return AGE_E_NO_MATCH;
    mac_header(r->file_key, r->text, (size_t)(line - r->text) + 3, mac);
    return sodium_memcmp(mac, want, sizeof(mac)) == 0 ? 0 : AGE_E_HMAC;
}

int age_header_read(struct age_input *in, const struct age_keys *keys,
                    uint8_t ret_file_key[static AGE_FILE_KEY_LEN])
{
    struct reader r = {.in = in, .keys = keys, .text = malloc(LIMIT_AGE_HEADER)};

    if (!r.text)
        return -ENOMEM;
    int e = read_lines(&r);
    if (e == 0)
        memcpy(ret_file_key, r.file_key, AGE_FILE_KEY_LEN);
    sodium_memzero(r.file_key, sizeof(r.file_key));
    free(r.text);
    return e;
}
