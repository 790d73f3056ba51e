// Fuzzing the wire. An input is a program: bytes that say which messages are sent, what is wrong with them,
// and what happens between. A target runs it against the real code and holds every step against a model of
// its own; what differs aborts. Targets also build with libFuzzer (make fuzz-TARGET); the driver here mutates
// with a fixed seed, counts and not seconds, so that a run is the same everywhere.
#pragma once
#include "fd.h"
#include "proto.h"
#include "str.h"
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
// Inputs to start from: what both sides say when all is well, and close misses.
struct seed {
    const char *name;
    const uint8_t *data;
    size_t size;
};
extern const struct seed seeds[];
extern const size_t n_seeds;
#define SEED(name, ...)                                                                                      \
    {                                                                                                        \
        name, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})                         \
    }

#define MUST_HOLD(condition, what)                                                                           \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "does not hold: %s (%s:%d)\n", what, __FILE__, __LINE__);                        \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct input {
    const uint8_t *p, *end;
};

static inline uint8_t take(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

static inline unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

// ---- a message with something wrong ------------------------------------------------------------------

struct odd {
    int type; // -1: as the message says
    int16_t length, fds;
    int64_t seq;
    uint32_t magic, version;
    struct {
        uint16_t at;
        uint8_t value;
    } poke[8]; // bytes of the message that are changed
    unsigned n_pokes;
};

static inline void odd_take(struct odd *o, struct input *in)
{
    uint8_t what = take(in), value = take(in);

    switch (what % 8) {
    case 0: o->length = (int16_t)(int8_t)value; break;
    case 1: o->fds = (int16_t)(value % 5 - 2); break;
    case 2: o->seq = (int8_t)value; break;
    case 3: o->seq = (int64_t)value << 32; break;
    case 4: o->magic = value; break;
    case 5: o->version = value; break;
    case 6: o->type = value % 32 == 31 ? 0xff00 + value : value % 20; break;
    case 7:
        if (o->n_pokes < ARRAY_LEN(o->poke)) {
            o->poke[o->n_pokes].at = (uint16_t)(value << 8 | take(in));
            o->poke[o->n_pokes++].value = take(in);
        }
        break;
    }
}

static const struct {
    enum proto_side sender;
    int fds;
} rows_of_the_table[PROTO_COUNT_] = {
#define MESSAGE(name, side, payload, fds, meaning) [PROTO_##name] = {PROTO_##side, fds},
#include "proto.def"
#undef MESSAGE
};

// Where the text fields of a message lie; the model's own list.
static const struct {
    int type;
    size_t at, size;
} texts[] = {
#define TEXT(type, field)                                                                                    \
    {                                                                                                        \
        PROTO_##type, offsetof(struct proto_message, type.field),                                            \
            sizeof(((struct proto_message *)0)->type.field)                                                  \
    }
    TEXT(FAILED, what),    TEXT(FAILED, why),     TEXT(FAILED, remedy),   TEXT(SPAWN, plugin),
    TEXT(SPAWN, command),  TEXT(AUDIT, subject),  TEXT(STARTED, account), TEXT(REFUSED, text),
    TEXT(REFUSED, secret), TEXT(VERIFY, webhook),
#undef TEXT
};

static inline bool texts_end(const struct proto_message *m)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].type == m->type && !memchr((const char *)m + texts[i].at, '\0', texts[i].size))
            return false;
    return true;
}

enum verdict { GOOD, BAD, END };

// Sends *m with what is odd about it, with copies of fd (or of a memfd of its own) as its descriptors; *m is
// then what was sent. Returns what must become of it.
static inline enum verdict odd_send(struct proto_link *link, struct proto_message *m, enum proto_type type,
                                    struct odd *o, int fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int) * 4)];
        struct cmsghdr align;
    } control = {0};
    char buf[2 * sizeof(*m)] = {0};
    int copies[4], n = rows_of_the_table[type].fds + o->fds;

    n = MAX(0, MIN(n, 4));
    m->magic = 0x44544c57u ^ o->magic;
    m->version = (uint16_t)(PROTO_VERSION + o->version);
    m->type = (uint16_t)(o->type >= 0 ? o->type : (int)type);
    m->seq = link->sent + 1 + (uint64_t)o->seq;
    for (unsigned i = 0; i < o->n_pokes; i++) // behind the head: that has cases of its own
        ((uint8_t *)m)[offsetof(struct proto_message, CONFIG) +
                       o->poke[i].at % (sizeof(*m) - offsetof(struct proto_message, CONFIG))] =
            o->poke[i].value;
    memcpy(buf, m, sizeof(*m));
    size_t len = (size_t)MAX((long)0, MIN((long)sizeof(*m) + o->length, (long)sizeof(buf)));
    if (o->length == -128)
        len = 0;
    struct iovec iov = {buf, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    for (int i = 0; i < n; i++)
        copies[i] = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : fd_sealed("x", "{}", 2);
    if (n > 0) {
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
        memcpy(CMSG_DATA(c), copies, sizeof(int) * (size_t)n);
    }
    ssize_t sent = sendmsg(link->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    MUST_HOLD(sent == (ssize_t)len, "the harness can send");
    for (int i = 0; i < n; i++)
        close(copies[i]);
    link->sent++;
    const bool right = len == sizeof(*m) && o->magic == 0 && (uint16_t)o->version == 0 && o->seq == 0 &&
                       m->type < PROTO_COUNT_ && rows_of_the_table[m->type].sender == link->me &&
                       rows_of_the_table[m->type].fds == n && texts_end(m);
    *o = (struct odd){.type = -1};
    return right ? GOOD : len == 0 && n == 0 ? END : BAD;
}
