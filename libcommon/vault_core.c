// The gateway's own secrets: values of API tokens and keys of webhooks, granted to principal `core`. They
// stay in the warden.
#include "str.h"
#include "token.h"
#include "vault.h"
#include <stdio.h>
#include <string.h>

// The one that core gets under this name; NULL: none.
static const struct vault_secret *granted(const struct vault *vault, const char *name)
{
    for (size_t i = 0; i < vault->n_secrets; i++) {
        const struct vault_secret *s = &vault->secrets[i];
        for (size_t k = 0; k < s->n_grants; k++)
            if (str_eq(s->grants[k].principal, PRINCIPAL_CORE_NAME) && str_eq(s->grants[k].as, name))
                return s;
    }
    return NULL;
}

// -ENOKEY where a plugin's principal has the name: what it may have is not the gateway's.
static int find_core(const struct vault *vault)
{
    for (size_t i = 0; i < vault->n_principals; i++) {
        const struct vault_principal *p = &vault->principals[i];
        if (str_eq(p->name, PRINCIPAL_CORE_NAME))
            return p->kind != PRINCIPAL_CORE ? -ENOKEY : p->revoked ? -EACCES : 0;
    }
    return -ENOKEY;
}

int vault_core_secret(const struct vault *vault, const char *name, int64_t now_ms,
                      const struct vault_secret **ret)
{
    const struct vault_secret *s = granted(vault, name);
    int r = find_core(vault);

    if (r < 0 || !s)
        return r < 0 ? r : -ENOKEY;
    if (s->revoked)
        return -EKEYREVOKED;
    if (s->expires_ms > 0 && s->expires_ms <= now_ms)
        return -EKEYEXPIRED;
    if (s->value.len == 0)
        return -ENODATA;
    if (s->value.len < LIMIT_TOKEN_MIN)
        return -EMSGSIZE;
    *ret = s;
    return 0;
}

const char *vault_core_why(const struct vault *vault, int error, const char *name, char buf[static 512])
{
    const struct vault_secret *s = granted(vault, name);
    const char *own = s ? s->name : name; // what a command takes
    char which[2 * LIMIT_NAME + 32];

    snprintf(which, sizeof(which), str_eq(own, name) ? "%s" : "%s, granted as %s,", own, name);
    if (error == -ENOKEY)
        snprintf(buf, 512, "%s is not granted to core: ductile vault grant %s core", which, own);
    else if (error == -EACCES)
        snprintf(buf, 512,
                 "%s is withheld, principal core is revoked: "
                 "ductile vault principal purge core, then grant again",
                 which);
    else if (error == -EKEYREVOKED)
        snprintf(buf, 512, "%s is revoked: ductile vault secret remove %s, then set and grant it again",
                 which, own);
    else if (error == -EKEYEXPIRED)
        snprintf(buf, 512, "%s has expired: ductile vault secret roll %s --auto", which, own);
    else if (error == -ENODATA)
        snprintf(buf, 512, "%s is empty: ductile vault secret roll %s --auto", which, own);
    else if (error == -EMSGSIZE)
        snprintf(buf, 512, "%s has fewer than %d or more than %d bytes: ductile vault secret roll %s --auto",
                 which, LIMIT_TOKEN_MIN, LIMIT_TOKEN_MAX, own);
    else if (error == -EILSEQ)
        snprintf(buf, 512, "%s has a byte that no header carries: ductile vault secret roll %s --auto", which,
                 own);
    else
        snprintf(buf, 512, "%s cannot be used (%s)", which, strerror(-error));
    return buf;
}
