// A prompt without echo. Signals are blocked but while it waits, so that none is lost between the look and
// the wait; the one that came is raised again once the terminal is as before.
#include "prompt.h"
#include "fd.h"
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <termios.h>

static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGALRM};
static volatile sig_atomic_t caught;

static void note(int number)
{
    caught = number;
}

// One line into line->data. Its length, or -EINTR with `caught` set.
static ssize_t read_line(int tty, const sigset_t *open_mask, size_t max, struct secret *line)
{
    size_t n = 0;

    for (;;) {
        struct pollfd p = {.fd = tty, .events = POLLIN};
        if (ppoll(&p, 1, NULL, open_mask) < 0) {
            if (errno == EINTR && !caught)
                continue;
            return err_last();
        }
        ssize_t got = read(tty, line->data + n, max + 1 - n); // canonical mode: whole lines, or their pieces
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? err_last() : -ENODATA;
        n += (size_t)got;
        if (line->data[n - 1] == '\n')
            return (ssize_t)(n - 1);
        if (n > max)
            return -EFBIG;
    }
}

// One try. 0, -errno, or the signal that came.
static int ask(int tty, const char *question, size_t max, struct secret *ret)
{
    struct sigaction before[ARRAY_LEN(watched)], act = {.sa_handler = note};
    struct termios old, quiet;
    struct secret line;
    sigset_t block, mask;

    if (tcgetattr(tty, &old) < 0)
        return -ENXIO;
    int r = secret_new(max + 1, &line);
    if (r < 0)
        return r;
    sigemptyset(&block);
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        sigaddset(&block, watched[i]);
    sigprocmask(SIG_BLOCK, &block, &mask);
    caught = 0;
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        sigaction(watched[i], &act, &before[i]);
    quiet = old;
    quiet.c_lflag &= (tcflag_t) ~(ECHO | ECHOE | ECHOK | ECHONL);
    quiet.c_lflag |= ICANON | ISIG;
    ssize_t n = tcsetattr(tty, TCSAFLUSH, &quiet) < 0 || fd_write_all(tty, question, strlen(question)) < 0
                    ? -ENXIO
                    : read_line(tty, &mask, max, &line);
    tcsetattr(tty, TCSAFLUSH, &old);
    r = n < 0 ? (int)n : secret_copy(line.data, (size_t)n, ret);
    secret_wipe(&line);
    if (fd_write_all(tty, "\n", 1) < 0 && r == 0) {
        secret_wipe(ret);
        r = -ENXIO;
    }
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        sigaction(watched[i], &before[i], NULL);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return r < 0 && caught ? caught : r;
}

int prompt_secret(const char *question, size_t max, struct secret *ret)
{
    OWNED(fd_closep) int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    int r;

    if (tty < 0)
        return -ENXIO;
    while ((r = ask(tty, question, max, ret)) > 0)
        raise(r); // ends us; after a stop and a continue the question is asked again
    return r;
}
