// The layers that the kernel enforces on a process for good: seccomp filters and Landlock domains.
#pragma once
#include "config.h"
#include "owned.h"
#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

enum wall_layer {
#define LAYER(name, word, what) LAYER_##name,
#include "layer.def"
#undef LAYER
    LAYER_COUNT_
};
#define LAYER_BIT(name) (1u << LAYER_##name)
const char *wall_layer_name(enum wall_layer layer);
// "dac,caps,nnp" for a set of bits, into buf. Returns buf.
const char *wall_layers_text(uint32_t layers, char *buf, size_t size);

// ---- seccomp ------------------------------------------------------------------------------------
// Classic BPF, written here rather than with libseccomp: "every argument is one of n ids" is (n+1)^3 rules
// there (or prefix blocks beyond BPF_MAXINSNS at 200 accounts); here it is 2 instructions per id and check.

struct wall_filter {
    struct sock_filter code[BPF_MAXINSNS];
    unsigned short len;
    bool overflow; // too many ids for one filter
};

// The warden's and the gate's, inherited by every plugin: set*id only where every argument is one of these
// ids or -1, setgroups only empty, no new namespaces (unshare, clone; clone3 answers ENOSYS, its flags are
// out of a filter's sight), no setns, no foreign syscall ABI. -E2BIG where the ids do not fit.
MUST int wall_filter_warden(struct wall_filter *f, const uint32_t *uids, size_t n_uids, const uint32_t *gids,
                            size_t n_gids);
// The same for a config: its accounts and the bus.
MUST int wall_filter_config(struct wall_filter *f, const struct config *config);
// The bus's own, on top: only the calls of buscall.def exist, and no memory becomes code. A list of what is
// denied was passed by socketpair and sendto: a datagram socket from a pair still sends to any path.
MUST int wall_filter_bus(struct wall_filter *f);
// For `network: none`, on top in the plugin: socket() only for AF_UNIX, no io_uring (it makes sockets past a
// filter). socketpair() knows no other family that leads anywhere.
MUST int wall_filter_no_network(struct wall_filter *f);
// For `egress`, on top in the plugin: only sockets whose packets nftables can tell by uid. AF_VSOCK never
// meets it; SMC, RxRPC and MPTCP's further subflows send from sockets of the kernel's, which have no owner;
// io_uring makes sockets past a filter.
MUST int wall_filter_egress(struct wall_filter *f);
// The program of an account's own filter, for privs_plan; static. NULL where it needs none.
const struct sock_fprog *wall_filter_of(const struct account_config *account);
// Loads it; no_new_privs must be set. -errno.
MUST int wall_filter_load(const struct wall_filter *f);

// ---- Landlock -----------------------------------------------------------------------------------

// The kernel's ABI, 0 where Landlock is absent or off; never more than wall_landlock_cap allowed.
int wall_landlock_abi(void);
// For tests: behave as an older kernel would.
void wall_landlock_cap(int abi);
#define WALL_LANDLOCK_FLOOR 2 // 5.19; below, renames across directories cannot be granted

// A ruleset for an account. Its state_dir is granted from level `write` on; code: the trees its plugins run
// from, which level `strict` must be let read. *ret_layers gets the LAYER_LANDLOCK_* bits that this kernel
// makes it hold. Returns a descriptor, or -errno (-ENOSYS: no Landlock).
MUST int wall_landlock_build(const struct account_config *account, const char *const *code, size_t n_code,
                             uint32_t *ret_layers);
// The same with the code trees of a config: its plugin roots outside of homes, and the locked copies.
MUST int wall_landlock_of(const struct config *config, const struct account_config *account,
                          uint32_t *ret_layers);
// The bus's: everything about files is denied but what lies beneath ledger_dir. -errno.
MUST int wall_landlock_bus(const char *ledger_dir);
// Restricts this process. -errno.
MUST int wall_landlock_enter(int ruleset_fd);
