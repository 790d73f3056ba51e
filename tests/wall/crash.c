// crash [-c] [-e EVERY] [-i STDIN] [-1 K] -m MARKER -d DIR... [-x DIR...] -k KEY -v VAULT -n NEXT --
// PROGRAM...
//
// Runs PROGRAM once in peace, then again for every system call it makes (every EVERYth), and lets that call
// fail with EIO, ENOSPC, EINTR, write only half, or be the last before SIGKILL. Each time the directories DIR
// are put back first, and afterwards this must hold:
//   - KEY opens VAULT (asked of the age tool), to what was before or what is afterwards in peace; a run that
//     said 0 has made the change;
//   - no file of DIR and -x, and no write to a file on the way, held MARKER;
//   - the next run (the shell command NEXT) succeeds, and leaves nothing but what belongs there.
// In peace, a file is fsynced before it is renamed, and a directory after.
// -c: it is the calls of the child that PROGRAM forks. What is in order when is then SQLite's too, and not
// judged. -1 K: only kill PROGRAM after its Kth change of a directory, and leave things so.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_DIRS = 8, MAX_FILES = 64, MAX_TEXT = 1 << 20 };
enum fault { NONE, FAIL_EIO, FAIL_ENOSPC, FAIL_EINTR, HALF, KILL, FAULTS };
static const char *const fault_names[] = {"none", "EIO", "ENOSPC", "EINTR", "short write", "SIGKILL"};
static const int fault_errors[] = {0, EIO, ENOSPC, EINTR, 0, 0};

static const char *dirs[MAX_DIRS], *extra[MAX_DIRS], *marker, *key, *vault, *next, *input;
static int n_dirs, n_extra;
static bool of_child;
static char **program;

static void die(const char *what)
{
    fprintf(stderr, "crash: %s: %s\n", what, strerror(errno));
    exit(70);
}

// ---- the state ----------------------------------------------------------------------------------

static struct file {
    char path[512];
    struct stat st;
    char *data;
} files[MAX_FILES];
static int n_files;

static void each_entry(const char *dir, void (*fn)(const char *path))
{
    DIR *d = opendir(dir);
    char path[512];

    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_type == DT_REG) {
            snprintf(path, sizeof(path), "%s/%.255s", dir, e->d_name);
            fn(path);
        }
    if (d)
        closedir(d);
}

static void keep(const char *path)
{
    struct file *f = &files[n_files++];
    int fd = open(path, O_RDONLY);

    if (n_files > MAX_FILES || fd < 0 || fstat(fd, &f->st) < 0)
        die(path);
    snprintf(f->path, sizeof(f->path), "%s", path);
    f->data = malloc((size_t)f->st.st_size + 1);
    if (!f->data || read(fd, f->data, (size_t)f->st.st_size) != f->st.st_size)
        die(path);
    close(fd);
}

static void drop(const char *path)
{
    unlink(path);
}

static void restore(void)
{
    for (int i = 0; i < n_dirs; i++)
        each_entry(dirs[i], drop);
    for (int i = 0; i < n_files; i++) {
        const struct file *f = &files[i];
        int fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (fd < 0 || write(fd, f->data, (size_t)f->st.st_size) != f->st.st_size ||
            fchown(fd, f->st.st_uid, f->st.st_gid) < 0 || fchmod(fd, f->st.st_mode & 07777) < 0)
            die(f->path);
        close(fd);
    }
}

// What may differ between two runs that did the same: times, the generation, the id of a new vault.
static void normalise(char *s)
{
    static const char *const words[] = {"\"generation\":", "_ms\":", "\"vault_id\":\""};

    for (size_t i = 0; i < 3; i++)
        for (char *p = s; (p = strstr(p, words[i]));) {
            p += strlen(words[i]);
            size_t n = strspn(p, "0123456789abcdef");
            memmove(p, p + n, strlen(p + n) + 1);
        }
}

// The vault's text by the age tool: "" where there is neither vault nor a half of one; NULL where it does not
// open.
static char *open_vault(void)
{
    char command[1200], *text = calloc(1, MAX_TEXT);

    if (access(vault, F_OK) < 0)
        return text;
    snprintf(command, sizeof(command), "age -d -i '%s' '%s' 2>&1", key, vault);
    FILE *p = popen(command, "r");
    size_t n = p && text ? fread(text, 1, MAX_TEXT - 1, p) : 0;
    if (!p || pclose(p) != 0 || n == 0) {
        free(text);
        return NULL;
    }
    normalise(text);
    return text;
}

