// Collects, stamps, writes and reads facts.json. Runs one program, sudo, as root, to be told what it would
// do.
#include "rootfacts.h"
#include "capture.h"
#include "fd.h"
#include "privs.h"
#include "str.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { PATHS_MAX = 4000, TEXT_MAX = 1 << 20 };

const char *rootfacts_path(const struct config *c, char buf[static LIMIT_PATH])
{
    return config_lock_path(c, "facts.json", buf);
}

// ---- programs -----------------------------------------------------------------------------------

static const char *const bins[] = {"/usr/bin", "/usr/sbin", "/usr/local/bin",   "/usr/local/sbin",
                                   "/bin",     "/sbin",     "/run/wrappers/bin"};
static const char *const polkitds[] = {"/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd",
                                       "/usr/libexec/polkit-1/polkitd", "/usr/lib/policykit-1/polkitd"};

static int stat_at(int root, const char *path, struct stat *ret)
{
    return fstatat(root, path[1] ? path + 1 : ".", ret, 0) < 0 ? err_last() : 0;
}

// The i-th place of a setuid-root program. A sudo without the bit is no door.
static bool is_door_program(int root, size_t i, const char *name, char path[static 64])
{
    struct stat st;

    snprintf(path, 64, "%s/%s", bins[i], name);
    return stat_at(root, path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_ISUID) && st.st_uid == 0;
}

static bool has_program(int root, const char *name)
{
    char path[64];

    for (size_t i = 0; i < ARRAY_LEN(bins); i++)
        if (is_door_program(root, i, name, path))
            return true;
    return false;
}

static bool has_polkit(int root)
{
    struct stat st;

    for (size_t i = 0; i < ARRAY_LEN(polkitds); i++)
        if (stat_at(root, polkitds[i], &st) == 0)
            return true;
    return false;
}

// Nobody but root could have put it there: the file and every directory above it, links resolved.
static bool is_roots_own(const char *path)
{
    OWNED(freep) char *real = realpath(path, NULL);
    struct stat st;

    while (real) {
        if (lstat(real[0] ? real : "/", &st) < 0 || st.st_uid != 0 || (st.st_mode & 0022))
            return false;
        if (!real[0])
            return true;
        *strrchr(real, '/') = '\0';
    }
    return false;
}

int rootfacts_ask_sudo(int root, const char *user, char **ret)
{
    char path[64];

    for (size_t i = 0; i < ARRAY_LEN(bins); i++) {
        int status;
        if (!is_door_program(root, i, "sudo", path))
            continue;
        if (!is_roots_own(path))
            return -EPERM;
        // Where it is a link to a chooser, it must see the name it was called by.
        const char *const argv[] = {path, "-n", "-l", "-U", user, NULL};
        return capture_run(argv, TIME_ASK_MS, 256 << 10, ret, &status);
    }
    return -ENOENT;
}

// ---- what decides -------------------------------------------------------------------------------

struct paths {
    char **list;
    size_t n;
    bool failed;
    struct strbuf secure; // what sudoers says of secure_path, each with a ':' before it
};

static void add_path(struct paths *p, const char *path)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_eq(p->list[i], path))
            return;
    char **list = p->n < PATHS_MAX ? reallocarray(p->list, p->n + 1, sizeof(*list)) : NULL;
    if (list)
        p->list = list;
    if (!list || !(list[p->n] = strdup(path)))
        p->failed = true;
    else
        p->n++;
}

static void free_paths(struct paths *p)
{
    fd_list_free(p->list, p->n);
}

