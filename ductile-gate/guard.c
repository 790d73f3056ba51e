// Checks that touch what may hang (a home on a dead server, a FIFO, a mount that lost its daemon) run in a
// child that is watched step by step. A step that does not answer in its time is told as unproven and passed
// over; the rest goes on in a fresh child. Nobody waits for the hung one: it may not even die.
#include "gate.h"
#include "log.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

// Shared with the child: where it is.
struct pace {
    _Atomic uint32_t check, step;
    _Atomic int64_t since;
    _Atomic bool finished;
    uint32_t skip; // steps of the present check that are done, or hung
    int notes;     // findings go here
    char subject[256];
};

int64_t gate_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool gate_hangs(const struct gate *g, const char *path)
{
    for (size_t i = 0; i < g->n_hung; i++)
        if (str_path_within(path, g->hung[i]))
            return true;
    return false;
}

bool gate_step(struct gate *g, const char *subject)
{
    struct pace *p = g->pace;

    if (!p)
        return true;
    if (++p->step <= p->skip || gate_hangs(g, subject))
        return false;
    snprintf(p->subject, sizeof(p->subject), "%s", subject);
    p->since = gate_now();
    return true;
}

void guard_send(struct gate *g, const struct finding *f)
{
    _Static_assert(sizeof(*f) <= 4096, "one write of a pipe is whole up to PIPE_BUF");
    if (g->pace && write(g->pace->notes, f, sizeof(*f)) != sizeof(*f))
        _exit(2);
}

__attribute__((noreturn)) static void work(struct gate *g, const struct guarded *checks, size_t n,
                                           struct pace *p)
{
    OWNED(fd_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    // Whatever may outlive us must not hold what our caller reads to its end.
    if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
        _exit(2);
    g->pace = p;
    for (uint32_t i = p->check; i < n; i++) {
        p->step = 0;
        p->check = i;
        p->since = gate_now();
        snprintf(p->subject, sizeof(p->subject), "%s", checks[i].word);
        checks[i].run(g);
        p->skip = 0;
    }
    p->finished = true;
    _exit(g->failed ? 1 : 0);
}

// What the present check said before it hung is said again by the next child.
static bool is_known(const struct gate *g, const struct finding *f)
{
    for (size_t i = 0; i < g->n_findings; i++) {
        const struct finding *k = &g->findings[i];
        if (k->check == f->check && k->verdict == f->verdict && str_eq(k->subject, f->subject) &&
            str_eq(k->evidence, f->evidence))
            return true;
    }
    return false;
}

// True: it has ended. False: it is late.
static bool listen_to(struct gate *g, const struct pace *p, int notes, bool again)
{
    for (;;) {
        struct finding f;
        struct pollfd poller = {.fd = notes, .events = POLLIN};
        int64_t left = MIN(p->since + TIME_PROBE_MS, g->deadline) - gate_now();
        if (left <= 0)
            return false;
        if (poll(&poller, 1, (int)left) <= 0)
            continue;
        ssize_t len = read(notes, &f, sizeof(f));
        if (len == 0)
            return true;
        if (len == sizeof(f) && !(again && is_known(g, &f)))
            gate_note(g, f.check, f.verdict, f.subject, "%s", f.evidence);
    }
}

// One child, from where the pace stands. True: all is done, or nothing more can be.
static bool one_child(struct gate *g, const struct guarded *checks, size_t n, struct pace *p, bool again)
{
    int notes[2], status = 0;

    if (pipe2(notes, O_CLOEXEC) < 0) {
        g->failed = true;
        return true;
    }
    OWNED(fd_closep) int ours = notes[0];
    p->notes = notes[1];
    p->since = gate_now();
    pid_t pid = fork();
    if (pid == 0) {
        g->n_findings = 0;
        work(g, checks, n, p);
    }
    close(notes[1]);
    if (pid < 0) {
        g->failed = true;
        return true;
    }
    if (listen_to(g, p, ours, again)) {
        g->failed |= waitpid(pid, &status, 0) != pid || status != 0 ||
                     !p->finished; // a check that died decided nothing
        return true;
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, WNOHANG);
    bool over = gate_now() >= g->deadline;
    gate_note(g, CHECK_TIME, VERDICT_UNPROVEN, p->subject,
              over ? "the gate's %d s were over at the check of %s; it and what follows it was not made"
                   : "within %d s it did not answer the check of %s",
              (over ? TIME_GATE_MS : TIME_PROBE_MS) / 1000, checks[p->check].word);
    if (p->subject[0] == '/' && g->n_hung < ARRAY_LEN(g->hung))
        memcpy(g->hung[g->n_hung++], p->subject, sizeof(p->subject));
    if (p->step > 0)
        p->skip = p->step;
    else {
        p->check++;
        p->skip = 0;
    }
    return over || p->check >= n;
}

void guard_run(struct gate *g, const struct guarded *checks, size_t n)
{
    struct pace *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        g->failed = true;
        return;
    }
    for (bool again = false; !one_child(g, checks, n, p, again);)
        again = true;
    munmap(p, sizeof(*p));
}

int gate_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

bool guard_call(struct gate *g, int (*fn)(struct gate *, void *), void *arg)
{
    pid_t pid = fork();
    const int64_t end = gate_now() + TIME_PROBE_MS;
    OWNED(fd_closep) int pidfd = -1;
    int status = 1;

    if (pid == 0)
        _exit(fn(g, arg) == 0 ? 0 : 1);
    pidfd = pid < 0 ? -1 : gate_pidfd(pid);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    while (pidfd >= 0 && gate_now() < end && poll(&p, 1, (int)(end - gate_now())) <= 0)
        ;
    if (pid > 0 && waitpid(pid, &status, WNOHANG) != pid)
        kill(pid, SIGKILL);
    return status == 0;
}
