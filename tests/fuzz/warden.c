// links: ductile-run/warden/link.c ductile-run/warden/slot.c
// links: ductile-run/warden/pump.c ductile-run/warden/launch.c ductile-run/warden/core.c

// What the bus says, through the warden's own link.c and slot.c. What lies behind them (attestation, the
// vault, the process) is the harness: it knows by a model of its own which requests may get that far.
#include "../../ductile-run/warden/warden.h"
#include "fuzz.h"
#include "log.h"
#include <sodium.h>

enum { WORKERS = 3, JOBS = 5 };
static const char yaml[] = "service: {max_workers: 3}\n"
                           "accounts: {default: {uid: 7001, gid: 7001}, other: {uid: 7002, gid: 7002}}\n"
                           "limits: {request: 64K}\n"
                           "plugins:\n"
                           "  off: {run_as: default, enabled: false}\n"
                           "  alias: {uses: plain, run_as: other}\n"
                           "  secretive: {run_as: other}\n"
                           "webhooks:\n"
                           "  - {name: signed, secret_ref: key, plugin: plain}\n"
                           "  - {name: keyless, secret_ref: none, plugin: plain}\n";
#define KEY "the-key-that-nobody-else-may-have"
static const char *const names[] = {"plain",  "secretive", "alias",  "off",        "never_locked",
                                    "../etc", "",          "Plain!", "secretive\n"};
static bool may_run(const char *name)
{
    return str_eq(name, "plain") || str_eq(name, "secretive") || str_eq(name, "alias");
}

static struct warden w;
static struct proto_link bus;
static struct lockset lockset;
// The model: what the job of each slot may do next.
static struct {
    bool attesting, answered; // answered: its delivery, while it was asked about
} jobs[WORKERS];
static struct {
    unsigned attested, spawned, refused, killed, yes, no;
} did, want;

// ---- behind link.c and slot.c ---------------------------------------------------------------------------

int64_t warden_now(void)
{
    return 1000;
}

struct lockset *lockset_use(struct lockset *set)
{
    set->users++;
    return set;
}

void lockset_drop(struct lockset *set)
{
    if (set)
        set->users--;
}

const char *breach_of(const struct warden *of, const struct account_config *account)
{
    (void)of;
    (void)account;
    return NULL;
}

// Nothing of a job is left behind here.
bool lost_holds(struct warden *of, const struct account_config *account)
{
    (void)of;
    (void)account;
    return false;
}

void attest_begin(struct warden *of, struct slot *s)
{
    struct stat st;
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;

    MUST_HOLD(s->request.job > 0, "no job has the number 0");
    MUST_HOLD(!of->stopping, "nothing begins while stopping");
    MUST_HOLD(may_run(s->request.plugin), "only a locked, enabled plugin");
    MUST_HOLD(memcmp(s->request.snapshot, of->snapshot, TREE_HASH_LEN) == 0, "only under the running config");
    MUST_HOLD((fcntl(s->body_fd, F_GET_SEALS) & seals) == seals, "the body cannot change");
    MUST_HOLD(fstat(s->body_fd, &st) == 0 && (uint64_t)st.st_size == s->request.body_len &&
                  st.st_size <= 64 << 10,
              "the body is as long as it says, and no longer than allowed");
    MUST_HOLD(s->account && s->account == config_account_of(of->config, s->request.plugin),
              "the account is the config's");
    MUST_HOLD(s->plugin ==
                  lock_find(&lockset.lock, str_eq(s->request.plugin, "alias") ? "plain" : s->request.plugin),
              "the code is the lock's");
    s->phase = PHASE_ATTEST;
    jobs[s->index].attesting = true;
    jobs[s->index].answered = false;
    did.attested++;
}

bool warden_vault_fresh(struct warden *of, struct refusal *refusal)
{
    (void)of;
    (void)refusal;
    return true;
}

int vault_compose(struct vault *vault, const char *principal, char *const *requires, size_t n_requires,
                  bool required, size_t max, int64_t now_ms, struct vault_delivery *ret,
                  char ret_name[static LIMIT_NAME])
{
    static char *granted[] = {(char *)"treasure"};
    (void)vault;
    (void) requires;
    (void)n_requires;
    (void)required;
    (void)max;
    (void)now_ms;
    (void)ret_name;
    if (str_eq(principal, "secretive"))
        *ret = (struct vault_delivery){.names = granted, .n = 1};
    return 0;
}

