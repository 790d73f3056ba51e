// What one spawn gets of the vault, and why not. Values are copied from the arena into the arena. A grant
// that delivers nothing (revoked, expired, empty) is told, never passed over in silence: who needed it by
// name is refused, and for the others its name stands in the row of the delivery.
#include "str.h"
#include "vault.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define PREVIOUS "_previous"

struct item {
    char name[LIMIT_NAME + sizeof(PREVIOUS)];
    const struct secret *value;
    int why; // 0: it is delivered
};

struct items {
    struct item *list;
    size_t n, delivered;
};

static int by_item_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static int judge(const struct vault_secret *s, int64_t now_ms)
{
    if (s->revoked)
        return -EKEYREVOKED;
    if (s->expires_ms > 0 && s->expires_ms <= now_ms)
        return -EKEYEXPIRED;
    return s->value.len == 0 ? -ENODATA : 0;
}

static void add(struct items *items, const struct vault_secret *s, const char *as, int64_t now_ms)
{
    struct item *item = &items->list[items->n++];

    *item = (struct item){.value = &s->value, .why = judge(s, now_ms)};
    snprintf(item->name, sizeof(item->name), "%s", as);
    items->delivered += item->why == 0;
    if (item->why || s->previous.len == 0 || s->previous_until_ms <= now_ms)
        return;
    item = &items->list[items->n++];
    *item = (struct item){.value = &s->previous};
    snprintf(item->name, sizeof(item->name), "%s" PREVIOUS, as);
    items->delivered++;
}

static int collect_all(const struct vault *vault, const char *principal, int64_t now_ms, struct items *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < vault->n_secrets; i++)
        for (size_t j = 0; j < vault->secrets[i].n_grants; j++)
            n += str_eq(vault->secrets[i].grants[j].principal, principal);
    ret->list = calloc(2 * n + 1, sizeof(*ret->list));
    for (size_t i = 0; ret->list && i < vault->n_secrets; i++)
        for (size_t j = 0; j < vault->secrets[i].n_grants; j++)
            if (str_eq(vault->secrets[i].grants[j].principal, principal))
                add(ret, &vault->secrets[i], vault->secrets[i].grants[j].as, now_ms);
    return ret->list ? 0 : -ENOMEM;
}

static int collect(const struct vault *vault, const char *principal, int64_t now_ms, struct items *ret)
{
    const struct vault_place *places = NULL;
    size_t n = 0;
    int r = 0;

    if (!vault->index)
        r = collect_all(vault, principal, now_ms, ret);
    else {
        vault_index_find(vault, principal, &places, &n);
        ret->list = calloc(2 * n + 1, sizeof(*ret->list));
        r = ret->list ? 0 : -ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        const struct vault_secret *s = &vault->secrets[places[i].secret];
        add(ret, s, s->grants[places[i].grant].as, now_ms);
    }
    if (r == 0)
        qsort(ret->list, ret->n, sizeof(*ret->list), by_item_name);
    return r;
}

static const struct vault_principal *principal_of(struct vault *vault, const char *name)
{
    long n = vault->index ? vault_index_find(vault, name, NULL, NULL) : 0;

    if (!vault->index)
        return vault_principal(vault, name);
    return n < 0 ? NULL : &vault->principals[n];
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

// The names that deliver nothing, for the audit row.
static int tell_withheld(const struct items *items, char **ret)
{
    struct strbuf sb = {0};

    if (items->delivered == items->n)
        return 0;
    for (size_t i = 0; i < items->n; i++) {
        const int why = items->list[i].why;
        if (why == 0)
            continue;
        sb_adds(&sb, sb.len ? ",{\"name\":" : "[{\"name\":");
        sb_add_json(&sb, items->list[i].name);
        sb_addf(&sb, ",\"why\":\"%s\"}",
                why == -EKEYREVOKED   ? "revoked"
                : why == -EKEYEXPIRED ? "expired"
                                      : "empty");
    }
    sb_addc(&sb, ']');
    *ret = sb_finish(&sb);
    return *ret ? 0 : -ENOMEM;
}

static int keep_values(const struct item *items, size_t n, size_t total, struct vault_delivery *ret)
{
    size_t at = 0;
    int r = secret_new(total, &ret->values);

    ret->names = calloc(n + 1, sizeof(*ret->names));
    ret->lengths = calloc(n + 1, sizeof(*ret->lengths));
    if (r < 0 || !ret->names || !ret->lengths)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!(ret->names[i] = strdup(items[i].name)))
            return -ENOMEM;
        ret->n++;
        ret->lengths[i] = items[i].value->len;
        memcpy(ret->values.data + at, items[i].value->data, items[i].value->len);
        at += items[i].value->len;
    }
    return 0;
}

