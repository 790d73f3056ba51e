// The vault: one age file whose plaintext is a JSON document of principals, secrets and grants. Here is what
// the warden needs (open, compose) and what ductile-vault and the first `apply` need (create, change, save).
// Everybody in here already is the service user. Format: ductile-vault(5).
#pragma once
#include "age.h"
#include "config.h"
#include "mask.h"

enum principal_kind { PRINCIPAL_PLUGIN, PRINCIPAL_CORE, PRINCIPAL_CONSUMER, PRINCIPAL_COUNT_ };
enum secret_pattern { PATTERN_MANUAL, PATTERN_AUTO, PATTERN_COUNT_ };
const char *principal_kind_name(enum principal_kind kind);
MUST int principal_kind_from_name(const char *name);
const char *secret_pattern_name(enum secret_pattern pattern);

struct vault_principal {
    char name[LIMIT_NAME];
    enum principal_kind kind;
    bool revoked;
    int64_t created_ms;
};

struct vault_grant {
    char principal[LIMIT_NAME], as[LIMIT_NAME];
};

struct vault_secret {
    char name[LIMIT_NAME];
    struct secret value; // empty where revoked
    enum secret_pattern pattern;
    bool revoked;
    int64_t created_ms, updated_ms;
    struct vault_grant *grants;
    size_t n_grants;
};

struct vault {
    char id[33];
    uint64_t generation;
    struct vault_principal *principals;
    size_t n_principals;
    struct vault_secret *secrets;
    size_t n_secrets;
    struct age_identity identity;
};

// How much arena a vault file of this many bytes needs to be opened (jansson's tree is about 8 x its text).
size_t vault_arena_size(uint64_t file_size);
// Opens the arena for a vault file that may not exist yet. -ECANCELED with the memlock limit in refusal.
MUST int vault_arena_open(const char *vault_file, struct refusal *refusal);

// Reads secret zero: a regular file of this process's user, mode & 077 == 0, no link on the way. -ECANCELED.
MUST int vault_read_key(const char *key_file, struct age_identity *ret, struct refusal *refusal);
// Mints secret zero, 0600, where there is none. 1: minted, 0: there already. -ECANCELED.
MUST int vault_mint_key(const char *key_file, struct refusal *refusal);

// Opens with the key and checks the generation against the file `generation` beside the vault. -ECANCELED.
MUST int vault_open(const char *key_file, const char *vault_file, struct vault *ret, struct refusal *refusal);
// An empty vault, not yet on disk.
MUST int vault_new(const char *key_file, struct vault *ret, struct refusal *refusal);
// generation + 1, encrypt to the key and every recovery recipient, write beside, read back, compare, rename,
// fsync.
MUST int vault_save(struct vault *vault, const struct config *config, struct refusal *refusal);
// Mints what is missing: secret zero, then an empty vault. 1: something was made, 0: both are there.
// -ECANCELED.
MUST int vault_create(const struct config *config, struct refusal *refusal);
void vault_close(struct vault *vault);
// An exclusive flock beside the vault; held until the descriptor is closed. -errno.
MUST int vault_lock(const char *vault_file);

struct vault_principal *vault_principal(struct vault *vault, const char *name);
struct vault_secret *vault_secret(struct vault *vault, const char *name);
// -EEXIST, -E2BIG, -ENOMEM.
MUST int vault_add_principal(struct vault *vault, const char *name, enum principal_kind kind);
// Creates, or leaves an equal value; -EEXIST where the value differs, -EKEYREVOKED. value is copied.
MUST int vault_set_secret(struct vault *vault, const char *name, const struct secret *value,
                          enum secret_pattern pattern);
// 1: granted, 0: was granted under this name already.
MUST int vault_grant(struct vault *vault, const char *secret, const char *principal, const char *as);

struct vault_delivery {
    struct secret json; // {"secrets":{...}, - the head of a request, without its end
    char **names;       // delivered names, sorted
    size_t n;
    struct mask_set mask; // what to look for in the answer
};

// What a spawn of principal gets. requires: names that must be among them; required: there must be a
// principal and at least one secret. 0; -ENOKEY: no such principal or secret (*ret_name says which);
// -EKEYREVOKED; -EFBIG: over max.
MUST int vault_compose(struct vault *vault, const char *principal, char *const *requires, size_t n_requires,
                       bool required, size_t max, struct vault_delivery *ret,
                       char ret_name[static LIMIT_NAME]);
void vault_delivery_wipe(struct vault_delivery *delivery);
