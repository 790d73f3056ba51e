// Rabin-Karp with one table for all needles; a hit is confirmed by BLAKE2b under the set's
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
    size_t budget; // bytes that may still be hashed to confirm
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

// All needles by the top bits of their rolling hash. They hardly feel a window's last byte, which costs a few
// comparisons and saves a multiplication at each byte. The filter is what a miss looks at: it stays in the
// nearest cache.
struct table {
    uint8_t *filter;
    uint32_t *slots; // index + 1, 0: empty
    unsigned filter_shift, shift;
    size_t mask;
};

static int make_table(const struct mask_set *set, struct table *ret)
{
    unsigned bits = 6;

    while (((size_t)1 << bits) < 8 * set->n)
        bits++;
    const unsigned filter_bits = MIN(MAX(bits + 3, 12u), 16u);
    *ret = (struct table){calloc((size_t)1 << filter_bits, 1), calloc((size_t)1 << bits, sizeof(uint32_t)),
                          64 - filter_bits, 64 - bits, ((size_t)1 << bits) - 1};
    if (!ret->filter || !ret->slots)
        return -ENOMEM;
    for (size_t i = 0; i < set->n; i++) {
        size_t slot = (size_t)(set->list[i].roll >> ret->shift);
        while (ret->slots[slot])
            slot = (slot + 1) & ret->mask;
        ret->slots[slot] = (uint32_t)i + 1;
        ret->filter[set->list[i].roll >> ret->filter_shift] = 1;
    }
    return 0;
}

// Whoever knows a long secret can write its first bytes a million times, and each would be hashed to its end:
// when that has cost several times the text, what begins like a secret is taken for one.
static bool is_needle(const struct mask_set *set, const struct mask_needle *needle, const char *at,
                      struct hits *hits)
{
    uint8_t mac[16];

    if (hits->budget < needle->len)
        return true;
    hits->budget -= needle->len;
    mac_of(set, (const uint8_t *)at, needle->len, mac);
    return memcmp(mac, needle->mac, sizeof(mac)) == 0;
}

static int confirm(const struct mask_set *set, const struct table *t, uint64_t roll, uint32_t window,
                   const char *text, size_t at, size_t len, struct hits *hits)
{
    int r = 0;

    for (size_t slot = (size_t)(roll >> t->shift); r == 0 && t->slots[slot]; slot = (slot + 1) & t->mask) {
        const struct mask_needle *needle = &set->list[t->slots[slot] - 1];
        if (needle->roll == roll && needle->window == window && at < len && needle->len <= len - at &&
            is_needle(set, needle, text + at, hits))
            r = add_hit(hits, at, needle->len);
    }
    return r;
}

struct width {
    uint32_t window;
    uint64_t power; // base^window
};

// What looking needs, made once for all strings of an answer: it may have a million of them.
struct seeker {
    const struct mask_set *set;
    struct table table;
    struct width widths[MASK_WINDOW + 1];
    unsigned n_widths;
};

static void seek_end(struct seeker *k)
{
    free(k->table.filter);
    free(k->table.slots);
}

static int seek_begin(const struct mask_set *set, struct seeker *k)
{
    uint32_t present = 0;
    uint64_t power = 1;

    *k = (struct seeker){.set = set};
    for (size_t i = 0; i < set->n; i++)
        present |= 1u << set->list[i].window;
    for (uint32_t window = 0; window <= MASK_WINDOW; window++, power *= set->base)
        if (present & (1u << window))
            k->widths[k->n_widths++] = (struct width){window, power};
    int r = set->n > 0 ? make_table(set, &k->table) : 0;
    if (r < 0)
        seek_end(k);
    return r;
}

// One pass for all window lengths: the hash of any window is the difference of two hashes from the text's
// beginning, so that no length has a chain of multiplications of its own. n is a constant for the compiler:
// the loop over the lengths is unrolled.
__attribute__((always_inline)) static inline int seek_n(const struct seeker *k, const unsigned n,
                                                        const char *text, size_t len, struct hits *hits)
{
    const struct table t = k->table;
    const uint64_t base = k->set->base;
    uint64_t from_start[32] = {0}; // of the last texts; more than MASK_WINDOW, a power of two
    uint64_t hash = 0;

    for (size_t end = 1; end <= len; end++) {
        hash = hash * base + (uint8_t)text[end - 1];
        from_start[end % 32] = hash;
#pragma GCC unroll 9
        for (unsigned i = 0; i < n; i++) {
            // Before its first window is full this is some other number, and confirm looks at the place.
            const size_t at = end - k->widths[i].window;
            const uint64_t roll = hash - from_start[at % 32] * k->widths[i].power;
            if (__builtin_expect(t.filter[roll >> t.filter_shift], 0)) {
                int r = confirm(k->set, &t, roll, k->widths[i].window, text, at, len, hits);
                if (r < 0)
                    return r;
            }
        }
    }
    return 0;
}

