// The drop: from the service user with two capabilities to an account with none. One function, used by the
// warden for every spawn and by the gate for every probe. In the child, in a fixed order, ending by proving
// itself.
#pragma once
#include "owned.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct sock_fprog;

enum privs_stage {
#define STAGE(name, word, reason) STAGE_##name,
#include "stage.def"
#undef STAGE
    STAGE_COUNT_
};

const char *privs_stage_name(enum privs_stage stage);
// True where the failure means that the wall could not be built; false where the host lacked something.
bool privs_stage_is_wall(enum privs_stage stage);

struct privs_limit {
    int resource;
    struct rlimit value;
};

// What the child is to become. Prepared by the parent; the child only reads it.
struct privs_plan {
    bool enforce; // false: posture unconfined; only session, descriptors, limits, cgroup, clearing and cwd
                  // are done
    uid_t uid;
    gid_t gid;
    uid_t service_uid, bus_uid;      // regaining these must fail
    int fd_in, fd_out, fd_err;       // to become 0, 1, 2; -1 leaves that number alone. Each > 2
    int cgroup_fd;                   // cgroup.procs opened for writing, or -1
    int landlock_fd;                 // a ruleset, or -1
    const struct sock_fprog *filter; // one more seccomp filter (network: none), or NULL
    const char *cwd;
    bool make_tmp;       // make cwd/tmp, 0700, where it is missing: the contract's TMPDIR
    const char *old_tmp; // what is in it is renamed to this, out of the way; NULL: it is in use
    const struct privs_limit *limits;
    unsigned n_limits;
};

// What the child read back about itself. Written in place: the parent shares the memory or gets a copy by
// pipe.
struct privs_record {
    volatile uint32_t stage; // enum privs_stage: the one that is being done
    volatile int32_t error;  // -errno of that stage, 0 while none failed
    uint32_t ruid, euid, suid, fsuid, rgid, egid, sgid, fsgid;
    int32_t n_groups;
    uint64_t caps_effective, caps_permitted, caps_inheritable;
    uint32_t n_ambient;
    int32_t no_new_privs;
    int32_t moved_tmp; // 1: old_tmp is there, to be removed
};

// Steps 1 to 8 of the drop. Makes raw system calls only and touches no memory but *record, so that it may run
// in a child that shares the parent's memory. 0, or -errno with the failed stage in record. Never run
// anything after a failure.
MUST int privs_drop(const struct privs_plan *plan, struct privs_record *record);
// Step 9: execve, with the stage noted. Returns -errno only.
int privs_exec(struct privs_record *record, const char *path, char *const argv[], char *const envp[]);

// For helpers that do not exec a plugin: become uid:gid for good, no groups, no capability, no_new_privs, not
// dumpable. Checked by reading back. -errno.
MUST int privs_become(uid_t uid, gid_t gid);
// Root only: become the service user, keeping exactly CAP_SETUID and CAP_SETGID, ambient ones too, as the
// unit would have done. -errno.
MUST int privs_shed(uid_t uid, gid_t gid);
// Drops every capability of this process and stays what it is. -errno.
MUST int privs_clear_caps(void);
// Effective uid, gid and groups only, for opening files as somebody: root must call privs_leave before
// anything else. -errno.
MUST int privs_enter(uid_t uid, gid_t gid);
MUST int privs_leave(void);

// Can this process become uid:gid? Tried in a forked child, by the drop's own calls; not read from a mask.
// 1, 0 or -errno.
MUST int privs_can_drop(uid_t uid, gid_t gid);

// No core dumps, not dumpable, every signal at its default, stdin/stdout/stderr open (0-2 can then never
// become something else). The first call of every main.
MUST int privs_harden(void);

// The removable layers of the test build (build/broken); constant false in what is installed.
enum privs_break {
    BREAK_KEEPCAPS = 1 << 0,   // leave the capabilities
    BREAK_NOFILTER = 1 << 1,   // load no seccomp filter
    BREAK_NOLANDLOCK = 1 << 2, // no Landlock domain
    BREAK_NONNP = 1 << 3,      // no no_new_privs (implies the two above)
    BREAK_NOPROOF = 1 << 4,    // neither read back nor try to regain: so that the others are not noticed
    BREAK_KEEPFDS = 1 << 5,    // leave descriptors open
    BREAK_KEEPGROUPS = 1 << 6, // leave the service's groups
    BREAK_DUMPABLE = 1 << 7,   // stay dumpable
    BREAK_INPLACE = 1 << 8,    // run home code where it lies instead of its locked copy
    BREAK_NOUID = 1 << 9,      // do not change uid and gid
    BREAK_ASBUS = 1 << 10,     // become the bus instead of the account
    BREAK_ASROOT = 1 << 11,    // become uid 0 instead of the account
    BREAK_POPWARDEN = 1 << 12, // no layer: once it is ready, the warden obeys an attacker (tests/popped)
    BREAK_POPBUS = 1 << 13,    // the same for the bus
};
#ifdef DUCTILE_BREAKABLE
bool privs_broken(enum privs_break what);
#else
#define privs_broken(what) ((void)(what), false)
#endif
