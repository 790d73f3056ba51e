// links: ductile-run/bus/queue.c ductile-run/bus/plugins.c ductile-run/bus/request.c
// links: ductile-run/bus/response.c ductile-run/bus/route.c ductile-run/bus/ending.c ductile-run/bus/book.c

// What the warden says, through the bus's own loop end (main.c) and dispatch.c, with a ledger. An input runs
// in a process of its own, because the bus answers what is out of order by ending itself: the model says when
// it must.
int bus_main(int argc, char **argv);
#define main bus_main
#include "../../ductile-run/bus/main.c"
#undef main
#include "../../ductile-run/bus/dispatch.c" // for new_run
#include "fuzz.h"
#include <sys/wait.h>

enum { JOBS = 4, DIED = 70 };
static const char yaml[] =
    "service: {max_workers: 4}\napi: {tokens: [{name: t, secret_ref: t, scopes: [\"*\"]}]}\nplugins:\n  p: {retry: {max_attempts: 1}}\n";

static struct bus *bus;
static struct proto_link warden;
static struct {
    bool here, started;
    uint32_t attempt;
} jobs[JOBS + 1];  // the model
static bool *dies; // shared: this step must be the last
static char dir[64];

// ---- what this harness leaves out ------------------------------------------------------------------------

int api_start(struct bus *b)
{
    (void)b;
    return 0;
}
int api_serve(struct bus *b, int fd, int tcp_fd)
{
    (void)b;
    (void)fd;
    (void)tcp_fd;
    return 0;
}
enum { ASKED = 7 }; // the one signature that the API waits for
int api_verified(struct bus *b, const struct proto_verified *m)
{
    (void)b;
    return m->id == ASKED ? 0 : -ENOENT;
}
void api_stop(struct bus *b)
{
    (void)b;
}

// ---- a bus with jobs that the warden has
// ---------------------------------------------------------------------

static void in_dir(char path[static 96], const char *name)
{
    snprintf(path, 96, "%s/%s", dir, name);
}

static void begin(void)
{
    struct refusal refusal;
    struct config_file *files = calloc(1, sizeof(*files));
    char path[96];

    bus = calloc(1, sizeof(*bus));
    log_set_level(LOG_LEVEL_COUNT_);
    files[0] = (struct config_file){strdup("/c.yaml"), strdup(yaml), sizeof(yaml) - 1};
    MUST_HOLD(config_parse(files, 1, &bus->config, &refusal) == 0, refusal.why);
    in_dir(path, "ductile.db");
    MUST_HOLD(ledger_open(path, true, &bus->ledger) == 0, bus->ledger.error);
    MUST_HOLD(ledger_run(&bus->ledger, &bus->snapshot_id,
                         "INSERT INTO config_snapshot(hash, at_ms, content) VALUES('h', 1, '')", "") == 0,
              "a snapshot");
    bus->loop = ev_default_loop(0);
    ev_timer_init(&bus->due_timer, on_due, 0.0, 0.0);
    bus->due_timer.data = bus;
    for (int64_t i = 1; i <= JOBS; i++) {
        const struct new_job j = {.plugin = "p", .command = "poll", .payload = "{}", .submitted_by = "x"};
        int64_t id, equals;
        MUST_HOLD(queue_add(bus, &j, &id, &equals) == 0 && id == i, "a job");
        struct queued_job q = {.id = id, .plugin = "p", .command = "poll"};
        MUST_HOLD(queue_start(bus, &q) == 0, "a start");
        new_run(bus, &q);
        jobs[i].here = true;
        jobs[i].attempt = 1;
    }
}

// ---- what the warden says
// --------------------------------------------------------------------------------------

