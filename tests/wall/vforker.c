// The naive dropper of 23-sigstop: vfork, become UID, exec. Its parent waits in the kernel until the child
// has exec'd, so who stops the child stops the parent. `vforker UID RUNS COMMAND`: prints the longest time
// that a start took, in ms.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
    static volatile long longest; // vfork's child shares the stack
    static volatile int i;

    if (argc < 4)
        return 64;
    for (i = 0; i < atoi(argv[2]); i++) {
        const long began = now_ms();
        pid_t pid = vfork();
        if (pid == 0) {
            if (setresuid((uid_t)atoi(argv[1]), (uid_t)atoi(argv[1]), (uid_t)atoi(argv[1])) == 0)
                execl(argv[3], argv[3], (char *)NULL);
            _exit(1);
        }
        const long took = now_ms() - began;
        if (took > longest)
            longest = took;
        waitpid(pid, NULL, WNOHANG | WUNTRACED);
    }
    printf("%ld\n", longest);
    return 0;
}
