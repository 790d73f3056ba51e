// Text helpers. Owns nothing; touches neither files nor the environment.
#include "str.h"
#include "limits.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

// The digits at the head of s; *ret_end is what follows them.
static int parse_digits(const char *s, uint64_t *ret, const char **ret_end)
{
    uint64_t v = 0;
    const char *p = s;

    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return -ERANGE;
    if (p == s || (s[0] == '0' && p - s > 1)) // "007" is octal to some readers of YAML: refuse it
        return -EINVAL;
    *ret = v;
    *ret_end = p;
    return 0;
}

int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t v;
    const char *end;
    int r = parse_digits(s, &v, &end);

    if (r < 0)
        return r;
    if (*end)
        return -EINVAL;
    if (v < min || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static int parse_unit(const char *s, const struct unit *units, size_t n, uint64_t *ret)
{
    uint64_t v;
    const char *end;
    int r = parse_digits(s, &v, &end);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        if (str_eq(end, units[i].name))
            return __builtin_mul_overflow(v, units[i].factor, ret) ? -ERANGE : 0;
    return -EINVAL;
}

static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

const char *str_duration(uint64_t ms, char buf[static 32])
{
    size_t i = ARRAY_LEN(durations) - 1;

    while (i > 0 && ms % durations[i].factor != 0)
        i--;
    snprintf(buf, 32, "%llu%s", (unsigned long long)(ms / durations[i].factor),
             ms == 0 ? "" : durations[i].name);
    return buf;
}

int str_to_duration(const char *s, uint64_t *ret_ms)
{
    if (str_eq(s, "0")) {
        *ret_ms = 0;
        return 0;
    }
    uint64_t v;
    int r = parse_unit(s, durations, ARRAY_LEN(durations), &v);
    if (r < 0)
        return r;
    if (v > 100ull * 365 * 86400000) // a century: anything longer is a typing error
        return -ERANGE;
    *ret_ms = v;
    return 0;
}

int str_to_size(const char *s, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        {"", 1}, {"K", 1ull << 10}, {"M", 1ull << 20}, {"G", 1ull << 30}, {"T", 1ull << 40},
    };

    return parse_unit(s, units, ARRAY_LEN(units), ret_bytes);
}

// What the bytes of a name may be.
enum { DIGIT = 1, LOWER = 2, DASH = 4, UNDERSCORE = 8 };
static const unsigned char byte_kind[256] = {
    ['0' ... '9'] = DIGIT,
    ['a' ... 'z'] = LOWER,
    ['-'] = DASH,
    ['_'] = UNDERSCORE,
};

static unsigned kind_of(char c)
{
    return byte_kind[(unsigned char)c];
}

// The length of a name of such bytes, of which the first is one of `first`; 0: it is none.
static size_t name_len(const char *s, unsigned first, unsigned kinds)
{
    const char *p = s;

    if (!(kind_of(*p) & first))
        return 0;
    while (kind_of(*p) & kinds)
        p++;
    return *p == '\0' && p - s < LIMIT_NAME ? (size_t)(p - s) : 0;
}

bool str_is_instance(const char *s)
{
    const size_t n = name_len(s, DIGIT | LOWER, DIGIT | LOWER | DASH);

    return n > 0 && s[n - 1] != '-' && !strstr(s, "--");
}

bool str_is_account(const char *s)
{
    return name_len(s, LOWER, DIGIT | LOWER | DASH) > 0;
}

bool str_is_secret(const char *s)
{
    const size_t n = name_len(s, DIGIT | LOWER, DIGIT | LOWER | DASH | UNDERSCORE);

    return n > 0 && kind_of(s[n - 1]) & (DIGIT | LOWER);
}

bool str_is_plugin(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n >= LIMIT_NAME)
        return false;
    for (const char *p = s; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        bool other = (*p >= '0' && *p <= '9') || *p == '_' || *p == '-';
        if (!letter && !(other && p > s))
            return false;
    }
    return true;
}

// Length of the UTF-8 sequence at s, 0 if it is not one (overlong, surrogate, beyond U+10FFFF).
static size_t utf8_len(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

bool str_is_utf8(const char *s, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_len((const unsigned char *)s + i, len - i);
        if (n == 0)
            return false;
    }
    return true;
}

void str_make_utf8(char *s)
{
    for (size_t left = strlen(s), n; left > 0; s += n, left -= n) {
        n = utf8_len((const unsigned char *)s, left);
        if (n > 0)
            continue;
        *s = '?';
        n = 1;
    }
}

