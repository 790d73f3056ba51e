// Which texts are what a key of the config must be. Pure.
#include "config.h"
#include "config_internal.h"
#include "egress.h"
#include "listen.h"
#include "str.h"
#include "token.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

bool config_env_is_obeyed(const char *s)
{
    static const char *const prefixes[] = {"LD_",   "PYTHON", "PERL",    "RUBY", "NODE_",
                                           "GCONV", "GLIBC",  "MALLOC_", "GIT_"};
    static const char *const names[] = {"BASH_ENV", "ENV",  "IFS",  "SHELLOPTS", "BASHOPTS",
                                        "PS4",      "PATH", "HOME", "TMPDIR"};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_starts(s, prefixes[i]))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(s, names[i]))
            return true;
    return str_starts(s, "BASH_FUNC_");
}

bool config_is_env_name(const char *s)
{
    if (!*s || (*s >= '0' && *s <= '9'))
        return false;
    return s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

bool config_is_door(const char *s)
{
    return str_starts(s, "GATE-DOOR-") && strlen(s) == 12 && strspn(s + 10, "0123456789") == 2;
}

int64_t config_date_ends(const char *s)
{
    uint64_t year, month, day;
    char part[5];

    if (strlen(s) != 10 || s[4] != '-' || s[7] != '-' || strspn(s, "0123456789-") != 10)
        return -EINVAL;
    // Digits only, leading zeros and all: str_to_u64 takes those for octal, and refuses.
    const struct {
        const char *from;
        size_t len;
        uint64_t *to;
    } parts[] = {{s, 4, &year}, {s + 5, 2, &month}, {s + 8, 2, &day}};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        memcpy(part, parts[i].from, parts[i].len);
        part[parts[i].len] = '\0';
        const char *digits = part + strspn(part, "0");
        if (str_to_u64(digits, 1, 9999, parts[i].to) < 0)
            return -EINVAL;
    }
    struct tm t = {.tm_year = (int)year - 1900, .tm_mon = (int)month - 1, .tm_mday = (int)day};
    struct tm same = t;
    int64_t begins = timegm(&same); // normalizes: 31 February becomes a day in March
    if (year < 1970 || same.tm_year != t.tm_year || same.tm_mon != t.tm_mon)
        return -EINVAL;
    return begins + 86400;
}

static bool is_event_type(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n < 2 * LIMIT_NAME &&
           s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0';
}

static bool is_uses(const char *s)
{
    char plugin[LIMIT_NAME];
    const char *dot = strchr(s, '.');
    size_t n = dot ? (size_t)(dot - s) : strlen(s);

    if (n >= sizeof(plugin))
        return false;
    snprintf(plugin, sizeof(plugin), "%.*s", (int)n, s);
    return str_is_plugin(plugin) && (!dot || str_is_plugin(dot + 1));
}

// What stands behind /hook/ in a URL, as it is: nothing of it is ever decoded.
static bool is_hook(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n < LIMIT_NAME && s[0] != '/' && s[n - 1] != '/' && !strstr(s, "//") &&
           s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/")] == '\0';
}

const char *config_check_text(enum check check, const char *s)
{
    switch (check) {
    case CHECK_ANY: return *s ? NULL : "text";
    case CHECK_INSTANCE: return str_is_instance(s) ? NULL : "lower-case letters, digits and single hyphens";
    case CHECK_USER:
        return str_is_instance(s) && strlen(s) <= 31 ? NULL : "a user or group name of at most 31 characters";
    case CHECK_ABSPATH: return str_is_abspath(s) ? NULL : "an absolute path without \".\", \"..\" or \"//\"";
    case CHECK_KEYFILE: return keyfile_problem(s);
    case CHECK_PLUGIN: return str_is_plugin(s) ? NULL : "a name: a letter, then letters, digits, _ or -";
    case CHECK_EVENT: return is_event_type(s) ? NULL : "an event type: letters, digits, dots, _ or -";
    case CHECK_USES: return is_uses(s) ? NULL : "PLUGIN or PLUGIN.COMMAND";
    case CHECK_ENV:
        if (!config_is_env_name(s))
            return "the name of an environment variable";
        return config_env_is_obeyed(s)
                   ? "a name that no linker or interpreter obeys and that no contract sets"
                   : NULL;
    case CHECK_RECIPIENT: return str_starts(s, "age1") && strlen(s) == 62 ? NULL : "an age1... recipient";
    case CHECK_EGRESS:
        return egress_parse(s, &(struct egress_net){0}) == 0
                   ? NULL
                   : "a network without host bits, such as 192.0.2.0/24, 192.0.2.7:443 or "
                     "[2001:db8::/32]:443";
    case CHECK_DOOR: return config_is_door(s) ? NULL : "the id of a door, GATE-DOOR-NN";
    case CHECK_DATE: return config_date_ends(s) > 0 ? NULL : "a day, YYYY-MM-DD";
    case CHECK_SECRET:
        return str_is_secret(s) ? NULL
                                : "the name of a secret: lower-case letters and digits, with _ and - inside";
    case CHECK_SCOPE: return token_rights(s) ? NULL : token_scopes();
    case CHECK_LISTEN:
        return listen_parse(s, &(struct listen_addr){0}) == 0
                   ? NULL
                   : "an address and a port, such as 127.0.0.1:8780 or [::1]:8780";
    case CHECK_HOOK: return is_hook(s) ? NULL : "letters, digits, _, - and single slashes inside";
    }
    return NULL;
}
