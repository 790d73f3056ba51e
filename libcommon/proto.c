// The wire. Both ends link this; neither trusts the other's lengths, strings, numbers or descriptors.
#include "proto.h"
#include "str.h"
#include <string.h>
#include <sys/socket.h>

#define MAGIC 0x44544c57u // "DTLW"

static const struct {
    enum proto_side sender;
    int fds;
} rows[PROTO_COUNT_] = {
#define MESSAGE(name, sender, payload, fds, meaning) [PROTO_##name] = {PROTO_##sender, fds},
#include "proto.def"
#undef MESSAGE
};

static const struct {
    const char *word;
    bool retries;
} reasons[REASON_COUNT_] = {
    [REASON_NONE] = {"", true},
    [REASON_UNKNOWN_PLUGIN] = {"not-locked", false},
    [REASON_NO_ACCOUNT] = {"no-account", false},
    [REASON_NOT_ATTESTED] = {"not-attested", false},
    [REASON_CANNOT_ATTEST] = {"cannot-attest", false},
    [REASON_CODE_WRITABLE] = {"code-writable", false},
    [REASON_VAULT] = {"vault", false},
    [REASON_SECRET_MISSING] = {"secret-missing", false},
    [REASON_AUDIT] = {"not-recorded", false},
    [REASON_REQUEST] = {"request-limit", false},
    [REASON_DROP_FAILED] = {"drop-failed", false},
    [REASON_SPAWN_FAILED] = {"spawn-failed", true},
    [REASON_BUSY] = {"no-slot", true},
    [REASON_STOPPING] = {"stopping", true},
    [REASON_TIMEOUT] = {"timeout", true},
    [REASON_OUTPUT_LIMIT] = {"output-limit", true},
    [REASON_CANCELLED] = {"cancelled", false},
    [REASON_BREACHED] = {"breached", false},
};

const char *proto_reason_word(enum proto_reason reason)
{
    return reason < REASON_COUNT_ ? reasons[reason].word : "unknown";
}

bool proto_reason_retries(enum proto_reason reason)
{
    return reason < REASON_COUNT_ && reasons[reason].retries;
}

int proto_fds(enum proto_type type)
{
    return rows[type].fds;
}

int proto_send(struct proto_link *link, struct proto_message *m, enum proto_type type, const int *fds)
{
    union {
        char space[CMSG_SPACE(sizeof(int) * PROTO_FDS_MAX)];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {m, sizeof(*m)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    m->magic = MAGIC;
    m->version = PROTO_VERSION;
    m->type = (uint16_t)type;
    m->seq = link->sent + 1;
    if (rows[type].fds > 0) {
        size_t len = sizeof(int) * (size_t)rows[type].fds;
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(len);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(len);
        memcpy(CMSG_DATA(c), fds, len);
    }
    for (;;) {
        // The bus may wait for the warden, which never waits for anybody.
        ssize_t n = sendmsg(link->fd, &msg, MSG_NOSIGNAL | (link->me == PROTO_WARDEN ? MSG_DONTWAIT : 0));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_last();
        link->sent++;
        return n == (ssize_t)sizeof(*m) ? 0 : -EPROTO;
    }
}

static bool terminated(const char *s, size_t size)
{
    return memchr(s, '\0', size) != NULL;
}

// Strings of a message end inside their field.
static bool strings_end(const struct proto_message *m)
{
    switch ((enum proto_type)m->type) {
    case PROTO_FAILED:
        return terminated(m->FAILED.what, sizeof(m->FAILED.what)) &&
               terminated(m->FAILED.why, sizeof(m->FAILED.why)) &&
               terminated(m->FAILED.remedy, sizeof(m->FAILED.remedy));
    case PROTO_SPAWN:
        return terminated(m->SPAWN.plugin, sizeof(m->SPAWN.plugin)) &&
               terminated(m->SPAWN.command, sizeof(m->SPAWN.command));
    case PROTO_VERIFY: return terminated(m->VERIFY.webhook, sizeof(m->VERIFY.webhook));
    case PROTO_AUDIT: return terminated(m->AUDIT.subject, sizeof(m->AUDIT.subject));
    case PROTO_STARTED: return terminated(m->STARTED.account, sizeof(m->STARTED.account));
    case PROTO_REFUSED:
        return terminated(m->REFUSED.text, sizeof(m->REFUSED.text)) &&
               terminated(m->REFUSED.secret, sizeof(m->REFUSED.secret));
    case PROTO_CONFIG:
    case PROTO_SOCKET:
    case PROTO_LISTEN:
    case PROTO_TOKENS:
    case PROTO_VERIFIED:
    case PROTO_READY:
    case PROTO_KILL:
    case PROTO_MASK:
    case PROTO_AUDITED:
    case PROTO_EXITED:
    case PROTO_STOP:
    case PROTO_STOPPED: return true;
    case PROTO_COUNT_: break;
    }
    return false;
}

static int take_fds(struct msghdr *msg, int fds[static PROTO_FDS_MAX])
{
    int n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (n < PROTO_FDS_MAX)
                fds[n++] = fd;
            else
                close(fd);
        }
    }
    return n;
}

int proto_recv(struct proto_link *link, struct proto_message *m, int fds[static PROTO_FDS_MAX])
{
    union {
        char space[CMSG_SPACE(sizeof(int) * PROTO_FDS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {m, sizeof(*m)};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control)};
    ssize_t n;

    for (int i = 0; i < PROTO_FDS_MAX; i++)
        fds[i] = -1;
    // ECONNRESET says, once, that the peer closed with messages of ours unread. What it sent before still
    // waits.
    do
        n = recvmsg(link->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return err_last();
    int count = take_fds(&msg, fds);
    if (n == 0 && count == 0)
        return -ENOTCONN;
    bool good = n == (ssize_t)sizeof(*m) && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
                m->magic == MAGIC && m->version == PROTO_VERSION && m->seq == link->received + 1 &&
                m->type < PROTO_COUNT_ && rows[m->type].sender != link->me && rows[m->type].fds == count &&
                strings_end(m);
    if (!good) {
        for (int i = 0; i < PROTO_FDS_MAX; i++)
            fd_closep(&fds[i]);
        return -EPROTO;
    }
    link->received++;
    return 0;
}
