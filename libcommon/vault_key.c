// Secret zero: reading, minting, changing it, and what an interrupted change left behind. The invariant: at
// every moment the key in its place opens the vault in its place. A rotation therefore encrypts to both keys
// before it swaps them, and a mark beside the vault says that one is on its way.
#include "fd.h"
#include "keyfile.h"
#include "str.h"
#include "vault.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

// ---- secret zero --------------------------------------------------------------------------------

static int key_refused(struct refusal *refusal, const char *path, const char *remedy)
{
    refuse(refusal, REFUSE_VAULT_KEY, "secret zero, %s", path);
    return refuse_remedy(refusal, "%s", remedy);
}

int vault_read_key(const char *key_file, struct age_identity *ret, struct refusal *refusal)
{
    struct secret text = {0};
    OWNED(fd_closep) int fd = -1;
    int r = keyfile_open(key_file, &fd, refusal);

    if (r < 0)
        return r;
    r = secret_from_fd(fd, 4096, &text);
    if (r == 0)
        r = age_identity_parse(&text, ret);
    secret_wipe(&text);
    if (r < 0) {
        key_refused(refusal, key_file, "put the right key back; without it the vault cannot be opened");
        return refuse_why(refusal, "it does not hold exactly one AGE-SECRET-KEY-1 line");
    }
    return 0;
}

int vault_mint_key(const char *key_file, struct refusal *refusal)
{
    struct stat st;
    struct age_identity id = {0};
    struct secret text = {0};

    if (keyfile_is_credential(key_file)) { // minted by whoever owns the host, and here it is or is not
        OWNED(fd_closep) int fd = -1;
        return keyfile_open(key_file, &fd, refusal);
    }
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = root < 0 ? root : fd_stat(root, key_file, &st);
    if (r == 0)
        return 0;
    if (r == -ENOENT)
        r = age_identity_new(&id);
    if (r == 0)
        r = age_identity_text(&id, &text);
    if (r == 0)
        r = fd_replace_file(root, key_file, text.data, text.len, 0600, (uid_t)-1, (gid_t)-1);
    secret_wipe(&text);
    age_identity_wipe(&id);
    if (r == 0)
        return 1;
    key_refused(refusal, key_file, "ductile-install apply");
    return refuse_why(refusal, "it cannot be made: %s (%s)", strerror(-r), errno_name(-r));
}

// ---- changing it --------------------------------------------------------------------------------

struct places {
    char mark[LIMIT_PATH], fresh[LIMIT_PATH], old[LIMIT_PATH];
};

// The old key is kept under the first letters of its recipient: backups of the vault open with it alone.
static void find_places(const struct config *c, const uint8_t old[static AGE_KEY_LEN], struct places *p)
{
    vault_recipient text;

    age_recipient_text(old, text);
    vault_beside(c->vault_file, "rotating", p->mark);
    if (keyfile_is_credential(c->age_key_file)) { // no place of ours: nothing is ever found there
        vault_beside(c->vault_file, "credential.new", p->fresh);
        vault_beside(c->vault_file, "credential.old", p->old);
        return;
    }
    snprintf(p->fresh, sizeof(p->fresh), "%.1000s.new", c->age_key_file);
    snprintf(p->old, sizeof(p->old), "%.1000s.old-%.8s", c->age_key_file, text + strlen("age1"));
}

static int sync_parent(int root, const char *path)
{
    const char *name;
    OWNED(fd_closep) int parent = fd_open_parent(root, path, &name);
    OWNED(fd_closep)
    int dir = parent < 0 ? parent : openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return dir < 0 || fsync(dir) < 0 ? err_last() : 0;
}

static int remove_file(int root, const char *path)
{
    const char *name;
    OWNED(fd_closep) int parent = fd_open_parent(root, path, &name);

    if (parent < 0)
        return parent;
    if (unlinkat(parent, name, 0) < 0)
        return errno == ENOENT ? 0 : err_last();
    return sync_parent(root, path);
}

