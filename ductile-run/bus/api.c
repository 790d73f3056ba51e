// HTTP/JSON on the unix socket, by libmicrohttpd with an external epoll in the bus's loop. Connections are
// accepted here, so that who asks is known before a byte is parsed: root, the service user, or a process that
// holds the operators' group itself. A spawned plugin holds no group, so it is refused even under the
// operator's uid.
#include "bus.h"
#include "fd.h"
#include "log.h"
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct api {
    struct MHD_Daemon *daemon;
    ev_io daemon_watcher, listen_watcher;
    ev_timer timeout;
    int listen_fd;
    struct bus *bus;
};

struct request {
    struct strbuf body;
    bool too_large;
};

struct answer {
    unsigned status;
    json_t *json; // owned
};

// ---- who ----------------------------------------------------------------------------------------

enum access { ACCESS_NONE, ACCESS_READ, ACCESS_WRITE };

static bool holds_group(int fd, const struct ucred *cred, gid_t group)
{
    gid_t groups[1024];
    socklen_t len = sizeof(groups);

    if (cred->gid == group) // SO_PEERGROUPS lacks the primary one
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
        return false;
    for (size_t i = 0; i < len / sizeof(groups[0]); i++)
        if (groups[i] == group)
            return true;
    return false;
}

static enum access access_of(const struct bus *bus, int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return ACCESS_NONE;
    if (cred.uid == 0 || (int64_t)cred.uid == bus->config->uid)
        return ACCESS_WRITE;
    if (!holds_group(fd, &cred, (gid_t)bus->config->operators_gid))
        return ACCESS_NONE;
    return bus->config->api_operators == API_OPERATORS_RW ? ACCESS_WRITE : ACCESS_READ;
}

// ---- answers ------------------------------------------------------------------------------------

static struct answer answer_json(json_t *json)
{
    return json ? (struct answer){MHD_HTTP_OK, json} : (struct answer){MHD_HTTP_INTERNAL_SERVER_ERROR, NULL};
}

__attribute__((format(printf, 2, 3))) static struct answer problem(unsigned status, const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    // RFC 9457
    return (struct answer){status, json_pack("{s:s, s:i, s:s}", "title", MHD_get_reason_phrase_for(status),
                                             "status", (int)status, "detail", text)};
}

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct answer a)
{
    char *text = a.json ? json_dumps(a.json, JSON_COMPACT) : NULL;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(text ? strlen(text) : 0, text, MHD_RESPMEM_MUST_FREE);
    const char *type = a.status >= 400 ? "application/problem+json" : "application/json";

    json_decref(a.json);
    if (!response) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    enum MHD_Result r = MHD_queue_response(connection, a.status, response);
    MHD_destroy_response(response);
    return r;
}

// ---- routes -------------------------------------------------------------------------------------

struct call {
    struct bus *bus;
    struct MHD_Connection *connection;
    const char *rest; // of the path, behind the route's prefix
    const struct strbuf *body;
};

static struct answer get_health(const struct call *c)
{
    return answer_json(show_health(c->bus));
}

static struct answer get_posture(const struct call *c)
{
    return answer_json(show_posture(c->bus));
}

static struct answer get_plugins(const struct call *c)
{
    return answer_json(show_plugins(c->bus));
}

static struct answer get_jobs(const struct call *c)
{
    const char *state = MHD_lookup_connection_value(c->connection, MHD_GET_ARGUMENT_KIND, "state");
    const char *limit = MHD_lookup_connection_value(c->connection, MHD_GET_ARGUMENT_KIND, "limit");
    uint64_t n = 20;

    if (limit && str_to_u64(limit, 1, 1000, &n) < 0)
        return problem(MHD_HTTP_BAD_REQUEST, "limit is a number from 1 to 1000");
    return answer_json(show_jobs(c->bus, state, (int64_t)n));
}

static struct answer get_job(const struct call *c)
{
    uint64_t id;
    json_t *job = str_to_u64(c->rest, 1, INT64_MAX, &id) == 0 ? show_job(c->bus, (int64_t)id) : NULL;

    return job ? answer_json(job) : problem(MHD_HTTP_NOT_FOUND, "there is no job %s", c->rest);
}

