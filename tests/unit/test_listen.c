#include "listen.h"
#include "str.h"
#include "unit.h"
#include <arpa/inet.h>

static void test_listen_parse__addresses(void **s)
{
    struct listen_addr a;
    (void)s;
    assert_int_equal(listen_parse("127.0.0.1:8780", &a), 0);
    assert_true(a.loopback && a.v4.sin_family == AF_INET && a.v4.sin_port == htons(8780));
    assert_int_equal(listen_parse("127.8.0.1:1", &a), 0);
    assert_true(a.loopback);
    assert_int_equal(listen_parse("0.0.0.0:80", &a), 0);
    assert_false(a.loopback);
    assert_int_equal(listen_parse("[::1]:65535", &a), 0);
    assert_true(a.loopback && a.v6.sin6_family == AF_INET6 && a.v6.sin6_port == htons(65535));
    assert_int_equal(listen_parse("[::]:80", &a), 0);
    assert_false(a.loopback);
    assert_int_equal(listen_parse("192.0.2.7:80", &a), 0);
    assert_false(a.loopback);
}

static void test_listen_parse__refused(void **s)
{
    static const char *const wrong[] = {"",
                                        ":80",
                                        "127.0.0.1",
                                        "127.0.0.1:",
                                        "127.0.0.1:0",
                                        "127.0.0.1:65536",
                                        "127.0.0.1:08",
                                        "localhost:80",
                                        "::1:80",
                                        "[::1]80",
                                        "[]:80",
                                        "[127.0.0.1]:80",
                                        "[::ffff:127.0.0.1]:80",
                                        "127.1:80",
                                        "127.0.0.1:80 ",
                                        "[::1%lo]:80"};
    struct listen_addr a = {.len = 7};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (listen_parse(wrong[i], &a) != -EINVAL)
            fail_msg("taken: %s", wrong[i]);
    assert_int_equal(a.len, 7); // written only on success
}

RUN(T(listen_parse__addresses), T(listen_parse__refused))
