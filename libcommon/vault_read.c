// The vault's document from JSON, strictly. It is read in place: no tree, and no copy of a value but the one
// in the model.
#include "json_text.h"
#include "str.h"
#include "vault.h"
#include <sodium.h>
#include <string.h>

// ---- names that must differ -----------------------------------------------------------------------

// Pairs of names, to tell whether one came before. Under a key of this process, so that no document makes it
// slow.
struct pairs {
    const char *(*slots)[2];
    size_t n_slots; // a power of two, half as many again as there will be
    unsigned char key[crypto_shorthash_KEYBYTES];
};

static int pairs_make(struct pairs *p, size_t n)
{
    p->n_slots = 16;
    while (2 * p->n_slots < 3 * n)
        p->n_slots *= 2;
    p->slots = calloc(p->n_slots, sizeof(*p->slots));
    randombytes_buf(p->key, sizeof(p->key));
    return p->slots ? 0 : -ENOMEM;
}

static void pairs_free(struct pairs *p)
{
    free(p->slots);
}

// The slot of a pair: it is there, or the slot is free.
static const char **pairs_find(const struct pairs *p, const char *a, const char *b)
{
    char both[2 * LIMIT_NAME];
    uint64_t hash;
    size_t n = (size_t)(stpcpy(stpcpy(both, a) + 1, b) - both); // each is shorter than LIMIT_NAME

    crypto_shorthash((unsigned char *)&hash, (unsigned char *)both, n, p->key);
    for (size_t i = hash;; i++) {
        const char **slot = p->slots[i & (p->n_slots - 1)];
        if (!slot[0] || (str_eq(slot[0], a) && str_eq(slot[1], b)))
            return slot;
    }
}

// False where it came before.
static bool pairs_add(struct pairs *p, const char *a, const char *b)
{
    const char **slot = pairs_find(p, a, b);

    if (slot[0])
        return false;
    slot[0] = a;
    slot[1] = b;
    return true;
}

