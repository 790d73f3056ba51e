// The flag of the gate: accounts whose wall was seen climbed while the gateway serves. One file in the
// runtime directory, written by `ductile-gate prove` alone, obeyed by the warden: none of their jobs starts.
#pragma once
#include "config.h"
#include <stdbool.h>

struct breach {
    char account[LIMIT_NAME];
    char rows[512]; // words of probes.def, with commas
};

struct breach_list {
    struct breach *list;
    size_t n;
};

// "{run}/breach": the row BREACH of layout.def (a test compares). Returns buf.
const char *breach_path(const struct config *config, char buf[static LIMIT_PATH]);
// What the flag says; nothing where there is none. -EPERM: others than the service could have written it;
// -EBADMSG: it is no such file; -errno. Whoever cannot read it must take every account for breached.
MUST int breach_read(int root, const struct config *config, struct breach_list *ret);
// Replaces the flag; an empty list removes it. -errno.
MUST int breach_write(int root, const struct config *config, const struct breach_list *list);
// Adds a row to an account's, once. -ENOMEM.
MUST int breach_add(struct breach_list *list, const char *account, const char *row);
const struct breach *breach_find(const struct breach_list *list, const char *account);
// Is row one of its rows?
bool breach_has(const struct breach *breach, const char *row);
void breach_free(struct breach_list *list);
