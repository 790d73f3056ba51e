// The bus, taken over: the wire, the ledger, and a process behind its own filter and domain.
#include "fd.h"
#include "popped.h"
#include "str.h"
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

static int answer(long r)
{
    return r < 0 ? -errno : 0;
}

// ---- programs, processes, memory -------------------------------------------------------------------

static int run(const struct target *t, long number, const char *path)
{
    char *argv[] = {(char *)path, NULL};
    (void)t;
    if (number)
        return answer(syscall(SYS_execveat, AT_FDCWD, path, argv, argv + 1, 0));
    return answer(execve(path, argv, argv + 1));
}

static int make_process(const struct target *t, long number, const char *text)
{
    (void)t;
    (void)number;
    (void)text;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return answer(pid);
}

static void *nothing(void *arg)
{
    return arg;
}

static int make_thread(const struct target *t, long number, const char *text)
{
    pthread_t thread;
    (void)t;
    (void)number;
    (void)text;
    return -pthread_create(&thread, NULL, nothing, NULL);
}

static int code_from_data(const struct target *t, long number, const char *text)
{
    (void)t;
    (void)text;
    void *p =
        mmap(NULL, 4096, PROT_READ | (number ? PROT_EXEC : PROT_WRITE), MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    return answer(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int reaches(const struct target *t, long nr, const char *text)
{
    (void)t;
    (void)text;
    int r = answer(syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L));
    return r == -EPERM || r == -EACCES || r == -ENOSYS ? r : 0;
}

static int keyring(const struct target *t, long number, const char *text)
{
    (void)t;
    (void)text;
    return answer(syscall(SYS_keyctl, number, KEY_SPEC_SESSION_KEYRING, 1));
}

// ---- sockets ---------------------------------------------------------------------------------------

#define LISTENER "/run/popped.sock" // of the test: a datagram socket that anybody may write to

static int make_socket(const struct target *t, long family, const char *text)
{
    (void)t;
    (void)text;
    OWNED(fd_closep) int fd = socket((int)family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return answer(fd);
}

// A socket from a pair needs neither socket() nor connect() to write to a path.
static int send_by_pair(const struct target *t, long number, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int pair[2];
    (void)t;
    (void)number;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    return answer(sendto(pair[0], "x", 1, 0, (struct sockaddr *)&addr, sizeof(addr)));
}

// Any socket it already has, with an address.
static int send_by_any(const struct target *t, long number, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct iovec iov = {(void *)"x", 1};
    struct msghdr msg = {.msg_name = &addr, .msg_namelen = sizeof(addr), .msg_iov = &iov, .msg_iovlen = 1};
    int r = -EPERM;
    (void)t;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (t->out[0] == '\0') { // the control brings one
        OWNED(fd_closep) int own = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        return answer(sendmsg(own, &msg, 0));
    }
    for (int fd = 3; fd < 64; fd++) { // not the wire: it would take the message as ours
        long n =
            number ? sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)
                   : sendto(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&addr, sizeof(addr));
        if (n >= 0)
            return 0;
        r = errno == EBADF || errno == ENOTSOCK ? r : -EPERM;
    }
    return r;
}

// A listening socket that is shut can be connected again by what it sends: TCP fast open needs no connect().
static int connect_by_fast_open(const struct target *t, long number, const char *text)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct iovec iov = {(void *)"x", 1};
    struct msghdr msg = {.msg_name = &addr, .msg_namelen = sizeof(addr), .msg_iov = &iov, .msg_iovlen = 1};
    int r = -ENOENT, listens = 0;
    socklen_t len = sizeof(listens);
    (void)number;
    (void)text;
    OWNED(fd_closep) int own = t->out[0] == '\0' ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    for (int fd = 3; fd < 64; fd++) {
        struct sockaddr_storage at;
        socklen_t at_len = sizeof(at);
        bool ours = fd == own || (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens);
        if (!ours || getsockname(fd, (struct sockaddr *)&at, &at_len) < 0 || at.ss_family != AF_INET)
            continue;
        if (fd != own)
            shutdown(fd, SHUT_RDWR);
        long n = sendmsg(fd, &msg, MSG_FASTOPEN | MSG_DONTWAIT | MSG_NOSIGNAL);
        // Refused by whoever it reached: it reached him.
        r = n >= 0 || errno == EINPROGRESS || errno == ECONNREFUSED ? 0 : -errno;
    }
    return r;
}

// ---- files -----------------------------------------------------------------------------------------

static int open_file(const struct target *t, long flags, const char *path)
{
    (void)t;
    OWNED(fd_closep) int fd = open(path, (int)flags | O_CLOEXEC | O_NONBLOCK, 0600);
    return answer(fd);
}

static int open_cgroup(const struct target *t, long number, const char *file)
{
    char path[400];
    (void)number;
    snprintf(path, sizeof(path), "%s/%s", t->cgroup, file);
    return open_file(t, O_WRONLY, path);
}

#define LEDGER "/var/lib/ductile/ledger/"

static int move_out(const struct target *t, long linked, const char *to)
{
    OWNED(fd_closep) int fd = open(LEDGER "popped.file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    (void)t;
    return answer(linked ? link(LEDGER "popped.file", to) : rename(LEDGER "popped.file", to));
}

static int look_at(const struct target *t, long number, const char *path)
{
    struct stat st;
    (void)t;
    (void)number;
    return answer(stat(path, &st));
}

// Of all it holds: an end of a pipe that it can write to (a plugin's stdin).
static int write_end(const struct target *t, long number, const char *text)
{
    (void)t;
    (void)number;
    (void)text;
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && fd > 2 &&
            (flags & O_ACCMODE) != O_RDONLY)
            return 0;
    }
    return -ENOENT;
}

