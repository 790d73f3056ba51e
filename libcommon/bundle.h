// What the warden hands to the bus in a sealed memfd: files that the bus may not open itself. Order is kept.
//   "DTLB1\n", then per entry: kind (1 byte), name length (u16 LE), data length (u32 LE), name, data.
#pragma once
#include "owned.h"
#include <stddef.h>
#include <stdint.h>

enum bundle_kind {
    BUNDLE_CONFIG = 'c',   // a file of the config; the first is the main one. name: its path
    BUNDLE_IDS = 'i',      // accounts.lock.yaml
    BUNDLE_LOCK = 'l',     // plugins.lock
    BUNDLE_MANIFEST = 'm', // manifest.yaml of a locked plugin. name: the plugin
    BUNDLE_NOTE = 'n',     // "layers ..." and the like, one line each
};

struct bundle_entry {
    char kind;
    const char *name; // NUL-terminated, in the bundle's own memory
    const char *data; // NUL-terminated too
    size_t len;
};

struct bundle {
    char *memory;
    struct bundle_entry *list;
    size_t n;
};

struct strbuf;
// Adds an entry to sb; an empty sb gets the header first. An entry too long for its fields makes sb fail.
void bundle_add(struct strbuf *sb, char kind, const char *name, const void *data, size_t len);
// Reads a sealed memfd. -EPERM: not sealed; -EBADMSG; -EFBIG; -ENOMEM.
MUST int bundle_read(int fd, struct bundle *ret);
void bundle_free(struct bundle *bundle);
