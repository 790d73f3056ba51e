// Webhooks: POST /hook/PATH with a signature in X-Hub-Signature-256. Whether it is right the warden says, who
// has the key; until then nothing of the body is parsed. Nobody without the key learns which paths there are,
// or what was seen before.
#include "api.h"
#include "fd.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define HEADER "X-Hub-Signature-256"

static struct answer not_signed(void)
{
    return api_problem(MHD_HTTP_UNAUTHORIZED, "this needs the signature of its body: " HEADER ": sha256=HEX");
}

static int take_mac(struct MHD_Connection *connection, uint8_t mac[static PROTO_MAC_LEN])
{
    static const char scheme[] = "sha256=";
    const char *value = api_header(connection, HEADER);

    if (!value || !str_starts(value, scheme))
        return -EINVAL;
    return str_unhex(value + strlen(scheme), mac, PROTO_MAC_LEN);
}

bool hook_begin(const struct bus *bus, struct MHD_Connection *connection, const char *path, struct request *q,
                struct answer *ret)
{
    q->connection = connection;
    q->limit = LIMIT_HOOK_BODY;
    if (take_mac(connection, q->mac) < 0) {
        *ret = not_signed();
        return false;
    }
    for (size_t i = 0; i < bus->config->webhooks.n; i++)
        if (str_eq(bus->config->webhooks.list[i].path, path + strlen(HOOK_PREFIX)))
            q->webhook = &bus->config->webhooks.list[i];
    q->hook = HOOK_READING; // also where there is none: the body is read all the same
    return true;
}

// Also where there is no such webhook: the warden then says no, as slowly as to a wrong signature.
bool hook_ask(struct bus *bus, uint64_t number, struct request *q, struct answer *ret)
{
    struct proto_message m = {0};

    if (bus->stopping) { // a connection that waits for the warden cannot be closed
        *ret = api_problem(MHD_HTTP_SERVICE_UNAVAILABLE, "the gateway is stopping");
        return false;
    }
    OWNED(fd_closep) int fd = fd_sealed("hook", q->body.p ? q->body.p : "", q->body.len);
    if (fd < 0) {
        *ret = api_problem(MHD_HTTP_SERVICE_UNAVAILABLE, "the body cannot be kept: %s", strerror(-fd));
        return false;
    }
    m.VERIFY.id = q->asked = number;
    m.VERIFY.body_len = q->body.len;
    memcpy(m.VERIFY.mac, q->mac, sizeof(q->mac));
    snprintf(m.VERIFY.webhook, sizeof(m.VERIFY.webhook), "%s", q->webhook ? q->webhook->name : "");
    int r = proto_send(&bus->warden, &m, PROTO_VERIFY, &fd);
    if (r < 0)
        bus_die("the warden does not listen: %s", strerror(-r));
    q->hook = HOOK_ASKED;
    return true;
}

// ---- once only ----------------------------------------------------------------------------------

static int add_seen(struct bus *bus, const uint8_t mark[static 16], int64_t until_ms)
{
    struct seen *list = reallocarray(bus->seen.list, bus->seen.n + 1, sizeof(*list));

    if (!list)
        return -ENOMEM;
    bus->seen.list = list;
    list[bus->seen.n].until_ms = until_ms;
    memcpy(list[bus->seen.n++].mark, mark, 16);
    return 0;
}