// Opens again for writing whatever it holds, but the ledger's files and pipes (rows of their own).
static int reopen(const struct target *t, long number, const char *text)
{
    int r = -EBADF;
    (void)t;
    (void)number;
    (void)text;
    for (int fd = 0; fd < 64; fd++) {
        struct stat st, ledger;
        char path[64];
        if (fstat(fd, &st) < 0 || S_ISFIFO(st.st_mode))
            continue;
        if (S_ISREG(st.st_mode) && stat(LEDGER, &ledger) == 0 && st.st_uid == ledger.st_uid)
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        OWNED(fd_closep) int again = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (again >= 0)
            return 0;
        r = errno == EACCES ? -EACCES : r; // a socket answers ENXIO
    }
    return r;
}

void popped_as_bus(const struct target *t)
{
    static const struct attempt list[] = {
        {"exec", run, 0, "/bin/true"},
        {"execveat", run, 1, "/bin/true"},
        {"process", make_process, 0, NULL},
        {"thread", make_thread, 0, NULL},
        {"code-from-data", code_from_data, 0, NULL},
        {"map-code", code_from_data, 1, NULL},
        {"own-memory", open_file, O_RDWR, "/proc/self/mem"},
        {"keyring", keyring, KEYCTL_GET_KEYRING_ID, NULL},
        {"io-uring", reaches, SYS_io_uring_setup, NULL},
        {"perf-event", reaches, SYS_perf_event_open, NULL},
        {"userfaultfd", reaches, SYS_userfaultfd, NULL},
        {"shared-memory", reaches, SYS_shmget, NULL},
        {"message-queue", reaches, SYS_mq_open, NULL},
        {"inotify", reaches, SYS_inotify_add_watch, NULL},
        {"socket-inet", make_socket, AF_INET, NULL},
        {"socket-unix", make_socket, AF_UNIX, NULL},
        {"socket-netlink", make_socket, AF_NETLINK, NULL},
        {"send-by-pair", send_by_pair, 0, LISTENER},
        {"sendto-address", send_by_any, 0, LISTENER},
        {"sendmsg-address", send_by_any, 1, LISTENER},
        {"connect-by-fast-open", connect_by_fast_open, 0, NULL},
        {"secret-zero", open_file, O_RDONLY, "/etc/ductile/secret/age.key"},
        {"secret-zero-write", open_file, O_WRONLY, "/etc/ductile/secret/age.key"},
        {"vault", open_file, O_RDONLY, "/var/lib/ductile/vault/vault.age"},
        {"config", open_file, O_RDONLY, "/etc/ductile/config.yaml"},
        {"state-dir", open_file, O_RDONLY | O_DIRECTORY, "/var/lib/ductile/accounts/default"},
        {"world-readable", open_file, O_RDONLY, "/etc/passwd"},
        {"list-root", open_file, O_RDONLY | O_DIRECTORY, "/"},
        {"proc-self", open_file, O_RDONLY, "/proc/self/status"},
        {"write-tmp", open_file, O_WRONLY | O_CREAT, "/tmp/popped"},
        {"tmpfile", open_file, O_RDWR | O_TMPFILE, "/tmp"},
        {"device", open_file, O_RDONLY, "/dev/zero"},
        {"rename-out", move_out, 0, "/var/lib/ductile/popped.moved"},
        {"link-out", move_out, 1, "/var/lib/ductile/popped.linked"},
        {"slot-procs", open_cgroup, 0, "slot-0/cgroup.procs"},
        {"slot-kill", open_cgroup, 0, "slot-0/cgroup.kill"},
        {"warden-procs", open_cgroup, 0, "warden/cgroup.procs"},
        {"warden-kill", open_cgroup, 0, "warden/cgroup.kill"},
        {"reopen-its-own", reopen, 0, NULL},
        {"ledger-write", open_file, O_RDWR, LEDGER "ductile.db"},
        {"stat-outside", look_at, 0, "/etc/passwd"},
    };
    popped_common(t);
    popped_processes(t, true);
    popped_try(t, list, ARRAY_LEN(list));
#ifdef POPPED_ALONE
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) == 0)
        popped_row(t, "write-end-of-a-pipe", write_end(t, 0, NULL));
