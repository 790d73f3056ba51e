// Inside of the API: shared by api.c, auth.c, crowd.c and hook.c, nobody else.
#pragma once
#include "bus.h"
#include <microhttpd.h>

// Who asks, decided before a byte of the body is read.
struct caller {
    bool tcp, admitted;              // not admitted: 401, whatever is asked for
    unsigned rights;                 // TOKEN_*
    char name[2 * LIMIT_NAME];       // "api", or "token:NAME"
    int token;                       // its place in api.tokens
    char value[LIMIT_TOKEN_MAX + 1]; // what was shown, until the body is here
};

// A request for /hook/: where it is on its way to the warden and back.
enum hook_state { HOOK_NONE, HOOK_READING, HOOK_ASKED, HOOK_SIGNED, HOOK_NOT_SIGNED, HOOK_LEFT };

struct request {
    struct caller caller;
    struct strbuf body;
    size_t limit; // bytes of the body
    bool too_large;
    size_t dropped; // bytes of one that is too large
    // of a webhook
    enum hook_state hook;
    const struct webhook_config *webhook; // NULL: there is none at that path
    uint8_t mac[PROTO_MAC_LEN];
    uint64_t asked; // its number, while the connection is suspended
    struct MHD_Connection *connection;
    struct request *next;
};

struct answer {
    unsigned status;
    json_t *json; // owned
};
// RFC 9457.
__attribute__((format(printf, 2, 3))) struct answer api_problem(unsigned status, const char *format, ...);
// The value of the one header of that name; NULL: there is none, or more than one.
const char *api_header(struct MHD_Connection *connection, const char *name);

// ---- auth.c -------------------------------------------------------------------------------------
// Has this connection come over TCP?
bool auth_is_tcp(int fd);
// The rights of a process on the unix socket; 0: a stranger.
unsigned auth_peer(const struct bus *bus, int fd);
// Who sent this request. Over TCP the one Authorization header says so; its value is wiped there, and kept in
// ret until auth_again or auth_forget, so that no token stays in our memory.
void auth_request(const struct bus *bus, struct MHD_Connection *connection, struct caller *ret);
// The body is here, which may have taken long: whose token is no longer good is no longer admitted.
void auth_again(const struct bus *bus, struct caller *c);
void auth_forget(struct caller *c);

// ---- crowd.c ------------------------------------------------------------------------------------
// The connections over TCP. Each has a time for its request, and who showed no token makes room for others.
struct member;
struct crowd {
    struct ev_loop *loop;
    struct member *first, *last; // as they came
    unsigned n;                  // without those that were shut
    bool full_said;
};
// MHD_OPTION_NOTIFY_CONNECTION: *context is its member, or NULL on the unix socket.
void crowd_notify(struct crowd *crowd, struct MHD_Connection *connection, void **context,
                  enum MHD_ConnectionNotificationCode code);
// Is there room for one more, after the oldest that showed no token was shut where there was none?
MUST bool crowd_takes(struct crowd *crowd);
// NULL: not over TCP. The calls below then do nothing.
struct member *crowd_member(struct MHD_Connection *connection);
// The headers are here; the request is over; the warden is asked, and has answered.
void member_asks(struct member *m, bool admitted);
void member_is_done(struct member *m);
void member_waits(struct member *m);
void member_goes_on(struct member *m, bool admitted);

// ---- hook.c -------------------------------------------------------------------------------------
#define HOOK_PREFIX "/hook/"
// The headers are here. False: *ret is the answer, before the body.
MUST bool hook_begin(const struct bus *bus, struct MHD_Connection *connection, const char *path,
                     struct request *q, struct answer *ret);
// The body is here. True: the warden is asked, and the connection waits; else *ret is the answer.
MUST bool hook_ask(struct bus *bus, uint64_t number, struct request *q, struct answer *ret);
// The warden has answered.
struct answer hook_answer(struct bus *bus, const struct request *q);
