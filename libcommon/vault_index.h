// For who composes again and again from a vault that does not change (the warden): its principals by name,
// and the grants of each. Numbers only, no value and no name of its own.
#pragma once
#include "owned.h"
#include <stddef.h>
#include <stdint.h>

struct vault;
struct vault_index;

// One grant, by numbers: vault->secrets[secret].grants[grant].
struct vault_place {
    uint32_t secret, grant;
};

// Makes it; vault_close ends it. From here on nothing is added, taken out or moved. -ENOMEM.
MUST int vault_index_make(struct vault *vault);
void vault_index_free(struct vault_index *index);

// A principal's number, or -ENOENT. *ret, where not NULL, gets its grants: the index's own.
long vault_index_find(const struct vault *vault, const char *principal, const struct vault_place **ret,
                      size_t *ret_n);
