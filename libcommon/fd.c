// Descriptors and paths. Every path is opened once, below a root fd, without following a link; what is then
// checked and changed is the descriptor.
#include "fd.h"
#include "limits.h"
#include "str.h"
#include <dirent.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>

enum { OPEN_TRIES = 1000 };

int fd_open_root(const char *dir)
{
    int fd = open(dir && dir[0] ? dir : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? err_last() : fd;
}

int fd_open(int root, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    // openat2(2) cannot tell whether a ".." stayed below root when any mount or rename of the host, by
    // whoever, ran beside it: EAGAIN, and the caller may ask again.
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN || !strstr(path, "..")) // of a file with a lease it stays so
            break;
    }
    return err_last();
}

int fd_open_parent(int root, const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    char dir[LIMIT_PATH];

    if (!slash || slash[1] == '\0' || (size_t)(slash - path) >= sizeof(dir))
        return -EINVAL;
    snprintf(dir, sizeof(dir), "%.*s", MAX(1, (int)(slash - path)), path);
    int fd = fd_open(root, dir, O_PATH | O_DIRECTORY, 0);
    if (fd >= 0)
        *ret_name = slash + 1;
    return fd;
}

int fd_stat(int root, const char *path, struct stat *ret)
{
    OWNED(fd_closep) int fd = fd_open(root, path, O_PATH, 0);

    if (fd < 0)
        return fd;
    return fstat(fd, ret) < 0 ? err_last() : 0;
}

int fd_make_parents(int root, const char *path)
{
    char dir[LIMIT_PATH];

    snprintf(dir, sizeof(dir), "%s", path);
    for (char *p = dir + 1; (p = strchr(p, '/')); p++) {
        struct stat st;
        const char *name;
        *p = '\0';
        int r = fd_stat(root, dir, &st);
        if (r == -ENOENT) {
            OWNED(fd_closep) int parent = fd_open_parent(root, dir, &name);
            r = parent < 0 ? parent : mkdirat(parent, name, 0755) < 0 && errno != EEXIST ? err_last() : 0;
        }
        *p = '/';
        if (r < 0)
            return r;
    }
    return 0;
}

int fd_read_all(int fd, size_t max, char **ret_data, size_t *ret_len)
{
    struct strbuf sb = {0};
    struct stat st;
    size_t step = 4096;
    ssize_t n;

    // A file's size is a hint only (in /proc it is 0, and elsewhere the file may grow): one byte more shows
    // its end.
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= 4096)
        step = MIN((size_t)st.st_size, max) + 1;
    do {
        if (sb.cap - sb.len < 2 && !sb_room(&sb, step)) {
            sb_free(&sb);
            return -ENOMEM;
        }
        n = read(fd, sb.p + sb.len, sb.cap - sb.len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || (sb.len += (size_t)n) > max) {
            int r = n < 0 ? err_last() : -EFBIG;
            sb_free(&sb);
            return r;
        }
    } while (n != 0);
    size_t len = sb.len;
    char *data = sb_finish(&sb);
    if (!data)
        return -ENOMEM;
    *ret_data = data;
    *ret_len = len;
    return 0;
}

int fd_open_file(int root, const char *path)
{
    struct stat st;
    OWNED(fd_closep) int fd = fd_open(root, path, O_RDONLY | O_NONBLOCK, 0); // a FIFO must not hold us

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return err_last();
    if (!S_ISREG(st.st_mode))
        return S_ISDIR(st.st_mode) ? -EISDIR : -ENOTSUP;
    return fd_take(&fd);
}

int fd_read_file(int root, const char *path, size_t max, char **ret_data, size_t *ret_len)
{
    OWNED(fd_closep) int fd = fd_open_file(root, path);

    return fd < 0 ? fd : fd_read_all(fd, max, ret_data, ret_len);
}

int fd_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_last();
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

static int fill_file(int fd, const void *data, size_t len, mode_t mode, uid_t uid, gid_t gid)
{
    // Mode stays 0600 until the owner is right: no moment in which a wrong reader could open it.
    if ((uid != (uid_t)-1 || gid != (gid_t)-1) && fchown(fd, uid, gid) < 0)
        return err_last();
    if (fchmod(fd, mode) < 0)
        return err_last();
    int r = fd_write_all(fd, data, len);
    if (r < 0)
        return r;
    return fsync(fd) < 0 ? err_last() : 0;
}