struct vault_principal *vault_principal(struct vault *vault, const char *name)
{
    (void)vault;
    (void)name;
    return NULL;
}

int64_t vault_now_ms(void)
{
    return 1;
}

void vault_delivery_wipe(struct vault_delivery *delivery)
{
    *delivery = (struct vault_delivery){0};
}

void spawn_plugin(struct warden *of, struct slot *s)
{
    (void)of;
    MUST_HOLD(jobs[s->index].attesting, "no spawn without attested code");
    MUST_HOLD(s->delivery.n == 0 || jobs[s->index].answered,
              "no secret leaves before its delivery is answered");
    jobs[s->index].attesting = false;
    s->phase = PHASE_RUNNING;
    did.spawned++;
}

void reap_kill(struct warden *of, struct slot *s, enum proto_reason reason)
{
    (void)of;
    MUST_HOLD(reason == REASON_CANCELLED || reason == REASON_OUTPUT_LIMIT || reason == REASON_STOPPING,
              "the bus invents no reason");
    jobs[s->index].attesting = false;
    slot_free(s);
    did.killed++;
}

// ---- what the bus says, and what must come of it
// -----------------------------------------------------------

static int make_body(uint8_t flaw, uint64_t *len)
{
    static char zeros[70000];
    int fd = -1;

    *len = 40;
    switch (flaw) {
    case 1: *len = 65536; break;
    case 2: *len = 65537; break;
    case 3: *len = 0; break;
    case 4:
    case 5:
    case 6:
        fd = memfd_create("b", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        MUST_HOLD(write(fd, zeros, 40) == 40, "a body");
        if (flaw > 4)
            fcntl(fd, F_ADD_SEALS, flaw == 5 ? F_SEAL_WRITE : F_SEAL_SHRINK | F_SEAL_GROW);
        return fd;
    case 7: return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 8: return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    default: break;
    }
    return fd_sealed("b", zeros, *len);
}

static struct slot *slot_of(uint64_t job)
{
    for (unsigned i = 0; i < w.n_slots; i++)
        if (w.slots[i].phase != PHASE_FREE && w.slots[i].request.job == job)
            return &w.slots[i];
    return NULL;
}

static bool free_slot(void)
{
    for (unsigned i = 0; i < w.n_slots; i++)
        if (w.slots[i].phase == PHASE_FREE)
            return true;
    return false;
}

static bool word(const char *s)
{
    return str_is_plugin(s);
}

// A request in a message that is itself in order: may it begin?
static bool may_begin(const struct proto_spawn *q, uint8_t flaw, uint64_t real_len)
{
    return !w.stopping && free_slot() && !slot_of(q->job) && q->job != 0 && word(q->command) &&
           may_run(q->plugin) && flaw < 4 && q->body_len == real_len && real_len <= 65536 &&
           memcmp(q->snapshot, w.snapshot, TREE_HASH_LEN) == 0;
}

static struct proto_message spawn_message(struct input *in, uint8_t *ret_flaw, int *ret_body,
                                          uint64_t *ret_len)
{
    struct proto_message m = {0};
    const uint8_t job = take(in), name = take(in), flaw = take(in);

    *ret_body = make_body(flaw & 15, ret_len);
    *ret_flaw = (flaw & 15) > 8 ? 0 : flaw & 15;
    m.SPAWN.job = job % JOBS;
    m.SPAWN.attempt = 1;
    m.SPAWN.body_len = *ret_len + (flaw & 16 ? 1 : 0);
    memcpy(m.SPAWN.snapshot, w.snapshot, TREE_HASH_LEN);
    m.SPAWN.snapshot[TREE_HASH_LEN - 1] ^= flaw & 32 ? 1 : 0;
    snprintf(m.SPAWN.plugin, sizeof(m.SPAWN.plugin), "%s", names[name % ARRAY_LEN(names)]);
    snprintf(m.SPAWN.command, sizeof(m.SPAWN.command), "%s", flaw & 64 ? "a b" : "poll");
    return m;
}

// The signature of a body of zeros.
static void sign(uint64_t len, uint8_t out[static PROTO_MAC_LEN])
{
    static const uint8_t zeros[70000];
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, (const uint8_t *)KEY, strlen(KEY));
    crypto_auth_hmacsha256_update(&state, zeros, len);
    crypto_auth_hmacsha256_final(&state, out);
}

