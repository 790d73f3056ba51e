// Is the code on disk what was locked? Where root alone can write, an unchanged identity (dev, ino, size,
// times of every entry and ancestor) stands for the hash. Everything else is read again, by a helper: it has
// no capability, the arena is wiped in it, and a home that hangs holds up its own job only.
#include "fd.h"
#include "log.h"
#include "str.h"
#include "warden.h"
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct answer {
    uint32_t reason; // REASON_NONE: all is as locked
    int32_t error;
    char text[LIMIT_PATH];
};

struct lockset *lockset_new(struct lock *lock)
{
    struct lockset *set = calloc(1, sizeof(*set));

    if (set)
        set->trusted = calloc(MAX(lock->n, (size_t)1), sizeof(*set->trusted));
    if (!set || !set->trusted) {
        free(set);
        return NULL;
    }
    set->lock = *lock;
    *lock = (struct lock){0};
    set->users = 1;
    return set;
}

struct lockset *lockset_use(struct lockset *set)
{
    set->users++;
    return set;
}

void lockset_drop(struct lockset *set)
{
    if (!set || --set->users > 0)
        return;
    lock_free(&set->lock);
    free(set->trusted);
    free(set);
}

static struct trusted *trusted_of(struct slot *s)
{
    return &s->lockset->trusted[s->plugin - s->lockset->lock.list];
}

// ---- the helper ---------------------------------------------------------------------------------

static bool check_tree(const char *path, const struct tree *locked, struct answer *a)
{
    struct tree now = {0};
    struct tree_error e;
    char what[LIMIT_PATH];
    OWNED(fd_closep) int root = fd_open_root(NULL);
    OWNED(fd_closep) int dir = root < 0 ? root : fd_open(root, path, O_RDONLY | O_DIRECTORY, 0);
    int r = dir < 0 ? dir : tree_scan(dir, &now, &e);

    if (dir < 0) {
        a->reason = REASON_CANNOT_ATTEST;
        snprintf(a->text, sizeof(a->text), "%.800s cannot be opened", path);
    } else if (r < 0) {
        a->reason = r == -EPERM ? REASON_NOT_ATTESTED : REASON_CANNOT_ATTEST;
        snprintf(a->text, sizeof(a->text), "%.120s: %.800s", e.why, e.path);
    } else if (!tree_same(locked, &now, what)) {
        a->reason = REASON_NOT_ATTESTED;
        snprintf(a->text, sizeof(a->text), "%s", what);
    }
    a->error = r;
    tree_free(&now);
    return a->reason == REASON_NONE;
}

static void run_helper(const struct slot *s, bool source, bool code, int fd)
{
    struct answer a = {0};

    // Other jobs' stdin pipes must not be held open by us, and nothing of ours is needed but the answer's
    // pipe.
    if (fd != 3 && dup2(fd, 3) < 0)
        _exit(1);
    if (syscall(SYS_close_range, 4, ~0u, 0) < 0 || privs_clear_caps() < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        _exit(1);
    if ((!source || check_tree(s->plugin->source, &s->plugin->tree, &a)) && code)
        check_tree(s->plugin->code, &s->plugin->tree, &a);
    _exit(write(3, &a, sizeof(a)) == sizeof(a) ? 0 : 1);
}

static int start_helper(struct slot *s, bool source, bool code)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return err_last();
    pid_t pid = fork();
    int r = pid < 0 ? err_last() : 0;
    if (pid == 0)
        run_helper(s, source, code, p[1]);
    close(p[1]);
    if (r < 0) {
        close(p[0]);
        return r;
    }
    s->helper = pid;
    s->helper_fd = p[0];
    return 0;
}

// ---- the warden's side --------------------------------------------------------------------------

// What may hang as one: the home that the code is in, or else the plugin's own directory.
static const char *place_of(const struct warden *w, const struct slot *s)
{
    const struct account_config *home = config_home_of(w->config, s->plugin->source);

    return home ? home->home : s->plugin->source;
}

