// age v1: keys, and whole files from the parts (age_header, age_scrypt, age_stream, age_armor). Every key is
// in the arena or wiped.
#include "age_parts.h"
#include "bech32.h"
#include "limits.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

static int parse_line(const char *line, size_t len, struct age_identity *ret)
{
    struct age_identity id = {0};
    int r = secret_new(AGE_KEY_LEN, &id.scalar);

    if (r < 0)
        return r;
    r = line[0] == 'A' ? 0 : -EINVAL; // the format writes identities in upper case
    if (r == 0)
        r = bech32_decode("age-secret-key-", line, len, id.scalar.data, AGE_KEY_LEN);
    if (r == 0)
        r = identity_from_scalar(&id);
    if (r < 0)
        age_identity_wipe(&id);
    else
        *ret = id;
    return r;
}

int age_identity_parse_all(const struct secret *text, struct age_identity *ret, size_t max, size_t *ret_n)
{
    const char *p = (const char *)text->data, *end = p + text->len;
    size_t found = 0;
    int r = 0;

    while (r == 0 && p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((newline ? newline : end) - p);
        size_t line = n > 0 && p[n - 1] == '\r' ? n - 1 : n;
        if (line > 0 && p[0] != '#') {
            r = found == max ? -E2BIG : parse_line(p, line, &ret[found]);
            found += r == 0;
        }
        p += n + (newline != NULL);
    }
    if (r == 0 && found > 0) {
        *ret_n = found;
        return 0;
    }
    while (found > 0)
        age_identity_wipe(&ret[--found]);
    return r < 0 ? r : -EINVAL;
}

int age_identity_parse(const struct secret *text, struct age_identity *ret)
{
    struct age_identity id;
    size_t n;
    int r = age_identity_parse_all(text, &id, 1, &n);

    if (r == 0)
        *ret = id;
    return r == -E2BIG ? -EINVAL : r;
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
    return s[0] == 'a' ? bech32_decode("age", s, strlen(s), ret, AGE_KEY_LEN) : -EINVAL;
}

// ---- files --------------------------------------------------------------------------------------

int age_encrypt_stream(const struct age_source *source, const struct age_targets *targets, bool armor,
                       const struct age_sink *sink)
{
    struct age_armor_writer writer = {.sink = *sink};
    const struct age_sink armored = {.write = age_armor_write, .ctx = &writer};
    const struct age_sink *to = armor ? &armored : sink;
    uint8_t file_key[AGE_FILE_KEY_LEN];
    struct strbuf header = {0};

    randombytes_buf(file_key, sizeof(file_key));
    int r = age_header_write(&header, targets, file_key);
    if (r == 0)
        r = to->write(to->ctx, header.p, header.len);
    sb_free(&header);
    if (r == 0)
        r = age_stream_encrypt(source, file_key, to);
    if (r == 0 && armor)
        r = age_armor_finish(&writer);
    sodium_memzero(file_key, sizeof(file_key));
    return r;
}

static int decrypt_input(struct age_input *in, const struct age_keys *keys, const struct age_sink *sink)
{
    uint8_t file_key[AGE_FILE_KEY_LEN];
    int r = age_header_read(in, keys, file_key);

    if (r == 0)
        r = age_stream_decrypt(in, file_key, sink);
    sodium_memzero(file_key, sizeof(file_key));
    return r;
}

int age_decrypt_stream(const struct age_source *source, const struct age_keys *keys,
                       const struct age_sink *sink)
{
    struct age_input raw = {.source = *source};
    const char *begin;
    size_t n = age_input_peek(&raw, 2 * LIMIT_AGE_SPACE, &begin);

    if (!age_armor_looks(begin, n))
        return decrypt_input(&raw, keys, sink);
    struct age_armor_reader reader = {.in = &raw};
    struct age_input in = {.source = {age_armor_read, &reader}};
    return decrypt_input(&in, keys, sink);
}

// ---- in memory ----------------------------------------------------------------------------------

struct memory {
    const uint8_t *p;
    size_t left;
};

static ssize_t memory_read(void *ctx, void *buf, size_t size)
{
    struct memory *m = ctx;
    size_t n = MIN(size, m->left);

    if (n > 0)
        memcpy(buf, m->p, n);
    m->p += n;
    m->left -= n;
    return (ssize_t)n;
}

static int strbuf_write(void *ctx, const void *data, size_t len)
{
    struct strbuf *sb = ctx;

    sb_add(sb, data, len);
    return sb->failed ? -ENOMEM : 0;
}

int age_encrypt(const void *plain, size_t len, const uint8_t (*recipients)[AGE_KEY_LEN], size_t n,
                uint8_t **ret_file, size_t *ret_len)
{
    struct memory m = {plain, len};
    struct strbuf file = {0};
    const struct age_source source = {memory_read, &m};
    const struct age_sink sink = {.write = strbuf_write, .ctx = &file};
    const struct age_targets targets = {.recipients = recipients, .n = n};
    int r = age_encrypt_stream(&source, &targets, false, &sink);

    size_t total = file.len;
    uint8_t *bytes = r == 0 ? (uint8_t *)sb_finish(&file) : NULL;
    sb_free(&file);
    if (!bytes)
        return r < 0 ? r : -ENOMEM;
    *ret_file = bytes;
    *ret_len = total;
    return 0;
}

struct bounded {
    struct secret plain; // as large as the file is, of which it is a part; len is what is there
    size_t size, max;
};

static size_t bounded_room(void *ctx, uint8_t **ret)
{
    const struct bounded *b = ctx;

    *ret = b->plain.data + b->plain.len;
    return b->size - b->plain.len;
}

static int bounded_write(void *ctx, const void *data, size_t len)
{
    struct bounded *b = ctx;

    if (len > b->max - b->plain.len)
        return -EFBIG;
    (void)data; // where bounded_room said
    b->plain.len += len;
    return 0;
}

ssize_t age_read_fd(void *ctx, void *buf, size_t size)
{
    const int *fd = ctx;
    ssize_t n;

    do
        n = read(*fd, buf, size);
    while (n < 0 && errno == EINTR);
    return n < 0 ? err_last() : n;
}

int age_decrypt(int fd, const struct age_identity *identity, size_t max, struct secret *ret)
{
    struct stat st;
    struct bounded b = {.max = max};
    const struct age_source source = {age_read_fd, &fd};
    const struct age_sink sink = {bounded_write, &b, bounded_room};
    const struct age_keys keys = {.identities = identity, .n = 1};

    if (fstat(fd, &st) < 0)
        return err_last();
    b.size = MIN((size_t)st.st_size, max + AGE_CHUNK + AGE_TAG_LEN);
    int r = secret_new(b.size, &b.plain);
    if (r < 0)
        return r;
    secret_prefault(&b.plain);
    b.plain.len = 0;
    r = age_decrypt_stream(&source, &keys, &sink);
    if (r < 0)
        secret_wipe(&b.plain);
    else {
        sodium_memzero(b.plain.data + b.plain.len, b.size - b.plain.len); // the last chunk's tag
        *ret = b.plain;
    }
    return r;
}
