// A JSON reader in place: grammar-driven, so the nesting is that of the caller's code.
#include "json_text.h"
#include "str.h"
#include <endian.h>
#include <errno.h>
#include <string.h>

static bool fault(struct json_text *t)
{
    t->bad = true;
    t->at = t->end;
    return false;
}

static void skip_space(struct json_text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\n' || *t->at == '\r'))
        t->at++;
}

// The next byte behind white space, or NUL at the end; a NUL in the text is a fault all the same.
static inline char peek(struct json_text *t)
{
    if (t->at < t->end && (unsigned char)*t->at > ' ') // most often
        return *t->at;
    skip_space(t);
    return t->at < t->end ? *t->at : '\0';
}

static inline bool take(struct json_text *t, char c)
{
    if (t->bad || peek(t) != c)
        return fault(t);
    t->at++;
    return true;
}

bool json_text_begin(struct json_text *t, char bracket)
{
    return take(t, bracket);
}

bool json_text_more(struct json_text *t, char close, size_t *count)
{
    if (t->bad)
        return false;
    if (peek(t) == close) {
        t->at++;
        return false;
    }
    return ((*count)++ == 0 || take(t, ',')) && !t->bad;
}

static int hex4(const char *s)
{
    int n = 0;

    for (int i = 0; i < 4; i++) {
        int digit = s[i] >= '0' && s[i] <= '9'   ? s[i] - '0'
                    : s[i] >= 'a' && s[i] <= 'f' ? s[i] - 'a' + 10
                    : s[i] >= 'A' && s[i] <= 'F' ? s[i] - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return -1;
        n = n << 4 | digit;
    }
    return n;
}

// \uXXXX at s, also a pair of them: its bytes go to out, which is never ahead of s. Returns what was read, 0:
// bad.
static size_t unescape_u(const char *s, const char *end, char *out, size_t *ret_written)
{
    int high = end - s >= 6 ? hex4(s + 2) : -1, low;
    uint32_t c = (uint32_t)high;
    size_t used = 6;

    if (high <= 0 || (high >= 0xdc00 && high <= 0xdfff))
        return 0;
    if (high >= 0xd800 && high <= 0xdbff) {
        if (end - s < 12 || s[6] != '\\' || s[7] != 'u' || (low = hex4(s + 8)) < 0xdc00 || low > 0xdfff)
            return 0;
        c = 0x10000 + (((uint32_t)high & 0x3ff) << 10 | ((uint32_t)low & 0x3ff));
        used = 12;
    }
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(first[n] | c);
    *ret_written = n;
    return used;
}

// One escape sequence at s. Returns what was read, 0: bad.
static size_t unescape(const char *s, const char *end, char *out, size_t *ret_written)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (end - s < 2 || s[1] == '\0')
        return 0;
    if (s[1] == 'u')
        return unescape_u(s, end, out, ret_written);
    const char *which = strchr(from, s[1]);
    if (!which)
        return 0;
    *out = to[which - from];
    *ret_written = 1;
    return 2;
}

// The first byte from s on that is no ASCII that stands for itself, or end. Eight at a time: bit 7 of a byte
// of `odd` is set for the first such byte, and perhaps for some behind it.
static char *plain_run(char *s, const char *end)
{
    const uint64_t ones = 0x0101010101010101;

    for (uint64_t word; end - s >= 8; s += 8) {
        memcpy(&word, s, sizeof(word));
        word = le64toh(word);
        uint64_t odd =
            (word | (word - ones * 0x20) | ((word ^ ones * '"') - ones) | ((word ^ ones * '\\') - ones)) &
            ones * 0x80;
        if (odd)
            return s + __builtin_ctzll(odd) / 8;
    }
    while (s < end && (unsigned char)*s >= 0x20 && (unsigned char)*s < 0x80 && *s != '"' && *s != '\\')
        s++;
    return s;
}

bool json_text_string(struct json_text *t, char **ret, size_t *ret_len)
{
    bool wide = false;

    if (!take(t, '"'))
        return false;
    char *begin = t->at, *s = plain_run(begin, t->end);
    char *out = s; // from here on it may fall behind
    while (s < t->end && *s != '"') {
        size_t used = 1, written = 1;
        if ((unsigned char)*s < 0x20)
            return fault(t);
        if (*s == '\\')
            used = unescape(s, t->end, out, &written);
        else
            *out = *s;
        if (used == 0)
            return fault(t);
        wide |= (unsigned char)*out >= 0x80;
        s += used;
        out += written;
    }
    if (s == t->end || (wide && !str_is_utf8(begin, (size_t)(out - begin))))
        return fault(t);
    t->at = s + 1;
    *out = '\0'; // where the quote was, or before it
    *ret = begin;
    *ret_len = (size_t)(out - begin);
    return true;
}

bool json_text_key(struct json_text *t, char **ret, size_t *ret_len)
{
    return json_text_string(t, ret, ret_len) && take(t, ':');
}

bool json_text_int(struct json_text *t, int64_t *ret)
{
    uint64_t n = 0;
    bool negative = peek(t) == '-';

    if (negative)
        t->at++;
    const char *begin = t->at;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++)
        if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (uint64_t)(*t->at - '0'), &n))
            return fault(t);
    if (t->bad || t->at == begin || (*begin == '0' && t->at - begin > 1) ||
        n > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return fault(t);
    if (t->at < t->end && (*t->at == '.' || *t->at == 'e' || *t->at == 'E'))
        return fault(t);
    *ret = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

int json_text_word(struct json_text *t, const char *const *words, unsigned n)
{
    size_t len;
    char *s;

    if (json_text_string(t, &s, &len))
        for (unsigned i = 0; i < n; i++)
            if (str_eq(words[i], s))
                return (int)i;
    fault(t);
    return -EBADMSG;
}

int json_text_member(struct json_text *t, const char *const *names, unsigned n_names, uint32_t *seen)
{
    size_t count = *seen ? 1 : 0;

    if (!json_text_more(t, '}', &count))
        return t->bad ? -EBADMSG : -ENOENT;
    int i = json_text_word(t, names, n_names);
    if (i < 0 || !take(t, ':') || *seen & 1u << i) {
        fault(t);
        return -EBADMSG;
    }
    *seen |= 1u << i;
    return i;
}

bool json_text_end(struct json_text *t)
{
    skip_space(t);
    return !t->bad && t->at == t->end;
}
