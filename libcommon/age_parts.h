// What the parts of the age reader and writer share; nobody else includes it but their tests.
#pragma once
#include "age.h"
#include "str.h"

enum { AGE_FILE_KEY_LEN = 16, AGE_TAG_LEN = 16, AGE_NONCE_LEN = 16, AGE_CHUNK = 64 << 10, AGE_COLUMNS = 64 };
enum { AGE_WRAPPED_LEN = AGE_FILE_KEY_LEN + AGE_TAG_LEN, AGE_B64_32 = 43 };

// ---- age_codec.c --------------------------------------------------------------------------------

// HKDF-SHA256 (RFC 5869) with a 32-byte output: one block. salt_len 0: no salt.
void age_hkdf(const void *ikm, size_t ikm_len, const void *salt, size_t salt_len, const char *info,
              uint8_t out[static 32]);
// Wraps and opens a file key: ChaCha20-Poly1305 with a nonce of zeros, as every key wraps one file key only.
void age_seal_key(const uint8_t key[static 32], const uint8_t file_key[static AGE_FILE_KEY_LEN],
                  uint8_t out[static AGE_WRAPPED_LEN]);
bool age_open_key(const uint8_t key[static 32], const uint8_t wrapped[static AGE_WRAPPED_LEN],
                  uint8_t file_key[static AGE_FILE_KEY_LEN]);
// Canonical base64 (RFC 4648, 3.5 and 4) of 0..size bytes, with or without padding: no other character, no
// bit behind the last byte. -EBADMSG.
MUST int age_b64_decode(const char *s, size_t len, bool padded, uint8_t *out, size_t size, size_t *ret_len);

// A buffered reader. Errors and the end stay.
struct age_input {
    struct age_source source;
    size_t pos, len;
    int error;
    bool end;
    uint8_t buf[8 << 10];
};
// 1: there is a byte at buf[pos]; 0: the end; -errno.
MUST int age_input_more(struct age_input *in);
// Looks at up to n bytes (n <= sizeof(buf)) without taking them; fewer at the end or before an error.
size_t age_input_peek(struct age_input *in, size_t n, const char **ret);
// Fills buf; *ret_len < size only at the end. -errno: nothing about *ret_len.
MUST int age_input_read(struct age_input *in, uint8_t *buf, size_t size, size_t *ret_len);

// ---- age_header.c: version line, recipient stanzas, MAC ------------------------------------------

// Reads a header to the end of its MAC line and finds the file key. AGE_E_HEADER, _NO_MATCH, _HMAC.
MUST int age_header_read(struct age_input *in, const struct age_keys *keys,
                         uint8_t ret_file_key[static AGE_FILE_KEY_LEN]);
// Adds a header. -EINVAL, -ENOMEM.
MUST int age_header_write(struct strbuf *sb, const struct age_targets *targets,
                          const uint8_t file_key[static AGE_FILE_KEY_LEN]);

// ---- age_scrypt.c -------------------------------------------------------------------------------

// Work: log2 of N. 18 takes about a second and 256 MiB, 22 sixteen times both; each as the age tool has it.
enum { AGE_SCRYPT_WORK = 18, AGE_SCRYPT_WORK_MAX = 22, AGE_SALT_LEN = 16 };
struct age_scrypt {
    uint8_t salt[AGE_SALT_LEN], body[AGE_WRAPPED_LEN];
    unsigned work;
};
// The stanza's second and third argument and body. AGE_E_HEADER.
MUST int age_scrypt_parse(const char *salt, size_t salt_len, const char *work, size_t work_len,
                          const char *body, size_t body_len, struct age_scrypt *ret);
// 1: opened; 0: another passphrase; AGE_E_HEADER: more work than max_work; -ENOMEM.
MUST int age_scrypt_open(const struct age_scrypt *stanza, const struct secret *passphrase, unsigned max_work,
                         uint8_t file_key[static AGE_FILE_KEY_LEN]);
MUST int age_scrypt_write(struct strbuf *sb, const struct secret *passphrase, unsigned work,
                          const uint8_t file_key[static AGE_FILE_KEY_LEN]);

// ---- age_stream.c: the payload ------------------------------------------------------------------

MUST int age_stream_encrypt(const struct age_source *source, const uint8_t file_key[static AGE_FILE_KEY_LEN],
                            const struct age_sink *sink);
// A payload whose nonce is cut short is AGE_E_HEADER (nothing says yet that there is a payload), as the
// format's test suite has it; everything else AGE_E_PAYLOAD.
MUST int age_stream_decrypt(struct age_input *in, const uint8_t file_key[static AGE_FILE_KEY_LEN],
                            const struct age_sink *sink);

// ---- age_armor.c --------------------------------------------------------------------------------

// Strict PEM with the label AGE ENCRYPTED FILE: exact markers on lines of their own, lines of 64 columns and
// one of 4..64, canonical padded base64, LF or CRLF; outside of the markers only lines of white space, at
// most LIMIT_AGE_SPACE bytes before and after.
struct age_armor_reader {
    struct age_input *in;
    enum { ARMOR_BEFORE, ARMOR_BODY, ARMOR_AFTER } state;
    int error;
};
// An age_source's read; size >= 48.
ssize_t age_armor_read(void *reader, void *buf, size_t size);
// Does what begins so mean to be armored?
bool age_armor_looks(const char *s, size_t len);

struct age_armor_writer {
    struct age_sink sink;
    uint8_t bytes[48];
    size_t n, n_text;
    bool begun;
    char text[64 * (AGE_COLUMNS + 1) + 64];
};
// An age_sink's write; then the rest and the end marker.
int age_armor_write(void *writer, const void *data, size_t len);
MUST int age_armor_finish(struct age_armor_writer *writer);
