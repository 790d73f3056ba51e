// ductile-vault: secrets, principals, grants in one age-encrypted file. The table of its verbs, `init` and
// `status`; a group of verbs is a file beside this one, session.c is how they get there.
#include "agefile.h"
#include "fd.h"
#include "log.h"
#include "privs.h"
#include "str.h"
#include "vault_cli.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

// ---- init ---------------------------------------------------------------------------------------

// The recovery recipient: of the command line, or of who sits at the terminal. "" for none.
static int get_recovery(struct session *s, char text[static 128])
{
    uint8_t key[AGE_KEY_LEN];
    bool ask = !s->opts->value[OPT_RECOVERY] && s->config->recovery_recipients.n == 0 &&
               isatty(STDIN_FILENO) && isatty(STDERR_FILENO);

    snprintf(text, 128, "%s", s->opts->value[OPT_RECOVERY] ? s->opts->value[OPT_RECOVERY] : "");
    if (ask) {
        fputs("a recovery recipient, whose key is on another machine (age1..., or Enter for none): ", stderr);
        if (!fgets(text, 128, stdin))
            text[0] = '\0';
        text[strcspn(text, "\n")] = '\0';
    }
    if (text[0] && age_recipient_parse(text, key) < 0)
        return session_name_refused(s, "recipient", text, "age1 and 58 more characters");
    return 0;
}

static int init_vault(struct session *s)
{
    struct stat st;
    vault_recipient recipient;
    char detail[128], recovery[128];
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = get_recovery(s, recovery);

    if (r < 0)
        return r;
    if (fd_stat(root, s->config->vault_file, &st) == 0) {
        refuse(&s->refusal, REFUSE_VAULT_EXISTS, "making the vault %s", s->config->vault_file);
        refuse_why(&s->refusal, "it exists");
        return refuse_remedy(&s->refusal, "ductile-vault status");
    }
    r = vault_create(s->config, &s->refusal);
    if (r >= 0)
        r = session_open(s, true);
    if (r < 0)
        return r;
    age_recipient_text(s->vault.identity.recipient, recipient);
    snprintf(detail, sizeof(detail), "\"recipient\":\"%s\"", recipient);
    session_note(s, AUDIT_VAULT_CREATED, s->config->vault_file, detail);
    if (recovery[0]) {
        r = vault_add_recipient(&s->vault, recovery);
        if (r > 0)
            r = session_save(s, AUDIT_RECIPIENT_ADDED, recovery, "");
        if (r < 0)
            return r;
    }
    session_say(s, "made %s\nsecret zero is %s; its recipient is %s", s->config->vault_file,
                s->config->age_key_file, recipient);
    if (s->config->recovery_recipients.n + s->vault.n_recipients == 0)
        log_warn(
            "there is no recovery recipient: with this host's key the vault is lost too. age-keygen on another "
            "machine makes one; then: ductile-vault recipient add age1...");
    return 0;
}

int verb_init(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, "vault");

    return session_end(&s, r < 0 ? r : init_vault(&s));
}

// ---- status -------------------------------------------------------------------------------------

static size_t recoveries(const struct session *s)
{
    return s->config->recovery_recipients.n + s->vault.n_recipients;
}

static void status_json(struct session *s)
{
    struct vault *v = &s->vault;
    vault_recipient recipient;
    json_t *principals = json_array(), *secrets = json_array();

    age_recipient_text(v->identity.recipient, recipient);
    for (size_t i = 0; i < v->n_principals; i++)
        json_array_append_new(principals, principal_json(v, &v->principals[i]));
    for (size_t i = 0; i < v->n_secrets; i++)
        json_array_append_new(secrets, secret_json(&v->secrets[i]));
    session_print(json_pack("{s:s, s:s, s:I, s:s, s:I, s:o, s:o}", "vault", s->config->vault_file, "vault_id",
                            v->id, "generation", (json_int_t)v->generation, "recipient", recipient,
                            "recovery_recipients", (json_int_t)recoveries(s), "principals", principals,
                            "secrets", secrets));
}

static void add_secret(struct strbuf *sb, const struct vault_secret *x)
{
    sb_adds(sb, "secret     ");
    sb_add_column(sb, x->name, 28);
    sb_add_column(sb, secret_pattern_name(x->pattern), 9);
    sb_adds(sb, secret_status(x));
    secret_add_grants(sb, x);
}

static void status_text(const struct session *s)
{
    const struct vault *v = &s->vault;
    struct strbuf sb = {0};

    sb_addf(&sb, "vault      %s, generation %llu\n", s->config->vault_file,
            (unsigned long long)v->generation);
    sb_addf(&sb, "key        %s\n", s->config->age_key_file);
    sb_addf(&sb, "recovery   %zu recipients%s\n", recoveries(s),
            recoveries(s) ? "" : " - a lost host key is a lost vault");
    for (size_t i = 0; i < v->n_principals; i++)
        sb_addf(&sb, "principal  %-28s %-9s %s\n", v->principals[i].name,
                principal_kind_name(v->principals[i].kind), v->principals[i].revoked ? "revoked" : "active");
    for (size_t i = 0; i < v->n_secrets; i++) {
        add_secret(&sb, &v->secrets[i]);
        session_put(&sb, SESSION_SOME);
    }
    session_put(&sb, 0);
    sb_free(&sb);
}

