// The judges of rootdoors.h. Conservative on purpose: what is not understood is DOOR_UNKNOWN, never clean.
#include "rootdoors.h"
#include "fd.h"
#include "str.h"
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *check, *word;
} rows[ROOTDOOR_COUNT_] = {
#define ROOTDOOR(name, id, word) [ROOTDOOR_##name] = {id, word},
#include "rootdoors.def"
#undef ROOTDOOR
};

const char *rootdoor_check(enum rootdoor_id id)
{
    return rows[id].check;
}

const char *rootdoor_word(enum rootdoor_id id)
{
    return rows[id].word;
}

void rootdoors_note(struct rootdoor *door, enum door_state state, bool open, const char *format, ...)
{
    va_list ap;

    if (door->evidence[0] && state <= door->state)
        return;
    door->state = state;
    door->open = open;
    va_start(ap, format);
    vsnprintf(door->evidence, sizeof(door->evidence), format, ap);
    va_end(ap);
    str_make_utf8(door->evidence); // a text that was cut, or a name as somebody wrote it
    for (char *p = door->evidence; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
}

// ---- who it is ----------------------------------------------------------------------------------

static bool in_group(const struct door_subject *s, const char *name, size_t len)
{
    for (size_t i = 0; i < s->n_groups; i++)
        if (strlen(s->groups[i]) == len && memcmp(s->groups[i], name, len) == 0)
            return true;
    return false;
}

static bool is_user(const struct door_subject *s, const char *name, size_t len)
{
    return strlen(s->user) == len && memcmp(s->user, name, len) == 0;
}

void rootdoors_subject_free(struct door_subject *s)
{
    for (size_t i = 0; i < s->n_groups; i++)
        free(s->groups[i]);
    free(s->groups);
    free(s->gids);
    *s = (struct door_subject){0};
}

static bool has_gid(const struct door_subject *s, gid_t gid)
{
    for (size_t i = 0; i < s->n_gids; i++)
        if (s->gids[i] == gid)
            return true;
    return false;
}

static int add_gid(struct door_subject *s, gid_t gid)
{
    gid_t *more = reallocarray(s->gids, s->n_gids + 1, sizeof(*more));

    if (!more)
        return -ENOMEM;
    s->gids = more;
    s->gids[s->n_gids++] = gid;
    return 0;
}

// Two looks: which gids, then every name of those.
static int read_groups(FILE *f, struct door_subject *s)
{
    int r = add_gid(s, s->gid);

    for (struct group *g; r == 0 && (g = fgetgrent(f));)
        for (char **m = g->gr_mem; r == 0 && *m; m++)
            if (str_eq(*m, s->user))
                r = add_gid(s, g->gr_gid);
    if (r < 0)
        return r;
    rewind(f);
    for (struct group *g; (g = fgetgrent(f));) {
        if (!has_gid(s, g->gr_gid))
            continue;
        char **list = reallocarray(s->groups, s->n_groups + 1, sizeof(*list));
        if (!list)
            return -ENOMEM;
        s->groups = list;
        if (!(list[s->n_groups] = strdup(g->gr_name)))
            return -ENOMEM;
        s->n_groups++;
    }
    return 0;
}

int rootdoors_subject(int root, const char *user, uid_t uid, gid_t gid, struct door_subject *ret)
{
    struct door_subject s = {.user = user, .uid = uid, .gid = gid};
    int fd = fd_open(root, "/etc/group", O_RDONLY, 0);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "re");

    if (!f) {
        if (fd >= 0)
            close(fd);
        return fd < 0 ? fd : -ENOMEM;
    }
    int r = read_groups(f, &s);
    fclose(f);
    if (r < 0)
        rootdoors_subject_free(&s);
    else
        *ret = s;
    return r;
}

// ---- sudo ---------------------------------------------------------------------------------------

static const char *const no_setuid =
    "open to a plugin: no (no_new_privs: a setuid program stays the account)";

void rootdoors_sudo(const char *answer, struct rootdoor *door)
{
    const char *may = strstr(answer, "may run the following commands");
    const char *first = NULL;
    bool free_of_charge = false;
    unsigned rules = 0;

    if (!may) {
        if (strstr(answer, "is not allowed to run sudo") || strstr(answer, "may not run sudo"))
            rootdoors_note(door, DOOR_NONE, false, "sudo -l: no rule covers it");
        else
            rootdoors_note(door, DOOR_UNKNOWN, false, "sudo -l said: \"%.200s\"", answer);
        return;
    }
    free_of_charge = strstr(answer, "!authenticate") != NULL; // a Defaults line that covers it
    for (const char *line = strchr(may, '\n'); line; line = strchr(line + 1, '\n')) {
        const char *p = line + 1 + strspn(line + 1, " \t");
        const char *end = p + strcspn(p, "\n");
        if (p == line + 1 || *p != '(')
            continue; // the rest of a long rule, or another heading
        if (!rules++)
            first = p;
        free_of_charge |= memmem(p, (size_t)(end - p), "NOPASSWD:", 9) != NULL;
    }
    if (!rules) {
        rootdoors_note(door, DOOR_UNKNOWN, false, "sudo -l lists rules that cannot be read: \"%.160s\"", may);
        return;
    }
    rootdoors_note(door, DOOR_EXISTS, false, "sudo: %.*s%s; exists: yes, %s; %s",
                   (int)MIN(strcspn(first, "\n"), (size_t)120), first, rules > 1 ? ", and more" : "",
                   free_of_charge ? "without a password" : "with a password, as PAM decides", no_setuid);
}

