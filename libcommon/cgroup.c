// cgroup v2 through its files. No state.
#include "cgroup.h"
#include "fd.h"
#include "limits.h"
#include "str.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

// The mount of cgroup2 that shows `path`: mountinfo gives the root of each mount inside its hierarchy (a
// container sees only a part), which has to be cut off the front of the path. proc(5).
static int directory_of(const char *path, char *ret, size_t size)
{
    OWNED(freep) char *text = NULL;
    size_t len;
    OWNED(fd_closep) int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? err_last() : fd_read_all(fd, 1 << 20, &text, &len);

    if (r < 0)
        return r;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char root[LIMIT_PATH], point[LIMIT_PATH];
        const char *type = strstr(line, " - ");
        if (!type || !str_starts(type, " - cgroup2 ") ||
            sscanf(line, "%*d %*d %*s %1023s %1023s", root, point) != 2)
            continue;
        if (!str_path_within(path, root))
            continue;
        const char *rest = str_eq(root, "/") ? path : path + strlen(root);
        if ((size_t)snprintf(ret, size, "%s%s", point, rest) >= size)
            return -ENAMETOOLONG;
        return 0;
    }
    return -ENOENT;
}

static int own_path(char *ret, size_t size)
{
    OWNED(freep) char *text = NULL;
    size_t len;
    OWNED(fd_closep) int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? err_last() : fd_read_all(fd, 65536, &text, &len);

    if (r < 0)
        return r;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (str_starts(line, "0::/")) // hierarchy 0 is cgroup v2
            return (size_t)snprintf(ret, size, "%s", line + 3) < size ? 0 : -ENAMETOOLONG;
    return -ENOENT;
}

int cgroup_open_own(int *ret_dir)
{
    char path[LIMIT_PATH], dir[2 * LIMIT_PATH];
    int r = own_path(path, sizeof(path));

    if (r == 0)
        r = directory_of(path, dir, sizeof(dir));
    if (r < 0)
        return r;
    OWNED(fd_closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_last();
    // Both are needed: children are made here, and processes leave from here.
    if (faccessat(fd, ".", W_OK, AT_EACCESS) < 0 || faccessat(fd, "cgroup.procs", W_OK, AT_EACCESS) < 0)
        return err_last();
    *ret_dir = fd_take(&fd);
    return 0;
}

int cgroup_make(int parent, const char *name, int *ret_dir)
{
    if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
        return err_last();
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_last();
    *ret_dir = fd;
    return 0;
}

static int open_file(int dir, const char *name, int flags)
{
    int fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW);

    return fd < 0 ? err_last() : fd;
}

static int write_file(int dir, const char *name, const char *text)
{
    OWNED(fd_closep) int fd = open_file(dir, name, O_WRONLY);

    return fd < 0 ? fd : fd_write_all(fd, text, strlen(text));
}

int cgroup_enter(int dir)
{
    return write_file(dir, "cgroup.procs", "0");
}

int cgroup_open_procs(int dir)
{
    return open_file(dir, "cgroup.procs", O_WRONLY);
}

int cgroup_open_events(int dir)
{
    return open_file(dir, "cgroup.events", O_RDONLY);
}

int cgroup_populated(int events_fd)
{
    char text[256];
    ssize_t n = pread(events_fd, text, sizeof(text) - 1, 0);

    if (n < 0)
        return err_last();
    text[n] = '\0';
    const char *p = strstr(text, "populated ");
    return p ? p[strlen("populated ")] == '1' : -EPROTO;
}

int cgroup_count(int dir)
{
    OWNED(freep) char *text = NULL;
    size_t len = 0;
    OWNED(fd_closep) int fd = open_file(dir, "cgroup.procs", O_RDONLY);
    int r = fd < 0 ? fd : fd_read_all(fd, 1 << 20, &text, &len), n = 0;

    for (size_t i = 0; r == 0 && i < len; i++)
        n += text[i] == '\n';
    return r < 0 ? r : n;
}