// The old key gets its second name, the new one takes the first.
static int swap_keys(int root, const struct config *c, const struct places *p)
{
    const char *key, *fresh, *old;
    OWNED(fd_closep) int dir = fd_open_parent(root, c->age_key_file, &key);

    if (dir < 0)
        return dir;
    fresh = strrchr(p->fresh, '/') + 1;
    old = strrchr(p->old, '/') + 1;
    if (linkat(dir, key, dir, old, 0) < 0 && errno != EEXIST)
        return err_last();
    if (renameat(dir, fresh, dir, key) < 0)
        return err_last();
    return sync_parent(root, c->age_key_file);
}

static int rotation_refused(const struct config *c, int r, struct refusal *refusal)
{
    refuse(refusal, REFUSE_VAULT_KEY, "changing secret zero, %s", c->age_key_file);
    refuse_why(refusal, "%s (%s); the key that is in its place opens the vault", strerror(-r),
               errno_name(-r));
    return refuse_remedy(refusal, "ductile-vault status (which finishes or undoes it)");
}

int vault_rotate_key(struct vault *vault, const struct config *config, char ret_old[static LIMIT_PATH],
                     struct refusal *refusal)
{
    struct age_identity fresh = {0};
    struct secret text = {0};
    struct places p;
    vault_recipient recipient;

    if (keyfile_is_credential(config->age_key_file)) {
        key_refused(
            refusal, config->age_key_file,
            "ductile-vault keygen, ductile-vault recipient add with its age1... line, put the new key "
            "where LoadCredential= takes it from, and start the gateway again");
        return refuse_why(refusal, "a credential is not ours to replace");
    }
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = age_identity_new(&fresh);
    find_places(config, vault->identity.recipient, &p);
    if (r == 0)
        r = age_identity_text(&fresh, &text);
    if (r == 0) {
        age_recipient_text(fresh.recipient, recipient);
        r = fd_replace_file(root, p.mark, recipient, strlen(recipient), 0600, (uid_t)-1, (gid_t)-1);
    }
    if (r == 0)
        r = fd_replace_file(root, p.fresh, text.data, text.len, 0600, (uid_t)-1, (gid_t)-1);
    secret_wipe(&text);
    int saved = r == 0 ? vault_save_also(vault, config, fresh.recipient, refusal) : 0;
    if (saved == 1)
        r = -EIO; // the key is not swapped before the disk has confirmed a vault that both open
    if (r == 0 && saved == 0)
        r = swap_keys(root, config, &p);
    if (r < 0 || saved < 0) {
        age_identity_wipe(&fresh);
        return r < 0 ? rotation_refused(config, r, refusal) : saved;
    }
    age_identity_wipe(&vault->identity);
    vault->identity = fresh;
    snprintf(ret_old, LIMIT_PATH, "%s", p.old);
    saved = vault_save(vault, config, refusal);
    if (saved < 0)
        return saved;
    r = remove_file(root, p.mark);
    return r < 0 ? rotation_refused(config, r, refusal) : saved;
}

// ---- what a killed command left -----------------------------------------------------------------

// Calls found(dir, entry) for the temporary files beside `path`.
static int each_leftover(int root, const char *path, const char *const names[static 3],
                         int (*found)(int dir, const char *entry))
{
    const char *base;
    char **entries = NULL;
    size_t n = 0;
    OWNED(fd_closep) int dir = fd_open_parent(root, path, &base);
    int r = dir < 0 ? -ENOENT : fd_list(dir, &entries, &n);

    for (size_t i = 0; r >= 0 && i < n; i++)
        for (size_t j = 0; j < 3; j++)
            if (names[j] && vault_is_leftover(entries[i], names[j]))
                r = MAX(r, found(dir, entries[i]));
    fd_list_free(entries, n);
    return r == -ENOENT ? 0 : r;
}