static struct answer enqueue(const struct call *c, const char *plugin, const char *command,
                             const json_t *payload, const char *dedupe_key)
{
    int64_t id, equals;
    OWNED(freep) char *text = payload ? json_dumps(payload, JSON_COMPACT) : strdup("{}");
    const struct new_job job = {.plugin = plugin,
                                .command = command,
                                .payload = text,
                                .submitted_by = "api",
                                .dedupe_key = dedupe_key};

    if (!text)
        return problem(MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
    if (queue_add(c->bus, &job, &id, &equals) < 0) {
        if (c->bus->ledger.waits) // a row that it refuses for what is in it is the caller's affair
            bus_stall(c->bus, "a new job");
        return problem(MHD_HTTP_SERVICE_UNAVAILABLE, "the ledger does not take new work: %s",
                       c->bus->ledger.error);
    }
    dispatch(c->bus);
    if (equals > 0)
        return (struct answer){MHD_HTTP_OK,
                               json_pack("{s:I, s:b}", "job_id", (json_int_t)equals, "deduplicated", 1)};
    return (struct answer){MHD_HTTP_ACCEPTED, json_pack("{s:I}", "job_id", (json_int_t)id)};
}

static struct answer post_plugin(const struct call *c)
{
    char plugin[LIMIT_NAME], command[LIMIT_NAME], why[160];
    const char *slash = strchr(c->rest, '/');
    OWNED(json_decrefp)
    json_t *body = c->body->len ? json_parse(c->body->p, c->body->len, 64, why) : json_object();

    if (!slash || strlen(slash + 1) >= sizeof(command) || (size_t)(slash - c->rest) >= sizeof(plugin))
        return problem(MHD_HTTP_NOT_FOUND, "POST /plugin/PLUGIN/COMMAND");
    snprintf(plugin, sizeof(plugin), "%.*s", (int)(slash - c->rest), c->rest);
    snprintf(command, sizeof(command), "%s", slash + 1);
    if (!json_is_object(body))
        return problem(MHD_HTTP_BAD_REQUEST, "the body is not a JSON object: %s",
                       body ? "another type" : why);
    const json_t *payload = json_object_get(body, "payload"), *key = json_object_get(body, "dedupe_key");
    if ((payload && !json_is_object(payload)) || (key && !json_is_string(key)))
        return problem(MHD_HTTP_BAD_REQUEST, "payload is an object and dedupe_key a string");
    const struct plugin *p = catalog_find(&c->bus->catalog, plugin);
    if (!p)
        return problem(MHD_HTTP_NOT_FOUND, "there is no locked plugin \"%s\"", plugin);
    if (!p->enabled)
        return problem(MHD_HTTP_CONFLICT, "plugin \"%s\" is disabled", plugin);
    if (!manifest_command(p->manifest, command))
        return problem(MHD_HTTP_NOT_FOUND, "plugin \"%s\" has no command \"%s\"", plugin, command);
    if (c->bus->stopping)
        return problem(MHD_HTTP_SERVICE_UNAVAILABLE, "the gateway is stopping");
    return enqueue(c, plugin, command, payload, json_string_value(key));
}

static const struct route {
    const char *method, *path;
    bool prefix; // path is the beginning of what is asked for
    enum access needs;
    struct answer (*serve)(const struct call *);
} routes[] = {
    {"GET", "/healthz", false, ACCESS_READ, get_health},
    {"GET", "/posture", false, ACCESS_READ, get_posture},
    {"GET", "/plugins", false, ACCESS_READ, get_plugins},
    {"GET", "/jobs", false, ACCESS_READ, get_jobs},
    {"GET", "/job/", true, ACCESS_READ, get_job},
    {"POST", "/plugin/", true, ACCESS_WRITE, post_plugin},
};

static bool matches(const struct route *r, const char *path)
{
    return r->prefix ? str_starts(path, r->path) : str_eq(r->path, path);
}

static struct answer route(struct bus *bus, struct MHD_Connection *connection, const char *path,
                           const char *method, const struct strbuf *body)
{
    bool known = false;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    enum access access = info ? access_of(bus, info->connect_fd) : ACCESS_NONE;

    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        if (!matches(r, path))
            continue;
        known = true;
        if (!str_eq(r->method, method))
            continue;
        if (access < r->needs)
            return problem(MHD_HTTP_FORBIDDEN, access == ACCESS_NONE ? "you do not hold the operators' group"
                                                                     : "api.operators is ro: reading only");
        const struct call call = {bus, connection, path + strlen(r->path), body};
        return r->serve(&call);
    }
    return known ? problem(MHD_HTTP_METHOD_NOT_ALLOWED, "not by %s", method)
                 : problem(MHD_HTTP_NOT_FOUND, "there is nothing at %s", path);
}

