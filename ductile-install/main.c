// ductile-install: init, plan, apply, plugin. Runs as root, when the operator sets something up or changes
// it; never at run time.
#include "fd.h"
#include "install.h"
#include "log.h"
#include "privs.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int host_open(const struct opts *o, bool need_root, struct host *ret, struct refusal *refusal)
{
    struct host h = {
        .root = -1,
        .root_path = opt_given(o, OPT_ROOT) && !str_eq(o->value[OPT_ROOT], "/") ? o->value[OPT_ROOT] : NULL};

    *ret = h;
    h.root = fd_open_root(h.root_path);
    if (h.root < 0) {
        refuse(refusal, REFUSE_IO, "the system image %s", h.root_path);
        refuse_why(refusal, "%s", strerror(-h.root));
        return refuse_remedy(refusal, "--root DIR");
    }
    *ret = h;
    int r = config_read(h.root, o->value[OPT_CONFIG], o->value[OPT_INSTANCE], &ret->config, refusal);
    if (r < 0)
        return r;
    // An unconfined instance of one's own, with paths of one's own, needs no root.
    bool own = ret->config->posture == POSTURE_UNCONFINED && access(ret->config->dir, W_OK) == 0;
    if (need_root && geteuid() != 0 && !own) {
        refuse(refusal, REFUSE_NEEDS_ROOT, "%s %s", o->program->name, o->verb->name);
        refuse_why(refusal, "it changes the host, and this is uid %u", geteuid());
        return refuse_remedy(refusal, "sudo %s %s ...", o->program->name, o->verb->name);
    }
    r = facts_read(h.root, !h.root_path, &ret->facts);
    if (r < 0) {
        refuse(refusal, REFUSE_IO, "/etc/passwd and /etc/group");
        refuse_why(refusal, "%s", strerror(-r));
        return refuse_remedy(refusal, "look at them by hand");
    }
    if (geteuid() != 0 && own) {
        if (!ret->config->resolved)
            config_resolve_self(ret->config);
        return 0;
    }
    r = users_resolve(ret, refusal);
    return r == -EAGAIN ? 0 : r; // apply makes them
}

void host_close(struct host *h)
{
    config_free(h->config);
    facts_free(&h->facts);
    fd_closep(&h->root);
}

// ---- init ---------------------------------------------------------------------------------------

static int ask_posture(const struct opts *o, enum posture *ret, struct refusal *refusal)
{
    int p = opt_given(o, OPT_POSTURE) ? posture_from_name(o->value[OPT_POSTURE]) : -EINVAL;

    if (p >= 0) {
        *ret = (enum posture)p;
        return 0;
    }
    if (opt_given(o, OPT_POSTURE))
        refuse(refusal, REFUSE_USAGE, "init --posture %s", o->value[OPT_POSTURE]);
    else
        refuse(refusal, REFUSE_CONFIRM, "init without a posture");
    refuse_why(refusal,
               "unconfined: plugins run as the service, nothing is walled off; full-privsep: every plugin is "
               "walled off; hybrid: most are, and a few vouched-for ones act as you");
    return refuse_remedy(refusal, "ductile-install init --posture hybrid --operator USER");
}

static int find_operator(const struct opts *o, const struct facts *facts, const struct host_user **ret,
                         struct refusal *refusal)
{
    const char *name = o->value[OPT_OPERATOR];
    const struct host_user *u = name ? facts_user(facts, name) : NULL;

    if (u && u->uid != 0 && str_is_abspath(u->home) && !str_eq(u->home, "/") && str_is_account(u->name) &&
        !str_eq(u->name, "default") && !str_eq(u->name, "untrusted")) {
        *ret = u;
        return 0;
    }
    refuse(refusal, REFUSE_INIT_OPERATOR, "init --posture hybrid%s%s", name ? " --operator " : "",
           name ? name : "");
    refuse_why(
        refusal,
        !name ? "a credentialed account is an existing login user, and none was named"
        : !u  ? "there is no such user in /etc/passwd"
              : "this user cannot be a credentialed account (root, no home, or a name accounts cannot have)");
    return refuse_remedy(refusal, "ductile-install init --posture hybrid --operator USER");
}

