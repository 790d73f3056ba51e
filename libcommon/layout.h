// The canonical layout, expanded for a config. Two interpreters and no more: layout_check and layout_apply.
#pragma once
#include "config.h"

enum layout_id {
#define LAYOUT(id, path, kind, owner, group, mode, presence, what) LAYOUT_##id,
#include "layout.def"
#undef LAYOUT
    LAYOUT_COUNT_
};

enum layout_kind { LAYOUT_KIND_DIR, LAYOUT_KIND_FILE };
enum layout_presence {
    LAYOUT_PRESENCE_MAKE,
    LAYOUT_PRESENCE_WANT,
    LAYOUT_PRESENCE_MAY,
    LAYOUT_PRESENCE_UNCONFINED
};

struct layout_item {
    enum layout_id id;
    char path[LIMIT_PATH];
    enum layout_kind kind;
    enum layout_presence presence;
    mode_t mode;
    char owner[64], group[64]; // by name, for people
    int64_t uid, gid;          // ID_AUTO while the user does not exist yet
    bool personal;             // config->personal: a sticky directory above it is acceptable
    const char *what;
};

struct layout {
    struct layout_item *list;
    size_t n;
};

// Every row for this config; {account} and {file} once per account and file. Of a personal instance only the
// rows at the config's own paths, all of them the caller's. -ENOMEM.
MUST int layout_expand(const struct config *config, struct layout *ret);
void layout_free(struct layout *layout);

enum layout_fault {
    LAYOUT_OK,
    LAYOUT_MISSING,
    LAYOUT_KIND,  // a file where a directory should be, a link, ...
    LAYOUT_OWNER, // or group
    LAYOUT_MODE,
    LAYOUT_ACL,     // a named or default entry opens what the mode closes
    LAYOUT_CAPS,    // file capabilities
    LAYOUT_PARENT,  // a component that is a link, or that somebody besides root and the owner may change
    LAYOUT_UNKNOWN, // could not be examined
    LAYOUT_FAULT_COUNT_
};

// Compares one item with the tree below root. before, after: what is found and what should be, for people
// ("absent", "root:ductile 0755", ...), each of 128 bytes.
enum layout_fault layout_check(int root, const struct layout_item *item, char before[static 128],
                               char after[static 128]);
// Makes it so, on descriptors: kind, owner, then mode, then the ACL. Never touches content. -errno.
MUST int layout_apply(int root, const struct layout_item *item);

// One row of the table as written, for the reference page.
struct layout_row {
    const char *path, *owner, *group, *what;
    mode_t mode;
};
const struct layout_row *layout_rows(size_t *ret_n);
