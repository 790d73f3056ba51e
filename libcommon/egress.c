// What an egress list means. Loads nothing and asks nothing of the host.
#include "egress.h"
#include "str.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

// Do the first `prefix` bits of two addresses agree?
static bool same_net(const uint8_t *a, const uint8_t *b, unsigned prefix)
{
    unsigned whole = prefix / 8, rest = prefix % 8;

    return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0);
}

static bool has_host_bits(const struct egress_net *net)
{
    static const uint8_t zero[16];
    uint8_t host[16];
    unsigned len = net->family == AF_INET ? 4 : 16;

    memcpy(host, net->addr, len);
    for (unsigned bit = 0; bit < net->prefix; bit++)
        host[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
    return memcmp(host, zero, len) != 0;
}

// "ADDRESS[/PREFIX]", n bytes of it.
static int parse_net(const char *text, size_t n, struct egress_net *net)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char buf[64], *slash;
    uint64_t prefix;

    if (n >= sizeof(buf))
        return -EINVAL;
    memcpy(buf, text, n);
    buf[n] = '\0';
    if ((slash = strchr(buf, '/')))
        *slash = '\0';
    net->family = strchr(buf, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(net->family, buf, net->addr) != 1)
        return -EINVAL;
    prefix = net->family == AF_INET ? 32 : 128;
    if (slash && str_to_u64(slash + 1, 0, prefix, &prefix) < 0)
        return -EINVAL;
    net->prefix = (unsigned)prefix;
    if (net->family == AF_INET6 && net->prefix >= 96 && memcmp(net->addr, mapped, sizeof(mapped)) == 0)
        return -EINVAL;
    return has_host_bits(net) ? -EINVAL : 0;
}

int egress_parse(const char *text, struct egress_net *ret)
{
    struct egress_net net = {0};
    const char *net_end = text + strlen(text), *port = NULL;
    uint64_t number = 0;

    if (text[0] == '[') { // brackets are for a port only
        net_end = strchr(++text, ']');
        if (!net_end || net_end[1] != ':' || !memchr(text, ':', (size_t)(net_end - text)))
            return -EINVAL;
        port = net_end + 2;
    } else if (strchr(text, ':') && strchr(text, ':') == strrchr(text, ':')) {
        net_end = strchr(text, ':');
        port = net_end + 1;
    }
    if (port && str_to_u64(port, 1, UINT16_MAX, &number) < 0)
        return -EINVAL;
    net.port = (uint16_t)number;
    if (parse_net(text, (size_t)(net_end - text), &net) < 0)
        return -EINVAL;
    *ret = net;
    return 0;
}

bool egress_has(const struct account_config *account)
{
    return account->egress.list != NULL;
}

bool egress_any(const struct config *config)
{
    if (config->posture != POSTURE_UNCONFINED)
        for (size_t i = 0; i < config->accounts.n; i++)
            if (egress_has(&config->accounts.list[i]))
                return true;
    return false;
}

bool egress_allows(const struct account_config *account, int family, const uint8_t *addr, uint16_t port)
{
    struct egress_net net;

    if (!egress_has(account))
        return true;
    for (size_t i = 0; i < account->egress.n; i++)
        if (egress_parse(account->egress.list[i], &net) == 0 && net.family == family &&
            (net.port == 0 || net.port == port) && same_net(net.addr, addr, net.prefix))
            return true;
    return false;
}

const char *egress_table(const struct config *config, char buf[static LIMIT_NAME + 16])
{
    // An instance may be called as a word of nft's grammar, or begin with a digit; none has an underscore.
    snprintf(buf, LIMIT_NAME + 16, "%s%s", str_starts(config->name, "ductile") ? "" : "ductile_",
             config->name);
    return buf;
}
