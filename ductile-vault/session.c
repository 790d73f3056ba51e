// A run of ductile-vault: root first becomes the vault's owner, so that nothing root-owned is ever left
// beside it; what an interrupted run left is tidied before anything else; what was done or refused is written
// down.
#include "fd.h"
#include "ledger.h"
#include "log.h"
#include "privs.h"
#include "str.h"
#include "vault_cli.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>

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

enum { LARGE = 1, LOOK = 2 }; // how a session is begun

// Nothing needs writing down, and what would be asked stands beside the ledger.
static bool needs_no_scribe(struct session *s, int root)
{
    return !vault_interrupted(s->config) && newest_read(root, s->config, &s->newest) == 0;
}

static int begin(const struct opts *opts, struct session *s, const char *subject, unsigned how)
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
    if (!(how & LOOK && needs_no_scribe(s, root)) && scribe_start(s) < 0)
        log_warn("no child to write the ledger");
    // as root: the memlock limit does not bind it
    r = (how & LARGE ? vault_arena_open_large : vault_arena_open)(s->config->vault_file, &s->refusal);
    return r < 0 ? r : become_owner(s);
}

int session_begin(const struct opts *opts, struct session *s, const char *subject)
{
    return begin(opts, s, subject, 0);
}

int session_begin_large(const struct opts *opts, struct session *s, const char *subject)
{
    return begin(opts, s, subject, LARGE);
}

int session_begin_look(const struct opts *opts, struct session *s)
{
    return begin(opts, s, NULL, LOOK);
}

// ---- opening ------------------------------------------------------------------------------------

static int take_lock(struct session *s)
{
    s->lock_fd = vault_lock(s->config->vault_file);
    if (s->lock_fd >= 0)
        return 0;
    refuse(&s->refusal, REFUSE_VAULT_OPEN, "the vault, %s", s->config->vault_file);
    refuse_why(&s->refusal, "its lock: %s (%s)", strerror(-s->lock_fd), errno_name(-s->lock_fd));
    return refuse_remedy(&s->refusal, "ductile-install apply");
}

// The ledger lags where a command was killed between its change and its row; then this one writes it.
static void note_recovered(struct session *s, int recovered, uint64_t seen)
{
    static const char *const said[] = {
        [VAULT_SWEPT] = "what an interrupted command left was removed; the vault is whole",
        [VAULT_ROTATION_UNDONE] = "an interrupted rotate-key was undone: the key is the old one",
        [VAULT_ROTATION_FINISHED] = "an interrupted rotate-key was finished: the key is the new one",
    };
    char detail[128];

    if (recovered > VAULT_CLEAN) {
        log_warn("%s", said[recovered]);
        snprintf(detail, sizeof(detail), "\"result\":\"%s\"",
                 recovered == VAULT_SWEPT             ? "swept"
                 : recovered == VAULT_ROTATION_UNDONE ? "rotation undone"
                                                      : "rotation finished");
        session_note(s, AUDIT_VAULT_RECOVERED, s->config->vault_file, detail);
    } else if (seen > 0 && s->vault.generation > seen && s->lock_fd >= 0) {
        snprintf(detail, sizeof(detail), "\"result\":\"unrecorded\",\"from\":%llu",
                 (unsigned long long)seen + 1);
        session_note(s, AUDIT_VAULT_RECOVERED, s->config->vault_file, detail);
    }
}

static int open_vault(struct session *s)
{
    int r =
        vault_open_older(s->config->age_key_file, s->config->vault_file, &s->vault, &s->seen, &s->refusal);

    s->open = r == 0;
    return r;
}

// A value is neither changed nor shown while the ledger is silent: who holds it up could put an older vault
// back.
static int untold(struct session *s)
{
    const char *path = s->config->state_path;

    if (!s->subject) {
        log_warn("the ledger, %s, does not answer: an older vault could not be told", path);
        return 0;
    }
    refuse(&s->refusal, REFUSE_VAULT_UNTOLD, "the ledger, %s", path);
    refuse_why(&s->refusal, "it does not answer: an older vault that was put back could not be told");
    return refuse_remedy(&s->refusal, "try again, and then: ductile ledger verify");
}