static int make_fd(uint8_t kind)
{
    static const char loose[] = "{}";
    struct strbuf sb = {0};
    struct mask_set none = {0};
    struct token_table tokens;
    char *data = NULL;
    size_t len;
    int fd;

    switch (kind % 8) {
    case 0: return fd_sealed("x", "{\"names\":[]}", 12);
    case 1: return fd_sealed("x", "no JSON", 7);
    case 2:
        fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        MUST_HOLD(write(fd, loose, 2) == 2, "a loose one");
        return fd;
    case 3: return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 4:
    case 6: // of another version
        bundle_add(&sb, BUNDLE_LOCK, "plugins.lock", "ductile-lock 1\n", 15);
        len = sb.len;
        data = sb_finish(&sb);
        data[4] = kind % 8 == 6 ? '2' : data[4];
        fd = fd_sealed("x", data, len);
        free(data);
        return fd;
    case 7:
        token_begin(&tokens);
        MUST_HOLD(token_add(&tokens, kind >> 7, (const uint8_t *)"0123456789abcdef0123456789abcdef", 32, 0) ==
                      0,
                  "a token");
        return token_save(&tokens);
    default:
        MUST_HOLD(mask_save(&none, &data, &len) == 0, "an empty mask");
        fd = fd_sealed("x", data, len);
        free(data);
        return fd;
    }
}

// A message that is in order as such: may the bus go on?
static bool goes_on(const struct proto_message *m, uint8_t kind)
{
    const uint64_t job = m->KILL.job; // the first field of all that name one
    const bool here = job >= 1 && job <= JOBS && jobs[job].here, started = here && jobs[job].started;
    const uint32_t attempt = here ? jobs[job].attempt : 0;

    switch ((enum proto_type)m->type) {
    case PROTO_CONFIG: return kind % 8 == 4;
    case PROTO_TOKENS: return kind % 8 == 7 && kind < 128;
    case PROTO_VERIFIED: return m->VERIFIED.id == ASKED && m->VERIFIED.yes <= 1;
    case PROTO_AUDIT: return kind % 8 != 2 && kind % 8 != 3 && m->AUDIT.kind < AUDIT_COUNT_;
    case PROTO_MASK: return here && !started && kind % 8 == 5;
    case PROTO_STARTED:
        return here && !started && m->STARTED.attempt == attempt && m->STARTED.mode < MODE_COUNT_;
    case PROTO_REFUSED:
        return !here || (!started && m->REFUSED.attempt == attempt && m->REFUSED.reason < REASON_COUNT_);
    case PROTO_EXITED: return here && m->EXITED.attempt == attempt && m->EXITED.reason < REASON_COUNT_;
    case PROTO_STOP: return !bus->stopping;
    case PROTO_SOCKET:
    case PROTO_LISTEN:
    case PROTO_READY:
    case PROTO_FAILED:
    case PROTO_SPAWN:
    case PROTO_KILL:
    case PROTO_VERIFY:
    case PROTO_AUDITED:
    case PROTO_STOPPED:
    case PROTO_COUNT_: break;
    }
    return false;
}

static void note(const struct proto_message *m)
{
    const uint64_t job = m->KILL.job;

    if (job < 1 || job > JOBS || !jobs[job].here)
        return;
    if (m->type == PROTO_STARTED)
        jobs[job].started = true;
    if (m->type == PROTO_REFUSED || m->type == PROTO_EXITED)
        jobs[job].here = jobs[job].started = false;
}

// What the bus says back is in order; a fact that needs an answer has one; a job that it queued again may be
// asked for again, as another attempt.
static unsigned hear(void)
{
    struct proto_message m;
    int fds[PROTO_FDS_MAX], r;
    unsigned audited = 0;

    while ((r = proto_recv(&warden, &m, fds)) == 0) {
        audited += m.type == PROTO_AUDITED;
        if (m.type == PROTO_SPAWN) {
            MUST_HOLD(m.SPAWN.job >= 1 && m.SPAWN.job <= JOBS && !jobs[m.SPAWN.job].here,
                      "a job that is not there");
            MUST_HOLD(m.SPAWN.attempt == jobs[m.SPAWN.job].attempt + 1, "the next attempt");
            jobs[m.SPAWN.job].here = true;
            jobs[m.SPAWN.job].attempt++;
        }
        for (int i = 0; i < PROTO_FDS_MAX; i++)
            fd_closep(&fds[i]);
    }
    MUST_HOLD(r == -EAGAIN, "the bus speaks in order");
    return audited;
}

