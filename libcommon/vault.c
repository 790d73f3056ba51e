// The vault's model: opening, composing, changing, in memory. Files are vault_file.c's. Values live in the
// arena and nowhere else; names are no secret.
#include "vault.h"
#include "str.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *principal_kind_name(enum principal_kind kind)
{
    static const char *const names[PRINCIPAL_COUNT_] = {"plugin", "core", "consumer"};

    return names[kind];
}

int principal_kind_from_name(const char *name)
{
    for (int i = 0; i < PRINCIPAL_COUNT_; i++)
        if (str_eq(principal_kind_name((enum principal_kind)i), name))
            return i;
    return -EINVAL;
}

const char *secret_pattern_name(enum secret_pattern pattern)
{
    static const char *const names[PATTERN_COUNT_] = {"manual", "auto"};

    return names[pattern];
}

int64_t vault_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// ---- what lies in the text, and what beside it ------------------------------------------------------

static bool in_text(const struct vault *vault, const void *p)
{
    return vault->text.data && (uintptr_t)p - (uintptr_t)vault->text.data <= vault->text.len;
}

const char *vault_keep_name(const char *name)
{
    size_t size = strlen(name) + 1;
    char *copy = secret_alloc(size);

    return copy ? memcpy(copy, name, size) : NULL;
}

void vault_drop_name(const struct vault *vault, const char *name)
{
    if (!in_text(vault, name))
        secret_free((void *)(uintptr_t)name);
}

void vault_wipe_value(const struct vault *vault, struct secret *value)
{
    if (!in_text(vault, value->data))
        secret_free(value->data);
    else
        sodium_memzero(value->data, value->len);
    *value = (struct secret){0};
}

void vault_drop_grant(const struct vault *vault, struct vault_grant *grant)
{
    vault_drop_name(vault, grant->principal);
    vault_drop_name(vault, grant->as);
}

static bool was_read(const struct vault *vault, const struct vault_grant *grants)
{
    return vault->grants && (uintptr_t)grants - (uintptr_t)vault->grants <= vault->n_grants * sizeof(*grants);
}

void vault_drop_secret(const struct vault *vault, struct vault_secret *secret)
{
    vault_drop_name(vault, secret->name);
    vault_wipe_value(vault, &secret->value);
    vault_wipe_value(vault, &secret->previous);
    for (size_t i = 0; i < secret->n_grants; i++)
        vault_drop_grant(vault, &secret->grants[i]);
    if (!was_read(vault, secret->grants))
        free(secret->grants);
}

void vault_close(struct vault *vault)
{
    for (size_t i = 0; i < vault->n_secrets; i++)
        vault_drop_secret(vault, &vault->secrets[i]);
    for (size_t i = 0; i < vault->n_principals; i++)
        vault_drop_name(vault, vault->principals[i].name);
    secret_wipe(&vault->text);
    free(vault->secrets);
    free(vault->grants);
    free(vault->principals);
    vault_index_free(vault->index);
    free(vault->recipients);
    age_identity_wipe(&vault->identity);
    *vault = (struct vault){0};
}

struct vault_principal *vault_principal(struct vault *vault, const char *name)
{
    for (size_t i = 0; i < vault->n_principals; i++)
        if (str_eq(vault->principals[i].name, name))
            return &vault->principals[i];
    return NULL;
}

struct vault_secret *vault_secret(struct vault *vault, const char *name)
{
    for (size_t i = 0; i < vault->n_secrets; i++)
        if (str_eq(vault->secrets[i].name, name))
            return &vault->secrets[i];
    return NULL;
}

int vault_add_principal(struct vault *vault, const char *name, enum principal_kind kind)
{
    if (vault_principal(vault, name))
        return -EEXIST;
    if (vault->n_principals >= LIMIT_PRINCIPALS)
        return -E2BIG;
    struct vault_principal *list = reallocarray(vault->principals, vault->n_principals + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    vault->principals = list;
    const char *kept = vault_keep_name(name);
    if (!kept)
        return -ENOMEM;
    list[vault->n_principals++] =
        (struct vault_principal){.name = kept, .kind = kind, .created_ms = vault_now_ms()};
    return 0;
}

int vault_set_secret(struct vault *vault, const char *name, const struct secret *value,
                     enum secret_pattern pattern)
{
    struct vault_secret *s = vault_secret(vault, name);

    if (s) {
        if (s->revoked)
            return -EKEYREVOKED;
        bool equal = s->value.len == value->len && sodium_memcmp(s->value.data, value->data, value->len) == 0;
        return equal ? 0 : -EEXIST;
    }
    if (vault->n_secrets >= LIMIT_SECRETS)
        return -E2BIG;
    struct vault_secret *list = reallocarray(vault->secrets, vault->n_secrets + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    vault->secrets = list;
    s = &list[vault->n_secrets];
    *s =
        (struct vault_secret){.pattern = pattern, .created_ms = vault_now_ms(), .updated_ms = vault_now_ms()};
    int r = secret_copy(value->data, value->len, &s->value);
    if (r == 0 && !(s->name = vault_keep_name(name))) {
        secret_wipe(&s->value);
        r = -ENOMEM;
    }
    vault->n_secrets += r == 0;
    return r;
}

static int add_grant(const struct vault *v, struct vault_secret *s, const char *principal, const char *as)
{
    struct vault_grant g = {vault_keep_name(principal), vault_keep_name(as)};
    struct vault_grant *list = reallocarray(NULL, s->n_grants + 1, sizeof(*list));

    if (!g.principal || !g.as || !list) {
        vault_drop_grant(v, &g);
        free(list);
        return -ENOMEM;
    }
    if (s->n_grants > 0)
        memcpy(list, s->grants, s->n_grants * sizeof(*list));
    if (!was_read(v, s->grants))
        free(s->grants);
    s->grants = list;
    list[s->n_grants++] = g;
    return 1;
}

static bool is_previous_of(const char *name, const char *as)
{
    size_t n = strlen(as);

    return strncmp(name, as, n) == 0 && str_eq(name + n, "_previous");
}

// The names themselves, or that of a kept value of the one and the other's.
static bool collides(const char *there, bool keeps, const char *as, const struct vault_secret *s)
{
    return str_eq(there, as) || (keeps && is_previous_of(as, there)) ||
           (s->previous_until_ms > 0 && is_previous_of(there, as));
}

int vault_grant(struct vault *vault, const char *secret, const char *principal, const char *as)
{
    struct vault_secret *s = vault_secret(vault, secret);

    if (!s)
        return -ENOENT;
    if (s->revoked)
        return -EKEYREVOKED;
    for (size_t i = 0; i < s->n_grants; i++)
        if (str_eq(s->grants[i].principal, principal) && str_eq(s->grants[i].as, as))
            return 0;
    if (s->previous_until_ms > 0 && strlen(as) + strlen("_previous") >= LIMIT_NAME)
        return -ENAMETOOLONG;
    // Two secrets under one name would leave it to chance which of them the plugin reads.
    for (size_t i = 0; i < vault->n_secrets; i++)
        for (size_t j = 0; j < vault->secrets[i].n_grants; j++) {
            const struct vault_grant *g = &vault->secrets[i].grants[j];
            if (str_eq(g->principal, principal) &&
                collides(g->as, vault->secrets[i].previous_until_ms > 0, as, s))
                return -EEXIST;
        }
    return add_grant(vault, s, principal, as);
}