// In posture unconfined code may run from anywhere, a hung mount too: the warden itself looks at what the
// layout gives to root, and leaves the rest to the helper.
static int look(const struct warden *w, struct slot *s)
{
    if (!w->enforce && !str_path_within(s->plugin->code, "/opt"))
        return -ENOTSUP;
    return tree_identity(s->plugin->code, &s->plugin->tree, s->identity, &s->root_only);
}

void attest_begin(struct warden *w, struct slot *s)
{
    char where[LIMIT_PATH];
    const struct trusted *t = trusted_of(s);
    bool home = strcmp(s->plugin->source, s->plugin->code) != 0;
    int r = look(w, s);

    if (r < 0) {
        // An entry is missing: let the helper say which, by name.
        s->root_only = false;
        memset(s->identity, 0, sizeof(s->identity));
    } else if (!s->root_only && w->enforce && !privs_broken(BREAK_INPLACE)) {
        tree_writable(s->plugin->code, &s->plugin->tree, where);
        slot_refuse(w, s, REASON_CODE_WRITABLE, STAGE_NONE, 0, "%.900s may be changed by others than root",
                    where);
        return;
    }
    bool known =
        r == 0 && s->root_only && t->valid && memcmp(t->identity, s->identity, sizeof(s->identity)) == 0;
    if (known && !home) {
        slot_attested(w, s);
        return;
    }
    if (!lost_may_read(w, place_of(w, s), s)) {
        slot_refuse(w, s, REASON_CANNOT_ATTEST, STAGE_NONE, -ETIMEDOUT,
                    "%.900s did not answer when it was last read", place_of(w, s));
        return;
    }
    r = start_helper(s, home, !known);
    if (r < 0) {
        slot_refuse(w, s, REASON_SPAWN_FAILED, STAGE_NONE, r, "no helper to check the code");
        return;
    }
    s->phase = PHASE_ATTEST;
    s->deadline = warden_now() + TIME_ATTEST_MS;
}

// The code must not have moved while it was read.
static bool still_the_same(struct slot *s)
{
    uint8_t now[TREE_HASH_LEN];
    bool root_only;

    if (!s->root_only)
        return true; // posture unconfined: nothing is promised
    if (tree_identity(s->plugin->code, &s->plugin->tree, now, &root_only) < 0 || !root_only ||
        memcmp(now, s->identity, sizeof(now)) != 0)
        return false;
    struct trusted *t = trusted_of(s);
    t->valid = true;
    memcpy(t->identity, now, sizeof(now));
    return true;
}

void attest_answer(struct warden *w, struct slot *s)
{
    struct answer a = {0};
    ssize_t n = read(s->helper_fd, &a, sizeof(a));

    fd_closep(&s->helper_fd);
    s->helper = 0;
    lost_probed(w, place_of(w, s), s, n == sizeof(a));
    if (n != sizeof(a))
        slot_refuse(w, s, REASON_CANNOT_ATTEST, STAGE_NONE, 0, "the helper that checks the code died");
    else if (a.reason != REASON_NONE) {
        a.text[sizeof(a.text) - 1] = '\0';
        slot_refuse(w, s, (enum proto_reason)a.reason, STAGE_NONE, a.error, "%s", a.text);
    } else if (!still_the_same(s))
        slot_refuse(w, s, REASON_NOT_ATTESTED, STAGE_NONE, 0, "changed while it was checked: %.900s",
                    s->plugin->code);
    else
        slot_attested(w, s);
}

void attest_abandon(struct warden *w, struct slot *s, bool late)
{
    fd_closep(&s->helper_fd);
    lost_probed(w, place_of(w, s), s, false);
    if (s->helper > 0 && kill(s->helper, SIGKILL) == 0)
        lost_reader(w, place_of(w, s), s->helper, late); // reaped whenever the file system lets go of it
    s->helper = 0;
}

void attest_timeout(struct warden *w, struct slot *s)
{
    attest_abandon(w, s, true);
    slot_refuse(w, s, REASON_CANNOT_ATTEST, STAGE_NONE, -ETIMEDOUT, "reading %.900s took too long",
                s->plugin->source);
}
