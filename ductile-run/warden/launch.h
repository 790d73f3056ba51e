// One child, from clone to exec.
#pragma once
#include "limits.h"
#include "privs.h"

// Everything that a child in shared memory reads between clone and exec. The parent does not wait for it (a
// stopped child would freeze the warden), so all of it stands here, and not on a stack of ours.
struct launch {
    struct privs_plan plan;
    struct privs_record record; // written by the child
    struct privs_limit limits[4];
    char path[2 * LIMIT_PATH], old_tmp[32];
    char *argv[2], **envp; // envp is one block, owned
    void *stack;
};

// Starts launch->path on a stack of its own, in shared memory: drop, exec. *ret_stage_fd reads end of file
// when it has exec'd or died; until then *launch must stay. -errno.
MUST int launch_start(struct launch *launch, pid_t *ret_pid, int *ret_pidfd, int *ret_stage_fd);
// A zeroed launch with a stack, and its end. NULL on no memory.
struct launch *launch_new(void);
void launch_free(struct launch *launch);
