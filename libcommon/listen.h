// api.listen: an address and a port, by number. Names are not resolved: who answers for a name may change it.
#pragma once
#include "owned.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

struct listen_addr {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t len;
    bool loopback; // nobody beyond this host reaches it
};

// "127.0.0.1:8780", "[::1]:8780", "0.0.0.0:8780". -EINVAL: anything else, port 0 too.
MUST int listen_parse(const char *text, struct listen_addr *ret);
