// Stops whatever is started next under its own uid: SIGSTOP to the numbers that the kernel will give out,
// over and over, so that a child is hit in the moment between becoming this uid and its exec. `stopper
// SECONDS`, run as the account. Prints how many signals were taken.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { AHEAD = 24 };

static pid_t newest(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    return pid;
}

int main(int argc, char **argv)
{
    const time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
    long taken = 0;

    while (time(NULL) < end) {
        pid_t from = newest() + 1;
        for (int round = 0; round < 400; round++)
            for (pid_t pid = from; pid < from + AHEAD; pid++)
                taken += kill(pid, SIGSTOP) == 0;
    }
    printf("%ld\n", taken);
    return 0;
}
