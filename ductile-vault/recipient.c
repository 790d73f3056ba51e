// Recovery recipients, and a new secret zero.
#include "fd.h"
#include "keyfile.h"
#include "log.h"
#include "str.h"
#include "vault_cli.h"
#include <stdio.h>
#include <string.h>

static bool in_config(const struct session *s, const char *recipient)
{
    for (size_t i = 0; i < s->config->recovery_recipients.n; i++)
        if (str_eq(s->config->recovery_recipients.list[i], recipient))
            return true;
    return false;
}

static bool is_host(const struct session *s, const char *recipient)
{
    vault_recipient host;

    age_recipient_text(s->vault.identity.recipient, host);
    return str_eq(host, recipient);
}

static int check(struct session *s, const char *recipient)
{
    uint8_t key[AGE_KEY_LEN];

    if (age_recipient_parse(recipient, key) == 0)
        return 0;
    return session_name_refused(s, "recipient", recipient,
                                "age1 and 58 more characters, as age-keygen prints it");
}

// ---- add, remove --------------------------------------------------------------------------------

static int add(struct session *s, const char *recipient)
{
    int r = check(s, recipient);

    if (r == 0)
        r = session_open(s, true);
    if (r < 0)
        return r;
    r = in_config(s, recipient) || is_host(s, recipient) ? 0 : vault_add_recipient(&s->vault, recipient);
    if (r == -E2BIG) {
        refuse(&s->refusal, REFUSE_VAULT_NAME, "one more recovery recipient");
        refuse_why(&s->refusal, "there are %d, as many as there may be", LIMIT_RECIPIENTS);
        return refuse_remedy(&s->refusal, "ductile-vault recipient remove RECIPIENT");
    }
    if (r == 0) {
        session_note(s, AUDIT_RECIPIENT_ADDED, recipient, "\"changed\":false");
        session_say(s, "%s: opens the vault already", recipient);
    }
    if (r <= 0)
        return r;
    r = session_save(s, AUDIT_RECIPIENT_ADDED, recipient, "");
    if (r == 0)
        session_say(s, "%s: its key opens the vault from now on, and no older copy of it", recipient);
    return r;
}

int verb_recipient_add(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);

    return session_end(&s, r < 0 ? r : add(&s, o->args[0]));
}

static int remove_recipient(struct session *s, const char *recipient)
{
    int r = check(s, recipient);

    if (r == 0)
        r = session_open(s, true);
    if (r < 0)
        return r;
    if (in_config(s, recipient)) {
        refuse(&s->refusal, REFUSE_VAULT_NAME, "removing the recipient %s", recipient);
        refuse_why(&s->refusal, "it stands in secrets.recovery_recipients of %s", s->config->path);
        return refuse_remedy(&s->refusal, "take it out there; the next change of the vault leaves it out");
    }
    if (vault_remove_recipient(&s->vault, recipient) == 0)
        return session_unknown(s, "recipient", recipient, "ductile-vault recipient list");
    r = session_save(s, AUDIT_RECIPIENT_REMOVED, recipient, "");
    if (r == 0)
        session_say(s, "%s: its key opens no vault from now on; older copies it still does", recipient);
    return r;
}

int verb_recipient_remove(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);

    return session_end(&s, r < 0 ? r : remove_recipient(&s, o->args[0]));
}

// ---- list ---------------------------------------------------------------------------------------

static void add_row(json_t *list, const char *recipient, const char *from)
{
    json_array_append_new(list, json_pack("{s:s, s:s}", "recipient", recipient, "from", from));
}

static void list_text(const json_t *list)
{
    size_t i;
    json_t *o;

    json_array_foreach(list, i, o) printf("%s  %s\n", json_string_value(json_object_get(o, "recipient")),
                                          json_string_value(json_object_get(o, "from")));
    if (json_array_size(list) == 1)
        puts("no recovery recipient: a lost host key is a lost vault");
}

int verb_recipient_list(const struct opts *o)
{
    struct session s;
    vault_recipient host;
    int r = session_begin_look(o, &s);

    if (r == 0)
        r = session_open(&s, false);
    if (r < 0)
        return session_end(&s, r);
    json_t *list = json_array();
    age_recipient_text(s.vault.identity.recipient, host);
    add_row(list, host, "host");
    for (size_t i = 0; i < s.config->recovery_recipients.n; i++)
        add_row(list, s.config->recovery_recipients.list[i], "config");
    for (size_t i = 0; i < s.vault.n_recipients; i++)
        if (!in_config(&s, s.vault.recipients[i]))
            add_row(list, s.vault.recipients[i], "vault");
    if (session_json(&s))
        session_print(json_pack("{s:O}", "recipients", list));
    else
        list_text(list);
    json_decref(list);
    return session_end(&s, 0);
}