static const char *found_in;
static char found_path[512];
static bool holds(const char *data, size_t n)
{
    return marker[0] && memmem(data, n, marker, strlen(marker));
}
static int look(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type != FTW_F || !S_ISREG(st->st_mode) || st->st_size == 0)
        return 0;
    int fd = open(path, O_RDONLY);
    char *data = malloc((size_t)st->st_size);
    ssize_t n = fd < 0 || !data ? 0 : read(fd, data, (size_t)st->st_size);
    if (n > 0 && holds(data, (size_t)n)) {
        snprintf(found_path, sizeof(found_path), "%.500s", path);
        found_in = found_path;
    }
    free(data);
    if (fd >= 0)
        close(fd);
    return 0;
}
static const char *scan(void)
{
    found_in = NULL;
    for (int i = 0; i < n_dirs; i++)
        nftw(dirs[i], look, 16, FTW_PHYS);
    for (int i = 0; i < n_extra; i++)
        nftw(extra[i], look, 16, FTW_PHYS);
    return found_in;
}

static const char *stray;
static void is_stray(const char *path)
{
    static const char *const known[] = {"age.key", "age.key.old-", "vault.age",        "generation",
                                        "lock",    "ductile.db",   "vault-generations"};
    const char *name = strrchr(path, '/') + 1;
    bool ok = false;

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        size_t n = strlen(known[i]);
        ok = ok || strcmp(name, known[i]) == 0 || ((i == 1 || i == 5) && strncmp(name, known[i], n) == 0);
    }
    if (ok)
        return;
    snprintf(found_path, sizeof(found_path), "%.500s", path);
    stray = found_path;
}

// ---- one run, traced ----------------------------------------------------------------------------

struct run {
    enum fault fault;
    long at;      // the call it happens to, from 1
    long renames; // > 0: killed after so many changes of a directory
    // what came of it
    long calls, reached; // reached: the number of the system call that was hit
    int status;
    bool hung, leaked, unsynced;
};

#if defined(__x86_64__)
static void change(pid_t pid, const long *nr, const long *arg2, const long *ret)
{
    struct user_regs_struct regs;

    if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) < 0)
        return;
    if (nr)
        regs.orig_rax = (unsigned long long)*nr;
    if (arg2)
        regs.rdx = (unsigned long long)*arg2;
    if (ret)
        regs.rax = (unsigned long long)*ret;
    ptrace(PTRACE_SETREGS, pid, NULL, &regs);
}
#elif defined(__aarch64__)
static void change(pid_t pid, const long *nr, const long *arg2, const long *ret)
{
    struct user_regs_struct regs;
    struct iovec io = {&regs, sizeof(regs)};

    if (nr) {
        int number = (int)*nr;
        struct iovec one = {&number, sizeof(number)};
        ptrace(PTRACE_SETREGSET, pid, (void *)0x404, &one); // NT_ARM_SYSTEM_CALL
    }
    if (ptrace(PTRACE_GETREGSET, pid, (void *)1, &io) < 0) // NT_PRSTATUS
        return;
    if (arg2)
        regs.regs[2] = (unsigned long long)*arg2;
    if (ret)
        regs.regs[0] = (unsigned long long)*ret;
    if (arg2 || ret)
        ptrace(PTRACE_SETREGSET, pid, (void *)1, &io);
}
#else
#error "no ptrace for this machine"
#endif

static bool is_write(long nr)
{
    return nr == SYS_write || nr == SYS_pwrite64 || nr == SYS_writev;
}
static bool changes_directory(long nr)
{
#ifdef SYS_rename
    if (nr == SYS_rename || nr == SYS_unlink || nr == SYS_link)
        return true;
#endif
    return nr == SYS_renameat || nr == SYS_renameat2 || nr == SYS_unlinkat || nr == SYS_linkat;
}
static bool to_file(pid_t pid, unsigned long long fd)
{
    char path[64], to[256];

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, (int)fd);
    ssize_t n = readlink(path, to, sizeof(to) - 1);
    to[n < 0 ? 0 : n] = '\0';
    return to[0] == '/' && strncmp(to, "/dev/", 5) != 0 && strncmp(to, "/memfd:", 7) != 0;
}
static bool writes_marker(pid_t pid, const struct __ptrace_syscall_info *call)
{
    unsigned long long from = call->entry.args[1], len = call->entry.args[2];
    struct iovec vector[8] = {{(void *)from, len}};
    size_t n = 1;
    bool found = false;

    if (call->entry.nr == SYS_writev) {
        struct iovec here = {vector, sizeof(vector)},
                     there = {(void *)from, (len < 8 ? len : 8) * sizeof(*vector)};
        here.iov_len = there.iov_len;
        n = process_vm_readv(pid, &here, 1, &there, 1, 0) > 0 ? there.iov_len / sizeof(*vector) : 0;
    }
    for (size_t i = 0; i < n; i++) {
        char *copy = malloc(vector[i].iov_len + 1);
        struct iovec here = {copy, vector[i].iov_len};
        ssize_t got = copy ? process_vm_readv(pid, &here, 1, &vector[i], 1, 0) : -1;
        found = found || (got > 0 && holds(copy, (size_t)got));
        free(copy);
    }
    return found;
}

