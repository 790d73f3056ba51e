// Reads the JSON of one known document in place, strictly (RFC 8259), without a tree and without a copy:
// strings are unescaped where they stand and end with a NUL. For text that must not leave the memory it lies
// in, and whose every member is known. What comes from strangers is jansson's.
//
// After the first fault everything fails: callers may read on, and ask json_text_end.
#pragma once
#include "owned.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct json_text {
    char *at, *end; // the text that is left: changed while it is read
    bool bad;
};

// '{' or '[' begins here.
bool json_text_begin(struct json_text *t, char bracket);
// Is there another member or element, before the closing bracket? *count: 0 at first; those there were.
bool json_text_more(struct json_text *t, char close, size_t *count);
// A string, UTF-8 without NUL: *ret stays as long as the text does. json_text_key: and the colon behind it.
bool json_text_string(struct json_text *t, char **ret, size_t *ret_len);
bool json_text_key(struct json_text *t, char **ret, size_t *ret_len);
// A string that is one of these words: its place among them. -EBADMSG.
MUST int json_text_word(struct json_text *t, const char *const *words, unsigned n);
// A whole number that fits; one with a fraction or an exponent is a fault.
bool json_text_int(struct json_text *t, int64_t *ret);
// The key of the next member of an object as its place in names; each may come once, and no other at all.
// -ENOENT: the object ends here; -EBADMSG. *seen: 0 at first; bit i: names[i] came.
MUST int json_text_member(struct json_text *t, const char *const *names, unsigned n_names, uint32_t *seen);
// Where these very bytes stand here they are taken, else nothing is: what is expected costs a comparison. In
// place of the functions above, for what is as a writer of ours writes it.
static inline bool json_text_take(struct json_text *t, const char *bytes, size_t len)
{
    if ((size_t)(t->end - t->at) < len || memcmp(t->at, bytes, len) != 0)
        return false;
    t->at += len;
    return true;
}
#define JSON_TEXT_TAKE(t, bytes) json_text_take(t, bytes, sizeof(bytes) - 1)

// Nothing is left, and nothing was bad.
bool json_text_end(struct json_text *t);
