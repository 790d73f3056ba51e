// Shared by the files of config.c, config_rules.c and config_load.c; nobody else includes this.
#pragma once
#include "config.h"

struct decode {
    struct config *config;
    struct diags *diags;
    const char *instance;
};

// Hands s (from malloc, or NULL) to the config, which frees it. NULL on no memory.
const char *config_pool(struct config *config, char *s);
// pattern with %i (instance) and %n (name) replaced, owned by the config. NULL on no memory, noted in
// d->diags.
const char *config_expand(struct decode *d, const char *pattern, const char *name);
// Derives what follows from several keys (modes, users, posture) and notes what contradicts.
void config_check_rules(struct decode *d);
// Fills *config from its merged tree: defaults first, then what is written. Errors go to d->diags.
void config_decode(struct decode *d);
