// age v1 (https://age-encryption.org/v1, C2SP age.md) on libsodium: X25519 and scrypt recipients,
// ChaCha20-Poly1305 in 64 KiB chunks, optional ASCII armor. Strict: what is not exactly as the format says is
// refused, and each way of being wrong has its own error. A file of any size passes in constant memory;
// plaintext and keys are only ever in the arena (secret.h), which must be open. The parts: age_header,
// age_scrypt, age_stream, age_armor.
#pragma once
#include "secret.h"
#include <stdbool.h>
#include <sys/types.h>

#define AGE_KEY_LEN       32
#define AGE_RECIPIENT_LEN 62 // characters of "age1..."

// What can be wrong with a file. All other negative results are errno of a source or a sink, -ENOMEM,
// -EINVAL.
enum {
    AGE_E_ARMOR = -EPROTO,      // the armor is not strict PEM (RFC 7468, figure 3)
    AGE_E_HEADER = -EBADMSG,    // the header does not parse, or a recipient stanza that we know is malformed
    AGE_E_NO_MATCH = -ENOKEY,   // the header is well formed, and none of its stanzas is for these keys
    AGE_E_HMAC = -EKEYREJECTED, // the file key was found, and the header's MAC is not of it
    AGE_E_PAYLOAD = -EILSEQ,    // a chunk does not decrypt, the last one is missing, or something follows it
};

// ---- keys ---------------------------------------------------------------------------------------

struct age_identity {
    struct secret scalar; // AGE_KEY_LEN bytes
    uint8_t recipient[AGE_KEY_LEN];
};

// A new identity. -ENOMEM: the arena is full.
MUST int age_identity_new(struct age_identity *ret);
// The identity of a key file's text: lines, of which one is AGE-SECRET-KEY-1..., others are empty or comments
// (#). -EINVAL: none, more than one, or a bad one.
MUST int age_identity_parse(const struct secret *text, struct age_identity *ret);
// The same with 1 to max of them. -EINVAL; -E2BIG: more than max. On failure ret holds nothing.
MUST int age_identity_parse_all(const struct secret *text, struct age_identity *ret, size_t max,
                                size_t *ret_n);
// The text of a key file: two comment lines and the key.
MUST int age_identity_text(const struct age_identity *identity, struct secret *ret);
void age_identity_wipe(struct age_identity *identity);

void age_recipient_text(const uint8_t recipient[static AGE_KEY_LEN], char out[static AGE_RECIPIENT_LEN + 1]);
// Lower case only, as the format writes it. -EINVAL.
MUST int age_recipient_parse(const char *s, uint8_t ret[static AGE_KEY_LEN]);

// ---- files of any size --------------------------------------------------------------------------

// read: up to size bytes (size > 0); how many, 0 at the end, -errno. write: all of it; 0 or -errno.
struct age_source {
    ssize_t (*read)(void *ctx, void *buf, size_t size);
    void *ctx;
};
// Its read for a descriptor: *(const int *)ctx.
ssize_t age_read_fd(void *ctx, void *buf, size_t size);
// room, where a sink has it: how many bytes may be read to *ret, and decrypted there before write gets them.
struct age_sink {
    int (*write)(void *ctx, const void *data, size_t len);
    void *ctx;
    size_t (*room)(void *ctx, uint8_t **ret);
};

// Whom to encrypt for: recipients, or a passphrase and nobody else (an scrypt stanza stands alone).
struct age_targets {
    const uint8_t (*recipients)[AGE_KEY_LEN];
    size_t n;
    const struct secret *passphrase; // NULL: recipients
    unsigned work;                   // log2 of scrypt's N; 0: AGE_SCRYPT_WORK
};
// What may open a file.
struct age_keys {
    const struct age_identity *identities;
    size_t n;
    const struct secret *passphrase; // NULL: none
    unsigned max_work;               // 0: AGE_SCRYPT_WORK_MAX
};

// -EINVAL: nobody to encrypt for, both kinds, or a recipient of low order.
MUST int age_encrypt_stream(const struct age_source *source, const struct age_targets *targets, bool armor,
                            const struct age_sink *sink);
// Binary or armored: what begins like an age header is binary, what has a PEM marker is armored. A chunk
// reaches the sink once it is authenticated; what comes later may still be wrong, so a sink must be able to
// undo, or to say so. One of AGE_E_*.
MUST int age_decrypt_stream(const struct age_source *source, const struct age_keys *keys,
                            const struct age_sink *sink);

// ---- small files --------------------------------------------------------------------------------

// Encrypts to every recipient. *ret_file is malloc'd. -ENOMEM, -EINVAL (a recipient of low order, none at
// all).
MUST int age_encrypt(const void *plain, size_t len, const uint8_t (*recipients)[AGE_KEY_LEN], size_t n,
                     uint8_t **ret_file, size_t *ret_len);
// From fd, a regular file at its beginning. One of AGE_E_*; -EFBIG: more than max bytes of plaintext;
// -ENOMEM.
MUST int age_decrypt(int fd, const struct age_identity *identity, size_t max, struct secret *ret);
