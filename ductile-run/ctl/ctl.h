// What the client's verbs share.
#pragma once
#include "client.h"
#include "limits.h"
#include "opt.h"

struct session {
    struct client client;
    char path[LIMIT_PATH];
    bool json;
};

// Where the gateway of these options listens. -ECANCELED.
MUST int open_session(const struct opts *o, struct session *s, struct refusal *refusal);

// ledger.c
int ledger_verify_verb(const struct opts *o);
