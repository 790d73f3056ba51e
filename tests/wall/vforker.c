// The naive dropper: vfork, setgroups, setresgid, setresuid, chdir, exec, wait. Says each number when it is
// back.
//
//   vforker UID N PROGRAM
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 64;
    const uid_t uid = (uid_t)strtoul(argv[1], NULL, 10);
    const long n = strtol(argv[2], NULL, 10);
    for (volatile long i = 1; i <= n; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            if (setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0 &&
                chdir("/") == 0)
                execl(argv[3], argv[3], (char *)NULL);
            _exit(126);
        }
        if (pid < 0 || waitpid(pid, NULL, 0) != pid)
            return 1;
        printf("%ld\n", i);
        fflush(stdout);
    }
    return 0;
}
