// The service manager's side of Type=notify (sd_notify(3)), without libsystemd: one datagram.
#pragma once
#include "owned.h"

// Sends e.g. "READY=1\nSTATUS=..." to $NOTIFY_SOCKET. 0 also where there is none. -errno.
MUST int sd_tell(const char *state);
