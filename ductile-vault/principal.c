// Principals: who may be granted secrets.
#include "str.h"
#include "vault_cli.h"
#include <stdio.h>
#include <string.h>

json_t *principal_json(struct vault *v, const struct vault_principal *p)
{
    json_t *gets = json_array();

    for (size_t i = 0; i < v->n_secrets; i++)
        for (size_t j = 0; j < v->secrets[i].n_grants; j++) {
            const struct vault_grant *g = &v->secrets[i].grants[j];
            if (str_eq(g->principal, p->name))
                json_array_append_new(gets, json_pack("{s:s, s:s, s:s}", "secret", v->secrets[i].name, "as",
                                                      g->as, "status", secret_status(&v->secrets[i])));
        }
    return json_pack("{s:s, s:s, s:s, s:I, s:o}", "name", p->name, "kind", principal_kind_name(p->kind),
                     "status", p->revoked ? "revoked" : "active", "created_ms", (json_int_t)p->created_ms,
                     "gets", gets);
}

static void principal_text(struct vault *v, const struct vault_principal *p)
{
    json_t *o = principal_json(v, p);
    const json_t *gets = json_object_get(o, "gets");
    size_t n = json_array_size(gets);

    printf("%-28s %-9s %-8s gets", p->name, principal_kind_name(p->kind), p->revoked ? "revoked" : "active");
    for (size_t i = 0; i < n; i++) {
        const json_t *g = json_array_get(gets, i);
        const char *secret = json_string_value(json_object_get(g, "secret")),
                   *as = json_string_value(json_object_get(g, "as")),
                   *status = json_string_value(json_object_get(g, "status"));
        printf("%s %s%s%s", i ? "," : "", secret, str_eq(secret, as) ? "" : " as ",
               str_eq(secret, as) ? "" : as);
        if (!str_eq(status, "active"))
            printf(" (%s)", status);
    }
    puts(n ? "" : " nothing");
    json_decref(o);
}

// ---- add ----------------------------------------------------------------------------------------

static int add_principal(struct session *s, const char *name, const char *kind_name)
{
    char detail[64];
    int kind = principal_kind_from_name(kind_name);

    if (!str_is_instance(name))
        return session_name_refused(s, "principal", name,
                                    "lower-case letters and digits in groups joined by single hyphens");
    if (kind < 0)
        return session_name_refused(s, "kind", kind_name, "plugin, core or consumer");
    if (str_eq(name, PRINCIPAL_CORE_NAME) != (kind == PRINCIPAL_CORE))
        return session_name_refused(
            s, "principal", name,
            "core, for kind core, which is the gateway itself; and another for any other kind");
    int r = session_open(s, true);
    if (r < 0)
        return r;
    r = vault_add_principal(&s->vault, name, (enum principal_kind)kind);
    if (r < 0) {
        refuse(&s->refusal, REFUSE_VAULT_NAME, "the principal \"%s\"", name);
        refuse_remedy(&s->refusal, "ductile-vault principal list");
        refuse_why(&s->refusal, r == -EEXIST ? "it exists (revoked ones keep their name)"
                                             : "the vault holds as many as it may");
        return -ECANCELED;
    }
    snprintf(detail, sizeof(detail), "\"kind\":\"%s\"", kind_name);
    r = session_save(s, AUDIT_PRINCIPAL_ADDED, name, detail);
    if (r == 0)
        session_say(s, "%s: may be granted secrets now", name);
    return r;
}

int verb_principal_add(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);

    if (r == 0)
        r = add_principal(&s, o->args[0], opt_given(o, OPT_KIND) ? o->value[OPT_KIND] : "plugin");
    return session_end(&s, r);
}

// ---- list, show ---------------------------------------------------------------------------------

int verb_principal_list(const struct opts *o)
{
    struct session s;
    int r = session_begin_look(o, &s);
    json_t *list = json_array();

    if (r == 0)
        r = session_open(&s, false);
    for (size_t i = 0; r == 0 && i < s.vault.n_principals; i++)
        if (session_json(&s))
            json_array_append_new(list, principal_json(&s.vault, &s.vault.principals[i]));
        else
            principal_text(&s.vault, &s.vault.principals[i]);
    if (r == 0 && session_json(&s))
        session_print(json_pack("{s:O}", "principals", list));
    json_decref(list);
    return session_end(&s, r);
}

static int find(struct session *s, const char *name, struct vault_principal **ret)
{
    *ret = vault_principal(&s->vault, name);
    return *ret ? 0 : session_unknown(s, "principal", name, "ductile-vault principal list");
}

static int show(const struct opts *o)
{
    struct session s;
    struct vault_principal *p = NULL;
    int r = session_begin_look(o, &s);

    if (r == 0)
        r = session_open(&s, false);
    if (r == 0)
        r = find(&s, o->args[0], &p);
    if (p && session_json(&s))
        session_print(principal_json(&s.vault, p));
    else if (p)
        principal_text(&s.vault, p);
    return session_end(&s, r);
}

int verb_principal_show(const struct opts *o)
{
    return show(o);
}

int verb_what(const struct opts *o)
{
    return show(o);
}

// ---- revoke, purge ------------------------------------------------------------------------------

static int revoke_principal(struct session *s, const char *name)
{
    int r = session_open(s, true);

    if (r == 0)
        r = vault_revoke_principal(&s->vault, name);
    if (r == -ENOENT)
        return session_unknown(s, "principal", name, "ductile-vault principal list");
    if (r < 0)
        return r;
    if (r == 0) {
        session_note(s, AUDIT_PRINCIPAL_REVOKED, name, "\"changed\":false");
        session_say(s, "%s: was revoked already", name);
        return 0;
    }
    r = session_save(s, AUDIT_PRINCIPAL_REVOKED, name, "");
    if (r == 0)
        session_say(s, "%s: gets nothing %s, for good%s", name, session_when(name),
                    str_eq(name, PRINCIPAL_CORE_NAME) ? "" : "; what runs keeps what it has");
    return r;
}

int verb_principal_revoke(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);

    return session_end(&s, r < 0 ? r : revoke_principal(&s, o->args[0]));
}

static int purge(struct session *s, const char *name)
{
    int r = session_open(s, true);

    if (r == 0)
        r = vault_purge_principal(&s->vault, name);
    if (r == -ENOENT)
        return session_unknown(s, "principal", name, "ductile-vault principal list");
    if (r == -EBUSY) {
        refuse(&s->refusal, REFUSE_VAULT_NAME, "purging the principal %s", name);
        refuse_why(&s->refusal, "it is active: purging is for revoked ones");
        return refuse_remedy(&s->refusal, "ductile-vault principal revoke %s", name);
    }
    if (r < 0)
        return r;
    r = session_save(s, AUDIT_PRINCIPAL_PURGED, name, "");
    if (r == 0)
        session_say(s, "%s: gone with its grants; the name is free again", name);
    return r;
}

int verb_principal_purge(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);

    return session_end(&s, r < 0 ? r : purge(&s, o->args[0]));
}
