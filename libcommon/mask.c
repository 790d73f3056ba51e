// Rabin-Karp with one table for all needles of a window length; a hit is confirmed by BLAKE2b under the set's
// key.
#include "mask.h"
#include "str.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char stand_in[] = "[masked]";

void mask_begin(struct mask_set *set)
{
    *set = (struct mask_set){0};
    randombytes_buf(set->key, sizeof(set->key));
    randombytes_buf(&set->base, sizeof(set->base));
    set->base |= 1;
}

void mask_free(struct mask_set *set)
{
    free(set->list);
    sodium_memzero(set, sizeof(*set));
}

static void mac_of(const struct mask_set *set, const uint8_t *data, size_t len, uint8_t out[static 16])
{
    crypto_generichash(out, 16, data, len, set->key, sizeof(set->key));
}

static int add_needle(struct mask_set *set, const uint8_t *data, size_t len)
{
    struct mask_needle needle = {.len = (uint32_t)len, .window = (uint32_t)MIN(len, (size_t)MASK_WINDOW)};

    if (len < MASK_MIN)
        return 0;
    for (size_t i = 0; i < needle.window; i++)
        needle.roll = needle.roll * set->base + data[i];
    mac_of(set, data, len, needle.mac);
    for (size_t i = 0; i < set->n; i++) // most encodings of a plain token are the token itself
        if (set->list[i].len == needle.len && memcmp(set->list[i].mac, needle.mac, sizeof(needle.mac)) == 0)
            return 0;
    struct mask_needle *list = reallocarray(set->list, set->n + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    list[set->n++] = needle;
    set->list = list;
    return 0;
}

// ---- encodings ----------------------------------------------------------------------------------

static size_t json_escaped(const uint8_t *value, size_t len, char *out)
{
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        const char *special = value[i] ? strchr(names, value[i]) : NULL;
        if (special) {
            out[n++] = '\\';
            out[n++] = letters[special - names];
        } else if (value[i] < 0x20)
            n += (size_t)snprintf(out + n, 7, "\\u%04x", value[i]);
        else
            out[n++] = (char)value[i];
    }
    return n;
}

static size_t percent_encoded(const uint8_t *value, size_t len, const char *digits, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        bool plain = (value[i] >= '0' && value[i] <= '9') || (value[i] >= 'A' && value[i] <= 'Z') ||
                     (value[i] >= 'a' && value[i] <= 'z') || (value[i] && strchr("-._~", value[i]));
        if (plain)
            out[n++] = (char)value[i];
        else {
            out[n++] = '%';
            out[n++] = digits[value[i] >> 4];
            out[n++] = digits[value[i] & 15];
        }
    }
    return n;
}

// The characters that the value alone decides, when it begins `skip` bytes into a group of three.
static int add_base64(struct mask_set *set, const uint8_t *value, size_t len, unsigned skip, int variant,
                      char *out)
{
    static const size_t first[] = {0, 2, 3};
    const size_t whole = (skip + len) * 8 / 6;
    uint8_t *shifted = secret_alloc(len + 2);

    if (!shifted)
        return -ENOMEM;
    memcpy(shifted + skip, value, len);
    sodium_bin2base64(out, 2 * len + 16, shifted, skip + len, variant);
    secret_free(shifted);
    return whole > first[skip] ? add_needle(set, (uint8_t *)out + first[skip], whole - first[skip]) : 0;
}

int mask_add(struct mask_set *set, const uint8_t *value, size_t len)
{
    const size_t room = 6 * len + 16;
    char *out = secret_alloc(room);
    int r = out ? add_needle(set, value, len) : -ENOMEM;

    if (r == 0)
        r = add_needle(set, (uint8_t *)out, json_escaped(value, len, out));
    if (r == 0)
        r = add_needle(set, (uint8_t *)out, percent_encoded(value, len, "0123456789ABCDEF", out));
    if (r == 0)
        r = add_needle(set, (uint8_t *)out, percent_encoded(value, len, "0123456789abcdef", out));
    for (unsigned skip = 0; r == 0 && skip < 3; skip++) {
        r = add_base64(set, value, len, skip, sodium_base64_VARIANT_ORIGINAL_NO_PADDING, out);
        if (r == 0)
            r = add_base64(set, value, len, skip, sodium_base64_VARIANT_URLSAFE_NO_PADDING, out);
    }
    secret_free(out);
    return r;
}

// ---- the wire -----------------------------------------------------------------------------------

struct header {
    char magic[8];
    uint8_t key[32];
    uint64_t base, n;
};
static const char magic[8] = "ductmsk1";