static int write_config(const struct opts *o, int root, const char *path, const char *text,
                        struct refusal *refusal)
{
    const struct layout_item dirs[] = {
        {.kind = LAYOUT_KIND_DIR, .mode = 0750, .presence = LAYOUT_PRESENCE_MAKE},
        {.kind = LAYOUT_KIND_DIR, .mode = 0750, .presence = LAYOUT_PRESENCE_MAKE},
    };
    struct stat st;
    int r = 0;

    if (fd_stat(root, path, &st) == 0) {
        refuse(refusal, REFUSE_INIT_EXISTS, "writing %s", path);
        refuse_why(refusal, "it exists");
        return refuse_remedy(refusal, "edit it, then: ductile-install plan -c %s", path);
    }
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(dirs); i++) {
        struct layout_item item = dirs[i];
        snprintf(item.path, sizeof(item.path), "%.*s%s", (int)(strrchr(path, '/') - path), path,
                 i ? "/plugins.d" : "");
        // Modes of what is there already are apply's business, which knows the group.
        if (fd_stat(root, item.path, &st) == -ENOENT && !opt_given(o, OPT_DRY_RUN))
            r = layout_apply(root, &item);
    }
    if (r == 0 && opt_given(o, OPT_DRY_RUN))
        printf("%s", text);
    else if (r == 0)
        r = fd_replace_file(root, path, text, strlen(text), 0640, 0, 0);
    if (r == 0)
        return 0;
    refuse(refusal, REFUSE_APPLY, "writing %s", path);
    refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(refusal,
                         r == -EACCES || r == -EPERM ? "run this as root" : "look at the directory by hand");
}

static int init(const struct opts *o, struct refusal *refusal)
{
    enum posture posture = POSTURE_UNCONFINED;
    struct facts facts = {0};
    const struct host_user *operator= NULL;
    const char *instance = opt_given(o, OPT_INSTANCE) ? o->value[OPT_INSTANCE] : "ductile";
    char path[LIMIT_PATH];
    OWNED(fd_closep) int root = fd_open_root(o->value[OPT_ROOT]);

    if (geteuid() != 0) {
        refuse(refusal, REFUSE_NEEDS_ROOT, "ductile-install init");
        refuse_why(refusal, "the config is root's, and this is uid %u", geteuid());
        return refuse_remedy(refusal, "sudo ductile-install init ...");
    }
    if (!str_is_instance(instance))
        return opt_usage(o, "\"%s\" cannot be an instance's name", instance);
    if (root < 0) {
        refuse(refusal, REFUSE_IO, "the system image %s", o->value[OPT_ROOT]);
        refuse_why(refusal, "%s (%s)", strerror(-root), errno_name(-root));
        return refuse_remedy(refusal, "--root DIR, a directory that is there");
    }
    int r = ask_posture(o, &posture, refusal);
    if (r == 0 && facts_read(root, false, &facts) < 0)
        facts = (struct facts){0};
    if (r == 0 && posture == POSTURE_HYBRID)
        r = find_operator(o, &facts, &operator, refusal);
    snprintf(path, sizeof(path), "/etc/%s/config.yaml", instance);
    if (opt_given(o, OPT_CONFIG))
        snprintf(path, sizeof(path), "%s", o->value[OPT_CONFIG]);
    if (r == 0) {
        OWNED(freep) char *text = render_config(posture, instance, operator);
        r = text ? write_config(o, root, path, text, refusal) : -ENOMEM;
    }
    facts_free(&facts);
    if (r < 0 && r != -ECANCELED) {
        refuse(refusal, REFUSE_IO, "writing %s", path);
        refuse_why(refusal, "%s", strerror(-r));
        refuse_remedy(refusal, "free some memory, then again");
    }
    if (r == 0 && !opt_given(o, OPT_DRY_RUN)) {
        if (opt_given(o, OPT_JSON))
            printf("{\"config\":\"%s\",\"posture\":\"%s\"}\n", path, posture_name(posture));
        else if (!opt_given(o, OPT_QUIET))
            printf(
                "wrote %s (posture %s)\nnext: read it, then ductile-install plan, and ductile-install apply\n",
                path, posture_name(posture));
    }
    return r;
}

