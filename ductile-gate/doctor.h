// What the doctor tells of the host, from facts that the caller brings: a passing and a failing case of each
// are tested.
#pragma once
#include "gate.h"
#include <time.h>

// Nothing of ours is stamped later than now.
void doctor_clock(struct gate *g, time_t now);
// Room beside file, for who is not root.
void doctor_room(struct gate *g, const char *file);
// actions: of seccomp, controllers: of cgroup v2, as the kernel lists them; NULL: absent.
void doctor_layers(struct gate *g, int abi, const char *actions, const char *controllers);
// said: what the program prints for --version.
void doctor_version(struct gate *g, const char *program, const char *said);
