// The request a plugin reads (protocol 2), as far as the bus may know it: everything but the secrets, which
// the warden writes in front.
#include "bus.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static json_t *parse_stored(const char *text)
{
    return json_loads(text ? text : "{}", JSON_DECODE_ANY, NULL); // from the ledger, which checked it
}

static json_t *stored_state(struct bus *bus, const char *plugin)
{
    sqlite3_stmt *s =
        ledger_query(&bus->ledger, "SELECT state FROM plugin_state WHERE plugin=?", "s", plugin);
    json_t *state = s && sqlite3_step(s) == SQLITE_ROW ? parse_stored((const char *)sqlite3_column_text(s, 0))
                                                       : json_object();

    sqlite3_finalize(s);
    return state;
}

static void rfc3339(int64_t ms, char out[static 40])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    char date[32];

    gmtime_r(&t, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 40, "%s.%03dZ", date, (int)(ms % 1000));
}

// The event of a handle job: the stored one, or a raw payload promoted to one.
static json_t *event_of(struct bus *bus, const struct queued_job *j, json_t *payload)
{
    char at[40];
    json_t *event = NULL;
    sqlite3_stmt *s = ledger_query(
        &bus->ledger, "SELECT type, payload, dedupe_key, source_plugin, at_ms FROM event WHERE id=?", "i",
        j->event);

    if (s && sqlite3_step(s) == SQLITE_ROW) {
        rfc3339(sqlite3_column_int64(s, 4), at);
        const char *key = (const char *)sqlite3_column_text(s, 2),
                   *source = (const char *)sqlite3_column_text(s, 3);
        event = json_pack("{s:s, s:o, s:s*, s:s*, s:s, s:s}", "type", sqlite3_column_text(s, 0), "payload",
                          parse_stored((const char *)sqlite3_column_text(s, 1)), "dedupe_key", key, "source",
                          source, "timestamp", at, "event_id", "");
        if (event)
            json_object_set_new(event, "event_id", json_sprintf("%lld", (long long)j->event));
    } else {
        rfc3339(ledger_now_ms(), at);
        event = json_pack("{s:s, s:O, s:s}", "type", "raw", "payload", payload, "timestamp", at);
    }
    sqlite3_finalize(s);
    return event;
}

static json_t *config_of(struct bus *bus, const char *plugin)
{
    const struct plugin_config *p = config_plugin(bus->config, plugin);

    return p && p->config ? json_from_ynode(p->config) : json_object();
}

int request_body(struct bus *bus, const struct queued_job *j, char **ret, size_t *ret_len)
{
    char deadline[40];
    int64_t timeout = (int64_t)config_timeout_of(bus->config, j->plugin, j->command);
    json_t *payload = parse_stored(j->payload);

    rfc3339(ledger_now_ms() + timeout, deadline);
    OWNED(json_decrefp)
    json_t *body = json_pack("{s:i, s:o, s:s, s:o, s:o, s:O, s:{}, s:s}", "protocol", 2, "job_id",
                             json_sprintf("%lld", (long long)j->id), "command", j->command, "config",
                             config_of(bus, j->plugin), "state", stored_state(bus, j->plugin), "payload",
                             payload, "context", "deadline_at", deadline);
    if (body && str_eq(j->command, "handle"))
        json_object_set_new(body, "event", event_of(bus, j, payload));
    json_decref(payload);
    char *text = body ? json_dumps(body, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    size_t len = text ? strlen(text) : 0;
    if (!text)
        return -ENOMEM;
    if (len + 1 > bus->config->limit_request) {
        free(text);
        return -EFBIG;
    }
    memmove(text, text + 1, len); // without its "{": the warden has written `{"secrets":{...},`
    text[len - 1] = '\n';         // where the NUL came to stand: a request is one line
    *ret = text;
    *ret_len = len;
    return 0;
}
