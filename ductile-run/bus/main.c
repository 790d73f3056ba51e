// ductile-bus: started by the warden, with the wire as descriptor 0. Takes its config from there, walls
// itself in (Landlock: the ledger's directory; seccomp: no exec, no set*id, no ptrace, no new socket), opens
// the ledger, serves.
#include "bundle.h"
#include "bus.h"
#include "fd.h"
#include "log.h"
#include "opt.h"
#include "privs.h"
#include "wall.h"
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

void bus_die(const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    log_msg(LOG_LEVEL_ERR, "%s", text);
    // Nothing more can be promised: end here, the warden kills every job, the next start recovers from the
    // ledger.
    _exit(EXITCODE_BUG);
}

// Said over the wire: the warden prints the refusal. Then the end.
__attribute__((noreturn, format(printf, 5, 6))) static void fail_start(struct bus *bus,
                                                                       enum refusal_kind kind,
                                                                       const char *what, const char *remedy,
                                                                       const char *why, ...)
{
    struct proto_message m = {.FAILED = {.refusal = kind}};
    va_list ap;

    va_start(ap, why);
    vsnprintf(m.FAILED.why, sizeof(m.FAILED.why), why, ap);
    va_end(ap);
    snprintf(m.FAILED.what, sizeof(m.FAILED.what), "%s", what);
    snprintf(m.FAILED.remedy, sizeof(m.FAILED.remedy), "%s", remedy);
    if (proto_send(&bus->warden, &m, PROTO_FAILED, NULL) < 0)
        log_warn("the warden was not told");
    _exit(EXITCODE_CONFIG);
}

static void must_receive(struct bus *bus, enum proto_type type, struct proto_message *m,
                         int fds[static PROTO_FDS_MAX])
{
    struct pollfd p = {.fd = bus->warden.fd, .events = POLLIN};

    for (;;) {
        int r = proto_recv(&bus->warden, m, fds);
        if (r == 0 && m->type == type)
            return;
        if (r != -EAGAIN)
            bus_die("the warden said something else than expected");
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            bus_die("poll: %s", strerror(errno));
    }
}

static void parse_config(struct bus *bus, const struct bundle *b)
{
    struct refusal refusal;
    size_t n = 0;
    struct config_file *files = calloc(MAX(b->n, (size_t)1), sizeof(*files));

    for (size_t i = 0; files && i < b->n; i++)
        if (b->list[i].kind == BUNDLE_CONFIG)
            files[n++] =
                (struct config_file){strdup(b->list[i].name), strdup(b->list[i].data), b->list[i].len};
    if (!files || n == 0)
        fail_start(bus, REFUSE_RUN_BUS, "starting the bus",
                   "journalctl -u ductile; this is a fault in ductile", "the warden sent no config");
    if (config_parse(files, n, &bus->config, &refusal) < 0)
        fail_start(bus, REFUSE_CONFIG, refusal.what, refusal.remedy, "%s", refusal.why);
    for (size_t i = 0; i < b->n; i++)
        if (b->list[i].kind == BUNDLE_IDS &&
            config_resolve(bus->config, b->list[i].data, b->list[i].len, &refusal) < 0)
            fail_start(bus, REFUSE_CONFIG, refusal.what, refusal.remedy, "%s", refusal.why);
    if (!bus->config->resolved)
        config_resolve_self(bus->config);
}

static void take_config(struct bus *bus, const struct proto_message *m, int fd, bool first)
{
    struct bundle b = {0};
    struct catalog catalog;
    int r = bundle_read(fd, &b);

    if (r < 0)
        bus_die("the config of the warden: %s", strerror(-r));
    if (first) {
        parse_config(bus, &b);
        memcpy(bus->snapshot, m->CONFIG.snapshot, sizeof(bus->snapshot));
        str_hex(bus->snapshot, sizeof(bus->snapshot), bus->snapshot_hex);
    }
    r = catalog_build(bus->config, &b, &catalog);
    if (r < 0)
        bus_die("the plugins of the warden: %s", strerror(-r));
    catalog_free(&bus->catalog);
    bus->catalog = catalog;
    bundle_free(&b);
}

