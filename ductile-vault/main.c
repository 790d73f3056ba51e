// ductile-vault: secrets, principals, grants in one age-encrypted file. The verbs; session.c is how they get
// there.
#include "fd.h"
#include "ledger.h"
#include "lock.h"
#include "log.h"
#include "privs.h"
#include "str.h"
#include "vault_cli.h"
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>

// One line that says what the change means; nothing where JSON was asked for.
__attribute__((format(printf, 2, 3))) static void say(const struct session *s, const char *format, ...)
{
    va_list ap;
    char text[2048];
    struct strbuf sb = {0};

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (!opt_given(s->opts, OPT_JSON)) {
        puts(text);
        return;
    }
    sb_adds(&sb, "{\"subject\":");
    sb_add_json(&sb, s->subject);
    sb_adds(&sb, ",\"effect\":");
    sb_add_json(&sb, text);
    sb_addc(&sb, '}');
    OWNED(freep) char *json = sb_finish(&sb);
    puts(json ? json : "{}");
}

static int name_refused(struct session *s, const char *what, const char *name, const char *rule)
{
    refuse(&s->refusal, REFUSE_VAULT_NAME, "the %s \"%.80s\"", what, name);
    refuse_why(&s->refusal, "a %s is %s", what, rule);
    return refuse_remedy(&s->refusal, "pick another name");
}

// ---- init ---------------------------------------------------------------------------------------

static int init_vault(struct session *s)
{
    struct stat st;
    char recipient[AGE_RECIPIENT_LEN + 1], detail[128];
    OWNED(fd_closep) int root = fd_open_root(NULL);

    if (fd_stat(root, s->config->vault_file, &st) == 0) {
        refuse(&s->refusal, REFUSE_VAULT_EXISTS, "making the vault %s", s->config->vault_file);
        refuse_why(&s->refusal, "it exists");
        return refuse_remedy(&s->refusal, "ductile-vault status");
    }
    int r = vault_create(s->config, &s->refusal);
    if (r >= 0)
        r = session_open(s, true);
    if (r < 0)
        return r;
    age_recipient_text(s->vault.identity.recipient, recipient);
    snprintf(detail, sizeof(detail), "{\"recipient\":\"%s\"}", recipient);
    r = session_save(s, AUDIT_VAULT_CREATED, s->config->vault_file, detail);
    if (r < 0)
        return r;
    if (opt_given(s->opts, OPT_JSON))
        printf("{\"vault\":\"%s\",\"key\":\"%s\",\"recipient\":\"%s\"}\n", s->config->vault_file,
               s->config->age_key_file, recipient);
    say(s, "made %s\nsecret zero is %s; its recipient is %s", s->config->vault_file, s->config->age_key_file,
        recipient);
    if (s->config->recovery_recipients.n == 0)
        log_warn(
            "there is no recovery recipient: with this host's key the vault is lost too. age-keygen on another "
            "machine makes one; put its age1... line under secrets.recovery_recipients");
    return 0;
}

static int verb_init(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, "vault");

    return session_end(&s, r < 0 ? r : init_vault(&s));
}

// ---- status -------------------------------------------------------------------------------------

static void status_json(const struct session *s)
{
    const struct vault *v = &s->vault;

    printf("{\"vault_id\":\"%s\",\"generation\":%llu,\"recovery_recipients\":%zu,\"principals\":[", v->id,
           (unsigned long long)v->generation, s->config->recovery_recipients.n);
    for (size_t i = 0; i < v->n_principals; i++)
        printf("%s{\"name\":\"%s\",\"kind\":\"%s\",\"status\":\"%s\"}", i ? "," : "", v->principals[i].name,
               principal_kind_name(v->principals[i].kind), v->principals[i].revoked ? "revoked" : "active");
    printf("],\"secrets\":[");
    for (size_t i = 0; i < v->n_secrets; i++) {
        const struct vault_secret *x = &v->secrets[i];
        printf("%s{\"name\":\"%s\",\"pattern\":\"%s\",\"status\":\"%s\",\"grants\":[", i ? "," : "", x->name,
               secret_pattern_name(x->pattern), x->revoked ? "revoked" : "active");
        for (size_t j = 0; j < x->n_grants; j++)
            printf("%s{\"principal\":\"%s\",\"as\":\"%s\"}", j ? "," : "", x->grants[j].principal,
                   x->grants[j].as);
        printf("]}");
    }
    printf("]}\n");
}

