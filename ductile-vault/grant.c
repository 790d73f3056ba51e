// Grants: which principal gets which secret, under which name.
#include "fd.h"
#include "lock.h"
#include "log.h"
#include "str.h"
#include "vault_cli.h"
#include <stdio.h>
#include <string.h>

static int ensure_principal(struct session *s, const char *principal)
{
    struct lock lock = {0};
    struct refusal ignored;
    OWNED(fd_closep) int root = fd_open_root(NULL);

    const struct vault_principal *there = vault_principal(&s->vault, principal);
    if (there && !there->revoked)
        return 0;
    if (there) {
        refuse(&s->refusal, REFUSE_VAULT_UNKNOWN, "granting to \"%s\"", principal);
        refuse_why(&s->refusal, "it was revoked, for good");
        return refuse_remedy(&s->refusal, "ductile-vault principal purge %s, which frees the name",
                             principal);
    }
    if (lock_load(root, s->config, &lock, &ignored) < 0)
        lock = (struct lock){0};
    bool plugin = session_is_plugins(s, principal, &lock);
    lock_free(&lock);
    if (str_eq(principal, PRINCIPAL_CORE_NAME) &&
        vault_add_principal(&s->vault, principal, PRINCIPAL_CORE) == 0) {
        log_info("principal %s was missing and is made: it is the gateway itself", principal);
        return 0;
    }
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
        return session_name_refused(s, "name", as, "lower-case letters and digits, with _ and - inside");
    if (!vault_secret(&s->vault, secret))
        return session_unknown(s, "secret", secret, "ductile-vault secret set NAME");
    r = ensure_principal(s, principal);
    if (r == 0)
        r = vault_grant(&s->vault, secret, principal, as);
    snprintf(detail, sizeof(detail), "\"principal\":\"%s\",\"as\":\"%s\"%s", principal, as,
             r == 0 ? ",\"changed\":false" : "");
    if (r == 0) {
        session_note(s, AUDIT_SECRET_GRANTED, secret, detail);
        session_say(s, "%s: %s had it already", secret, principal);
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
    r = session_save(s, AUDIT_SECRET_GRANTED, secret, detail);
    if (r == 0)
        session_say(s, "%s: delivered to %s as \"%s\" %s", secret, principal, as, session_when(principal));
    return r;
}

int verb_grant(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);
    const char *as = opt_given(o, OPT_AS) ? o->value[OPT_AS] : o->args[0];

    if (r == 0 && !str_is_instance(o->args[1]))
        r = session_name_refused(&s, "principal", o->args[1],
                                 "lower-case letters and digits in groups joined by single hyphens");
    return session_end(&s, r < 0 ? r : grant(&s, o->args[0], o->args[1], as));
}

// ---- ungrant ------------------------------------------------------------------------------------

static int ungrant(struct session *s, const char *secret, const char *principal, const char *as)
{
    char detail[512];
    int r = session_open(s, true);

    if (r == 0 && !vault_principal(&s->vault, principal))
        return session_unknown(s, "principal", principal, "ductile-vault principal list");
    if (r == 0)
        r = vault_ungrant(&s->vault, secret, principal, as);
    if (r == -ENOENT)
        return session_unknown(s, "secret", secret, "ductile-vault secret list");
    if (r < 0)
        return r;
    // as is checked: it stands in the ledger
    snprintf(detail, sizeof(detail), "\"principal\":\"%s\"%s%s%s%s", principal, as ? ",\"as\":\"" : "",
             as ? as : "", as ? "\"" : "", r ? "" : ",\"changed\":false");
    if (r == 0) {
        session_note(s, AUDIT_SECRET_UNGRANTED, secret, detail);
        session_say(s, "%s: %s did not have it%s%s", secret, principal, as ? " as " : "", as ? as : "");
        return 0;
    }
    r = session_save(s, AUDIT_SECRET_UNGRANTED, secret, detail);
    if (r == 0)
        session_say(s, "%s: no longer delivered to %s %s", secret, principal, session_when(principal));
    return r;
}

int verb_ungrant(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);

    if (r == 0 && opt_given(o, OPT_AS) && !str_is_secret(o->value[OPT_AS]))
        r = session_name_refused(&s, "name", o->value[OPT_AS],
                                 "lower-case letters and digits, with _ and - inside");
    return session_end(&s, r < 0 ? r : ungrant(&s, o->args[0], o->args[1], o->value[OPT_AS]));
}

// ---- who ----------------------------------------------------------------------------------------

static json_t *who(struct vault *v, const struct vault_secret *x)
{
    json_t *list = json_array();

    for (size_t i = 0; i < x->n_grants; i++) {
        const struct vault_principal *p = vault_principal(v, x->grants[i].principal);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "principal", p->name, "kind",
                                              principal_kind_name(p->kind), "status",
                                              p->revoked ? "revoked" : "active", "as", x->grants[i].as));
    }
    return list;
}

int verb_who(const struct opts *o)
{
    struct session s;
    struct vault_secret *x = NULL;
    int r = session_secret(o, &s, &x);

    if (x && session_json(&s))
        session_print(json_pack("{s:s, s:s, s:o}", "secret", x->name, "status", secret_status(x), "gets_it",
                                who(&s.vault, x)));
    else if (x) {
        for (size_t i = 0; i < x->n_grants; i++)
            printf("%-28s as %-20s %s\n", x->grants[i].principal, x->grants[i].as,
                   vault_principal(&s.vault, x->grants[i].principal)->revoked ? "revoked: gets nothing"
                                                                              : "active");
        if (x->n_grants == 0)
            printf("%s: granted to nobody\n", x->name);
    }
    return session_end(&s, r);
}
