#include "fd.h"
#include "proto.h"
#include "str.h"
#include "unit.h"
#include <sys/socket.h>

struct lab {
    struct proto_link warden, bus;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    lab->warden = (struct proto_link){.fd = pair[0], .me = PROTO_WARDEN};
    lab->bus = (struct proto_link){.fd = pair[1], .me = PROTO_BUS};
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    close(lab->warden.fd);
    close(lab->bus.fd);
    free(lab);
    return 0;
}

static void test_proto_recv__round_trip_with_descriptors(void **s)
{
    struct lab *lab = *s;
    struct proto_message m = {0}, got;
    int fds[PROTO_FDS_MAX];
    OWNED(fd_closep) int fd = fd_sealed("body", "hello", 5);
    m.SPAWN.job = 7;
    strcpy(m.SPAWN.plugin, "p");
    assert_int_equal(proto_send(&lab->bus, &m, PROTO_SPAWN, &fd), 0);
    assert_int_equal(proto_recv(&lab->warden, &got, fds), 0);
    assert_int_equal(got.type, PROTO_SPAWN);
    assert_int_equal(got.SPAWN.job, 7);
    char text[8] = "";
    assert_int_equal(read(fds[0], text, 8), 5);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fds[1], -1);
    close(fds[0]);
    assert_int_equal(proto_recv(&lab->warden, &got, fds), -EAGAIN);
}

// What arrives at the warden must be refused, whatever was forged.
static void forged(struct lab *lab, const void *data, size_t len, const int *fds, int n_fds)
{
    union {
        char space[CMSG_SPACE(sizeof(int) * 8)];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {(void *)data, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct proto_message got;
    int received[PROTO_FDS_MAX];
    if (n_fds > 0) {
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n_fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)n_fds);
    }
    assert_true(sendmsg(lab->bus.fd, &msg, 0) >= 0);
    assert_int_equal(proto_recv(&lab->warden, &got, received), -EPROTO);
    assert_int_equal(received[0], -1);
    assert_int_equal(received[1], -1);
}

static struct proto_message valid(enum proto_type type)
{
    return (struct proto_message){
        .magic = 0x44544c57u, .version = PROTO_VERSION, .type = (uint16_t)type, .seq = 1};
}

static void test_proto_recv__forged_header(void **s)
{
    struct lab *lab = *s;
    struct proto_message m = valid(PROTO_READY);
    m.magic++;
    forged(lab, &m, sizeof(m), NULL, 0);
    m = valid(PROTO_READY);
    m.version++;
    forged(lab, &m, sizeof(m), NULL, 0);
    m = valid(PROTO_COUNT_);
    forged(lab, &m, sizeof(m), NULL, 0);
    m = valid(PROTO_READY);
    forged(lab, &m, sizeof(m) - 1, NULL, 0); // short
    forged(lab, &m, 1, NULL, 0);
}

static void test_proto_recv__replayed_and_reordered(void **s)
{
    struct lab *lab = *s;
    struct proto_message m = {0}, got;
    int fds[PROTO_FDS_MAX];
    assert_int_equal(proto_send(&lab->bus, &m, PROTO_READY, NULL), 0);
    assert_int_equal(proto_recv(&lab->warden, &got, fds), 0);
    m = valid(PROTO_READY);
    m.seq = 1; // again
    forged(lab, &m, sizeof(m), NULL, 0);
    m.seq = 3; // one is missing
    forged(lab, &m, sizeof(m), NULL, 0);
    m.seq = 0;
    forged(lab, &m, sizeof(m), NULL, 0);
}

static void test_proto_recv__wrong_side(void **s)
{
    struct lab *lab = *s;
    struct proto_message m = valid(PROTO_EXITED); // the warden's to send
    forged(lab, &m, sizeof(m), NULL, 0);
}

static void test_proto_recv__wrong_descriptors(void **s)
{
    struct lab *lab = *s;
    const int fds[3] = {0, 1, 2};
    struct proto_message m = valid(PROTO_READY);
    forged(lab, &m, sizeof(m), fds, 1); // none expected
    m = valid(PROTO_SPAWN);
    forged(lab, &m, sizeof(m), NULL, 0); // one expected
    forged(lab, &m, sizeof(m), fds, 2);
    forged(lab, &m, sizeof(m), fds, 3); // does not even fit
}

