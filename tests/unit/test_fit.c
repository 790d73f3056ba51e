// needs: ductile-gate/fit.c ductile-gate/decide.c ductile-gate/guard.c
#include "../../ductile-gate/gate.h"
#include "fd.h"
#include "privs.h"
#include "unit.h"
#include "vault.h"
#include <linux/capability.h>
#include <sys/syscall.h>

enum { SERVICE = 64901 };

static uint32_t permitted(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    return syscall(SYS_capget, &header, data) < 0 ? ~0u : data[0].permitted | data[0].inheritable;
}

// In the place of libcommon's: whoever opens the vault says with what.
int vault_arena_open(const char *vault_file, struct refusal *refusal)
{
    (void)vault_file;
    (void)refusal;
    return 0;
}

int vault_open(const char *key_file, const char *vault_file, struct vault *ret, struct refusal *refusal)
{
    (void)key_file;
    (void)vault_file;
    (void)ret;
    refuse(refusal, REFUSE_VAULT_OPEN, "the vault");
    return refuse_why(refusal, "opened with capabilities %x", permitted());
}

void vault_close(struct vault *vault)
{
    (void)vault;
}

static int checks(void *arg)
{
    struct gate *g = arg;
    if (privs_shed(SERVICE, SERVICE) < 0 || permitted() != 0xc0) // as the unit gives them
        return 1;
    check_vault(g);
    if (permitted() != 0xc0 || g->n_findings != 1)
        return 2;
    return strstr(g->findings[0].evidence, "opened with capabilities 0") ? 0 : 3;
}

// What parses the vault cannot become an account.
static void test_check_vault__gives_its_capabilities_away(void **s)
{
    struct refusal refusal;
    struct config_file *files = calloc(1, sizeof(*files));
    char *dir = scratch_make(), *text = NULL;
    (void)s;
    assert_true(asprintf(&text, "service: {uid: %d, gid: %d}\nsecrets: {vault_file: %s/vault.age}\n", SERVICE,
                         SERVICE, dir) > 0);
    files[0] = (struct config_file){strdup("/t/config.yaml"), text, strlen(text)};
    struct gate g = {.root = fd_open_root(NULL), .live = true};
    assert_int_equal(config_parse(files, 1, &g.config, &refusal), 0);
    OWNED(fd_closep) int vault = fd_open(g.root, g.config->vault_file, O_WRONLY | O_CREAT, 0644);
    assert_true(vault >= 0);
    assert_int_equal(in_child(checks, &g), 0);
    config_free(g.config);
    close(g.root);
    scratch_remove(dir);
}

RUN(T(check_vault__gives_its_capabilities_away))
