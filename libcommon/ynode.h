// YAML text to a tree of nodes with positions, strictly: one document, no anchors, aliases, merge keys or
// tags beyond the core schema, no duplicate keys, bounded depth. What a scalar means is up to the reader.
#pragma once
#include "owned.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ynode_kind { YNODE_SCALAR, YNODE_MAP, YNODE_LIST };

// Where something stands. file is borrowed from whoever named it.
struct ypos {
    const char *file;
    unsigned line, column; // counted from 1
};

struct ynode;

struct ypair {
    char *key;
    struct ypos pos;
    struct ynode *value;
};

struct ynode {
    enum ynode_kind kind;
    struct ypos pos;
    char *text;           // scalar: its text, without NUL bytes inside
    bool plain;           // scalar: not quoted, so that `true` is a bool and `"true"` is not
    struct ypair *pairs;  // map, in the order of the file
    struct ynode **items; // list
    size_t n;             // of pairs or items
};

// All errors of a run, so that they can be printed sorted, together.
struct diag {
    struct ypos pos;
    char *path; // "accounts.default.uid", "" for the file itself
    char *text;
};

struct diags {
    struct diag *list;
    size_t n;
    bool failed; // out of memory while noting one
};

__attribute__((format(printf, 4, 5))) void diag_add(struct diags *diags, struct ypos pos, const char *path,
                                                    const char *format, ...);
// Sorted by file, line and column, one "FILE:LINE:COLUMN: PATH: TEXT" per line; the caller frees.
char *diags_text(struct diags *diags);
void diags_free(struct diags *diags);

// Parses text. 0 and a tree (NULL for an empty document), or -EINVAL with what was wrong in diags, or
// -ENOMEM.
MUST int yaml_parse(const char *file, const char *text, size_t len, struct diags *diags, struct ynode **ret);
void ynode_free(struct ynode *node);
static inline void ynode_freep(struct ynode **node)
{
    ynode_free(*node);
    *node = NULL;
}

// The value of a key, or NULL.
const struct ynode *ynode_get(const struct ynode *map, const char *key);
// The text of a scalar under key, or NULL where it is absent or no scalar.
const char *ynode_get_text(const struct ynode *map, const char *key);

// What a plain scalar is in the core schema of YAML 1.2. A quoted one is always a string.
enum yscalar { YSCALAR_STRING, YSCALAR_NULL, YSCALAR_BOOL, YSCALAR_INT, YSCALAR_FLOAT };
enum yscalar ynode_scalar(const struct ynode *node);

// Merges `from` into *into and consumes it: maps merge, lists append, a scalar of the later file wins.
// -EINVAL with a diag where the two are of different kinds.
MUST int ynode_merge(struct ynode **into, struct ynode *from, const char *path, struct diags *diags);