static pid_t start(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        int in = memfd_create("input", 0), null = open("/dev/null", O_RDWR);
        if (in < 0 || null < 0 || write(in, input, strlen(input)) < 0 || lseek(in, 0, SEEK_SET) < 0)
            _exit(70);
        dup2(in, 0);
        dup2(null, 1);
        dup2(null, 2);
        close(in);
        close(null);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execvp(program[0], program);
        _exit(127);
    }
    return pid;
}

static pid_t running;
static volatile sig_atomic_t late;
static void on_alarm(int n)
{
    (void)n;
    late = 1;
    kill(running, SIGKILL);
}

// At the entry of a call. True: kill it here.
static bool enter(struct run *r, pid_t pid, const struct __ptrace_syscall_info *call, bool *file_dirty,
                  bool *dir_dirty)
{
    const long none = -1;
    long nr = (long)call->entry.nr;

    r->calls++;
    if (is_write(nr) && to_file(pid, call->entry.args[0])) {
        *file_dirty = true;
        r->leaked = r->leaked || writes_marker(pid, call);
    }
    if (nr == SYS_fsync || nr == SYS_fdatasync)
        *file_dirty = *dir_dirty = false;
    if (changes_directory(nr))
        r->unsynced = r->unsynced || *file_dirty;
    if (r->calls != r->at)
        return false;
    if (r->fault == HALF && (nr != SYS_write || call->entry.args[2] < 2))
        return false;
    r->reached = nr + 1;
    if (r->fault == HALF) {
        const long half = (long)call->entry.args[2] / 2;
        change(pid, NULL, &half, NULL);
    } else if (r->fault != NONE && r->fault != KILL && nr != SYS_close) // a close that fails has closed
        change(pid, &none, NULL, NULL);
    return r->fault == KILL;
}

static void trace(struct run *r, pid_t pid)
{
    struct __ptrace_syscall_info call;
    bool counting = of_child, file_dirty = false, dir_dirty = false;
    long changed = 0, last = 0;
    int status, deliver = 0;

    while (ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)deliver) == 0 && waitpid(pid, &status, 0) == pid) {
        deliver = 0;
        r->status = status;
        if (WIFEXITED(status) || WIFSIGNALED(status))
            break;
        if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8)))
            counting = true;
        else if (WSTOPSIG(status) != (SIGTRAP | 0x80))
            deliver = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        if (WSTOPSIG(status) != (SIGTRAP | 0x80) || !counting ||
            ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(call), &call) <= 0)
            continue;
        if (call.op == PTRACE_SYSCALL_INFO_ENTRY) {
            last = (long)call.entry.nr;
            if (enter(r, pid, &call, &file_dirty, &dir_dirty))
                kill(pid, SIGKILL);
        } else if (call.op == PTRACE_SYSCALL_INFO_EXIT) {
            if (r->reached && r->calls == r->at && fault_errors[r->fault]) {
                const long error = -fault_errors[r->fault];
                change(pid, NULL, NULL, &error);
            }
            const bool is_change = changes_directory(last) && !call.exit.is_error;
            changed += is_change;
            dir_dirty = dir_dirty || is_change;
            if (r->renames > 0 && changed >= r->renames)
                kill(pid, SIGKILL);
        }
    }
    if (!WIFEXITED(r->status) && !WIFSIGNALED(r->status) && waitpid(pid, &status, 0) == pid)
        r->status = status;
    r->unsynced = r->unsynced || dir_dirty;
}

// The program runs free once it has forked, and its child is traced. Its status is the program's.
static void trace_child(struct run *r, pid_t pid)
{
    unsigned long child = 0;
    int status, deliver = 0;

    while (!child && ptrace(PTRACE_CONT, pid, NULL, (void *)(long)deliver) == 0 &&
           waitpid(pid, &status, 0) == pid) {
        r->status = status;
        if (WIFEXITED(status) || WIFSIGNALED(status))
            return;
        deliver = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_FORK << 8)))
            ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child);
    }
    if (waitpid((pid_t)child, &status, __WALL) != (pid_t)child)
        die("the child");
    ptrace(PTRACE_DETACH, pid, NULL, NULL);
    trace(r, (pid_t)child);
    if (waitpid(pid, &status, 0) == pid)
        r->status = status;
}

