#include "str.h"
#include "unit.h"
#include "unitfile.h"

static struct config *parsed(const char *text)
{
    struct config *c = NULL;
    struct refusal refusal = {0};
    struct config_file *files = calloc(1, sizeof(*files));
    files[0] = (struct config_file){strdup("/etc/ductile/config.yaml"), strdup(text), strlen(text)};
    assert_int_equal(config_parse(files, 1, &c, &refusal), 0);
    return c;
}

static char *rendered(const char *text)
{
    struct config *c = parsed(text);
    char *unit = unitfile_render(c);
    assert_non_null(unit);
    config_free(c);
    return unit;
}

static const char full[] = "accounts: {default: {}}\n", bare_config[] = "service: {name: x}\n",
                  hybrid[] = "accounts: {default: {}, matt: {home: /home/matt}}\n";

static enum unitfile_finding found_in(const char *config, const char *text, char line[static 160])
{
    struct config *c = parsed(config);
    enum unitfile_finding found = unitfile_scan(c, text, line);
    config_free(c);
    return found;
}

static void test_unitfile_render__two_capabilities_or_none(void **s)
{
    OWNED(freep) char *walled = rendered(full);
    OWNED(freep) char *bare = rendered(bare_config);
    (void)s;
    assert_non_null(strstr(walled, "\nUser=ductile\n"));
    assert_non_null(strstr(walled, "\nCapabilityBoundingSet=CAP_SETUID CAP_SETGID\n"));
    assert_non_null(strstr(bare, "\nCapabilityBoundingSet=\n"));
}

static void test_unitfile_render__no_helper_is_root(void **s)
{
    static const char filtered[] = "accounts: {default: {egress: []}}\n";
    OWNED(freep) char *walled = rendered(filtered);
    OWNED(freep) char *bare = rendered(bare_config);
    char line[160];
    (void)s;
    assert_int_equal(found_in(filtered, walled, line), UNITFILE_CHANGES); // it says who it runs as
    assert_int_equal(found_in(bare_config, bare, line), UNITFILE_CHANGES);
}

static void has(const char *config, const char *line, bool wanted)
{
    OWNED(freep) char *unit = rendered(config);
    if ((strstr(unit, line) != NULL) != wanted)
        fail_msg("%s: %s%s", config, line, wanted ? " is missing" : " is there");
}

static void test_unitfile_render__hardening_by_posture(void **s)
{
    static const char *const in_home[] = {"state: {path: /home/x/d.db}\n",
                                          "secrets: {vault_file: /root/v.age}\n",
                                          "api: {socket: /run/user/5/s}\n"};
    (void)s;
    has(full, "\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n", true);
    has(hybrid, "\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n", true);
    has(bare_config, "\nRestrictAddressFamilies=", false);
    has(full, "\nPrivateTmp=yes\n", true);
    has(hybrid, "\nPrivateTmp=", false);
    has(full, "\nProtectHome=read-only\n", true);
    has(hybrid, "\nProtectHome=", false);
    has("accounts: {default: {}}\nplugin_roots: [/home/x/plugins]\n", "\nProtectHome=read-only\n", true);
    has("accounts: {default: {}}\nstate: {path: /homes/d.db}\n", "\nProtectHome=read-only\n", true);
    for (size_t i = 0; i < ARRAY_LEN(in_home); i++) {
        char text[200];
        snprintf(text, sizeof(text), "%s%s", full, in_home[i]);
        has(text, "\nProtectHome=", false);
        has(text, "\nPrivateTmp=yes\n", true);
    }
    has(hybrid, "\nSystemCallFilter=~@clock ", true);
    has(bare_config, "\nSystemCallFilter=", false);
    has(bare_config, "\nUMask=0077\n", true);
}

static void scan(const char *text, enum unitfile_finding found, const char *expected)
{
    char line[160] = "";
    if (found_in(full, text, line) != found || !str_eq(line, expected))
        fail_msg("%s: %s", text, line);
}

