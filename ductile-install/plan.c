// The plan: what differs from the config, as a list of actions. `plan` prints it, `apply` executes the same
// list.
#include "acl.h"
#include "fd.h"
#include "install.h"
#include "keyfile.h"
#include "privs.h"
#include "rootfacts.h"
#include "unitfile.h"
#include "vault.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

int plan_add(struct plan *plan, struct action *action)
{
    struct action *list = reallocarray(plan->list, plan->n + 1, sizeof(*list));
    bool ok = list && action->what && action->before && action->after;

    if (list)
        plan->list = list;
    if (!ok) {
        free(action->what);
        free(action->before);
        free(action->after);
        free(action->path);
        free(action->content);
        return -ENOMEM;
    }
    list[plan->n++] = *action;
    return 0;
}

void plan_free(struct plan *plan)
{
    for (size_t i = 0; i < plan->n; i++) {
        free(plan->list[i].what);
        free(plan->list[i].before);
        free(plan->list[i].after);
        free(plan->list[i].path);
        free(plan->list[i].content);
    }
    free(plan->list);
    *plan = (struct plan){0};
}

__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    char *s = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&s, format, ap) < 0)
        s = NULL;
    va_end(ap);
    return s;
}

// ---- building -----------------------------------------------------------------------------------

int plan_file(struct host *h, struct plan *plan, const char *path, char *content, mode_t mode, int64_t gid)
{
    OWNED(freep) char *wanted = content;
    OWNED(freep) char *found = NULL;
    size_t len = 0;
    struct stat st;

    if (!wanted)
        return -ENOMEM;
    int r = fd_read_file(h->root, path, 1 << 20, &found, &len);
    bool same = r == 0 && len == strlen(wanted) && memcmp(found, wanted, len) == 0;
    if (same && fd_stat(h->root, path, &st) == 0 && st.st_uid == 0 && (int64_t)st.st_gid == gid &&
        (st.st_mode & 07777) == mode)
        return 0;
    struct action a = {.kind = ACTION_FILE, .path = strdup(path), .content = ptr_take(&wanted)};
    a.item.mode = mode;
    a.item.gid = gid;
    a.what = text("file %s", path);
    a.before = strdup(r == -ENOENT ? "absent"
                      : same       ? "other owner or mode"
                      : r == 0     ? "differs"
                                   : "unreadable");
    a.after = strdup("generated");
    return plan_add(plan, &a);
}

bool plan_has_systemd(const struct host *h)
{
    return h->facts.live && access("/run/systemd/system", F_OK) == 0;
}

int plan_reload_units(struct host *h, struct plan *plan, const char *before)
{
    if (!plan_has_systemd(h))
        return 0;
    struct action a = {.kind = ACTION_UNITS,
                       .what = strdup("systemd"),
                       .before = strdup(before),
                       .after = strdup("daemon-reload")};
    return plan_add(plan, &a);
}

const char *plan_unit_path(const struct host *h, const char *suffix, char buf[static LIMIT_PATH])
{
    snprintf(buf, LIMIT_PATH, "/etc/systemd/system/%s%s.service", h->config->name, suffix);
    return buf;
}

static int plan_user(struct host *h, struct plan *plan, const char *name, int64_t uid, bool *missing)
{
    struct action a = {.kind = ACTION_USERS};

    if (facts_user(&h->facts, name))
        return 0;
    *missing = true;
    a.what = text("user %s", name);
    a.before = strdup("absent");
    a.after =
        uid == ID_AUTO ? strdup("a system user, id chosen by the host") : text("uid %lld", (long long)uid);
    return plan_add(plan, &a);
}

static int plan_users(struct host *h, struct plan *plan)
{
    const struct config *c = h->config;
    char path[LIMIT_PATH];
    bool missing = !facts_group(&h->facts, c->operators);

    if (c->personal)
        return 0;
    snprintf(path, sizeof(path), "/etc/sysusers.d/%s.conf", c->name);
    int r = plan_file(h, plan, path, render_sysusers(c), 0644, 0);
    if (r == 0 && missing) {
        struct action a = {.kind = ACTION_USERS,
                           .what = text("group %s", c->operators),
                           .before = strdup("absent"),
                           .after = strdup("a system group")};
        r = plan_add(plan, &a);
    }
    if (r == 0)
        r = plan_user(h, plan, c->user, c->uid, &missing);
    if (r == 0 && c->posture != POSTURE_UNCONFINED)
        r = plan_user(h, plan, c->bus_user, ID_AUTO, &missing);
    for (size_t i = 0; r == 0 && i < c->accounts.n; i++)
        if (c->accounts.list[i].mode == MODE_CONFINED)
            r = plan_user(h, plan, c->accounts.list[i].user, c->accounts.list[i].uid, &missing);
    return r;
}

