// HTTP/JSON on the unix socket and over TCP, by libmicrohttpd with an external epoll in the bus's loop.
// Connections are accepted here, so that who asks on the unix socket is known before a byte is parsed; over
// TCP once the headers are, and before the body.
#include "api.h"
#include "fd.h"
#include "log.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

struct listener {
    ev_io watcher; // first member
    struct api *api;
    int fd; // -1: none
    bool tcp;
};

struct api {
    struct MHD_Daemon *daemon;
    ev_io daemon_watcher;
    struct listener listeners[2];
    ev_timer timeout;
    struct bus *bus;
    struct crowd crowd;
    struct request *asked; // webhooks that wait for the warden
    uint64_t number;       // of the last one
};

// ---- answers ------------------------------------------------------------------------------------

static struct answer answer_json(json_t *json)
{
    return json ? (struct answer){MHD_HTTP_OK, json} : (struct answer){MHD_HTTP_INTERNAL_SERVER_ERROR, NULL};
}

struct answer api_problem(unsigned status, const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    return (struct answer){status, json_pack("{s:s, s:i, s:s}", "title", MHD_get_reason_phrase_for(status),
                                             "status", (int)status, "detail", text)};
}

struct header {
    const char *name, *value;
    unsigned n;
};

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct header *h = cls;
    (void)kind;

    if (strcasecmp(key, h->name) == 0) {
        h->n++;
        h->value = value ? value : "";
    }
    return MHD_YES;
}

