// What the verbs of ductile-vault share: becoming the vault's owner, and writing facts into the ledger.
#pragma once
#include "ledger_kinds.h"
#include "opt.h"
#include "vault.h"

struct session {
    const struct opts *opts;
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
MUST int session_begin(const struct opts *opts, struct session *s);
// Opens the vault, exclusively where it will be changed.
MUST int session_open(struct session *s, bool change);
// Saves a changed vault and writes the fact. -ECANCELED.
MUST int session_save(struct session *s, enum audit_kind kind, const char *subject, const char *detail);
// A fact about a change that was refused.
void session_denied(struct session *s, const char *subject);
// Ends; prints the refusal if r < 0. Returns the exit code.
int session_end(struct session *s, int r);
