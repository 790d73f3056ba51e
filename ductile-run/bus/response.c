// What a plugin answered. Hostile: any bytes at all. One JSON object, nothing before or after it but white
// space.
#include "bus.h"
#include <stdio.h>
#include <string.h>

static int bad(char why[static 160], const char *text)
{
    snprintf(why, 160, "%s", text);
    return -EBADMSG;
}

static bool is_event(const json_t *e)
{
    const char *type = json_string_value(json_object_get(e, "type"));
    const json_t *payload = json_object_get(e, "payload"), *key = json_object_get(e, "dedupe_key");

    return type && *type && strlen(type) < 2 * LIMIT_NAME && (!payload || json_is_object(payload)) &&
           (!key || json_is_null(key) || json_is_string(key));
}

static int check_events(const struct config *config, json_t *events, char why[static 160])
{
    size_t i;
    json_t *e;

    if (!events)
        return 0;
    if (!json_is_array(events))
        return bad(why, "events is not a list");
    if (json_array_size(events) > config->limit_events)
        return bad(why, "more events than limits.events allows");
    json_array_foreach(events, i, e) if (!is_event(e)) return bad(
        why, "an event without a type, or whose payload is not an object");
    return 0;
}

static int check(const struct config *config, struct response *r, char why[static 160])
{
    const char *status = json_string_value(json_object_get(r->root, "status"));
    const json_t *retry = json_object_get(r->root, "retry");

    if (!json_is_object(r->root))
        return bad(why, "not a JSON object");
    if (!status || (!str_eq(status, "ok") && !str_eq(status, "error")))
        return bad(why, "status is neither ok nor error");
    r->ok = str_eq(status, "ok");
    r->retry = !json_is_false(retry);
    r->error = json_string_value(json_object_get(r->root, "error"));
    r->result = json_object_get(r->root, "result");
    r->events = json_object_get(r->root, "events");
    r->state_updates = json_object_get(r->root, "state_updates");
    if (r->ok && (!r->result || json_is_null(r->result)))
        return bad(why, "status is ok and there is no result");
    if (!r->ok && !r->error)
        return bad(why, "status is error and there is no error");
    if (json_is_null(r->events))
        r->events = NULL;
    if (json_is_null(r->state_updates))
        r->state_updates = NULL;
    if (r->state_updates && !json_is_object(r->state_updates))
        return bad(why, "state_updates is not an object");
    return check_events(config, r->events, why);
}

int response_parse(const struct config *config, const char *text, size_t len, const struct mask_set *mask,
                   long *ret_masked, struct response *ret, char why[static 160])
{
    struct response r = {0};
    long masked = 0;

    if (len == 0)
        return bad(why, "it printed nothing");
    r.root = json_parse(text, len, (unsigned)config->limit_json_depth, why);
    if (!r.root)
        return -EBADMSG;
    // On the parsed strings: a plugin may write any character of a secret as \uXXXX.
    if (mask->n > 0)
        masked = mask_json(mask, &r.root);
    if (masked < 0) {
        json_decref(r.root);
        return bad(why, "it cannot be masked: out of memory");
    }
    *ret_masked = masked;
    int e = check(config, &r, why);
    if (e < 0) {
        json_decref(r.root);
        return e;
    }
    *ret = r;
    return 0;
}

void response_free(struct response *response)
{
    json_decref(response->root);
    *response = (struct response){0};
}
