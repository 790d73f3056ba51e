// API tokens: their scopes, and the table of hashes that the warden hands to the bus. A hash is keyed with a
// key that is fresh for each table, so that no table tells whether a value is the one of another.
#pragma once
#include "limits.h"
#include "owned.h"
#include <stdint.h>
#include <sys/types.h>

enum {
    TOKEN_PLUGIN_READ = 1,
    TOKEN_PLUGIN_WRITE = 2,
    TOKEN_JOBS_READ = 4,
    TOKEN_JOBS_WRITE = 8,
    TOKEN_EVENTS_READ = 16,
    TOKEN_EVENTS_WRITE = 32,
    TOKEN_ADMIN = 64, // what has no scope of its own
    TOKEN_ALL = 127,
};

#define TOKEN_HASH_LEN 32

// The rights of a scope's word (scope.def), 0 for any other.
unsigned token_rights(const char *scope);
// The first scope that has this right: "plugin:rw".
const char *token_scope_of(unsigned right);
// "a scope, one of: plugin:ro plugin:rw ..."
const char *token_scopes(void);

struct token_row {
    uint8_t hash[TOKEN_HASH_LEN];
    int64_t until_ms; // 0: no end
    uint32_t token;   // its place in api.tokens
    uint32_t unused;
};

// Two rows for a token whose previous value is still good.
struct token_table {
    uint8_t key[TOKEN_HASH_LEN];
    struct token_row rows[2 * LIMIT_TOKENS];
    uint32_t n;
    uint32_t unused;
};
// It leaves the warden as it lies in memory: no hole may carry something else out.
_Static_assert(sizeof(struct token_row) == TOKEN_HASH_LEN + 16, "no padding");
_Static_assert(sizeof(struct token_table) == TOKEN_HASH_LEN + 2 * LIMIT_TOKENS * sizeof(struct token_row) + 8,
               "no padding");

// Empty, with a fresh key.
void token_begin(struct token_table *table);
// 0; -EMSGSIZE: shorter than LIMIT_TOKEN_MIN, or longer than LIMIT_TOKEN_MAX; -EILSEQ: not what an
// Authorization header can carry; -E2BIG.
MUST int token_add(struct token_table *table, uint32_t token, const uint8_t *value, size_t len,
                   int64_t until_ms);
// 0; -EMSGSIZE; -EILSEQ, as token_add.
MUST int token_check(const uint8_t *value, size_t len);
// The place of the token whose value this is at now_ms, or -EACCES. Every row is compared, whatever the
// others said.
MUST int token_find(const struct token_table *table, const char *value, size_t len, int64_t now_ms);
// A sealed memfd, and back. n_tokens: how many the reader's config has. -EPERM: not sealed; -EBADMSG.
MUST int token_save(const struct token_table *table);
MUST int token_load(int fd, size_t n_tokens, struct token_table *ret);