static int seek(const struct seeker *k, const char *text, size_t len, struct hits *hits)
{
    if (k->n_widths == 0 || len < k->widths[0].window)
        return 0;
    switch (k->n_widths) {
    case 1: return seek_n(k, 1, text, len, hits);
    case 2: return seek_n(k, 2, text, len, hits);
    case 3: return seek_n(k, 3, text, len, hits);
    case 4: return seek_n(k, 4, text, len, hits);
    case 5: return seek_n(k, 5, text, len, hits);
    case 6: return seek_n(k, 6, text, len, hits);
    case 7: return seek_n(k, 7, text, len, hits);
    case 8: return seek_n(k, 8, text, len, hits);
    default: return seek_n(k, MASK_WINDOW - MASK_MIN + 1, text, len, hits);
    }
}

static int by_place(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->len > y->len ? -1 : x->len < y->len;
}

static long mask_one(const struct seeker *k, const char *text, size_t len, char **ret, size_t *ret_len)
{
    struct hits hits = {.budget = 4 * len + (1 << 20)};
    struct strbuf sb = {0};
    size_t done = 0;
    long count = 0;
    int r = seek(k, text, len, &hits);

    *ret = NULL;
    if (r == 0 && hits.n > 1)
        qsort(hits.list, hits.n, sizeof(*hits.list), by_place);
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

long mask_text(const struct mask_set *set, const char *text, size_t len, char **ret, size_t *ret_len)
{
    struct seeker k;
    long n = seek_begin(set, &k);

    *ret = NULL;
    if (n < 0)
        return n;
    n = mask_one(&k, text, len, ret, ret_len);
    seek_end(&k);
    return n;
}

static long mask_value(const struct seeker *k, json_t **json);

static long mask_string(const struct seeker *k, const char *text, size_t len, json_t **ret)
{
    OWNED(freep) char *masked = NULL;
    size_t masked_len = 0;
    long n = mask_one(k, text, len, &masked, &masked_len);

    if (n > 0) {
        *ret = json_stringn(masked, masked_len);
        // A mask may have cut a character of several bytes: what is left of it is no text.
        if (!*ret)
            *ret = json_string(stand_in);
    }
    return n > 0 && !*ret ? -ENOMEM : n;
}

static long mask_object(const struct seeker *k, json_t **json)
{
    json_t *out = json_object(), *value;
    const char *key;
    long count = 0, n = out ? 0 : -ENOMEM;

    json_object_foreach(*json, key, value)
    {
        json_t *new_key = NULL, *copy = json_incref(value);
        n = n < 0 ? n : mask_string(k, key, strlen(key), &new_key);
        count += MAX(n, 0L);
        n = n < 0 ? n : mask_value(k, &copy);
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

static long mask_array(const struct seeker *k, json_t *array)
{
    long count = 0;

    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *copy = json_incref(json_array_get(array, i));
        long n = mask_value(k, &copy);
        if (n >= 0 && json_array_set(array, i, copy) < 0)
            n = -ENOMEM;
        json_decref(copy);
        if (n < 0)
            return n;
        count += n;
    }
    return count;
}

static long mask_value(const struct seeker *k, json_t **json)
{
    json_t *masked = NULL;
    char digits[32];
    long n = 0;

    switch (json_typeof(*json)) {
    case JSON_OBJECT: return mask_object(k, json);
    case JSON_ARRAY: return mask_array(k, *json);
    case JSON_STRING: n = mask_string(k, json_string_value(*json), json_string_length(*json), &masked); break;
    case JSON_INTEGER:
        snprintf(digits, sizeof(digits), "%lld", (long long)json_integer_value(*json));
        n = mask_string(k, digits, strlen(digits), &masked);
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

long mask_json(const struct mask_set *set, json_t **json)
{
    struct seeker k;
    long n = set->n > 0 ? seek_begin(set, &k) : 1;

    if (n != 0)
        return MIN(n, 0L);
    n = mask_value(&k, json);
    seek_end(&k);
    return n;
}
