#include "egress.h"
#include "unit.h"
#include <arpa/inet.h>

static void test_egress_parse__forms(void **s)
{
    static const struct {
        const char *text, *addr;
        int family;
        unsigned prefix;
        uint16_t port;
    } good[] = {
        {"192.0.2.0/24", "192.0.2.0", AF_INET, 24, 0},
        {"192.0.2.7", "192.0.2.7", AF_INET, 32, 0},
        {"192.0.2.7:443", "192.0.2.7", AF_INET, 32, 443},
        {"10.0.0.0/8:65535", "10.0.0.0", AF_INET, 8, 65535},
        {"0.0.0.0/0:53", "0.0.0.0", AF_INET, 0, 53},
        {"2001:db8::/32", "2001:db8::", AF_INET6, 32, 0},
        {"::1", "::1", AF_INET6, 128, 0},
        {"[::1]:8080", "::1", AF_INET6, 128, 8080},
        {"[2001:db8::/32]:443", "2001:db8::", AF_INET6, 32, 443},
        {"::/0", "::", AF_INET6, 0, 0},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct egress_net net;
        char text[INET6_ADDRSTRLEN];
        assert_int_equal(egress_parse(good[i].text, &net), 0);
        assert_int_equal(net.family, good[i].family);
        assert_int_equal(net.prefix, good[i].prefix);
        assert_int_equal(net.port, good[i].port);
        assert_string_equal(inet_ntop(net.family, net.addr, text, sizeof(text)), good[i].addr);
    }
}

static void test_egress_parse__refused(void **s)
{
    static const char *const bad[] = {
        "",
        "example.org",
        "example.org:443",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/",
        "10.0.0.0/8:",
        "10.0.0.0/8:0",
        "10.0.0.0/8:65536",
        "10.0.0.0/8:443 ",
        "10.0.0.0/8;drop",
        "10.0.0",
        "010.0.0.0/8",
        "10.0.0.0/-1",
        "2001:db8::1/32",
        "2001:db8::/129",
        "[2001:db8::/32]",
        "[2001:db8::/32]443",
        "[2001:db8::/32]:0",
        "[192.0.2.0/24]:443",
        "[::1",
        "::ffff:10.0.0.0/104",
        "::ffff:10.0.0.1",
        "1111111111222222222233333333334444444444555555555566666666667777777777",
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct egress_net net = {.prefix = 77};
        if (egress_parse(bad[i], &net) != -EINVAL)
            print_message("# taken: %s\n", bad[i]);
        assert_int_equal(egress_parse(bad[i], &net), -EINVAL);
        assert_int_equal(net.prefix, 77); // written on success only
    }
}

static bool allows(const struct account_config *a, const char *addr, uint16_t port)
{
    uint8_t bytes[16];
    int family = strchr(addr, ':') ? AF_INET6 : AF_INET;
    assert_int_equal(inet_pton(family, addr, bytes), 1);
    return egress_allows(a, family, bytes, port);
}

static void test_egress_allows__what_the_rules_accept(void **s)
{
    const char *list[] = {"10.16.0.0/12", "192.0.2.7:443", "[2001:db8::/33]:443", "::1"};
    const struct account_config a = {.egress = {list, ARRAY_LEN(list)}};
    const struct account_config nothing = {.egress = {list, 0}}, everything = {0};
    (void)s;
    assert_true(egress_has(&a) && egress_has(&nothing) && !egress_has(&everything));
    assert_true(allows(&a, "10.31.255.255", 1) && !allows(&a, "10.32.0.0", 1) && !allows(&a, "10.15.0.1", 1));
    assert_true(allows(&a, "192.0.2.7", 443) && !allows(&a, "192.0.2.7", 80) &&
                !allows(&a, "192.0.2.6", 443));
    assert_true(allows(&a, "2001:db8:7fff::1", 443) && !allows(&a, "2001:db8:8000::1", 443));
    assert_true(allows(&a, "::1", 9) && !allows(&a, "::2", 9));
    assert_true(!allows(&nothing, "10.16.0.1", 1) && !allows(&nothing, "::1", 1));
    assert_true(allows(&everything, "10.16.0.1", 1) && allows(&everything, "::1", 1));
}

static struct config *config_of(const char *text)
{
    struct config_file *files = calloc(1, sizeof(*files));
    struct config *c = NULL;
    struct refusal refusal;
    files[0] = (struct config_file){strdup("/etc/x/config.yaml"), strdup(text), strlen(text)};
    assert_int_equal(config_parse(files, 1, &c, &refusal), 0);
    return c;
}

static void test_egress_any__only_where_it_enforces(void **s)
{
    static const struct {
        const char *text;
        bool any;
    } cases[] = {
        {"accounts: {default: {}}\n", false},
        {"accounts: {default: {}, a: {egress: []}}\n", true},
        {"accounts: {a: {egress: [10.0.0.0/8, \"[::1]:53\"]}}\n", true},
        {"service: {unconfined: true}\naccounts: {a: {egress: []}}\n", false},
        {"", false},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *c = config_of(cases[i].text);
        assert_int_equal(egress_any(c), cases[i].any);
        config_free(c);
    }
}

static void test_egress_table__a_name_of_its_own(void **s)
{
    static const char *const names[][2] = {{"ductile", "ductile"},
                                           {"ductile-admin", "ductile-admin"},
                                           {"drop", "ductile_drop"},
                                           {"9lives", "ductile_9lives"}};
    char buf[LIMIT_NAME + 16];
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct config c = {.name = names[i][0]};
        assert_string_equal(egress_table(&c, buf), names[i][1]);
    }
}

RUN(T(egress_parse__forms), T(egress_parse__refused), T(egress_allows__what_the_rules_accept),
    T(egress_any__only_where_it_enforces), T(egress_table__a_name_of_its_own))
