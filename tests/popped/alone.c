// The control: the same attempts by a process behind no wall. popped warden|bus WARDEN-PID BUS-PID CGROUP;
// rows to standard output.
#include "fd.h"
#include "popped.h"
#include "str.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct refusal refusal;
    struct config *config = NULL;
    struct target t = {0};
    OWNED(fd_closep) int root = fd_open_root(NULL);

    if (argc < 4 || config_load(root, NULL, "ductile", &config, &refusal) < 0)
        return 2;
    t.config = config;
    t.warden = (pid_t)strtol(argv[2], NULL, 10);
    t.bus = (pid_t)strtol(argv[3], NULL, 10);
    snprintf(t.cgroup, sizeof(t.cgroup), "%s", argc > 4 ? argv[4] : "");
    if (str_eq(argv[1], "warden"))
        popped_as_warden(&t);
    else
        popped_as_bus(&t);
    return 0;
}
