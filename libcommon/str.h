// Text: strict parsers (no trailing rubbish, no silent wrap), names, and a buffer that grows.
#pragma once
#include "owned.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool str_eq(const char *a, const char *b)
{
    return __builtin_strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix);

// Parses a decimal number in min..max. -EINVAL: not a number; -ERANGE: out of range.
MUST int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
// Parses "500ms", "30s", "5m", "24h", "30d" into milliseconds. "0" needs no unit. -EINVAL, -ERANGE.
MUST int str_to_duration(const char *s, uint64_t *ret_ms);
// And back, in the largest unit that says it exactly, into buf.
const char *str_duration(uint64_t ms, char buf[static 32]);
// Parses "512", "64K", "10M", "2G" into bytes. -EINVAL, -ERANGE.
MUST int str_to_size(const char *s, uint64_t *ret_bytes);

// Names of the design: instance ^[a-z0-9]+(-[a-z0-9]+)*$, account ^[a-z][a-z0-9-]*$,
// plugin and command ^[A-Za-z][A-Za-z0-9_-]*$, secret ^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$; all shorter than
// LIMIT_NAME.
bool str_is_instance(const char *s);
bool str_is_account(const char *s);
bool str_is_plugin(const char *s);
bool str_is_secret(const char *s);
bool str_is_utf8(const char *s, size_t len);
// Bytes that are not UTF-8 become '?', in place: a name as a plugin's author may choose it, or a text cut
// short.
void str_make_utf8(char *s);
// An absolute path without "//", ".", ".." or control bytes, shorter than LIMIT_PATH.
bool str_is_abspath(const char *s);
// `path` equals `dir` or lies below it. Both absolute and normal.
bool str_path_within(const char *path, const char *dir);

// Edit distance, for "did you mean"; stops counting at 255.
unsigned str_distance(const char *a, const char *b);

// Lower-case hex of len bytes into out[2 * len + 1].
void str_hex(const void *data, size_t len, char *out);
// The reverse; -EINVAL unless s is exactly 2 * len hex digits.
MUST int str_unhex(const char *s, void *data, size_t len);

// A growing string. Failure is sticky: check once, in sb_finish. A zeroed struct is an empty one.
struct strbuf {
    char *p;
    size_t len, cap;
    bool failed;
};

// Room for `more` bytes and a NUL behind what is there, for who writes there itself. False: no memory.
bool sb_grow(struct strbuf *sb, size_t more);
static inline bool sb_room(struct strbuf *sb, size_t more)
{
    return (!sb->failed && more < sb->cap - sb->len) || sb_grow(sb, more);
}
static inline void sb_add(struct strbuf *sb, const void *data, size_t len)
{
    if (!sb_room(sb, len))
        return;
    if (len > 0)
        memcpy(sb->p + sb->len, data, len);
    sb->len += len;
    sb->p[sb->len] = '\0';
}
static inline void sb_adds(struct strbuf *sb, const char *s)
{
    sb_add(sb, s, strlen(s));
}
static inline void sb_addc(struct strbuf *sb, char c)
{
    sb_add(sb, &c, 1);
}
// Adds s and spaces up to width bytes.
void sb_add_padded(struct strbuf *sb, const char *s, size_t width);
// The same, and one space more.
static inline void sb_add_column(struct strbuf *sb, const char *s, size_t width)
{
    sb_add_padded(sb, s, width);
    sb_addc(sb, ' ');
}
__attribute__((format(printf, 2, 3))) void sb_addf(struct strbuf *sb, const char *format, ...);
// Adds s as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
void sb_add_json(struct strbuf *sb, const char *s);
// Adds s with every byte outside [!-~] and '%' as %XX: one word of a line format.
void sb_add_word(struct strbuf *sb, const char *s);
// The text, NUL-terminated and owned by the caller, or NULL if any addition failed. Resets sb.
char *sb_finish(struct strbuf *sb);
void sb_free(struct strbuf *sb);

// Undoes sb_add_word in place. -EINVAL on a bad escape.
MUST int str_unword(char *s);
