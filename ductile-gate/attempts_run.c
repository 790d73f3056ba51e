// Attempts by way of an exec or of what a process has open; and what a plugin's contract promises.
#include "attempts.h"
#include "owned.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>

// ---- descriptors --------------------------------------------------------------------------------

// What would survive an exec, above 2, and can be opened again from /proc.
static int reopen_fds(const struct attempt_target *t)
{
    DIR *dir = opendir("/proc/self/fd");
    int r = -EBADF;
    (void)t;

    if (!dir)
        return err_last();
    for (struct dirent *e; r < 0 && (e = readdir(dir));) {
        char path[64];
        char *end;
        long n = strtol(e->d_name, &end, 10);
        if (end == e->d_name || n <= 2 || n == dirfd(dir) || (fcntl((int)n, F_GETFD) & FD_CLOEXEC))
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%ld", n);
        OWNED(fd_closep) int again = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        r = again < 0 ? err_last() : 0;
    }
    closedir(dir);
    return r;
}

static int control_reopen(void)
{
    OWNED(fd_closep) int twin = open("/dev/null", O_RDONLY);

    return twin < 0 ? err_last() : reopen_fds(NULL);
}

// ---- setuid programs ----------------------------------------------------------------------------

// Effective uid of a process that sleeps; -1 where it does not (yet).
static long sleeper_euid(pid_t pid)
{
    char path[64], text[2048];

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    OWNED(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    const char *state = strstr(text, "\nState:\t"), *uid = strstr(text, "\nUid:\t");
    long ids[2];
    if (!state || !uid || state[8] != 'S' || sscanf(uid, "\nUid:\t%ld\t%ld", &ids[0], &ids[1]) != 2)
        return -1;
    return ids[1];
}

__attribute__((noreturn)) static void exec_into(const char *program, int full)
{
    OWNED(fd_closep) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (dup2(null, 0) == 0 && dup2(full, 1) == 1 && dup2(full, 2) == 2)
        execl(program, program, "--version", (char *)NULL);
    _exit(127);
}

// Runs it with an output that is full, so that it stays where it writes, and looks whose it has become.
// `--version` asks nobody for a password and leaves no line in a log.
static int gain(const struct attempt_target *t)
{
    struct stat st;
    int p[2], r = -ETIME;
    char page[4096] = {0};

    if (stat(t->path, &st) < 0)
        return err_last();
    if (!(st.st_mode & S_ISUID) || st.st_uid == getuid())
        return -ENOENT; // on this host nothing is to be gained by it
    if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_last();
    while (write(p[1], page, sizeof(page)) > 0)
        ;
    pid_t pid = fork();
    if (pid == 0) {
        if (fcntl(p[1], F_SETFL, O_WRONLY) < 0)
            _exit(127);
        exec_into(t->path, p[1]);
    }
    for (int i = 0; pid > 0 && r == -ETIME && i < 400; i++) {
        usleep(2500);
        long euid = sleeper_euid(pid);
        if (euid >= 0)
            r = (uid_t)euid == getuid() ? -EPERM : 0;
        else if (waitpid(pid, NULL, WNOHANG) == pid) {
            pid = 0;
            r = -ECHILD; // it said nothing: nobody knows what it was
        }
    }
    close(p[0]); // ends a writer that is now root's and that we may not kill
    close(p[1]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return r;
}

// ---- what must work -----------------------------------------------------------------------------

static int make_dir(const struct attempt_target *t)
{
    char path[LIMIT_PATH + 64];
    uint64_t n;

    if (getrandom(&n, sizeof(n), 0) != sizeof(n))
        return err_last();
    snprintf(path, sizeof(path), "%s/.ductile-probe-%016llx", t->path, (unsigned long long)n);
    if (mkdir(path, 0700) < 0 || rmdir(path) < 0)
        return err_last();
    return 0;
}

// The first plain file of a directory. An empty home has none, and is left as it is.
static int read_any(const struct attempt_target *t)
{
    DIR *dir = opendir(t->path);
    int r = -ENOENT;
    struct stat st;
    char byte;

    if (!dir)
        return err_last();
    for (struct dirent *e; r == -ENOENT && (e = readdir(dir));) {
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue;
        OWNED(fd_closep)
        int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        r = fd < 0 || read(fd, &byte, 1) < 0 ? err_last() : 0;
    }
    closedir(dir);
    return r;
}

// As a shell does, with the HOME of the contract: it must be where the plugin stands.
static int resolve_tilde(const struct attempt_target *t)
{
    char home[LIMIT_PATH + 8];
    char *env[] = {home, NULL};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        snprintf(home, sizeof(home), "HOME=%s", t->path);
        execle("/bin/sh", "sh", "-c", "test ~ -ef . && cd ~", (char *)NULL, env);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return err_last();
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENOTDIR;
}

static int nothing(void)
{
    return 0;
}

const struct attempt attempt_reopen_fds = {.run = reopen_fds, .control = control_reopen, .denials = {EBADF}};
// No twin: behind no_new_privs there is no program by which anybody gains.
const struct attempt attempt_gain = {.run = gain, .denials = {EPERM}};
const struct attempt attempt_make_dir = {.run = make_dir, .control = nothing, .denials = {EACCES, EPERM}};
const struct attempt attempt_read_any = {.run = read_any, .control = nothing, .denials = {EACCES, EPERM}};
const struct attempt attempt_resolve_tilde = {
    .run = resolve_tilde, .control = nothing, .denials = {EACCES, EPERM}};