// A question about a signature: right, or wrong in some way.
static struct proto_message verify_message(struct input *in, uint8_t *ret_flaw, int *ret_body,
                                           uint64_t *ret_len)
{
    static const char *const hooks[] = {"signed", "keyless", "", "signe", "signed2", "../signed"};
    struct proto_message m = {0};
    const uint8_t name = take(in), flaw = take(in);

    *ret_body = make_body(flaw & 15, ret_len);
    *ret_flaw = (flaw & 15) > 8 ? 0 : flaw & 15;
    m.VERIFY.id = 100 + name; // no job has that number
    m.VERIFY.body_len = *ret_len + (flaw & 16 ? 1 : 0);
    snprintf(m.VERIFY.webhook, sizeof(m.VERIFY.webhook), "%s", hooks[name % ARRAY_LEN(hooks)]);
    sign(*ret_len, m.VERIFY.mac);
    m.VERIFY.mac[flaw & 64 ? 31 : 0] ^= flaw & 32 ? 1 : 0;
    return m;
}

// Is it right? Of what was sent in the end.
static bool is_right(const struct proto_verify *q, uint8_t flaw, uint64_t len)
{
    uint8_t right[PROTO_MAC_LEN];

    if (!str_eq(q->webhook, "signed") || flaw > 3 || q->body_len != len || len > LIMIT_HOOK_BODY)
        return false;
    sign(len, right);
    return memcmp(q->mac, right, sizeof(right)) == 0;
}

// One message; false at the end of the connection.
static bool say(struct input *in, uint8_t op, struct odd *odd)
{
    static const enum proto_type types[] = {PROTO_SPAWN,  PROTO_KILL,    PROTO_AUDITED, PROTO_READY,
                                            PROTO_FAILED, PROTO_STOPPED, PROTO_VERIFY};
    const enum proto_type type = types[op % ARRAY_LEN(types)];
    struct proto_message m = {0};
    OWNED(fd_closep) int body = -1;
    uint64_t len = 2; // of what odd_send makes where there is no body
    uint8_t flaw = 0, job = 0;

    if (type == PROTO_SPAWN)
        m = spawn_message(in, &flaw, &body, &len);
    else if (type == PROTO_VERIFY)
        m = verify_message(in, &flaw, &body, &len);
    else if (type == PROTO_KILL || type == PROTO_AUDITED) {
        job = take(in) % JOBS;
        m.KILL.job = job;
        if (type == PROTO_KILL)
            m.KILL.reason = take(in);
        else
            m.AUDITED.seq = take(in) % 2;
    } else if (type == PROTO_FAILED)
        m.FAILED.refusal = take(in);
    const enum verdict verdict = odd_send(&bus, &m, type, odd, body);
    const struct slot *s = slot_of(m.KILL.job); // the job stands first in all of them
    int r_want = verdict == GOOD ? 1 : verdict == END ? -ENOTCONN : -EPROTO;
    if (verdict == GOOD && m.type == PROTO_FAILED)
        r_want = m.FAILED.refusal < REFUSE_COUNT_ ? -ECANCELED : -EPROTO;
    // A bus that has ended still has last words, but asks for nothing.
    const bool unheard =
        w.bus_ended && (m.type == PROTO_SPAWN || m.type == PROTO_VERIFY || m.type == PROTO_AUDITED);
    if (unheard && verdict == GOOD)
        return link_receive(&w) == 1;
    if (verdict == GOOD && m.type == PROTO_SPAWN)
        *(may_begin(&m.SPAWN, flaw, len) ? &want.attested : &want.refused) += 1;
    if (verdict == GOOD && m.type == PROTO_VERIFY)
        *(body >= 0 && is_right(&m.VERIFY, flaw, len) ? &want.yes : &want.no) += 1;
    if (verdict == GOOD && m.type == PROTO_KILL && s)
        want.killed++;
    if (verdict == GOOD && m.type == PROTO_AUDITED && s && s->phase == PHASE_AUDIT) {
        *(m.AUDITED.seq ? &want.spawned : &want.refused) += 1;
        jobs[s->index].answered = m.AUDITED.seq != 0;
    }
    int r = link_receive(&w);
    MUST_HOLD(r == r_want, "the answer of link_receive");
    return r == 1;
}

