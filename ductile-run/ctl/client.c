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

// The operators' group has another name only where service.operators says so, and this may not read that.
#define ENTER "usermod -aG %s-operators USER (the group that service.operators names), then log in again"
#define JOIN  ENTER "; or use sudo"

static int unavailable(const struct client *c, int r, struct refusal *refusal)
{
    bool denied = r == -EACCES || r == -EPERM;

    refuse(refusal, denied ? REFUSE_API_DENIED : REFUSE_API, "asking the gateway at %s", c->socket);
    refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    if (!denied)
        return refuse_remedy(refusal, "systemctl status %s", c->instance);
    return refuse_remedy(refusal, JOIN, c->instance);
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

// A plugin chooses the bytes of results, errors and event types; on a terminal they must not be commands.
// Control characters (C0, DEL, C1) become \xNN.
static char *printable(const char *s)
{
    struct strbuf sb = {0};

    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
            sb_addf(&sb, "\\x%02x", *++p);
        else if (*p < 0x20 || *p == 0x7f)
            sb_addf(&sb, "\\x%02x", *p);
        else
            sb_addc(&sb, (char)*p);
    }
    return sb_finish(&sb);
}

// The same value with every string and key printable; a new reference, NULL on no memory.
static json_t *make_printable(const json_t *v)
{
    OWNED(freep) char *text = NULL;
    const char *key;
    json_t *item, *out;
    size_t i;

    switch (json_typeof(v)) {
    case JSON_STRING: text = printable(json_string_value(v)); return text ? json_string(text) : NULL;
    case JSON_ARRAY:
        out = json_array();
        json_array_foreach((json_t *)v, i, item) json_array_append_new(out, make_printable(item));
        return out;
    case JSON_OBJECT:
        out = json_object();
        json_object_foreach((json_t *)v, key, item)
        {
            OWNED(freep) char *shown = printable(key);
            json_object_set_new(out, shown ? shown : "?", make_printable(item));
        }
        return out;
    case JSON_INTEGER:
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL: return json_deep_copy(v);
    }
    return NULL;
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
    if (json && !c->raw) {
        json_t *shown = make_printable(json);
        json_decref(json);
        json = shown;
    }
    if (status >= 200 && status < 300 && json) {
        *ret = json;
        return 0;
    }
    refuse(refusal, status == 403 ? REFUSE_API_DENIED : REFUSE_API_REQUEST, "%s %s", method, path);
    refuse_why(refusal, "%s (HTTP %d)", detail_of(json), status);
    if (status == 403)
        refuse_remedy(refusal, "use sudo, or set api.operators: rw; not in the group: " ENTER, c->instance);
    else if (status == 404)
        refuse_remedy(refusal, "ductile status; ductile job list; ductile plugin verify");
    else
        refuse_remedy(refusal, "journalctl -u %s", c->instance);
    json_decref(json);
    return -ECANCELED;
}