static void take_tokens(struct bus *bus, int tokens_fd)
{
    OWNED(fd_closep) int fd = tokens_fd;
    int r = token_load(fd, bus->config->tokens.n, &bus->tokens);

    if (r < 0) // else those that were revoked would go on
        bus_die("the tokens of the warden: %s", strerror(-r));
}

// From here on: one directory, no way to run anything, become anybody or open a socket.
static void wall_in(struct bus *bus)
{
    static struct wall_filter filter;
    char dir[LIMIT_PATH];
    const char *path = bus->config->state_path;

    bus->landlock_abi = wall_landlock_abi();
    if (privs_broken(BREAK_NONNP))
        return;
    snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
    int r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? err_last() : 0;
    if (r == 0 && !privs_broken(BREAK_NOLANDLOCK))
        r = wall_landlock_bus(dir);
    if (r == -ENOSYS && bus->config->posture == POSTURE_UNCONFINED)
        r = 0; // promised nothing
    else
        bus->landlocked = r == 0;
    if (r == 0)
        r = wall_filter_bus(&filter);
    if (r == 0)
        r = wall_filter_load(&filter);
    if (r < 0)
        fail_start(bus, REFUSE_RUN_WALL, "walling the bus in",
                   "ductile-gate check says what this kernel lacks", "%s (%s, %s)", strerror(-r),
                   errno_name(-r), dir);
}

__attribute__((noreturn)) static void ledger_refused(struct bus *bus, const char *why)
{
    char what[LIMIT_PATH + 32];

    snprintf(what, sizeof(what), "the ledger %s", bus->config->state_path);
    fail_start(bus, REFUSE_LEDGER, what,
               "make room, or put a copy of the last good file in its place: what is there is left as it is",
               "%s", why);
}

static void open_ledger(struct bus *bus)
{
    const struct config *c = bus->config;
    int r = ledger_open(c->state_path, true, &bus->ledger);

    if (r < 0)
        ledger_refused(bus, bus->ledger.error[0] ? bus->ledger.error : strerror(-r));
    struct strbuf text = {0};
    for (size_t i = 0; i < c->n_files; i++)
        sb_addf(&text, "# %s\n%s\n", c->files[i].name, c->files[i].text);
    OWNED(freep) char *content = sb_finish(&text);
    r = ledger_run(&bus->ledger, NULL,
                   "INSERT OR IGNORE INTO config_snapshot(hash, at_ms, content) VALUES(?,?,?)", "sis",
                   bus->snapshot_hex, ledger_now_ms(), content);
    sqlite3_stmt *s =
        ledger_query(&bus->ledger, "SELECT id FROM config_snapshot WHERE hash=?", "s", bus->snapshot_hex);
    if (r == 0 && s && sqlite3_step(s) == SQLITE_ROW)
        bus->snapshot_id = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    int lost = bus->snapshot_id ? queue_recover(bus) : -EIO;
    if (lost >= 0 && route_settle(bus) < 0)
        lost = -EIO;
    char detail[256];
    snprintf(detail, sizeof(detail),
             "{\"posture\":\"%s\",\"config\":\"%s\",\"plugins\":%zu,\"recovered\":%d}",
             posture_name(c->posture), bus->snapshot_hex, bus->catalog.n, lost);
    if (lost < 0 || ledger_audit(&bus->ledger, "ductile-bus", geteuid(), AUDIT_SERVICE_STARTED, c->name,
                                 detail, NULL) < 0)
        ledger_refused(bus, bus->ledger.error);
}

static void read_boot_id(struct bus *bus)
{
    OWNED(fd_closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, bus->boot_id, 36);

    bus->boot_id[n > 0 ? n : 0] = '\0';
}

