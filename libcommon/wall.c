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
#include <sys/stat.h>
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
#define NET_BIND_TCP   (UINT64_C(1) << 0)    // ABI 4
#define NET_CONNECT    (UINT64_C(1) << 1)    // ABI 4
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

#ifndef DUCTILE_LANDLOCK_CAP // the flavour abi2 sets it
#define DUCTILE_LANDLOCK_CAP (1 << 20)
#endif
static int abi_cap = DUCTILE_LANDLOCK_CAP;

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

static const uint64_t read_rights = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR;
// A rule on a file may hold only rights that files have.
static const uint64_t file_rights = FS_EXECUTE | FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE;

enum path_kind { PATH_TREE, PATH_DEVICE, PATH_READ };

// Grants access beneath path, as far as the ruleset handles it and the path can have it. A path that this
// host does not have is nothing to grant.
static int grant(int ruleset, const char *path, uint64_t access, const struct landlock_ruleset *attr)
{
    struct stat st;
    uint64_t rights = access & attr->handled_access_fs;

    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        rights &= file_rights;
    if (rights == 0)
        return 0;
    int r = allow(ruleset, path, rights);
    return r == -ENOENT || r == -EACCES ? 0 : r;
}

static int grant_table(int ruleset, const struct landlock_ruleset *attr)
{
    static const struct {
        const char *path;
        enum path_kind kind;
    } paths[] = {
#define TREE                              PATH_TREE
#define DEVICE                            PATH_DEVICE
#define READ                              PATH_READ
#define LANDLOCK_PATH(path, kind, reason) {path, kind},
#include "landlock.def"
#undef LANDLOCK_PATH
#undef TREE
#undef DEVICE
#undef READ
    };
    static const uint64_t rights[] = {
        [PATH_TREE] = UINT64_MAX,
        [PATH_DEVICE] = FS_WRITE_FILE | FS_TRUNCATE | FS_READ_FILE,
        [PATH_READ] = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(paths); i++)
        r = grant(ruleset, paths[i].path, rights[paths[i].kind], attr);
    return r;
}

static struct landlock_ruleset plan_ruleset(const struct account_config *a, int abi, uint32_t *layers)
{
    struct landlock_ruleset attr = {0};

    *layers = LAYER_BIT(LANDLOCK_DOMAIN);
    if (a->landlock != LANDLOCK_SCOPE) {
        attr.handled_access_fs = write_rights(abi);
        *layers |= LAYER_BIT(LANDLOCK_WRITE);
    } else if (abi < 6)
        attr.handled_access_fs = FS_REFER;
    if (a->landlock == LANDLOCK_STRICT) {
        attr.handled_access_fs |= read_rights;
        *layers |= LAYER_BIT(LANDLOCK_READ);
    }
    if (abi >= 4 && a->network == NETWORK_NONE) {
        attr.handled_access_net = NET_BIND_TCP | NET_CONNECT;
        *layers |= LAYER_BIT(LANDLOCK_TCP);
    }
    if (abi >= 6) {
        // A credentialed plugin acts as you: it may talk to your abstract sockets, as your shell may.
        attr.scoped = SCOPE_SIGNAL | (a->landlock != LANDLOCK_SCOPE ? SCOPE_ABSTRACT : 0);
        *layers |= LAYER_BIT(LANDLOCK_SIGNAL);
    }
    return attr;
}

int wall_landlock_build(const struct account_config *a, const char *const *code, size_t n_code,
                        uint32_t *ret_layers)
{
    int abi = wall_landlock_abi(), r = 0;
    uint32_t layers;

    if (abi < WALL_LANDLOCK_FLOOR)
        return -ENOSYS;
    const struct landlock_ruleset attr = plan_ruleset(a, abi, &layers);
    OWNED(fd_closep) int fd = create_ruleset(&attr, abi);
    if (fd < 0)
        return fd;
    if (a->landlock != LANDLOCK_SCOPE) {
        r = allow(fd, a->state_dir, attr.handled_access_fs); // must be there, unlike the rest
        if (r == 0)
            r = grant_table(fd, &attr);
        for (size_t i = 0; r == 0 && i < n_code; i++)
            r = grant(fd, code[i], read_rights, &attr);
        for (size_t i = 0; r == 0 && i < a->read.n; i++)
            r = grant(fd, a->read.list[i], read_rights, &attr);
    } else if (abi < 6)
        r = allow(fd, "/", FS_REFER);
    if (r < 0)
        return r;
    *ret_layers = layers;
    return fd_take(&fd);
}

int wall_landlock_of(const struct config *config, const struct account_config *account, uint32_t *ret_layers)
{
    char locked[LIMIT_PATH];
    const char **code = calloc(config->plugin_roots.n + 1, sizeof(*code));
    size_t n = 0;

    if (!code)
        return -ENOMEM;
    code[n++] = config_locked_dir(config, locked);
    for (size_t i = 0; i < config->plugin_roots.n; i++)
        if (!config_home_of(config, config->plugin_roots.list[i])) // code in a home runs from its locked copy
            code[n++] = config->plugin_roots.list[i];
    int r = wall_landlock_build(account, code, n, ret_layers);
    free(code);
    return r;
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
