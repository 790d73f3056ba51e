// Notifications to the service manager. The address is read once, before anything is dropped or started.
#include "sd.h"
#include "str.h"
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int sd_tell(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (!path || !*path)
        return 0;
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len >= sizeof(addr.sun_path))
        return -EINVAL;
    memcpy(addr.sun_path, path, len);
    if (path[0] == '@')
        addr.sun_path[0] = '\0'; // abstract
    OWNED(fd_closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_last();
    ssize_t n = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    return n < 0 ? err_last() : 0;
}

// The head of a stream to the journal: identifier, unit (the journal knows it), priority, lines carry their
// own priority, and three times no forwarding.
static int open_stream(const struct sockaddr_un *addr, socklen_t len, const char *name)
{
    char head[128];
    int n = snprintf(head, sizeof(head), "%s\n\n6\n1\n0\n0\n0\n", name);
    OWNED(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)addr, len) < 0 || shutdown(fd, SHUT_RD) < 0)
        return err_last();
    return send(fd, head, (size_t)n, MSG_NOSIGNAL) == n ? fd_take(&fd) : -EIO;
}

int sd_own_stderr(const char *name)
{
    struct sockaddr_un addr = {0};
    socklen_t len = sizeof(addr);

    if (getpeername(STDERR_FILENO, (struct sockaddr *)&addr, &len) == 0)
        return addr.sun_family == AF_UNIX && str_starts(addr.sun_path, "/run/systemd/journal")
                   ? open_stream(&addr, len, name)
                   : -EOPNOTSUPP;
    int fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? err_last() : fd;
}
