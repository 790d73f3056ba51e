// The service manager's side of Type=notify (sd_notify(3)), without libsystemd: one datagram.
#pragma once
#include "owned.h"

// Sends e.g. "READY=1\nSTATUS=..." to $NOTIFY_SOCKET. 0 also where there is none. -errno.
MUST int sd_tell(const char *state);
// A connection of its own to where this process's standard error goes: a new stream of the journal under that
// name, or the file or pipe opened again. A shared one can be shut, or made non-blocking, by either holder,
// and the other's lines are lost. -errno: it must be shared.
MUST int sd_own_stderr(const char *name);