static void say(struct input *in, uint8_t op, struct odd *odd)
{
    static const enum proto_type types[] = {PROTO_CONFIG,  PROTO_AUDIT,  PROTO_MASK,    PROTO_STARTED,
                                            PROTO_REFUSED, PROTO_EXITED, PROTO_SOCKET,  PROTO_STOP,
                                            PROTO_TOKENS,  PROTO_LISTEN, PROTO_VERIFIED};
    struct proto_message m = {0};
    const enum proto_type type = types[op % ARRAY_LEN(types)];
    const uint8_t job = take(in), kind = take(in), detail = take(in);
    OWNED(fd_closep) int fd = make_fd(kind);

    m.KILL.job = job % (JOBS + 2);
    if (type == PROTO_AUDIT) {
        m.AUDIT.kind = detail % 64;
        m.AUDIT.wants_answer = detail >> 7;
    } else if (type == PROTO_STARTED) {
        m.STARTED.attempt = 1 + (detail >> 7);
        m.STARTED.mode = detail % 4;
    } else if (type == PROTO_REFUSED) {
        m.REFUSED.attempt = 1 + (detail >> 7);
        m.REFUSED.reason = detail % 32;
    } else if (type == PROTO_EXITED) {
        m.EXITED.attempt = 1 + (detail >> 7);
        m.EXITED.reason = detail % 32;
        m.EXITED.exit_code = detail % 3;
    } else if (type == PROTO_CONFIG || type == PROTO_SOCKET || type == PROTO_STOP || type == PROTO_TOKENS ||
               type == PROTO_LISTEN)
        m.KILL.job = 0;
    else if (type == PROTO_VERIFIED) {
        m.VERIFIED.id = ASKED + (detail >> 7);
        m.VERIFIED.yes = detail % 8;
    }
    *dies = odd_send(&warden, &m, type, odd, fd) != GOOD || !goes_on(&m, kind);
    on_wire(bus->loop, &bus->wire_watcher, EV_READ);
    MUST_HOLD(!*dies, "what is out of order ends the bus");
    note(&m);
    MUST_HOLD(hear() == (m.type == PROTO_AUDIT && m.AUDIT.wants_answer), "an answer where one is wanted");
    unsigned here = 0;
    for (int i = 1; i <= JOBS; i++)
        here += jobs[i].here;
    MUST_HOLD(bus->n_runs == here, "a job ends once");
}

