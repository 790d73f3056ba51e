// The vault: one age file whose plaintext is a JSON document of principals, secrets and grants. Here is what
// the warden needs (open, compose) and what ductile-vault and the first `apply` need (create, change, save).
// Everybody in here already is the service user. Format: ductile-vault(5).
#pragma once
#include "age.h"
#include "config.h"
#include "mask.h"
#include "vault_index.h"

enum principal_kind { PRINCIPAL_PLUGIN, PRINCIPAL_CORE, PRINCIPAL_CONSUMER, PRINCIPAL_COUNT_ };
enum secret_pattern { PATTERN_MANUAL, PATTERN_AUTO, PATTERN_COUNT_ };
const char *principal_kind_name(enum principal_kind kind);
MUST int principal_kind_from_name(const char *name);
const char *secret_pattern_name(enum secret_pattern pattern);

// Names and values lie in the text they were read from, or, those that came later, beside it in the arena.
// A name is shorter than LIMIT_NAME.
struct vault_principal {
    const char *name;
    enum principal_kind kind;
    bool revoked;
    int64_t created_ms;
};

struct vault_grant {
    const char *principal, *as;
};

struct vault_secret {
    const char *name;
    struct secret value; // empty where revoked
    enum secret_pattern pattern;
    bool revoked;
    int64_t created_ms, updated_ms; // updated: when the value last changed
    int64_t expires_ms;             // 0: never
    int64_t rotate_every_ms;        // 0: nobody is reminded
    struct secret previous;         // of the last roll, where it was to be kept
    int64_t previous_until_ms;
    struct vault_grant *grants;
    size_t n_grants;
};

typedef char vault_recipient[AGE_RECIPIENT_LEN + 1];

struct vault {
    char id[33];
    uint64_t generation;
    struct vault_principal *principals;
    size_t n_principals;
    struct vault_secret *secrets;
    size_t n_secrets;
    struct vault_grant *grants; // those that were read, of all secrets; one that is added to has its own list
    size_t n_grants;
    vault_recipient *recipients; // recovery, beside those of the config
    size_t n_recipients;
    struct secret text; // of the document, as vault_parse left it
    struct age_identity identity;
    struct vault_index *index; // NULL: everything is looked through
};

// How much arena a vault file of this many bytes needs to be opened, changed and saved.
size_t vault_arena_size(uint64_t file_size);
// Opens the arena for a vault file that may not exist yet. -ECANCELED with the memlock limit in refusal.
MUST int vault_arena_open(const char *vault_file, struct refusal *refusal);
// The same with room for a vault of any size, and to parse what becomes one; where the limit is less, with
// what it leaves.
MUST int vault_arena_open_large(const char *vault_file, struct refusal *refusal);

// ---- secret zero (vault_key.c) ----

// Reads secret zero: a regular file of this process's user, mode & 077 == 0, no link on the way. -ECANCELED.
MUST int vault_read_key(const char *key_file, struct age_identity *ret, struct refusal *refusal);
// Mints secret zero, 0600, where there is none. 1: minted, 0: there already. -ECANCELED.
MUST int vault_mint_key(const char *key_file, struct refusal *refusal);
// A new secret zero for an open vault, under its lock: a mark, the new key beside the old, encrypt to both,
// swap the key and fsync its directory, encrypt to the new one, no mark. Killed anywhere, key and vault fit.
// ret_old: where the old key is kept. -ECANCELED.
MUST int vault_rotate_key(struct vault *vault, const struct config *config, char ret_old[static LIMIT_PATH],
                          struct refusal *refusal);
// What an interrupted command left behind. Under the lock: removes temporary files, and finishes a rotation
// whose new key opens the vault, or undoes it. VAULT_*; -ECANCELED.
enum { VAULT_CLEAN, VAULT_SWEPT, VAULT_ROTATION_UNDONE, VAULT_ROTATION_FINISHED };
MUST int vault_recover(const struct config *config, struct refusal *refusal);
// Is there something for vault_recover? Needs no lock: what a running command has open looks the same.
bool vault_interrupted(const struct config *config);

// ---- files (vault_file.c) ----

// Opens with the key and checks the generation against the file `generation` beside the vault. -ECANCELED.
MUST int vault_open(const char *key_file, const char *vault_file, struct vault *ret, struct refusal *refusal);
// The same for an older vault that was put back on purpose: *ret_seen is the highest generation recorded
// beside it.
MUST int vault_open_older(const char *key_file, const char *vault_file, struct vault *ret, uint64_t *ret_seen,
                          struct refusal *refusal);
// An older vault than the newest seen. -ECANCELED.
int vault_rollback_refused(const char *vault_file, uint64_t generation, uint64_t seen,
                           struct refusal *refusal);
// An empty vault, not yet on disk.
MUST int vault_new(const char *key_file, struct vault *ret, struct refusal *refusal);
// generation + 1, encrypt to the key and every recovery recipient, write beside, fsync, read back, decrypt,
// compare, rename, fsync. 0; 1: changed, but the disk did not confirm it, or `generation` is not up to date.
// -ECANCELED: nothing changed.
MUST int vault_save(struct vault *vault, const struct config *config, struct refusal *refusal);
// The same to one more recipient; NULL: none.
MUST int vault_save_also(struct vault *vault, const struct config *config, const uint8_t *also,
                         struct refusal *refusal);