static int plan_layout(struct host *h, struct plan *plan, struct refusal *refusal)
{
    struct layout layout;
    int r = layout_expand(h->config, &layout);

    for (size_t i = 0; r == 0 && i < layout.n; i++) {
        char before[128], after[128];
        const struct layout_item *item = &layout.list[i];
        enum layout_fault fault = layout_check(h->root, item, before, after);
        if (fault == LAYOUT_OK || (fault == LAYOUT_MISSING && item->presence != LAYOUT_PRESENCE_MAKE))
            continue;
        if (fault == LAYOUT_PARENT || fault == LAYOUT_UNKNOWN || fault == LAYOUT_KIND) {
            refuse(refusal, REFUSE_APPLY, "%s", item->path);
            refuse_why(refusal, "%s; it should be: %s", before, after);
            r = refuse_remedy(
                refusal,
                "look at it by hand: ductile-install removes and follows nothing that it did not make");
            break;
        }
        struct action a = {.kind = ACTION_LAYOUT,
                           .item = *item,
                           .what = text("%s", item->path),
                           .before = strdup(before),
                           .after = strdup(after)};
        r = plan_add(plan, &a);
    }
    layout_free(&layout);
    return r;
}

static int plan_vault(struct host *h, struct plan *plan)
{
    struct stat st;
    const char *paths[] = {h->config->age_key_file, h->config->vault_file};
    const char *names[] = {"secret zero", "the vault"};
    int r = 0;

    if (keyfile_is_credential(h->config->age_key_file))
        return 0; // a shell has no credentials: who has them makes the vault, by ductile-vault init
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(paths); i++) {
        if (fd_stat(h->root, paths[i], &st) != -ENOENT)
            continue;
        struct action a = {.kind = ACTION_VAULT,
                           .what = text("%s %s", names[i], paths[i]),
                           .before = strdup("absent"),
                           .after = text("made by %s, 0600", h->config->user)};
        r = plan_add(plan, &a);
    }
    return r;
}

static int plan_generated(struct host *h, struct plan *plan, struct refusal *refusal)
{
    const struct config *c = h->config;
    char path[LIMIT_PATH];
    size_t before;
    bool egress;
    int r = 0;

    if (c->personal) // no unit, no system users: whoever runs it starts it
        return 0;
    if (c->resolved)
        r = plan_file(h, plan, config_lock_path(c, "accounts.lock.yaml", path), render_accounts_lock(c), 0640,
                      c->gid);
    snprintf(path, sizeof(path), "/etc/tmpfiles.d/%s.conf", c->name);
    if (r == 0)
        r = plan_file(h, plan, path, render_tmpfiles(c), 0644, 0);
    before = plan->n;
    if (r == 0)
        r = egress_plan_files(h, plan, refusal);
    egress = plan->n > before;
    if (r == 0)
        r = plan_file(h, plan, plan_unit_path(h, "", path), unitfile_render(c), 0644, 0);
    if (r == 0)
        r = prove_plan(h, plan);
    if (r == 0 && plan->n > before)
        r = plan_reload_units(h, plan, "old unit");
    return r == 0 ? egress_plan_load(h, plan, egress) : r;
}

// What only root can know, where it is missing, too old or no longer true. Not in an image: its doors are
// those of the host that it will be.
static int plan_facts(struct host *h, struct plan *plan)
{
    struct rootfacts facts;
    char why[256], path[LIMIT_PATH];
    const struct config *c = h->config;

    if (h->root_path || c->posture == POSTURE_UNCONFINED || c->personal || geteuid() != 0)
        return 0;
    int r = c->resolved ? rootfacts_read(h->root, c, (int64_t)time(NULL) * 1000, &facts, why) : 1;
    if (r <= 0) {
        rootfacts_free(&facts);
        return r;
    }
    struct action a = {.kind = ACTION_FACTS,
                       .what = text("facts %s", rootfacts_path(c, path)),
                       .before = strdup(c->resolved ? why : "absent"),
                       .after = strdup("collected by root")};
    return plan_add(plan, &a);
}

