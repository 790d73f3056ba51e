// The API's listening sockets: made and bound here, handed to the bus as descriptors, for it cannot make a
// socket.
#include "listen.h"
#include "log.h"
#include "str.h"
#include "warden.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int bind_unix(struct warden *w, struct refusal *refusal)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = w->config->api_socket;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r = 0;

    if (strlen(path) >= sizeof(addr.sun_path))
        r = -ENAMETOOLONG;
    else
        memcpy(addr.sun_path, path, strlen(path) + 1);
    struct stat st;
    // We hold the lock, so a socket of ours that stands here is a dead one's. Nothing else is ever removed.
    if (r == 0 && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid == geteuid())
        unlink(path);
    mode_t old = umask(0117); // 0660; the group comes from the directory
    if (r == 0 && (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0))
        r = err_last();
    umask(old);
    w->api_fd = fd;
    if (r == 0)
        return 0;
    refuse(refusal, REFUSE_RUN_WALL, "the API socket %s", path);
    refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(refusal, "ductile-install apply");
}

static int refuse_listen(const struct warden *w, int r, struct refusal *refusal)
{
    refuse(refusal, REFUSE_RUN_LISTEN, "listening at %s", w->config->api_listen);
    switch (-r) {
    case EADDRINUSE:
        refuse_why(refusal, "another program listens there");
        return refuse_remedy(refusal, "set api.listen to a free port of this host: ss -ltnp");
    case EADDRNOTAVAIL:
        refuse_why(refusal, "this host has no such address");
        return refuse_remedy(refusal, "set api.listen to an address of this host: ip -br address");
    case EACCES:
        refuse_why(refusal, "a port below 1024 needs a capability that the gateway does not have");
        return refuse_remedy(refusal, "set api.listen to a port above 1023");
    default:
        refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
        return refuse_remedy(refusal, "set api.listen to an address and a free port of this host: ss -ltnp");
    }
}

static int bind_tcp(struct warden *w, struct refusal *refusal)
{
    struct listen_addr addr;
    const int on = 1;
    int r = listen_parse(w->config->api_listen, &addr);

    if (r < 0)
        return refuse_listen(w, r, refusal);
    OWNED(fd_closep) int fd = socket(addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (addr.any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
        bind(fd, &addr.any, addr.len) < 0 || listen(fd, 64) < 0)
        return refuse_listen(w, err_last(), refusal);
    if (!addr.loopback)
        log_warn(
            "api.listen: %s can be reached from other hosts, and this is no TLS: put a proxy of your own in front",
            w->config->api_listen);
    w->tcp_fd = fd_take(&fd);
    return 0;
}

int sockets_bind(struct warden *w, struct refusal *refusal)
{
    int r = bind_unix(w, refusal);

    return r < 0 || !w->config->api_listen ? r : bind_tcp(w, refusal);
}