bool str_is_abspath(const char *s)
{
    if (s[0] != '/' || strlen(s) >= LIMIT_PATH)
        return false;
    if (s[1] == '\0')
        return true;
    for (const char *p = s; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
        if (*p != '/')
            continue;
        size_t n = strcspn(p + 1, "/");
        if (n == 0 || (n == 1 && p[1] == '.') || (n == 2 && p[1] == '.' && p[2] == '.'))
            return false;
    }
    return true;
}

bool str_path_within(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    if (n == 1 && dir[0] == '/')
        return path[0] == '/';
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

unsigned str_distance(const char *a, const char *b)
{
    size_t n = strlen(b);
    unsigned row[64];

    if (n >= ARRAY_LEN(row) || strlen(a) >= 255)
        return 255;
    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            unsigned above = row[j];
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = MIN(change, MIN(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[n];
}

void str_hex(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int str_unhex(const char *s, void *data, size_t len)
{
    unsigned char *out = data;

    if (strlen(s) != 2 * len)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return -EINVAL;
        out[i] = (unsigned char)(hi << 4 | lo);
    }
    return 0;
}

bool sb_grow(struct strbuf *sb, size_t more)
{
    size_t need;

    if (sb->failed)
        return false;
    if (__builtin_add_overflow(sb->len, more + 1, &need)) {
        sb->failed = true;
        return false;
    }
    size_t cap = MAX(need, MAX((size_t)64, sb->cap * 2));
    char *p = realloc(sb->p, cap);
    if (!p) {
        sb->failed = true;
        return false;
    }
    sb->p = p;
    sb->cap = cap;
    return true;
}

void sb_add_padded(struct strbuf *sb, const char *s, size_t width)
{
    size_t len = strlen(s), pad = len < width ? width - len : 0;

    if (!sb_room(sb, len + pad))
        return;
    memcpy(sb->p + sb->len, s, len);
    memset(sb->p + sb->len + len, ' ', pad);
    sb->len += len + pad;
    sb->p[sb->len] = '\0';
}

void sb_addf(struct strbuf *sb, const char *format, ...)
{
    va_list ap, again;

    va_start(ap, format);
    va_copy(again, ap);
    size_t room = sb->cap - sb->len; // with the NUL
    int n = vsnprintf(room ? sb->p + sb->len : NULL, room, format, ap);
    if (n < 0)
        sb->failed = true;
    else if ((size_t)n < room)
        sb->len += (size_t)n;
    else if (sb_room(sb, (size_t)n)) {
        vsnprintf(sb->p + sb->len, (size_t)n + 1, format, again);
        sb->len += (size_t)n;
    }
    va_end(again);
    va_end(ap);
}

void sb_add_json(struct strbuf *sb, const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t left = strlen(s);

    sb_addc(sb, '"');
    while (left > 0) {
        size_t n = utf8_len(p, left);
        if (n == 0) {
            sb_adds(sb, "\xef\xbf\xbd");
            n = 1;
        } else if (*p == '"' || *p == '\\') {
            sb_addc(sb, '\\');
            sb_addc(sb, (char)*p);
        } else if (*p < 0x20 || *p == 0x7f)
            sb_addf(sb, "\\u%04x", *p);
        else
            sb_add(sb, p, n);
        p += n;
        left -= n;
    }
    sb_addc(sb, '"');
}

void sb_add_word(struct strbuf *sb, const char *s)
{
    for (const unsigned char *p = (const unsigned char *)s; *p; p++)
        if (*p > ' ' && *p < 0x7f && *p != '%')
            sb_addc(sb, (char)*p);
        else
            sb_addf(sb, "%%%02x", *p);
}

int str_unword(char *s)
{
    char *out = s;

    for (; *s; s++) {
        if (*s != '%') {
            *out++ = *s;
            continue;
        }
        int hi = hex_digit(s[1]), lo = hi < 0 ? -1 : hex_digit(s[2]);
        if (lo < 0 || (hi == 0 && lo == 0))
            return -EINVAL;
        *out++ = (char)(hi << 4 | lo);
        s += 2;
    }
    *out = '\0';
    return 0;
}

char *sb_finish(struct strbuf *sb)
{
    if (!sb_room(sb, 0)) {
        sb_free(sb);
        return NULL;
    }
    sb->p[sb->len] = '\0';
    char *p = ptr_take(&sb->p);
    sb_free(sb);
    return p;
}

void sb_free(struct strbuf *sb)
{
    free(sb->p);
    *sb = (struct strbuf){0};
}