static void status_text(const struct session *s)
{
    const struct vault *v = &s->vault;

    printf("vault      %s, generation %llu\n", s->config->vault_file, (unsigned long long)v->generation);
    printf("key        %s\n", s->config->age_key_file);
    printf("recovery   %zu recipients%s\n", s->config->recovery_recipients.n,
           s->config->recovery_recipients.n ? "" : " - a lost host key is a lost vault");
    for (size_t i = 0; i < v->n_principals; i++)
        printf("principal  %-28s %-9s %s\n", v->principals[i].name,
               principal_kind_name(v->principals[i].kind), v->principals[i].revoked ? "revoked" : "active");
    for (size_t i = 0; i < v->n_secrets; i++) {
        const struct vault_secret *x = &v->secrets[i];
        printf("secret     %-28s %-9s %s%s", x->name, secret_pattern_name(x->pattern),
               x->revoked ? "revoked" : "active", x->n_grants ? ", granted to" : ", granted to nobody");
        for (size_t j = 0; j < x->n_grants; j++)
            printf("%s %s as %s", j ? "," : "", x->grants[j].principal, x->grants[j].as);
        putchar('\n');
    }
}

static int verb_status(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, NULL);

    if (r == 0)
        r = session_open(&s, false);
    if (r == 0 && opt_given(o, OPT_JSON))
        status_json(&s);
    else if (r == 0)
        status_text(&s);
    return session_end(&s, r);
}

// ---- principal add ------------------------------------------------------------------------------

static int add_principal(struct session *s, const char *name, const char *kind_name)
{
    char detail[64];
    int kind = principal_kind_from_name(kind_name);

    if (!str_is_instance(name))
        return name_refused(s, "principal", name,
                            "lower-case letters and digits in groups joined by single hyphens");
    if (kind < 0)
        return name_refused(s, "kind", kind_name, "plugin, core or consumer");
    int r = session_open(s, true);
    if (r < 0)
        return r;
    r = vault_add_principal(&s->vault, name, (enum principal_kind)kind);
    if (r < 0) {
        refuse(&s->refusal, REFUSE_VAULT_NAME, "the principal \"%s\"", name);
        refuse_remedy(&s->refusal, "ductile-vault status");
        refuse_why(&s->refusal, r == -EEXIST ? "it exists (revoked ones keep their name)"
                                             : "the vault holds as many as it may");
        return -ECANCELED;
    }
    snprintf(detail, sizeof(detail), "{\"kind\":\"%s\"}", kind_name);
    r = session_save(s, AUDIT_PRINCIPAL_ADDED, name, detail);
    if (r == 0)
        say(s, "%s: may be granted secrets now", name);
    return r;
}

static int verb_principal_add(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);

    if (r == 0)
        r = add_principal(&s, o->args[0], opt_given(o, OPT_KIND) ? o->value[OPT_KIND] : "plugin");
    return session_end(&s, r);
}

// ---- secret set ---------------------------------------------------------------------------------

static int value_refused(struct session *s, const char *name, const char *why, const char *remedy)
{
    refuse(&s->refusal, REFUSE_VAULT_VALUE, "the value of %s", name);
    refuse_why(&s->refusal, "%s", why);
    refuse_remedy(&s->refusal, "%s", remedy);
    return -ECANCELED;
}

static void ignore_signal(int number)
{
    (void)number; // it only ends the read
}

// Standard input; from a terminal with a prompt and no echo. Ctrl-C ends the read, so that the echo comes
// back.
static int read_value(int fd, const char *name, struct secret *ret)
{
    const struct sigaction end = {.sa_handler = ignore_signal};
    struct sigaction before;
    struct termios old, quiet;
    bool terminal = isatty(fd) && tcgetattr(fd, &old) == 0;
    int r;

    if (!terminal)
        return secret_from_fd(fd, LIMIT_SECRET_VALUE, ret);
    quiet = old;
    quiet.c_lflag &= (tcflag_t)~ECHO;
    fprintf(stderr, "value of %s (not shown; end with Enter): ", name);
    sigaction(SIGINT, &end, &before);
    tcsetattr(fd, TCSAFLUSH, &quiet);
    struct secret line;
    r = secret_new(LIMIT_SECRET_VALUE + 1, &line);
    ssize_t n = r < 0 ? -1 : read(fd, line.data, LIMIT_SECRET_VALUE + 1);
    tcsetattr(fd, TCSAFLUSH, &old);
    sigaction(SIGINT, &before, NULL);
    fputc('\n', stderr);
    if (r == 0)
        r = n < 0 ? err_last() : secret_copy(line.data, (size_t)n, ret);
    secret_wipe(&line);
    return r;
}

