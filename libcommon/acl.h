// POSIX ACLs, on descriptors. Sources: acl(5); POSIX.1e draft 17.
// Once a named entry exists the group bits of the mode are the mask: apply the mode first, the ACL second,
// and compare whole ACLs.
#pragma once
#include "owned.h"
#include <stdbool.h>
#include <sys/types.h>

// 1: entries beyond the mode bits (access or default), 0: none, -errno. fd may be O_PATH.
MUST int acl_is_extended(int fd);
// Removes named and default entries. fd must be open for reading. -errno.
MUST int acl_remove_extended(int fd);

enum acl_rights { ACL_RIGHT_X = 1, ACL_RIGHT_R = 4, ACL_RIGHT_RX = 5 };

// Does `group:gid` have these rights by a named entry, after the mask? 1; 0; -errno. *ret_masked: the entry
// has them, the mask takes them away. inherit: the default ACL is asked (directories).
MUST int acl_group_has(int fd, gid_t gid, enum acl_rights rights, bool inherit, bool *ret_masked);
// Gives them, and widens the mask as far as needed. fd may be O_PATH (the caller owns the file). -errno.
MUST int acl_group_grant(int fd, gid_t gid, enum acl_rights rights, bool inherit);
