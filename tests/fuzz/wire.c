// proto_recv: whatever comes, exactly the right message is taken and everything else ends it, with no
// descriptor left.
#include "fuzz.h"

_Static_assert(PROTO_COUNT_ < 20, "odd_take has a type that is none");

// A byte: the next message's type; 0x80: to the bus; 0x40: something odd first.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct odd odd = {.type = -1};
    const unsigned before = descriptors();
    int pair[2], fds[PROTO_FDS_MAX];
    bool bus_listens = take(&in) & 0x80;

    MUST_HOLD(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "a pair");
    struct proto_link here = {.fd = pair[0], .me = bus_listens ? PROTO_BUS : PROTO_WARDEN};
    struct proto_link there = {.fd = pair[1], .me = bus_listens ? PROTO_WARDEN : PROTO_BUS};
    while (in.p < in.end) {
        uint8_t op = take(&in);
        if (op & 0x40) {
            odd_take(&odd, &in);
            continue;
        }
        struct proto_message m = {0}, got;
        const uint8_t endless = take(&in); // which text field has no end; 0: none
        if (endless > 0 && endless <= ARRAY_LEN(texts))
            memset((char *)&m + texts[endless - 1].at, 'a', texts[endless - 1].size);
        const enum verdict want = odd_send(&there, &m, (enum proto_type)(op % PROTO_COUNT_), &odd, -1);
        int r = proto_recv(&here, &got, fds);
        MUST_HOLD(r == (want == GOOD ? 0 : want == END ? -ENOTCONN : -EPROTO), "the answer of proto_recv");
        if (r == 0)
            MUST_HOLD(memcmp(&m, &got, sizeof(m)) == 0, "what was sent is what is received");
        for (int i = 0; i < PROTO_FDS_MAX; i++) {
            MUST_HOLD((fds[i] >= 0) == (r == 0 && i < rows_of_the_table[m.type % PROTO_COUNT_].fds),
                      "the descriptors of a message, and none of a bad one");
            MUST_HOLD(fds[i] < 0 || (fcntl(fds[i], F_GETFD) & FD_CLOEXEC), "close-on-exec");
            if (fds[i] >= 0)
                close(fds[i]);
        }
        if (r < 0)
            break;
        MUST_HOLD(proto_recv(&here, &got, fds) == -EAGAIN, "one at a time");
    }
    close(pair[0]);
    close(pair[1]);
    MUST_HOLD(descriptors() == before, "no descriptor is left");
    return 0;
}

#define ODD(what, value) 0x40, what, value
#define POKE(at, value)  0x40, 7, (at) >> 8, (at)&0xff, value
const struct seed seeds[] = {
    SEED("all-of-the-bus", 0, PROTO_READY, 0, PROTO_FAILED, 0, PROTO_SPAWN, 0, PROTO_KILL, 0, PROTO_VERIFY, 0,
         PROTO_AUDITED, 0, PROTO_STOPPED, 0),
    SEED("all-of-the-warden", 0x80, PROTO_CONFIG, 0, PROTO_SOCKET, 0, PROTO_LISTEN, 0, PROTO_TOKENS, 0,
         PROTO_VERIFIED, 0, PROTO_AUDIT, 0, PROTO_MASK, 0, PROTO_STARTED, 0, PROTO_REFUSED, 0, PROTO_EXITED,
         0, PROTO_STOP, 0),
    SEED("of-the-other-side", 0, PROTO_STARTED, 0),
    SEED("replayed", 0, PROTO_READY, 0, ODD(2, 255), PROTO_KILL, 0),
    SEED("ahead", 0, PROTO_READY, 0, ODD(2, 1), PROTO_KILL, 0),
    SEED("far-ahead", 0, PROTO_READY, 0, ODD(3, 1), PROTO_KILL, 0),
    SEED("magic", 0, ODD(4, 1), PROTO_READY, 0),
    SEED("version", 0, ODD(5, 1), PROTO_READY, 0),
    SEED("no-such-type", 0, ODD(6, PROTO_COUNT_), PROTO_READY, 0),
    SEED("huge-type", 0, ODD(6, 31), PROTO_READY, 0),
    SEED("short", 0, ODD(0, 255), PROTO_READY, 0),
    SEED("long", 0, ODD(0, 1), PROTO_READY, 0),
    SEED("empty", 0, ODD(0, 128), PROTO_READY, 0),
    SEED("empty-with-descriptor", 0, ODD(0, 128), PROTO_SPAWN, 0),
    SEED("no-descriptor", 0, ODD(1, 1), PROTO_SPAWN, 0),
    SEED("one-too-many", 0, ODD(1, 3), PROTO_SPAWN, 0),
    SEED("many-too-many", 0x80, ODD(1, 4), PROTO_STARTED, 0),
    SEED("descriptor-of-none", 0, ODD(1, 3), PROTO_KILL, 0),
    SEED("endless-what", 0, PROTO_FAILED, 1),
    SEED("endless-why", 0, PROTO_FAILED, 2),
    SEED("endless-remedy", 0, PROTO_FAILED, 3),
    SEED("endless-plugin", 0, PROTO_SPAWN, 4),
    SEED("endless-command", 0, PROTO_SPAWN, 5),
    SEED("endless-subject", 0x80, PROTO_AUDIT, 6),
    SEED("endless-account", 0x80, PROTO_STARTED, 7),
    SEED("endless-text", 0x80, PROTO_REFUSED, 8),
    SEED("endless-webhook", 0, PROTO_VERIFY, 10),
    SEED("endless-secret", 0x80, PROTO_REFUSED, 9),
};
const size_t n_seeds = ARRAY_LEN(seeds);
