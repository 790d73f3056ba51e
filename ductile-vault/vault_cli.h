// What the verbs of ductile-vault share: becoming the vault's owner, and writing facts into the ledger.
#pragma once
#include "ledger_kinds.h"
#include "opt.h"
#include "vault.h"

struct session {
    const struct opts *opts;
    const char *subject; // what a changing verb is about; NULL: it changes nothing
    struct config *config;
    struct vault vault;
    bool open; // the vault is
    bool root; // started as root
    int lock_fd;
    int scribe_fd; // facts go here; -1: nobody writes them
    pid_t scribe;
    struct refusal refusal;
};

// Loads the config, opens the locked arena, starts the scribe (a child that is the ledger's owner) and
// becomes the service user, as whom everything after this happens. -ECANCELED.
MUST int session_begin(const struct opts *opts, struct session *s, const char *subject);
// Opens the vault, exclusively where it will be changed.
MUST int session_open(struct session *s, bool change);
// Saves a changed vault and writes the fact. -ECANCELED.
MUST int session_save(struct session *s, enum audit_kind kind, const char *subject, const char *detail);
// Ends; prints the refusal if r < 0 and, where something was to be changed, writes it down. Returns the exit
// code.
int session_end(struct session *s, int r);
