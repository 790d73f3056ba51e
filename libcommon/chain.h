// The hash chain over the facts of the ledger: each row's hash covers its fields, its number and the hash of
// the row before. Pure: who appends (ledger.c) and who checks (`ductile ledger verify`) share it.
#pragma once
#include "owned.h"
#include <stdint.h>

#define CHAIN_HASH_LEN 32

struct chain_fact {
    int64_t seq, at_ms, uid;
    const char *actor, *kind, *subject, *detail;
    uint8_t prev[CHAIN_HASH_LEN];
};

void chain_hash(const struct chain_fact *fact, uint8_t out[static CHAIN_HASH_LEN]);

// A walk from the first row to the last; begins zeroed.
struct chain_walk {
    int64_t seq; // of the last good row
    uint8_t hash[CHAIN_HASH_LEN];
};

// The next row. NULL: it follows. Else what is wrong with it, in words, and *ret_row is the row meant.
const char *chain_step(struct chain_walk *walk, const struct chain_fact *fact,
                       const uint8_t hash[static CHAIN_HASH_LEN], int64_t *ret_row);