static int deliver(const struct items *from, size_t max, struct vault_delivery *ret)
{
    OWNED(freep) struct item *items = calloc(from->delivered + 1, sizeof(*items));
    struct writer w = {0};
    size_t total = 0, n = 0;

    for (size_t i = 0; items && i < from->n; i++)
        if (from->list[i].why == 0) {
            items[n++] = from->list[i];
            total += from->list[i].value->len;
        }
    if (!items || total > max)
        return items ? -EFBIG : -ENOMEM;
    write_head(&w, items, n);
    int r = secret_new(w.n, &ret->json);
    if (r < 0)
        return r;
    w = (struct writer){.out = ret->json.data};
    write_head(&w, items, n);
    r = keep_values(items, n, total, ret);
    return r < 0 ? r : tell_withheld(from, &ret->withheld);
}

// Is what is needed by name among what is delivered?
static int check_need(const struct items *items, const char *name)
{
    for (size_t i = 0; i < items->n; i++)
        if (str_eq(items->list[i].name, name))
            return items->list[i].why;
    return -ENOKEY;
}

int vault_compose(struct vault *vault, const char *principal, char *const *requires, size_t n_requires,
                  bool required, size_t max, int64_t now_ms, struct vault_delivery *ret,
                  char ret_name[static LIMIT_NAME])
{
    const struct vault_principal *p = principal_of(vault, principal);
    struct items items = {0};
    struct vault_delivery d = {0};

    snprintf(ret_name, LIMIT_NAME, "%s", n_requires > 0 && !p ? requires[0] : principal);
    if (p && p->kind == PRINCIPAL_CORE) // also where a plugin has that name
        return -EPERM;
    if (p && p->revoked)
        return -EKEYREVOKED;
    if (!p && (required || n_requires > 0))
        return -ENOKEY;
    int r = p ? collect(vault, principal, now_ms, &items) : 0;
    OWNED(freep) struct item *list = items.list;
    for (size_t i = 0; r == 0 && i < n_requires; i++) {
        snprintf(ret_name, LIMIT_NAME, "%s", requires[i]);
        r = check_need(&items, requires[i]);
    }
    if (r == 0 && required && items.delivered == 0) {
        // The first that would have been there says more than "nothing".
        snprintf(ret_name, LIMIT_NAME, "%.63s", items.n > 0 ? items.list[0].name : principal);
        r = items.n > 0 ? items.list[0].why : -ENOKEY;
    }
    if (r == 0)
        r = deliver(&items, max, &d);
    if (r < 0) {
        vault_delivery_wipe(&d);
        return r;
    }
    *ret = d;
    (void)list;
    return 0;
}

int vault_delivery_mask(struct vault_delivery *d)
{
    size_t at = 0;
    int r = 0;

    mask_begin(&d->mask);
    for (size_t i = 0; r == 0 && i < d->n; at += d->lengths[i++])
        r = mask_add(&d->mask, d->values.data + at, d->lengths[i]);
    secret_wipe(&d->values);
    return r;
}

void vault_delivery_wipe(struct vault_delivery *d)
{
    secret_wipe(&d->json);
    secret_wipe(&d->values);
    for (size_t i = 0; i < d->n; i++)
        free(d->names[i]);
    free(d->names);
    free(d->lengths);
    free(d->withheld);
    mask_free(&d->mask);
    *d = (struct vault_delivery){0};
}
