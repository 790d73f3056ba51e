// Two sorted lists: principals by name, places by the name of their principal. Without them each spawn looks
// at every grant of 10,000 secrets.
#include "vault_index.h"
#include "str.h"
#include "vault.h"
#include <stdlib.h>
#include <string.h>

struct vault_index {
    uint32_t *principals; // numbers, by name
    size_t n_principals;
    struct vault_place *places; // by name of the principal
    size_t *first;              // of the n-th of `principals`; one more at the end
};

static int by_principal(const void *a, const void *b, void *vault)
{
    const struct vault *v = vault;

    return strcmp(v->principals[*(const uint32_t *)a].name, v->principals[*(const uint32_t *)b].name);
}

static const struct vault_grant *grant_at(const struct vault *v, const struct vault_place *p)
{
    return &v->secrets[p->secret].grants[p->grant];
}

static int by_grantee(const void *a, const void *b, void *vault)
{
    return strcmp(grant_at(vault, a)->principal, grant_at(vault, b)->principal);
}

void vault_index_free(struct vault_index *x)
{
    if (!x)
        return;
    free(x->principals);
    free(x->places);
    free(x->first);
    free(x);
}

static size_t list_places(const struct vault *v, struct vault_place *out)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n_secrets; i++)
        for (size_t j = 0; j < v->secrets[i].n_grants; j++, n++)
            if (out)
                out[n] = (struct vault_place){(uint32_t)i, (uint32_t)j};
    return n;
}

int vault_index_make(struct vault *v)
{
    struct vault_index *x = calloc(1, sizeof(*x));
    const size_t n = list_places(v, NULL);
    size_t at = 0;

    if (!x)
        return -ENOMEM;
    x->n_principals = v->n_principals;
    x->principals = calloc(v->n_principals + 1, sizeof(*x->principals));
    x->first = calloc(v->n_principals + 1, sizeof(*x->first));
    x->places = calloc(n + 1, sizeof(*x->places));
    if (!x->principals || !x->first || !x->places) {
        vault_index_free(x);
        return -ENOMEM;
    }
    for (size_t i = 0; i < v->n_principals; i++)
        x->principals[i] = (uint32_t)i;
    qsort_r(x->principals, v->n_principals, sizeof(*x->principals), by_principal, v);
    list_places(v, x->places);
    qsort_r(x->places, n, sizeof(*x->places), by_grantee, v);
    for (size_t i = 0; i < v->n_principals; i++) {
        const char *name = v->principals[x->principals[i]].name;
        while (at < n && strcmp(grant_at(v, &x->places[at])->principal, name) < 0)
            at++; // to nobody: the parser lets none through
        x->first[i] = at;
        while (at < n && str_eq(grant_at(v, &x->places[at])->principal, name))
            at++;
    }
    x->first[v->n_principals] = at;
    vault_index_free(v->index);
    v->index = x;
    return 0;
}

long vault_index_find(const struct vault *v, const char *principal, const struct vault_place **ret,
                      size_t *ret_n)
{
    const struct vault_index *x = v->index;
    size_t low = 0, high = x->n_principals;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = strcmp(principal, v->principals[x->principals[middle]].name);
        if (c == 0) {
            if (ret) {
                *ret = x->places + x->first[middle];
                *ret_n = x->first[middle + 1] - x->first[middle];
            }
            return (long)x->principals[middle];
        }
        if (c < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -ENOENT;
}
