// BLAKE2b over every field with its length, so that no two rows hash the same bytes.
#include "chain.h"
#include <sodium.h>
#include <string.h>

static void add_field(crypto_generichash_state *state, const void *data, size_t len)
{
    const uint64_t n = len;

    crypto_generichash_update(state, (const unsigned char *)&n, sizeof(n));
    crypto_generichash_update(state, data, len);
}

void chain_hash(const struct chain_fact *f, uint8_t out[static CHAIN_HASH_LEN])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, CHAIN_HASH_LEN);
    add_field(&state, f->prev, sizeof(f->prev));
    add_field(&state, &f->seq, sizeof(f->seq));
    add_field(&state, &f->at_ms, sizeof(f->at_ms));
    add_field(&state, &f->uid, sizeof(f->uid));
    add_field(&state, f->actor, strlen(f->actor));
    add_field(&state, f->kind, strlen(f->kind));
    add_field(&state, f->subject, strlen(f->subject));
    add_field(&state, f->detail, strlen(f->detail));
    crypto_generichash_final(&state, out, CHAIN_HASH_LEN);
}

const char *chain_step(struct chain_walk *w, const struct chain_fact *f,
                       const uint8_t hash[static CHAIN_HASH_LEN], int64_t *ret_row)
{
    uint8_t now[CHAIN_HASH_LEN];

    *ret_row = f->seq;
    if (f->seq > w->seq + 1) {
        *ret_row = w->seq + 1;
        return "is missing";
    }
    if (f->seq <= w->seq)
        return "stands twice, or where it does not belong";
    chain_hash(f, now);
    if (memcmp(now, hash, sizeof(now)) != 0)
        return "is not what was written: a field, its number or its hash was changed";
    if (memcmp(f->prev, w->hash, sizeof(w->hash)) != 0)
        return "does not follow the row before it: one of the two was put there later";
    w->seq = f->seq;
    memcpy(w->hash, hash, sizeof(w->hash));
    return NULL;
}
