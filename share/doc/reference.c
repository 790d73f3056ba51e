// Prints share/doc/reference.md from the tables. What stands there is what the programs were compiled with.
#include "config.h"
#include "layout.h"
#include "str.h"
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

static void cell(const char *s)
{
    for (; *s; s++) {
        if (*s == '|')
            putchar('\\');
        putchar(*s);
    }
}

static void print_config(void)
{
    size_t n;
    const struct config_row *rows = config_rows(&n);

    printf(
        "## config.yaml\n\nStrict: an unknown key, a duplicate, a wrong type or a value out of range is an error with its "
        "position. `%%i` is the instance, `%%n` the account.\n\n| key | type | default | what |\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        printf("| `%s%s` | %s | ", rows[i].section, rows[i].key, rows[i].type);
        printf(rows[i].def ? "`%s` | " : "%s | ", rows[i].def ? rows[i].def : "");
        cell(rows[i].doc);
        printf(" |\n");
    }
}

static void print_layout(void)
{
    size_t n;
    const struct layout_row *rows = layout_rows(&n);

    printf("\n## Files and directories\n\n| path | owner:group | mode | what |\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++)
        printf("| `%s` | %s:%s | %04o | %s |\n", rows[i].path, rows[i].owner, rows[i].group, rows[i].mode,
               rows[i].what);
}

static const char ask_SOCKET[] = "connect", ask_FILE[] = "write, or a directory above",
                  ask_TREE[] = "write, an entry, or a directory above";

static const char *const held[][2] = {
#define ASSET(name, title, what)
#define HELD(word, asset) {word, #asset},
#include "ductile-gate/assets.def"
#undef ASSET
#undef HELD
};

static const char *const words[] = {
#define PROBE(id, word, who, form, attempt, target, layer, what) word,
#define WORKS(id, word, who, form, attempt, target, what)        word,
#define LOGIN(id, word, form, attempt, target, what)             word,
#define SCOPED(id, word, who, form, attempt, target, abi, what)  word,
#include "ductile-gate/probes.def"
#undef SCOPED
#undef PROBE
#undef WORKS
#undef LOGIN
};

static const char *asset_of(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        if (str_eq(held[i][0], word))
            return held[i][1];
    return "OTHER";
}

static void print_asset(const char *name, const char *title, const char *what)
{
    printf("| %s | %s |", title, what);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq(asset_of(words[i]), name))
            printf(" %s", words[i]);
    printf(" |\n");
}

