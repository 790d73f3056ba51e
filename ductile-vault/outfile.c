// Outputs of commands. O_TMPFILE has no name until linkat gives it one, so that not even SIGKILL leaves a
// piece behind; where a file system has none, a hidden name that signals remove.
#include "outfile.h"
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct {
    volatile sig_atomic_t dir; // + 1; 0: none
    char name[32];
} pending;

static void remove_pending(int number)
{
    if (pending.dir > 0)
        unlinkat(pending.dir - 1, pending.name, 0);
    signal(number, SIG_DFL);
    raise(number);
}

static void watch(const struct outfile *out)
{
    static const int fatal[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    const struct sigaction act = {.sa_handler = remove_pending};

    memcpy(pending.name, out->temp, sizeof(pending.name));
    pending.dir = out->dir + 1;
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        sigaction(fatal[i], &act, NULL);
}

static void make_temp_name(struct outfile *out)
{
    snprintf(out->temp, sizeof(out->temp), ".ductile-%08x%08x", randombytes_random(), randombytes_random());
}

// The directory and the last component; a link as the name leads to where it points.
static int open_place(const char *path, struct outfile *out)
{
    struct stat st;
    OWNED(freep) char *real = lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    OWNED(freep) char *copy = strdup(real ? real : path);

    if (!copy)
        return -ENOMEM;
    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;
    if (name[0] == '\0' || strlen(name) > sizeof(out->name) - 1)
        return name[0] ? -ENAMETOOLONG : -EISDIR;
    memcpy(out->name, name, strlen(name) + 1);
    if (slash)
        slash[slash == copy] = '\0';
    out->dir = open(slash ? copy : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return out->dir < 0 ? err_last() : 0;
}

int outfile_open(const char *path, mode_t mode, int flags, struct outfile *ret)
{
    struct outfile out = {.fd = STDOUT_FILENO, .dir = -1, .replace = !(flags & OUTFILE_NEW)};
    struct stat st;

    if (!path || __builtin_strcmp(path, "-") == 0) {
        *ret = out;
        return 0;
    }
    int r = open_place(path, &out);
    if (r < 0)
        return r;
    bool there = fstatat(out.dir, out.name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !out.replace)
        r = -EEXIST;
    else if (there && !S_ISREG(st.st_mode)) {
        out.fd = openat(out.dir, out.name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        r = out.fd < 0 ? err_last() : 0;
        fd_closep(&out.dir);
    } else {
        out.fd = flags & OUTFILE_NAMED ? -1 : openat(out.dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
        if (out.fd < 0 &&
            (flags & OUTFILE_NAMED || errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
            make_temp_name(&out);
            out.fd = openat(out.dir, out.temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
            if (out.fd >= 0)
                watch(&out);
        }
        r = out.fd < 0 ? err_last() : 0;
    }
    if (r < 0) {
        fd_closep(&out.dir);
        return r;
    }
    *ret = out;
    return 0;
}

// Gives an unnamed file a name. -errno.
static int give_name(const struct outfile *out, const char *name)
{
    char self[64];

    snprintf(self, sizeof(self), "/proc/self/fd/%d", out->fd);
    return linkat(AT_FDCWD, self, out->dir, name, AT_SYMLINK_FOLLOW) < 0 ? err_last() : 0;
}

static int put_in_place(struct outfile *out)
{
    if (!out->temp[0]) {
        int r = give_name(out, out->name);
        if (r != -EEXIST || !out->replace)
            return r;
        make_temp_name(out);
        r = give_name(out, out->temp);
        if (r < 0) {
            out->temp[0] = '\0';
            return r;
        }
    }
    if (out->replace ? renameat(out->dir, out->temp, out->dir, out->name) < 0
                     : linkat(out->dir, out->temp, out->dir, out->name, 0) < 0)
        return err_last();
    if (!out->replace)
        unlinkat(out->dir, out->temp, 0);
    out->temp[0] = '\0';
    pending.dir = 0;
    return 0;
}

int outfile_commit(struct outfile *out)
{
    int r = 0;

    if (out->dir >= 0) {
        r = fsync(out->fd) < 0 ? err_last() : put_in_place(out);
        OWNED(fd_closep) int dir = r == 0 ? openat(out->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (dir >= 0 &&
            fsync(dir) < 0) // a directory that may not be read is not synced: it is in place all the same
            r = errno == EINVAL ? 0 : err_last();
    }
    outfile_abort(out);
    return r;
}

void outfile_abort(struct outfile *out)
{
    if (out->dir >= 0 && out->temp[0])
        unlinkat(out->dir, out->temp, 0);
    pending.dir = 0;
    if (out->fd != STDOUT_FILENO)
        fd_closep(&out->fd);
    fd_closep(&out->dir);
    out->temp[0] = '\0';
}