static const struct {
    const char *name;
    enum cgroup_controller bit;
} controllers[] = {{"memory", CGROUP_MEMORY}, {"pids", CGROUP_PIDS}, {"cpu", CGROUP_CPU}};

unsigned cgroup_enable(int dir)
{
    OWNED(freep) char *text = NULL;
    size_t len;
    unsigned held = 0;
    OWNED(fd_closep) int fd = open_file(dir, "cgroup.subtree_control", O_RDONLY);

    // One by one: one that cannot be had (bound to cgroup v1, not delegated) must not cost the others.
    for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
        char order[16];
        snprintf(order, sizeof(order), "+%s", controllers[i].name);
        int ignored = write_file(dir, "cgroup.subtree_control", order); // what came of it is read below
        (void)ignored;
    }
    if (fd < 0 || fd_read_all(fd, 4096, &text, &len) < 0)
        return 0;
    for (char *save = NULL, *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
        for (size_t i = 0; i < ARRAY_LEN(controllers); i++)
            if (str_eq(word, controllers[i].name))
                held |= controllers[i].bit;
    return held;
}

static int write_limit(int dir, const char *name, uint64_t value)
{
    char text[32];

    if (value == 0)
        return write_file(dir, name, "max");
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return write_file(dir, name, text);
}

int cgroup_limit(int dir, unsigned held, uint64_t memory, uint64_t pids, uint64_t cpu)
{
    char quota[64];
    int r = 0;

    if (held & CGROUP_PIDS)
        r = write_limit(dir, "pids.max", pids);
    if (r == 0 && (held & CGROUP_MEMORY)) {
        r = write_limit(dir, "memory.max", memory);
        // All of the job or nothing of it; and no way around the limit by swap. Both files are missing on
        // some kernels.
        if (r == 0 && write_file(dir, "memory.oom.group", "1") < 0 && errno != ENOENT)
            r = err_last();
        if (r == 0 && write_file(dir, "memory.swap.max", memory ? "0" : "max") < 0 && errno != ENOENT)
            r = err_last();
    }
    if (r == 0 && (held & CGROUP_CPU)) {
        snprintf(quota, sizeof(quota), "%llu 100000", (unsigned long long)cpu * 1000);
        r = write_file(dir, "cpu.max", cpu ? quota : "max 100000");
    }
    return r;
}

int cgroup_kill(int dir)
{
    return write_file(dir, "cgroup.kill", "1");
}

static int kill_and_wait(int dir, int timeout_ms)
{
    OWNED(fd_closep) int events = cgroup_open_events(dir);

    if (events < 0)
        return events;
    int populated = cgroup_populated(events);
    if (populated <= 0)
        return populated;
    int r = cgroup_kill(dir);
    for (int waited = 0; r == 0 && waited < timeout_ms; waited += 50) {
        struct pollfd p = {.fd = events, .events = POLLPRI};
        if (cgroup_populated(events) == 0)
            return 1;
        if (poll(&p, 1, 50) < 0 && errno != EINTR)
            return err_last();
    }
    return r < 0 ? r : cgroup_populated(events) == 0 ? 1 : -ETIMEDOUT;
}

int cgroup_sweep(int parent, const char *prefix, int timeout_ms)
{
    char **names = NULL;
    size_t n = 0;
    int held = 0, r = fd_list(parent, &names, &n);

    for (size_t i = 0; r == 0 && i < n; i++) {
        if (!str_starts(names[i], prefix))
            continue;
        OWNED(fd_closep) int dir = openat(parent, names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir < 0)
            continue; // a file of the interface
        int killed = kill_and_wait(dir, timeout_ms);
        if (killed < 0)
            r = killed;
        else
            held += killed;
        if (r == 0 && unlinkat(parent, names[i], AT_REMOVEDIR) < 0)
            r = err_last();
    }
    fd_list_free(names, n);
    return r < 0 ? r : held;
}
