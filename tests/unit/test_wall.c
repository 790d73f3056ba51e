// The filters are run here, instruction by instruction, over every system call number and many arguments:
// what the kernel would answer, without needing a kernel that has x32.
#include "config.h"
#include "unit.h"
#include "wall.h"
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define NATIVE  AUDIT_ARCH_X86_64
#define FOREIGN AUDIT_ARCH_I386
#else
#define NATIVE  AUDIT_ARCH_AARCH64
#define FOREIGN AUDIT_ARCH_ARM
#endif
#define ALLOW SECCOMP_RET_ALLOW
#define DENY  (SECCOMP_RET_ERRNO | EPERM)
#define NOSYS (SECCOMP_RET_ERRNO | ENOSYS)

static uint32_t run_filter(const struct wall_filter *f, const struct seccomp_data *data)
{
    uint32_t a = 0;

    for (size_t pc = 0; pc < f->len; pc++) {
        const struct sock_filter *i = &f->code[pc];
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS: memcpy(&a, (const char *)data + i->k, 4); break;
        case BPF_JMP | BPF_JA: pc += i->k; break;
        case BPF_JMP | BPF_JEQ | BPF_K: pc += a == i->k ? i->jt : i->jf; break;
        case BPF_JMP | BPF_JGE | BPF_K: pc += a >= i->k ? i->jt : i->jf; break;
        case BPF_JMP | BPF_JSET | BPF_K: pc += (a & i->k) ? i->jt : i->jf; break;
        case BPF_RET | BPF_K: return i->k;
        default: fail_msg("an instruction that is not ours: %x", i->code);
        }
    }
    fail_msg("the program has no end");
    return 0;
}

static uint32_t call(const struct wall_filter *f, long nr, uint64_t a, uint64_t b, uint64_t c)
{
    const struct seccomp_data data = {.nr = (int)nr, .arch = NATIVE, .args = {a, b, c}};
    return run_filter(f, &data);
}

static const uint32_t uids[] = {993, 994, 1000}, gids[] = {893, 894, 900};
static struct wall_filter filter;

static int setup(void **s)
{
    (void)s;
    return wall_filter_warden(&filter, uids, 3, gids, 3);
}

static void test_wall_filter_warden__listed_ids_pass(void **s)
{
    (void)s;
    assert_int_equal(call(&filter, SYS_setresuid, 993, 994, 1000), ALLOW);
    assert_int_equal(call(&filter, SYS_setresuid, UINT32_MAX, 993, UINT32_MAX), ALLOW);
    assert_int_equal(call(&filter, SYS_setresuid, UINT64_MAX, 993, UINT64_MAX), ALLOW); // -1, sign-extended
    assert_int_equal(call(&filter, SYS_setreuid, 993, 994, 12345), ALLOW); // the third is not an argument
    assert_int_equal(call(&filter, SYS_setuid, 1000, 0, 0), ALLOW);
    assert_int_equal(call(&filter, SYS_setfsuid, UINT32_MAX, 0, 0), ALLOW);
    assert_int_equal(call(&filter, SYS_setresgid, 893, 894, 900), ALLOW);
    assert_int_equal(call(&filter, SYS_setgid, 900, 0, 0), ALLOW);
}

static void test_wall_filter_warden__others_do_not(void **s)
{
    static const uint64_t bad[] = {
        0, 1, 992, 995, 65534, 893, UINT64_C(1) << 32, 993 | UINT64_C(1) << 31, UINT32_MAX - 1};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(call(&filter, SYS_setresuid, bad[i], 993, 993), DENY);
        assert_int_equal(call(&filter, SYS_setresuid, 993, bad[i], 993), DENY);
        assert_int_equal(call(&filter, SYS_setresuid, 993, 993, bad[i]), DENY);
        assert_int_equal(call(&filter, SYS_setreuid, bad[i], 993, 0), DENY);
        assert_int_equal(call(&filter, SYS_setreuid, 993, bad[i], 0), DENY);
        assert_int_equal(call(&filter, SYS_setuid, bad[i], 0, 0), DENY);
        assert_int_equal(call(&filter, SYS_setfsuid, bad[i], 0, 0), DENY);
    }
    assert_int_equal(call(&filter, SYS_setgid, 993, 0, 0), DENY); // a uid is not a gid
    assert_int_equal(call(&filter, SYS_setresgid, 893, 894, 0), DENY);
    assert_int_equal(call(&filter, SYS_setfsgid, 0, 0, 0), DENY);
}