// A number and one bit: whoever asks is not told what would have been right.
static void only_the_answer(const struct proto_message *m)
{
    struct proto_message rest = *m;

    MUST_HOLD(m->VERIFIED.yes <= 1, "yes or no");
    rest.VERIFIED.id = 0;
    rest.VERIFIED.yes = 0;
    for (size_t i = offsetof(struct proto_message, VERIFIED); i < sizeof(rest); i++)
        MUST_HOLD(((const uint8_t *)&rest)[i] == 0, "and nothing else");
}

// What the warden says back must be in order too; REFUSED is counted.
static void hear(void)
{
    struct proto_message m;
    int fds[PROTO_FDS_MAX], r;

    while ((r = proto_recv(&bus, &m, fds)) == 0) {
        did.refused += m.type == PROTO_REFUSED;
        if (m.type == PROTO_VERIFIED) {
            *(m.VERIFIED.yes ? &did.yes : &did.no) += 1;
            only_the_answer(&m);
        }
        for (int i = 0; i < PROTO_FDS_MAX; i++)
            fd_closep(&fds[i]);
    }
    MUST_HOLD(r == -EAGAIN, "the warden speaks in order");
    MUST_HOLD(did.attested == want.attested, "a request begins exactly when all is right");
    MUST_HOLD(did.spawned == want.spawned, "a plugin starts exactly when it may");
    MUST_HOLD(did.refused == want.refused, "whatever does not run is told so, once");
    MUST_HOLD(did.yes == want.yes, "a signature is right exactly when it is");
    MUST_HOLD(did.no == want.no, "and each other is answered no");
    MUST_HOLD(did.killed == want.killed, "a job ends exactly when it is there");
}

static void attested(uint8_t job)
{
    struct slot *s = slot_of(job % JOBS);

    if (!s || s->phase != PHASE_ATTEST)
        return;
    if (!str_eq(s->request.plugin, "secretive"))
        want.spawned++;
    slot_attested(&w, s);
}

// What the gateway itself has: one key.
static struct vault vault_of_core(void)
{
    static struct vault_principal core = {.name = "core", .kind = PRINCIPAL_CORE};
    static struct vault_grant grant = {"core", "key"};
    static struct vault_secret key = {
        .name = "key", .value = {(uint8_t *)KEY, sizeof(KEY) - 1}, .grants = &grant, .n_grants = 1};

    return (struct vault){.principals = &core, .n_principals = 1, .secrets = &key, .n_secrets = 1};
}

static void begin(void)
{
    struct refusal refusal;
    static struct config *config;
    static char text[4096];

    if (!config) { // once; nothing changes it
        struct config_file *files = calloc(1, sizeof(*files));
        files[0] = (struct config_file){strdup("/c.yaml"), strdup(yaml), sizeof(yaml) - 1};
        MUST_HOLD(config_parse(files, 1, &config, &refusal) == 0, refusal.why);
        log_set_level(LOG_LEVEL_COUNT_);
        MUST_HOLD(sodium_init() >= 0 && secret_arena_open(65536) == 0, "an arena");
        static struct lock_plugin plugins[3] = {{.name = (char *)"plain", .source = text, .code = text},
                                                {.name = (char *)"secretive", .source = text, .code = text},
                                                {.name = (char *)"off", .source = text, .code = text}};
        static size_t order[3] = {2, 0, 1}; // off, plain, secretive
        lockset.lock = (struct lock){plugins, 3, order};
    }
    w = (struct warden){.vault_present = true,
                        .vault = vault_of_core(),
                        .config = config,
                        .enforce = true,
                        .lockset = &lockset,
                        .n_slots = WORKERS};
    memset(w.snapshot, 7, sizeof(w.snapshot));
    w.slots = calloc(WORKERS, sizeof(*w.slots));
    for (unsigned i = 0; i < WORKERS; i++) {
        w.slots[i] = (struct slot){
            .index = i, .cgroup_dir = -1, .procs_fd = -1, .events_fd = -1, .body_fd = -1, .stdin_fd = -1};
        slot_free(&w.slots[i]);
    }
    lockset.users = 1;
    memset(jobs, 0, sizeof(jobs));
    memset(&did, 0, sizeof(did));
    want = did;
}