// Every name stands once, and every grant is to a principal that is there. Two secrets under one name would
// leave it to chance which of them a plugin reads.
static int check_names(const struct vault *v)
{
    OWNED(pairs_free) struct pairs pairs = {0};
    size_t n = v->n_principals + v->n_secrets;

    for (size_t i = 0; i < v->n_secrets; i++)
        n += v->secrets[i].n_grants;
    if (pairs_make(&pairs, n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < v->n_principals; i++)
        if (!pairs_add(&pairs, v->principals[i].name, ""))
            return -EBADMSG;
    for (size_t i = 0; i < v->n_secrets; i++) {
        const struct vault_secret *s = &v->secrets[i];
        if (!pairs_add(&pairs, "", s->name))
            return -EBADMSG;
        for (size_t j = 0; j < s->n_grants; j++)
            if (!pairs_find(&pairs, s->grants[j].principal, "")[0] ||
                !pairs_add(&pairs, s->grants[j].principal, s->grants[j].as))
                return -EBADMSG;
    }
    return 0;
}

// ---- members --------------------------------------------------------------------------------------

// One more zeroed entry at the end of a list that grows by doubling. NULL: no memory.
static void *one_more(void *list, size_t n, size_t size, void **ret_list)
{
    if ((n & (n - 1)) == 0) { // 0, 1, 2, 4, ...: full
        list = reallocarray(list, n ? 2 * n : 1, size);
        if (!list)
            return NULL;
        *ret_list = list;
    }
    return memset((char *)list + n * size, 0, size);
}

static bool read_name(struct json_text *t, char ret[static LIMIT_NAME], bool (*check)(const char *))
{
    char *s;
    size_t len;

    if (!json_text_string(t, &s, &len) || !check(s))
        return false;
    memcpy(ret, s, len + 1); // the check holds it shorter than LIMIT_NAME
    return true;
}

// One of two words: *ret is whether it is the second.
static bool read_word(struct json_text *t, const char *no, const char *yes, bool *ret)
{
    char *s;
    size_t len;

    if (!json_text_string(t, &s, &len))
        return false;
    *ret = str_eq(s, yes);
    return *ret || str_eq(s, no);
}

static bool read_number(struct json_text *t, int64_t least, int64_t *ret)
{
    return json_text_int(t, ret) && *ret >= least;
}

static int read_value(struct json_text *t, struct secret *ret)
{
    char *s;
    size_t len;

    return json_text_string(t, &s, &len) ? secret_copy(s, len, ret) : -EBADMSG;
}

static int bad_unless(bool ok)
{
    return ok ? 0 : -EBADMSG;
}

static int read_principal(struct json_text *t, struct vault *v, const char *name)
{
    static const char *const names[] = {"kind", "status", "created_ms"};
    uint32_t seen = 0;
    int kind = -1, i;
    char *s;
    size_t len;

    if (!str_is_instance(name) || !json_text_begin(t, '{'))
        return -EBADMSG;
    if (v->n_principals == LIMIT_PRINCIPALS)
        return -E2BIG;
    struct vault_principal *p = one_more(v->principals, v->n_principals, sizeof(*p), (void **)&v->principals);
    if (!p)
        return -ENOMEM;
    v->n_principals++;
    memcpy(p->name, name, strlen(name) + 1);
    while ((i = json_text_member(t, names, ARRAY_LEN(names), &seen)) >= 0) {
        bool ok = i == 0   ? json_text_string(t, &s, &len) && (kind = principal_kind_from_name(s)) >= 0
                  : i == 1 ? read_word(t, "active", "revoked", &p->revoked)
                           : read_number(t, 0, &p->created_ms);
        if (!ok)
            return -EBADMSG;
    }
    p->kind = (enum principal_kind)kind;
    return bad_unless(i == -ENOENT && seen == 7);
}

static int read_grants(struct json_text *t, struct vault_secret *s)
{
    static const char *const names[] = {"principal", "as"};
    size_t count = 0;
    int i;

    if (!json_text_begin(t, '['))
        return -EBADMSG;
    while (json_text_more(t, ']', &count)) {
        uint32_t seen = 0;
        struct vault_grant *g = one_more(s->grants, s->n_grants, sizeof(*g), (void **)&s->grants);
        if (!g)
            return -ENOMEM;
        s->n_grants++;
        if (!json_text_begin(t, '{'))
            return -EBADMSG;
        while ((i = json_text_member(t, names, ARRAY_LEN(names), &seen)) >= 0)
            if (!(i == 0 ? read_name(t, g->principal, str_is_instance) : read_name(t, g->as, str_is_secret)))
                return -EBADMSG;
        if (i != -ENOENT || seen != 3)
            return -EBADMSG;
    }
    return bad_unless(!t->bad);
}

// As they are written.
enum { VALUE, PATTERN, STATUS, CREATED, UPDATED, EXPIRES, ROTATE, PREVIOUS, PREVIOUS_UNTIL, GRANTS };
#define BIT(member) (1u << (member))
enum {
    REQUIRED = BIT(VALUE) | BIT(PATTERN) | BIT(STATUS) | BIT(CREATED) | BIT(UPDATED) | BIT(GRANTS),
    KEPT = BIT(PREVIOUS) | BIT(PREVIOUS_UNTIL),
};

static int read_member(struct json_text *t, struct vault_secret *s, int member)
{
    bool automatic;

    switch (member) {
    case VALUE: return read_value(t, &s->value);
    case PATTERN:
        if (!read_word(t, "manual", "auto", &automatic))
            return -EBADMSG;
        s->pattern = automatic ? PATTERN_AUTO : PATTERN_MANUAL;
        return 0;
    case STATUS: return bad_unless(read_word(t, "active", "revoked", &s->revoked));
    case CREATED: return bad_unless(read_number(t, 0, &s->created_ms));
    case UPDATED: return bad_unless(read_number(t, 0, &s->updated_ms));
    case GRANTS: return read_grants(t, s);
    case EXPIRES: return bad_unless(read_number(t, 1, &s->expires_ms));
    case ROTATE: return bad_unless(read_number(t, 1, &s->rotate_every_ms));
    case PREVIOUS: return read_value(t, &s->previous);
    default: return bad_unless(read_number(t, 1, &s->previous_until_ms));
    }
}

static int read_secret(struct json_text *t, struct vault *v, const char *name)
{
    static const char *const names[] = {
        [VALUE] = "value",        [PATTERN] = "pattern",
        [STATUS] = "status",      [CREATED] = "created_ms",
        [UPDATED] = "updated_ms", [GRANTS] = "grants",
        [EXPIRES] = "expires_ms", [ROTATE] = "rotate_every_ms",
        [PREVIOUS] = "previous",  [PREVIOUS_UNTIL] = "previous_until_ms",
    };
    uint32_t seen = 0;
    int member, r = 0;

    if (!str_is_secret(name) || v->n_secrets == LIMIT_SECRETS || !json_text_begin(t, '{'))
        return -EBADMSG;
    struct vault_secret *s = one_more(v->secrets, v->n_secrets, sizeof(*s), (void **)&v->secrets);
    if (!s)
        return -ENOMEM;
    v->n_secrets++;
    memcpy(s->name, name, strlen(name) + 1);
    while (r == 0 && (member = json_text_member(t, names, ARRAY_LEN(names), &seen)) >= 0)
        r = read_member(t, s, member);
    if (r < 0)
        return r;
    return bad_unless(member == -ENOENT && (seen & REQUIRED) == REQUIRED &&
                      ((seen & KEPT) == KEPT || (seen & KEPT) == 0));
}

static int read_recipients(struct json_text *t, struct vault *v)
{
    uint8_t key[AGE_KEY_LEN];
    size_t count = 0, len;
    char *s;

    if (!json_text_begin(t, '['))
        return -EBADMSG;
    while (json_text_more(t, ']', &count))
        if (!json_text_string(t, &s, &len) || age_recipient_parse(s, key) < 0 ||
            vault_add_recipient(v, s) != 1)
            return -EBADMSG;
    return bad_unless(!t->bad);
}

// An object whose keys are names.
static int read_named(struct json_text *t, struct vault *v,
                      int (*read)(struct json_text *, struct vault *, const char *))
{
    size_t count = 0, len;
    char *name;
    int r = 0;

    if (!json_text_begin(t, '{'))
        return -EBADMSG;
    while (r == 0 && json_text_more(t, '}', &count))
        r = json_text_key(t, &name, &len) ? read(t, v, name) : -EBADMSG;
    return r < 0 ? r : bad_unless(!t->bad);
}

static int read_id(struct json_text *t, struct vault *v)
{
    char *s;
    size_t len;

    if (!json_text_string(t, &s, &len) || len != sizeof(v->id) - 1 || strspn(s, "0123456789abcdef") != len)
        return -EBADMSG;
    memcpy(v->id, s, sizeof(v->id));
    return 0;
}

enum { FORMAT, VAULT_ID, GENERATION, PRINCIPALS, SECRETS, RECIPIENTS };
enum { HEAD = BIT(RECIPIENTS) - 1 }; // all but those must be there

static int read_part(struct json_text *t, struct vault *v, int member)
{
    int64_t generation;
    char *s;
    size_t len;

    switch (member) {
    case FORMAT: return bad_unless(json_text_string(t, &s, &len) && str_eq(s, VAULT_FORMAT));
    case VAULT_ID: return read_id(t, v);
    case GENERATION:
        if (!read_number(t, 1, &generation))
            return -EBADMSG;
        v->generation = (uint64_t)generation;
        return 0;
    case PRINCIPALS: return read_named(t, v, read_principal);
    case SECRETS: return read_named(t, v, read_secret);
    default: return read_recipients(t, v);
    }
}

int vault_parse(struct secret *plain, struct vault *v)
{
    static const char *const names[] = {
        [FORMAT] = "format",         [VAULT_ID] = "vault_id", [GENERATION] = "generation",
        [PRINCIPALS] = "principals", [SECRETS] = "secrets",   [RECIPIENTS] = "recovery_recipients",
    };
    struct json_text t = {.at = (char *)plain->data, .end = (char *)plain->data + plain->len};
    uint32_t seen = 0;
    int member = -EBADMSG, r = json_text_begin(&t, '{') ? 0 : -EBADMSG;

    while (r == 0 && (member = json_text_member(&t, names, ARRAY_LEN(names), &seen)) >= 0)
        r = read_part(&t, v, member);
    if (r == 0)
        r = bad_unless(json_text_end(&t) && member == -ENOENT && (seen & HEAD) == HEAD);
    return r < 0 ? r : check_names(v);
}