static enum scribe_seen ask_newest(struct session *s, uint64_t *ret)
{
    if (s->newest.n == 0)
        return scribe_seen(s, s->vault.id, ret);
    const struct newest *there = newest_of(&s->newest, s->vault.id);
    *ret = there ? there->generation : 0;
    return there ? SEEN_THIS : SEEN_OTHER;
}

// The ledger is opened by the scribe while the vault is opened here, and asked after. Without the lock a
// writer may come in between, and the answer be of a newer vault than the one that was read: then that is
// there by now.
static int open_both(struct session *s, uint64_t *ret_ledger)
{
    int r = open_vault(s);

    if (r < 0)
        return r;
    enum scribe_seen state = ask_newest(s, ret_ledger);
    if (s->vault.generation < *ret_ledger && s->lock_fd < 0) {
        char id[sizeof(s->vault.id)];
        snprintf(id, sizeof(id), "%s", s->vault.id);
        vault_close(&s->vault);
        r = open_vault(s);
        if (r == 0 && !str_eq(id, s->vault.id)) // another one by now
            state = ask_newest(s, ret_ledger);
    }
    s->seen = MAX(s->seen, *ret_ledger);
    if (r == 0 && state == SEEN_OTHER)
        log_warn("the ledger knows of another vault, and not of this one: was it exchanged?");
    return r < 0 || state != SEEN_UNKNOWN ? r : untold(s);
}

int session_open(struct session *s, bool change)
{
    int recovered = VAULT_CLEAN;
    uint64_t ledger;
    bool lock = change || (s->newest.n == 0 && vault_interrupted(s->config));
    int r = lock ? take_lock(s) : 0;

    if (r == 0 && lock)
        r = recovered = vault_recover(s->config, &s->refusal);
    if (r >= 0)
        r = open_both(s, &ledger);
    if (r < 0)
        return r;
    if (s->vault.generation < s->seen && !opt_given(s->opts, OPT_ACCEPT_ROLLBACK))
        return vault_rollback_refused(s->config->vault_file, s->vault.generation, s->seen, &s->refusal);
    note_recovered(s, recovered, ledger);
    if (!change)
        fd_closep(&s->lock_fd);
    return 0;
}

bool session_is_plugins(const struct session *s, const char *principal, const struct lock *lock)
{
    char buf[LIMIT_NAME];

    for (size_t i = 0; i < s->config->plugins.n; i++)
        if (str_eq(config_principal_of(s->config, s->config->plugins.list[i].name, buf), principal))
            return true;
    for (size_t i = 0; i < lock->n; i++)
        if (str_eq(config_principal_of(s->config, lock->list[i].name, buf), principal))
            return true;
    return false;
}

int session_secret(const struct opts *opts, struct session *s, struct vault_secret **ret)
{
    int r = session_begin_look(opts, s);

    if (r == 0)
        r = session_open(s, false);
    if (r == 0 && !(*ret = vault_secret(&s->vault, opts->args[0])))
        r = session_unknown(s, "secret", opts->args[0], "ductile-vault secret list");
    return r;
}

// ---- writing down -------------------------------------------------------------------------------

static bool note(struct session *s, enum audit_kind kind, const char *subject, const char *detail)
{
    char text[4096];

    snprintf(text, sizeof(text), "{\"vault\":\"%s\",\"generation\":%llu%s%s}", s->vault.id,
             (unsigned long long)s->vault.generation, detail[0] ? "," : "", detail);
    return scribe_tell(s, kind, subject, text, true);
}

void session_note(struct session *s, enum audit_kind kind, const char *subject, const char *detail)
{
    (void)note(s, kind, subject, detail); // a change is not undone for that; it was logged
}

int session_note_first(struct session *s, enum audit_kind kind, const char *subject, const char *detail)
{
    if (note(s, kind, subject, detail))
        return 0;
    refuse(&s->refusal, REFUSE_VAULT_UNTOLD, "the ledger, %s", s->config->state_path);
    refuse_why(&s->refusal, "it does not take the row that says who took a value out");
    return refuse_remedy(&s->refusal, "ductile ledger verify, and room on its disk");
}

