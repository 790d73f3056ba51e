// config.yaml: one parser, one validator, one struct for every program. Strict: see config.def for each key.
#pragma once
#include "err.h"
#include "limits.h"
#include "ynode.h"
#include <stdint.h>
#include <sys/types.h>

enum posture { POSTURE_UNCONFINED, POSTURE_FULL_PRIVSEP, POSTURE_HYBRID, POSTURE_COUNT_ };
enum account_mode { MODE_UNCONFINED, MODE_CONFINED, MODE_CREDENTIALED, MODE_COUNT_ };
enum landlock_level { LANDLOCK_SCOPE, LANDLOCK_WRITE, LANDLOCK_STRICT, LANDLOCK_COUNT_ };
enum network { NETWORK_FULL, NETWORK_NONE };
enum sidedoor { SIDEDOOR_WARN, SIDEDOOR_REFUSE, SIDEDOOR_STRICT, SIDEDOOR_COUNT_ };
enum on_unattested { UNATTESTED_REFUSE, UNATTESTED_COUNT_ };
enum api_operators { API_OPERATORS_RO, API_OPERATORS_RW, API_OPERATORS_COUNT_ };

const char *posture_name(enum posture posture);
const char *account_mode_name(enum account_mode mode);
const char *landlock_level_name(enum landlock_level level);
// The posture of a word, or -EINVAL.
MUST int posture_from_name(const char *name);

#define ID_AUTO INT64_C(-1) // an id that the host chooses; resolved ids are > 0

struct strs {
    const char **list;
    size_t n;
};

struct timeout_row {
    const char *command;
    uint64_t ms;
};

struct timeouts {
    struct timeout_row *list;
    size_t n;
};

struct accept_config {
    const char *name; // unused: lists have no names
    const struct ynode *node;
    const char *id, *owner, *reason, *until;
};

struct accept_list {
    struct accept_config *list;
    size_t n;
};

struct account_config {
    const char *name;
    const struct ynode *node;
    enum account_mode mode; // confined or credentialed; derived from state_dir / home
    const char *user;
    int64_t uid, gid; // as pinned, or ID_AUTO until config_resolve
    const char *state_dir, *home;
    uint64_t landlock;          // enum landlock_level
    struct strs read;           // level strict: what it may read besides
    uint64_t network;           // enum network
    struct strs egress;         // networks it may reach; list NULL: all (egress.h)
    uint64_t memory, pids, cpu; // 0: no limit; bytes, processes, percent of one CPU
    uint64_t nofile, fsize;
    struct accept_list accept_doors;
};

struct plugin_config {
    const char *name;
    const struct ynode *node;
    bool enabled, requires_vault;
    const char *uses, *run_as, *vault_principal;
    struct timeouts timeouts;
    uint64_t max_attempts, backoff_base, parallelism; // parallelism 0: not set
    const struct ynode *config;                       // a map, or NULL
};

struct step_config {
    const char *name; // unused: lists have no names
    const struct ynode *node;
    const char *id, *uses;
    bool accepts_untrusted;
};

struct step_list {
    struct step_config *list;
    size_t n;
};

struct pipeline_config {
    const char *name;
    const struct ynode *node;
    const char *on, *from_plugin;
    struct step_list steps;
};

struct token_config {
    const char *name;
    const struct ynode *node;
    const char *secret_ref; // a secret of the vault, granted to principal core
    struct strs scopes;
    unsigned rights; // TOKEN_*, of its scopes; derived
    bool accept_untrusted_input;
};

struct token_list {
    struct token_config *list;
    size_t n;
};

struct webhook_config {
    const char *name;
    const struct ynode *node;
    const char *path; // behind /hook/
    const char *secret_ref;
    const char *plugin, *pipeline; // one of them
    uint64_t window;               // ms in which a signature counts once
    bool accept_untrusted_input;
};

struct webhook_list {
    struct webhook_config *list;
    size_t n;
};

struct account_list {
    struct account_config *list;
    size_t n;
};
struct plugin_list {
    struct plugin_config *list;
    size_t n;
};
struct pipeline_list {
    struct pipeline_config *list;
    size_t n;
};