// ---- loop ---------------------------------------------------------------------------------------

void end_if_idle(struct bus *bus)
{
    struct proto_message m = {0};
    unsigned unwritten = 0;

    if (!bus->stopping || bus->stopped)
        return;
    for (const struct run *run = bus->runs; run; run = run->next)
        unwritten += run->end != NULL;
    if (unwritten < bus->n_runs)
        return;
    if (unwritten > 0 && ending_settle(bus) > 0)
        log_msg(
            LOG_LEVEL_ERR,
            "the ledger cannot take the end of %u jobs: to the next start these attempts are lost, and it runs them again",
            unwritten);
    if (!book_settle(bus))
        log_msg(LOG_LEVEL_ERR, "the ledger cannot take the last facts; the journal has them");
    if (ledger_audit(&bus->ledger, "ductile-bus", geteuid(), AUDIT_SERVICE_STOPPED, bus->config->name, "{}",
                     NULL) < 0)
        log_warn("the stop was not recorded: %s", bus->ledger.error);
    bus->stopped = true;
    book_say_head(bus);
    api_stop(bus);
    ledger_close(&bus->ledger);
    if (proto_send(&bus->warden, &m, PROTO_STOPPED, NULL) < 0)
        log_warn("the warden is already gone");
    ev_break(bus->loop, EVBREAK_ALL);
}

static void on_drained(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct bus *bus = timer->data;
    (void)loop;
    (void)events;

    log_info("%u jobs are still running after the drain: they end now and are queued again", bus->n_runs);
    dispatch_stop(bus);
}

static void begin_stop(struct bus *bus)
{
    if (bus->stopping)
        bus_die("the warden stops what is stopping");
    bus->stopping = true;
    ev_timer_stop(bus->loop, &bus->due_timer);
    ev_timer_init(&bus->drain_timer, on_drained, (double)bus->config->drain / 1000.0, 0.0);
    bus->drain_timer.data = bus;
    ev_timer_start(bus->loop, &bus->drain_timer);
}

static void act(struct bus *bus, const struct proto_message *m, int fds[static PROTO_FDS_MAX])
{
    switch ((enum proto_type)m->type) {
    case PROTO_CONFIG:
        take_config(bus, m, fds[0], false);
        fd_closep(&fds[0]);
        dispatch(bus);
        break;
    case PROTO_AUDIT:
        dispatch_audit(bus, &m->AUDIT, fds[0]);
        fd_closep(&fds[0]);
        break;
    case PROTO_MASK: dispatch_mask(bus, &m->MASK, fds[0]); break;
    case PROTO_STARTED: dispatch_started(bus, &m->STARTED, fds[0], fds[1]); break;
    case PROTO_REFUSED: dispatch_refused(bus, &m->REFUSED); break;
    case PROTO_EXITED: dispatch_exited(bus, &m->EXITED); break;
    case PROTO_STOP: begin_stop(bus); break;
    case PROTO_TOKENS: take_tokens(bus, fd_take(&fds[0])); break;
    case PROTO_VERIFIED:
        if (m->VERIFIED.yes > 1 || api_verified(bus, &m->VERIFIED) < 0)
            bus_die("the warden answers what nobody asked");
        break;
    case PROTO_SOCKET:
    case PROTO_LISTEN:
    case PROTO_READY:
    case PROTO_FAILED:
    case PROTO_SPAWN:
    case PROTO_KILL:
    case PROTO_VERIFY:
    case PROTO_AUDITED:
    case PROTO_STOPPED:
    case PROTO_COUNT_: bus_die("the warden sent a message that is not its to send");
    }
}

static void on_wire(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct bus *bus = watcher->data;
    struct proto_message m;
    int fds[PROTO_FDS_MAX];
    (void)loop;
    (void)events;

    for (;;) {
        int r = proto_recv(&bus->warden, &m, fds);
        if (r == -EAGAIN)
            break;
        if (r == -ENOTCONN)
            bus_die("the warden is gone");
        if (r < 0)
            bus_die("the wire: %s", strerror(-r));
        act(bus, &m, fds);
    }
    end_if_idle(bus);
}