// What an earlier run took is not taken again by this one.
static int load_seen(struct bus *bus, int64_t now)
{
    static const char by[] = "webhook:";
    int r = 0, step = SQLITE_DONE;
    sqlite3_stmt *s = ledger_query(
        &bus->ledger, "SELECT source_plugin, dedupe_key, at_ms FROM event WHERE type=? AND at_ms>?", "si",
        EVENT_WEBHOOK, now - TIME_HOOK_MS);

    while (s && r == 0 && (step = sqlite3_step(s)) == SQLITE_ROW) {
        const char *source = (const char *)sqlite3_column_text(s, 0),
                   *mark = (const char *)sqlite3_column_text(s, 1);
        const struct webhook_config *h =
            source && str_starts(source, by) ? config_webhook(bus->config, source + strlen(by)) : NULL;
        uint8_t bytes[16];
        if (h && mark && str_unhex(mark, bytes, sizeof(bytes)) == 0)
            r = add_seen(bus, bytes, sqlite3_column_int64(s, 2) + (int64_t)h->window);
    }
    sqlite3_finalize(s);
    bus->seen.loaded = s && r == 0 && step == SQLITE_DONE;
    return bus->seen.loaded ? 0 : r < 0 ? r : -EIO;
}

// 0: not yet seen; -EALREADY; -E2BIG; else it cannot be told.
static int check_seen(struct bus *bus, const uint8_t mark[static 16], int64_t now)
{
    size_t kept = 0;
    int r = bus->seen.loaded ? 0 : load_seen(bus, now);

    for (size_t i = 0; i < bus->seen.n; i++) {
        if (bus->seen.list[i].until_ms <= now)
            continue;
        if (memcmp(bus->seen.list[i].mark, mark, 16) == 0)
            r = r == 0 ? -EALREADY : r;
        bus->seen.list[kept++] = bus->seen.list[i];
    }
    bus->seen.n = kept;
    return r == 0 && kept >= LIMIT_HOOK_SEEN ? -E2BIG : r;
}

// ---- what a right one starts --------------------------------------------------------------------

static struct answer start(struct bus *bus, const struct webhook_config *h, const uint8_t mark[static 16],
                           const char *payload)
{
    const int64_t now = ledger_now_ms();
    char hex[33], why[256];
    int64_t job = 0;
    int r = check_seen(bus, mark, now);

    if (r == -EALREADY)
        return api_problem(MHD_HTTP_CONFLICT, "this signature was taken before, and counts once in %llu s",
                           (unsigned long long)h->window / 1000);
    if (h->plugin && catalog_runs(&bus->catalog, h->plugin, "handle", why) < 0)
        return api_problem(MHD_HTTP_CONFLICT, "%s", why);
    str_hex(mark, 16, hex);
    if (r == 0)
        r = route_webhook(bus, h, payload, hex, &job);
    if (r == 0)
        r = add_seen(bus, mark, now + (int64_t)h->window);
    if (r == -EIO && bus->ledger.waits)
        bus_stall(bus, "a webhook");
    if (r < 0)
        return api_problem(MHD_HTTP_SERVICE_UNAVAILABLE, "it is not taken now (%s): send it again later",
                           errno_name(-r));
    dispatch(bus);
    return (struct answer){MHD_HTTP_ACCEPTED, json_pack("{s:I}", "job_id", (json_int_t)job)};
}

struct answer hook_answer(struct bus *bus, const struct request *q)
{
    char why[160];
    uint8_t mark[16];

    if (q->hook == HOOK_NOT_SIGNED || (q->hook == HOOK_SIGNED && !q->webhook))
        return not_signed();
    if (bus->stopping || q->hook == HOOK_LEFT)
        return api_problem(MHD_HTTP_SERVICE_UNAVAILABLE, "the gateway is stopping");
    OWNED(json_decrefp) json_t *body = q->body.len ? json_parse(q->body.p, q->body.len, 64, why) : NULL;
    if (!json_is_object(body))
        return api_problem(MHD_HTTP_BAD_REQUEST, "the body is not a JSON object");
    OWNED(freep) char *payload = json_dumps(body, JSON_COMPACT);
    // Two secrets may have one value: the name is part of it.
    crypto_generichash(mark, sizeof(mark), q->mac, sizeof(q->mac), (const unsigned char *)q->webhook->name,
                       strlen(q->webhook->name));
    return payload ? start(bus, q->webhook, mark, payload)
                   : api_problem(MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
}
