// The vault's files: vault.age, `generation`, `lock` (secret zero is vault_key.c's). Runs as the service
// user, who owns them all. A crash at any system call leaves the vault as before or as after: the new file is
// written beside, read back from the disk, decrypted, compared, and only then renamed.
#include "fd.h"
#include "keyfile.h"
#include "str.h"
#include "vault.h"
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { ARENA_SPARE = 512 << 10 }; // pages of the arena's own, and of whoever else locks some

size_t vault_arena_size(uint64_t file_size)
{
    // the text as it was read, in which names and values lie, or two of them while a new one is opened; as it
    // is written, and once more to prove that; what came later; and room to compose requests
    return (size_t)file_size * 5 + (512 << 10);
}

// least: a wish beyond what the vault needs. Where less may be locked, all the room there is will do.
static int arena_open(const char *vault_file, size_t least, struct refusal *refusal)
{
    struct stat st;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    size_t need =
        vault_arena_size(root >= 0 && fd_stat(root, vault_file, &st) == 0 ? (uint64_t)st.st_size : 0);
    int r = secret_arena_open(MAX(need, least));

    if (r < 0 && least > need && secret_memlock_limit() > need + ARENA_SPARE)
        r = secret_arena_open((secret_memlock_limit() - ARENA_SPARE) & ~(size_t)0xffff);
    if (r >= 0)
        return 0;
    need = MAX(need, least);
    refuse(refusal, REFUSE_VAULT_MEMLOCK, "%zu KiB of locked memory for the vault", need >> 10);
    refuse_why(refusal, "mlock: %s; RLIMIT_MEMLOCK is %zu KiB", errno_name(-r), secret_memlock_limit() >> 10);
    return refuse_remedy(refusal, "ulimit -l %zu, or LimitMEMLOCK=%zuK in the unit", need >> 10,
                         (need >> 10) + 64);
}

int vault_arena_open(const char *vault_file, struct refusal *refusal)
{
    return arena_open(vault_file, 0, refusal);
}

int vault_arena_open_large(const char *vault_file, struct refusal *refusal)
{
    // what is read comes from elsewhere, and as a tree: about 8 x its text
    return arena_open(vault_file, vault_arena_size(LIMIT_VAULT_TEXT) + 8ul * LIMIT_VAULT_TEXT, refusal);
}

const char *vault_beside(const char *file, const char *name, char buf[static LIMIT_PATH])
{
    const char *slash = strrchr(file, '/');

    snprintf(buf, LIMIT_PATH, "%.*s/%s", (int)(slash - file), file, name);
    return buf;
}

// ".NAME.0123456789abcdef", as fd_replace_file and write_beside call them.
bool vault_is_leftover(const char *entry, const char *name)
{
    size_t n = strlen(name);

    return entry[0] == '.' && strncmp(entry + 1, name, n) == 0 && entry[1 + n] == '.' &&
           strspn(entry + 2 + n, "0123456789abcdef") == 16 && entry[2 + n + 16] == '\0';
}

int vault_lock(const char *vault_file)
{
    char path[LIMIT_PATH];
    OWNED(fd_closep) int root = fd_open_root(NULL);
    OWNED(fd_closep)
    int fd = root < 0 ? root : fd_open(root, vault_beside(vault_file, "lock", path), O_RDWR | O_CREAT, 0600);

    if (fd < 0)
        return fd;
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_last();
    return fd_take(&fd);
}

static int open_refused(struct refusal *refusal, const char *path, const char *remedy)
{
    refuse(refusal, REFUSE_VAULT_OPEN, "the vault, %s", path);
    return refuse_remedy(refusal, "%s", remedy);
}

static const char *decrypt_error(int r)
{
    switch (r) {
    case -EBADMSG: return "it is not a vault: malformed";
    case -ENOKEY: return "it was encrypted for another key";
    case -EKEYREJECTED: return "its header was tampered with (MAC)";
    case -EILSEQ: return "it is damaged: a chunk does not decrypt";
    case -EFBIG: return "it is larger than 4 MiB";
    case -ENOMEM: return "the locked memory is too small for it";
    default: return strerror(-r);
    }
}

