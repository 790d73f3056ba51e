// The attempts of probes.def: what a hostile plugin would call, and the control of each.
#pragma once
#include "limits.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum target {
    TARGET_NOTHING,
    TARGET_KEY,
    TARGET_VAULT,
    TARGET_LEDGER,
    TARGET_CONFIG,
    TARGET_STATE,
    TARGET_ACCOUNTS,
    TARGET_SIBLINGS,
    TARGET_HOME_SSH,
    TARGET_HOME_GH,
    TARGET_HOME_CODE,
    TARGET_SOCKET,
    TARGET_UID_ROOT,
    TARGET_UID_SERVICE,
    TARGET_UID_BUS,
    TARGET_UID_OTHERS,
    TARGET_GID_ROOT,
    TARGET_PID_WARDEN,
    TARGET_PID_BUS,
    TARGET_PID_SIBLING,
    TARGET_LISTENER4,
    TARGET_LISTENER6,
    TARGET_INET,
    TARGET_INET6,
    TARGET_NETLINK,
    TARGET_USER_MANAGER,
    TARGET_USER_BUS,
    TARGET_AUTHORIZED_KEYS,
    TARGET_SHELL_RC,
    TARGET_HOME_CREDS,
    TARGET_CODE,
    TARGET_UNITS,
    TARGET_CRON,
    TARGET_ROOT_PATH,
    TARGET_CONTAINERS,
    TARGET_SETUID_PROGRAMS,
    TARGET_OWN_CODE,
    TARGET_OWN_FILE,
    TARGET_CWD,
    TARGET_USER_UNITS,
    TARGET_TMUX,
    TARGET_SCREEN,
    TARGET_LINGER,
    TARGET_OWN_STATE,
    TARGET_OWN_HOME,
    TARGET_TMP,
};

struct attempt_target {
    const char *path; // NULL: none
    uint32_t id;
    pid_t pid;
    const char *shown; // where there is no path
    uint16_t port;     // of a listener on the loopback address of family `id`
    bool reached;      // the gate itself connected there: the control of an attempt with a port
};

struct attempt {
    int (*run)(const struct attempt_target *target); // 0: it worked; -errno: it did not
    // The same on a harmless twin; 0: it works here at all. NULL: there is none behind the filter (every
    // setgroups, every clone3), and the matrix says so; tests/wall shows on the build without the layer that
    // the attempt bites.
    int (*control)(void);
    int denials[4]; // errnos that are a denial; others (ENOENT, ESRCH) prove nothing
    bool taints;    // where it works, its process is no longer what the next attempt should start from
};

// The loopback address of a family.
socklen_t attempt_loopback(int family, uint16_t port, struct sockaddr_storage *ret);

bool attempt_is_denial(const struct attempt *attempt, int error);

extern const struct attempt attempt_dial, attempt_open_socket, attempt_open_file, attempt_list_dir,
    attempt_connect_socket, attempt_connect_any, attempt_become, attempt_take_group, attempt_raise_caps,
    attempt_no_new_privs, attempt_userns_clone, attempt_userns_unshare, attempt_userns_clone3, attempt_trace,
    attempt_read_memory, attempt_get_fd, attempt_open_proc, attempt_send_signal, attempt_write_file,
    attempt_may_write, attempt_run_shell, attempt_start_thread, attempt_plant, attempt_read_environ,
    attempt_reopen_fds, attempt_gain, attempt_make_dir, attempt_read_any, attempt_resolve_tilde;
