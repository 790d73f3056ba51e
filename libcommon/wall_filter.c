// The seccomp filters, as classic BPF. Rules of the house:
// - Allow form for ids: what is not listed is refused. A deny rule on "argument == 0" was climbed with
//   1 << 32, because a filter sees 64 bits and the kernel uses 32. Only the low word is compared here, as the
//   kernel does.
// - clone3 answers ENOSYS, not EPERM: libc then falls back to clone, whose flags a filter can see. EPERM
//   kills every thread library.
// - A number of a foreign ABI (int 0x80, x32) answers ENOSYS: the native numbers below mean other calls.
#include "egress.h"
#include "privs.h"
#include "wall.h"
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low word of an argument comes first");

#define NEW_NAMESPACES                                                                                       \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |            \
     CLONE_NEWNET | 0x00000080u /* CLONE_NEWTIME, for unshare; in clone it is part of the exit signal */)
#define X32_BIT 0x40000000u
#define DENY    (SECCOMP_RET_ERRNO | EPERM)
#define ABSENT  (SECCOMP_RET_ERRNO | ENOSYS)
#define NOBODY  0xffffffffu // -1: "leave this id"

static void emit(struct wall_filter *f, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
    if (f->len == BPF_MAXINSNS) {
        f->overflow = true;
        return;
    }
    f->code[f->len++] = (struct sock_filter){code, jt, jf, k};
}

static void load(struct wall_filter *f, size_t offset)
{
    emit(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void ret(struct wall_filter *f, uint32_t action)
{
    emit(f, BPF_RET | BPF_K, action, 0, 0);
}

static void load_argument(struct wall_filter *f, unsigned i)
{
    load(f, offsetof(struct seccomp_data, args) + i * sizeof(uint64_t));
}

// The accumulator holds the syscall number: if it is nr, answer action.
static void on_call(struct wall_filter *f, long nr, uint32_t action)
{
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1);
    ret(f, action);
}

// If the number is nr: answer DENY where the low word of an argument has any bit of mask, else allow.
static void on_call_with_bits(struct wall_filter *f, long nr, unsigned argument, uint32_t mask)
{
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 4);
    load_argument(f, argument);
    emit(f, BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1);
    ret(f, DENY);
    ret(f, SECCOMP_RET_ALLOW);
}

static void begin(struct wall_filter *f)
{
    f->len = 0;
    f->overflow = false;
    load(f, offsetof(struct seccomp_data, arch));
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    ret(f, ABSENT);
    load(f, offsetof(struct seccomp_data, nr));
#if defined(__x86_64__)
    emit(f, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1); // x32 shares the architecture word
    ret(f, ABSENT);
#endif
}

static void no_namespaces(struct wall_filter *f)
{
    on_call(f, SYS_clone3, ABSENT);
    on_call(f, SYS_setns, DENY);
    on_call_with_bits(f, SYS_unshare, 0, NEW_NAMESPACES);
    // CLONE_PARENT would make us the parent of processes that nobody asked for: zombies that outlive their
    // job.
    on_call_with_bits(f, SYS_clone, 0, (NEW_NAMESPACES & ~0x80u) | CLONE_PARENT);
}

// A chain of checks, the last argument first, so that a call with fewer arguments enters further down:
// setresuid at [2], setreuid at [1], setuid and setfsuid at [0]. Returns where each begins.
static void id_chain(struct wall_filter *f, const uint32_t *ids, size_t n, unsigned short entry[3])
{
    for (int argument = 2; argument >= 0; argument--) {
        // Two instructions per id: a conditional jump reaches 255 instructions, an unconditional one any.
        unsigned after = 1 + 2 * ((unsigned)n + 1) + 1;
        entry[argument] = f->len;
        load_argument(f, (unsigned)argument);
        for (size_t i = 0; i <= n; i++) {
            emit(f, BPF_JMP | BPF_JEQ | BPF_K, i < n ? ids[i] : NOBODY, 0, 1);
            unsigned here = f->len - entry[argument];
            emit(f, BPF_JMP | BPF_JA, after - here - 1, 0, 0);
        }
        ret(f, DENY);
    }
    ret(f, SECCOMP_RET_ALLOW);
}

struct id_call {
    long nr;
    int arguments;
    bool gid;
};
static const struct id_call id_calls[] = {
    {SYS_setresuid, 3, false}, {SYS_setreuid, 2, false}, {SYS_setuid, 1, false}, {SYS_setfsuid, 1, false},
    {SYS_setresgid, 3, true},  {SYS_setregid, 2, true},  {SYS_setgid, 1, true},  {SYS_setfsgid, 1, true},
};

