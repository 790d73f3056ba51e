// The vault's document from JSON, strictly. It is read in place: no tree, and no copy of a name or a value.
#include "json_text.h"
#include "str.h"
#include "vault.h"
#include <sodium.h>
#include <string.h>

// ---- names that must differ -----------------------------------------------------------------------

// All names of a vault as pairs, to tell whether one came before: a principal has nothing behind it, a secret
// nothing before it, a grant is a principal and a name.
struct pairs {
    const struct vault *v;
    uint32_t *slots; // 0: free; else a principal's number and 1, or behind them a secret's, or a grant's
    size_t n_slots;  // a power of two, half as many again as there will be
    uint64_t weights[2][LIMIT_NAME];
};

static int pairs_make(struct pairs *p, const struct vault *v)
{
    const size_t n = v->n_principals + v->n_secrets + v->n_grants;

    p->v = v;
    p->n_slots = 16;
    while (2 * p->n_slots < 3 * n)
        p->n_slots *= 2;
    p->slots = calloc(p->n_slots, sizeof(*p->slots));
    randombytes_buf(p->weights, sizeof(p->weights));
    return p->slots ? 0 : -ENOMEM;
}

static void pairs_free(struct pairs *p)
{
    free(p->slots);
}

// A pair's hash is the sum of both halves': of their bytes by random weights, one for each place. Of two
// pairs the upper half of it is the same by a chance of 1 in 2^32 (multilinear hashing), so no document makes
// this slow.
static uint64_t hash_of(const struct pairs *p, int half, const char *name)
{
    uint64_t sum = 0;

    for (size_t i = 0; name[i]; i++) // shorter than LIMIT_NAME
        sum += p->weights[half][i] * (unsigned char)name[i];
    return sum;
}

static bool is_pair(const struct vault *v, size_t number, const char *a, const char *b)
{
    if (number < v->n_principals)
        return !*b && str_eq(v->principals[number].name, a);
    number -= v->n_principals;
    if (number < v->n_secrets)
        return !*a && str_eq(v->secrets[number].name, b);
    const struct vault_grant *g = &v->grants[number - v->n_secrets];
    return str_eq(g->principal, a) && str_eq(g->as, b);
}

// The slot of a pair: it is there, or the slot is free.
static uint32_t *pairs_find(const struct pairs *p, uint64_t hash, const char *a, const char *b)
{
    for (size_t i = hash >> 32;; i++) {
        uint32_t *slot = &p->slots[i & (p->n_slots - 1)];
        if (*slot == 0 || is_pair(p->v, *slot - 1, a, b))
            return slot;
    }
}

// False where it came before.
static bool pairs_add(const struct pairs *p, uint64_t hash, const char *a, const char *b, size_t number)
{
    uint32_t *slot = pairs_find(p, hash, a, b);

    if (*slot)
        return false;
    *slot = (uint32_t)number + 1;
    return true;
}

static bool check_secret(const struct pairs *p, size_t at)
{
    const struct vault_secret *s = &p->v->secrets[at];
    const size_t before = p->v->n_principals + p->v->n_secrets;
    const uint64_t hash = hash_of(p, 1, s->name);

    if (!pairs_add(p, hash, "", s->name, p->v->n_principals + at))
        return false;
    for (size_t i = 0; i < s->n_grants; i++) {
        const struct vault_grant *g = &s->grants[i];
        const uint64_t principal = hash_of(p, 0, g->principal),
                       as = str_eq(g->as, s->name) ? hash : hash_of(p, 1, g->as);
        if (!*pairs_find(p, principal, g->principal, "") ||
            !pairs_add(p, principal + as, g->principal, g->as, before + (size_t)(g - p->v->grants)))
            return false;
    }
    return true;
}

// Every name stands once, and every grant is to a principal that is there. Two secrets under one name would
// leave it to chance which of them a plugin reads.
static int check_names(const struct vault *v)
{
    OWNED(pairs_free) struct pairs pairs = {0};

    if (pairs_make(&pairs, v) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < v->n_principals; i++)
        if (!pairs_add(&pairs, hash_of(&pairs, 0, v->principals[i].name), v->principals[i].name, "", i))
            return -EBADMSG;
    for (size_t i = 0; i < v->n_secrets; i++)
        if (!check_secret(&pairs, i))
            return -EBADMSG;
    return 0;
}

