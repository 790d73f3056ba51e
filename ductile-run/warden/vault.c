// The open vault. A grant, roll or revoke made in a shell holds for the next spawn: inotify says that the
// file changed, so that it is open again before it is needed, and before each delivery the file is looked at
// all the same; while the bus has tokens also every few seconds, because a directory that is exchanged takes
// its watch along. What cannot be opened delivers nothing, also where an older one is still in memory.
#include "fd.h"
#include "log.h"
#include "str.h"
#include "warden.h"
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

static struct file_stamp stamp_of(const struct stat *st)
{
    // The change time too: whoever writes a file over may set its modification time back.
    return (struct file_stamp){st->st_mtim.tv_sec,  st->st_mtim.tv_nsec,   st->st_ctim.tv_sec,
                               st->st_ctim.tv_nsec, (uint64_t)st->st_size, (uint64_t)st->st_ino};
}

static int stat_vault(const struct warden *w, struct stat *st)
{
    OWNED(fd_closep) int root = fd_open_root(NULL);

    return root < 0 ? root : fd_stat(root, w->config->vault_file, st);
}

static int refuse_reopen(const struct warden *w, struct refusal *refusal, const char *why, const char *remedy)
{
    refuse(refusal, REFUSE_VAULT_OPEN, "the vault, %s", w->config->vault_file);
    refuse_why(refusal, "%s", why);
    return refuse_remedy(refusal, "%s", remedy);
}

// A vault that has outgrown the arena needs a larger one. It can be exchanged while no request is on its way.
static int make_room(struct warden *w, const struct stat *st, struct refusal *refusal)
{
    size_t need = vault_arena_size((uint64_t)st->st_size);

    if (need <= secret_arena_size())
        return 0;
    vault_close(&w->vault);
    w->vault_present = false;
    if (secret_in_use() > 0)
        return refuse_reopen(w, refusal, "it has grown, and requests with secrets are still being written",
                             "try again");
    secret_arena_close();
    return vault_arena_open(w->config->vault_file, refusal);
}

static int open_vault(struct warden *w, const struct stat *st, struct refusal *refusal)
{
    struct vault fresh = {0};
    int r = make_room(w, st, refusal);

    if (r == 0)
        r = vault_open(w->config->age_key_file, w->config->vault_file, &fresh, refusal);
    if (r < 0)
        return r;
    if (fresh.generation < w->vault_seen) { // also where the file beside it was put back with it
        vault_close(&fresh);
        return refuse_reopen(w, refusal, "an older vault was put back while the gateway runs",
                             "put the newest vault back");
    }
    if (vault_index_make(&fresh) < 0) {
        vault_close(&fresh);
        return refuse_reopen(w, refusal, "there is no memory for its index", "give the service more memory");
    }
    vault_close(&w->vault);
    w->vault = fresh;
    w->vault_seen = fresh.generation;
    w->vault_present = true;
    w->vault_stamp = stamp_of(st);
    return 0;
}

int warden_vault_open(struct warden *w, struct refusal *refusal)
{
    struct stat st = {0};
    int r = vault_arena_open(w->config->vault_file, refusal);

    if (r < 0)
        return r;
    r = stat_vault(w, &st);
    if (r == -ENOENT) {
        log_info("there is no vault (%s): nothing is delivered to anyone", w->config->vault_file);
        return 0;
    }
    return open_vault(w, &st, refusal);
}

static bool is_stamp(const struct stat *st, const struct file_stamp *stamp)
{
    const struct file_stamp now = stamp_of(st);

    return memcmp(&now, stamp, sizeof(now)) == 0;
}

// A stranger's request makes nobody decrypt: what could not be opened is tried again when it is another file,
// or after a while, since what was wrong may be beside it (secret zero, memory).
static bool is_known_bad(const struct warden *w, const struct stat *st)
{
    return w->vault_bad && is_stamp(st, &w->vault_bad_stamp) &&
           warden_now() - w->vault_tried < TIME_VAULT_RETRY_MS;
}

static bool turned_bad(struct warden *w, struct refusal *refusal)
{
    if (!w->vault_bad || !str_eq(w->vault_refusal.why, refusal->why))
        log_warn("the vault cannot be used, and until it can nothing is delivered: %s", refusal->why);
    w->vault_bad = true;
    w->vault_refusal = *refusal;
    if (w->bus_pid > 0 && !w->tokens_withheld)
        core_send_tokens(w, false);
    return false;
}

static bool turned_good(struct warden *w, bool read)
{
    w->vault_bad = false;
    if (read)
        log_info("the vault was read again: generation %llu", (unsigned long long)w->vault_seen);
    if (w->bus_pid > 0 && (read || w->tokens_withheld)) // or it was away, and is back as it was
        core_send_tokens(w, true);
    return true;
}

bool warden_vault_fresh(struct warden *w, struct refusal *refusal)
{
    struct stat st = {0};
    int r = stat_vault(w, &st);

    if (r == -ENOENT && w->vault_seen == 0)
        return turned_good(w, false); // there never was one
    if (r == 0 && w->vault_present && is_stamp(&st, &w->vault_stamp))
        return turned_good(w, false);
    if (r == 0 && is_known_bad(w, &st)) {
        *refusal = w->vault_refusal;
        return false;
    }
    if (r == 0) {
        w->vault_tried = warden_now();
        w->vault_bad_stamp = stamp_of(&st);
        r = open_vault(w, &st, refusal);
    } else {
        w->vault_bad_stamp = (struct file_stamp){0};
        refuse_reopen(w, refusal, r == -ENOENT ? "it is gone" : errno_name(-r), "put the vault back");
    }
    return r < 0 ? turned_bad(w, refusal) : turned_good(w, true);
}

int warden_vault_watch(struct warden *w)
{
    char dir[LIMIT_PATH];
    const char *file = w->config->vault_file;
    const int before = w->vault_watch;

    snprintf(dir, sizeof(dir), "%.*s", MAX(1, (int)(strrchr(file, '/') - file)), file);
    // The same directory keeps its number; another one of that name, which was put in its place, has its own.
    w->vault_watch = inotify_add_watch(w->watch_fd, dir,
                                       IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_ATTRIB |
                                           IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR);
    int r = w->vault_watch < 0 ? err_last() : 0;
    if (before > 0 && before != w->vault_watch && inotify_rm_watch(w->watch_fd, before) < 0 &&
        errno != EINVAL)
        return err_last(); // EINVAL: it went with its directory
    // Where there is no such directory there is no vault, and the next look finds a new one.
    return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

int64_t warden_vault_look_at(const struct warden *w)
{
    // What the bus was told holds until it is told otherwise; all else looks by itself.
    return w->bus_pid > 0 && !w->stopping && w->config->tokens.n > 0 ? w->vault_look : INT64_MAX;
}

void warden_vault_look(struct warden *w)
{
    struct refusal refusal;
    int r = warden_vault_watch(w); // first: what changes in between is seen by one of the two

    w->vault_look = warden_now() + TIME_VAULT_LOOK_MS;
    if (r < 0 && r != w->vault_watch_error)
        log_err(r, "the vault's directory cannot be watched: a change counts within seconds");
    w->vault_watch_error = r;
    warden_vault_fresh(w, &refusal); // which says what it found
}