// Ops: 0-5 a message (SPAWN KILL AUDITED READY FAILED STOPPED), 6 a job's code is attested, 7 the gateway
// stops, 8 something odd about the next message, 9 the bus reads, 10 VERIFY, 11 the bus has ended.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct odd odd = {.type = -1};
    int pair[2];
    bool on = true;

    begin();
    const unsigned before = descriptors();
    MUST_HOLD(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "a pair");
    w.bus = (struct proto_link){.fd = pair[0], .me = PROTO_WARDEN};
    bus = (struct proto_link){.fd = pair[1], .me = PROTO_BUS};
    while (on && in.p < in.end) {
        uint8_t op = take(&in) % 12;
        switch (op) {
        case 6: attested(take(&in)); break;
        case 7: w.stopping = true; break;
        case 8: odd_take(&odd, &in); break;
        case 9: break;
        case 11: w.bus_ended = true; break;
        case 10: on = say(&in, 6, &odd); break; // PROTO_VERIFY
        default: on = say(&in, op, &odd); break;
        }
        hear();
    }
    for (unsigned i = 0; i < WORKERS; i++)
        slot_free(&w.slots[i]);
    MUST_HOLD(lockset.users == 1, "no lock is held by a slot that is free");
    free(w.slots);
    close(pair[0]);
    close(pair[1]);
    MUST_HOLD(descriptors() == before, "no descriptor is left");
    MUST_HOLD(secret_in_use() == 0, "no key is left");
    return 0;
}