static void test_proto_recv__unterminated_strings(void **s)
{
    struct lab *lab = *s;
    const int fd = 0;
    struct proto_message m = valid(PROTO_SPAWN);
    memset(m.SPAWN.plugin, 'a', sizeof(m.SPAWN.plugin));
    forged(lab, &m, sizeof(m), &fd, 1);
    m = valid(PROTO_SPAWN);
    memset(m.SPAWN.command, 'a', sizeof(m.SPAWN.command));
    forged(lab, &m, sizeof(m), &fd, 1);
    m = valid(PROTO_FAILED);
    memset(m.FAILED.why, 'a', sizeof(m.FAILED.why));
    forged(lab, &m, sizeof(m), NULL, 0);
}

static int open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_proto_recv__refused_descriptors_do_not_leak(void **s)
{
    struct lab *lab = *s;
    const int fds[2] = {0, 1};
    struct proto_message m = valid(PROTO_READY);
    int before = open_fds();
    for (int i = 0; i < 50; i++)
        forged(lab, &m, sizeof(m), fds, 2);
    assert_int_equal(open_fds(), before);
}

static void test_proto_recv__end(void **s)
{
    struct lab *lab = *s;
    struct proto_message got;
    int fds[PROTO_FDS_MAX];
    close(lab->bus.fd);
    lab->bus.fd = -1;
    assert_int_equal(proto_recv(&lab->warden, &got, fds), -ENOTCONN);
}

// A peer that ends with messages unread resets the connection: that must not eat what it said last.
static void test_proto_recv__last_words_of_a_peer_that_did_not_listen(void **s)
{
    struct lab *lab = *s;
    struct proto_message m = {0}, got;
    int fds[PROTO_FDS_MAX];
    assert_int_equal(proto_send(&lab->warden, &m, PROTO_EXITED, NULL), 0);
    assert_int_equal(proto_send(&lab->bus, &m, PROTO_READY, NULL), 0);
    assert_int_equal(proto_send(&lab->bus, &m, PROTO_STOPPED, NULL), 0);
    close(lab->bus.fd);
    lab->bus.fd = -1;
    assert_int_equal(proto_recv(&lab->warden, &got, fds), 0);
    assert_int_equal(got.type, PROTO_READY);
    assert_int_equal(proto_recv(&lab->warden, &got, fds), 0);
    assert_int_equal(got.type, PROTO_STOPPED);
    assert_int_equal(proto_recv(&lab->warden, &got, fds), -ENOTCONN);
}

static void test_proto_send__warden_never_waits(void **s)
{
    struct lab *lab = *s;
    struct proto_message m = {0};
    int r = 0;
    for (int i = 0; i < 10000 && r == 0; i++)
        r = proto_send(&lab->warden, &m, PROTO_EXITED, NULL);
    assert_int_equal(r, -EAGAIN);
}

static void test_proto_reason_word__all(void **s)
{
    (void)s;
    for (int i = 0; i < REASON_COUNT_; i++) {
        assert_non_null(proto_reason_word((enum proto_reason)i));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(proto_reason_word((enum proto_reason)i),
                                    proto_reason_word((enum proto_reason)j));
    }
    assert_false(proto_reason_retries(REASON_DROP_FAILED) || proto_reason_retries(REASON_NOT_ATTESTED) ||
                 proto_reason_retries(REASON_VAULT));
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(proto_recv__round_trip_with_descriptors), L(proto_recv__forged_header),
    L(proto_recv__replayed_and_reordered), L(proto_recv__wrong_side), L(proto_recv__wrong_descriptors),
    L(proto_recv__unterminated_strings), L(proto_recv__refused_descriptors_do_not_leak), L(proto_recv__end),
    L(proto_recv__last_words_of_a_peer_that_did_not_listen), L(proto_send__warden_never_waits),
    T(proto_reason_word__all))
