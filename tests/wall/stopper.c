// Stops children of a dropper between their change of uid and their exec, as a process of the same account.
//
//   stopper NAME RUNS SECONDS [kill]     NAME: what the child is called until it has exec'd
//
// It cannot see the moment, so it guesses the next process ids and signals them until one is no longer EPERM.
// A process that was caught in or after its exec is let go. Each one caught before it is tried with
// PTRACE_SEIZE too, and left stopped, or killed. Prints {"stopped", "late", "seized", "last"} after RUNS or
// SECONDS.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
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

// Shared by the watchers, one on each processor: who shares one with the child sees nothing while that runs.
static struct {
    atomic_int stopped, late, seized, caught;
    atomic_char seen[SEEN];
} * all;

static void watch(const char *name, int runs, time_t end, bool and_kill)
{
    while (all->stopped < runs && time(NULL) < end) {
        const pid_t last = newest();
        for (pid_t pid = last > 4 ? last - 4 : 1; pid < last + AHEAD; pid++) {
            if (all->seen[pid % SEEN] || kill(pid, SIGSTOP) < 0 || atomic_exchange(&all->seen[pid % SEEN], 1))
                continue;
            if (!stopped_as(pid, name)) {
                kill(pid, SIGCONT);
                all->late++;
                continue;
            }
            all->stopped++;
            all->caught = pid;
            if (and_kill)
                kill(pid, SIGKILL);
            all->seized += ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
        }
    }
}

int main(int argc, char **argv)
{
    cpu_set_t cpus;

    if (argc < 4 || sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        return 64;
    all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return 71;
    const time_t end = time(NULL) + strtol(argv[3], NULL, 10);
    pid_t watchers[CPU_SETSIZE];
    int n = 0, go[2];
    if (pipe(go) < 0)
        return 71;
    all->seen[getpid() % SEEN] = 1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &cpus))
            continue;
        watchers[n] = fork();
        if (watchers[n] == 0) {
            cpu_set_t one;
            char none;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof(one), &one);
            close(go[1]);
            if (read(go[0], &none, 1) != 0) // until all are there, and none stops another
                _exit(71);
            watch(argv[1], (int)strtol(argv[2], NULL, 10), end, argc > 4);
            _exit(0);
        }
        if (watchers[n] > 0)
            all->seen[watchers[n++] % SEEN] = 1;
    }
    close(go[1]);
    for (int i = 0; i < n; i++)
        waitpid(watchers[i], NULL, 0);
    printf("{\"stopped\": %d, \"late\": %d, \"seized\": %d, \"last\": %d}\n", all->stopped, all->late,
           all->seized, all->caught);
    return 0;
}