int plan_build(struct host *h, bool users_only, struct plan *ret, struct refusal *refusal)
{
    struct plan plan = {0};
    int r = plan_users(h, &plan);

    if (r == 0 && !users_only)
        r = plan_layout(h, &plan, refusal);
    if (r == 0 && !users_only)
        r = plan_generated(h, &plan, refusal);
    if (r == 0 && !users_only)
        r = homes_plan(h, &plan, refusal);
    if (r == 0 && !users_only &&
        !h->root_path) // not in an image: the first apply on the running host makes it
        r = plan_vault(h, &plan);
    if (r == 0 && !users_only)
        r = plan_facts(h, &plan);
    if (r < 0) {
        plan_free(&plan);
        if (r != -ECANCELED) {
            refuse(refusal, REFUSE_APPLY, "the plan");
            refuse_why(refusal, "%s", strerror(-r));
            refuse_remedy(refusal, "ductile-install plan -v");
        }
        return -ECANCELED;
    }
    *ret = plan;
    return 0;
}

// ---- executing ----------------------------------------------------------------------------------

static int failed(struct refusal *refusal, const struct action *a, int r)
{
    refuse(refusal, REFUSE_APPLY, "%s: %s -> %s", a->what, a->before, a->after);
    refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(refusal, "mend that and run `ductile-install apply` again: what is done stays done");
}

static int write_generated(struct host *h, struct action *a)
{
    mode_t old = umask(0022);
    int r = fd_make_parents(h->root, a->path); // /etc/sysusers.d is missing on some hosts

    umask(old);
    if (r < 0)
        return r;
    return fd_replace_file(h->root, a->path, a->content, strlen(a->content), a->item.mode, 0,
                           (gid_t)a->item.gid);
}

// Secret zero and the vault are made by their owner: root holds neither, not even for the moment of their
// making.
static int make_vault(struct host *h, struct refusal *refusal)
{
    int status, pipes[2];
    struct refusal theirs = {0};

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return err_last();
    pid_t pid = fork();
    if (pid == 0) {
        int r = vault_arena_open(h->config->vault_file, &theirs);
        int became =
            r < 0 || h->config->personal ? 0 : privs_become((uid_t)h->config->uid, (gid_t)h->config->gid);
        if (became < 0) {
            r = refuse(&theirs, REFUSE_NEEDS_ROOT, "becoming %s, who owns the vault", h->config->user);
            refuse_why(&theirs, "%s (%s)", strerror(-became), errno_name(-became));
            refuse_remedy(&theirs, "run ductile-install apply as root, with CAP_SETUID and CAP_SETGID");
        }
        if (r == 0)
            r = vault_create(h->config, &theirs);
        if (r < 0 && write(pipes[1], &theirs, sizeof(theirs)) < 0)
            _exit(2);
        _exit(r < 0);
    }
    close(pipes[1]);
    OWNED(fd_closep) int answer = pipes[0];
    if (pid < 0)
        return err_last();
    if (read(answer, &theirs, sizeof(theirs)) == sizeof(theirs)) {
        *refusal = theirs;
        waitpid(pid, NULL, 0);
        return -ECANCELED;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static bool has_vault(const struct host *h)
{
    struct stat st;

    return fd_stat(h->root, h->config->age_key_file, &st) == 0 &&
           fd_stat(h->root, h->config->vault_file, &st) == 0;
}

int plan_execute(struct host *h, struct action *a, struct refusal *refusal)
{
    int r = 0;

    switch (a->kind) {
    case ACTION_FILE: r = write_generated(h, a); break;
    case ACTION_USERS: r = h->config->resolved ? 0 : users_make(h, refusal); break;
    case ACTION_LAYOUT: r = layout_apply(h->root, &a->item); break;
    case ACTION_ACL: r = homes_execute(h, a, refusal); break;
    case ACTION_VAULT: r = has_vault(h) ? 0 : make_vault(h, refusal); break; // both are made at once
    case ACTION_FACTS: r = rootfacts_write(h->root, h->config, "ductile-install apply"); break;
    case ACTION_UNITS:
    case ACTION_EGRESS:
    case ACTION_OPEN:
    case ACTION_REMOVE: r = egress_execute(h, a); break;
    }
    return r == 0 || r == -ECANCELED ? r : failed(refusal, a, r);
}