static int each_leftover_of(int root, const struct config *c, int (*found)(int dir, const char *entry))
{
    char fresh[LIMIT_NAME + 16];
    const bool credential = keyfile_is_credential(c->age_key_file); // nothing of ours lies beside it
    const char *key = credential ? "" : strrchr(c->age_key_file, '/') + 1;
    const char *vault = strrchr(c->vault_file, '/') + 1;

    snprintf(fresh, sizeof(fresh), "%.60s.new", key);
    int r = each_leftover(root, c->vault_file, (const char *const[]){vault, "generation", "rotating"}, found);
    int more =
        credential ? 0 : each_leftover(root, c->age_key_file, (const char *const[]){key, fresh, NULL}, found);
    return r < 0 || more < 0 ? MIN(r, more) : MAX(r, more);
}

static int only_note(int dir, const char *entry)
{
    (void)dir, (void)entry;
    return 1;
}

static int sweep(int dir, const char *entry)
{
    return unlinkat(dir, entry, 0) < 0 && errno != ENOENT ? err_last() : 1;
}

bool vault_interrupted(const struct config *config)
{
    static const uint8_t any[AGE_KEY_LEN] = {0};
    struct places p;
    struct stat st;
    OWNED(fd_closep) int root = fd_open_root(NULL);

    find_places(config, any, &p);
    return fd_stat(root, p.mark, &st) == 0 || fd_stat(root, p.fresh, &st) == 0 ||
           each_leftover_of(root, config, only_note) > 0;
}

// Does the new key belong to this rotation, and open the vault already?
static bool fresh_opens(const struct config *c, const struct places *p, const char *recipient)
{
    struct vault v = {0};
    uint64_t seen;
    vault_recipient text;
    struct refusal ignored;

    if (vault_open_older(p->fresh, c->vault_file, &v, &seen, &ignored) < 0)
        return false;
    age_recipient_text(v.identity.recipient, text);
    vault_close(&v);
    return str_eq(text, recipient);
}

// Encrypts to the key that is in place, and to no other of ours.
static int settle(const struct config *c, struct refusal *refusal)
{
    struct vault v = {0};
    uint64_t seen;
    int r = vault_open_older(c->age_key_file, c->vault_file, &v, &seen, refusal);

    if (r == 0)
        r = vault_save(&v, c, refusal);
    vault_close(&v);
    return r;
}

static int end_rotation(int root, const struct config *c, const char *recipient, struct refusal *refusal)
{
    struct age_identity current = {0};
    struct places p;
    vault_recipient text;
    int r = vault_read_key(c->age_key_file, &current, refusal), result = VAULT_ROTATION_FINISHED, e = 0;

    if (r < 0)
        return r;
    find_places(c, current.recipient, &p);
    age_recipient_text(current.recipient, text);
    age_identity_wipe(&current);
    if (!str_eq(text, recipient)) {
        if (fresh_opens(c, &p, recipient))
            e = swap_keys(root, c, &p);
        else {
            result = VAULT_ROTATION_UNDONE;
            e = remove_file(root, p.fresh);
            if (e == 0)
                e = remove_file(root, p.old);
        }
    }
    if (e == 0)
        r = settle(c, refusal);
    if (e == 0 && r >= 0)
        e = remove_file(root, p.mark);
    if (e < 0)
        return rotation_refused(c, e, refusal);
    return r < 0 ? r : result;
}

int vault_recover(const struct config *config, struct refusal *refusal)
{
    static const uint8_t any[AGE_KEY_LEN] = {0};
    struct places p;
    OWNED(freep) char *mark = NULL;
    size_t len;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int swept = each_leftover_of(root, config, sweep);

    find_places(config, any, &p);
    int r = swept < 0 ? swept : fd_read_file(root, p.mark, 256, &mark, &len);
    if (r == 0)
        return end_rotation(root, config, mark, refusal);
    if (r == -ENOENT) // a new key without a mark opens nothing
        r = remove_file(root, p.fresh);
    if (r < 0)
        swept = r;
    if (swept >= 0)
        return swept > 0 ? VAULT_SWEPT : VAULT_CLEAN;
    refuse(refusal, REFUSE_VAULT_OPEN, "the vault, %s", config->vault_file);
    refuse_why(refusal, "what an interrupted command left cannot be removed: %s (%s)", strerror(-swept),
               errno_name(-swept));
    return refuse_remedy(refusal, "mend what the line above says, and try again");
}
