// Root first becomes the owner: of the vault and its key here, of the ledger in a child of its own, so that
// nothing root-owned is ever left beside them and no privileged process parses either.
#include "fd.h"
#include "ledger.h"
#include "log.h"
#include "privs.h"
#include "str.h"
#include "vault_cli.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct fact {
    enum audit_kind kind;
    uid_t uid;
    char subject[2 * LIMIT_NAME];
    char detail[1024];
};

// ---- the scribe ---------------------------------------------------------------------------------

static int write_facts(struct ledger *l, void *arg)
{
    struct fact f;
    int fd = *(int *)arg, r = 0;

    while (r == 0 && recv(fd, &f, sizeof(f), 0) == sizeof(f)) {
        r = ledger_audit(l, "ductile-vault", f.uid, f.kind, f.subject, f.detail, NULL);
        const char ok = r == 0;
        if (send(fd, &ok, 1, MSG_NOSIGNAL) < 0)
            break;
    }
    return r;
}

static int start_scribe(struct session *s)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_last();
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        _exit(ledger_as_owner(s->config, true, write_facts, &pair[1]) == 0 ? 0 : 1);
    }
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return err_last();
    }
    s->scribe = pid;
    s->scribe_fd = pair[0];
    return 0;
}

static void tell_scribe(struct session *s, enum audit_kind kind, const char *subject, const char *detail)
{
    struct fact f = {.kind = kind, .uid = getuid()};
    char ok = 0;

    if (s->root)
        f.uid = 0; // who asked, not as whom it was done
    snprintf(f.subject, sizeof(f.subject), "%s", subject);
    snprintf(f.detail, sizeof(f.detail), "%s", detail);
    if (s->scribe_fd < 0 || send(s->scribe_fd, &f, sizeof(f), MSG_NOSIGNAL) < 0 ||
        recv(s->scribe_fd, &ok, 1, 0) != 1 || !ok)
        log_warn("not recorded in the ledger: %s %s", audit_word(kind), subject);
}

// ---- session ------------------------------------------------------------------------------------

static int become_owner(struct session *s)
{
    const struct config *c = s->config;

    if (geteuid() == 0 && c->uid != 0) {
        s->root = true;
        int r = privs_become((uid_t)c->uid, (gid_t)c->gid);
        if (r == 0)
            return 0;
        refuse(&s->refusal, REFUSE_NEEDS_ROOT, "becoming %s, who owns the vault", c->user);
        refuse_why(&s->refusal, "%s", strerror(-r));
        return refuse_remedy(&s->refusal, "ductile-install apply");
    }
    if ((int64_t)geteuid() == c->uid)
        return 0;
    refuse(&s->refusal, REFUSE_NEEDS_ROOT, "the vault of %s", c->name);
    refuse_why(&s->refusal, "it belongs to %s, and this is uid %u", c->user, geteuid());
    return refuse_remedy(&s->refusal, "sudo %s ...", s->opts->program->name);
}

int session_begin(const struct opts *opts, struct session *s, const char *subject)
{
    *s = (struct session){.opts = opts, .subject = subject, .lock_fd = -1, .scribe_fd = -1};
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = config_load(root, opts->value[OPT_CONFIG], opts->value[OPT_INSTANCE], &s->config, &s->refusal);

    if (r < 0)
        return r;
    if (!s->config->resolved && s->config->posture == POSTURE_UNCONFINED && geteuid() != 0)
        config_resolve_self(s->config);
    if (!s->config->resolved) {
        refuse(&s->refusal, REFUSE_IDS, "the vault of %s", s->config->name);
        refuse_why(&s->refusal, "its owner, %s, does not exist yet", s->config->user);
        return refuse_remedy(&s->refusal, "ductile-install apply");
    }
    r = vault_arena_open(s->config->vault_file, &s->refusal); // as root: the memlock limit does not bind it
    if (r == 0 && start_scribe(s) < 0)
        log_warn("no child to write the ledger");
    return r < 0 ? r : become_owner(s);
}

int session_open(struct session *s, bool change)
{
    if (change) {
        s->lock_fd = vault_lock(s->config->vault_file);
        if (s->lock_fd < 0) {
            refuse(&s->refusal, REFUSE_VAULT_OPEN, "the vault, %s", s->config->vault_file);
            refuse_why(&s->refusal, "its lock: %s (%s)", strerror(-s->lock_fd), errno_name(-s->lock_fd));
            return refuse_remedy(&s->refusal, "ductile-install apply");
        }
    }
    int r = vault_open(s->config->age_key_file, s->config->vault_file, &s->vault, &s->refusal);
    s->open = r == 0;
    return r;
}

int session_save(struct session *s, enum audit_kind kind, const char *subject, const char *detail)
{
    int r = vault_save(&s->vault, s->config, &s->refusal);

    if (r == 0)
        tell_scribe(s, kind, subject, detail);
    return r;
}

static void note_denied(struct session *s)
{
    char detail[1024];
    struct strbuf sb = {0};

    sb_addf(&sb, "{\"verb\":\"%s\",\"reason\":", s->opts->verb->name);
    sb_add_json(&sb, s->refusal.why);
    sb_addc(&sb, '}');
    OWNED(freep) char *text = sb_finish(&sb);
    snprintf(detail, sizeof(detail), "%s", text && strlen(text) < sizeof(detail) ? text : "{}");
    tell_scribe(s, AUDIT_VAULT_DENIED, s->subject, detail);
}

int session_end(struct session *s, int r)
{
    if (r < 0 && s->subject && s->scribe_fd >= 0)
        note_denied(s);
    int code = r < 0 ? refusal_print(&s->refusal, opt_given(s->opts, OPT_JSON)) : r;

    if (s->open)
        vault_close(&s->vault);
    fd_closep(&s->lock_fd);
    fd_closep(&s->scribe_fd);
    if (s->scribe > 0)
        waitpid(s->scribe, NULL, 0);
    config_free(s->config);
    secret_arena_close();
    return code;
}