// The kernel uses 32 bits: an id plus 2^32 is that id. It must be judged as such: 0 plus 2^32 is root.
static void test_wall_filter_warden__ids_plus_2_to_the_32(void **s)
{
    (void)s;
    assert_int_equal(call(&filter, SYS_setuid, UINT64_C(1) << 32, 0, 0), DENY);
    assert_int_equal(call(&filter, SYS_setresuid, UINT64_C(1) << 32, UINT64_C(1) << 32, UINT64_C(1) << 32),
                     DENY);
    assert_int_equal(call(&filter, SYS_setuid, 993 + (UINT64_C(1) << 32), 0, 0), ALLOW);
}

static void test_wall_filter_warden__groups(void **s)
{
    (void)s;
    assert_int_equal(call(&filter, SYS_setgroups, 0, 0, 0), ALLOW);
    assert_int_equal(call(&filter, SYS_setgroups, 1, 0, 0), DENY);
    assert_int_equal(call(&filter, SYS_setgroups, UINT32_MAX, 0, 0), DENY);
}

static void test_wall_filter_warden__namespaces(void **s)
{
    static const uint64_t flags[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
                                     CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        assert_int_equal(call(&filter, SYS_unshare, flags[i], 0, 0), DENY);
        assert_int_equal(call(&filter, SYS_unshare, flags[i] | CLONE_FS, 0, 0), DENY);
        assert_int_equal(call(&filter, SYS_clone, flags[i] | 17, 0, 0), DENY);
    }
    assert_int_equal(call(&filter, SYS_unshare, 0x80 /* CLONE_NEWTIME */, 0, 0), DENY);
    assert_int_equal(call(&filter, SYS_unshare, CLONE_FS | CLONE_FILES, 0, 0), ALLOW);
    assert_int_equal(
        call(&filter, SYS_clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, 0, 0),
        ALLOW);
    assert_int_equal(call(&filter, SYS_clone, 17, 0, 0), ALLOW);
    assert_int_equal(call(&filter, SYS_setns, 3, 0, 0), DENY);
    assert_int_equal(call(&filter, SYS_clone3, 0, 0, 0), NOSYS); // EPERM would kill every pthread_create
}

static void test_wall_filter_warden__everything_else_passes(void **s)
{
    static const long handled[] = {SYS_setresuid, SYS_setreuid, SYS_setuid,   SYS_setfsuid,  SYS_setresgid,
                                   SYS_setregid,  SYS_setgid,   SYS_setfsgid, SYS_setgroups, SYS_unshare,
                                   SYS_clone,     SYS_clone3,   SYS_setns};
    (void)s;
    for (long nr = 0; nr < 600; nr++) {
        bool special = false;
        for (size_t i = 0; i < ARRAY_LEN(handled); i++)
            special |= handled[i] == nr;
        if (!special)
            assert_int_equal(call(&filter, nr, 0, 0, 0), ALLOW);
    }
}

static void test_wall_filter_warden__foreign_abis(void **s)
{
    (void)s;
    for (int nr = 0; nr < 600; nr++) {
        const struct seccomp_data foreign = {.nr = nr, .arch = FOREIGN, .args = {993, 993, 993}};
        assert_int_equal(run_filter(&filter, &foreign), NOSYS);
#if defined(__x86_64__)
        const struct seccomp_data x32 = {.nr = nr | 0x40000000, .arch = NATIVE, .args = {993, 993, 993}};
        assert_int_equal(run_filter(&filter, &x32), NOSYS);
#endif
    }
    const struct seccomp_data negative = {.nr = -1, .arch = NATIVE};
    assert_int_not_equal(run_filter(&filter, &negative), 0xdead);
}

