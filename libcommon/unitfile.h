// The gateway's unit: rendered from the config, and what somebody else's lines do to it.
#pragma once
#include "config.h"
#include "str.h"

// The text of /etc/systemd/system/INSTANCE.service; the caller frees. NULL on no memory.
char *unitfile_render(const struct config *config);

// The rows of hardening.def, as lines; those of this config's posture, for the gateway's unit and what runs
// beside it.
void unitfile_hardening(struct strbuf *sb, const struct config *config);

enum unitfile_finding {
    UNITFILE_NOTHING, // a timeout, a dependency
    UNITFILE_CHANGES, // who it runs as, its capabilities, what is executed
    UNITFILE_ROOTED,  // an Exec line with the prefix + or !: it runs with uid 0, or the capabilities of root
};

// What the lines of a drop-in do to the unit of this config; line gets the worst one.
enum unitfile_finding unitfile_scan(const struct config *config, const char *text, char line[static 160]);
