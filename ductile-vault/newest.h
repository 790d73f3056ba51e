// The newest generation of each vault, in a file beside the ledger, {ledger}/vault-generations: lines
// "VAULT_ID GENERATION", the vault that was noted last first. Written by the scribe, as the ledger's owner
// and under the ledger's lock; read by who only looks at the vault, in place of asking the ledger.
#pragma once
#include "config.h"
#include "ledger.h"

enum { NEWEST_ID_LEN = 32, NEWEST_MAX = 16 };

struct newest_list {
    struct newest {
        char vault[NEWEST_ID_LEN + 1];
        uint64_t generation;
    } list[NEWEST_MAX];
    size_t n; // 0: there is none
};

// -ENOENT: no change was noted yet; -EBADMSG: it is damaged; -errno. Then the ledger is to be asked.
MUST int newest_read(int root, const struct config *config, struct newest_list *ret);
// NULL: only others stand there. The list must have been read before the vault was: then a writer in between
// cannot make the vault look older than it is.
const struct newest *newest_of(const struct newest_list *list, const char *vault);
// Before the fact of a change is written, in the same transaction: this vault is of this generation, or of a
// higher one that stands there already, unless an older one was accepted. Where that cannot be written there
// is no file. -errno: it is there, behind, and cannot be taken away; then the fact must not be written.
MUST int newest_note(struct ledger *l, const struct config *config, const char *vault, uint64_t generation,
                     bool accepted);
