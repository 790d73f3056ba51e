// Doors that are asked as the account itself: what is asked (code.c), and asking (asked.c).
#pragma once
#include "gate.h"

enum ask_kind { ASK_SOCKET, ASK_FILE, ASK_TREE, ASK_READ };

struct ask {
    enum check_id check;
    enum ask_kind kind;
    char *path;
};

struct asks {
    struct ask *list;
    size_t n;
    char *mounts; // mountinfo of this process, or NULL
    bool failed;  // out of memory
    bool cut;     // there was more code than is looked at
};

// Copies path. once: not where the same is asked already.
void asks_add(struct asks *asks, enum check_id check, enum ask_kind kind, const char *path, bool once);
void asks_free(struct asks *asks);

// creds.c: the homes of credentialed accounts, of which others are asked.
void asks_add_homes(struct gate *g, struct asks *asks);
// code.c: everything that is to be asked on this host or image, found as whoever runs this. The rows of
// asked.def; root's PATH; our own files; plugin code; core_pattern; programs that run as root. Of what lies
// in many files only those are asked that file modes do not close for everybody but root (and, for code in a
// home, its owner): a clean host costs a look at each and no question.
void asks_collect(struct gate *g, struct asks *ret);
// May nobody but root and owner change path, by the modes of all its components? An access ACL shows its mask
// in the group bits, so these modes speak for it too. *ret_open: the component that may be changed.
bool asks_closed(int root, const char *path, int64_t owner, char ret_open[static LIMIT_PATH]);
