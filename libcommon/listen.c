// Where the API listens. Opens nothing.
#include "listen.h"
#include "str.h"
#include <arpa/inet.h>
#include <string.h>

int listen_parse(const char *text, struct listen_addr *ret)
{
    struct listen_addr a = {0};
    const char *colon = strrchr(text, ':');
    char host[64];
    uint64_t port;
    const bool v6 = text[0] == '[';
    size_t n = colon ? (size_t)(colon - text) : 0;

    if (n == 0 || n >= sizeof(host) || str_to_u64(colon + 1, 1, UINT16_MAX, &port) < 0)
        return -EINVAL;
    if (v6 && (n < 3 || text[n - 1] != ']'))
        return -EINVAL;
    memcpy(host, text + v6, n - 2 * v6);
    host[n - 2 * v6] = '\0';
    if (v6) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons((uint16_t)port);
        a.len = sizeof(a.v6);
        if (inet_pton(AF_INET6, host, &a.v6.sin6_addr) != 1 || IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr))
            return -EINVAL;
        a.loopback = IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr);
    } else {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons((uint16_t)port);
        a.len = sizeof(a.v4);
        if (inet_pton(AF_INET, host, &a.v4.sin_addr) != 1)
            return -EINVAL;
        a.loopback = ntohl(a.v4.sin_addr.s_addr) >> 24 == 127;
    }
    *ret = a;
    return 0;
}
