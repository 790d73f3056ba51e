// The vault's files: secret zero, vault.age, `generation`, `lock`. Runs as the service user, who owns them
// all. A crash at any system call leaves the vault as before or as after: the new file is written beside,
// read back, decrypted, compared, and only then renamed.
#include "fd.h"
#include "str.h"
#include "vault.h"
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

static const char format_name[] = "ductile.vault/1";

size_t vault_arena_size(uint64_t file_size)
{
    // ciphertext + tree (8 x) + repacked values + the serialised form of a save, and room to compose requests
    return (size_t)file_size * 12 + (512 << 10);
}

int vault_arena_open(const char *vault_file, struct refusal *refusal)
{
    struct stat st;
    OWNED(fd_closep) int root = fd_open_root(NULL);
    uint64_t size = root >= 0 && fd_stat(root, vault_file, &st) == 0 ? (uint64_t)st.st_size : 0;
    size_t need = vault_arena_size(size);
    int r = secret_arena_open(need);

    if (r >= 0)
        return 0;
    refuse(refusal, REFUSE_VAULT_MEMLOCK, "%zu KiB of locked memory for the vault", need >> 10);
    refuse_why(refusal, "mlock: %s; RLIMIT_MEMLOCK is %zu KiB", errno_name(-r), secret_memlock_limit() >> 10);
    return refuse_remedy(refusal, "ulimit -l %zu, or LimitMEMLOCK=%zuK in the unit", need >> 10,
                         (need >> 10) + 64);
}

// ---- secret zero --------------------------------------------------------------------------------

static int key_refused(struct refusal *refusal, const char *path, const char *remedy)
{
    refuse(refusal, REFUSE_VAULT_KEY, "secret zero, %s", path);
    return refuse_remedy(refusal, "%s", remedy);
}

static int check_key_file(int fd, const char *path, struct refusal *refusal)
{
    struct stat st;
    char remedy[LIMIT_PATH + 64];

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        key_refused(refusal, path, "ductile-vault init");
        return refuse_why(refusal, "it is not a regular file");
    }
    snprintf(remedy, sizeof(remedy), "chown %u %s && chmod 0600 %s", geteuid(), path, path);
    if (st.st_uid != geteuid()) {
        key_refused(refusal, path, remedy);
        return refuse_why(refusal, "it belongs to uid %u, and this is uid %u", st.st_uid, geteuid());
    }
    if (st.st_mode & 077) {
        key_refused(refusal, path, remedy);
        return refuse_why(refusal, "its mode is %04o: others may read it", st.st_mode & 07777);
    }
    return 0;
}

