// JSON in and out. Depth is counted before jansson sees the text: its own limit is a compile-time 2048.
#include "json.h"
#include <stdio.h>
#include <string.h>

// Brackets outside of strings, at most.
static unsigned depth_of(const char *s, size_t len)
{
    unsigned depth = 0, deepest = 0;
    bool string = false;

    for (size_t i = 0; i < len; i++) {
        if (string && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            string = !string;
        else if (!string && (s[i] == '{' || s[i] == '['))
            depth++;
        else if (!string && (s[i] == '}' || s[i] == ']') && depth > 0)
            depth--;
        deepest = MAX(deepest, depth);
    }
    return deepest;
}

json_t *json_parse(const char *text, size_t len, unsigned max_depth, char error[static 160])
{
    json_error_t e;
    const char *nul = memchr(text, '\0', len);

    // JSON has none, and jansson 2.14 skips one behind a number (its lexer takes a NUL it put back for an
    // empty buffer): two parsers would read two things.
    if (nul) {
        snprintf(error, 160, "a NUL byte at %td", nul - text);
        return NULL;
    }
    if (depth_of(text, len) > max_depth) {
        snprintf(error, 160, "nested more than %u levels", max_depth);
        return NULL;
    }
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
    // jansson's text ends in " near 'WORD'", a piece of what was parsed: that may be a secret, and the place
    // is enough.
    const char *near = strstr(e.text, " near '");
    if (!root)
        snprintf(error, 160, "line %d, column %d: %.*s", e.line, e.column,
                 (int)MIN(near ? near - e.text : (ptrdiff_t)strlen(e.text), (ptrdiff_t)100), e.text);
    return root;
}

static json_t *from_scalar(const struct ynode *node)
{
    switch (ynode_scalar(node)) {
    case YSCALAR_NULL: return json_null();
    case YSCALAR_BOOL: return json_boolean(node->text[0] == 't' || node->text[0] == 'T');
    case YSCALAR_INT: {
        char *end;
        errno = 0;
        long long v = strtoll(node->text, &end, 10);
        if (errno == 0 && *end == '\0')
            return json_integer(v);
        return json_real(strtod(node->text, NULL));
    }
    case YSCALAR_FLOAT: return json_real(strtod(node->text, NULL));
    case YSCALAR_STRING: break;
    }
    return json_string(node->text);
}

json_t *json_from_ynode(const struct ynode *node)
{
    if (node->kind == YNODE_SCALAR)
        return from_scalar(node);
    json_t *out = node->kind == YNODE_MAP ? json_object() : json_array();
    for (size_t i = 0; out && i < node->n; i++) {
        json_t *value = json_from_ynode(node->kind == YNODE_MAP ? node->pairs[i].value : node->items[i]);
        int r = !value                    ? -1
                : node->kind == YNODE_MAP ? json_object_set_new(out, node->pairs[i].key, value)
                                          : json_array_append_new(out, value);
        if (r < 0)
            json_decrefp(&out);
    }
    return out;
}