const char *api_header(struct MHD_Connection *connection, const char *name)
{
    struct header h = {.name = name};

    MHD_get_connection_values(connection, MHD_HEADER_KIND, on_header, &h);
    return h.n == 1 ? h.value : NULL;
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
    if (a.status == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
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
    const struct caller *caller;
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
        return api_problem(MHD_HTTP_BAD_REQUEST, "limit is a number from 1 to 1000");
    return answer_json(show_jobs(c->bus, state, (int64_t)n));
}

static struct answer get_job(const struct call *c)
{
    uint64_t id;
    json_t *job = str_to_u64(c->rest, 1, INT64_MAX, &id) == 0 ? show_job(c->bus, (int64_t)id) : NULL;

    return job ? answer_json(job) : api_problem(MHD_HTTP_NOT_FOUND, "there is no job %s", c->rest);
}

static struct answer get_audit(const struct call *c)
{
    const char *after = MHD_lookup_connection_value(c->connection, MHD_GET_ARGUMENT_KIND, "after");
    const char *limit = MHD_lookup_connection_value(c->connection, MHD_GET_ARGUMENT_KIND, "limit");
    uint64_t first = 0, n = 500;

    if ((after && str_to_u64(after, 0, INT64_MAX, &first) < 0) ||
        (limit && str_to_u64(limit, 1, 1000, &n) < 0))
        return api_problem(MHD_HTTP_BAD_REQUEST, "after is a number, and limit one from 1 to 1000");
    json_t *rows = book_rows(c->bus, (int64_t)first, (int64_t)n);
    return rows ? answer_json(rows)
                : api_problem(MHD_HTTP_INTERNAL_SERVER_ERROR, "the audit rows cannot be read: %s",
                              c->bus->ledger.error);
}

static struct answer enqueue(const struct call *c, const char *plugin, const char *command,
                             const json_t *payload, const char *dedupe_key)
{
    int64_t id, equals;
    OWNED(freep) char *text = payload ? json_dumps(payload, JSON_COMPACT) : strdup("{}");
    const struct new_job job = {.plugin = plugin,
                                .command = command,
                                .payload = text,
                                .submitted_by = c->caller->name,
                                .dedupe_key = dedupe_key};

    if (!text)
        return api_problem(MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
    if (queue_add(c->bus, &job, &id, &equals) < 0) {
        if (c->bus->ledger.waits) // a row that it refuses for what is in it is the caller's affair
            bus_stall(c->bus, "a new job");
        return api_problem(MHD_HTTP_SERVICE_UNAVAILABLE, "the ledger does not take new work: %s",
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
    char plugin[LIMIT_NAME], command[LIMIT_NAME], why[256];
    const char *slash = strchr(c->rest, '/');
    OWNED(json_decrefp)
    json_t *body = c->body->len ? json_parse(c->body->p, c->body->len, 64, why) : json_object();

    if (!slash || strlen(slash + 1) >= sizeof(command) || (size_t)(slash - c->rest) >= sizeof(plugin))
        return api_problem(MHD_HTTP_NOT_FOUND, "POST /plugin/PLUGIN/COMMAND");
    snprintf(plugin, sizeof(plugin), "%.*s", (int)(slash - c->rest), c->rest);
    snprintf(command, sizeof(command), "%s", slash + 1);
    if (!json_is_object(body))
        return api_problem(MHD_HTTP_BAD_REQUEST, "the body is not a JSON object: %s",
                           body ? "another type" : why);
    const json_t *payload = json_object_get(body, "payload"), *key = json_object_get(body, "dedupe_key");
    if ((payload && !json_is_object(payload)) || (key && !json_is_string(key)))
        return api_problem(MHD_HTTP_BAD_REQUEST, "payload is an object and dedupe_key a string");
    int r = catalog_runs(&c->bus->catalog, plugin, command, why);
    if (r < 0)
        return api_problem(r == -EACCES ? MHD_HTTP_CONFLICT : MHD_HTTP_NOT_FOUND, "%s", why);
    if (c->bus->stopping)
        return api_problem(MHD_HTTP_SERVICE_UNAVAILABLE, "the gateway is stopping");
    return enqueue(c, plugin, command, payload, json_string_value(key));
}

static const struct route {
    const char *method, *path;
    bool prefix;    // path is the beginning of what is asked for
    unsigned right; // 0: none
    struct answer (*serve)(const struct call *);
} routes[] = {
    {"GET", "/healthz", false, 0, get_health},
    {"GET", "/posture", false, TOKEN_ADMIN, get_posture},
    {"GET", "/plugins", false, TOKEN_PLUGIN_READ, get_plugins},
    {"GET", "/jobs", false, TOKEN_JOBS_READ, get_jobs},
    {"GET", "/job/", true, TOKEN_JOBS_READ, get_job},
    {"GET", "/ledger/audit", false, TOKEN_ADMIN, get_audit},
    {"POST", "/plugin/", true, TOKEN_PLUGIN_WRITE, post_plugin},
};

static bool matches(const struct route *r, const char *path)
{
    return r->prefix ? str_starts(path, r->path) : str_eq(r->path, path);
}

static bool is_public(const char *path, const char *method)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (routes[i].right == 0 && matches(&routes[i], path) && str_eq(routes[i].method, method))
            return true;
    return false;
}

// The same for no token, a wrong one, one that is no longer good, and a header that is none.
static struct answer unauthorized(void)
{
    return api_problem(MHD_HTTP_UNAUTHORIZED, "this needs a valid token: Authorization: Bearer TOKEN");
}

static bool may_ask(const struct request *q, const char *path, const char *method)
{
    return !q->caller.tcp || q->caller.admitted || is_public(path, method);
}

static struct answer forbidden(const struct caller *who, unsigned right)
{
    if (who->tcp)
        return api_problem(MHD_HTTP_FORBIDDEN, "%s lacks the scope %s", who->name, token_scope_of(right));
    return api_problem(MHD_HTTP_FORBIDDEN, who->admitted ? "api.operators is ro: reading only"
                                                         : "you do not hold the operators' group");
}

static struct answer route(struct bus *bus, struct MHD_Connection *connection, const char *path,
                           const char *method, const struct request *q)
{
    bool known = false;

    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        if (!matches(r, path))
            continue;
        known = true;
        if (!str_eq(r->method, method))
            continue;
        if ((q->caller.rights & r->right) != r->right)
            return forbidden(&q->caller, r->right);
        const struct call call = {bus, connection, path + strlen(r->path), &q->body, &q->caller};
        return r->serve(&call);
    }
    return known ? api_problem(MHD_HTTP_METHOD_NOT_ALLOWED, "not by %s", method)
                 : api_problem(MHD_HTTP_NOT_FOUND, "there is nothing at %s", path);
}

// ---- libmicrohttpd ------------------------------------------------------------------------------

static bool is_longer(struct MHD_Connection *connection, size_t limit)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t n;

    return length && (str_to_u64(length, 0, INT64_MAX, &n) < 0 || n > limit);
}

static struct answer too_large(const struct request *q)
{
    return api_problem(MHD_HTTP_CONTENT_TOO_LARGE, "the body is larger than %zu bytes", q->limit);
}

// The headers are here: who asks is known, and whether anything is taken from him.
static enum MHD_Result on_headers(struct api *api, struct MHD_Connection *connection, const char *url,
                                  const char *method, struct request *q)
{
    struct answer a;

    auth_request(api->bus, connection, &q->caller);
    member_asks(crowd_member(connection), q->caller.admitted);
    q->limit = q->caller.admitted ? LIMIT_API_BODY : 0; // nothing is kept of a stranger's
    if (str_starts(url, HOOK_PREFIX) && str_eq(method, MHD_HTTP_METHOD_POST)) {
        if (!hook_begin(api->bus, connection, url, q, &a))
            return send_answer(connection, a);
    } else if (!may_ask(q, url, method))
        return send_answer(connection, unauthorized());
    else if (q->caller.admitted)
        return MHD_YES;
    return is_longer(connection, q->limit) ? send_answer(connection, too_large(q)) : MHD_YES;
}

static enum MHD_Result ask_warden(struct api *api, struct MHD_Connection *connection, struct request *q)
{
    struct answer a;

    if (!hook_ask(api->bus, ++api->number, q, &a))
        return send_answer(connection, a);
    q->next = api->asked;
    api->asked = q;
    member_waits(crowd_member(connection));
    MHD_suspend_connection(connection);
    return MHD_YES;
}

// Only at its end can one in chunks be told that it is too large; there is an end to that, too.
static enum MHD_Result take_body(struct request *q, const char *bytes, size_t n)
{
    if (!q->too_large && n <= q->limit - q->body.len) {
        sb_add(&q->body, bytes, n);
        return MHD_YES;
    }
    if (!q->too_large)
        sb_free(&q->body);
    q->too_large = true;
    q->dropped += n;
    return q->dropped <= LIMIT_API_BODY ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    struct api *api = cls;
    struct request *q = *state;
    (void)version;

    if (!q) {
        *state = q = calloc(1, sizeof(*q));
        return q ? on_headers(api, connection, url, method, q) : MHD_NO;
    }
    if (*upload_size > 0) {
        enum MHD_Result r = take_body(q, upload, *upload_size);
        *upload_size = 0;
        return r;
    }
    if (q->too_large || q->body.failed)
        return send_answer(connection, too_large(q));
    switch (q->hook) {
    case HOOK_NONE:
        auth_again(api->bus, &q->caller);
        return send_answer(connection, may_ask(q, url, method) ? route(api->bus, connection, url, method, q)
                                                               : unauthorized());
    case HOOK_READING: return ask_warden(api, connection, q);
    case HOOK_ASKED: return MHD_YES; // not yet
    case HOOK_SIGNED:
    case HOOK_NOT_SIGNED:
    case HOOK_LEFT: break;
    }
    return send_answer(connection, hook_answer(api->bus, q));
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct request *q = *state;
    (void)cls;
    (void)code;

    member_is_done(crowd_member(connection));
    if (!q)
        return;
    auth_forget(&q->caller);
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
    struct listener *listener = (struct listener *)(void *)watcher;
    struct api *api = listener->api;
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    (void)loop;
    (void)events;

    OWNED(fd_closep)
    int fd = accept4(listener->fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || (listener->tcp && !crowd_takes(&api->crowd)))
        return;
    if (!listener->tcp && auth_peer(api->bus, fd) == 0) {
        refuse_stranger(fd);
        return;
    }
    // It owns the descriptor from here, also when it refuses it.
    if (MHD_add_connection(api->daemon, fd_take(&fd), (struct sockaddr *)&addr, len) != MHD_YES)
        log_warn("a connection was not taken: too many");
    run_daemon(api);
}

static void on_notify(void *cls, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode code)
{
    struct api *api = cls;

    crowd_notify(&api->crowd, connection, context, code);
}

int api_start(struct bus *bus)
{
    struct api *api = calloc(1, sizeof(*api));

    if (!api)
        return -ENOMEM;
    *api = (struct api){.bus = bus,
                        .crowd = {.loop = bus->loop},
                        .listeners = {{.api = api, .fd = -1}, {.api = api, .fd = -1, .tcp = true}}};
    api->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                         on_request, api, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                         MHD_OPTION_NOTIFY_CONNECTION, on_notify, api, MHD_OPTION_CONNECTION_LIMIT,
                         (unsigned)LIMIT_API_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, 30u, MHD_OPTION_END);
    if (!api->daemon) {
        free(api);
        return -EIO;
    }
    bus->api = api;
    return 0;
}