int session_save(struct session *s, enum audit_kind kind, const char *subject, const char *detail)
{
    int r = vault_save(&s->vault, s->config, &s->refusal);

    if (r < 0)
        return r;
    if (r > 0)
        log_warn("the vault is changed, but the disk did not confirm all of it: look at the disk");
    session_note(s, kind, subject, detail);
    return 0;
}

// What was typed in place of a name may be a value: it is not kept for good.
static const char *safe_subject(const struct session *s)
{
    return str_is_secret(s->subject) ? s->subject : "(not a name)";
}

static void note_denied(struct session *s)
{
    char detail[4096];
    struct strbuf sb = {0};

    sb_addf(&sb, "{\"verb\":\"%s\",\"id\":\"%s\",\"reason\":", s->opts->verb->name, s->refusal.id);
    sb_add_json(&sb, s->refusal.why);
    sb_addc(&sb, '}');
    OWNED(freep) char *text = sb_finish(&sb);
    snprintf(detail, sizeof(detail), "%s", text && strlen(text) < sizeof(detail) ? text : "{}");
    scribe_tell(s, AUDIT_VAULT_DENIED, safe_subject(s), detail, false);
}

int session_end(struct session *s, int r)
{
    if (r < 0 && s->subject && s->scribe_fd >= 0)
        note_denied(s);
    int code = r < 0 ? refusal_print(&s->refusal, session_json(s)) : r;

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

// ---- saying -------------------------------------------------------------------------------------

bool session_json(const struct session *s)
{
    return opt_given(s->opts, OPT_JSON);
}

void session_print(json_t *document)
{
    OWNED(freep) char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;

    puts(text ? text : "{}");
    json_decref(document);
}

void session_put(struct strbuf *sb, size_t least)
{
    if (sb->len <= least)
        return;
    fflush(stdout);
    int r = fd_write_all(STDOUT_FILENO, sb->p, sb->len);
    if (r < 0)
        log_err(r, "standard output");
    sb->len = 0;
}

void session_say(const struct session *s, const char *format, ...)
{
    va_list ap;
    char text[2048];

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (session_json(s))
        session_print(json_pack("{s:s, s:s, s:I}", "subject", s->subject, "effect", text, "generation",
                                (json_int_t)s->vault.generation));
    else
        puts(text);
}

const char *session_when(const char *principal)
{
    return str_eq(principal, PRINCIPAL_CORE_NAME) ? "from now on" : "from its next spawn on";
}

const char *session_when_of(const struct vault_secret *x)
{
    size_t core = 0;

    for (size_t i = 0; i < x->n_grants; i++)
        core += str_eq(x->grants[i].principal, PRINCIPAL_CORE_NAME);
    if (core == 0)
        return "from the next spawn on";
    return core == x->n_grants ? "from now on" : "from the next spawn on (core: from now on)";
}

int session_name_refused(struct session *s, const char *what, const char *name, const char *rule)
{
    if (strncasecmp(name, "AGE-SECRET-KEY-", 15) == 0)
        refuse(&s->refusal, REFUSE_VAULT_NAME, "a private key as the %s; it is not shown here", what);
    else
        refuse(&s->refusal, REFUSE_VAULT_NAME, "the %s \"%.80s\"", what, name);
    refuse_why(&s->refusal, "a %s is %s", what, rule);
    return refuse_remedy(&s->refusal, "pick another name");
}

int session_unknown(struct session *s, const char *what, const char *name, const char *remedy)
{
    refuse(&s->refusal, REFUSE_VAULT_UNKNOWN, "the %s \"%.80s\"", what, name);
    refuse_why(&s->refusal, "there is no such %s in the vault", what);
    return refuse_remedy(&s->refusal, "%s", remedy);
}

int session_confirm(struct session *s, const char *question, const char *command)
{
    char answer[16] = "";

    if (opt_given(s->opts, OPT_YES))
        return 0;
    if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO)) {
        fprintf(stderr, "%s [y/N] ", question);
        if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
            return 0;
    }
    refuse(&s->refusal, REFUSE_CONFIRM, "%s", s->opts->verb->name);
    refuse_why(&s->refusal, answer[0] ? "the answer was not yes" : "nobody is here to say yes");
    return refuse_remedy(&s->refusal, "%s", command);
}
