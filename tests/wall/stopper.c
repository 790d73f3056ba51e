// Stops children of a dropper between their change of uid and their exec, as a process of the same account.
//
//   stopper NAME RUNS SECONDS [kill]     NAME: what the child is called until it has exec'd
//
// It cannot see the moment, so it guesses the next process ids and signals them until one is no longer EPERM.
// A process that was caught in or after its exec is let go. Each one caught before it is tried with
// PTRACE_SEIZE too, and left stopped, or killed. Prints {"stopped", "late", "seized", "last"} after RUNS or
// SECONDS.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

enum { AHEAD = 8, SEEN = 65536 };

static pid_t newest(void)
{
    char text[128];
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *last = strrchr(text, ' ');
    return last ? (pid_t)strtol(last, NULL, 10) : 0;
}

// Waits until it has stopped: a signal acts at the end of a system call, and that may have been the exec.
static int stopped_as(pid_t pid, const char *name)
{
    char path[64], text[512];

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    for (int i = 0; i < 1000; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        close(fd);
        text[n > 0 ? n : 0] = '\0';
        const char *begin = strchr(text, '('), *end = strrchr(text, ')');
        if (!begin || !end)
            return 0;
        if (strncmp(end, ") T", 3) == 0)
            return strncmp(begin + 1, name, strlen(name)) == 0;
        usleep(100);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static char seen[SEEN];
    int stopped = 0, late = 0, seized = 0, caught = 0;

    if (argc < 4)
        return 64;
    const int runs = (int)strtol(argv[2], NULL, 10);
    const time_t end = time(NULL) + strtol(argv[3], NULL, 10);
    while (stopped < runs && time(NULL) < end) {
        const pid_t last = newest();
        for (pid_t pid = last > 4 ? last - 4 : 1; pid < last + AHEAD; pid++) {
            if (pid == getpid() || seen[pid % SEEN] || kill(pid, SIGSTOP) < 0)
                continue;
            seen[pid % SEEN] = 1;
            if (!stopped_as(pid, argv[1])) {
                kill(pid, SIGCONT);
                late++;
                continue;
            }
            stopped++;
            caught = pid;
            if (argc > 4)
                kill(pid, SIGKILL);
            seized += ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
        }
    }
    printf("{\"stopped\": %d, \"late\": %d, \"seized\": %d, \"last\": %d}\n", stopped, late, seized, caught);
    return 0;
}
