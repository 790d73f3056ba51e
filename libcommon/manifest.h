// manifest.yaml of a plugin (manifest_spec ductile.plugin, version 1). Parsed by install, gate and bus; never
// by the warden, which acts on what the lock recorded.
#pragma once
#include "config.h"

enum command_type { COMMAND_READ, COMMAND_WRITE };

struct manifest_command {
    const char *name, *description;
    enum command_type type;
};

struct manifest {
    const char *name, *version, *entrypoint, *description;
    bool concurrency_safe;
    struct manifest_command *commands;
    size_t n_commands;
    struct strs requires_secrets, config_required, config_optional;
    struct ynode *root; // owns every string
};

// Parses text. 0, or -ECANCELED with every error, by line and column, in refusal. `file` is how errors call
// it.
MUST int manifest_parse(const char *file, const char *text, size_t len, struct manifest *ret,
                        struct refusal *refusal);
void manifest_free(struct manifest *m);
const struct manifest_command *manifest_command(const struct manifest *m, const char *name);
