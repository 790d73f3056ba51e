// age v1 (https://age-encryption.org/v1) on libsodium: X25519 recipients, ChaCha20-Poly1305 in 64 KiB chunks.
// In memory; binary form. Strict: what is not exactly as the format says is refused.
#pragma once
#include "secret.h"

#define AGE_KEY_LEN       32
#define AGE_RECIPIENT_LEN 62 // characters of "age1..."

struct age_identity {
    struct secret scalar; // AGE_KEY_LEN bytes
    uint8_t recipient[AGE_KEY_LEN];
};

// A new identity. -ENOMEM: the arena is full.
MUST int age_identity_new(struct age_identity *ret);
// The identity of a key file's text: lines, of which one is AGE-SECRET-KEY-1..., others are empty or comments
// (#). -EINVAL: none, more than one, or a bad one.
MUST int age_identity_parse(const struct secret *text, struct age_identity *ret);
// The text of a key file: two comment lines and the key.
MUST int age_identity_text(const struct age_identity *identity, struct secret *ret);
void age_identity_wipe(struct age_identity *identity);

void age_recipient_text(const uint8_t recipient[static AGE_KEY_LEN], char out[static AGE_RECIPIENT_LEN + 1]);
MUST int age_recipient_parse(const char *s, uint8_t ret[static AGE_KEY_LEN]);

// Encrypts to every recipient. *ret_file is malloc'd. -ENOMEM, -EINVAL (a recipient of low order, none at
// all).
MUST int age_encrypt(const void *plain, size_t len, const uint8_t (*recipients)[AGE_KEY_LEN], size_t n,
                     uint8_t **ret_file, size_t *ret_len);
// -EBADMSG: not an age file or a malformed header; -ENOKEY: not for this identity; -EKEYREJECTED: the
// header's MAC is wrong; -EILSEQ: the payload is damaged; -EFBIG: more than max bytes of plaintext; -ENOMEM.
MUST int age_decrypt(const uint8_t *file, size_t len, const struct age_identity *identity, size_t max,
                     struct secret *ret);
