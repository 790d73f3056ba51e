// Egress rules: the file, the unit that loads it, and their end. All that root ever does to the packet filter
// is what systemd runs for that unit; the service cannot.
#include "egress.h"
#include "fd.h"
#include "install.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *rules_path(const struct host *h, char buf[static LIMIT_PATH])
{
    return config_lock_path(h->config, "egress.nft", buf);
}

static bool is_there(const struct host *h, const char *path)
{
    struct stat st;

    return fd_stat(h->root, path, &st) == 0;
}

// 0: it did it.
static int systemctl(const char *verb, const char *unit)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        execlp("systemctl", "systemctl", "-q", verb, unit, (char *)NULL);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid < 0 ? err_last() : WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

int egress_plan_files(struct host *h, struct plan *plan, struct refusal *refusal)
{
    char path[LIMIT_PATH];

    if (!egress_any(h->config))
        return 0;
    if (plan_has_systemd(h) && access(NFT_PROGRAM, X_OK) < 0) {
        refuse(refusal, REFUSE_APPLY, "the egress rules of %s", h->config->name);
        refuse_why(refusal, "an account has an egress list, and there is no " NFT_PROGRAM);
        return refuse_remedy(refusal, "apt-get install nftables");
    }
    int r = h->config->resolved ? plan_file(h, plan, rules_path(h, path), render_egress(h->config), 0644, 0)
                                : 0; // its rules go by uid
    return r == 0 ? plan_file(h, plan, plan_unit_path(h, "-egress", path), render_egress_unit(h->config),
                              0644, 0)
                  : r;
}

static int plan_remove(struct host *h, struct plan *plan, const char *path)
{
    struct action a = {.kind = ACTION_REMOVE, .path = strdup(path), .before = strdup("generated")};

    if (asprintf(&a.what, "file %s", path) < 0)
        a.what = NULL;
    a.after = strdup("removed: no account has an egress list");
    return is_there(h, path) ? plan_add(plan, &a)
                             : (free(a.path), free(a.what), free(a.before), free(a.after), 0);
}

static int plan_rules(struct plan *plan, const struct host *h, enum action_kind kind, const char *before,
                      const char *after)
{
    struct action a = {.kind = kind, .before = strdup(before), .after = strdup(after)};

    if (asprintf(&a.path, "%s-egress.service", h->config->name) < 0)
        a.path = NULL;
    a.what = strdup("egress rules");
    return a.path ? plan_add(plan, &a) : -ENOMEM;
}

// Called behind the gateway's own unit: that must have stopped to require the other before the other is
// stopped, or the gateway would stop with it.
int egress_plan_load(struct host *h, struct plan *plan, bool changed)
{
    char unit[LIMIT_PATH], rules[LIMIT_PATH], name[LIMIT_PATH];

    plan_unit_path(h, "-egress", unit);
    rules_path(h, rules);
    snprintf(name, sizeof(name), "%s-egress.service", h->config->name);
    if (egress_any(h->config)) {
        if (!plan_has_systemd(h) || (!changed && systemctl("is-active", name) == 0))
            return 0;
        return plan_rules(plan, h, ACTION_EGRESS, changed ? "old rules" : "not loaded", "loaded");
    }
    bool had_unit = is_there(h, unit);
    int r = had_unit && plan_has_systemd(h) ? plan_rules(plan, h, ACTION_OPEN, "loaded", "taken away") : 0;
    if (r == 0)
        r = plan_remove(h, plan, unit);
    if (r == 0)
        r = plan_remove(h, plan, rules);
    return r == 0 && had_unit ? plan_reload_units(h, plan, "a unit less") : r;
}

static int remove_file(struct host *h, const char *path)
{
    const char *name;
    OWNED(fd_closep) int parent = fd_open_parent(h->root, path, &name);

    return parent < 0 ? parent : unlinkat(parent, name, 0) < 0 ? err_last() : 0;
}

int egress_execute(struct host *h, const struct action *a)
{
    switch (a->kind) {
    case ACTION_UNITS: return systemctl("daemon-reload", NULL);
    case ACTION_EGRESS: return systemctl("reload-or-restart", a->path);
    case ACTION_OPEN: return systemctl("stop", a->path);
    case ACTION_REMOVE: return remove_file(h, a->path);
    case ACTION_FILE:
    case ACTION_USERS:
    case ACTION_LAYOUT:
    case ACTION_ACL:
    case ACTION_VAULT:
    case ACTION_FACTS: break;
    }
    return -EINVAL;
}
