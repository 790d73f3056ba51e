// Token tables. Values go in and never out.
#include "token.h"
#include "fd.h"
#include "str.h"
#include <sodium.h>
#include <string.h>

static const struct {
    const char *word;
    unsigned rights;
} scopes[] = {
#define SCOPE(word, rights, meaning) {word, rights},
#include "scope.def"
#undef SCOPE
};

unsigned token_rights(const char *scope)
{
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
        if (str_eq(scopes[i].word, scope))
            return scopes[i].rights;
    return 0;
}

const char *token_scope_of(unsigned right)
{
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
        if ((scopes[i].rights & right) == right)
            return scopes[i].word;
    return "*";
}

const char *token_scopes(void)
{
    return "a scope, one of:"
#define SCOPE(word, rights, meaning) " " word
#include "scope.def"
#undef SCOPE
        ;
}

void token_begin(struct token_table *table)
{
    *table = (struct token_table){0};
    randombytes_buf(table->key, sizeof(table->key));
}

static void hash(const struct token_table *table, const uint8_t *value, size_t len,
                 uint8_t out[static TOKEN_HASH_LEN])
{
    crypto_generichash(out, TOKEN_HASH_LEN, value, len, table->key, sizeof(table->key));
}

int token_check(const uint8_t *value, size_t len)
{
    if (len < LIMIT_TOKEN_MIN || len > LIMIT_TOKEN_MAX)
        return -EMSGSIZE;
    for (size_t i = 0; i < len; i++)
        if (value[i] <= ' ' || value[i] >= 0x7f)
            return -EILSEQ;
    return 0;
}

int token_add(struct token_table *table, uint32_t token, const uint8_t *value, size_t len, int64_t until_ms)
{
    int r = token_check(value, len);

    if (r < 0 || table->n == ARRAY_LEN(table->rows))
        return r < 0 ? r : -E2BIG;
    struct token_row *row = &table->rows[table->n++];
    *row = (struct token_row){.until_ms = until_ms, .token = token};
    hash(table, value, len, row->hash);
    return 0;
}

int token_find(const struct token_table *table, const char *value, size_t len, int64_t now_ms)
{
    uint8_t mine[TOKEN_HASH_LEN];
    int found = -EACCES;

    hash(table, (const uint8_t *)value, len, mine);
    for (uint32_t i = 0; i < table->n; i++) {
        const struct token_row *row = &table->rows[i];
        const bool equal = sodium_memcmp(row->hash, mine, sizeof(mine)) == 0;
        const bool good = row->until_ms == 0 || row->until_ms > now_ms;
        if (equal & good)
            found = (int)row->token;
    }
    sodium_memzero(mine, sizeof(mine));
    return found;
}

int token_save(const struct token_table *table)
{
    return fd_sealed("tokens", table, sizeof(*table));
}

int token_load(int fd, size_t n_tokens, struct token_table *ret)
{
    struct token_table table;
    uint64_t size;
    int r = fd_check_sealed(fd, &size);

    if (r < 0)
        return r;
    if (size != sizeof(table) || pread(fd, &table, sizeof(table), 0) != (ssize_t)sizeof(table) ||
        table.n > ARRAY_LEN(table.rows))
        return -EBADMSG;
    for (uint32_t i = 0; i < table.n; i++)
        if (table.rows[i].token >= n_tokens)
            return -EBADMSG;
    *ret = table;
    return 0;
}