// ---- rotate-key ---------------------------------------------------------------------------------

// A credential is the operator's to exchange. The vault is encrypted to the new key too, and stays so until
// that is the host's; the next change after that leaves the old one out by itself.
static int rotate_credential(struct session *s, int fd)
{
    struct age_identity fresh = {0};
    struct secret text = {0};
    vault_recipient recipient;
    int r = session_open(s, true), e = r < 0 ? 0 : age_identity_new(&fresh);

    if (r < 0)
        return r;
    if (e == 0)
        e = age_identity_text(&fresh, &text);
    if (e == 0)
        e = fd_write_all(fd, text.data, text.len);
    if (e == 0 && fsync(fd) < 0)
        e = err_last();
    secret_wipe(&text);
    if (e == 0) {
        age_recipient_text(fresh.recipient, recipient);
        e = vault_add_recipient(&s->vault, recipient);
    }
    age_identity_wipe(&fresh);
    if (e < 0) {
        refuse(&s->refusal, REFUSE_IO, "writing the new key");
        refuse_why(&s->refusal, "%s (%s)", strerror(-e), errno_name(-e));
        return refuse_remedy(&s->refusal, "remove %s, and try again", s->opts->value[OPT_NEW_KEY]);
    }
    r = session_save(s, AUDIT_RECIPIENT_ADDED, recipient, "\"for\":\"rotate-key\"");
    if (r == 0)
        session_say(s,
                    "the vault opens with both keys; make %s the credential, restart the gateway, then: "
                    "ductile-vault recipient remove %s, which leaves the old key out",
                    s->opts->value[OPT_NEW_KEY], recipient);
    return r;
}

static int rotate(struct session *s)
{
    vault_recipient before, after;
    char old[LIMIT_PATH], detail[256];
    int r = session_open(s, true);

    if (r < 0)
        return r;
    uint64_t last = s->vault.generation;
    age_recipient_text(s->vault.identity.recipient, before);
    r = vault_rotate_key(&s->vault, s->config, old, &s->refusal);
    if (r < 0)
        return r;
    if (r > 0)
        log_warn("the key is changed, but the disk did not confirm all of it: look at the disk");
    age_recipient_text(s->vault.identity.recipient, after);
    snprintf(detail, sizeof(detail), "\"old\":\"%s\",\"new\":\"%s\"", before, after);
    session_note(s, AUDIT_KEY_ROTATED, s->config->age_key_file, detail);
    session_say(
        s,
        "secret zero is %s now; copies of the vault up to generation %llu need the old key, kept as %s: "
        "remove it with the last of them",
        after, (unsigned long long)last, old);
    return 0;
}

static int rotate_as_configured(struct session *s, int fd)
{
    bool credential = keyfile_is_credential(s->config->age_key_file), given = opt_given(s->opts, OPT_NEW_KEY);

    if (credential && given && fd >= 0)
        return rotate_credential(s, fd);
    if (!credential && !given)
        return rotate(s);
    refuse(&s->refusal, REFUSE_VAULT_KEY, "changing secret zero, %s", s->config->age_key_file);
    if (credential && given)
        refuse_why(&s->refusal, "%s cannot be made: %s (%s)", s->opts->value[OPT_NEW_KEY], strerror(-fd),
                   errno_name(-fd));
    else
        refuse_why(&s->refusal, credential
                                    ? "it is a credential: the service manager holds it, and you exchange it"
                                    : "it is a file, and is exchanged in its place");
    return refuse_remedy(&s->refusal, credential ? "ductile-vault rotate-key --new-key FILE, a new one"
                                                 : "ductile-vault rotate-key");
}

// Asked before anything is made: nothing is left of a command that is refused for this.
static bool has_credential(const struct opts *o)
{
    struct config *c = NULL;
    struct refusal ignored;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    bool has = config_load(root, o->value[OPT_CONFIG], o->value[OPT_INSTANCE], &c, &ignored) == 0 &&
               keyfile_is_credential(c->age_key_file);

    config_free(c);
    return has;
}

int verb_rotate_key(const struct opts *o)
{
    struct session s;
    // While still root: it is the operator's, and where is his choice.
    OWNED(fd_closep)
    int fd = opt_given(o, OPT_NEW_KEY) && has_credential(o)
                 ? open(o->value[OPT_NEW_KEY], O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)
                 : -1;
    int e = fd < 0 ? err_last() : fd;
    int r = session_begin(o, &s, "key");

    return session_end(&s, r < 0 ? r : rotate_as_configured(&s, e));
}