static void test_wall_filter_warden__many_accounts(void **s)
{
    static uint32_t many[700];
    static struct wall_filter f;
    (void)s;
    for (uint32_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = 100000 + 7 * i;
    assert_int_equal(wall_filter_warden(&f, many, LIMIT_ACCOUNTS + 1, many, LIMIT_ACCOUNTS + 1), 0);
    for (uint32_t i = 0; i <= LIMIT_ACCOUNTS; i++) {
        assert_int_equal(call(&f, SYS_setresuid, many[i], many[LIMIT_ACCOUNTS - i], many[i]), ALLOW);
        assert_int_equal(call(&f, SYS_setresuid, many[i], many[i] + 1, many[i]), DENY);
    }
    assert_int_equal(wall_filter_warden(&f, many, ARRAY_LEN(many), many, 1),
                     -E2BIG); // refused, never cut short
}

static const long bus_calls[] = {
#define CALL(name)                  SYS_##name,
#define NEVER(name, argument, mask) SYS_##name,
#include "buscall.def"
#undef CALL
#undef NEVER
};

static void test_wall_filter_bus__what_is_no_row_does_not_exist(void **s)
{
    static struct wall_filter f;
    static const long examples[] = {SYS_execve,
                                    SYS_execveat,
                                    SYS_ptrace,
                                    SYS_setuid,
                                    SYS_setresuid,
                                    SYS_setgroups,
                                    SYS_socket,
                                    SYS_socketpair,
                                    SYS_connect,
                                    SYS_bind,
                                    SYS_pidfd_getfd,
                                    SYS_keyctl,
                                    SYS_process_vm_readv,
                                    SYS_setns,
                                    SYS_unshare,
                                    SYS_clone,
                                    SYS_clone3,
                                    SYS_io_uring_setup,
                                    SYS_bpf,
                                    SYS_perf_event_open,
                                    SYS_userfaultfd,
                                    SYS_mount,
                                    SYS_finit_module,
                                    SYS_prctl,
                                    SYS_ioctl,
                                    SYS_kill,
                                    SYS_pidfd_open,
                                    SYS_pidfd_send_signal,
                                    SYS_sendmmsg,
                                    SYS_prlimit64};
    (void)s;
    assert_int_equal(wall_filter_bus(&f), 0);
    for (size_t i = 0; i < ARRAY_LEN(examples); i++)
        assert_int_equal(call(&f, examples[i], 0, 0, 0), NOSYS);
    for (long nr = -1; nr < 600; nr++) {
        bool row = false;
        for (size_t i = 0; i < ARRAY_LEN(bus_calls); i++)
            row |= bus_calls[i] == nr;
        assert_int_equal(call(&f, nr, 0, 0, 0), row ? ALLOW : NOSYS);
    }
}

static void test_wall_filter_bus__no_memory_becomes_code(void **s)
{
    static struct wall_filter f;
    (void)s;
    assert_int_equal(wall_filter_bus(&f), 0);
    assert_int_equal(call(&f, SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE), ALLOW);
    assert_int_equal(call(&f, SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC), DENY);
    assert_int_equal(call(&f, SYS_mprotect, 0, 4096, PROT_EXEC), DENY);
    assert_int_equal(call(&f, SYS_mprotect, 0, 4096, PROT_EXEC | UINT64_C(1) << 32), DENY);
    assert_int_equal(call(&f, SYS_mprotect, 0, 4096, PROT_READ), ALLOW);
}

// An address is a pointer: one with an empty low word is an address too.
static void test_wall_filter_bus__sendto_knows_no_address(void **s)
{
    static struct wall_filter f;
    static const uint64_t addresses[] = {1, 0x7ffe12345678, UINT64_C(0x7f) << 32, UINT64_C(1) << 63};
    (void)s;
    assert_int_equal(wall_filter_bus(&f), 0);
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        const struct seccomp_data data = {
            .nr = SYS_sendto, .arch = NATIVE, .args = {3, 0, 0, 0, addresses[i], 0}};
        assert_int_equal(run_filter(&f, &data), DENY);
    }
    const struct seccomp_data plain = {.nr = SYS_sendto, .arch = NATIVE, .args = {3, 0, 0, 0, 0, 16}};
    assert_int_equal(run_filter(&f, &plain), ALLOW);
}