int api_serve(struct bus *bus, int unix_fd, int tcp_fd)
{
    struct api *api = bus->api;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(api->daemon, MHD_DAEMON_INFO_EPOLL_FD);

    if (!info)
        return -EIO;
    ev_io_init(&api->daemon_watcher, on_daemon, info->epoll_fd, EV_READ);
    ev_timer_init(&api->timeout, on_timeout, 0.0, 0.0);
    api->daemon_watcher.data = api->timeout.data = api;
    ev_io_start(bus->loop, &api->daemon_watcher);
    api->listeners[0].fd = unix_fd;
    api->listeners[1].fd = tcp_fd;
    for (size_t i = 0; i < ARRAY_LEN(api->listeners); i++)
        if (api->listeners[i].fd >= 0) {
            ev_io_init(&api->listeners[i].watcher, on_connection, api->listeners[i].fd, EV_READ);
            ev_io_start(bus->loop, &api->listeners[i].watcher);
        }
    return 0;
}

static void resume(struct request *q, enum hook_state state)
{
    q->hook = state;
    member_goes_on(crowd_member(q->connection), state == HOOK_SIGNED && q->webhook);
    MHD_resume_connection(q->connection);
}

int api_verified(struct bus *bus, const struct proto_verified *m)
{
    if (!bus->api) // who asked was let go at the stop
        return 0;
    for (struct request **p = &bus->api->asked; *p; p = &(*p)->next)
        if ((*p)->asked == m->id) {
            struct request *q = *p;
            *p = q->next;
            resume(q, m->yes ? HOOK_SIGNED : HOOK_NOT_SIGNED);
            run_daemon(bus->api);
            return 0;
        }
    return -ENOENT;
}

void api_stop(struct bus *bus)
{
    struct api *api = bus->api;

    if (!api)
        return;
    for (struct request *q = api->asked; q; q = q->next)
        resume(q, HOOK_LEFT);
    api->asked = NULL;
    for (size_t i = 0; i < ARRAY_LEN(api->listeners); i++)
        if (api->listeners[i].fd >= 0) {
            ev_io_stop(bus->loop, &api->listeners[i].watcher);
            fd_closep(&api->listeners[i].fd);
        }
    for (int i = 0; i < 8; i++) // let what was answered leave
        MHD_run(api->daemon);
    ev_io_stop(bus->loop, &api->daemon_watcher);
    ev_timer_stop(bus->loop, &api->timeout);
    MHD_stop_daemon(api->daemon);
    free(api);
    bus->api = NULL;
}