int mask_save(const struct mask_set *set, char **ret, size_t *ret_len)
{
    struct header h = {.base = set->base, .n = set->n};
    const size_t len = sizeof(h) + set->n * sizeof(*set->list);
    char *data = malloc(len);

    if (!data)
        return -ENOMEM;
    memcpy(h.magic, magic, sizeof(magic));
    memcpy(h.key, set->key, sizeof(h.key));
    memcpy(data, &h, sizeof(h));
    if (set->n > 0)
        memcpy(data + sizeof(h), set->list, set->n * sizeof(*set->list));
    *ret = data;
    *ret_len = len;
    return 0;
}

int mask_load(const void *data, size_t len, struct mask_set *ret)
{
    struct header h;

    if (len < sizeof(h))
        return -EPROTO;
    memcpy(&h, data, sizeof(h));
    if (memcmp(h.magic, magic, sizeof(magic)) != 0 || h.n != (len - sizeof(h)) / sizeof(*ret->list) ||
        (len - sizeof(h)) % sizeof(*ret->list) != 0)
        return -EPROTO;
    struct mask_set set = {.base = h.base, .n = (size_t)h.n};
    memcpy(set.key, h.key, sizeof(set.key));
    set.list = malloc(MAX(set.n, (size_t)1) * sizeof(*set.list));
    if (!set.list)
        return -ENOMEM;
    memcpy(set.list, (const char *)data + sizeof(h), set.n * sizeof(*set.list));
    for (size_t i = 0; i < set.n; i++)
        if (set.list[i].len < MASK_MIN || set.list[i].window != MIN(set.list[i].len, (uint32_t)MASK_WINDOW)) {
            mask_free(&set);
            return -EPROTO;
        }
    *ret = set;
    return 0;
}

// ---- looking ------------------------------------------------------------------------------------

struct hit {
    size_t at, len;
};

struct hits {
    struct hit *list;
    size_t n, cap;
};

static int add_hit(struct hits *hits, size_t at, size_t len)
{
    if (hits->n == hits->cap) {
        size_t cap = hits->cap ? 2 * hits->cap : 16;
        struct hit *list = reallocarray(hits->list, cap, sizeof(*list));
        if (!list)
            return -ENOMEM;
        hits->list = list;
        hits->cap = cap;
    }
    hits->list[hits->n++] = (struct hit){at, len};
    return 0;
}

// The needles of one window length, by the top bits of their rolling hash. Eight slots a needle: a miss is
// one load.
struct table {
    uint32_t *slots; // index + 1, 0: empty
    unsigned shift;
    size_t mask;
};

static size_t slot_of(const struct table *t, uint64_t roll)
{
    return (size_t)(roll * UINT64_C(0x9e3779b97f4a7c15) >> t->shift);
}

static int make_table(const struct mask_set *set, uint32_t window, struct table *ret)
{
    unsigned bits = 6;

    while (((size_t)1 << bits) < 8 * set->n)
        bits++;
    *ret = (struct table){calloc((size_t)1 << bits, sizeof(uint32_t)), 64 - bits, ((size_t)1 << bits) - 1};
    if (!ret->slots)
        return -ENOMEM;
    for (size_t i = 0; i < set->n; i++) {
        if (set->list[i].window != window)
            continue;
        size_t slot = slot_of(ret, set->list[i].roll);
        while (ret->slots[slot])
            slot = (slot + 1) & ret->mask;
        ret->slots[slot] = (uint32_t)i + 1;
    }
    return 0;
}