// ---- doas ---------------------------------------------------------------------------------------

struct words {
    char word[32][128];
    size_t n;
    bool failed;
};

// One rule into words: quotes, backslashes, comments and continued lines as doas.conf(5) has them. Braces are
// words of their own. Returns what follows it, or NULL at the end.
static const char *doas_rule(const char *p, struct words *w)
{
    char quote = 0;
    size_t len = 0;
    bool in = false;

    *w = (struct words){0};
    for (;; p++) {
        bool end = *p == '\0' || *p == '\n';
        bool brace = !quote && (*p == '{' || *p == '}');
        if (end || brace || (!quote && (*p == ' ' || *p == '\t' || *p == '#'))) {
            if (in)
                w->n++;
            in = false;
            len = 0;
            w->failed |= w->n >= ARRAY_LEN(w->word) || (end && quote);
            if (w->failed || *p == '\0')
                return NULL;
            if (brace)
                w->word[w->n++][0] = *p;
            if (*p == '#')
                p += strcspn(p, "\n");
            if (*p == '\0')
                return NULL;
            if (*p == '\n')
                return p + 1;
            continue;
        }
        if (*p == '\\' && p[1] == '\n') {
            p++;
            continue;
        }
        if (*p == '"') {
            quote = (char)(quote ? 0 : '"');
            in = true;
            continue;
        }
        if (*p == '\\' && p[1])
            p++;
        in = true;
        if (len + 1 >= sizeof(w->word[0]))
            w->failed = true;
        else
            w->word[w->n][len++] = *p;
    }
}

static bool doas_names(const char *identity, const struct door_subject *s)
{
    unsigned long long number;
    bool group = identity[0] == ':';
    char *end;
    const char *name = identity + group;

    if (group ? in_group(s, name, strlen(name)) : is_user(s, name, strlen(name)))
        return true;
    number = strtoull(name, &end, 10); // as strtonum does: " 0064901" is a number
    return end != name && !*end && number <= UINT32_MAX &&
           (group ? has_gid(s, (gid_t)number) : number == s->uid);
}

static bool is_doas_option(const char *word)
{
    return str_eq(word, "nopass") || str_eq(word, "persist") || str_eq(word, "keepenv") ||
           str_eq(word, "nolog") || str_eq(word, "setenv");
}

static void doas_judge(const struct words *w, const struct door_subject *s, struct rootdoor *door)
{
    bool permit = w->n > 1 && str_eq(w->word[0], "permit"), deny = w->n > 1 && str_eq(w->word[0], "deny");
    bool nopass = false;
    size_t i = 1;

    if ((!permit && !deny) || (deny && is_doas_option(w->word[1]))) {
        rootdoors_note(door, DOOR_UNKNOWN, false, "doas.conf has a line that cannot be read: \"%.60s ...\"",
                       w->word[0]);
        return;
    }
    for (; i < w->n; i++) {
        if (str_eq(w->word[i], "{") || str_eq(w->word[i], "setenv")) {
            while (i < w->n && !str_eq(w->word[i], "}"))
                i++;
            continue;
        }
        if (!is_doas_option(w->word[i]))
            break;
        nopass |= str_eq(w->word[i], "nopass");
    }
    if (i >= w->n) {
        rootdoors_note(door, DOOR_UNKNOWN, false, "doas.conf has a rule without an identity");
        return;
    }
    if (!doas_names(w->word[i], s))
        return;
    if (deny && i + 1 == w->n) { // all of it, whatever stood above; but not what could not be read
        if (door->state == DOOR_EXISTS)
            *door = (struct rootdoor){0};
    } else if (permit)
        rootdoors_note(door, DOOR_EXISTS, false, "doas: permit %.60s %.40s; exists: yes, %s; %s", w->word[i],
                       i + 1 < w->n ? w->word[i + 1] : "", nopass ? "without a password" : "with a password",
                       no_setuid);
}

void rootdoors_doas(const char *text, const struct door_subject *s, struct rootdoor *door)
{
    struct words w;

    while (text) {
        text = doas_rule(text, &w);
        if (w.failed)
            rootdoors_note(door, DOOR_UNKNOWN, false,
                           "doas.conf has a line that is too long or does not end");
        else if (w.n > 0)
            doas_judge(&w, s, door);
    }
}

// ---- login --------------------------------------------------------------------------------------

