// The vault's document, held against another reader of it (jansson, and the rules below): both take it or
// neither. What is taken is written, read again and written the same; what is not leaves nothing behind.
#include "lab.h"
#include "str.h"
#include "vault.h"
#include <jansson.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    lab_open(4 << 20);
    return 0;
}

// ---- the other reader -----------------------------------------------------------------------------

static bool whole(const json_t *v, json_int_t least)
{
    return json_is_integer(v) && json_integer_value(v) >= least;
}

static bool word(const json_t *v, const char *one, const char *other, const char *third)
{
    const char *s = json_string_value(v);

    return s && (str_eq(s, one) || str_eq(s, other) || (third && str_eq(s, third)));
}

static bool named(const json_t *v, bool (*check)(const char *))
{
    return json_is_string(v) && check(json_string_value(v));
}

static bool principal_holds(const char *name, const json_t *o)
{
    return str_is_instance(name) && json_object_size(o) == 3 &&
           word(json_object_get(o, "kind"), "plugin", "core", "consumer") &&
           word(json_object_get(o, "status"), "active", "revoked", NULL) &&
           whole(json_object_get(o, "created_ms"), 0);
}

// taken: an object whose keys are PRINCIPAL/NAME, one for each grant so far.
static bool grant_holds(const json_t *o, const json_t *principals, json_t *taken)
{
    const json_t *principal = json_object_get(o, "principal"), *as = json_object_get(o, "as");
    char key[2 * LIMIT_NAME];

    if (json_object_size(o) != 2 || !named(principal, str_is_instance) || !named(as, str_is_secret) ||
        !json_object_get(principals, json_string_value(principal)))
        return false;
    snprintf(key, sizeof(key), "%s/%s", json_string_value(principal), json_string_value(as));
    bool fresh = !json_object_get(taken, key);
    json_object_set_new(taken, key, json_true());
    return fresh;
}

static bool secret_holds(const char *name, json_t *o, const json_t *principals, json_t *taken)
{
    static const char *const optional[] = {"expires_ms", "rotate_every_ms", "previous_until_ms"};
    const json_t *previous = json_object_get(o, "previous"), *grants = json_object_get(o, "grants"), *g;
    size_t known = 6 + (previous ? 1 : 0), i;

    for (i = 0; i < ARRAY_LEN(optional); i++) {
        const json_t *v = json_object_get(o, optional[i]);
        if (v && !whole(v, 1))
            return false;
        known += v ? 1 : 0;
    }
    if (!str_is_secret(name) || json_object_size(o) != known || !json_is_array(grants) ||
        !json_is_string(json_object_get(o, "value")) ||
        !word(json_object_get(o, "pattern"), "manual", "auto", NULL) ||
        !word(json_object_get(o, "status"), "active", "revoked", NULL) ||
        !whole(json_object_get(o, "created_ms"), 0) || !whole(json_object_get(o, "updated_ms"), 0) ||
        !previous != !json_object_get(o, "previous_until_ms") || (previous && !json_is_string(previous)))
        return false;
    json_array_foreach(grants, i, g) if (!grant_holds(g, principals, taken)) return false;
    return true;
}

static bool recipients_hold(const json_t *list)
{
    json_t *seen = json_object(), *o;
    uint8_t key[AGE_KEY_LEN];
    bool ok = json_is_array(list);
    size_t i;

    json_array_foreach(list, i, o)
    {
        const char *s = json_string_value(o);
        ok = ok && s && age_recipient_parse(s, key) == 0 && !json_object_get(seen, s);
        if (ok)
            json_object_set_new(seen, s, json_true());
    }
    json_decref(seen);
    return ok && json_array_size(list) <= LIMIT_RECIPIENTS;
}

static bool document_holds(json_t *root)
{
    json_t *principals = json_object_get(root, "principals"), *secrets = json_object_get(root, "secrets"), *o,
           *taken = json_object();
    const json_t *recipients = json_object_get(root, "recovery_recipients");
    const char *id = json_string_value(json_object_get(root, "vault_id")), *name;
    bool ok = json_object_size(root) == 5 + (recipients ? 1u : 0u) && json_is_object(principals) &&
              json_is_object(secrets) &&
              word(json_object_get(root, "format"), "ductile.vault/1", "ductile.vault/1", NULL) && id &&
              strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32 &&
              whole(json_object_get(root, "generation"), 1) && (!recipients || recipients_hold(recipients)) &&
              json_object_size(principals) <= LIMIT_PRINCIPALS && json_object_size(secrets) <= LIMIT_SECRETS;

    json_object_foreach(principals, name, o) ok = ok && principal_holds(name, o);
    json_object_foreach(secrets, name, o) ok = ok && secret_holds(name, o, principals, taken);
    json_decref(taken);
    return ok;
}

// jansson skips a NUL behind a number.
static bool model_takes(const uint8_t *data, size_t size)
{
    if (memchr(data, '\0', size))
        return false;
    json_t *root = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    bool ok = root && document_holds(root);
    json_decref(root);
    return ok;
}

// ---- ours -----------------------------------------------------------------------------------------

static int read_text(const void *data, size_t size, struct vault *v)
{
    struct secret text;

    *v = (struct vault){0};
    MUST_HOLD(secret_copy(data, size, &text) == 0, "room");
    int r = vault_parse(&text, v);
    secret_wipe(&text);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vault v, again;
    struct secret one = {0}, two = {0};

    if (size > 64 << 10)
        return 0;
    int r = read_text(data, size, &v);
    MUST_HOLD((r == 0) == (size > 0 && model_takes(data, size)), "both readers take it, or neither");
    if (r == 0) {
        MUST_HOLD(vault_serialise(&v, &one) == 0, "written");
        MUST_HOLD(read_text(one.data, one.len, &again) == 0, "what we write we read");
        MUST_HOLD(vault_serialise(&again, &two) == 0 && one.len == two.len &&
                      memcmp(one.data, two.data, one.len) == 0,
                  "and write the same");
        vault_close(&again);
        secret_wipe(&one);
        secret_wipe(&two);
    }
    vault_close(&v);
    MUST_HOLD(secret_in_use() == 0, "nothing is left");
    return 0;
}
