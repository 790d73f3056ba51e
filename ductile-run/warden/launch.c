// Clone on a stack of its own in shared memory (CLONE_VM without CLONE_VFORK: a vforking parent waits in D
// state, and a plugin that stops the child before its exec would freeze the warden for good), then the drop
// and exec of libcommon/privs.c. The child shares errno and malloc: it makes raw system calls only.
#include "launch.h"
#include "rawsys.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#define NO_SAN __attribute__((no_sanitize("address", "undefined")))
enum { STACK_SIZE = 64 << 10 };

struct launch *launch_new(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct launch *l = calloc(1, sizeof(*l));
    char *stack =
        l ? mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)
          : MAP_FAILED;

    if (stack == MAP_FAILED || mprotect(stack, page, PROT_NONE) < 0) { // a guard page at its end
        free(l);
        return NULL;
    }
    l->stack = stack;
    return l;
}

void launch_free(struct launch *l)
{
    if (!l)
        return;
    munmap(l->stack, STACK_SIZE);
    free(l->envp);
    free(l);
}

NO_SAN static int run_child(void *arg)
{
    struct launch *l = arg;

    if (privs_drop(&l->plan, &l->record) == 0)
        privs_exec(&l->record, l->path, l->argv, l->envp);
    RAW1(SYS_exit_group, 126);
    return 126;
}

int launch_start(struct launch *l, pid_t *ret_pid, int *ret_pidfd, int *ret_stage_fd)
{
    int stage[2], pidfd = -1;

    if (pipe2(stage, O_CLOEXEC) < 0)
        return err_last();
    l->argv[0] = l->path; // its path and nothing else
    l->argv[1] = NULL;
    pid_t pid = clone(run_child, (char *)l->stack + STACK_SIZE, CLONE_VM | CLONE_PIDFD | SIGCHLD, l, &pidfd);
    int r = pid < 0 ? err_last() : 0;
    close(stage[1]); // the child has its own: end of file means exec'd, or dead
    if (r < 0) {
        close(stage[0]);
        return r;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    *ret_stage_fd = stage[0];
    return 0;
}