// The directory, and what is in it.
static void add_dir(int root, struct paths *p, const char *dir)
{
    char **names = NULL;
    size_t n = 0;

    add_path(p, dir);
    OWNED(fd_closep) int fd = fd_open(root, dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 || fd_list_some(fd, PATHS_MAX, &names, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        char path[LIMIT_PATH];
        snprintf(path, sizeof(path), "%.600s/%.300s", dir, names[i]);
        add_path(p, path);
    }
    fd_list_free(names, n);
}

// `Defaults secure_path = "..."`: where root's sudo looks for programs, which a plugin may not write.
static void add_secure_path(struct paths *p, const char *line)
{
    const char *value = strstr(line, "secure_path");

    line += strspn(line, " \t");
    if (!value || !str_starts(line, "Defaults"))
        return;
    value += strlen("secure_path");
    value += strspn(value, " \t+=\"");
    sb_addf(&p->secure, ":%.*s", (int)MIN(strcspn(value, "\", \t\r"), (size_t)400), value);
}

// A sudoers file and, by its include lines, all others. sudo is asked, not this: here it matters only which
// files a later change may be in.
static void add_sudoers(int root, struct paths *p, const char *file, unsigned depth)
{
    OWNED(freep) char *text = NULL;
    size_t len;

    add_path(p, file);
    if (depth > 16 || fd_read_file(root, file, TEXT_MAX, &text, &len) < 0)
        return;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char word[16] = "", name[512] = "", path[LIMIT_PATH];
        add_secure_path(p, line);
        if (sscanf(line, " %15s %511s", word, name) != 2 || (word[0] != '#' && word[0] != '@') ||
            (!str_eq(word + 1, "include") && !str_eq(word + 1, "includedir")))
            continue;
        char *bare = name[0] == '"' ? name + 1 : name;
        bare[strcspn(bare, "\"")] = '\0';
        const char *slash = strrchr(file, '/');
        snprintf(path, sizeof(path), "%.*s%s", bare[0] == '/' ? 0 : (int)(slash - file + 1), file, bare);
        if (!str_eq(word + 1, "includedir")) {
            add_sudoers(root, p, path, depth + 1);
            continue;
        }
        size_t before = p->n;
        add_dir(root, p, path);
        for (size_t i = before + 1, end = p->n; i < end; i++)
            add_sudoers(root, p, p->list[i], depth + 1);
    }
}

static const char *const polkit_rules[] = {"/etc/polkit-1/rules.d", "/run/polkit-1/rules.d",
                                           "/usr/local/share/polkit-1/rules.d",
                                           "/usr/share/polkit-1/rules.d"};
static const char *const polkit_pkla[] = {"/etc/polkit-1/localauthority", "/var/lib/polkit-1/localauthority"};
static const char *const doas_files[] = {"/etc/doas.conf", "/usr/local/etc/doas.conf"};

static void add_paths(int root, const struct config *c, struct paths *p)
{
    static const char *const files[] = {"/etc/passwd",
                                        "/etc/group",
                                        "/etc/shadow",
                                        "/etc/nsswitch.conf",
                                        "/etc/sudo.conf",
                                        "/etc/cron.allow",
                                        "/etc/at.allow",
                                        "/var/spool/cron",
                                        "/var/spool/at",
                                        "/var/spool/atjobs",
                                        "/var/spool/cron/crontabs",
                                        "/var/spool/cron/tabs",
                                        "/var/spool/cron/atjobs"};

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        add_path(p, files[i]);
    add_sudoers(root, p, "/etc/sudoers", 0);
    for (size_t i = 0; i < ARRAY_LEN(doas_files); i++)
        add_path(p, doas_files[i]);
    add_dir(root, p, "/etc/doas.d");
    for (size_t i = 0; i < ARRAY_LEN(polkit_rules); i++)
        add_dir(root, p, polkit_rules[i]);
    for (size_t i = 0; i < ARRAY_LEN(polkit_pkla); i++) {
        size_t before = p->n;
        add_dir(root, p, polkit_pkla[i]);
        for (size_t j = before + 1, end = p->n; j < end; j++)
            add_dir(root, p, p->list[j]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bins); i++) {
        static const char *const names[] = {"sudo", "doas"};
        for (size_t j = 0; j < ARRAY_LEN(names); j++) {
            char path[64];
            snprintf(path, sizeof(path), "%s/%s", bins[i], names[j]);
            add_path(p, path);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(polkitds); i++)
        add_path(p, polkitds[i]);
    for (size_t i = 0; i < c->accounts.n; i++) {
        char path[LIMIT_PATH];
        snprintf(path, sizeof(path), "/var/spool/cron/crontabs/%.64s", c->accounts.list[i].user);
        add_path(p, path);
        snprintf(path, sizeof(path), "/var/spool/cron/%.64s", c->accounts.list[i].user);
        add_path(p, path);
    }
}

// ---- stamps -------------------------------------------------------------------------------------

// Of a program only whether it is there and setuid: an upgrade changes no door.
static bool is_program(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(bins); i++)
        if (str_path_within(path, bins[i]))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(polkitds); i++)
        if (str_eq(path, polkitds[i]))
            return true;
    return false;
}

