// A child, a pipe, a deadline. Owns the child until it is reaped.
#include "capture.h"
#include "str.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static long long now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

__attribute__((noreturn)) static void child(const char *const argv[], int out)
{
    static const char *const env[] = {"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    // A group of its own: what it starts ends with it.
    if (setsid() < 0 || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        _exit(126);
    execve(argv[0], (char *const *)argv, (char *const *)env);
    _exit(127);
}

// Until end of file, the deadline or too much.
static int read_until(int fd, long long deadline, size_t max, struct strbuf *sb)
{
    char chunk[4096];

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        long long left = deadline - now_ms();
        int r = left <= 0 ? 0 : poll(&p, 1, (int)left);
        if (r == 0)
            return -ETIMEDOUT;
        ssize_t n = r < 0 ? -1 : read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_last() : 0;
        if (sb->len + (size_t)n > max)
            return -EFBIG;
        sb_add(sb, chunk, (size_t)n);
    }
}

int capture_run(const char *const argv[], unsigned ms, size_t max, char **ret_text, int *ret_status)
{
    struct strbuf sb = {0};
    int p[2], status = 0;
    long long deadline = now_ms() + ms;

    if (pipe2(p, O_CLOEXEC) < 0)
        return err_last();
    pid_t pid = fork();
    if (pid == 0)
        child(argv, p[1]);
    int r = pid < 0 ? err_last() : 0;
    close(p[1]);
    if (r == 0)
        r = read_until(p[0], deadline, max, &sb);
    close(p[0]);
    // It may have closed its output and live on.
    pid_t ended = 0;
    while (r == 0 && (ended = waitpid(pid, &status, WNOHANG)) == 0) {
        if (now_ms() >= deadline)
            r = -ETIMEDOUT;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    if (pid > 0 && ended != pid) {
        kill(-pid, SIGKILL); // before it is reaped: afterwards the number may be another's
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    char *text = r < 0 ? NULL : sb_finish(&sb);
    if (!text) {
        sb_free(&sb);
        return r < 0 ? r : -ENOMEM;
    }
    *ret_text = text;
    *ret_status = status;
    return 0;
}