#define SPAWN(job, name, flaw) 0, job, name, flaw
#define KILL(job, reason)      1, job, reason
#define AUDITED(job, seq)      2, job, seq
#define ATTESTED(job)          6, job
#define VERIFY(name, flaw)     10, name, flaw
#define STOP                   7
#define END_OF_BUS             11
#define ODD(what, value)       8, what, value
#define POKE(at, value)        8, 7, (at) >> 8, (at)&0xff, value
enum { PLAIN, SECRETIVE, ALIAS, OFF, NEVER_LOCKED };
const struct seed seeds[] = {
    SEED("one-job", 3, SPAWN(1, PLAIN, 0), ATTESTED(1), KILL(1, REASON_CANCELLED)),
    SEED("with-a-secret", 3, SPAWN(1, SECRETIVE, 0), ATTESTED(1), AUDITED(1, 1)),
    SEED("not-committed", SPAWN(1, SECRETIVE, 0), ATTESTED(1), AUDITED(1, 0)),
    SEED("answered-too-soon", SPAWN(1, SECRETIVE, 0), AUDITED(1, 1), ATTESTED(1), AUDITED(1, 1)),
    SEED("answered-before", AUDITED(1, 1), SPAWN(1, SECRETIVE, 0), ATTESTED(1)),
    SEED("answered-for-another", SPAWN(1, SECRETIVE, 0), SPAWN(2, SECRETIVE, 0), ATTESTED(1), ATTESTED(2),
         AUDITED(2, 1), AUDITED(2, 1)),
    SEED("answered-twice", SPAWN(1, SECRETIVE, 0), ATTESTED(1), AUDITED(1, 1), AUDITED(1, 1), AUDITED(1, 0)),
    SEED("answered-though-plain", SPAWN(1, PLAIN, 0), AUDITED(1, 1), ATTESTED(1), AUDITED(1, 1)),
    SEED("alias", SPAWN(1, ALIAS, 0), ATTESTED(1)),
    SEED("disabled", SPAWN(1, OFF, 0), ATTESTED(1)),
    SEED("never-locked", SPAWN(1, NEVER_LOCKED, 0), ATTESTED(1)),
    SEED("odd-names", SPAWN(1, 5, 0), SPAWN(1, 6, 0), SPAWN(1, 7, 0), SPAWN(1, 8, 0), SPAWN(1, PLAIN, 64)),
    SEED("job-0", SPAWN(0, PLAIN, 0), ATTESTED(0)),
    SEED("other-config", SPAWN(1, PLAIN, 32), ATTESTED(1)),
    SEED("wrong-length", SPAWN(1, PLAIN, 16), ATTESTED(1)),
    SEED("the-largest", SPAWN(1, PLAIN, 1), ATTESTED(1)),
    SEED("too-large", SPAWN(1, PLAIN, 2), ATTESTED(1)),
    SEED("empty-body", SPAWN(1, PLAIN, 3), ATTESTED(1)),
    SEED("unsealed", SPAWN(1, PLAIN, 4)),
    SEED("half-sealed", SPAWN(1, PLAIN, 5), SPAWN(1, PLAIN, 6)),
    SEED("no-memfd", SPAWN(1, PLAIN, 7), SPAWN(1, PLAIN, 8)),
    SEED("twice", SPAWN(1, PLAIN, 0), SPAWN(1, PLAIN, 0), ATTESTED(1), SPAWN(1, PLAIN, 0)),
    SEED("beyond-workers", SPAWN(1, PLAIN, 0), SPAWN(2, PLAIN, 0), SPAWN(3, PLAIN, 0), SPAWN(4, PLAIN, 0),
         KILL(2, 0), SPAWN(4, PLAIN, 0)),
    SEED("while-stopping", SPAWN(1, PLAIN, 0), STOP, SPAWN(2, PLAIN, 0), ATTESTED(1)),
    SEED("kill-with-any-reason", SPAWN(1, PLAIN, 0), KILL(1, REASON_DROP_FAILED), SPAWN(1, PLAIN, 0),
         KILL(1, 200), KILL(3, 1)),
    SEED("failed", 4, 3),
    SEED("failed-with-no-such-refusal", 4, 255),
    SEED("stopped", 5),
    SEED("signed", VERIFY(0, 0), VERIFY(0, 1), VERIFY(0, 2)),
    SEED("signed-wrong", VERIFY(0, 32), VERIFY(0, 96)),
    SEED("signed-for-another", VERIFY(1, 0), VERIFY(2, 0), VERIFY(3, 0), VERIFY(4, 0), VERIFY(5, 0)),
    SEED("signed-of-another-length", VERIFY(0, 16)),
    SEED("signed-and-empty", VERIFY(0, 3), VERIFY(0, 35)),
    SEED("signed-unsealed", VERIFY(0, 4), VERIFY(0, 5), VERIFY(0, 6), VERIFY(0, 7), VERIFY(0, 8)),
    SEED("signed-without-a-body", ODD(1, 1), VERIFY(0, 0)),
    SEED("signed-while-stopping", STOP, VERIFY(0, 0)),
    SEED("after-its-end", END_OF_BUS, SPAWN(1, PLAIN, 0), VERIFY(0, 0), AUDITED(1, 1), 5),
    SEED("ended-before-its-answer", SPAWN(1, SECRETIVE, 0), ATTESTED(1), END_OF_BUS, AUDITED(1, 1),
         KILL(1, REASON_CANCELLED)),
    SEED("replayed", SPAWN(1, PLAIN, 0), ODD(2, 255), SPAWN(2, PLAIN, 0)),
    SEED("no-body", ODD(1, 1), SPAWN(1, PLAIN, 0)),
    SEED("two-bodies", ODD(1, 3), SPAWN(1, PLAIN, 0)),
    SEED("of-the-warden", ODD(6, PROTO_EXITED), SPAWN(1, PLAIN, 0)),
    SEED("poked", POKE(9, 1), SPAWN(1, PLAIN, 0)),
};
const size_t n_seeds = ARRAY_LEN(seeds);
