// ductile-install: make the host look as the config says. Decide, then do: facts -> a list of actions ->
// print it (plan) or execute it (apply). What was done is recorded in a root-owned manifest; the ledger gets
// a copy.
#pragma once
#include "config.h"
#include "layout.h"
#include "opt.h"
#include "str.h"

// ---- facts.c: who exists ------------------------------------------------------------------------

struct host_user {
    char *name, *home, *shell;
    uid_t uid;
    gid_t gid;
};
struct host_group {
    char *name;
    gid_t gid;
};
struct facts {
    struct host_user *users;
    size_t n_users;
    struct host_group *groups;
    size_t n_groups;
    bool live; // root is "/": services can be told
};

// /etc/passwd and /etc/group below root, not NSS: the same on an image and on a host. -errno.
MUST int facts_read(int root, bool live, struct facts *ret);
void facts_free(struct facts *facts);
const struct host_user *facts_user(const struct facts *facts, const char *name);
const struct host_user *facts_uid(const struct facts *facts, uid_t uid);
const struct host_group *facts_group(const struct facts *facts, const char *name);
const struct host_group *facts_gid(const struct facts *facts, gid_t gid);

// ---- plan.c -------------------------------------------------------------------------------------

enum action_kind {
    ACTION_FILE,   // write a generated file
    ACTION_USERS,  // make the users and groups of the sysusers fragment
    ACTION_LAYOUT, // a row of the layout table
    ACTION_ACL,    // an ACL entry in an operator's home
    ACTION_VAULT,  // mint secret zero and the vault
    ACTION_UNITS,  // tell systemd that units changed
    ACTION_EGRESS, // load the egress rules
    ACTION_OPEN,   // take them away: no account has a list any more
    ACTION_REMOVE, // a generated file that nothing needs any more
    ACTION_FACTS,  // collect what only root can know about doors; the last, as all others may decide it
};

struct action {
    enum action_kind kind;
    char *what, *before, *after; // for people
    char *path;                  // of a file or ACL
    char *content;               // of a file
    struct layout_item item;
    const struct account_config *account;
    int rights; // enum acl_rights of an ACL
    bool inherit, make;
};

struct plan {
    struct action *list;
    size_t n;
};

struct host {
    int root;              // descriptor of the tree that is changed
    const char *root_path; // NULL: "/"
    struct facts facts;
    struct config *config;
};

// Everything that differs from what the config says. users_only: the part that must be done before ids are
// known.
MUST int plan_build(struct host *host, bool users_only, struct plan *ret, struct refusal *refusal);
void plan_free(struct plan *plan);
MUST int plan_add(struct plan *plan, struct action *action); // takes its strings over
// A generated file that is not what it should be, into the plan. Content is taken over.
MUST int plan_file(struct host *host, struct plan *plan, const char *path, char *content, mode_t mode,
                   int64_t gid);
MUST int plan_reload_units(struct host *host, struct plan *plan, const char *before);
// Is there a systemd that can be told?
bool plan_has_systemd(const struct host *host);
// "/etc/systemd/system/INSTANCE{suffix}.service", into buf. Returns buf.
const char *plan_unit_path(const struct host *host, const char *suffix, char buf[static LIMIT_PATH]);
// Executes one action. -ECANCELED with a refusal.
MUST int plan_execute(struct host *host, struct action *action, struct refusal *refusal);

// ---- render.c: generated files ------------------------------------------------------------------

char *render_sysusers(const struct config *config);
char *render_tmpfiles(const struct config *config);
#define NFT_PROGRAM "/usr/sbin/nft"
char *render_egress(const struct config *config);
extern const char render_header[];
char *render_egress_unit(const struct config *config);
char *render_accounts_lock(const struct config *config);
char *render_config(enum posture posture, const char *instance, const struct host_user *operator);

// ---- users.c, homes.c ---------------------------------------------------------------------------

// Ids of every user of the config from the facts, into the config. -EAGAIN: some do not exist yet;
// -ECANCELED: an id or a home contradicts the config.
MUST int users_resolve(struct host *host, struct refusal *refusal);
// Runs systemd-sysusers on the fragment and checks what came of it: its exit code is no evidence.
MUST int users_make(struct host *host, struct refusal *refusal);
// ACL entries that plugin roots in an operator's home need.
MUST int homes_plan(struct host *host, struct plan *plan, struct refusal *refusal);
// As the home's owner, never as root: no path of his can make root follow it.
MUST int homes_execute(struct host *host, const struct action *action, struct refusal *refusal);

// ---- egress.c ------------------------------------------------------------------------------------

// The rules file and the unit that loads it, before the gateway's unit; and what must happen after it.
MUST int egress_plan_files(struct host *host, struct plan *plan, struct refusal *refusal);
MUST int egress_plan_load(struct host *host, struct plan *plan, bool changed);
MUST int egress_execute(struct host *host, const struct action *action);

// ---- prove.c -------------------------------------------------------------------------------------

char *render_prove_unit(const struct config *config);
char *render_prove_timer(const struct config *config);
// The line by which the gateway's unit pulls them in.
bool prove_timed(const struct config *config);
// Both files, or their end where the config wants none.
MUST int prove_plan(struct host *host, struct plan *plan);

// ---- record.c -----------------------------------------------------------------------------------

// Appends what was done to the manifest of the instance and to the ledger.
MUST int record_apply(struct host *host, const struct plan *done, struct refusal *refusal);

// ---- plugin.c, code.c ---------------------------------------------------------------------------

int plugin_add(const struct opts *opts);
int plugin_lock(const struct opts *opts);
int plugin_verify(const struct opts *opts);

struct found_plugin {
    char dir[LIMIT_PATH];              // where it stands
    const char *root;                  // the plugin root it was found in
    const struct account_config *home; // of a credentialed account whose home holds it, or NULL
};
// Finds a plugin by name in the roots, in order. -ECANCELED.
MUST int plugin_find(struct host *host, const char *name, struct found_plugin *ret, struct refusal *refusal);

struct manifest;
struct tree;
// A directory of code, and who reads it: in a home the service user, never root.
struct code {
    int root; // dir is below it: the host's tree, or the real one for what the operator brings along
    const char *dir;
    uid_t uid;
    gid_t gid;
};
// Reads code as its reader: tree, manifest and all rules of a plugin. -ECANCELED.
MUST int code_read(const struct code *code, struct tree *ret_tree, struct manifest *ret_manifest,
                   struct refusal *refusal);
// Copies code to target in the host's tree, owned by root, not writable by others. What is copied is what the
// list says, or the copy is refused. -ECANCELED.
MUST int code_copy(struct host *host, const struct code *from, const struct tree *tree, const char *target,
                   struct refusal *refusal);

// ---- main.c -------------------------------------------------------------------------------------

// Loads config, facts and ids for a verb that changes the host. need_root: refuse others. -ECANCELED.
MUST int host_open(const struct opts *opts, bool need_root, struct host *ret, struct refusal *refusal);
void host_close(struct host *host);