// ---- the record beside it -----------------------------------------------------------------------

// The highest generation seen, and for whom that vault was: an age file does not say who may open it.
struct record {
    uint64_t generation; // 0: nothing is recorded
    vault_recipient recipient;
};

static void read_record(int root, const char *vault_file, struct record *ret)
{
    char path[LIMIT_PATH];
    OWNED(freep) char *text = NULL;
    size_t len;
    uint8_t key[AGE_KEY_LEN];

    *ret = (struct record){0};
    if (fd_read_file(root, vault_beside(vault_file, "generation", path), 256, &text, &len) < 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    char *space = strchr(text, ' ');
    if (space) {
        *space = '\0';
        if (age_recipient_parse(space + 1, key) == 0)
            snprintf(ret->recipient, sizeof(ret->recipient), "%s", space + 1);
    }
    if (str_to_u64(text, 0, INT64_MAX, &ret->generation) < 0)
        ret->generation = UINT64_MAX;
}

static int write_record(int root, const struct vault *v, const char *vault_file)
{
    char path[LIMIT_PATH], text[128];
    vault_recipient recipient;
    struct record old;

    read_record(root, vault_file, &old);
    if (old.generation == UINT64_MAX) // damaged, and accepted
        old.generation = 0;
    age_recipient_text(v->identity.recipient, recipient);
    int n = snprintf(text, sizeof(text), "%llu %s\n", (unsigned long long)MAX(old.generation, v->generation),
                     recipient);
    return fd_replace_file(root, vault_beside(vault_file, "generation", path), text, (size_t)n, 0600,
                           (uid_t)-1, (gid_t)-1);
}

// ---- opening ------------------------------------------------------------------------------------

static int does_not_fit(int root, const char *key_file, const char *vault_file, const struct vault *v,
                        struct refusal *refusal)
{
    vault_recipient mine;
    struct record record;

    read_record(root, vault_file, &record);
    age_recipient_text(v->identity.recipient, mine);
    open_refused(refusal, vault_file, "restore the vault and its key from one backup");
    if (str_eq(record.recipient, mine))
        return refuse_why(refusal,
                          "it was exchanged: the last one was encrypted to %s, which is the key in %s, "
                          "and this one is for another key",
                          mine, key_file);
    return refuse_why(refusal, "vault.age was encrypted to %s, the key in %s is %s",
                      record.recipient[0] ? record.recipient : "another key", key_file, mine);
}

// -ENOKEY: not for this key.
static int read_vault(int root, const char *vault_file, struct vault *v, struct refusal *refusal)
{
    struct secret plain = {0};
    OWNED(fd_closep) int fd = fd_open_file(root, vault_file);

    if (fd < 0) {
        open_refused(refusal, vault_file,
                     fd == -ENOENT
                         ? "put the vault back from a backup, or, to begin empty: ductile-vault init"
                         : "run this as root or as the service user");
        return refuse_why(refusal, "%s (%s)", strerror(-fd), errno_name(-fd));
    }
    int r = age_decrypt(fd, &v->identity, LIMIT_VAULT_TEXT, &plain);
    if (r == 0)
        r = vault_parse(&plain, v);
    if (r == 0 || r == -ENOKEY)
        return r;
    open_refused(refusal, vault_file, "restore the vault and its key from one backup");
    return refuse_why(refusal, "%s", decrypt_error(r));
}

// A reader takes no lock. Where a rotation swapped the key between the two reads, both are read again.
static int read_both(int root, const char *key_file, const char *vault_file, struct vault *v,
                     struct refusal *refusal)
{
    uint8_t tried[AGE_KEY_LEN] = {0};
    int r;

    for (int i = 0;; i++) {
        r = vault_read_key(key_file, &v->identity, refusal);
        bool same = r == 0 && i > 0 && memcmp(tried, v->identity.recipient, sizeof(tried)) == 0;
        if (r == 0)
            r = same ? -ENOKEY : read_vault(root, vault_file, v, refusal);
        if (r != -ENOKEY)
            return r;
        if (same || i > 8)
            return does_not_fit(root, key_file, vault_file, v, refusal);
        memcpy(tried, v->identity.recipient, sizeof(tried));
        vault_close(v);
    }
}

int vault_open_older(const char *key_file, const char *vault_file, struct vault *ret, uint64_t *ret_seen,
                     struct refusal *refusal)
{
    struct vault v = {0};
    struct record record;
    OWNED(fd_closep) int root = fd_open_root(NULL);

    // Before the vault: a writer changes the vault first, so what stands here is never ahead of it.
    read_record(root, vault_file, &record);
    int r = read_both(root, key_file, vault_file, &v, refusal);
    if (r < 0) {
        vault_close(&v);
        return r;
    }
    *ret_seen = record.generation;
    *ret = v;
    return 0;
}

int vault_rollback_refused(const char *vault_file, uint64_t generation, uint64_t seen,
                           struct refusal *refusal)
{
    open_refused(refusal, vault_file, "put the newest vault back, or: ductile-vault check --accept-rollback");
    if (seen == UINT64_MAX)
        return refuse_why(refusal,
                          "the file `generation` beside it is damaged: an older vault could not be told");
    return refuse_why(refusal, "it is generation %llu, and %llu has been seen: an older vault was put back",
                      (unsigned long long)generation, (unsigned long long)seen);
}

int vault_open(const char *key_file, const char *vault_file, struct vault *ret, struct refusal *refusal)
{
    struct vault v = {0};
    uint64_t seen;
    int r = vault_open_older(key_file, vault_file, &v, &seen, refusal);

    if (r < 0)
        return r;
    if (v.generation < seen) {
        r = vault_rollback_refused(vault_file, v.generation, seen, refusal);
        vault_close(&v);
        return r;
    }
    *ret = v;
    return 0;
}

int vault_new(const char *key_file, struct vault *ret, struct refusal *refusal)
{
    struct vault v = {0};
    uint8_t id[16];
    int r = vault_read_key(key_file, &v.identity, refusal);

    if (r < 0)
        return r;
    randombytes_buf(id, sizeof(id));
    str_hex(id, sizeof(id), v.id);
    *ret = v;
    return 0;
}

// ---- saving -------------------------------------------------------------------------------------

struct readers {
    uint8_t key[LIMIT_RECIPIENTS + 2][AGE_KEY_LEN]; // the host's, one more, and those of recovery
    size_t n;
};

static int add_reader(struct readers *to, const char *text)
{
    if (to->n == ARRAY_LEN(to->key))
        return -E2BIG;
    return age_recipient_parse(text, to->key[to->n++]) < 0 ? -EINVAL : 0;
}

static int list_readers(const struct vault *v, const struct config *config, const uint8_t *also,
                        struct readers *to)
{
    int r = 0;

    memcpy(to->key[to->n++], v->identity.recipient, AGE_KEY_LEN);
    if (also)
        memcpy(to->key[to->n++], also, AGE_KEY_LEN);
    for (size_t i = 0; r == 0 && i < config->recovery_recipients.n; i++)
        r = add_reader(to, config->recovery_recipients.list[i]);
    for (size_t i = 0; r == 0 && i < v->n_recipients; i++)
        r = add_reader(to, v->recipients[i]);
    return r;
}

// What is on the disk opens again to the same bytes, or it does not become the vault.
static int prove(int fd, const struct vault *v, const struct secret *plain)
{
    struct secret again = {0};

    if (lseek(fd, 0, SEEK_SET) != 0)
        return err_last();
    int r = age_decrypt(fd, &v->identity, LIMIT_VAULT_TEXT, &again);
    if (r == 0 && (again.len != plain->len || sodium_memcmp(again.data, plain->data, plain->len) != 0))
        r = -EILSEQ;
    secret_wipe(&again);
    return r;
}

// 0; 1: renamed, but the directory's fsync failed; -errno: nothing changed.
static int replace_vault(int root, const char *path, const uint8_t *file, size_t len, const struct vault *v,
                         const struct secret *plain)
{
    const char *name;
    char temp[300];
    uint64_t nonce;
    OWNED(fd_closep) int parent = fd_open_parent(root, path, &name);

    if (parent < 0)
        return parent;
    if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
        return err_last();
    snprintf(temp, sizeof(temp), ".%.200s.%016llx", name, (unsigned long long)nonce);
    OWNED(fd_closep) int dir = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_last();
    OWNED(fd_closep) int fd = openat(dir, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_last();
    int r = fchmod(fd, 0600) < 0 ? err_last() : fd_write_all(fd, file, len);
    if (r == 0 && fsync(fd) < 0)
        r = err_last();
    if (r == 0)
        r = prove(fd, v, plain);
    if (r == 0 && renameat(dir, temp, dir, name) < 0)
        r = err_last();
    if (r < 0) {
        (void)unlinkat(dir, temp, 0); // where even this fails, the next command does it
        return r;
    }
    return fsync(dir) < 0 ? 1 : 0;
}

static int save(struct vault *v, const struct config *config, const uint8_t *also)
{
    struct readers to = {0};
    struct secret plain = {0};
    OWNED(freep) uint8_t *file = NULL;
    size_t len = 0;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = root < 0 ? root : list_readers(v, config, also, &to);

    if (r == 0)
        r = vault_serialise(v, &plain);
    if (r == 0)
        r = age_encrypt(plain.data, plain.len, to.key, to.n, &file, &len);
    if (r == 0)
        r = replace_vault(root, config->vault_file, file, len, v, &plain);
    secret_wipe(&plain);
    // After the vault: a crash between the two leaves a record that is one behind, which refuses nothing.
    return r >= 0 && write_record(root, v, config->vault_file) < 0 ? 1 : r;
}

int vault_save_also(struct vault *vault, const struct config *config, const uint8_t *also,
                    struct refusal *refusal)
{
    vault_forget_stale(vault);
    vault->generation++;
    int r = save(vault, config, also);
    if (r >= 0)
        return r;
    vault->generation--;
    open_refused(refusal, config->vault_file,
                 r == -EINVAL || r == -E2BIG ? "mend secrets.recovery_recipients"
                 : r == -EFBIG               ? "ductile-vault secret remove what nobody needs"
                                             : "make room, or mend what the line above says, and try again");
    return refuse_why(refusal, "it cannot be written: %s",
                      r == -EINVAL  ? "a recovery recipient is not valid"
                      : r == -E2BIG ? "it has more than 64 recovery recipients"
                      : r == -EFBIG ? "it would hold more than 4 MiB"
                                    : decrypt_error(r));
}

int vault_save(struct vault *vault, const struct config *config, struct refusal *refusal)
{
    return vault_save_also(vault, config, NULL, refusal);
}

static int create(const struct config *config, struct refusal *refusal)
{
    struct stat st;
    struct vault v = {0};
    OWNED(fd_closep) int root = fd_open_root(NULL);
    bool vault = fd_stat(root, config->vault_file, &st) == 0;
    bool key = keyfile_is_credential(config->age_key_file) || fd_stat(root, config->age_key_file, &st) == 0;

    if (vault && key)
        return 0;
    if (vault) {
        refuse(refusal, REFUSE_VAULT_KEY, "minting secret zero, %s", config->age_key_file);
        refuse_why(refusal, "%s is there, and a new key would not open it", config->vault_file);
        return refuse_remedy(refusal, "put the right key back, or move the vault away");
    }
    int r = vault_recover(config, refusal);
    if (r >= 0)
        r = vault_mint_key(config->age_key_file, refusal);
    if (r >= 0)
        r = vault_new(config->age_key_file, &v, refusal);
    if (r >= 0)
        r = vault_save(&v, config, refusal);
    vault_close(&v);
    return r < 0 ? r : 1;
}

int vault_create(const struct config *config, struct refusal *refusal)
{
    OWNED(fd_closep) int lock = vault_lock(config->vault_file);

    if (lock >= 0)
        return create(config, refusal);
    open_refused(refusal, config->vault_file, "ductile-install apply");
    return refuse_why(refusal, "its directory cannot be written: %s (%s)", strerror(-lock),
                      errno_name(-lock));
}
