// One HTTP/1.0 request per connection: the server answers and closes, so that a length needs no parsing.
// Anything more would be a library; over a unix socket to our own server this is all there is to it.
#include "client.h"
#include "fd.h"
#include "limits.h"
#include "str.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int unavailable(const struct client *c, int r, struct refusal *refusal)
{
    bool denied = r == -EACCES || r == -EPERM;

    refuse(refusal, denied ? REFUSE_API_DENIED : REFUSE_API, "asking the gateway at %s", c->socket);
    refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(
        refusal, denied ? "become a member of the operators' group (usermod -aG ductile-operators USER, "
                          "then log in again), or use sudo"
                        : "systemctl status ductile");
}

static int dial(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    OWNED(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return err_last();
    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return err_last();
    return fd_take(&fd);
}

static int exchange(const struct client *c, const char *method, const char *path, const json_t *body,
                    char **ret, size_t *ret_len)
{
    struct strbuf sb = {0};
    OWNED(freep) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    OWNED(fd_closep) int fd = dial(c->socket);

    if (fd < 0)
        return fd;
    sb_addf(&sb, "%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", method, path,
            text ? strlen(text) : 0, text ? text : "");
    size_t len = sb.len;
    OWNED(freep) char *request = sb_finish(&sb);
    if (!request)
        return -ENOMEM;
    int r = fd_write_all(fd, request, len);
    return r < 0 && r != -EPIPE ? r
                                : fd_read_all(fd, 64 << 20, ret, ret_len); // a refusal may come before we end
}

static const char *detail_of(const json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "detail"));

    return text ? text : "the gateway gave no reason";
}

int client_call(const struct client *c, const char *method, const char *path, const json_t *body,
                json_t **ret, struct refusal *refusal)
{
    OWNED(freep) char *text = NULL;
    size_t len;
    int status, r = exchange(c, method, path, body, &text, &len);

    if (r < 0)
        return unavailable(c, r, refusal);
    const char *end = strstr(text, "\r\n\r\n");
    if (!end || sscanf(text, "HTTP/%*s %d", &status) != 1)
        return unavailable(c, -EPROTO, refusal);
    json_t *json = json_loads(end + 4, JSON_DECODE_ANY, NULL);
    if (status >= 200 && status < 300 && json) {
        *ret = json;
        return 0;
    }
    refuse(refusal, status == 403 ? REFUSE_API_DENIED : REFUSE_API_REQUEST, "%s %s", method, path);
    refuse_why(refusal, "%s (HTTP %d)", detail_of(json), status);
    refuse_remedy(refusal, status == 403
                               ? "usermod -aG ductile-operators USER, then log in again; or use sudo"
                           : status == 404 ? "ductile status; ductile plugin list"
                                           : "journalctl -u ductile");
    json_decref(json);
    return -ECANCELED;
}