// ---- libmicrohttpd ------------------------------------------------------------------------------

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    struct api *api = cls;
    struct request *q = *state;
    (void)version;

    if (!q) {
        *state = calloc(1, sizeof(*q));
        return *state ? MHD_YES : MHD_NO;
    }
    if (*upload_size > 0) {
        if (q->body.len + *upload_size > LIMIT_API_BODY)
            q->too_large = true;
        else
            sb_add(&q->body, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    if (q->too_large || q->body.failed)
        return send_answer(connection, problem(MHD_HTTP_CONTENT_TOO_LARGE, "the body is larger than %d bytes",
                                               LIMIT_API_BODY));
    return send_answer(connection, route(api->bus, connection, url, method, &q->body));
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct request *q = *state;
    (void)cls;
    (void)connection;
    (void)code;

    if (!q)
        return;
    sb_free(&q->body);
    free(q);
    *state = NULL;
}

static void run_daemon(struct api *api)
{
    MHD_UNSIGNED_LONG_LONG wait;

    MHD_run(api->daemon);
    ev_timer_stop(api->bus->loop, &api->timeout);
    if (MHD_get_timeout(api->daemon, &wait) == MHD_YES) {
        ev_timer_set(&api->timeout, (double)wait / 1000.0, 0.0);
        ev_timer_start(api->bus->loop, &api->timeout);
    }
}

static void on_daemon(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    run_daemon(watcher->data);
}

static void on_timeout(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    run_daemon(timer->data);
}

static void refuse_stranger(int fd)
{
    static const char text[] =
        "HTTP/1.0 403 Forbidden\r\nContent-Type: application/problem+json\r\n\r\n"
        "{\"title\":\"Forbidden\",\"status\":403,\"detail\":\"you do not hold the operators' group\"}";

    if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; // nobody to tell
}

static void on_connection(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct api *api = watcher->data;
    struct sockaddr_un addr;
    socklen_t len = sizeof(addr);
    (void)loop;
    (void)events;

    OWNED(fd_closep)
    int fd = accept4(api->listen_fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (access_of(api->bus, fd) == ACCESS_NONE) {
        refuse_stranger(fd);
        return;
    }
    // It owns the descriptor from here, also when it refuses it.
    if (MHD_add_connection(api->daemon, fd_take(&fd), (struct sockaddr *)&addr, len) != MHD_YES)
        log_warn("a connection was not taken: too many");
    run_daemon(api);
}

int api_start(struct bus *bus)
{
    struct api *api = calloc(1, sizeof(*api));

    if (!api)
        return -ENOMEM;
    *api = (struct api){.bus = bus, .listen_fd = -1};
    api->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC, 0, NULL, NULL, on_request,
                         api, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
                         (unsigned)LIMIT_API_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, 30u, MHD_OPTION_END);
    if (!api->daemon) {
        free(api);
        return -EIO;
    }
    bus->api = api;
    return 0;
}

int api_serve(struct bus *bus, int listen_fd)
{
    struct api *api = bus->api;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(api->daemon, MHD_DAEMON_INFO_EPOLL_FD);

    if (!info)
        return -EIO;
    api->listen_fd = listen_fd;
    ev_io_init(&api->daemon_watcher, on_daemon, info->epoll_fd, EV_READ);
    ev_io_init(&api->listen_watcher, on_connection, listen_fd, EV_READ);
    ev_timer_init(&api->timeout, on_timeout, 0.0, 0.0);
    api->daemon_watcher.data = api->listen_watcher.data = api->timeout.data = api;
    ev_io_start(bus->loop, &api->daemon_watcher);
    ev_io_start(bus->loop, &api->listen_watcher);
    return 0;
}

void api_stop(struct bus *bus)
{
    struct api *api = bus->api;

    if (!api)
        return;
    ev_io_stop(bus->loop, &api->listen_watcher);
    fd_closep(&api->listen_fd);
    for (int i = 0; i < 8; i++) // let what was answered leave
        MHD_run(api->daemon);
    ev_io_stop(bus->loop, &api->daemon_watcher);
    ev_timer_stop(bus->loop, &api->timeout);
    MHD_stop_daemon(api->daemon);
    free(api);
    bus->api = NULL;
}
