// The boot gate's table. Pure, but for the one question that only trying answers.
#include "posture.h"
#include "privs.h"

enum boot_verdict posture_verdict(bool can_drop, bool has_accounts, bool unconfined)
{
    if (unconfined)
        return BOOT_UNCONFINED_LOUD;
    if (has_accounts)
        return can_drop ? BOOT_ENFORCE : BOOT_REFUSE_NO_POWER;
    return can_drop ? BOOT_REFUSE_NO_ACCOUNT : BOOT_UNCONFINED;
}

int posture_can_drop(const struct config *config)
{
    if (config->accounts.n == 0 || config->accounts.list[0].uid <= 0)
        return privs_can_drop(65534, 65534);
    return privs_can_drop((uid_t)config->accounts.list[0].uid, (gid_t)config->accounts.list[0].gid);
}