static int verb_init(const struct opts *o)
{
    struct refusal refusal;
    int r = init(o, &refusal);

    return r < 0 ? refusal_print(&refusal, opt_given(o, OPT_JSON)) : r;
}

// ---- plan, apply --------------------------------------------------------------------------------

static void print_action(const struct action *a)
{
    printf("%-52s %s -> %s\n", a->what, a->before, a->after);
}

static void print_plan_json(const struct plan *plan, const char *word)
{
    struct strbuf sb = {0};

    sb_addf(&sb, "{\"%s\":[", word);
    for (size_t i = 0; i < plan->n; i++) {
        sb_adds(&sb, i ? ",{\"what\":" : "{\"what\":");
        sb_add_json(&sb, plan->list[i].what);
        sb_adds(&sb, ",\"before\":");
        sb_add_json(&sb, plan->list[i].before);
        sb_adds(&sb, ",\"after\":");
        sb_add_json(&sb, plan->list[i].after);
        sb_addc(&sb, '}');
    }
    sb_adds(&sb, "]}");
    OWNED(freep) char *text = sb_finish(&sb);
    puts(text ? text : "{}");
}

static int verb_plan(const struct opts *o)
{
    struct host h;
    struct refusal refusal;
    struct plan plan = {0};
    int r = host_open(o, true, &h, &refusal);

    if (r == 0)
        r = plan_build(&h, false, &plan, &refusal);
    if (r != 0) {
        host_close(&h);
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    if (opt_given(o, OPT_JSON))
        print_plan_json(&plan, "plan");
    else if (plan.n == 0)
        printf("nothing to change: the host is as %s says\n", h.config->path);
    else {
        for (size_t i = 0; i < plan.n; i++)
            print_action(&plan.list[i]);
        printf("%zu changes; ductile-install apply makes them\n", plan.n);
    }
    r = plan.n ? EXITCODE_PENDING : EXITCODE_OK;
    plan_free(&plan);
    host_close(&h);
    return r;
}

// Executes and moves what was done into `done`.
static int execute_all(struct host *h, struct plan *plan, struct plan *done, bool quiet,
                       struct refusal *refusal)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < plan->n; i++) {
        struct action *a = &plan->list[i];
        r = plan_execute(h, a, refusal);
        if (r < 0)
            break;
        if (!quiet)
            print_action(a);
        r = plan_add(done, a);
        *a = (struct action){0};
    }
    plan_free(plan);
    return r;
}

// Users first, because everything else needs their ids. Then the rest, twice: what a fresh file or directory
// makes possible (a mode of something that was just written) shows only in the second look.
static int apply(struct host *h, struct plan *done, bool quiet, struct refusal *refusal)
{
    struct plan plan = {0};
    int r = plan_build(h, true, &plan, refusal);

    if (r == 0)
        r = execute_all(h, &plan, done, quiet, refusal);
    for (int pass = 0; r == 0 && pass < 3; pass++) {
        r = plan_build(h, false, &plan, refusal);
        if (r == 0 && plan.n == 0)
            return 0;
        if (r == 0)
            r = execute_all(h, &plan, done, quiet, refusal);
    }
    if (r == 0)
        r = plan_build(h, false, &plan, refusal);
    if (r == 0 && plan.n > 0) {
        refuse(refusal, REFUSE_APPLY, "%s", plan.list[0].what);
        refuse_why(refusal, "it still differs after apply: %s, wanted %s", plan.list[0].before,
                   plan.list[0].after);
        r = refuse_remedy(refusal, "something else changes it; find out what");
    }
    if (r == 0 || r == -ECANCELED)
        plan_free(&plan);
    return r;
}

static void say_next(const struct config *c, size_t changes)
{
    printf("%zu changes made\n", changes);
    if (c->personal)
        printf("next: ductile-run -c %s serve\n", c->path);
    else
        printf("next: systemctl enable --now %s; ductile status\n", c->name);
}

