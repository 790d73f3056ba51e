// `ductile why-not ACCOUNT PATH`: what keeps an account from a path. The path is walked as root, component by
// component, while a child that has become the account says at each whether it may pass; then the whole drop,
// with its Landlock domain, tries to open it. Changes nothing.
#include "fd.h"
#include "gate.h"
#include "privs.h"
#include "wall.h"
#include <acl/libacl.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum wish { WISH_PASS, WISH_READ };

// The errno with which the account is refused, 0 where it is not. wall: by the whole drop.
static int try_as(const struct config *c, const struct account_config *a, const char *path, enum wish wish,
                  bool wall)
{
    int status;
    uint32_t layers;
    int ruleset = wall ? wall_landlock_of(c, a, &layers) : -1;
    pid_t pid = fork();

    if (pid == 0) {
        if (privs_become((uid_t)a->uid, (gid_t)a->gid) < 0 ||
            (wall && (ruleset < 0 || wall_landlock_enter(ruleset) < 0)))
            _exit(255);
        if (wish == WISH_PASS)
            _exit(faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0);
        _exit(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) < 0 ? errno : 0);
    }
    if (ruleset >= 0)
        close(ruleset);
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EIO;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) != 255 ? WEXITSTATUS(status) : EIO;
}

// "root:ductile 0750, ACL user::rwx,group::r-x,group:ductile:--x,mask::r-x,other::---"
static void describe(const char *path, char *out, size_t size)
{
    struct stat st;
    struct passwd *u;
    struct group *g;

    if (lstat(path, &st) < 0) {
        snprintf(out, size, "%s", strerror(errno));
        return;
    }
    u = getpwuid(st.st_uid);
    g = getgrgid(st.st_gid);
    int n = snprintf(out, size, "%s %s:%s %04o", S_ISDIR(st.st_mode) ? "directory" : "file",
                     u ? u->pw_name : "?", g ? g->gr_name : "?", st.st_mode & 07777);
    acl_t acl = acl_get_file(path, ACL_TYPE_ACCESS);
    if (acl && acl_equiv_mode(acl, NULL) == 1) {
        char *text = acl_to_any_text(acl, NULL, ',', TEXT_ABBREVIATE);
        if (text)
            snprintf(out + n, size - (size_t)n, ", ACL %s", text);
        acl_free(text);
    }
    if (acl)
        acl_free(acl);
}

struct answer {
    char component[4096], found[1024];
    const char *layer; // NULL: it may
    int error;
};

static void ask(const struct config *c, const struct account_config *a, const char *path, struct answer *ret)
{
    *ret = (struct answer){.layer = "dac"};
    snprintf(ret->component, sizeof(ret->component), "/");
    for (const char *p = path; !ret->error && (p = strchr(p + 1, '/'));) {
        snprintf(ret->component, sizeof(ret->component), "%.*s", (int)(p - path), path);
        ret->error = try_as(c, a, ret->component, WISH_PASS, false);
    }
    if (!ret->error) {
        snprintf(ret->component, sizeof(ret->component), "%s", path);
        ret->error = try_as(c, a, path, WISH_READ, false);
    }
    if (!ret->error) {
        ret->layer = "landlock";
        ret->error = try_as(c, a, path, WISH_READ, true);
    }
    if (!ret->error)
        ret->layer = NULL;
    describe(ret->component, ret->found, sizeof(ret->found));
}

static int print_answer(const struct opts *o, const char *asked, const char *path,
                        const struct account_config *a, const struct answer *r)
{
    struct strbuf sb = {0};

    if (!opt_given(o, OPT_JSON)) {
        if (!str_eq(asked, path))
            printf("%s is %s\n", asked, path);
        if (!r->layer)
            printf("%s (%s) may read %s: %s\n", a->name, a->user, path, r->found);
        else if (str_eq(r->layer, "dac"))
            printf("%s (%s, uid %lld, no groups) is stopped at %s: %s (%s)\n  it is: %s\n", a->name, a->user,
                   (long long)a->uid, r->component, strerror(r->error), errno_name(r->error), r->found);
        else
            printf(
                "%s (%s) is stopped by its Landlock domain (level %s): %s (%s)\n  file modes would let it: %s\n"
                "  read: [%s] under accounts.%s would open it\n",
                a->name, a->user, landlock_level_name((enum landlock_level)a->landlock), strerror(r->error),
                errno_name(r->error), r->found, path, a->name);
        return r->layer ? EXITCODE_FINDING : EXITCODE_OK;
    }
    sb_addf(&sb, "{\"account\":\"%s\",\"path\":", a->name);
    sb_add_json(&sb, path);
    sb_addf(&sb, ",\"allowed\":%s,\"layer\":", r->layer ? "false" : "true");
    sb_addf(&sb, r->layer ? "\"%s\"" : "null", r->layer);
    sb_adds(&sb, ",\"component\":");
    sb_add_json(&sb, r->component);
    sb_adds(&sb, ",\"found\":");
    sb_add_json(&sb, r->found);
    sb_addf(&sb, ",\"errno\":\"%s\"}", r->error ? errno_name(r->error) : "");
    OWNED(freep) char *text = sb_finish(&sb);
    puts(text ? text : "{}");
    return r->layer ? EXITCODE_FINDING : EXITCODE_OK;
}

int verb_why_not(const struct opts *o)
{
    static struct answer answer;
    struct refusal refusal;
    OWNED(config_freep) struct config *c = NULL;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    OWNED(freep) char *path = NULL;

    if (geteuid() != 0) {
        refuse(&refusal, REFUSE_NEEDS_ROOT, "why-not");
        refuse_why(&refusal, "it becomes the account to ask, and this is uid %u", geteuid());
        refuse_remedy(&refusal, "sudo ductile why-not %s %s", o->args[0], o->args[1]);
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    if (config_load(root, o->value[OPT_CONFIG], o->value[OPT_INSTANCE], &c, &refusal) < 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    const struct account_config *a = config_account(c, o->args[0]);
    if (!a || !c->resolved) {
        refuse(&refusal, REFUSE_IDS, "why-not %s", o->args[0]);
        refuse_why(&refusal, a ? "the accounts have no ids yet" : "%s has no such account", c->path);
        refuse_remedy(&refusal, "ductile status names the accounts; ductile-install apply makes them");
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    path = realpath(o->args[1], NULL); // as root: where its links lead
    if (!path) {
        refuse(&refusal, REFUSE_PLUGIN_UNKNOWN, "why-not %s %s", a->name, o->args[1]);
        refuse_why(&refusal, "%s (%s)", strerror(errno), errno_name(errno));
        refuse_remedy(&refusal, "give a path that is there");
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    ask(c, a, path, &answer);
    return print_answer(o, o->args[1], path, a, &answer);
}