// Mints what is missing: secret zero, then an empty vault. 1: something was made, 0: both are there.
// -ECANCELED.
MUST int vault_create(const struct config *config, struct refusal *refusal);
void vault_close(struct vault *vault);
// An exclusive flock beside the vault; held until the descriptor is closed. -errno.
MUST int vault_lock(const char *vault_file);
// The path of a file beside another.
const char *vault_beside(const char *file, const char *name, char buf[static LIMIT_PATH]);
// A temporary file that a killed command left in place of `name`?
bool vault_is_leftover(const char *entry, const char *name);

// ---- the document (vault_read.c, vault_doc.c) ----

#define VAULT_FORMAT "ductile.vault/1"

// Reads the document strictly: each member is known and comes once, in any order. The text becomes v's: it is
// changed in place, and names and values stay where they stand in it. -EBADMSG, -ENOMEM; vault_close either
// way.
MUST int vault_parse(struct secret *plain, struct vault *v);
// -EFBIG: over LIMIT_VAULT_TEXT.
MUST int vault_serialise(const struct vault *v, struct secret *ret);

// ---- the model (vault.c) ----

int64_t vault_now_ms(void);
// A name to keep: a copy in the arena. NULL: no memory.
const char *vault_keep_name(const char *name);
// Ends a name, a value, all that is a grant's or a secret's; a value is wiped, wherever it lies.
void vault_drop_name(const struct vault *vault, const char *name);
void vault_wipe_value(const struct vault *vault, struct secret *value);
void vault_drop_grant(const struct vault *vault, struct vault_grant *grant);
void vault_drop_secret(const struct vault *vault, struct vault_secret *secret);
struct vault_principal *vault_principal(struct vault *vault, const char *name);
struct vault_secret *vault_secret(struct vault *vault, const char *name);
// -EEXIST, -E2BIG, -ENOMEM.
MUST int vault_add_principal(struct vault *vault, const char *name, enum principal_kind kind);
// Creates, or leaves an equal value; -EEXIST where the value differs, -EKEYREVOKED, -E2BIG. value is copied.
MUST int vault_set_secret(struct vault *vault, const char *name, const struct secret *value,
                          enum secret_pattern pattern);
// 1: granted, 0: was granted under this name already. -EEXIST: the principal gets another secret under it.
MUST int vault_grant(struct vault *vault, const char *secret, const char *principal, const char *as);

// ---- changes (vault_change.c). 1: changed, 0: it was so already; -ENOENT: no such name ----

// Kept values whose time is over; every save does this.
void vault_forget_stale(struct vault *vault);
// For good: the principal gets nothing from now on, and its name is never taken again.
MUST int vault_revoke_principal(struct vault *vault, const char *name);
// Gone, with its grants; -EBUSY: it is active.
MUST int vault_purge_principal(struct vault *vault, const char *name);
// Another value. keep_ms > 0: the old one is delivered as NAME_previous for so long. -EKEYREVOKED; -EALREADY:
// it is the same value; -ENAMETOOLONG, -EEXIST: NAME_previous is too long or taken for one who is granted it.
MUST int vault_roll_secret(struct vault *vault, const char *name, const struct secret *value,
                           int64_t keep_ms);
// The values are wiped; the name stays, and is never set again.
MUST int vault_revoke_secret(struct vault *vault, const char *name);
// Gone, with its name and grants.
MUST int vault_remove_secret(struct vault *vault, const char *name);
// as NULL: under every name. -ENOENT: no such secret.
MUST int vault_ungrant(struct vault *vault, const char *secret, const char *principal, const char *as);
// recipient: checked text. -E2BIG, -ENOMEM; remove: 0 where it is not there.
MUST int vault_add_recipient(struct vault *vault, const char *recipient);
MUST int vault_remove_recipient(struct vault *vault, const char *recipient);

// ---- composing (vault_compose.c) ----

struct vault_delivery {
    struct secret json; // {"secrets":{...}, - the head of a request, without its end
    char **names;       // delivered names, sorted
    size_t n;
    char *withheld;       // JSON: [{"name","why"}] of grants that deliver nothing; NULL: there are none
    struct secret values; // one behind the other, for the mask; wiped once that is made
    size_t *lengths;
    struct mask_set mask; // what to look for in the answer
};

// What a spawn of principal gets at now_ms. requires: names that must be among them; required: there must be
// a principal and at least one secret. 0; -ENOKEY: no such principal, no such grant; -EKEYREVOKED: the
// principal or the secret is revoked; -EKEYEXPIRED; -ENODATA: its value is empty; *ret_name says whose.
// -EFBIG: over max. -EPERM: the principal is the gateway's own. -ENOMEM.
MUST int vault_compose(struct vault *vault, const char *principal, char *const *requires, size_t n_requires,
                       bool required, size_t max, int64_t now_ms, struct vault_delivery *ret,
                       char ret_name[static LIMIT_NAME]);
// Fills mask from what is delivered; until then it is empty. -ENOMEM.
MUST int vault_delivery_mask(struct vault_delivery *delivery);
void vault_delivery_wipe(struct vault_delivery *delivery);

// ---- what is the gateway's own (vault_core.c) ----

// The secret that principal `core` is granted under this name, where it is good at now_ms. -ENOKEY: there is
// no such grant, or no principal `core` of kind core; -EACCES: the principal is revoked; -EKEYREVOKED: the
// secret is; -EKEYEXPIRED; -ENODATA: its value is empty; -EMSGSIZE: shorter than LIMIT_TOKEN_MIN.
MUST int vault_core_secret(const struct vault *vault, const char *name, int64_t now_ms,
                           const struct vault_secret **ret);
// What is wrong with it, and what to do about it, in one line: "ci-token is not granted to core: ductile
// vault grant ...". An error of token_check too.
const char *vault_core_why(const struct vault *vault, int error, const char *name, char buf[static 512]);