static int verb_apply(const struct opts *o)
{
    struct host h;
    struct refusal refusal;
    struct plan done = {0};
    bool json = opt_given(o, OPT_JSON);
    int r = host_open(o, true, &h, &refusal);

    if (r == 0)
        r = apply(&h, &done, json || opt_given(o, OPT_QUIET), &refusal);
    if (done.n > 0 && h.config->resolved) {
        struct refusal other;
        if (record_apply(&h, &done, &other) < 0)
            log_warn("%s: %s", other.what, other.why);
    }
    if (r != 0) {
        if (r != -ECANCELED) {
            refuse(&refusal, REFUSE_APPLY, "apply");
            refuse_why(&refusal, "%s", strerror(-r));
            refuse_remedy(&refusal, "try again");
        }
        r = refusal_print(&refusal, json);
    } else if (json)
        print_plan_json(&done, "done");
    else if (opt_given(o, OPT_QUIET))
        r = EXITCODE_OK;
    else if (done.n == 0)
        printf("nothing to change: the host is as %s says\n", h.config->path);
    else
        say_next(h.config, done.n);
    plan_free(&done);
    host_close(&h);
    return r;
}

static const struct opt_verb verbs[] = {
    {.name = "init",
     .args = "",
     .options = OPT_BIT(POSTURE) | OPT_BIT(OPERATOR) | OPT_BIT(ROOT) | OPT_BIT(DRY_RUN),
     .summary = "write a commented config",
     .example = "ductile-install init --posture hybrid --operator matt",
     .detail = "An existing config is never touched. Read what was written, then plan and apply.",
     .exits = "73 74 77",
     .run = verb_init},
    {.name = "plan",
     .args = "",
     .options = OPT_BIT(ROOT),
     .summary = "print every change apply would make, old -> new",
     .example = "ductile-install plan",
     .exits = "2 74 77",
     .run = verb_plan},
    {.name = "apply",
     .args = "",
     .options = OPT_BIT(ROOT),
     .summary = "make the host look as the config says",
     .detail =
         "Users and groups, directories, modes, ACLs, unit, secret zero and the vault. A second apply changes nothing.",
     .example = "ductile-install apply",
     .exits = "74 77",
     .run = verb_apply},
    {.name = "plugin add",
     .args = "DIRECTORY",
     .min_args = 1,
     .max_args = 1,
     .options = OPT_BIT(TO) | OPT_BIT(FORCE) | OPT_BIT(DRY_RUN) | OPT_BIT(ROOT),
     .summary = "copy a plugin into a plugin root, root-owned",
     .example = "ductile plugin add share/plugins/github_repo_sync",
     .exits = "65 66 73 77",
     .run = plugin_add},
    {.name = "plugin lock",
     .args = "NAME...",
     .min_args = 1,
     .max_args = -1,
     .options = OPT_BIT(DRY_RUN) | OPT_BIT(ROOT),
     .summary = "record a plugin's code; from then on exactly this runs",
     .detail =
         "The whole tree is hashed. Code in a home is copied to /opt/INSTANCE/locked, and the copy is what runs. A "
         "running gateway takes the new lock at once.",
     .example = "ductile plugin lock github_repo_sync",
     .exits = "65 66 74 77",
     .run = plugin_lock},
    {.name = "plugin verify",
     .args = "[NAME...]",
     .min_args = 0,
     .max_args = -1,
     .options = OPT_BIT(ROOT),
     .summary = "compare code with its lock",
     .example = "ductile plugin verify",
     .exits = "1 66 77",
     .run = plugin_verify},
};

int main(int argc, char **argv)
{
    static const struct opt_program program = {
        .name = "ductile-install",
        .summary = "make the host look as the config says",
        .detail = "Users, groups, layout, modes, ACLs, units, plugin code and locks. Shows the plan first.",
        .verbs = verbs,
        .n_verbs = ARRAY_LEN(verbs),
    };

    log_open(program.name, false);
    if (privs_harden() < 0 || sodium_init() < 0)
        return EXITCODE_BUG;
    return opt_main(&program, argc, argv);
}
