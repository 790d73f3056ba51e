// Whom a probe is aimed at: the running warden and bus, or twins of them; and siblings of an account.
#include "fd.h"
#include "privs.h"
#include "probes.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

// A child that only waits. uid -1: as we are.
static pid_t start_twin(int64_t uid, int64_t gid, bool dumpable)
{
    int ready[2];
    char byte;

    if (pipe2(ready, O_CLOEXEC) < 0)
        return -1;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(ready[0]);
        if ((uid >= 0 && privs_become((uid_t)uid, (gid_t)gid) < 0) || prctl(PR_SET_DUMPABLE, dumpable) < 0)
            _exit(1);
        close(ready[1]);
        while (getppid() == parent) // ends with us, whatever happens: a drop clears any death signal
            usleep(200000);
        _exit(0);
    }
    close(ready[1]);
    if (pid > 0 && read(ready[0], &byte, 1) != 0)
        pid = -1;
    close(ready[0]);
    return pid;
}

void actors_kill(pid_t pid, int64_t uid, bool all)
{
    if (pid <= 0)
        return;
    // It has another uid, and we may not signal it: a helper that is that uid may.
    pid_t helper = fork();
    if (helper == 0) {
        if (uid >= 0 && setresuid((uid_t)-1, (uid_t)uid, (uid_t)-1) < 0)
            _exit(1);
        if (all)
            kill(-pid, SIGKILL);
        _exit(kill(pid, SIGKILL) == 0 ? 0 : 1);
    }
    if (helper > 0)
        waitpid(helper, NULL, 0);
}

static void end_twin(pid_t pid, int64_t uid)
{
    actors_kill(pid, uid, false);
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

// The running gateway says in its lock file who it is. 0 where none runs.
static void find_gateway(const struct gate *g, struct actors *a)
{
    char path[LIMIT_PATH + 8];
    OWNED(freep) char *text = NULL;
    size_t len;
    int warden = 0, bus = 0;
    const char *slash = strrchr(g->config->api_socket, '/');

    snprintf(path, sizeof(path), "%.*s/lock", (int)(slash - g->config->api_socket), g->config->api_socket);
    if (fd_read_file(g->root, path, 256, &text, &len) < 0 ||
        sscanf(text, "warden %d\nbus %d", &warden, &bus) != 2)
        return;
    if (warden > 1 && bus > 1 && (kill(warden, 0) == 0 || errno == EPERM) &&
        (kill(bus, 0) == 0 || errno == EPERM)) {
        a->warden = warden;
        a->bus = bus;
    }
}

void actors_start(struct gate *g, struct actors *ret)
{
    *ret = (struct actors){0};
    find_gateway(g, ret);
    if (ret->warden)
        return;
    ret->warden = ret->twins[0] = start_twin(-1, -1, false);
    ret->bus = ret->twins[1] = start_twin(g->config->bus_uid, g->config->bus_gid, false);
}

// Same uid, dumpable, outside of any domain: only the domain can keep a sibling out.
pid_t actors_sibling(const struct account_config *account)
{
    return start_twin(account->uid, account->gid, true);
}

void actors_end(struct gate *g, struct actors *a)
{
    end_twin(a->twins[0], -1);
    end_twin(a->twins[1], g->config->bus_uid);
}

void actors_end_sibling(pid_t pid, const struct account_config *account)
{
    end_twin(pid, account->uid);
}
