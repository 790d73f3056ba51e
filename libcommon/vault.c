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

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void vault_close(struct vault *vault)
{
    for (size_t i = 0; i < vault->n_secrets; i++) {
        secret_wipe(&vault->secrets[i].value);
        free(vault->secrets[i].grants);
    }
    free(vault->secrets);
    free(vault->principals);
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
    struct vault_principal *p = &list[vault->n_principals++];
    *p = (struct vault_principal){.kind = kind, .created_ms = now_ms()};
    snprintf(p->name, sizeof(p->name), "%s", name);
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
    *s = (struct vault_secret){.pattern = pattern, .created_ms = now_ms(), .updated_ms = now_ms()};
    snprintf(s->name, sizeof(s->name), "%s", name);
    int r = secret_copy(value->data, value->len, &s->value);
    if (r == 0)
        vault->n_secrets++;
    return r;
}

static int add_grant(struct vault_secret *s, const char *principal, const char *as)
{
    struct vault_grant *list = reallocarray(s->grants, s->n_grants + 1, sizeof(*list));

    if (!list)
        return -ENOMEM;
    s->grants = list;
    struct vault_grant *g = &list[s->n_grants++];
    snprintf(g->principal, sizeof(g->principal), "%s", principal);
    snprintf(g->as, sizeof(g->as), "%s", as);
    return 1;
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
    // Two secrets under one name would leave it to chance which of them the plugin reads.
    for (size_t i = 0; i < vault->n_secrets; i++)
        for (size_t j = 0; j < vault->secrets[i].n_grants; j++) {
            const struct vault_grant *g = &vault->secrets[i].grants[j];
            if (str_eq(g->principal, principal) && str_eq(g->as, as))
                return -EEXIST;
        }
    return add_grant(s, principal, as);
}

// ---- composing ----------------------------------------------------------------------------------

struct item {
    const char *name;
    const struct secret *value;
};

static int by_item_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static int collect(struct vault *vault, const char *principal, struct item **ret, size_t *ret_n)
{
    struct item *list = NULL;
    size_t n = 0;

    for (size_t i = 0; i < vault->n_secrets; i++) {
        const struct vault_secret *s = &vault->secrets[i];
        for (size_t j = 0; j < s->n_grants; j++) {
            if (s->revoked || s->value.len == 0 || !str_eq(s->grants[j].principal, principal))
                continue;
            struct item *more = reallocarray(list, n + 1, sizeof(*list));
            if (!more) {
                free(list);
                return -ENOMEM;
            }
            list = more;
            list[n++] = (struct item){s->grants[j].as, &s->value};
        }
    }
    if (n > 0)
        qsort(list, n, sizeof(*list), by_item_name);
    *ret = list;
    *ret_n = n;
    return 0;
}

// Writes into the arena, or only counts where out is NULL: no strbuf, whose memory nobody would wipe.
struct writer {
    uint8_t *out;
    size_t n;
};

static void put(struct writer *w, const char *s, size_t len)
{
    if (w->out)
        memcpy(w->out + w->n, s, len);
    w->n += len;
}

static void put_string(struct writer *w, const uint8_t *s, size_t len)
{
    char escape[8];

    put(w, "\"", 1);
    for (size_t i = 0; i < len; i++)
        if (s[i] == '"' || s[i] == '\\') {
            const char pair[2] = {'\\', (char)s[i]};
            put(w, pair, 2);
        } else if (s[i] < 0x20 || s[i] == 0x7f) {
            snprintf(escape, sizeof(escape), "\\u%04x", s[i]);
            put(w, escape, 6);
        } else
            put(w, (const char *)&s[i], 1);
    put(w, "\"", 1);
    sodium_memzero(escape, sizeof(escape));
}

static void write_head(struct writer *w, const struct item *items, size_t n)
{
    put(w, "{\"secrets\":{", 12);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            put(w, ",", 1);
        put_string(w, (const uint8_t *)items[i].name, strlen(items[i].name));
        put(w, ":", 1);
        put_string(w, items[i].value->data, items[i].value->len);
    }
    put(w, "},", 2);
}

static int deliver(const struct item *items, size_t n, size_t max, struct vault_delivery *ret)
{
    struct writer w = {0};
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        total += items[i].value->len;
    if (total > max)
        return -EFBIG;
    write_head(&w, items, n);
    int r = secret_new(w.n, &ret->json);
    if (r < 0)
        return r;
    w = (struct writer){.out = ret->json.data};
    write_head(&w, items, n);
    ret->names = calloc(n + 1, sizeof(*ret->names));
    for (size_t i = 0; ret->names && i < n; i++)
        if ((ret->names[i] = strdup(items[i].name)))
            ret->n++;
    if (!ret->names || ret->n != n)
        return -ENOMEM;
    mask_begin(&ret->mask);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = mask_add(&ret->mask, items[i].value->data, items[i].value->len);
    return r;
}

static bool has_item(const struct item *items, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(items[i].name, name))
            return true;
    return false;
}

int vault_compose(struct vault *vault, const char *principal, char *const *requires, size_t n_requires,
                  bool required, size_t max, struct vault_delivery *ret, char ret_name[static LIMIT_NAME])
{
    const struct vault_principal *p = vault_principal(vault, principal);
    OWNED(freep) struct item *items = NULL;
    struct vault_delivery d = {0};
    size_t n = 0;

    snprintf(ret_name, LIMIT_NAME, "%s", n_requires > 0 ? requires[0] : principal);
    if (p && p->revoked)
        return -EKEYREVOKED;
    if (!p && (required || n_requires > 0))
        return -ENOKEY;
    int r = p ? collect(vault, principal, &items, &n) : 0;
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_requires; i++)
        if (!has_item(items, n, requires[i])) {
            snprintf(ret_name, LIMIT_NAME, "%s", requires[i]);
            return -ENOKEY;
        }
    if (required && n == 0) {
        snprintf(ret_name, LIMIT_NAME, "%s", principal);
        return -ENOKEY;
    }
    r = deliver(items, n, max, &d);
    if (r < 0) {
        vault_delivery_wipe(&d);
        return r;
    }
    *ret = d;
    return 0;
}

void vault_delivery_wipe(struct vault_delivery *d)
{
    secret_wipe(&d->json);
    for (size_t i = 0; i < d->n; i++)
        free(d->names[i]);
    free(d->names);
    mask_free(&d->mask);
    *d = (struct vault_delivery){0};
}
