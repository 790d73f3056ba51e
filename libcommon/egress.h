// Egress lists: the networks an account may reach (accounts.*.egress). Held by nftables rules by uid, which
// ductile-install renders and a unit of its own loads, and by a filter on socket families (wall.h); tried by
// the gate.
#pragma once
#include "config.h"

struct egress_net {
    int family;       // AF_INET or AF_INET6
    uint8_t addr[16]; // network order; AF_INET uses the first 4 bytes
    unsigned prefix;
    uint16_t port; // 0: every port and every protocol; else TCP and UDP
};

// "192.0.2.0/24", "192.0.2.7:443", "2001:db8::/32", "[2001:db8::/32]:443". -EINVAL for anything else: host
// bits, port 0, and IPv4-mapped addresses, whose packets are IPv4.
MUST int egress_parse(const char *text, struct egress_net *ret);
// Has the account a list? An empty one counts: it may reach nothing.
bool egress_has(const struct account_config *account);
// Has any account of an instance that enforces?
bool egress_any(const struct config *config);
// May the account reach TCP addr:port by its list?
bool egress_allows(const struct account_config *account, int family, const uint8_t *addr, uint16_t port);
// The table of the instance, into buf: an nft identifier that no other instance has. Returns buf.
const char *egress_table(const struct config *config, char buf[static LIMIT_NAME + 16]);