static int mint_value(struct secret *ret)
{
    uint8_t raw[32];
    char text[44];

    randombytes_buf(raw, sizeof(raw));
    sodium_bin2base64(text, sizeof(text), raw, sizeof(raw), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    int r = secret_copy(text, strlen(text), ret);
    sodium_memzero(raw, sizeof(raw));
    sodium_memzero(text, sizeof(text));
    return r;
}

// The file is opened while still root: it may be readable to nobody else.
static int open_value(const struct opts *o)
{
    int fd = opt_given(o, OPT_FROM_FILE) ? open(o->value[OPT_FROM_FILE], O_RDONLY | O_CLOEXEC) : STDIN_FILENO;

    return fd < 0 ? err_last() : fd;
}

static int get_value(struct session *s, int fd, const char *name, struct secret *value)
{
    int r = opt_given(s->opts, OPT_AUTO) ? mint_value(value) : read_value(fd, name, value);

    if (r == -EFBIG)
        return value_refused(s, name, "it is longer than 32 KiB",
                             "keep a file elsewhere and store its key here");
    if (r < 0)
        return value_refused(s, name, strerror(-r), "pipe the value into standard input");
    if (value->len > 0 && value->data[value->len - 1] == '\n') {
        value->data[--value->len] = '\0';
        if (!isatty(fd))
            log_info("one trailing newline was dropped from the value");
    }
    if (value->len == 0)
        return value_refused(s, name, "it is empty", "printf %s VALUE | ductile-vault secret set NAME");
    if (memchr(value->data, '\0', value->len) || !str_is_utf8((const char *)value->data, value->len))
        return value_refused(s, name, "it is not UTF-8 text: a plugin gets it inside JSON",
                             "store it in base64");
    return 0;
}

static int set_secret(struct session *s, const char *name, int fd)
{
    struct secret value = {0};
    char detail[64];
    enum secret_pattern pattern = opt_given(s->opts, OPT_AUTO) ? PATTERN_AUTO : PATTERN_MANUAL;

    if (!str_is_secret(name))
        return name_refused(s, "secret", name, "lower-case letters and digits, with _ and - inside");
    int r = session_open(s, true);
    if (r == 0)
        r = get_value(s, fd, name, &value);
    if (r == 0) {
        r = vault_set_secret(&s->vault, name, &value, pattern);
        if (r == -EEXIST)
            r = value_refused(s, name,
                              "it has another value already, and values are superseded on purpose only",
                              "choose another name, or revoke this one");
        else if (r < 0)
            r = value_refused(s, name, r == -EKEYREVOKED ? "it was revoked, for good" : strerror(-r),
                              "choose another name");
    }
    const bool short_value = value.len < MASK_MIN;
    secret_wipe(&value);
    if (r < 0)
        return r;
    snprintf(detail, sizeof(detail), "{\"pattern\":\"%s\"}", secret_pattern_name(pattern));
    if (short_value)
        log_warn("%s is shorter than %d bytes: it is not masked in what a plugin says", name, MASK_MIN);
    r = session_save(s, AUDIT_SECRET_SET, name, detail);
    if (r == 0)
        say(s, "%s: stored; nobody gets it yet (ductile-vault grant %s PRINCIPAL)", name, name);
    return r;
}

static int verb_secret_set(const struct opts *o)
{
    struct session s;
    int fd = open_value(o);

    if (fd < 0) {
        refuse(&s.refusal, REFUSE_VAULT_SOURCE, "reading the value from %s", o->value[OPT_FROM_FILE]);
        refuse_why(&s.refusal, "%s (%s)", strerror(-fd), errno_name(-fd));
        refuse_remedy(&s.refusal, "give a file that is there, or pipe the value into standard input");
        return refusal_print(&s.refusal, opt_given(o, OPT_JSON));
    }
    int r = session_begin(o, &s, o->args[0]);
    return session_end(&s, r < 0 ? r : set_secret(&s, o->args[0], fd));
}

// ---- grant --------------------------------------------------------------------------------------

// A principal that is a plugin's by the config or the locks may be made on the way; anybody else must exist.
static bool is_plugins_principal(const struct session *s, const char *principal, const struct lock *lock)
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

static int ensure_principal(struct session *s, const char *principal)
{
    struct lock lock = {0};
    struct refusal ignored;
    OWNED(fd_closep) int root = fd_open_root(NULL);

    if (vault_principal(&s->vault, principal))
        return 0;
    if (lock_load(root, s->config, &lock, &ignored) < 0)
        lock = (struct lock){0};
    bool plugin = is_plugins_principal(s, principal, &lock);
    lock_free(&lock);
    if (plugin && vault_add_principal(&s->vault, principal, PRINCIPAL_PLUGIN) == 0) {
        log_info("principal %s was missing and is made: it is a plugin's", principal);
        return 0;
    }
    refuse(&s->refusal, REFUSE_VAULT_UNKNOWN, "granting to \"%s\"", principal);
    refuse_why(
        &s->refusal,
        "there is no such principal, and no plugin of that name (a plugin's principal is its name with _ as -)");
    return refuse_remedy(&s->refusal, "ductile-vault principal add %s", principal);
}

static int grant(struct session *s, const char *secret, const char *principal, const char *as)
{
    char detail[512];
    int r = session_open(s, true);

    if (r < 0)
        return r;
    if (!str_is_secret(as))
        return name_refused(s, "name", as, "lower-case letters and digits, with _ and - inside");
    if (!vault_secret(&s->vault, secret)) {
        refuse(&s->refusal, REFUSE_VAULT_UNKNOWN, "granting \"%s\"", secret);
        refuse_why(&s->refusal, "there is no such secret");
        refuse_remedy(&s->refusal, "ductile-vault secret set %s", secret);
        return -ECANCELED;
    }
    r = ensure_principal(s, principal);
    if (r == 0)
        r = vault_grant(&s->vault, secret, principal, as);
    if (r == 0) {
        say(s, "%s: %s had it already", secret, principal);
        return 0;
    }
    if (r < 0) {
        if (r != -ECANCELED) {
            refuse(&s->refusal, REFUSE_VAULT_VALUE, "granting %s to %s as %s", secret, principal, as);
            refuse_why(&s->refusal, "%s",
                       r == -EEXIST        ? "another secret is delivered under this name already"
                       : r == -EKEYREVOKED ? "the secret is revoked"
                                           : strerror(-r));
            refuse_remedy(&s->refusal, "ductile-vault grant %s %s --as ANOTHER_NAME", secret, principal);
        }
        return -ECANCELED;
    }
    snprintf(detail, sizeof(detail), "{\"principal\":\"%s\",\"as\":\"%s\"}", principal, as);
    r = session_save(s, AUDIT_SECRET_GRANTED, secret, detail);
    if (r == 0)
        say(s, "%s: now delivered to %s as \"%s\" at its next spawn", secret, principal, as);
    return r;
}

static int verb_grant(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);
    const char *as = opt_given(o, OPT_AS) ? o->value[OPT_AS] : o->args[0];

    if (r == 0 && !str_is_instance(o->args[1]))
        r = name_refused(&s, "principal", o->args[1],
                         "lower-case letters and digits in groups joined by single hyphens");
    return session_end(&s, r < 0 ? r : grant(&s, o->args[0], o->args[1], as));
}

