// What the verbs of ductile-vault share: becoming the vault's owner, and writing facts into the ledger.
#pragma once
#include "ledger_kinds.h"
#include "lock.h"
#include "newest.h"
#include "opt.h"
#include "vault.h"
#include <jansson.h>

struct session {
    const struct opts *opts;
    const char *subject; // what a changing verb is about; NULL: it changes nothing and shows no value
    struct config *config;
    struct vault vault;
    bool open; // the vault is
    bool root; // started as root
    int lock_fd;
    int scribe_fd; // facts go here; -1: nobody writes them
    pid_t scribe;
    struct newest_list newest; // read in place of asking the scribe, which is not there then
    uint64_t seen;             // the highest generation that the ledger or `generation` knows
    struct refusal refusal;
};

// ---- session.c ----

// Loads the config, opens the locked arena, starts the scribe (a child that is the ledger's owner) and
// becomes the service user, as whom everything after this happens. -ECANCELED.
MUST int session_begin(const struct opts *opts, struct session *s, const char *subject);
// For who only looks at the vault, and asks the ledger nothing else: there may be no scribe. subject is NULL.
MUST int session_begin_look(const struct opts *opts, struct session *s);
// The same with room for a vault of any size, as far as memory may be locked.
MUST int session_begin_large(const struct opts *opts, struct session *s, const char *subject);
// Opens the vault, exclusively where it will be changed. First finishes, undoes or sweeps away what an
// interrupted command left. -ECANCELED: also where an older vault was put back, unless accept_rollback.
MUST int session_open(struct session *s, bool change);
// Begins and opens to look at the secret that the verb's first argument names. -ECANCELED.
MUST int session_secret(const struct opts *opts, struct session *s, struct vault_secret **ret);
// Is the principal a plugin's, by the config or the locks?
bool session_is_plugins(const struct session *s, const char *principal, const struct lock *lock);
// Saves a changed vault and writes the fact. detail: members of a JSON object, without braces, or "".
// -ECANCELED.
MUST int session_save(struct session *s, enum audit_kind kind, const char *subject, const char *detail);
// Writes a fact where nothing was saved: the vault was so already.
void session_note(struct session *s, enum audit_kind kind, const char *subject, const char *detail);
// Writes a fact before a value leaves the vault. -ECANCELED: it is not written, and the value stays.
MUST int session_note_first(struct session *s, enum audit_kind kind, const char *subject, const char *detail);
// One line that says what the change means; with --json one document.
__attribute__((format(printf, 2, 3))) void session_say(const struct session *s, const char *format, ...);
// Ends; prints the refusal if r < 0 and, where something was to be changed, writes it down. Returns the exit
// code.
int session_end(struct session *s, int r);
bool session_json(const struct session *s);
// Writes what has gathered to standard output once it is more than `least`, and empties it. (stdout would
// write each line by itself.)
enum { SESSION_SOME = 8 << 10 };
void session_put(struct strbuf *sb, size_t least);
// Prints a document and releases it.
void session_print(json_t *document);

// From when on a change holds: the gateway itself asks the vault each time, a plugin is given it at its
// spawn.
const char *session_when(const char *principal);
// The same for all who are granted it.
const char *session_when_of(const struct vault_secret *x);

int session_name_refused(struct session *s, const char *what, const char *name, const char *rule);
int session_unknown(struct session *s, const char *what, const char *name, const char *remedy);
// A yes: --yes, or a terminal where somebody says so. -ECANCELED with the command to type.
MUST int session_confirm(struct session *s, const char *question, const char *command);

// ---- scribe.c ----

enum scribe_op { SCRIBE_FACT, SCRIBE_SEEN, SCRIBE_AUDIT, SCRIBE_DELIVERED };
MUST int scribe_start(struct session *s);
// Nothing more will be written or asked: it ends while the caller goes on, and session_end waits for that.
void scribe_dismiss(struct session *s);
// of_vault: the vault is of this generation now. False: it is not written, and that was logged.
bool scribe_tell(struct session *s, enum audit_kind kind, const char *subject, const char *detail,
                 bool of_vault);
// The generation of the last change of this vault that was written down. UNKNOWN: the ledger did not answer;
// NEVER: it knows of no vault; OTHER: only of another one. To be asked after the vault was read.
enum scribe_seen { SEEN_UNKNOWN, SEEN_NEVER, SEEN_OTHER, SEEN_THIS };
enum scribe_seen scribe_seen(struct session *s, const char *vault, uint64_t *ret);
// An array of rows, or NULL where the ledger cannot be read. SCRIBE_AUDIT: name "" or what rows must name.
json_t *scribe_rows(struct session *s, enum scribe_op op, const char *name, uint64_t limit);

// ---- verbs ----

int verb_init(const struct opts *o);
int verb_status(const struct opts *o);
int verb_rotate_key(const struct opts *o);
// principal.c
int verb_principal_add(const struct opts *o);
int verb_principal_list(const struct opts *o);
int verb_principal_show(const struct opts *o);
int verb_principal_revoke(const struct opts *o);
int verb_principal_purge(const struct opts *o);
int verb_what(const struct opts *o);
json_t *principal_json(struct vault *v, const struct vault_principal *p);
// secret.c
int verb_secret_set(const struct opts *o);
int verb_secret_roll(const struct opts *o);
int verb_secret_revoke(const struct opts *o);
int verb_secret_remove(const struct opts *o);
int verb_secret_list(const struct opts *o);
int verb_secret_show(const struct opts *o);
json_t *secret_json(const struct vault_secret *x);
const char *secret_status(const struct vault_secret *x);
// The end of a line: ", granted to PRINCIPAL as NAME, ...".
void secret_add_grants(struct strbuf *sb, const struct vault_secret *x);
// "2026-01-31", "never"
const char *secret_date(int64_t ms, char buf[static 24]);
// grant.c
int verb_grant(const struct opts *o);
int verb_ungrant(const struct opts *o);
int verb_who(const struct opts *o);
// recipient.c
int verb_recipient_add(const struct opts *o);
int verb_recipient_list(const struct opts *o);
int verb_recipient_remove(const struct opts *o);
// transfer.c
int verb_reveal(const struct opts *o);
int verb_export(const struct opts *o);
int verb_import(const struct opts *o);
// parse.c: name and value pairs of JSON, dotenv or pass text, into the arena. A name as it will be called.
struct pair {
    char name[LIMIT_NAME];
    struct secret value;
};
struct pairs {
    struct pair *list;
    size_t n;
};
void pairs_free(struct pairs *p);
// format: "json", "dotenv", "pass" (the first line, called `name`), or "" to see from the text. The text is
// changed. -EINVAL with why, which never holds a value.
MUST int pairs_parse(struct secret *text, const char *format, const char *name, struct pairs *ret,
                     char why[static 160]);
// check.c
int verb_audit(const struct opts *o);
int verb_check(const struct opts *o);
