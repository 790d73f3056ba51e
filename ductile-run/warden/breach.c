// The gate's flag (breach.h), obeyed: while an account is on it, none of its jobs starts. What runs goes on:
// it was let in by a wall that was held for whole, and its end is not ours to decide.
#include "breach.h"
#include "fd.h"
#include "log.h"
#include "warden.h"
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

int breach_watch(struct warden *w)
{
    char path[LIMIT_PATH];

    if (!w->enforce)
        return 0;
    breach_path(w->config, path);
    *strrchr(path, '/') = '\0';
    if (inotify_add_watch(w->watch_fd, path, IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE) < 0)
        return err_last();
    breach_load(w); // behind the watch: what is written in between is seen by one of the two
    return 0;
}

void breach_load(struct warden *w)
{
    struct breach_list now;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = root < 0 ? root : breach_read(root, w->config, &now);

    w->breach_unknown = r < 0;
    if (r < 0) {
        log_err(r, "the gate's flag of breaches cannot be read: no job of any account starts");
        return;
    }
    for (size_t i = 0; i < now.n; i++)
        if (!breach_find(&w->breached, now.list[i].account))
            log_msg(LOG_LEVEL_ERR,
                    "BREACH: the wall of account %s was climbed (%s); none of its jobs starts until "
                    "`ductile-gate prove` finds it shut",
                    now.list[i].account, now.list[i].rows);
    for (size_t i = 0; i < w->breached.n; i++)
        if (!breach_find(&now, w->breached.list[i].account))
            log_info("the wall of account %s was tried again and held: its jobs start again",
                     w->breached.list[i].account);
    breach_free(&w->breached);
    w->breached = now;
}

const char *breach_of(const struct warden *w, const struct account_config *account)
{
    const struct breach *b = account ? breach_find(&w->breached, account->name) : NULL;

    if (account && w->breach_unknown)
        return "unknown";
    return b ? b->rows : NULL;
}