static void test_wall_filter_bus__foreign_abis(void **s)
{
    static struct wall_filter f;
    (void)s;
    assert_int_equal(wall_filter_bus(&f), 0);
    for (int nr = 0; nr < 600; nr++) {
        const struct seccomp_data foreign = {.nr = nr, .arch = FOREIGN};
        assert_int_equal(run_filter(&f, &foreign), NOSYS);
    }
}

// The same filter in the kernel: what the interpreter above says is what happens.
static int under_real_filter(void *arg)
{
    (void)arg;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || wall_filter_load(&filter) < 0)
        return 1;
    if (syscall(SYS_setresuid, 0, 0, 0) != -1 || errno != EPERM) // even where it would change nothing
        return 2;
    if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS)
        return 3;
    if (unshare(CLONE_NEWUSER) != -1 || errno != EPERM)
        return 4;
    if (unshare(CLONE_FS) < 0)
        return 5;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 6;
}

static void test_wall_filter_load__in_the_kernel(void **s)
{
    (void)s;
    assert_int_equal(in_child(under_real_filter, NULL), 0);
}

// ---- Landlock -----------------------------------------------------------------------------------

struct landlocked {
    struct account_config account;
    const char *state, *other;
    uint32_t layers;
};

static struct account_config account_of(enum landlock_level level, const char *state)
{
    return (struct account_config){.name = "a", .landlock = level, .state_dir = state};
}

static int try_writing(void *arg)
{
    struct landlocked *l = arg;
    char inside[512], outside[512], moved[512];
    const char *code[] = {l->other};
    int fd = wall_landlock_build(&l->account, code, 1, &l->layers);
    bool writes = l->account.landlock != LANDLOCK_SCOPE, reads = l->account.landlock == LANDLOCK_STRICT;
    char unlisted[512], listed[512];

    if (fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || wall_landlock_enter(fd) < 0)
        return 1;
    snprintf(inside, sizeof(inside), "%s/f", l->state);
    snprintf(moved, sizeof(moved), "%s/d/f", l->state);
    snprintf(outside, sizeof(outside), "%s/f", l->other);
    OWNED(fd_closep) int in = open(inside, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    OWNED(fd_closep) int null = open("/dev/null", O_WRONLY | O_TRUNC);
    if (in < 0 || null < 0)
        return 2;
    char directory[512];
    snprintf(directory, sizeof(directory), "%s/d", l->state);
    if (mkdir(directory, 0700) < 0 || rename(inside, moved) < 0) // across directories: needs REFER
        return 3;
    OWNED(fd_closep) int out = open(outside, O_CREAT | O_WRONLY, 0600);
    if (writes ? out >= 0 || errno != EACCES : out < 0)
        return 4;
    OWNED(fd_closep) int read_only = open("/etc/passwd", O_RDONLY);
    if (read_only < 0)
        return 5;
    // strict: its code may be read; what stands beside it may not
    snprintf(listed, sizeof(listed), "%s/code", l->other);
    snprintf(unlisted, sizeof(unlisted), "%s/../secret", l->other);
    OWNED(fd_closep) int code_fd = open(listed, O_RDONLY);
    if (code_fd < 0)
        return 6;
    OWNED(fd_closep) int secret = open(unlisted, O_RDONLY);
    if (reads ? secret >= 0 || errno != EACCES : secret < 0)
        return 7;
    return 0;
}

static void landlock_level(enum landlock_level level, int abi)
{
    // Not below /tmp, which the level grants.
    char *base = strdup("/var/tmp/ductile-unit.XXXXXX"), state[512], other[512];
    assert_non_null(mkdtemp(base));
    snprintf(state, sizeof(state), "%s/state", base);
    snprintf(other, sizeof(other), "%s/other", base);
    assert_int_equal(mkdir(state, 0700) | mkdir(other, 0700), 0);
    char file[600];
    snprintf(file, sizeof(file), "%s/code", other);
    put(file, "code");
    snprintf(file, sizeof(file), "%s/secret", base);
    put(file, "secret");
    struct landlocked l = {account_of(level, state), state, other, 0};
    wall_landlock_cap(abi);
    int r = in_child(try_writing, &l);
    uint32_t layers = 0;
    int fd = wall_landlock_build(&l.account, NULL, 0, &layers);
    assert_true(fd >= 0);
    close(fd);
    wall_landlock_cap(1 << 20);
    scratch_remove(base);
    assert_int_equal(r, 0);
    assert_true(layers & LAYER_BIT(LANDLOCK_DOMAIN));
    assert_int_equal((layers & LAYER_BIT(LANDLOCK_WRITE)) != 0, level != LANDLOCK_SCOPE);
    assert_int_equal((layers & LAYER_BIT(LANDLOCK_READ)) != 0, level == LANDLOCK_STRICT);
    if (abi < 6)
        assert_int_equal(layers & LAYER_BIT(LANDLOCK_SIGNAL), 0);
}

static void test_wall_landlock_build__every_level_and_abi(void **s)
{
    static const int abis[] = {2, 3, 4, 5, 6, 1 << 20};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(abis); i++) {
        landlock_level(LANDLOCK_WRITE, abis[i]);
        landlock_level(LANDLOCK_SCOPE, abis[i]);
        landlock_level(LANDLOCK_STRICT, abis[i]);
    }
}