static const struct opt_verb verbs[] = {
    {.name = "init",
     .args = "",
     .summary = "make secret zero, where there is none, and an empty vault",
     .detail = "`ductile-install apply` does this too.",
     .example = "ductile-vault init",
     .exits = "73 74 77",
     .run = verb_init},
    {.name = "status",
     .args = "",
     .summary = "what is in the vault; never a value",
     .example = "ductile-vault status --json",
     .exits = "65 77",
     .run = verb_status},
    {.name = "principal add",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .options = OPT_BIT(KIND),
     .summary = "add an identity that may be granted secrets",
     .detail = "A plugin's principal is its name with _ as -; `grant` makes it by itself.",
     .example = "ductile-vault principal add backup --kind consumer",
     .exits = "65 77",
     .run = verb_principal_add},
    {.name = "secret set",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .options = OPT_BIT(FROM_FILE) | OPT_BIT(AUTO),
     .summary = "store a secret",
     .detail =
         "The value comes from standard input (one trailing newline is dropped), a file, or a prompt without "
         "echo; never from an argument. It is immutable.",
     .example = "ductile-vault secret set github_token < token.txt",
     .exits = "65 77",
     .run = verb_secret_set},
    {.name = "grant",
     .args = "SECRET PRINCIPAL",
     .min_args = 2,
     .max_args = 2,
     .options = OPT_BIT(AS),
     .summary = "deliver a secret to a principal from its next spawn on",
     .example = "ductile-vault grant github_token github-repo-sync",
     .exits = "65 77",
     .run = verb_grant},
};

int main(int argc, char **argv)
{
    static const struct opt_program program = {
        .name = "ductile-vault",
        .summary = "secrets, principals and grants in one age-encrypted file",
        .detail =
            "Started by root it first becomes the service user, who owns the vault. Values never appear in "
            "arguments, environment, logs or the ledger.",
        .verbs = verbs,
        .n_verbs = ARRAY_LEN(verbs),
    };

    log_open(program.name, false);
    if (privs_harden() < 0 || sodium_init() < 0)
        return EXITCODE_BUG;
    return opt_main(&program, argc, argv);
}