static int confirm(const struct mask_set *set, const struct table *t, uint64_t roll, const char *text,
                   size_t at, size_t len, struct hits *hits)
{
    uint8_t mac[16];

    for (size_t slot = slot_of(t, roll); t->slots[slot]; slot = (slot + 1) & t->mask) {
        const struct mask_needle *needle = &set->list[t->slots[slot] - 1];
        if (needle->roll != roll || needle->len > len - at)
            continue;
        mac_of(set, (const uint8_t *)text + at, needle->len, mac);
        if (memcmp(mac, needle->mac, sizeof(mac)) == 0) {
            int r = add_hit(hits, at, needle->len);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int look(const struct mask_set *set, uint32_t window, const char *text, size_t len, struct hits *hits)
{
    struct table t;
    uint64_t roll = 0, leaving = 1; // base^(window-1)
    int r = len < window ? 1 : make_table(set, window, &t);

    if (r != 0)
        return r < 0 ? r : 0;
    for (uint32_t i = 0; i < window; i++) {
        roll = roll * set->base + (uint8_t)text[i];
        leaving = i ? leaving * set->base : 1;
    }
    for (size_t at = 0; r == 0; at++) {
        if (t.slots[slot_of(&t, roll)])
            r = confirm(set, &t, roll, text, at, len, hits);
        if (at + window == len)
            break;
        roll = (roll - leaving * (uint8_t)text[at]) * set->base + (uint8_t)text[at + window];
    }
    free(t.slots);
    return r;
}

static int by_place(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->len > y->len ? -1 : x->len < y->len;
}

static int look_for_all(const struct mask_set *set, const char *text, size_t len, struct hits *hits)
{
    uint32_t widths = 0;
    int r = 0;

    for (size_t i = 0; i < set->n; i++)
        widths |= 1u << set->list[i].window;
    for (uint32_t window = MASK_MIN; r == 0 && window <= MASK_WINDOW; window++)
        if (widths & (1u << window))
            r = look(set, window, text, len, hits);
    if (r == 0 && hits->n > 1)
        qsort(hits->list, hits->n, sizeof(*hits->list), by_place);
    return r;
}

long mask_text(const struct mask_set *set, const char *text, size_t len, char **ret, size_t *ret_len)
{
    struct hits hits = {0};
    struct strbuf sb = {0};
    size_t done = 0;
    long count = 0;
    int r = set->n > 0 ? look_for_all(set, text, len, &hits) : 0;

    *ret = NULL;
    for (size_t i = 0; r == 0 && i < hits.n; i++) {
        const size_t at = hits.list[i].at, end = at + hits.list[i].len;
        if (end <= done)
            continue;
        if (at >= done) { // else it overlaps the one before, and what is left of it goes too
            sb_add(&sb, text + done, at - done);
            sb_adds(&sb, stand_in);
            count++;
        }
        done = end;
    }
    free(hits.list);
    if (r < 0 || count == 0)
        return r;
    sb_add(&sb, text + done, len - done);
    *ret_len = sb.len;
    *ret = sb_finish(&sb);
    return *ret ? count : -ENOMEM;
}

static long mask_string(const struct mask_set *set, const char *text, size_t len, json_t **ret)
{
    OWNED(freep) char *masked = NULL;
    size_t masked_len;
    long n = mask_text(set, text, len, &masked, &masked_len);

    if (n > 0) {
        *ret = json_stringn(masked, masked_len);
        // A mask may have cut a character of several bytes: what is left of it is no text.
        if (!*ret)
            *ret = json_string(stand_in);
    }
    return n > 0 && !*ret ? -ENOMEM : n;
}

static long mask_object(const struct mask_set *set, json_t **json)
{
    json_t *out = json_object(), *value;
    const char *key;
    long count = 0, n = out ? 0 : -ENOMEM;

    json_object_foreach(*json, key, value)
    {
        json_t *new_key = NULL, *copy = json_incref(value);
        n = n < 0 ? n : mask_string(set, key, strlen(key), &new_key);
        count += MAX(n, 0L);
        n = n < 0 ? n : mask_json(set, &copy);
        count += MAX(n, 0L);
        if (n >= 0 && json_object_set(out, new_key ? json_string_value(new_key) : key, copy) < 0)
            n = -ENOMEM;
        json_decref(copy);
        json_decref(new_key);
    }
    if (n < 0) {
        json_decref(out);
        return n;
    }
    json_decref(*json);
    *json = out;
    return count;
}

static long mask_array(const struct mask_set *set, json_t *array)
{
    long count = 0;

    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *copy = json_incref(json_array_get(array, i));
        long n = mask_json(set, &copy);
        if (n >= 0 && json_array_set(array, i, copy) < 0)
            n = -ENOMEM;
        json_decref(copy);
        if (n < 0)
            return n;
        count += n;
    }
    return count;
}

long mask_json(const struct mask_set *set, json_t **json)
{
    json_t *masked = NULL;
    char digits[32];
    long n = 0;

    switch (json_typeof(*json)) {
    case JSON_OBJECT: return mask_object(set, json);
    case JSON_ARRAY: return mask_array(set, *json);
    case JSON_STRING:
        n = mask_string(set, json_string_value(*json), json_string_length(*json), &masked);
        break;
    case JSON_INTEGER:
        snprintf(digits, sizeof(digits), "%lld", (long long)json_integer_value(*json));
        n = mask_string(set, digits, strlen(digits), &masked);
        break;
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL: break;
    }
    if (masked) {
        json_decref(*json);
        *json = masked;
    }
    return n;
}