// network: none - by the filter, and TCP once more by Landlock where it can.
static int families(void *arg)
{
    const bool walled = arg != NULL;
    struct account_config a = account_of(LANDLOCK_WRITE, "/var/tmp");
    a.network = NETWORK_NONE;
    const struct sock_fprog *program = wall_filter_of(&a);
    if (!program || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return 1;
    if (walled && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) < 0)
        return 2;
    static const int others[] = {AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        OWNED(fd_closep) int fd = socket(others[i], i == 3 ? SOCK_RAW : SOCK_DGRAM, 0);
        if (walled ? fd >= 0 || errno != EACCES : fd < 0 && errno == EACCES)
            return 3 + (int)i;
    }
    int pair[2];
    OWNED(fd_closep) int local = socket(AF_UNIX, SOCK_STREAM, 0);
    if (local < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 10;
    return walled && (syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != ENOSYS) ? 11 : 0;
}

static void test_wall_filter_no_network__families(void **s)
{
    static char yes;
    (void)s;
    assert_int_equal(in_child(families, &yes), 0);
    assert_int_equal(in_child(families, NULL), 0); // control
    const struct account_config full = account_of(LANDLOCK_WRITE, "/var/tmp");
    assert_null(wall_filter_of(&full));
}

// egress: only sockets that the rules can tell by uid.
static int seen_sockets(void *arg)
{
    const bool walled = arg != NULL;
    static const struct {
        int family, type, protocol, refused; // with what errno; 0: it is made
    } cases[] = {
        {AF_INET, SOCK_STREAM, 0, 0},
        {AF_INET6, SOCK_DGRAM, 0, 0},
        {AF_UNIX, SOCK_STREAM, 0, 0},
        {AF_NETLINK, SOCK_RAW, 0, 0},
        {AF_VSOCK, SOCK_STREAM, 0, EACCES},
        {43 /* SMC */, SOCK_STREAM, 0, EACCES},
        {AF_RXRPC, SOCK_DGRAM, 2, EACCES},
        {AF_PACKET, SOCK_RAW, 0, EACCES},
        {AF_INET, SOCK_STREAM, 262, EPROTONOSUPPORT},
        {AF_INET, SOCK_STREAM, 256, EPROTONOSUPPORT},
    };
    const char *list[1];
    struct account_config a = account_of(LANDLOCK_WRITE, "/var/tmp");
    a.egress = (struct strs){list, 0};
    const struct sock_fprog *program = wall_filter_of(&a);
    if (!program || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return 1;
    if (walled && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) < 0)
        return 2;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        errno = 0;
        OWNED(fd_closep) int fd = socket(cases[i].family, cases[i].type, cases[i].protocol);
        if (cases[i].refused ? walled && (fd >= 0 || errno != cases[i].refused) : fd < 0)
            return 10 + (int)i;
        if (cases[i].family == AF_VSOCK && !walled && fd < 0 && errno == EACCES)
            return 3; // control: it is not refused anyway
    }
    return walled && (syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != ENOSYS) ? 4 : 0;
}