int vault_read_key(const char *key_file, struct age_identity *ret, struct refusal *refusal)
{
    struct secret text = {0};
    OWNED(fd_closep) int root = fd_open_root(NULL);
    OWNED(fd_closep) int fd = root < 0 ? root : fd_open(root, key_file, O_RDONLY | O_NONBLOCK, 0);

    if (fd < 0) {
        key_refused(refusal, key_file,
                    fd == -ENOENT ? "ductile-vault init" : "run this as root or as the service user");
        return refuse_why(refusal, "%s (%s)", strerror(-fd), errno_name(-fd));
    }
    int r = check_key_file(fd, key_file, refusal);
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

// ---- the document -------------------------------------------------------------------------------

// A string of an object as it must be; NULL makes the document bad.
static const char *get(const json_t *object, const char *key, bool (*check)(const char *))
{
    const char *s = json_string_value(json_object_get(object, key));

    return s && (!check || check(s)) ? s : NULL;
}

static int64_t get_int(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return json_is_integer(v) ? (int64_t)json_integer_value(v) : -1;
}

static int read_principal(struct vault *v, const char *name, const json_t *o)
{
    const char *kind = get(o, "kind", NULL), *status = get(o, "status", NULL);
    int k = kind ? principal_kind_from_name(kind) : -1;

    if (!str_is_instance(name) || k < 0 || !status || json_object_size(o) != 3)
        return -EBADMSG;
    int r = vault_add_principal(v, name, (enum principal_kind)k);
    if (r < 0)
        return r;
    struct vault_principal *p = &v->principals[v->n_principals - 1];
    p->revoked = str_eq(status, "revoked");
    p->created_ms = get_int(o, "created_ms");
    return p->revoked || str_eq(status, "active") ? 0 : -EBADMSG;
}

static int read_grants(struct vault *v, const char *secret, const json_t *list)
{
    size_t i;
    json_t *o;

    json_array_foreach(list, i, o)
    {
        const char *principal = get(o, "principal", str_is_instance), *as = get(o, "as", str_is_secret);
        if (!principal || !as || !vault_principal(v, principal))
            return -EBADMSG;
        int r = vault_grant(v, secret, principal, as);
        if (r != 1)
            return r < 0 ? r : -EBADMSG;
    }
    return 0;
}

static int read_secret(struct vault *v, const char *name, const json_t *o)
{
    const char *value = get(o, "value", NULL), *status = get(o, "status", NULL),
               *pattern = get(o, "pattern", NULL);
    const json_t *grants = json_object_get(o, "grants");

    if (!str_is_secret(name) || !value || !status || !pattern || !json_is_array(grants) ||
        json_object_size(o) != 6)
        return -EBADMSG;
    const struct secret borrowed = {(uint8_t *)value, json_string_length(json_object_get(o, "value"))};
    enum secret_pattern p = str_eq(pattern, "auto") ? PATTERN_AUTO : PATTERN_MANUAL;
    int r = vault_set_secret(v, name, &borrowed, p);
    if (r < 0)
        return r;
    struct vault_secret *s = &v->secrets[v->n_secrets - 1];
    s->created_ms = get_int(o, "created_ms");
    s->updated_ms = get_int(o, "updated_ms");
    r = read_grants(v, name, grants);
    s->revoked = str_eq(status, "revoked");
    return r == 0 && !s->revoked && !str_eq(status, "active") ? -EBADMSG : r;
}

static int read_document(struct vault *v, json_t *root)
{
    const char *name, *format = get(root, "format", NULL), *id = get(root, "vault_id", NULL);
    json_t *principals = json_object_get(root, "principals"), *secrets = json_object_get(root, "secrets"), *o;
    int64_t generation = get_int(root, "generation");
    int r = 0;

    if (!format || !str_eq(format, format_name) || !id || strlen(id) != 32 || generation < 1 ||
        !json_is_object(principals) || !json_is_object(secrets) || json_object_size(root) != 5)
        return -EBADMSG;
    snprintf(v->id, sizeof(v->id), "%s", id);
    v->generation = (uint64_t)generation;
    json_object_foreach(principals, name, o) if (r == 0) r = read_principal(v, name, o);
    json_object_foreach(secrets, name, o) if (r == 0) r = read_secret(v, name, o);
    return r;
}

// jansson allocates through hooks: while a vault is parsed they point into the arena, so that no copy of a
// value is ever elsewhere. Not reentrant, like the arena itself.
static int parse_document(struct vault *v, const struct secret *plain)
{
    json_error_t error;

    json_set_alloc_funcs(secret_alloc, secret_free);
    json_t *root = json_loadb((const char *)plain->data, plain->len, JSON_REJECT_DUPLICATES, &error);
    int r = root ? read_document(v, root) : -EBADMSG;
    json_decref(root);
    json_set_alloc_funcs(malloc, free);
    return r;
}

struct writer {
    uint8_t *out; // NULL: only count
    size_t n;
};

static void put(struct writer *w, const void *s, size_t len)
{
    if (w->out)
        memcpy(w->out + w->n, s, len);
    w->n += len;
}

static void puts_(struct writer *w, const char *s)
{
    put(w, s, strlen(s));
}

static void put_json(struct writer *w, const uint8_t *s, size_t len)
{
    char escape[8];

    puts_(w, "\"");
    for (size_t i = 0; i < len; i++)
        if (s[i] < 0x20 || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f) {
            snprintf(escape, sizeof(escape), "\\u%04x", s[i]);
            puts_(w, escape);
        } else
            put(w, &s[i], 1);
    puts_(w, "\"");
    sodium_memzero(escape, sizeof(escape));
}

static void put_pair(struct writer *w, const char *key, const char *value)
{
    puts_(w, "\"");
    puts_(w, key);
    puts_(w, "\":\"");
    puts_(w, value); // names and words of ours: nothing to escape
    puts_(w, "\"");
}

static void put_number(struct writer *w, const char *key, int64_t value)
{
    char text[64];

    snprintf(text, sizeof(text), "\"%s\":%lld", key, (long long)value);
    puts_(w, text);
}

static void write_principal(struct writer *w, const struct vault_principal *p)
{
    puts_(w, "\"");
    puts_(w, p->name);
    puts_(w, "\":{");
    put_pair(w, "kind", principal_kind_name(p->kind));
    puts_(w, ",");
    put_pair(w, "status", p->revoked ? "revoked" : "active");
    puts_(w, ",");
    put_number(w, "created_ms", p->created_ms);
    puts_(w, "}");
}

static void write_secret(struct writer *w, const struct vault_secret *s)
{
    puts_(w, "\"");
    puts_(w, s->name);
    puts_(w, "\":{\"value\":");
    put_json(w, s->value.data, s->value.len);
    puts_(w, ",");
    put_pair(w, "pattern", secret_pattern_name(s->pattern));
    puts_(w, ",");
    put_pair(w, "status", s->revoked ? "revoked" : "active");
    puts_(w, ",");
    put_number(w, "created_ms", s->created_ms);
    puts_(w, ",");
    put_number(w, "updated_ms", s->updated_ms);
    puts_(w, ",\"grants\":[");
    for (size_t i = 0; i < s->n_grants; i++) {
        puts_(w, i ? ",{" : "{");
        put_pair(w, "principal", s->grants[i].principal);
        puts_(w, ",");
        put_pair(w, "as", s->grants[i].as);
        puts_(w, "}");
    }
    puts_(w, "]}");
}

static void write_document(struct writer *w, const struct vault *v)
{
    puts_(w, "{");
    put_pair(w, "format", format_name);
    puts_(w, ",");
    put_pair(w, "vault_id", v->id);
    puts_(w, ",");
    put_number(w, "generation", (int64_t)v->generation);
    puts_(w, ",\"principals\":{");
    for (size_t i = 0; i < v->n_principals; i++) {
        puts_(w, i ? "," : "");
        write_principal(w, &v->principals[i]);
    }
    puts_(w, "},\"secrets\":{");
    for (size_t i = 0; i < v->n_secrets; i++) {
        puts_(w, i ? "," : "");
        write_secret(w, &v->secrets[i]);
    }
    puts_(w, "}}\n");
}

static int serialise(const struct vault *v, struct secret *ret)
{
    struct writer w = {0};

    write_document(&w, v);
    if (w.n > LIMIT_VAULT_TEXT)
        return -EFBIG;
    int r = secret_new(w.n, ret);
    if (r < 0)
        return r;
    w = (struct writer){.out = ret->data};
    write_document(&w, v);
    return 0;
}

// ---- files --------------------------------------------------------------------------------------

static const char *beside(const char *vault_file, const char *name, char buf[static LIMIT_PATH])
{
    const char *slash = strrchr(vault_file, '/');

    snprintf(buf, LIMIT_PATH, "%.*s/%s", (int)(slash - vault_file), vault_file, name);
    return buf;
}

int vault_lock(const char *vault_file)
{
    char path[LIMIT_PATH];
    OWNED(fd_closep) int root = fd_open_root(NULL);
    OWNED(fd_closep)
    int fd = root < 0 ? root : fd_open(root, beside(vault_file, "lock", path), O_RDWR | O_CREAT, 0600);

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

// The highest generation seen, as recorded beside the vault; 0 where nothing is recorded.
static uint64_t recorded_generation(int root, const char *vault_file)
{
    char path[LIMIT_PATH];
    OWNED(freep) char *text = NULL;
    size_t len;
    uint64_t v;

    if (fd_read_file(root, beside(vault_file, "generation", path), 64, &text, &len) < 0)
        return 0;
    if (len > 0 && text[len - 1] == '\n')
        text[len - 1] = '\0';
    return str_to_u64(text, 0, INT64_MAX, &v) < 0 ? 0 : v;
}

static int read_vault(int root, const char *vault_file, struct vault *v, struct refusal *refusal)
{
    OWNED(freep) char *file = NULL;
    size_t len;
    struct secret plain = {0};
    int r = fd_read_file(root, vault_file, LIMIT_VAULT_TEXT + (1 << 20), &file, &len);

    if (r < 0) {
        open_refused(refusal, vault_file,
                     r == -ENOENT ? "ductile-vault init" : "run this as root or as the service user");
        return refuse_why(refusal, "%s (%s)", strerror(-r), errno_name(-r));
    }
    r = age_decrypt((const uint8_t *)file, len, &v->identity, LIMIT_VAULT_TEXT, &plain);
    if (r == 0)
        r = parse_document(v, &plain);
    secret_wipe(&plain);
    if (r < 0) {
        open_refused(refusal, vault_file, "restore the vault and its key from one backup");
        return refuse_why(refusal, "%s", decrypt_error(r));
    }
    return 0;
}

int vault_open(const char *key_file, const char *vault_file, struct vault *ret, struct refusal *refusal)
{
    struct vault v = {0};
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int r = vault_read_key(key_file, &v.identity, refusal);

    if (r == 0)
        r = read_vault(root, vault_file, &v, refusal);
    if (r == 0 && v.generation < recorded_generation(root, vault_file)) {
        r = open_refused(refusal, vault_file, "put the newest vault back");
        refuse_why(refusal, "it is generation %llu, and %llu has been seen: an older vault was put back",
                   (unsigned long long)v.generation,
                   (unsigned long long)recorded_generation(root, vault_file));
    }
    if (r < 0) {
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

// Encrypts, and proves that what was written opens again to the same bytes.
static int seal(const struct vault *v, const struct config *config, uint8_t **ret, size_t *ret_len)
{
    uint8_t recipients[1 + 64][AGE_KEY_LEN];
    size_t n = 0;
    struct secret plain = {0}, again = {0};

    memcpy(recipients[n++], v->identity.recipient, AGE_KEY_LEN);
    for (size_t i = 0; i < config->recovery_recipients.n; i++)
        if (n == ARRAY_LEN(recipients) ||
            age_recipient_parse(config->recovery_recipients.list[i], recipients[n++]) < 0)
            return -EINVAL;
    int r = serialise(v, &plain);
    if (r == 0)
        r = age_encrypt(plain.data, plain.len, recipients, n, ret, ret_len);
    if (r == 0) {
        r = age_decrypt(*ret, *ret_len, &v->identity, LIMIT_VAULT_TEXT, &again);
        if (r == 0 && (again.len != plain.len || sodium_memcmp(again.data, plain.data, plain.len) != 0))
            r = -EILSEQ;
        if (r < 0) {
            free(*ret);
            *ret = NULL;
        }
    }
    secret_wipe(&plain);
    secret_wipe(&again);
    return r;
}

int vault_save(struct vault *vault, const struct config *config, struct refusal *refusal)
{
    OWNED(freep) uint8_t *file = NULL;
    size_t len = 0;
    char path[LIMIT_PATH], number[32];
    OWNED(fd_closep) int root = fd_open_root(NULL);

    vault->generation++;
    int r = seal(vault, config, &file, &len);
    if (r == 0)
        r = fd_replace_file(root, config->vault_file, file, len, 0600, (uid_t)-1, (gid_t)-1);
    if (r == 0) {
        snprintf(number, sizeof(number), "%llu\n", (unsigned long long)vault->generation);
        // After the vault: a crash between the two leaves a record that is one behind, which refuses nothing.
        r = fd_replace_file(root, beside(config->vault_file, "generation", path), number, strlen(number),
                            0600, (uid_t)-1, (gid_t)-1);
    }
    if (r == 0)
        return 0;
    vault->generation--;
    open_refused(refusal, config->vault_file,
                 r == -EINVAL ? "mend secrets.recovery_recipients"
                              : "make room, or mend what the line above says, and try again");
    return refuse_why(refusal, "it cannot be written: %s",
                      r == -EINVAL ? "a recovery recipient is not valid" : decrypt_error(r));
}

int vault_create(const struct config *config, struct refusal *refusal)
{
    struct stat st;
    struct vault v = {0};
    OWNED(fd_closep) int root = fd_open_root(NULL);
    int minted = vault_mint_key(config->age_key_file, refusal);

    if (minted < 0 || fd_stat(root, config->vault_file, &st) == 0)
        return minted;
    OWNED(fd_closep) int lock = vault_lock(config->vault_file);
    if (lock < 0) {
        open_refused(refusal, config->vault_file, "ductile-install apply");
        return refuse_why(refusal, "its directory cannot be written: %s (%s)", strerror(-lock),
                          errno_name(-lock));
    }
    int r = vault_new(config->age_key_file, &v, refusal);
    if (r == 0)
        r = vault_save(&v, config, refusal);
    vault_close(&v);
    return r < 0 ? r : 1;
}
