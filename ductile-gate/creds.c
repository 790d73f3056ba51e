// What in an operator's home is worth stealing, and what there is obeyed: asked as the service (floor.c) and
// as every other account (asked.c).
#include "asked.h"
#include <stdio.h>

// Directories by their list, and the usual files by their names: a directory that cannot be listed may be
// entered.
const char *const gate_creds[] = {".ssh",       ".ssh/id_ed25519",      ".ssh/id_rsa", ".ssh/id_ecdsa",
                                  ".config/gh", ".config/gh/hosts.yml", ".netrc",      ".git-credentials",
                                  ".aws",       ".aws/credentials",     ".gnupg",      NULL};
static const char *const obeyed[] = {".ssh/authorized_keys", ".ssh/config",  ".bashrc",    ".bash_profile",
                                     ".bash_login",          ".profile",     ".zshrc",     ".zshenv",
                                     ".config/systemd/user", ".config/fish", ".gitconfig", NULL};

static void add(const struct gate *g, struct asks *asks, enum check_id check, enum ask_kind kind,
                const char *home, const char *name)
{
    char path[LIMIT_PATH];

    snprintf(path, sizeof(path), "%.900s%s%s", home, name[0] ? "/" : "", name);
    if (!gate_hangs(g, path))
        asks_add(asks, check, kind, path, true);
}

void asks_add_homes(struct gate *g, struct asks *asks)
{
    const struct config *c = g->config;

    for (size_t i = 0; g->live && i < c->accounts.n; i++) {
        const char *home = c->accounts.list[i].home;
        if (!home)
            continue;
        add(g, asks, CHECK_HOME, ASK_FILE, home, "");
        for (const char *const *name = obeyed; *name; name++)
            add(g, asks, CHECK_HOME, ASK_FILE, home, *name);
        for (const char *const *name = gate_creds; *name; name++)
            add(g, asks, CHECK_HOME_CREDS, ASK_READ, home, *name);
    }
}
