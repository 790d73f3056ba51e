// The open vault. A grant, roll or revoke made in a shell holds for the next spawn: before each delivery the
// file is looked at again, and opened anew when it changed.
#include "fd.h"
#include "log.h"
#include "warden.h"
#include <sys/stat.h>

static bool same_file(const struct warden *w, const struct stat *st)
{
    return st->st_mtim.tv_sec == w->vault_mtime.tv_sec && st->st_mtim.tv_nsec == w->vault_mtime.tv_nsec &&
           (uint64_t)st->st_size == w->vault_size && (uint64_t)st->st_ino == w->vault_inode;
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
    vault_close(&w->vault);
    w->vault = fresh;
    w->vault_seen = fresh.generation;
    w->vault_present = true;
    w->vault_mtime = st->st_mtim;
    w->vault_size = (uint64_t)st->st_size;
    w->vault_inode = (uint64_t)st->st_ino;
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

bool warden_vault_fresh(struct warden *w, struct refusal *refusal)
{
    struct stat st;
    int r = stat_vault(w, &st);

    if (r == 0 && w->vault_present && same_file(w, &st))
        return true;
    if (r == -ENOENT && w->vault_seen == 0)
        return true; // there never was one
    if (r == 0)
        r = open_vault(w, &st, refusal);
    else
        refuse_reopen(w, refusal, errno_name(-r), "put the vault back");
    return r == 0;
}