int verb_status(const struct opts *o)
{
    struct session s;
    int r = session_begin_look(o, &s);

    if (r == 0)
        r = session_open(&s, false);
    if (r == 0)
        scribe_dismiss(&s);
    if (r == 0 && opt_given(o, OPT_JSON))
        status_json(&s);
    else if (r == 0)
        status_text(&s);
    return session_end(&s, r);
}

// ---- the table ----------------------------------------------------------------------------------

static const struct opt_verb verbs[] = {
    {.name = "init",
     .args = "",
     .options = OPT_BIT(RECOVERY),
     .summary = "make secret zero, where there is none, and an empty vault",
     .detail = "`ductile-install apply` does this too.",
     .example = "ductile-vault init --recovery age1...",
     .exits = "65 73 74 77",
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
     .exits = "65 75 77",
     .run = verb_principal_add},
    {.name = "principal list",
     .args = "",
     .summary = "the principals, and what each gets",
     .example = "ductile-vault principal list",
     .exits = "65 77",
     .run = verb_principal_list},
    {.name = "principal show",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "one principal, and what it gets",
     .example = "ductile-vault principal show github-repo-sync --json",
     .exits = "65 77",
     .run = verb_principal_show},
    {.name = "principal revoke",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "it gets nothing any more",
     .detail =
         "For good: its name is not taken again before it is purged. What runs keeps what it has; what is started does not.",
     .example = "ductile-vault principal revoke backup",
     .exits = "65 75 77",
     .run = verb_principal_revoke},
    {.name = "principal purge",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "remove a revoked principal and its grants",
     .example = "ductile-vault principal purge backup",
     .exits = "65 75 77",
     .run = verb_principal_purge},
    {.name = "secret set",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .options = OPT_BIT(FROM_FILE) | OPT_BIT(AUTO) | OPT_BIT(EXPIRES) | OPT_BIT(ROTATE_EVERY),
     .summary = "store a secret",
     .detail =
         "The value comes from standard input (one trailing newline is dropped), a file, or a prompt without echo; never from an argument. It is immutable: `secret roll` supersedes it.",
     .example = "ductile-vault secret set github_token < token.txt",
     .exits = "65 66 75 77",
     .run = verb_secret_set},
    {.name = "secret roll",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .options = OPT_BIT(FROM_FILE) | OPT_BIT(AUTO) | OPT_BIT(KEEP_PREVIOUS) | OPT_BIT(EXPIRES) |
                OPT_BIT(ROTATE_EVERY),
     .summary = "give a secret another value",
     .detail =
         "With --keep-previous the old value is delivered too, under its name and _previous. An expiry holds for the value it was given with.",
     .example = "ductile-vault secret roll github_token --keep-previous 1h < token.txt",
     .exits = "65 66 75 77",
     .run = verb_secret_roll},
    {.name = "secret revoke",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "wipe a secret's value, for good",
     .example = "ductile-vault secret revoke github_token",
     .exits = "65 75 77",
     .run = verb_secret_revoke},
    {.name = "secret remove",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "remove a secret and its grants",
     .example = "ductile-vault secret remove github_token",
     .exits = "65 75 77",
     .run = verb_secret_remove},
    {.name = "secret list",
     .args = "",
     .summary = "the secrets, without their values",
     .example = "ductile-vault secret list",
     .exits = "65 77",
     .run = verb_secret_list},
    {.name = "secret show",
     .args = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "one secret, without its value",
     .example = "ductile-vault secret show github_token",
     .exits = "65 77",
     .run = verb_secret_show},
    {.name = "grant",
     .args = "SECRET PRINCIPAL",
     .min_args = 2,
     .max_args = 2,
     .options = OPT_BIT(AS),
     .summary = "deliver a secret to a principal from its next spawn on",
     .detail = "To core the gateway itself has it, at once: as an API token (api.tokens) or as the key of a "
               "webhook (webhooks), by the name that secret_ref says.",
     .example = "ductile-vault grant github_token github-repo-sync",
     .exits = "65 75 77",
     .run = verb_grant},
    {.name = "ungrant",
     .args = "SECRET PRINCIPAL",
     .min_args = 2,
     .max_args = 2,
     .options = OPT_BIT(AS),
     .summary = "deliver it no longer",
     .detail = "Under every name, or under the one given with --as.",
     .example = "ductile-vault ungrant github_token github-repo-sync",
     .exits = "65 75 77",
     .run = verb_ungrant},
    {.name = "who",
     .args = "SECRET",
     .min_args = 1,
     .max_args = 1,
     .summary = "who gets a secret, and under which name",
     .example = "ductile-vault who github_token",
     .exits = "65 77",
     .run = verb_who},
    {.name = "what",
     .args = "PRINCIPAL",
     .min_args = 1,
     .max_args = 1,
     .summary = "what a principal gets",
     .example = "ductile-vault what github-repo-sync",
     .exits = "65 77",
     .run = verb_what},
    {.name = "reveal",
     .args = "SECRET",
     .min_args = 1,
     .max_args = 1,
     .options = OPT_BIT(STDOUT) | OPT_BIT(YES),
     .summary = "show a value",
     .detail = "On a terminal after a question; into a pipe or a file with --stdout, to the byte.",
     .example = "ductile-vault reveal github_token --stdout",
     .exits = "65 74 75 77",
     .run = verb_reveal},
    {.name = "rotate-key",
     .args = "",
     .options = OPT_BIT(NEW_KEY),
     .summary = "a new secret zero",
     .detail =
         "The vault is encrypted to both keys, the key is swapped, the vault is encrypted to the new one; the gateway may run meanwhile. Interrupted anywhere, the key fits the vault, and the next command finishes or undoes it. The old key is kept beside the new one: older copies of the vault need it.",
     .example = "ductile-vault rotate-key",
     .exits = "65 75 77",
     .run = verb_rotate_key},
    {.name = "recipient add",
     .args = "RECIPIENT",
     .min_args = 1,
     .max_args = 1,
     .summary = "encrypt the vault to a recovery recipient too",
     .detail =
         "Whoever holds its key, on another machine, opens the vault where this host is lost. secrets.recovery_recipients of the config does the same.",
     .example = "ductile-vault recipient add age1...",
     .exits = "65 75 77",
     .run = verb_recipient_add},
    {.name = "recipient list",
     .args = "",
     .summary = "to whom the vault is encrypted",
     .example = "ductile-vault recipient list",
     .exits = "65 77",
     .run = verb_recipient_list},
    {.name = "recipient remove",
     .args = "RECIPIENT",
     .min_args = 1,
     .max_args = 1,
     .summary = "encrypt it to that recipient no longer",
     .example = "ductile-vault recipient remove age1...",
     .exits = "65 75 77",
     .run = verb_recipient_remove},
    {.name = "export",
     .args = "",
     .options = OPT_BIT(FORMAT) | OPT_BIT(YES),
     .summary = "write every value to standard output",
     .detail = "As one JSON object (the default) or as dotenv. On a terminal after a question.",
     .example = "ductile-vault export --format dotenv > secrets.env",
     .exits = "65 74 75 77",
     .run = verb_export},
    {.name = "import",
     .args = "",
     .options = OPT_BIT(FORMAT) | OPT_BIT(AS) | OPT_BIT(FORCE) | OPT_BIT(DRY_RUN),
     .summary = "read secrets from standard input",
     .detail =
         "One JSON object of strings, dotenv, or the first line of `pass show` (--format pass --as NAME). What `sops --decrypt` prints is one of the first two. All or nothing; a name that has another value is refused, or rolled with --force.",
     .example = "sops --decrypt secrets.json | ductile-vault import",
     .exits = "65 75 77",
     .run = verb_import},
    {.name = "audit",
     .args = "[NAME]",
     .min_args = 0,
     .max_args = 1,
     .options = OPT_BIT(LIMIT),
     .summary = "what was done to the vault, delivered and denied, newest first",
     .example = "ductile-vault audit github_token --limit 50",
     .exits = "65 74 77",
     .run = verb_audit},
    {.name = "check",
     .args = "",
     .options = OPT_BIT(ACCEPT_ROLLBACK),
     .summary = "what about the vault deserves a look",
     .detail =
         "Expired and expiring secrets, what is granted to nobody or was never delivered, accounts that plugins with secrets share, principals that the config and the vault do not have in common.",
     .example = "ductile-vault check --json",
     .exits = "1 65 75 77",
     .run = verb_check},
    {.name = "encrypt",
     .args = "[FILE]",
     .max_args = 1,
     .options = OPT_BIT(RECIPIENT) | OPT_BIT(PASSPHRASE) | OPT_BIT(ARMOR) | OPT_BIT(OUTPUT),
     .summary = "encrypt a file as the age tool does, to recipients or by a passphrase",
     .detail =
         "From FILE or standard input to standard output or -o, of any size, by anybody: no config, no vault.",
     .example = "tar c notes | ductile-vault encrypt -r age1... -o notes.age",
     .exits = "65 66 73 74",
     .run = agefile_encrypt},
    {.name = "decrypt",
     .args = "[FILE]",
     .max_args = 1,
     .options = OPT_BIT(IDENTITY) | OPT_BIT(PASSPHRASE) | OPT_BIT(OUTPUT),
     .summary = "decrypt an age file, binary or armored",
     .detail =
         "From FILE or standard input to standard output or -o. What reaches standard output is authentic, "
         "but more may be missing until it ends with 0; under -o there is all of it or nothing.",
     .example = "ductile-vault decrypt -i key.txt -o notes.tar notes.age",
     .exits = "3 4 5 6 7 65 66 73 74",
     .run = agefile_decrypt},
    {.name = "keygen",
     .args = "",
     .options = OPT_BIT(OUTPUT),
     .summary = "make an age key: for a recovery recipient, or anything else",
     .example = "ductile-vault keygen -o recovery.key",
     .exits = "73 74",
     .run = agefile_keygen},
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
