// Shared by the files of config.c, config_rules.c and config_load.c; nobody else includes this.
#pragma once
#include "config.h"
#include "keyfile.h"

struct decode {
    struct config *config;
    struct diags *diags;
    const char *instance;
};

// What a text must be; config.def names these.
enum check {
    CHECK_ANY,
    CHECK_INSTANCE,
    CHECK_USER,
    CHECK_ABSPATH,
    CHECK_PLUGIN,
    CHECK_EVENT,
    CHECK_USES,
    CHECK_ENV,
    CHECK_RECIPIENT,
    CHECK_EGRESS,
    CHECK_DOOR,
    CHECK_DATE,
    CHECK_KEYFILE,
    CHECK_SECRET,
    CHECK_SCOPE,
    CHECK_LISTEN,
    CHECK_HOOK
};

// What a text of this kind must be, or NULL where s is one.
const char *config_check_text(enum check check, const char *s);

// Hands s (from malloc, or NULL) to the config, which frees it. NULL on no memory.
const char *config_pool(struct config *config, char *s);
// pattern with %i (instance) and %n (name) replaced, owned by the config. NULL on no memory, noted in
// d->diags.
const char *config_expand(struct decode *d, const char *pattern, const char *name);
// Is it a name that a linker, an interpreter or a contract obeys? Can it be a name at all?
bool config_env_is_obeyed(const char *s);
bool config_is_env_name(const char *s);
// Derives what follows from several keys (modes, users, posture) and notes what contradicts.
void config_check_rules(struct decode *d);
// So that config_plugin finds them. -ENOMEM.
MUST int config_sort_plugins(struct config *config);
// Fills *config from its merged tree: defaults first, then what is written. Errors go to d->diags.
void config_decode(struct decode *d);