#endif
}

#ifndef POPPED_ALONE
#include "../../ductile-run/bus/bus.h"

// ---- the wire -----------------------------------------------------------------------------------------

struct wire {
    struct target t;
    struct bus *bus;
    uint64_t job;
    enum { ANSWER, ANSWER_WRONG_JOB, ANSWER_ZERO, ANSWER_NEVER } audit; // what is said to AUDIT
    int sealed, out;                                                    // what came with AUDIT and STARTED
};

// The next message, ms at most; AUDIT is answered as told. -1: none.
static int hear(struct wire *w, int ms, struct proto_message *m)
{
    int fds[PROTO_FDS_MAX];
    struct pollfd p = {.fd = w->bus->warden.fd, .events = POLLIN};

    while (poll(&p, 1, ms) > 0 && proto_recv(&w->bus->warden, m, fds) == 0) {
        struct proto_message back = {.AUDITED = {.job = m->AUDIT.job, .seq = 4711}};
        if (m->type == PROTO_AUDIT && m->AUDIT.wants_answer && w->audit != ANSWER_NEVER) {
            back.AUDITED.job += w->audit == ANSWER_WRONG_JOB;
            back.AUDITED.seq = w->audit == ANSWER_ZERO ? 0 : 4711;
            if (proto_send(&w->bus->warden, &back, PROTO_AUDITED, NULL) < 0)
                return -1;
        }
        int *keep = m->type == PROTO_AUDIT ? &w->sealed : m->type == PROTO_STARTED ? &w->out : NULL;
        for (int i = 0; i < PROTO_FDS_MAX; i++)
            if (keep && i == 0) {
                fd_closep(keep);
                *keep = fd_take(&fds[0]);
            } else
                fd_closep(&fds[i]);
        if (m->type == PROTO_STARTED || m->type == PROTO_REFUSED || m->type == PROTO_EXITED ||
            m->type == PROTO_VERIFIED)
            return m->type;
    }
    return -1;
}

static struct proto_message right(struct wire *w, const char *plugin, size_t len)
{
    struct proto_message m = {.SPAWN = {.job = ++w->job, .attempt = 1, .body_len = len}};

    memcpy(m.SPAWN.snapshot, w->bus->snapshot, sizeof(m.SPAWN.snapshot));
    snprintf(m.SPAWN.plugin, sizeof(m.SPAWN.plugin), "%s", plugin);
    snprintf(m.SPAWN.command, sizeof(m.SPAWN.command), str_eq(plugin, "unruly") ? "handle" : "poll");
    return m;
}

static const char sleeps[] =
    "\"protocol\":2,\"job_id\":\"1\",\"command\":\"handle\",\"payload\":{\"mode\":\"calm\",\"seconds\":60}}";

static int ask(struct wire *w, struct proto_message *m, int body)
{
    struct proto_message back = {0};
    OWNED(fd_closep) int fd = body;

    if (proto_send(&w->bus->warden, m, PROTO_SPAWN, &fd) < 0)
        return -ENOTCONN;
    int type = hear(w, 9000, &back);
    return type == PROTO_STARTED ? 0 : type == PROTO_REFUSED ? -ECONNREFUSED : -ETIMEDOUT;
}

static void end_job(struct wire *w, uint64_t job)
{
    struct proto_message m = {.KILL = {.job = job, .reason = REASON_CANCELLED}}, back;

    if (proto_send(&w->bus->warden, &m, PROTO_KILL, NULL) == 0)
        while (hear(w, 3000, &back) >= 0 && !(back.type == PROTO_EXITED && back.EXITED.job == job))
            ;
}