// ---- members --------------------------------------------------------------------------------------

// The least that a document has of text for each. Memory that is not used up does not exist.
enum { TEXT_OF_PRINCIPAL = 50, TEXT_OF_SECRET = 90, TEXT_OF_GRANT = 24 };

// Lists for all that a text of this length may hold.
static int make_lists(struct vault *v, size_t len)
{
    v->principals = reallocarray(NULL, len / TEXT_OF_PRINCIPAL + 1, sizeof(*v->principals));
    v->secrets = reallocarray(NULL, len / TEXT_OF_SECRET + 1, sizeof(*v->secrets));
    v->grants = reallocarray(NULL, len / TEXT_OF_GRANT + 1, sizeof(*v->grants));
    return v->principals && v->secrets && v->grants ? 0 : -ENOMEM;
}

// Is there room for one more behind n, in a list that make_lists made? There always is.
static bool has_room(const struct vault *v, size_t n, size_t text_of_each)
{
    return n <= v->text.len / text_of_each;
}

static bool read_name(struct json_text *t, const char **ret, bool (*check)(const char *))
{
    char *s;
    size_t len;

    if (!json_text_string(t, &s, &len) || !check(s))
        return false;
    *ret = s;
    return true;
}

// One of two words: *ret is whether it is the second.
static bool read_word(struct json_text *t, const char *const words[static 2], bool *ret)
{
    int i = json_text_word(t, words, 2);

    *ret = i == 1;
    return i >= 0;
}

static const char *const statuses[] = {"active", "revoked"};
static const char *const patterns[] = {"manual", "auto"};

static bool read_number(struct json_text *t, int64_t least, int64_t *ret)
{
    return json_text_int(t, ret) && *ret >= least;
}

static bool read_value(struct json_text *t, struct secret *ret)
{
    char *s;

    if (!json_text_string(t, &s, &ret->len))
        return false;
    ret->data = (uint8_t *)s;
    return true;
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
    if (v->n_principals == LIMIT_PRINCIPALS || !has_room(v, v->n_principals, TEXT_OF_PRINCIPAL))
        return -E2BIG;
    struct vault_principal *p = &v->principals[v->n_principals++];
    *p = (struct vault_principal){.name = name};
    while ((i = json_text_member(t, names, ARRAY_LEN(names), &seen)) >= 0) {
        bool ok = i == 0   ? json_text_string(t, &s, &len) && (kind = principal_kind_from_name(s)) >= 0
                  : i == 1 ? read_word(t, statuses, &p->revoked)
                           : read_number(t, 0, &p->created_ms);
        if (!ok)
            return -EBADMSG;
    }
    p->kind = (enum principal_kind)kind;
    return bad_unless(i == -ENOENT && seen == 7);
}

// Members that stand as vault_doc.c writes them; all others, and those behind them, are read one by one.
static bool usual_grant(struct json_text *t, struct vault_grant *g, uint32_t *seen)
{
    if (!JSON_TEXT_TAKE(t, "\"principal\":"))
        return true;
    *seen |= 1;
    if (!read_name(t, &g->principal, str_is_instance) || !JSON_TEXT_TAKE(t, ",\"as\":"))
        return !t->bad && g->principal;
    *seen |= 2;
    return read_name(t, &g->as, str_is_secret);
}

static bool read_grants(struct json_text *t, struct vault *v, struct vault_secret *s)
{
    static const char *const names[] = {"principal", "as"};
    size_t count = 0;
    int i;

    s->grants = &v->grants[v->n_grants];
    if (!json_text_begin(t, '['))
        return false;
    while (json_text_more(t, ']', &count)) {
        uint32_t seen = 0;
        if (!has_room(v, v->n_grants, TEXT_OF_GRANT) || !json_text_begin(t, '{'))
            return false;
        struct vault_grant *g = &v->grants[v->n_grants++];
        *g = (struct vault_grant){0};
        s->n_grants++;
        if (!usual_grant(t, g, &seen))
            return false;
        while ((i = json_text_member(t, names, ARRAY_LEN(names), &seen)) >= 0)
            if (!(i == 0 ? read_name(t, &g->principal, str_is_instance)
                         : read_name(t, &g->as, str_is_secret)))
                return false;
        if (i != -ENOENT || seen != 3)
            return false;
    }
    return !t->bad;
}

