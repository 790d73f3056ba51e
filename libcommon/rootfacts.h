// What only root can know about the doors of the accounts (rootdoors.h), written down for the gate, which is
// never root: FILE facts.json beside the config, root's, read-only to the service. It is worth something as
// long as nothing that decided it has changed: the file carries a stamp (mode, owner, inode, size, mtime,
// ctime) of every file and directory that was asked, taken as the service user, who takes it again.
//
// What the service user cannot stat (a file below a closed directory, as sudoers.d is on Debian) is named in
// `unseen`, and the nearest directory it can stat stands in: it changes when a file is added, removed or
// replaced, as visudo and crontab do, but not when one is edited in place. That is seen by root only (apply,
// doctor), or when the facts are too old. The device number is left out: it changes from boot to boot on
// btrfs, overlays and device mapper. What a directory service grants (LDAP, sssd) has no stamp at all.
#pragma once
#include "config.h"
#include "rootdoors.h"

struct rootfact {
    char account[LIMIT_NAME];
    enum rootdoor_id id;
    struct rootdoor door;
};

struct rootfacts {
    int64_t at_ms;
    char by[64];
    size_t n_files, n_unseen;
    char secure_path[1024]; // of sudoers; "" where nothing is said
    struct rootfact *list;
    size_t n;
};

// How sudo is asked: the answer of `sudo -l -U USER`. -ENOENT: there is no sudo. Tests answer themselves.
typedef int rootfacts_ask(int root, const char *user, char **ret_answer);
// The real one. Runs no program that anybody but root could have put there (-EPERM).
MUST int rootfacts_ask_sudo(int root, const char *user, char **ret_answer);

// "DIR/facts.json", into buf. Returns buf.
const char *rootfacts_path(const struct config *config, char buf[static LIMIT_PATH]);
// Root only. The text of the file; by: who collects. The config must be resolved. -errno.
MUST int rootfacts_collect(int root, const struct config *config, const char *by, rootfacts_ask *ask,
                           char **ret_text);
// Collects and replaces the file, root:SERVICE 0640. -errno.
MUST int rootfacts_write(int root, const struct config *config, const char *by);
enum { ROOTFACTS_STAMP = 160 };
// What this process sees of path: a stamp, "absent", or "unseen" where it may not look.
void rootfacts_stamp(int root, const char *path, char out[static ROOTFACTS_STAMP]);
// Reads the file. 0: fresh, and of every account of this config. 1: missing, changed, too old or of other
// accounts; why says which, and *ret is empty. Where there is a *ret, the caller frees it.
MUST int rootfacts_read(int root, const struct config *config, int64_t now_ms, struct rootfacts *ret,
                        char why[static 256]);
void rootfacts_free(struct rootfacts *facts);