static void run_input(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct odd odd = {.type = -1};
    int pair[2];

    begin();
    MUST_HOLD(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "a pair");
    const unsigned before = descriptors();
    bus->warden = (struct proto_link){.fd = pair[0], .me = PROTO_BUS};
    warden = (struct proto_link){.fd = pair[1], .me = PROTO_WARDEN};
    bus->wire_watcher.data = bus;
    while (in.p < in.end && !(bus->stopping && bus->n_runs == 0)) {
        uint8_t op = take(&in) % 13;
        if (op >= 11)
            odd_take(&odd, &in);
        else
            say(&in, op, &odd);
    }
    unsigned outputs = 0;
    for (struct run *run = bus->runs; run; run = run->next)
        outputs += (run->out.fd >= 0) + (run->err.fd >= 0);
    const bool closed = bus->stopping && bus->n_runs == 0; // with its ledger
    MUST_HOLD(closed ? descriptors() < before : descriptors() == before + outputs, "no descriptor is left");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int status = 0;
    char path[96];

    if (!dies) {
        dies = mmap(NULL, sizeof(*dies), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        MUST_HOLD(dies != MAP_FAILED, "a page");
    }
    snprintf(dir, sizeof(dir), "%s/ductile-fuzz.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    MUST_HOLD(mkdtemp(dir), "a place");
    *dies = false;
    pid_t pid = fork();
    if (pid == 0) {
        run_input(data, size);
        _exit(0);
    }
    MUST_HOLD(waitpid(pid, &status, 0) == pid, "a child");
    static const char *const files[] = {"ductile.db", "ductile.db-wal", "ductile.db-shm",
                                        "ductile.db-journal"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        in_dir(path, files[i]);
        unlink(path);
    }
    rmdir(dir);
    MUST_HOLD(WIFEXITED(status), "no crash");
    MUST_HOLD(WEXITSTATUS(status) == (*dies ? DIED : 0), *dies ? "it ends in its own way" : "it lives on");
    return 0;
}

#define CONFIG(kind)                 0, 0, kind, 0
#define AUDIT(job, fd, kind, answer) 1, job, fd, (kind) | (answer) << 7
#define MASK(job, kind)              2, job, kind, 0
#define STARTED(job, mode)           3, job, 0, mode
#define REFUSED(job, reason)         4, job, 0, reason
#define EXITED(job, reason)          5, job, 0, reason
#define SOCKET                       6, 0, 0, 0
#define STOP                         7, 0, 0, 0
#define TOKENS(kind)                 8, 0, kind, 0
#define LISTEN                       9, 0, 0, 0
#define VERIFIED(yes)                10, 0, 0, yes
#define ODD(what, value)             11, what, value
const struct seed seeds[] = {
    SEED("one-job", MASK(1, 5), STARTED(1, 1), EXITED(1, 0)),
    SEED("with-a-delivery", AUDIT(1, 0, 0, 1), MASK(1, 5), STARTED(1, 1), EXITED(1, 0)),
    SEED("all-jobs-then-stop", STARTED(1, 0), STARTED(2, 1), STARTED(3, 2), REFUSED(4, 2), EXITED(2, 0), STOP,
         EXITED(1, 13), EXITED(3, 13)),
    SEED("refused", REFUSED(1, 3), REFUSED(2, 9), REFUSED(3, 12), REFUSED(4, 13)),
    SEED("locks-changed", CONFIG(4), STARTED(1, 1), CONFIG(4)),
    SEED("a-fact-that-is-no-JSON", AUDIT(1, 1, 0, 1)),
    SEED("a-fact-that-can-change", AUDIT(1, 2, 0, 1)),
    SEED("a-fact-in-a-device", AUDIT(1, 3, 0, 1)),
    SEED("a-fact-of-no-kind", AUDIT(1, 0, 63, 1)),
    SEED("a-config-that-is-none", CONFIG(0)),
    SEED("a-config-that-can-change", CONFIG(2)),
    SEED("a-config-of-another-version", CONFIG(6)),
    SEED("a-mask-of-nobody", MASK(0, 5)),
    SEED("a-mask-that-is-none", MASK(1, 0)),
    SEED("a-mask-too-late", STARTED(1, 1), MASK(1, 5)),
    SEED("started-twice", STARTED(1, 1), STARTED(1, 1)),
    SEED("started-by-nobody", STARTED(5, 1)),
    SEED("started-in-no-mode", STARTED(1, 3)),
    SEED("started-another-attempt", STARTED(1, 128)),
    SEED("started-after-its-end", EXITED(1, 0), STARTED(1, 1)),
    SEED("refused-while-it-runs", STARTED(1, 1), REFUSED(1, 3)),
    SEED("refused-for-no-reason", REFUSED(1, 31)),
    SEED("refused-another-attempt", REFUSED(1, 130)),
    SEED("queued-again", REFUSED(1, REASON_BUSY), STARTED(1, 129), EXITED(1, 128)),
    SEED("queued-again-and-the-old-attempt", REFUSED(1, REASON_BUSY), STARTED(1, 1)),
    SEED("refused-twice", REFUSED(1, 3), REFUSED(1, 3)),
    SEED("ended-by-nobody", EXITED(5, 0)),
    SEED("ended-twice", EXITED(1, 0), EXITED(1, 0)),
    SEED("ended-for-no-reason", EXITED(1, 31)),
    SEED("ended-another-attempt", EXITED(1, 128)),
    SEED("a-socket-too-late", SOCKET),
    SEED("tokens", TOKENS(7), TOKENS(7)),
    SEED("tokens-of-nobody", TOKENS(128 | 7)),
    SEED("tokens-that-are-none", TOKENS(0)),
    SEED("tokens-that-can-change", TOKENS(2)),
    SEED("tokens-in-a-device", TOKENS(3)),
    SEED("verified", VERIFIED(1), VERIFIED(0)),
    SEED("verified-by-halves", VERIFIED(2)),
    SEED("verified-what-nobody-asked", VERIFIED(128 | 1)),
    SEED("a-listener-too-late", LISTEN),
    SEED("stopped-twice", STOP, STOP),
    SEED("replayed", STARTED(1, 1), ODD(2, 255), EXITED(1, 0)),
    SEED("of-the-bus", ODD(6, PROTO_READY), STOP),
    SEED("one-descriptor", ODD(1, 1), STARTED(1, 1)),
};
const size_t n_seeds = ARRAY_LEN(seeds);