struct config {
    const char *name, *user, *operators;
    int64_t uid, gid;
    uint64_t log_level, max_workers, dedupe_ttl, drain;
    bool unconfined, fail_on_unlocked, fail_on_taint;
    uint64_t on_unattested, fail_on_sidedoor, api_operators;
    uint64_t reprobe_every;   // ms; 0: never by itself
    uint64_t retention_facts; // ms
    struct strs env_passthrough, recovery_recipients, plugin_roots, include;
    const char *age_key_file, *vault_file, *state_path, *api_socket;
    uint64_t limit_stdout, limit_stderr, limit_request, limit_state, limit_events, limit_json_depth,
        limit_secrets;
    struct account_list accounts;
    struct plugin_list plugins;
    struct pipeline_list pipelines;
    const char *api_listen; // NULL: no TCP
    struct token_list tokens;
    struct webhook_list webhooks;

    // derived
    const struct plugin_config **plugins_by_name; // owned
    const char *path;                             // of the main file
    const char *dir; // its directory: plugins.lock and accounts.lock.yaml stand here
    enum posture posture;
    const char *bus_user; // NAME-bus; in posture unconfined the service user
    int64_t bus_uid, bus_gid, operators_gid;
    bool resolved;
    bool personal; // unconfined, never installed: everything lies at the config's own paths and is the
                   // caller's

    // owned
    struct ynode *root;
    char **pool;
    size_t n_pool;
    struct config_file *files;
    size_t n_files;
};

// One file of a config, text included. Both strings are owned by whoever holds the struct.
struct config_file {
    char *name, *text;
    size_t len;
};

// Reads path and its includes below root, parses and validates. path NULL: /etc/INSTANCE/config.yaml. 0, or
// -ECANCELED with every error in refusal->why. For ductile-install, which takes ids from passwd and group.
MUST int config_read(int root, const char *path, const char *instance, struct config **ret,
                     struct refusal *refusal);
// The same, and resolves ids from accounts.lock.yaml where that exists. -ECANCELED also where it does not
// fit.
MUST int config_load(int root, const char *path, const char *instance, struct config **ret,
                     struct refusal *refusal);
// The same from texts that are already in memory (the bus gets them so). Takes the files over, also when it
// fails.
MUST int config_parse(struct config_file *files, size_t n, struct config **ret, struct refusal *refusal);
void config_free(struct config *config);
static inline void config_freep(struct config **config)
{
    config_free(*config);
    *config = NULL;
}

// Fills the ids from the text of accounts.lock.yaml. -ECANCELED where an account of the config has none, or
// where a pinned id differs.
MUST int config_resolve(struct config *config, const char *lock_text, size_t len, struct refusal *refusal);
// For an unconfined instance that was never installed (`personal`): service and bus are whoever runs this.
void config_resolve_self(struct config *config);
// "DIR/plugins.lock" and "DIR/accounts.lock.yaml", in a buffer of LIMIT_PATH. Returns buf.
const char *config_lock_path(const struct config *config, const char *name, char buf[static LIMIT_PATH]);

const struct account_config *config_account(const struct config *config, const char *name);
const struct plugin_config *config_plugin(const struct config *config, const char *name);
// The account a plugin runs as: run_as, else `default`; NULL in posture unconfined.
const struct account_config *config_account_of(const struct config *config, const char *plugin);
// The credentialed account in whose home path lies, or NULL.
const struct account_config *config_home_of(const struct config *config, const char *path);
// Where the copies of home code are, into buf: the row LOCKED of layout.def (a test compares).
const char *config_locked_dir(const struct config *config, char buf[static LIMIT_PATH]);
// Its vault principal, into buf.
const char *config_principal_of(const struct config *config, const char *plugin, char buf[static LIMIT_NAME]);
// The principal of the gateway itself, which no plugin has: API tokens and webhook keys are granted to it.
#define PRINCIPAL_CORE_NAME "core"
const struct pipeline_config *config_pipeline(const struct config *config, const char *name);
const struct webhook_config *config_webhook(const struct config *config, const char *name);
// What the account's config accepts of that finding (GATE-DOOR-NN), expired or not; the latest day of
// several. NULL: nothing.
const struct accept_config *config_accepted(const struct account_config *account, const char *id);
bool config_is_door(const char *id);
// The first second after the day, in UTC; -EINVAL where it is none.
MUST int64_t config_date_ends(const char *day);
uint64_t config_timeout_of(const struct config *config, const char *plugin, const char *command);

// The rows, for reference pages and the commented example.
struct config_row {
    const char *section, *key, *type, *def, *doc;
};
const struct config_row *config_rows(size_t *ret_n);
