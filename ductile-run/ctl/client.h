// The gateway's API over its unix socket, for the front door.
#pragma once
#include "err.h"
#include <jansson.h>

struct client {
    const char *socket;   // path
    const char *instance; // for remedies
    bool raw;             // strings as they came, for --json; else their control characters are written \xNN
};

// One call. body may be NULL. 0 and the answer's JSON in *ret (owned by the caller) for a 2xx status;
// -ECANCELED with a refusal for everything else: no gateway, no permission, a request it does not accept.
MUST int client_call(const struct client *client, const char *method, const char *path, const json_t *body,
                     json_t **ret, struct refusal *refusal);