// The n-th field of user's line, or NULL. Into buf.
static const char *field_of(const char *text, const char *user, unsigned n, char buf[static 256])
{
    size_t len = strlen(user);

    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, user, len) != 0 || line[len] != ':')
            continue;
        const char *p = line;
        for (unsigned i = 0; i < n && p; i++) {
            p += strcspn(p, ":\n");
            p = *p == ':' ? p + 1 : NULL;
        }
        if (p)
            snprintf(buf, 256, "%.*s", (int)MIN(strcspn(p, ":\n"), (size_t)255), p);
        return p ? buf : NULL;
    }
    return NULL;
}

static bool is_no_shell(const char *shell)
{
    const char *base = strrchr(shell, '/');

    return base && (str_eq(base, "/nologin") || str_eq(base, "/false"));
}

void rootdoors_login(const char *passwd, const char *shadow, const struct door_subject *s,
                     struct rootdoor *door)
{
    char first[256], second[256], third[256];
    const char *in_passwd = field_of(passwd, s->user, 1, first),
               *shell = field_of(passwd, s->user, 6, second);
    const char *hash = in_passwd;

    if (!in_passwd || !shell) {
        rootdoors_note(door, DOOR_UNKNOWN, false, "/etc/passwd has no line for %s", s->user);
        return;
    }
    if (str_eq(in_passwd, "x") && !(hash = field_of(shadow, s->user, 1, third)))
        hash = "*"; // a user whom shadow does not know has no password
    bool usable = hash[0] != '!' && hash[0] != '*';
    if (!usable && is_no_shell(shell))
        rootdoors_note(door, DOOR_NONE, false, "shell %s, password locked", shell);
    else
        // Its shell alone, or its password alone, starts processes that we did not drop.
        rootdoors_note(door, DOOR_EXISTS, usable && !hash[0],
                       "shell %s, password %s; exists: yes; open to a plugin: %s",
                       shell[0] ? shell : "/bin/sh",
                       !usable   ? "locked"
                       : hash[0] ? "usable"
                                 : "EMPTY",
                       !usable   ? "no (nothing asks it in)"
                       : hash[0] ? "no (it does not know the password)"
                                 : "yes (a login asks for nothing)");
}

// ---- cron and at --------------------------------------------------------------------------------

static void look_for_crontab(int root, const struct door_subject *s, struct rootdoor *door)
{
    static const char *const dirs[] = {"/var/spool/cron/crontabs", "/var/spool/cron/tabs", "/var/spool/cron"};
    struct stat st;

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", dirs[i], s->user);
        int r = fd_stat(root, path, &st);
        if (r == 0 && S_ISREG(st.st_mode))
            rootdoors_note(
                door, DOOR_EXISTS, true,
                "it has a crontab, %s; exists: yes; open to a plugin: yes, where it may write what that runs",
                path);
        else if (r < 0 && r != -ENOENT)
            rootdoors_note(door, DOOR_UNKNOWN, false, "%s cannot be examined: %s", path, strerror(-r));
    }
}

static void look_for_jobs(int root, const struct door_subject *s, struct rootdoor *door)
{
    static const char *const dirs[] = {"/var/spool/cron/atjobs", "/var/spool/at", "/var/spool/atjobs"};

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        char **names = NULL;
        size_t n = 0;
        OWNED(fd_closep) int dir = fd_open(root, dirs[i], O_RDONLY | O_DIRECTORY, 0);
        int r = dir == -ENOENT ? 0 : dir < 0 ? dir : fd_list_some(dir, 10000, &names, &n);
        if (r < 0)
            rootdoors_note(door, DOOR_UNKNOWN, false, "%s cannot be listed: %s", dirs[i], strerror(-r));
        for (size_t j = 0; j < n; j++) {
            struct stat st;
            if (fstatat(dir, names[j], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
                st.st_uid == s->uid)
                rootdoors_note(
                    door, DOOR_EXISTS, true,
                    "it has an at job, %s/%.60s; exists: yes; open to a plugin: yes, where it may write what that runs",
                    dirs[i], names[j]);
        }
        fd_list_free(names, n);
    }
}

void rootdoors_cron(int root, const struct door_subject *s, struct rootdoor *door)
{
    static const char *const lists[] = {"/etc/cron.allow", "/etc/at.allow"};

    look_for_crontab(root, s, door);
    look_for_jobs(root, s, door);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        OWNED(freep) char *text = NULL;
        size_t len;
        int r = fd_read_file(root, lists[i], 1 << 20, &text, &len);
        if (r < 0 && r != -ENOENT)
            rootdoors_note(door, DOOR_UNKNOWN, false, "%s cannot be read: %s", lists[i], strerror(-r));
        char *save = NULL;
        for (char *w = r < 0 ? NULL : strtok_r(text, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save))
            if (str_eq(w, s->user))
                rootdoors_note(door, DOOR_EXISTS, false, "%s names it; exists: yes; %s", lists[i], no_setuid);
    }
    rootdoors_note(door, DOOR_NONE, false, "no crontab, no at job, and no list allows it by name");
}
