// What takes away or replaces: revoke, purge, roll, ungrant, remove. Lists stay dense and in their order; a
// value that goes is wiped at once.
#include "str.h"
#include "vault.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static void drop_grant(const struct vault *vault, struct vault_secret *s, size_t at)
{
    vault_drop_grant(vault, &s->grants[at]);
    memmove(&s->grants[at], &s->grants[at + 1], (s->n_grants - at - 1) * sizeof(*s->grants));
    s->n_grants--;
}

// as NULL: under every name. How many.
static int drop_grants(const struct vault *vault, struct vault_secret *s, const char *principal,
                       const char *as)
{
    int dropped = 0;

    for (size_t i = s->n_grants; i-- > 0;)
        if (str_eq(s->grants[i].principal, principal) && (!as || str_eq(s->grants[i].as, as))) {
            drop_grant(vault, s, i);
            dropped = 1;
        }
    return dropped;
}

static void forget_previous(const struct vault *vault, struct vault_secret *s)
{
    vault_wipe_value(vault, &s->previous);
    s->previous_until_ms = 0;
}

void vault_forget_stale(struct vault *vault)
{
    for (size_t i = 0; i < vault->n_secrets; i++)
        if (vault->secrets[i].previous_until_ms > 0 && vault->secrets[i].previous_until_ms <= vault_now_ms())
            forget_previous(vault, &vault->secrets[i]);
}

int vault_revoke_principal(struct vault *vault, const char *name)
{
    struct vault_principal *p = vault_principal(vault, name);

    if (!p)
        return -ENOENT;
    if (p->revoked)
        return 0;
    p->revoked = true;
    return 1;
}

int vault_purge_principal(struct vault *vault, const char *name)
{
    struct vault_principal *p = vault_principal(vault, name);

    if (!p)
        return -ENOENT;
    if (!p->revoked)
        return -EBUSY;
    for (size_t i = 0; i < vault->n_secrets; i++)
        (void)drop_grants(vault, &vault->secrets[i], name, NULL);
    vault_drop_name(vault, p->name);
    size_t at = (size_t)(p - vault->principals);
    memmove(p, p + 1, (vault->n_principals - at - 1) * sizeof(*p));
    vault->n_principals--;
    return 1;
}

static bool delivers(const struct vault *vault, const char *principal, const char *as)
{
    for (size_t i = 0; i < vault->n_secrets; i++)
        for (size_t j = 0; j < vault->secrets[i].n_grants; j++) {
            const struct vault_grant *g = &vault->secrets[i].grants[j];
            if (str_eq(g->principal, principal) && str_eq(g->as, as))
                return true;
        }
    return false;
}

static int check_previous_names(const struct vault *vault, const struct vault_secret *s)
{
    char name[2 * LIMIT_NAME];

    for (size_t i = 0; i < s->n_grants; i++) {
        if (snprintf(name, sizeof(name), "%s_previous", s->grants[i].as) >= LIMIT_NAME)
            return -ENAMETOOLONG;
        if (delivers(vault, s->grants[i].principal, name))
            return -EEXIST;
    }
    return 0;
}

int vault_roll_secret(struct vault *vault, const char *name, const struct secret *value, int64_t keep_ms)
{
    struct vault_secret *s = vault_secret(vault, name);
    struct secret fresh;

    if (!s)
        return -ENOENT;
    if (s->revoked)
        return -EKEYREVOKED;
    if (s->value.len == value->len && sodium_memcmp(s->value.data, value->data, value->len) == 0)
        return -EALREADY;
    int r = keep_ms > 0 ? check_previous_names(vault, s) : 0;
    if (r == 0)
        r = secret_copy(value->data, value->len, &fresh);
    if (r < 0)
        return r;
    forget_previous(vault, s);
    if (keep_ms > 0) {
        s->previous = s->value;
        s->previous_until_ms = vault_now_ms() + keep_ms;
    } else
        vault_wipe_value(vault, &s->value);
    s->value = fresh;
    s->updated_ms = vault_now_ms();
    return 1;
}

int vault_revoke_secret(struct vault *vault, const char *name)
{
    struct vault_secret *s = vault_secret(vault, name);

    if (!s)
        return -ENOENT;
    if (s->revoked)
        return 0;
    struct secret empty;
    int r = secret_new(0, &empty);
    if (r < 0)
        return r;
    vault_wipe_value(vault, &s->value);
    forget_previous(vault, s);
    s->value = empty;
    s->revoked = true;
    s->updated_ms = vault_now_ms();
    return 1;
}

int vault_remove_secret(struct vault *vault, const char *name)
{
    struct vault_secret *s = vault_secret(vault, name);

    if (!s)
        return -ENOENT;
    vault_drop_secret(vault, s);
    size_t at = (size_t)(s - vault->secrets);
    memmove(s, s + 1, (vault->n_secrets - at - 1) * sizeof(*s));
    vault->n_secrets--;
    return 1;
}

int vault_ungrant(struct vault *vault, const char *secret, const char *principal, const char *as)
{
    struct vault_secret *s = vault_secret(vault, secret);

    return s ? drop_grants(vault, s, principal, as) : -ENOENT;
}

int vault_add_recipient(struct vault *vault, const char *recipient)
{
    for (size_t i = 0; i < vault->n_recipients; i++)
        if (str_eq(vault->recipients[i], recipient))
            return 0;
    if (vault->n_recipients >= LIMIT_RECIPIENTS)
        return -E2BIG;
    vault_recipient *list = reallocarray(vault->recipients, vault->n_recipients + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    vault->recipients = list;
    snprintf(list[vault->n_recipients++], sizeof(*list), "%s", recipient);
    return 1;
}

int vault_remove_recipient(struct vault *vault, const char *recipient)
{
    for (size_t i = 0; i < vault->n_recipients; i++)
        if (str_eq(vault->recipients[i], recipient)) {
            memmove(&vault->recipients[i], &vault->recipients[i + 1],
                    (vault->n_recipients - i - 1) * sizeof(*vault->recipients));
            vault->n_recipients--;
            return 1;
        }
    return 0;
}
