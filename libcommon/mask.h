// Fingerprints of delivered secrets. The warden makes them, the bus looks for them in what a plugin answered,
// and never learns the values: per needle a length, a rolling hash of its first bytes under a random base,
// and a keyed hash of all of it. Whoever holds them can test guesses: that is why encodings shorter than
// MASK_MIN are left out, and why the window is as long as it can be (16 bytes of a random token are beyond
// guessing; 8 are not beyond much work).
#pragma once
#include "secret.h"
#include <jansson.h>
#include <stdint.h>

#define MASK_MIN    8  // bytes; a shorter encoding of a value is not masked
#define MASK_WINDOW 16 // bytes of a needle that the rolling hash covers, or all of a shorter one

struct mask_needle {
    uint32_t len, window;
    uint64_t roll;
    uint8_t mac[16];
};

struct mask_set {
    uint8_t key[32];
    uint64_t base; // odd
    struct mask_needle *list;
    size_t n;
};

// A fresh random key and base. A set is freed with mask_free, also a zeroed one.
void mask_begin(struct mask_set *set);
// Adds a value in every encoding that is looked for: as it is, JSON-escaped, percent-encoded (either case),
// base64 and base64url at each of the three alignments. -ENOMEM. Intermediate copies live in the arena.
MUST int mask_add(struct mask_set *set, const uint8_t *value, size_t len);
void mask_free(struct mask_set *set);

// For the wire: one block, owned by the caller.
MUST int mask_save(const struct mask_set *set, char **ret, size_t *ret_len);
// -EPROTO for anything that mask_save did not make.
MUST int mask_load(const void *data, size_t len, struct mask_set *ret);

// Every occurrence in text becomes "[masked]". Returns how many; *ret is the new text (owned by the caller,
// NUL-terminated) where there are any, else NULL. -ENOMEM.
MUST long mask_text(const struct mask_set *set, const char *text, size_t len, char **ret, size_t *ret_len);
// The same for every string, key and integer of *json, which is replaced. -ENOMEM.
MUST long mask_json(const struct mask_set *set, json_t **json);