// What systemd puts together of several lines.
static void test_unitfile_scan__lists(void **s)
{
    static const struct {
        const char *config, *text;
        bool softer;
    } rows[] = {
        {full, "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_VSOCK", true},
        {full, "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK", true},
        {hybrid, "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK", false},
        {hybrid, "RestrictAddressFamilies=AF_NETLINK  AF_UNIX ", false},
        {full, "RestrictAddressFamilies=", true},
        {full, "RestrictAddressFamilies= ", true},
        {full, "RestrictAddressFamilies=AF_UNI", true},
        {full, "SystemCallArchitectures=native x86 x32", true},
        {full, "SystemCallArchitectures=native\n", false},
        {full, "ReadWritePaths=-/sys/fs/cgroup/system.slice/%n /etc", true},
        {full, "ReadWritePaths=-/sys/fs/cgroup/system.slice/%n \\\n /etc", true},
        {full, "ReadWritePaths=-/sys/fs/cgroup/system.slice/%n", false},
        {full, "SystemCallFilter=@cpu-emulation", true},
        {full, "SystemCallFilter=~@cpu-emulation", false},
        {full, "PrivateTmp=yes ", false},
        {full, "PrivateTmp=yesterday", true},
        {hybrid, "PrivateTmp=no", false}, // it is not of that posture
        {bare_config, "RestrictAddressFamilies=AF_VSOCK", false},
        {bare_config, "UMask=0000", true},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char line[160] = "";
        if ((found_in(rows[i].config, rows[i].text, line) != UNITFILE_NOTHING) != rows[i].softer)
            fail_msg("row %zu: %s", i, rows[i].text);
    }
}

static void test_unitfile_scan__lines(void **s)
{
    (void)s;
    scan("", UNITFILE_NOTHING, "");
    scan("[Service]\nTimeoutStopSec=5\n# User=root\n; ExecStart=+/x\nNice=5", UNITFILE_NOTHING, "");
    scan("[Service]\nUser=root\n", UNITFILE_CHANGES, "User=root");
    scan("  AmbientCapabilities = CAP_SYS_ADMIN", UNITFILE_CHANGES, "  AmbientCapabilities = CAP_SYS_ADMIN");
    scan("NoNewPrivileges=no", UNITFILE_CHANGES, "NoNewPrivileges=no");
    scan("ExecStart=\nExecStart=/bin/x --a=+b", UNITFILE_CHANGES, "ExecStart=");
    scan("User=root\nExecStartPre=+/bin/x", UNITFILE_ROOTED, "ExecStartPre=+/bin/x");
    scan("ExecStopPost = -@!!/bin/x", UNITFILE_ROOTED, "ExecStopPost = -@!!/bin/x");
    scan("ExecReload=:-/bin/x", UNITFILE_CHANGES, "ExecReload=:-/bin/x");
    scan("Environment=A=+b", UNITFILE_NOTHING, "");
    scan("Environment=A=LD_x\nEnvironment=B=1\nLimitMEMLOCK=1G", UNITFILE_NOTHING, "");
    scan("Environment=A=1 \"LD_PRELOAD=/tmp/x.so\"", UNITFILE_CHANGES,
         "Environment=A=1 \"LD_PRELOAD=/tmp/x.so\"");
    scan("Environment=A=1 \\\n LD_AUDIT=/tmp/x.so", UNITFILE_CHANGES, " LD_AUDIT=/tmp/x.so");
    scan("EnvironmentFile=-/etc/x", UNITFILE_CHANGES, "EnvironmentFile=-/etc/x");
    scan("ProtectSystem=no", UNITFILE_CHANGES, "ProtectSystem=no");
    scan("ProtectSystem=full", UNITFILE_NOTHING, "");
    scan("SystemCallFilter=", UNITFILE_CHANGES, "SystemCallFilter=");
    scan("SystemCallFilter=ptrace", UNITFILE_CHANGES, "SystemCallFilter=ptrace");
    scan("SystemCallFilter=~@debug\nRestrictAddressFamilies=~AF_INET6", UNITFILE_NOTHING, "");
    scan("RestrictAddressFamilies=AF_VSOCK", UNITFILE_CHANGES, "RestrictAddressFamilies=AF_VSOCK");
    scan("ReadWritePaths=/sys/fs/cgroup", UNITFILE_CHANGES, "ReadWritePaths=/sys/fs/cgroup");
    scan("ProtectHome=no", UNITFILE_CHANGES, "ProtectHome=no");
    scan("LimitMEMLOCK=1G", UNITFILE_NOTHING, "");
}

RUN(T(unitfile_render__two_capabilities_or_none), T(unitfile_render__no_helper_is_root),
    T(unitfile_render__hardening_by_posture), T(unitfile_scan__lines), T(unitfile_scan__lists))