static void on_due(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    dispatch(timer->data);
}

static int serve(const struct opts *o)
{
    struct bus *bus = calloc(1, sizeof(*bus));
    struct proto_message m;
    int fds[PROTO_FDS_MAX], unix_fd, tcp_fd = -1;
    struct stat st;
    (void)o;

    if (!bus)
        return EXITCODE_BUG;
    if (fstat(STDIN_FILENO, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        struct refusal refusal;
        refuse(&refusal, REFUSE_USAGE, "starting ductile-bus by hand");
        refuse_why(&refusal, "the warden starts it, with the wire as its standard input");
        refuse_remedy(&refusal, "ductile-run serve");
        return refusal_print(&refusal, false);
    }
    log_open("ductile-bus", true);
    bus->started_ms = ledger_now_ms();
    bus->warden = (struct proto_link){.fd = STDIN_FILENO, .me = PROTO_BUS};
    must_receive(bus, PROTO_CONFIG, &m, fds);
    take_config(bus, &m, fds[0], true);
    fd_closep(&fds[0]);
    log_set_level((enum log_level)bus->config->log_level);
    must_receive(bus, PROTO_SOCKET, &m, fds);
    unix_fd = fds[0];
    if (bus->config->api_listen) {
        must_receive(bus, PROTO_LISTEN, &m, fds);
        tcp_fd = fds[0];
    }
    must_receive(bus, PROTO_TOKENS, &m, fds);
    take_tokens(bus, fds[0]);
    read_boot_id(bus);
    bus->loop = ev_default_loop(0);
    if (!bus->loop || api_start(bus) < 0)
        fail_start(bus, REFUSE_RUN_BUS, "starting the bus",
                   "free memory and descriptors, then start it again",
                   "the event loop or the HTTP server cannot be made: %s", strerror(errno));
    wall_in(bus);
    open_ledger(bus);
    if (api_serve(bus, unix_fd, tcp_fd) < 0)
        fail_start(bus, REFUSE_RUN_BUS, "serving the API", "free memory and descriptors, then start it again",
                   "%s", strerror(errno));
    ev_io_init(&bus->wire_watcher, on_wire, bus->warden.fd, EV_READ);
    bus->wire_watcher.data = bus;
    ev_io_start(bus->loop, &bus->wire_watcher);
    ev_timer_init(&bus->due_timer, on_due, 0.0, 0.0);
    bus->due_timer.data = bus;
    ending_init(bus);
    book_begin(bus);
    struct proto_message ready = {0};
    if (proto_send(&bus->warden, &ready, PROTO_READY, NULL) < 0)
        bus_die("the warden is gone");
#ifdef DUCTILE_BREAKABLE
    if (privs_broken(BREAK_POPBUS))
        popped_bus(bus);
#endif
    dispatch(bus);
    ev_run(bus->loop, 0);
    return EXITCODE_OK;
}

static const struct opt_verb verbs[] = {
    {.name = "serve",
     .args = "",
     .summary = "the gateway's other half; the warden starts it",
     .example = "systemctl start ductile",
     .exits = "70",
     .run = serve},
};

int main(int argc, char **argv)
{
    static const struct opt_program program = {
        .name = "ductile-bus",
        .summary = "queue, ledger, events, pipelines and API of the gateway",
        .detail = "Started by ductile-run as its own user, without capabilities; not for shells.",
        .verbs = verbs,
        .n_verbs = ARRAY_LEN(verbs),
    };
    char *serve_argv[] = {argv[0], (char *)"serve", NULL};

    log_open(program.name, false);
    if (privs_harden() < 0 || sodium_init() < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return EXITCODE_BUG;
    return argc == 1 ? opt_main(&program, 2, serve_argv) : opt_main(&program, argc, argv);
}
