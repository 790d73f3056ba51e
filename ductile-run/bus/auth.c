// Who asks. On the unix socket: root, the service user, or a process that holds the operators' group itself -
// a spawned plugin holds no group, so it is refused even under the operator's uid. Over TCP: whoever sends a
// token whose hash the warden has named.
#include "api.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { READING = TOKEN_PLUGIN_READ | TOKEN_JOBS_READ | TOKEN_EVENTS_READ | TOKEN_ADMIN };

bool auth_is_tcp(int fd)
{
    int domain = AF_INET;
    socklen_t len = sizeof(domain);

    // What cannot be told is a stranger.
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX;
}

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

unsigned auth_peer(const struct bus *bus, int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return 0;
    if (cred.uid == 0 || (int64_t)cred.uid == bus->config->uid)
        return TOKEN_ALL;
    if (!holds_group(fd, &cred, (gid_t)bus->config->operators_gid))
        return 0;
    return bus->config->api_operators == API_OPERATORS_RW ? TOKEN_ALL : READING;
}

// ---- tokens -------------------------------------------------------------------------------------

static enum MHD_Result wipe_header(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    char *own; // it lies in the connection's own memory, and nobody reads it after us
    (void)cls;
    (void)kind;

    memcpy(&own, &value, sizeof(own));
    if (own && strcasecmp(key, MHD_HTTP_HEADER_AUTHORIZATION) == 0)
        sodium_memzero(own, strlen(own));
    return MHD_YES;
}

// "Bearer TOKEN", and nothing else: "" for any other form, which is compared all the same.
static const char *bearer(const char *header)
{
    static const char scheme[] = "Bearer ";

    if (!header || strncasecmp(header, scheme, strlen(scheme)) != 0)
        return "";
    const char *value = header + strlen(scheme);
    return strlen(value) > LIMIT_TOKEN_MAX ? "" : value;
}

static int token_of(const struct bus *bus, const struct caller *c)
{
    return token_find(&bus->tokens, c->value, strlen(c->value), ledger_now_ms());
}

void auth_forget(struct caller *c)
{
    sodium_memzero(c->value, sizeof(c->value));
}

void auth_again(const struct bus *bus, struct caller *c)
{
    if (c->tcp && c->admitted && token_of(bus, c) != c->token) {
        c->admitted = false;
        c->rights = 0;
    }
    auth_forget(c);
}

void auth_request(const struct bus *bus, struct MHD_Connection *connection, struct caller *ret)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    *ret = (struct caller){.tcp = true, .name = "api"};
    if (info && !auth_is_tcp(info->connect_fd)) {
        ret->tcp = false;
        ret->rights = auth_peer(bus, info->connect_fd);
        ret->admitted = ret->rights != 0;
        return;
    }
    snprintf(ret->value, sizeof(ret->value), "%s",
             bearer(api_header(connection, MHD_HTTP_HEADER_AUTHORIZATION)));
    ret->token = token_of(bus, ret);
    MHD_get_connection_values(connection, MHD_HEADER_KIND, wipe_header, NULL);
    if (ret->token < 0) {
        auth_forget(ret);
        return;
    }
    const struct token_config *t = &bus->config->tokens.list[ret->token];
    ret->admitted = true;
    ret->rights = t->rights;
    snprintf(ret->name, sizeof(ret->name), "token:%s", t->name);
}
