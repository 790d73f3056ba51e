// The boot gate's table: two facts and a key decide whether, and how, the gateway may run. Asked by gate and
// run.
#pragma once
#include "config.h"

enum boot_verdict {
    BOOT_ENFORCE,           // it can drop, and there is somebody to drop to
    BOOT_UNCONFINED,        // neither
    BOOT_UNCONFINED_LOUD,   // service.unconfined: true, from any cell
    BOOT_REFUSE_NO_ACCOUNT, // a privileged daemon with nothing to drop to
    BOOT_REFUSE_NO_POWER,   // a wall the host cannot build
};

enum boot_verdict posture_verdict(bool can_drop, bool has_accounts, bool unconfined);
// Tries a drop (to the first account, or to nobody where there is none) in a forked child. 1, 0 or -errno.
MUST int posture_can_drop(const struct config *config);