void rootfacts_stamp(int root, const char *path, char out[static ROOTFACTS_STAMP])
{
    struct stat st;
    int r = stat_at(root, path, &st);

    if (r < 0)
        snprintf(out, ROOTFACTS_STAMP, "%s",
                 r == -ENOENT || r == -ENOTDIR ? "absent"
                 : r == -EACCES                ? "unseen"
                                               : strerror(-r));
    else if (is_program(path))
        snprintf(out, ROOTFACTS_STAMP, "program %o %u %u", st.st_mode, st.st_uid, st.st_gid);
    else
        snprintf(out, ROOTFACTS_STAMP, "%o %u %u %llu %lld %lld.%09ld %lld.%09ld", st.st_mode, st.st_uid,
                 st.st_gid, (unsigned long long)st.st_ino, (long long)st.st_size,
                 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec,
                 st.st_ctim.tv_nsec);
}

struct slot {
    char path[LIMIT_PATH]; // of the stamp: the file, or the directory that stands in for it
    char stamp[ROOTFACTS_STAMP];
};

// In a child that became the service user: what he sees is what the gate will see.
static int stamp_as_service(int root, const struct config *c, const struct paths *p, struct slot *slots)
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return err_last();
    if (pid == 0) {
        if (privs_become((uid_t)c->uid, (gid_t)c->gid) < 0)
            _exit(1);
        for (size_t i = 0; i < p->n; i++) {
            snprintf(slots[i].path, sizeof(slots[i].path), "%s", p->list[i]);
            rootfacts_stamp(root, slots[i].path, slots[i].stamp);
            for (char *slash; str_eq(slots[i].stamp, "unseen") && (slash = strrchr(slots[i].path, '/'));) {
                *slash = '\0';
                rootfacts_stamp(root, slots[i].path[0] ? slots[i].path : "/", slots[i].stamp);
            }
        }
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static void add_string(struct strbuf *sb, const char *before, const char *s)
{
    sb_adds(sb, before);
    sb_add_json(sb, s);
}

static void add_stamps(struct strbuf *sb, const struct paths *p, const struct slot *slots)
{
    struct paths written = {0};

    sb_adds(sb, "\"files\":[");
    for (size_t i = 0; i < p->n; i++) {
        size_t before = written.n;
        add_path(&written, slots[i].path);
        if (written.n == before)
            continue;
        add_string(sb, before ? ",\n{\"path\":" : "\n{\"path\":", slots[i].path);
        add_string(sb, ",\"stamp\":", slots[i].stamp);
        sb_addc(sb, '}');
    }
    sb_adds(sb, "],\n\"unseen\":[");
    for (size_t i = 0, n = 0; i < p->n; i++)
        if (!str_eq(p->list[i], slots[i].path))
            add_string(sb, n++ ? "," : "", p->list[i]);
    sb_adds(sb, "],\n");
    sb->failed |= written.failed;
    free_paths(&written);
}

static int add_files(int root, const struct config *c, struct strbuf *sb)
{
    struct paths p = {0};

    add_paths(root, c, &p);
    size_t size = (p.n + 1) * sizeof(struct slot);
    struct slot *slots = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int r = p.failed ? -E2BIG : slots == MAP_FAILED ? err_last() : stamp_as_service(root, c, &p, slots);
    if (r == 0)
        add_stamps(sb, &p, slots);
    OWNED(freep) char *secure = sb_finish(&p.secure);
    add_string(sb, "\"secure_path\":", secure && secure[0] ? secure + 1 : "");
    sb_adds(sb, ",\n");
    if (slots != MAP_FAILED)
        munmap(slots, size);
    free_paths(&p);
    return r;
}

// ---- asking -------------------------------------------------------------------------------------

// late: it did not answer in time for an account before, and is not waited for again.
static void ask_sudo(int root, const struct door_subject *s, rootfacts_ask *ask, bool *late,
                     struct rootdoor *d)
{
    OWNED(freep) char *answer = NULL;
    int r = !has_program(root, "sudo") ? -ENOENT : *late ? -ETIMEDOUT : ask(root, s->user, &answer);

    *late |= r == -ETIMEDOUT;
    if (r == -ENOENT)
        rootdoors_note(d, DOOR_NONE, false, "there is no sudo here");
    else if (r < 0 || !answer)
        rootdoors_note(d, DOOR_UNKNOWN, false, "sudo -l cannot be asked: %s",
                       r == -EPERM ? "others than root may write it, or a directory above it" : strerror(-r));
    else
        rootdoors_sudo(answer, d);
}

typedef void judge(const char *path, const char *text, const struct door_subject *s, struct rootdoor *d);

static void judge_doas(const char *path, const char *text, const struct door_subject *s, struct rootdoor *d)
{
    // A door of its own: which of the files this doas reads is not known, and what one denies another
    // permits.
    struct rootdoor own = {0};

    (void)path;
    rootdoors_doas(text, s, &own);
    if (own.evidence[0])
        rootdoors_note(d, own.state, own.open, "%s", own.evidence);
}

static void judge_file(int root, const char *path, judge *fn, const struct door_subject *s,
                       struct rootdoor *d)
{
    OWNED(freep) char *text = NULL;
    size_t len;
    int r = fd_read_file(root, path, TEXT_MAX, &text, &len);

    if (r == 0 && strlen(text) == len)
        fn(path, text, s, d);
    else if (r != -ENOENT)
        rootdoors_note(d, DOOR_UNKNOWN, false, "%s cannot be read: %s", path,
                       r < 0 ? strerror(-r) : "it holds NUL bytes");
}

// Every file of dir with that ending.
static void judge_dir(int root, const char *dir, const char *ending, judge *fn, const struct door_subject *s,
                      struct rootdoor *d)
{
    char **names = NULL;
    size_t n = 0;
    OWNED(fd_closep) int fd = fd_open(root, dir, O_RDONLY | O_DIRECTORY, 0);
    int r = fd < 0 ? fd : fd_list_some(fd, PATHS_MAX, &names, &n);

    if (r < 0 && r != -ENOENT && r != -ENOTDIR)
        rootdoors_note(d, DOOR_UNKNOWN, false, "%s cannot be listed: %s", dir, strerror(-r));
    for (size_t i = 0; i < n; i++) {
        char path[LIMIT_PATH];
        size_t len = strlen(names[i]), tail = strlen(ending);
        snprintf(path, sizeof(path), "%.600s/%.300s", dir, names[i]);
        if (!tail) // a directory of directories
            judge_dir(root, path, ".pkla", fn, s, d);
        else if (len > tail && str_eq(names[i] + len - tail, ending))
            judge_file(root, path, fn, s, d);
    }
    fd_list_free(names, n);
}

static void ask_doas(int root, const struct door_subject *s, struct rootdoor *d)
{
    if (!has_program(root, "doas")) {
        rootdoors_note(d, DOOR_NONE, false, "there is no doas here");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(doas_files); i++)
        judge_file(root, doas_files[i], judge_doas, s, d);
    judge_dir(root, "/etc/doas.d", ".conf", judge_doas, s, d);
    rootdoors_note(d, DOOR_NONE, false, "no rule of doas.conf covers it");
}

static void ask_polkit(int root, const struct door_subject *s, struct rootdoor *d)
{
    if (!has_polkit(root)) {
        rootdoors_note(d, DOOR_NONE, false, "there is no polkit here");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(polkit_rules); i++)
        judge_dir(root, polkit_rules[i], ".rules", rootdoors_polkit, s, d);
    for (size_t i = 0; i < ARRAY_LEN(polkit_pkla); i++)
        judge_dir(root, polkit_pkla[i], "", rootdoors_pkla, s, d);
    rootdoors_note(d, DOOR_NONE, false, "no rule of polkit grants it anything without asking");
}

static void ask_login(int root, const struct door_subject *s, struct rootdoor *d)
{
    OWNED(freep) char *passwd = NULL;
    OWNED(freep) char *shadow = NULL;
    size_t len;
    int r = fd_read_file(root, "/etc/passwd", TEXT_MAX, &passwd, &len);

    if (r == 0)
        r = fd_read_file(root, "/etc/shadow", TEXT_MAX, &shadow, &len);
    if (r == 0)
        rootdoors_login(passwd, shadow, s, d);
    else
        rootdoors_note(d, DOOR_UNKNOWN, false, "/etc/%s cannot be read: %s", passwd ? "shadow" : "passwd",
                       strerror(-r));
}

static void add_account(int root, const struct account_config *a, rootfacts_ask *ask, bool *late,
                        struct strbuf *sb)
{
    static const char *const states[DOOR_COUNT_] = {"none", "unknown", "exists"};
    struct door_subject s = {.user = a->user, .uid = (uid_t)a->uid, .gid = (gid_t)a->gid};
    struct rootdoor doors[ROOTDOOR_COUNT_] = {0};
    int r = rootdoors_subject(root, a->user, s.uid, s.gid, &s);

    if (r < 0) { // who is in which group decides two of them
        rootdoors_note(&doors[ROOTDOOR_DOAS], DOOR_UNKNOWN, false, "/etc/group: %s", strerror(-r));
        rootdoors_note(&doors[ROOTDOOR_POLKIT], DOOR_UNKNOWN, false, "/etc/group: %s", strerror(-r));
    }
    ask_sudo(root, &s, ask, late, &doors[ROOTDOOR_SUDO]);
    ask_doas(root, &s, &doors[ROOTDOOR_DOAS]);
    ask_polkit(root, &s, &doors[ROOTDOOR_POLKIT]);
    rootdoors_cron(root, &s, &doors[ROOTDOOR_CRON]);
    if (a->mode == MODE_CONFINED)
        ask_login(root, &s, &doors[ROOTDOOR_LOGIN]);
    else
        rootdoors_note(&doors[ROOTDOOR_LOGIN], DOOR_NONE, false, "a login user, as it is meant to be");
    rootdoors_subject_free(&s);
    add_string(sb, "\n{\"account\":", a->name);
    add_string(sb, ",\"user\":", a->user);
    sb_addf(sb, ",\"uid\":%lld,\"doors\":[", (long long)a->uid);
    for (size_t i = 0; i < ROOTDOOR_COUNT_; i++) {
        add_string(sb, i ? ",\n  {\"door\":" : "\n  {\"door\":", rootdoor_word((enum rootdoor_id)i));
        add_string(sb, ",\"state\":", states[doors[i].state]);
        add_string(sb, ",\"open\":", doors[i].open ? "yes" : "no");
        add_string(sb, ",\"evidence\":", doors[i].evidence);
        sb_addc(sb, '}');
    }
    sb_adds(sb, "]}");
}

int rootfacts_collect(int root, const struct config *c, const char *by, rootfacts_ask *ask, char **ret)
{
    struct strbuf sb = {0};
    struct timespec now;
    bool late = false;

    clock_gettime(CLOCK_REALTIME, &now);
    sb_addf(&sb, "{\"version\":1,\"collected_ms\":%lld,",
            (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    add_string(&sb, "\"by\":", by);
    sb_adds(&sb, ",\n");
    int r = add_files(root, c, &sb); // before the questions: what changes while they are asked makes it stale
    sb_adds(&sb, "\"accounts\":[");
    for (size_t i = 0; r == 0 && i < c->accounts.n; i++) {
        sb_adds(&sb, i ? "," : "");
        add_account(root, &c->accounts.list[i], ask, &late, &sb);
    }
    sb_adds(&sb, "]}\n");
    char *text = sb_finish(&sb);
    if (r < 0 || !text) {
        free(text);
        return r < 0 ? r : -ENOMEM;
    }
    *ret = text;
    return 0;
}

int rootfacts_write(int root, const struct config *c, const char *by)
{
    OWNED(freep) char *text = NULL;
    char path[LIMIT_PATH];
    int r = rootfacts_collect(root, c, by, rootfacts_ask_sudo, &text);

    if (r < 0)
        return r;
    return fd_replace_file(root, rootfacts_path(c, path), text, strlen(text), 0640, 0, (gid_t)c->gid);
}