static void test_wall_filter_egress__sockets_that_rules_see(void **s)
{
    static char yes;
    (void)s;
    assert_int_equal(in_child(seen_sockets, &yes), 0);
    assert_int_equal(in_child(seen_sockets, NULL), 0); // control
    const struct account_config open = account_of(LANDLOCK_WRITE, "/var/tmp");
    assert_null(wall_filter_of(&open));
}

static int dials(void *arg)
{
    struct account_config a = account_of(LANDLOCK_WRITE, "/var/tmp");
    uint32_t layers;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    a.network = arg ? NETWORK_NONE : NETWORK_FULL;
    int fd = wall_landlock_build(&a, NULL, 0, &layers);
    if (fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || wall_landlock_enter(fd) < 0)
        return 1;
    OWNED(fd_closep) int tcp = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (tcp < 0 || connect(tcp, (struct sockaddr *)&to, sizeof(to)) == 0)
        return 2;
    return errno == EACCES ? 0 : 3;
}

static void test_wall_landlock_build__tcp(void **s)
{
    static char yes;
    (void)s;
    if (wall_landlock_abi() < 4) { // absent here, and the record says so
        uint32_t layers = 0;
        struct account_config a = account_of(LANDLOCK_WRITE, "/var/tmp");
        a.network = NETWORK_NONE;
        int fd = wall_landlock_build(&a, NULL, 0, &layers);
        close(fd);
        assert_int_equal(layers & LAYER_BIT(LANDLOCK_TCP), 0);
        return;
    }
    assert_int_equal(in_child(dials, &yes), 0);
    assert_int_equal(in_child(dials, NULL), 3); // control: another errno
}

static void test_wall_landlock_build__too_old(void **s)
{
    uint32_t layers;
    (void)s;
    wall_landlock_cap(1);
    const struct account_config a = account_of(LANDLOCK_WRITE, "/var/tmp");
    assert_int_equal(wall_landlock_build(&a, NULL, 0, &layers), -ENOSYS);
    wall_landlock_cap(1 << 20);
}

static int bus_in_its_domain(void *arg)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/f", (char *)arg);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || wall_landlock_bus(arg) < 0)
        return 1;
    OWNED(fd_closep) int in = open(path, O_CREAT | O_RDWR, 0600);
    if (in < 0)
        return 2;
    if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
        return 3;
    if (open("/proc/self/status", O_RDONLY) >= 0 || errno != EACCES)
        return 4;
    return 0;
}

static void test_wall_landlock_bus__one_directory(void **s)
{
    char *dir = scratch_make();
    (void)s;
    assert_int_equal(in_child(bus_in_its_domain, dir), 0);
    scratch_remove(dir);
}

static void test_wall_layers_text__names(void **s)
{
    char buf[64], small[6];
    (void)s;
    assert_string_equal(wall_layers_text(LAYER_BIT(CAPS) | LAYER_BIT(CGROUP), buf, sizeof(buf)),
                        "caps,cgroup");
    assert_string_equal(wall_layers_text(0, buf, sizeof(buf)), "");
    assert_true(strlen(wall_layers_text(~0u, small, sizeof(small))) < sizeof(small));
}

#define L(name) cmocka_unit_test_setup(test_##name, setup)
RUN(L(wall_filter_warden__listed_ids_pass), L(wall_filter_warden__others_do_not),
    L(wall_filter_warden__ids_plus_2_to_the_32), L(wall_filter_warden__groups),
    L(wall_filter_warden__namespaces), L(wall_filter_warden__everything_else_passes),
    L(wall_filter_warden__foreign_abis), T(wall_filter_warden__many_accounts),
    T(wall_filter_bus__what_is_no_row_does_not_exist), T(wall_filter_bus__no_memory_becomes_code),
    T(wall_filter_bus__sendto_knows_no_address), T(wall_filter_bus__foreign_abis),
    L(wall_filter_load__in_the_kernel), T(wall_landlock_build__every_level_and_abi),
    T(wall_landlock_build__tcp), T(wall_filter_no_network__families),
    T(wall_filter_egress__sockets_that_rules_see), T(wall_landlock_build__too_old),
    T(wall_landlock_bus__one_directory), T(wall_layers_text__names))