static void run(struct run *r)
{
    int status;

    running = start();
    waitpid(running, &status, 0);
    if (ptrace(PTRACE_SETOPTIONS, running, NULL,
               (void *)(long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL |
                              (of_child ? PTRACE_O_TRACEFORK : PTRACE_O_TRACEEXEC))) < 0)
        die("ptrace");
    late = 0;
    alarm(20);
    (of_child ? trace_child : trace)(r, running);
    alarm(0);
    r->hung = late;
    while (waitpid(-1, &status, 0) > 0 || errno == EINTR) // its children too: they hold the ledger
        ;
}

// ---- the trial ----------------------------------------------------------------------------------

static char *before, *after;
static long points, violations, said_no;

static void violation(const struct run *r, const char *what, const char *detail)
{
    if (violations++ < 5)
        printf("%s, call %ld (number %ld), %s: %s%s%s\n", program[1] ? program[1] : program[0], r->at,
               r->reached - 1, fault_names[r->fault], what, detail ? " " : "", detail ? detail : "");
}

static void judge(const struct run *r)
{
    char *text = open_vault();
    bool zero = WIFEXITED(r->status) && WEXITSTATUS(r->status) == 0;
    bool is_after = text && strcmp(text, after) == 0;

    if (r->hung)
        violation(r, "it hung", NULL);
    if (!text)
        violation(r, "the key does not open the vault", NULL);
    else if (!is_after && strcmp(text, before) != 0)
        violation(r, "the vault is neither as before nor as after", NULL);
    else if (zero && !is_after)
        violation(r, "it said 0, and nothing is changed", NULL);
    said_no += text && is_after && strcmp(before, after) != 0 && WIFEXITED(r->status) && !zero;
    if (r->leaked)
        violation(r, "plaintext was written to a file", NULL);
    if (scan())
        violation(r, "plaintext is on the disk:", found_in);
    int status = system(next);
    char *again = open_vault();
    stray = NULL;
    for (int i = 0; i < n_dirs; i++)
        each_entry(dirs[i], is_stray);
    if (status != 0)
        violation(r, "the next run fails", NULL);
    if (stray)
        violation(r, "the next run leaves", stray);
    if (text && text[0] && (!again || strcmp(again, text) != 0))
        violation(r, "the next run changed the vault, or it opens no more", NULL);
    if (scan())
        violation(r, "plaintext is on the disk after the next run:", found_in);
    free(text);
    free(again);
}

static int trial(long every)
{
    struct run peace = {0};

    for (int i = 0; i < n_dirs; i++)
        each_entry(dirs[i], keep);
    before = open_vault();
    if (!before)
        return printf("the key does not open the vault to begin with\n"), 70;
    run(&peace);
    after = open_vault();
    if (!after || !WIFEXITED(peace.status) || WEXITSTATUS(peace.status) != 0)
        return printf("%s fails in peace\n", program[1] ? program[1] : program[0]), 70;
    if (peace.unsynced && !of_child)
        violation(&peace, "a file is renamed before its fsync, or a directory not fsynced after", NULL);
    if (peace.leaked)
        violation(&peace, "plaintext was written to a file", NULL);
    long kind = 0;
    for (long at = 1; at <= peace.calls; at++)
        for (enum fault f = FAIL_EIO; f < FAULTS; f++) {
            if (kind++ % every != 0) // every is prime to the number of faults: all of them have their turn
                continue;
            struct run r = {.fault = f, .at = at};
            restore();
            run(&r);
            if (r.reached == 0)
                continue;
            points++;
            judge(&r);
        }
    restore();
    printf("%ld points in %ld calls, %ld violations, %ld said no and had changed it\n", points, peace.calls,
           violations, said_no);
    return violations > 0 || points == 0;
}

int main(int argc, char **argv)
{
    long every = 1;
    struct run once = {0};
    int c;

    input = marker = "";
    next = "true";
    while ((c = getopt(argc, argv, "+ce:i:1:m:d:x:k:v:n:")) != -1)
        switch (c) {
        case 'c': of_child = true; break;
        case 'e': every = strtol(optarg, NULL, 10); break;
        case 'i': input = optarg; break;
        case '1': once.renames = strtol(optarg, NULL, 10); break;
        case 'm': marker = optarg; break;
        case 'd': dirs[n_dirs++ % MAX_DIRS] = optarg; break;
        case 'x': extra[n_extra++ % MAX_DIRS] = optarg; break;
        case 'k': key = optarg; break;
        case 'v': vault = optarg; break;
        case 'n': next = optarg; break;
        default: return 64;
        }
    program = argv + optind;
    if (!program[0] || every < 1)
        return 64;
    signal(SIGALRM, on_alarm);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (once.renames == 0)
        return trial(every);
    run(&once);
    return WIFSIGNALED(once.status) ? 0 : 1;
}