// Started? Then it is ended again.
static void spawn_row(struct wire *w, const char *row, struct proto_message m, int body)
{
    int r = ask(w, &m, body);

    popped_row(&w->t, row, r);
    if (r == 0)
        end_job(w, m.SPAWN.job);
}

static int sealed(size_t len)
{
    OWNED(freep) char *p = calloc(1, len);
    memcpy(p, sleeps, MIN(len, sizeof(sleeps) - 1));
    return fd_sealed("body", p, len);
}
#define LEN (sizeof(sleeps) - 1)

static void forged_spawns(struct wire *w)
{
    struct proto_message m;

    m = right(w, "unruly", LEN), m.SPAWN.snapshot[0] ^= 1;
    spawn_row(w, "spawn-other-config", m, sealed(LEN));
    spawn_row(w, "spawn-unknown-plugin", right(w, "no_such", LEN), sealed(LEN));
    spawn_row(w, "spawn-disabled-plugin", right(w, "switched_off", LEN), sealed(LEN));
    spawn_row(w, "spawn-path", right(w, "../../../bin/sh", LEN), sealed(LEN));
    spawn_row(w, "spawn-nothing", right(w, "", LEN), sealed(LEN));
    m = right(w, "unruly", LEN), snprintf(m.SPAWN.command, sizeof(m.SPAWN.command), "a\nb");
    spawn_row(w, "spawn-odd-command", m, sealed(LEN));
    m = right(w, "unruly", LEN), m.SPAWN.job = 0;
    spawn_row(w, "spawn-job-0", m, sealed(LEN));
    spawn_row(w, "spawn-wrong-length", right(w, "unruly", LEN + 1), sealed(LEN));
    spawn_row(w, "spawn-too-large", right(w, "unruly", w->bus->config->limit_request + 1),
              sealed(w->bus->config->limit_request + 1));
    spawn_row(w, "spawn-unsealed-body", right(w, "unruly", 0),
              memfd_create("b", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    int half = memfd_create("b", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    fcntl(half, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    spawn_row(w, "spawn-half-sealed-body", right(w, "unruly", 0), half);
    spawn_row(w, "spawn-file-as-body", right(w, "unruly", 0),
              open(LEDGER "popped.file", O_RDWR | O_CREAT, 0600));
    spawn_row(w, "spawn-socket-as-body", right(w, "unruly", 0), fcntl(w->bus->warden.fd, F_DUPFD_CLOEXEC, 3));
}

// Its own body, once sealed; what the warden sent sealed.
static int rewrite(int fd)
{
    char path[64];

    if (pwrite(fd, "x", 1, 0) == 1 || ftruncate(fd, 0) == 0 ||
        mmap(NULL, 1, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    OWNED(fd_closep) int again = open(path, O_RDWR | O_CLOEXEC);
    if (again >= 0 && (pwrite(again, "x", 1, 0) == 1 || ftruncate(again, 0) == 0))
        return 0;
    return -EPERM;
}

static void running_jobs(struct wire *w)
{
    struct proto_message m = right(w, "unruly", LEN), again, back, stop = {.KILL = {.job = 424242}};
    char path[64];
    OWNED(fd_closep) int body = sealed(LEN);

    int r = ask(w, &m, fcntl(body, F_DUPFD_CLOEXEC, 3));
    popped_row(&w->t, "spawn-right-again", r);
    popped_row(&w->t, "rewrite-body", rewrite(body));
    popped_row(&w->t, "write-end-of-a-pipe", write_end(&w->t, 0, NULL));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", w->out);
    popped_row(&w->t, "reopen-output-for-writing", open_file(&w->t, O_WRONLY, path));
    again = m;
    popped_row(&w->t, "spawn-running-job", ask(w, &again, sealed(LEN)));
    r = proto_send(&w->bus->warden, &stop, PROTO_KILL, NULL);
    popped_row(&w->t, "kill-unknown-job", r == 0 && hear(w, 500, &back) == PROTO_EXITED ? 0 : -ETIMEDOUT);
    struct proto_message second = right(w, "unruly", LEN);
    popped_row(&w->t, "spawn-second", ask(w, &second, sealed(LEN)));
    struct proto_message third = right(w, "unruly", LEN);
    popped_row(&w->t, "spawn-beyond-workers", ask(w, &third, sealed(LEN)));
    end_job(w, second.SPAWN.job);
    stop.KILL.job = m.SPAWN.job;
    stop.KILL.reason = REASON_DROP_FAILED; // not its to say
    r = proto_send(&w->bus->warden, &stop, PROTO_KILL, NULL);
    bool ended = r == 0 && hear(w, 4000, &back) == PROTO_EXITED && back.EXITED.job == m.SPAWN.job;
    popped_row(&w->t, "kill-job", ended ? 0 : -ETIMEDOUT);
    popped_row(&w->t, "kill-with-a-reason-of-its-own",
               ended && back.EXITED.reason == REASON_DROP_FAILED ? 0 : -EPERM);
}

static void deliveries(struct wire *w)
{
    static const char *const rows[] = {"delivery-unwritten", "delivery-answered-for-another",
                                       "delivery-answered-0", "delivery-unanswered"};

    for (int i = 0; i < 4; i++) {
        w->audit = i;
        spawn_row(w, rows[i], right(w, "keeper", LEN), sealed(LEN));
        if (i == 0)
            popped_row(&w->t, "rewrite-audit", rewrite(w->sealed));
    }
    w->audit = ANSWER;
    struct proto_message early = {.AUDITED = {.job = w->job + 1, .seq = 1}};
    w->audit = ANSWER_NEVER; // said before it was asked
    int r = proto_send(&w->bus->warden, &early, PROTO_AUDITED, NULL);
    struct proto_message m = right(w, "keeper", LEN);
    popped_row(&w->t, "delivery-answered-before", r < 0 ? r : ask(w, &m, sealed(LEN)));
    w->audit = ANSWER;
    spawn_row(w, "spawn-right-after-all", right(w, "unruly", LEN), sealed(LEN));
}

// Webhooks: the key of `known` is the attacker's too, that of `minted` is nobody's but the warden's.
static const char known_key[] = "a-key-that-the-attacker-has-as-well";

static int verify(struct wire *w, const char *webhook, const uint8_t *mac, uint64_t len, int body,
                  struct proto_message *back)
{
    struct proto_message m = {.VERIFY = {.id = 77, .body_len = len}};
    OWNED(fd_closep) int fd = body;

    memcpy(m.VERIFY.mac, mac, PROTO_MAC_LEN);
    snprintf(m.VERIFY.webhook, sizeof(m.VERIFY.webhook), "%s", webhook);
    if (proto_send(&w->bus->warden, &m, PROTO_VERIFY, &fd) < 0)
        return -ENOTCONN;
    int type;
    do
        type = hear(w, 3000, back);
    while (type >= 0 && type != PROTO_VERIFIED);
    return type != PROTO_VERIFIED ? -ETIMEDOUT : back->VERIFIED.yes ? 0 : -ECONNREFUSED;
}

// Does the answer hold anything but its number and yes or no?
static int says_more(const struct proto_message *back)
{
    struct proto_message rest = *back;

    rest.VERIFIED.id = 0;
    rest.VERIFIED.yes = 0;
    for (size_t i = offsetof(struct proto_message, VERIFIED); i < sizeof(rest); i++)
        if (((const uint8_t *)&rest)[i] != 0)
            return 0;
    return -ENOENT;
}

static void signatures(struct wire *w)
{
    struct proto_message back = {0};
    uint8_t right[PROTO_MAC_LEN], none[PROTO_MAC_LEN] = {0};
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, (const uint8_t *)known_key, strlen(known_key));
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)"{}", 2);
    crypto_auth_hmacsha256_final(&state, right);
    popped_row(&w->t, "webhook-check", verify(w, "known", right, 2, fd_sealed("b", "{}", 2), &back));
    popped_row(&w->t, "webhook-forged", verify(w, "minted", none, 2, fd_sealed("b", "{}", 2), &back));
    popped_row(&w->t, "webhook-right-one-told", says_more(&back));
    popped_row(&w->t, "webhook-other-key", verify(w, "minted", right, 2, fd_sealed("b", "{}", 2), &back));
    popped_row(&w->t, "webhook-unknown", verify(w, "no-such", right, 2, fd_sealed("b", "{}", 2), &back));
    popped_row(&w->t, "webhook-wrong-length", verify(w, "known", right, 3, fd_sealed("b", "{}", 2), &back));
    int loose = memfd_create("b", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool filled = write(loose, "{}", 2) == 2;
    popped_row(&w->t, "webhook-unsealed-body", filled ? verify(w, "known", right, 2, loose, &back) : -EIO);
}

// One message that ends the connection. Nothing here is seen by us: we are killed for it.
static void say_wrong(struct wire *w, const char *what)
{
    struct proto_message m = right(w, "unruly", LEN);
    struct proto_link link = w->bus->warden;
    union {
        char space[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {&m, sizeof(m)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space};
    int fds[3] = {sealed(LEN), sealed(LEN), sealed(LEN)}, n = 1;

    m.magic = 0x44544c57u;
    m.version = PROTO_VERSION;
    m.type = PROTO_SPAWN;
    m.seq = link.sent + 1;
#define IS(word) str_eq(what, word)
    m.seq -= IS("replayed");
    m.seq += IS("ahead") + ((uint64_t)IS("far-ahead") << 32);
    m.magic ^= IS("wrong-magic");
    m.version += IS("wrong-version");
    m.type = IS("unknown-type")   ? PROTO_COUNT_
             : IS("huge-type")    ? 0xffff
             : IS("wardens-type") ? PROTO_EXITED
                                  : m.type;
    iov.iov_len = IS("short") ? sizeof(m) - 1 : IS("empty") ? 0 : sizeof(m);
    n = IS("no-body") || IS("empty") || IS("wardens-type") ? 0
        : IS("two-bodies")                                 ? 2
        : IS("three-bodies")                               ? 3
                                                           : 1;
    if (IS("endless-name"))
        memset(m.SPAWN.plugin, 'a', sizeof(m.SPAWN.plugin));
    if (IS("kill-with-descriptor"))
        m.type = PROTO_KILL;
    if (IS("failed-late"))
        m.type = PROTO_FAILED, n = 0, memset(&m.FAILED, 0, sizeof(m.FAILED));
    char large[2 * sizeof(m)] = {0};
    memcpy(large, &m, sizeof(m));
    if (IS("long"))
        iov = (struct iovec){large, sizeof(m) + 1};
    msg.msg_controllen = n ? CMSG_SPACE(sizeof(int) * (size_t)n) : 0;
    struct cmsghdr *c = n ? CMSG_FIRSTHDR(&msg) : NULL;
    if (c) {
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)n);
    }
    popped_row(&w->t, "said", 0);
    long sent = sendmsg(link.fd, &msg, MSG_NOSIGNAL);
    struct pollfd p = {.fd = -1};
    poll(&p, 1, 8000); // whoever lives that long was not noticed
    popped_row(&w->t, "survived", sent < 0 ? -EPIPE : 0);
    _exit(0);
}

// Never listens, and asks and asks: what the warden keeps for us has an end.
static void flood(struct wire *w)
{
    popped_row(&w->t, "said", 0);
    for (int i = 0; i < 2000000; i++) {
        struct proto_message m = right(w, "no_such", LEN);
        OWNED(fd_closep) int body = sealed(LEN);
        if (proto_send(&w->bus->warden, &m, PROTO_SPAWN, &body) < 0)
            break;
    }
    popped_row(&w->t, "survived", -EPIPE);
    _exit(0);
}

static void silence(const struct target *t)
{
    for (int fd = 2; fd < 64; fd++) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0)
            fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
    shutdown(STDERR_FILENO, SHUT_RDWR);
    popped_row(t, "silence-own-log", 0);
}

void popped_bus(struct bus *bus)
{
    struct wire w = {.bus = bus, .job = 1000000, .sealed = -1, .out = -1};
    char what[64] = "";

    if (!popped_wait(&w.t, "/var/lib/ductile/ledger"))
        _exit(8);
    OWNED(fd_closep) int fd = open(LEDGER "popped.wire", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, what, sizeof(what) - 1) > 0) {
        if (str_eq(what, "flood"))
            flood(&w);
        else if (!str_eq(what, "nothing"))
            say_wrong(&w, what);
    }
    w.t.config = bus->config;
    struct proto_message first = right(&w, "unruly", LEN); // so that another job's cgroup is there
    popped_row(&w.t, "spawn-right", ask(&w, &first, sealed(LEN)));
    popped_as_bus(&w.t);
    end_job(&w, first.SPAWN.job);
    if (what[0]) {
        popped_row(&w.t, "done", 0);
        _exit(0);
    }
    forged_spawns(&w);
    running_jobs(&w);
    deliveries(&w);
    signatures(&w);
    silence(&w.t);
    popped_row(&w.t, "done", 0);
    for (;;) // so that the test can look at both
        if (poll(NULL, 0, 1000) < 0)
            break;
    _exit(0);
}
#endif
