// Landlock domains and the names of layers. Rulesets are built here, by the service user, once per account;
// privs.c applies them in the child.
//
// Kernel facts (landlock(7)): `write only under X` denies the usual devices too, hence landlock.def; any
// domain that handles file rights denies renames and links across directories unless REFER is granted (ABI
// 2); an empty ruleset is refused, so below ABI 6 level `scope` handles REFER alone and grants it on /; every
// domain, whatever it handles, denies ptrace and /proc/PID/{mem,environ,fd,...} out of itself.
#include "wall.h"
#include "fd.h"
#include "str.h"
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

// Debian 12's headers stop at ABI 2; the numbers are kernel ABI and do not change.
struct landlock_ruleset {
    uint64_t handled_access_fs, handled_access_net, scoped;
};
struct landlock_beneath {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

#define FS_EXECUTE     (UINT64_C(1) << 0)
#define FS_WRITE_FILE  (UINT64_C(1) << 1)
#define FS_READ_FILE   (UINT64_C(1) << 2)
#define FS_READ_DIR    (UINT64_C(1) << 3)
#define FS_REMOVE_DIR  (UINT64_C(1) << 4)
#define FS_REMOVE_FILE (UINT64_C(1) << 5)
#define FS_MAKE_ALL    (UINT64_C(0x7f) << 6) // char, dir, reg, sock, fifo, block, sym
#define FS_REFER       (UINT64_C(1) << 13)   // ABI 2
#define FS_TRUNCATE    (UINT64_C(1) << 14)   // ABI 3
#define SCOPE_ABSTRACT (UINT64_C(1) << 0)    // ABI 6
#define SCOPE_SIGNAL   (UINT64_C(1) << 1)    // ABI 6
#define CREATE_VERSION 1u
#define RULE_BENEATH   1

static const char *const layer_names[LAYER_COUNT_] = {
#define LAYER(name, word, what) [LAYER_##name] = word,
#include "layer.def"
#undef LAYER
};

const char *wall_layer_name(enum wall_layer layer)
{
    return layer_names[layer];
}

const char *wall_layers_text(uint32_t layers, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (int i = 0; i < LAYER_COUNT_; i++)
        if (layers & (1u << i))
            len += (size_t)snprintf(buf + MIN(len, size - 1), size - MIN(len, size - 1), "%s%s",
                                    len ? "," : "", layer_names[i]);
    return buf;
}

static int abi_cap = 1 << 20;

void wall_landlock_cap(int abi)
{
    abi_cap = abi;
}

int wall_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_VERSION);

    return abi < 0 ? 0 : MIN((int)abi, abi_cap);
}

static size_t ruleset_size(int abi)
{
    // Older kernels refuse a longer struct unless the rest is zero; newer fields are only filled from their
    // ABI on.
    return abi >= 6   ? sizeof(struct landlock_ruleset)
           : abi >= 4 ? offsetof(struct landlock_ruleset, scoped)
                      : offsetof(struct landlock_ruleset, handled_access_net);
}

static int create_ruleset(const struct landlock_ruleset *attr, int abi)
{
    long fd = syscall(SYS_landlock_create_ruleset, attr, ruleset_size(abi), 0u);

    return fd < 0 ? err_last() : (int)fd; // the kernel makes it close-on-exec
}

static int allow(int ruleset, const char *path, uint64_t access)
{
    OWNED(fd_closep) int fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return err_last();
    const struct landlock_beneath rule = {.allowed_access = access, .parent_fd = fd};
    return syscall(SYS_landlock_add_rule, ruleset, RULE_BENEATH, &rule, 0u) < 0 ? err_last() : 0;
}

static uint64_t write_rights(int abi)
{
    return FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_ALL | FS_REFER |
           (abi >= 3 ? FS_TRUNCATE : 0);
}

static int allow_write_level(int ruleset, const char *state_dir, int abi)
{
    static const struct {
        const char *path;
        bool tree;
    } paths[] = {
#define TREE                              true
#define DEVICE                            false
#define LANDLOCK_PATH(path, kind, reason) {path, kind},
#include "landlock.def"
#undef LANDLOCK_PATH
#undef TREE
#undef DEVICE
    };
    int r = allow(ruleset, state_dir, write_rights(abi));

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(paths); i++) {
        uint64_t device = FS_WRITE_FILE | (abi >= 3 ? FS_TRUNCATE : 0);
        r = allow(ruleset, paths[i].path, paths[i].tree ? write_rights(abi) : device);
        if (r == -ENOENT || r == -EACCES) // a host without it: nothing to grant
            r = 0;
    }
    return r;
}

int wall_landlock_build(enum landlock_level level, const char *state_dir, uint32_t *ret_layers)
{
    int abi = wall_landlock_abi(), r = 0;
    uint32_t layers = LAYER_BIT(LANDLOCK_DOMAIN);
    struct landlock_ruleset attr = {0};

    if (abi < WALL_LANDLOCK_FLOOR)
        return -ENOSYS;
    if (level == LANDLOCK_WRITE) {
        attr.handled_access_fs = write_rights(abi);
        layers |= LAYER_BIT(LANDLOCK_WRITE);
    } else if (abi < 6)
        attr.handled_access_fs = FS_REFER;
    if (abi >= 6) {
        // A credentialed plugin acts as you: it may talk to your abstract sockets, as your shell may.
        attr.scoped = SCOPE_SIGNAL | (level == LANDLOCK_WRITE ? SCOPE_ABSTRACT : 0);
        layers |= LAYER_BIT(LANDLOCK_SIGNAL);
    }
    OWNED(fd_closep) int fd = create_ruleset(&attr, abi);
    if (fd < 0)
        return fd;
    if (level == LANDLOCK_WRITE)
        r = allow_write_level(fd, state_dir, abi);
    else if (abi < 6)
        r = allow(fd, "/", FS_REFER);
    if (r < 0)
        return r;
    *ret_layers = layers;
    return fd_take(&fd);
}

int wall_landlock_bus(const char *ledger_dir)
{
    int abi = wall_landlock_abi();
    const uint64_t all = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR | write_rights(abi);
    const struct landlock_ruleset attr = {.handled_access_fs = all,
                                          .scoped = abi >= 6 ? SCOPE_SIGNAL | SCOPE_ABSTRACT : 0};

    if (abi < WALL_LANDLOCK_FLOOR)
        return -ENOSYS;
    OWNED(fd_closep) int fd = create_ruleset(&attr, abi);
    if (fd < 0)
        return fd;
    int r = allow(fd, ledger_dir, all & ~FS_EXECUTE);
    return r < 0 ? r : wall_landlock_enter(fd);
}

int wall_landlock_enter(int ruleset_fd)
{
    return syscall(SYS_landlock_restrict_self, ruleset_fd, 0u) < 0 ? err_last() : 0;
}
