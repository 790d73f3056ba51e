// A plugin's code as a whole: every path, type, executable bit, content and link target below its directory.
// The hash of that list is what a lock records; the list is kept too, so that a difference can be named.
#pragma once
#include "limits.h"
#include "owned.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TREE_HASH_LEN 32 // BLAKE2b-256

enum tree_kind { TREE_DIR = 'd', TREE_FILE = 'f', TREE_EXEC = 'x', TREE_LINK = 'l' };

struct tree_entry {
    enum tree_kind kind;
    char *path;   // relative, without "./"; "" is the directory itself
    char *target; // of a link
    uint64_t size;
    uint8_t hash[TREE_HASH_LEN]; // of a file's content
    bool loose;                  // group or others may write it (as scanned; not part of the hash)
};

struct tree {
    struct tree_entry *list; // sorted by path
    size_t n;
    uint8_t hash[TREE_HASH_LEN];
};

// Why a tree cannot be taken as a plugin's code.
struct tree_error {
    int error;             // -errno; -EPERM for what the rules refuse
    char path[LIMIT_PATH]; // the entry, relative
    char why[128];
};

// Reads and hashes everything below dir. Refused (-EPERM): devices, FIFOs, sockets, setuid or setgid files,
// links that are absolute or lead out, names with control bytes, too many or too large. 0, or an error with
// *ret_error.
MUST int tree_scan(int dir, struct tree *ret, struct tree_error *ret_error);
void tree_free(struct tree *tree);

// Appends one entry that is not sorted in yet; takes path and target over. For readers of lock files.
MUST int tree_add(struct tree *tree, const struct tree_entry *entry);
// Sorts and computes the hash of the list. -EEXIST where a path appears twice.
MUST int tree_seal(struct tree *tree);

// True if equal. Otherwise "changed main.py", "added x.pyc", "removed lib/a.py", "retargeted link a",
// "made executable b", ... in what[LIMIT_PATH].
bool tree_same(const struct tree *locked, const struct tree *now, char what[static LIMIT_PATH]);

// Who may change the tree at path, by owners and modes of every entry and every ancestor up to "/":
// *ret_root_only is true where only root may. identity is a digest of dev, ino, size, mode, owner, mtime and
// ctime of them all; equal identities mean unchanged content only where root_only (a store through an old
// mapping moves no time). Entries come from `known`, so that nothing is read and nothing listed. -errno where
// one is missing.
MUST int tree_identity(const char *path, const struct tree *known, uint8_t identity[static TREE_HASH_LEN],
                       bool *ret_root_only);
// The first entry (or ancestor) that somebody besides root may change, into where[LIMIT_PATH]; false if none.
bool tree_writable(const char *path, const struct tree *known, char where[static LIMIT_PATH]);

// Has somebody a file of it open for writing, or mapped so? Then it may still change under whoever took it
// over by chown. 1 with where, 0, or -errno with where: cannot be told (-EINVAL: the file system has no
// leases). Needs root.
MUST int tree_held(const char *path, const struct tree *known, char where[static LIMIT_PATH]);