int wall_filter_warden(struct wall_filter *f, const uint32_t *uids, size_t n_uids, const uint32_t *gids,
                       size_t n_gids)
{
    unsigned short jumps[ARRAY_LEN(id_calls)], uid_entry[3], gid_entry[3];

    begin(f);
    no_namespaces(f);
    on_call_with_bits(f, SYS_setgroups, 0, ~0u); // any count but 0
    for (size_t i = 0; i < ARRAY_LEN(id_calls); i++) {
        emit(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)id_calls[i].nr, 0, 1);
        jumps[i] = f->len;
        emit(f, BPF_JMP | BPF_JA, 0, 0, 0); // patched below
    }
    ret(f, SECCOMP_RET_ALLOW);
    id_chain(f, uids, n_uids, uid_entry);
    id_chain(f, gids, n_gids, gid_entry);
    if (f->overflow)
        return -E2BIG;
    for (size_t i = 0; i < ARRAY_LEN(id_calls); i++) {
        const unsigned short *entry = id_calls[i].gid ? gid_entry : uid_entry;
        f->code[jumps[i]].k = (uint32_t)(entry[id_calls[i].arguments - 1] - jumps[i] - 1);
    }
    return 0;
}

int wall_filter_config(struct wall_filter *f, const struct config *config)
{
    uint32_t uids[LIMIT_ACCOUNTS + 1], gids[LIMIT_ACCOUNTS + 1];
    size_t n = 0;

    for (; n < config->accounts.n; n++) {
        uids[n] = (uint32_t)config->accounts.list[n].uid;
        gids[n] = (uint32_t)config->accounts.list[n].gid;
    }
    uids[n] = (uint32_t)config->bus_uid;
    gids[n++] = (uint32_t)config->bus_gid;
    return wall_filter_warden(f, uids, n, gids, n);
}

// If the number is nr: allow where no bit of mask is set in the argument, all 64 of it: a pointer may have an
// empty low word.
static void allow_without_bits(struct wall_filter *f, long nr, unsigned argument, uint64_t mask)
{
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 6);
    load_argument(f, argument);
    emit(f, BPF_JMP | BPF_JSET | BPF_K, (uint32_t)mask, 2, 0);
    load(f, offsetof(struct seccomp_data, args) + argument * sizeof(uint64_t) + sizeof(uint32_t));
    emit(f, BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(mask >> 32), 0, 1);
    ret(f, DENY);
    ret(f, SECCOMP_RET_ALLOW);
}

#define ANY_BIT UINT64_MAX

int wall_filter_bus(struct wall_filter *f)
{
    static const struct {
        long nr;
        unsigned argument;
        uint64_t never; // bits that the argument may not have
    } calls[] = {
#define CALL(name)                  {SYS_##name, 0, 0},
#define NEVER(name, argument, mask) {SYS_##name, argument, mask},
#include "buscall.def"
#undef CALL
#undef NEVER
    };

    begin(f);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        if (calls[i].never)
            allow_without_bits(f, calls[i].nr, calls[i].argument, calls[i].never);
        else
            on_call(f, calls[i].nr, SECCOMP_RET_ALLOW);
    ret(f, ABSENT);
    return f->overflow ? -E2BIG : 0;
}

int wall_filter_no_network(struct wall_filter *f)
{
    begin(f);
    on_call(f, SYS_io_uring_setup, ABSENT);
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 4);
    load_argument(f, 0);
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 1, 0);
    ret(f, SECCOMP_RET_ERRNO | EACCES);
    ret(f, SECCOMP_RET_ALLOW);
    ret(f, SECCOMP_RET_ALLOW);
    return f->overflow ? -E2BIG : 0;
}

int wall_filter_egress(struct wall_filter *f)
{
    static const uint32_t families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

    begin(f);
    on_call(f, SYS_io_uring_setup, ABSENT);
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0);
    ret(f, SECCOMP_RET_ALLOW);
    load_argument(f, 0);
    for (unsigned i = 0; i < ARRAY_LEN(families); i++)
        emit(f, BPF_JMP | BPF_JEQ | BPF_K, families[i], (uint8_t)(ARRAY_LEN(families) - i), 0);
    ret(f, SECCOMP_RET_ERRNO | EACCES);
    load_argument(f, 2);
    // 256 is SMC, 262 MPTCP: beyond what an IP header can name. Callers fall back to TCP on this errno.
    emit(f, BPF_JMP | BPF_JGE | BPF_K, 256, 0, 1);
    ret(f, SECCOMP_RET_ERRNO | EPROTONOSUPPORT);
    ret(f, SECCOMP_RET_ALLOW);
    return f->overflow ? -E2BIG : 0;
}

const struct sock_fprog *wall_filter_of(const struct account_config *account)
{
    static struct wall_filter filters[2];
    static struct sock_fprog programs[2];
    bool none = account->network == NETWORK_NONE;

    if (!none && !egress_has(account))
        return NULL;
    struct wall_filter *filter = &filters[none];
    struct sock_fprog *program = &programs[none];
    if (!program->filter && (none ? wall_filter_no_network(filter) : wall_filter_egress(filter)) == 0)
        *program = (struct sock_fprog){filter->len, filter->code};
    return program; // empty where it could not be built, which the kernel refuses: then nothing runs
}

int wall_filter_load(const struct wall_filter *f)
{
    const struct sock_fprog program = {f->len, (struct sock_filter *)f->code};

    if (privs_broken(BREAK_NOFILTER))
        return 0;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0u, &program) < 0 ? err_last() : 0;
}