static void print_decisions(void)
{
    printf(
        "\n## The three postures\n\nDerived from `accounts:`, never set twice.\n\n| posture | accounts | a plugin runs as | pick when |\n|---|---|---|---|\n");
#define POSTURE(name, accounts, runs_as, pick_when)                                                          \
    printf("| `%s` | %s | %s | %s |\n", posture_name(POSTURE_##name), accounts, runs_as, pick_when);
#include "ductile-gate/postures.def"
#undef POSTURE

    printf("\n## What the gate checks\n\n| id | good | bad | what to do | why |\n|---|---|---|---|---|\n");
#define CHECK(name, id, good, bad, remedy, theory)                                                           \
    printf("| %s | %s | %s | %s | %s |\n", id, good, bad, remedy, theory);
#include "ductile-gate/checks.def"
#undef CHECK

    printf(
        "\n## How findings are judged\n\nThe longest prefix of an id decides.\n\n| findings | tier | what is tried | rule |\n|---|---|---|---|\n");
#define FAMILY(prefix, tier, tried, rule) printf("| %s* | %s | %s | %s |\n", prefix, #tier, tried, rule);
#include "ductile-gate/families.def"
#undef FAMILY
}

static void print_attempts(void)
{
    printf(
        "\n## What the gate tries\n\nAs each account, after the warden's own drop. *Denied* needs the right errno and a "
        "harmless twin on which the same attempt succeeded. The short form (`at boot`) tries four siblings of each account, the "
        "long one all. An attempt that does not answer within 4 s is unproven.\n\n| attempt | who | at boot | layer | what |\n|---|---|---|---|---|\n");
#define SHORT "yes"
#define LONG  ""
#define PROBE(id, word, who, form, attempt, target, layer, what)                                             \
    printf("| %s | %s | %s | %s | %s |\n", word, #who, form, layer, what);
#define WORKS(id, word, who, form, attempt, target, what)                                                    \
    printf("| %s | %s | %s | must work | %s |\n", word, #who, form, what);
#define LOGIN(id, word, form, attempt, target, what)                                                         \
    printf("| %s | CREDENTIALED | %s | either, and told | %s |\n", word, form, what);
#define SCOPED(id, word, who, form, attempt, target, abi, what)                                              \
    printf("| %s | %s | %s | landlock, from ABI %d | %s |\n", word, #who, form, abi, what);
#include "ductile-gate/probes.def"
#undef SCOPED
#undef PROBE
#undef WORKS
#undef LOGIN

    printf("\n## What the pictures group\n\n| asset | what it is | attempts |\n|---|---|---|\n");
#define ASSET(name, title, what) print_asset(#name, title, what);
#define HELD(word, asset)
#include "ductile-gate/assets.def"
#undef ASSET
#undef HELD
}

static void print_doors(void)
{
    printf("\n## Groups that are doors\n\n| group | reason |\n|---|---|\n");
#define DOOR(group, reason) printf("| %s | %s |\n", group, reason);
#include "ductile-gate/doors.def"
#undef DOOR

    printf(
        "\n## What each account is asked\n\nAs itself: may it change this, or speak to it? Root obeys all of it. "
        "Besides these: the directories of PATH in /etc/environment, /etc/login.defs and /etc/crontab; what the layout gives to "
        "root, and our units; plugin roots, plugin code and locked copies; the program of kernel.core_pattern; and setuid or "
        "setgid programs of root's, and files with capabilities, in these directories:");
#define ASK(check, kind, path, why)
#define SCAN(path, depth) printf(" `%s`%s", path, depth ? " and one level below" : "");
#include "ductile-gate/asked.def"
#undef ASK
#undef SCAN
    printf(".\n\n| what | how | why |\n|---|---|---|\n");
#define ASK(check, kind, path, why) printf("| `%s` | %s | %s |\n", path, ask_##kind, why);
#define SCAN(path, depth)
#include "ductile-gate/asked.def"
#undef ASK
#undef SCAN
}

static void print_wall(void)
{
    printf("\n## Layers of the wall\n\n| layer | what it holds |\n|---|---|\n");
#define LAYER(name, word, what) printf("| %s | %s |\n", word, what);
#include "layer.def"
#undef LAYER

    printf(
        "\n## System calls that the bus may make\n\nWhat is not here does not exist for it (ENOSYS).\n\n| call | but not with |\n|---|---|\n");
#define CALL(name)                  printf("| %s | |\n", #name);
#define NEVER(name, argument, mask) printf("| %s | %s in argument %d |\n", #name, #mask, argument + 1);
#include "buscall.def"
#undef CALL
#undef NEVER

    printf(
        "\n## Hardening of the unit\n\n| directive | postures | what it takes from plugins | reason |\n|---|---|---|---|\n");
#define ALL       "all"
#define ENFORCING "enforcing"
#define HYBRID    "hybrid"
#define FULL      "full-privsep"
#define AWAY      "full-privsep that keeps nothing in a home"
#define HARDENING(directive, value, postures, takes, reason)                                                 \
    printf("| %s=%s | %s | %s | %s |\n", directive, value, postures, takes, reason);
#include "share/systemd/hardening.def"
#undef HARDENING

    printf(
        "\n## What a Landlock domain of level `write` may write\n\n| path | reason |\n|---|---|\n| its state_dir | its own |\n");
#define LANDLOCK_PATH(path, kind, reason) printf("| %s | %s |\n", path, reason);
#include "landlock.def"
#undef LANDLOCK_PATH
}

static void print_words(void)
{
    printf("\n## Scopes of API tokens\n\n| scope | opens |\n|---|---|\n");
#define SCOPE(word, rights, meaning) printf("| `%s` | %s |\n", word, meaning);
#include "scope.def"
#undef SCOPE

    printf("\n## Other refusals\n\n| id | exit code | why ductile refuses this at all |\n|---|---|---|\n");
#define REFUSAL(name, id, code, theory) printf("| %s | %d | %s |\n", id, EXITCODE_##code, theory);
#include "refusal.def"
#undef REFUSAL

    printf("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
#define CODE(name, number, meaning) printf("| %d | %s |\n", number, meaning);
#include "exitcode.def"
#undef CODE

    printf("\n## Facts in the ledger\n\n| kind | meaning |\n|---|---|\n");
#define AUDIT(name, word, meaning) printf("| %s | %s |\n", word, meaning);
#include "audit.def"
#undef AUDIT
}

int main(void)
{
    printf("<!-- Generated by `make docs` from the tables; do not edit. -->\n# Reference\n\n");
    print_config();
    print_layout();
    print_decisions();
    print_attempts();
    print_doors();
    print_wall();
    print_words();
    return 0;
}