// As they are written.
enum { VALUE, PATTERN, STATUS, CREATED, UPDATED, EXPIRES, ROTATE, PREVIOUS, PREVIOUS_UNTIL, GRANTS };
#define BIT(member) (1u << (member))
enum {
    REQUIRED = BIT(VALUE) | BIT(PATTERN) | BIT(STATUS) | BIT(CREATED) | BIT(UPDATED) | BIT(GRANTS),
    KEPT = BIT(PREVIOUS) | BIT(PREVIOUS_UNTIL),
};

static int read_member(struct json_text *t, struct vault *v, struct vault_secret *s, int member)
{
    bool automatic;

    switch (member) {
    case VALUE: return bad_unless(read_value(t, &s->value));
    case PATTERN:
        if (!read_word(t, patterns, &automatic))
            return -EBADMSG;
        s->pattern = automatic ? PATTERN_AUTO : PATTERN_MANUAL;
        return 0;
    case STATUS: return bad_unless(read_word(t, statuses, &s->revoked));
    case CREATED: return bad_unless(read_number(t, 0, &s->created_ms));
    case UPDATED: return bad_unless(read_number(t, 0, &s->updated_ms));
    case GRANTS: return bad_unless(read_grants(t, v, s));
    case EXPIRES: return bad_unless(read_number(t, 1, &s->expires_ms));
    case ROTATE: return bad_unless(read_number(t, 1, &s->rotate_every_ms));
    case PREVIOUS: return bad_unless(read_value(t, &s->previous));
    default: return bad_unless(read_number(t, 1, &s->previous_until_ms));
    }
}

// As usual_grant.
static bool usual_secret(struct json_text *t, struct vault *v, struct vault_secret *s, uint32_t *seen)
{
    if (!JSON_TEXT_TAKE(t, "\"value\":"))
        return true;
    *seen |= BIT(VALUE);
    if (!read_value(t, &s->value))
        return false;
    if (JSON_TEXT_TAKE(t, ",\"pattern\":\"auto\""))
        s->pattern = PATTERN_AUTO;
    else if (!JSON_TEXT_TAKE(t, ",\"pattern\":\"manual\""))
        return true;
    *seen |= BIT(PATTERN);
    if (!JSON_TEXT_TAKE(t, ",\"status\":\"active\""))
        return true;
    *seen |= BIT(STATUS);
    if (!JSON_TEXT_TAKE(t, ",\"created_ms\":"))
        return true;
    *seen |= BIT(CREATED);
    if (!read_number(t, 0, &s->created_ms))
        return false;
    if (!JSON_TEXT_TAKE(t, ",\"updated_ms\":"))
        return true;
    *seen |= BIT(UPDATED);
    if (!read_number(t, 0, &s->updated_ms))
        return false;
    if (!JSON_TEXT_TAKE(t, ",\"grants\":"))
        return true;
    *seen |= BIT(GRANTS);
    return read_grants(t, v, s);
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

    if (!str_is_secret(name) || v->n_secrets == LIMIT_SECRETS || !has_room(v, v->n_secrets, TEXT_OF_SECRET) ||
        !json_text_begin(t, '{'))
        return -EBADMSG;
    struct vault_secret *s = &v->secrets[v->n_secrets++];
    *s = (struct vault_secret){.name = name};
    if (!usual_secret(t, v, s, &seen))
        return -EBADMSG;
    while (r == 0 && (member = json_text_member(t, names, ARRAY_LEN(names), &seen)) >= 0)
        r = read_member(t, v, s, member);
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
    v->text = *plain;
    *plain = (struct secret){0};
    struct json_text t = {.at = (char *)v->text.data, .end = (char *)v->text.data + v->text.len};
    uint32_t seen = 0;
    int member = -EBADMSG, r = make_lists(v, v->text.len);

    if (r == 0)
        r = bad_unless(json_text_begin(&t, '{'));

    while (r == 0 && (member = json_text_member(&t, names, ARRAY_LEN(names), &seen)) >= 0)
        r = read_part(&t, v, member);
    if (r == 0)
        r = bad_unless(json_text_end(&t) && member == -ENOENT && (seen & HEAD) == HEAD);
    return r < 0 ? r : check_names(v);
}