int fd_replace_file(int root, const char *path, const void *data, size_t len, mode_t mode, uid_t uid,
                    gid_t gid)
{
    const char *name;
    char temp[300];
    uint64_t nonce;
    OWNED(fd_closep) int parent = fd_open_parent(root, path, &name);

    if (parent < 0)
        return parent;
    if (strlen(name) > 200)
        return -ENAMETOOLONG;
    if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
        return err_last();
    snprintf(temp, sizeof(temp), ".%s.%016llx", name, (unsigned long long)nonce);
    OWNED(fd_closep)
    int dir = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); // fsync wants a real fd
    if (dir < 0)
        return err_last();
    OWNED(fd_closep) int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_last();
    int r = fill_file(fd, data, len, mode, uid, gid);
    if (r == 0 && renameat(dir, temp, dir, name) < 0)
        r = err_last();
    if (r < 0) {
        unlinkat(dir, temp, 0);
        return r;
    }
    return fsync(dir) < 0 && errno != EINVAL ? err_last() : 0;
}

int fd_sealed(const char *name, const void *data, size_t len)
{
    OWNED(fd_closep) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return err_last();
    int r = fd_write_all(fd, data, len);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
        lseek(fd, 0, SEEK_SET) < 0)
        return err_last();
    return fd_take(&fd);
}

int fd_check_sealed(int fd, uint64_t *ret_size)
{
    const int want = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS); // EINVAL: no memfd at all

    if (seals < 0 || (seals & want) != want)
        return -EPERM;
    if (fstat(fd, &st) < 0)
        return err_last();
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

int fd_set_nonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return err_last();
    flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) < 0 ? err_last() : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int append_name(char ***names, size_t *n, size_t *cap, const char *name)
{
    if (*n == *cap) {
        size_t more = MAX((size_t)16, *cap * 2);
        char **p = realloc(*names, more * sizeof(*p));
        if (!p)
            return -ENOMEM;
        *names = p;
        *cap = more;
    }
    (*names)[*n] = strdup(name);
    return (*names)[*n] ? (int)(++*n, 0) : -ENOMEM;
}

int fd_list(int dir, char ***ret_names, size_t *ret_n)
{
    return fd_list_some(dir, SIZE_MAX, ret_names, ret_n);
}

int fd_list_some(int dir, size_t max, char ***ret_names, size_t *ret_n)
{
    char **names = NULL;
    size_t n = 0, cap = 0;
    int r = 0, fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_last();
    DIR *d = fdopendir(fd);
    if (!d) {
        r = err_last();
        close(fd);
        return r;
    }
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            r = errno == 0 ? 0 : err_last();
            break;
        }
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
            continue;
        r = n >= max ? -E2BIG : append_name(&names, &n, &cap, e->d_name);
        if (r < 0)
            break;
    }
    closedir(d);
    if (r < 0) {
        fd_list_free(names, n);
        return r;
    }
    if (n > 0)
        qsort(names, n, sizeof(*names), by_name);
    *ret_names = names;
    *ret_n = n;
    return 0;
}

void fd_list_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

static int remove_level(int parent, const char *name, int depth)
{
    char **names = NULL;
    size_t n = 0;
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

    if (depth > LIMIT_REMOVE_DEPTH)
        return -ELOOP;
    OWNED(fd_closep) int dir = openat(parent, name, flags);
    if (dir < 0 && errno == EACCES && fchmodat(parent, name, 0700, 0) == 0)
        dir = openat(parent, name, flags);
    if (dir < 0 && (errno == ENOTDIR || errno == ELOOP))
        return unlinkat(parent, name, 0) < 0 ? err_last() : 0;
    if (dir < 0)
        return errno == ENOENT ? 0 : err_last();
    if (fchmod(dir, 0700) < 0 && errno != EPERM) // without its write bit nothing could be taken out
        return err_last();
    int r = fd_list(dir, &names, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (unlinkat(dir, names[i], 0) < 0)
            r = errno == EISDIR ? remove_level(dir, names[i], depth + 1) : errno == ENOENT ? 0 : err_last();
    fd_list_free(names, n);
    return r < 0 ? r : unlinkat(parent, name, AT_REMOVEDIR) < 0 ? err_last() : 0;
}

int fd_remove_tree(int parent, const char *name)
{
    return remove_level(parent, name, 0);
}
