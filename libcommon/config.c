// config.yaml to struct config. config.def says what each key is; here stand the types and the decoder. Rules
// that need more than one key are in config_rules.c, files and ids in config_load.c, questions in
// config_ask.c. Every error is noted with its position; none stops the others.
#include "config_internal.h"
#include "log.h"
#include "str.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum section {
    SECTION_TOP,
    SECTION_SERVICE,
    SECTION_ADMISSION,
    SECTION_RETENTION,
    SECTION_SECRETS,
    SECTION_STATE,
    SECTION_ACCOUNT,
    SECTION_ACCOUNT_LIMITS,
    SECTION_ACCEPT,
    SECTION_PLUGIN,
    SECTION_RETRY,
    SECTION_PIPELINE,
    SECTION_STEP,
    SECTION_API,
    SECTION_TOKEN,
    SECTION_WEBHOOK,
    SECTION_LIMITS,
    SECTION_GATE,
};

enum type {
    TYPE_STR,
    TYPE_BOOL,
    TYPE_U64,
    TYPE_DURATION,
    TYPE_SIZE,
    TYPE_ENUM,
    TYPE_ID,
    TYPE_STRS,
    TYPE_DURMAP,
    TYPE_FREE,
    TYPE_SUB,
    TYPE_NAMED,
    TYPE_LIST
};

enum values {
    VALUES_LOG_LEVEL,
    VALUES_ON_UNATTESTED,
    VALUES_SIDEDOOR,
    VALUES_LANDLOCK,
    VALUES_NETWORK,
    VALUES_API_OPERATORS,
    VALUES_POSTURE
};

static const char *const value_names[][5] = {
    [VALUES_LOG_LEVEL] = {"debug", "info", "warn", "error"},
    [VALUES_ON_UNATTESTED] = {[UNATTESTED_REFUSE] = "refuse"},
    [VALUES_SIDEDOOR] =
        {[SIDEDOOR_WARN] = "warn", [SIDEDOOR_REFUSE] = "refuse", [SIDEDOOR_STRICT] = "strict"},
    [VALUES_LANDLOCK] =
        {[LANDLOCK_SCOPE] = "scope", [LANDLOCK_WRITE] = "write", [LANDLOCK_STRICT] = "strict"},
    [VALUES_NETWORK] = {[NETWORK_FULL] = "full", [NETWORK_NONE] = "none"},
    [VALUES_API_OPERATORS] = {[API_OPERATORS_RO] = "ro", [API_OPERATORS_RW] = "rw"},
    [VALUES_POSTURE] = {[POSTURE_UNCONFINED] = "unconfined",
                        [POSTURE_FULL_PRIVSEP] = "full-privsep",
                        [POSTURE_HYBRID] = "hybrid"},
};

const char *posture_name(enum posture posture)
{
    return value_names[VALUES_POSTURE][posture];
}

const char *landlock_level_name(enum landlock_level level)
{
    return value_names[VALUES_LANDLOCK][level];
}

const char *account_mode_name(enum account_mode mode)
{
    static const char *const names[MODE_COUNT_] = {"unconfined", "confined", "credentialed"};

    return names[mode];
}

int posture_from_name(const char *name)
{
    for (int i = 0; i < POSTURE_COUNT_; i++)
        if (str_eq(value_names[VALUES_POSTURE][i], name))
            return i;
    return -EINVAL;
}

// Which struct the rows of a section fill.
#define STRUCT_TOP            struct config
#define STRUCT_SERVICE        struct config
#define STRUCT_ADMISSION      struct config
#define STRUCT_RETENTION      struct config
#define STRUCT_SECRETS        struct config
#define STRUCT_STATE          struct config
#define STRUCT_API            struct config
#define STRUCT_LIMITS         struct config
#define STRUCT_GATE           struct config
#define STRUCT_ACCOUNT        struct account_config
#define STRUCT_ACCOUNT_LIMITS struct account_config
#define STRUCT_ACCEPT         struct accept_config
#define STRUCT_PLUGIN         struct plugin_config
#define STRUCT_RETRY          struct plugin_config
#define STRUCT_PIPELINE       struct pipeline_config
#define STRUCT_STEP           struct step_config
#define STRUCT_TOKEN          struct token_config
#define STRUCT_WEBHOOK        struct webhook_config

static const struct row {
    enum section section;
    const char *key;
    enum type type;
    size_t offset;
    int64_t low, high;
    const char *def, *doc;
} rows[] = {
#define KEY(section, key, type, field, low, high, def, doc)                                                  \
    {SECTION_##section, key, TYPE_##type, offsetof(STRUCT_##section, field), low, high, def, doc},
#include "config.def"
#undef KEY
};

// A row whose field is not of the type it names does not compile.
#define CTYPE_STR      const char *
#define CTYPE_BOOL     bool
#define CTYPE_U64      uint64_t
#define CTYPE_DURATION uint64_t
#define CTYPE_SIZE     uint64_t
#define CTYPE_ENUM     uint64_t
#define CTYPE_ID       int64_t
#define CTYPE_STRS     struct strs
#define CTYPE_DURMAP   struct timeouts
#define CTYPE_FREE     const struct ynode *
#define CTYPE_SUB      const char * // unused
#define CTYPE_NAMED    struct strs
#define CTYPE_LIST     struct strs
#define KEY(section, key, type, field, low, high, def, doc)                                                  \
    _Static_assert(sizeof(((STRUCT_##section *)0)->field) == sizeof(CTYPE_##type), key);
#include "config.def"
#undef KEY
// Lists of structs are all {pointer, count}, as struct strs is.
_Static_assert(sizeof(struct account_list) == sizeof(struct strs), "one shape");

static const struct {
    enum section section;
    const char *prefix;
    size_t size;
} sections[] = {
    [SECTION_TOP] = {SECTION_TOP, "", sizeof(struct config)},
    [SECTION_SERVICE] = {SECTION_SERVICE, "service.", 0},
    [SECTION_ADMISSION] = {SECTION_ADMISSION, "service.admission.", 0},
    [SECTION_RETENTION] = {SECTION_RETENTION, "service.retention.", 0},
    [SECTION_SECRETS] = {SECTION_SECRETS, "secrets.", 0},
    [SECTION_STATE] = {SECTION_STATE, "state.", 0},
    [SECTION_ACCOUNT] = {SECTION_ACCOUNT, "accounts.NAME.", sizeof(struct account_config)},
    [SECTION_ACCOUNT_LIMITS] = {SECTION_ACCOUNT_LIMITS, "accounts.NAME.limits.", 0},
    [SECTION_ACCEPT] = {SECTION_ACCEPT, "accounts.NAME.accept_doors[].", sizeof(struct accept_config)},
    [SECTION_PLUGIN] = {SECTION_PLUGIN, "plugins.NAME.", sizeof(struct plugin_config)},
    [SECTION_RETRY] = {SECTION_RETRY, "plugins.NAME.retry.", 0},
    [SECTION_PIPELINE] = {SECTION_PIPELINE, "pipelines[].", sizeof(struct pipeline_config)},
    [SECTION_STEP] = {SECTION_STEP, "pipelines[].steps[].", sizeof(struct step_config)},
    [SECTION_API] = {SECTION_API, "api.", 0},
    [SECTION_TOKEN] = {SECTION_TOKEN, "api.tokens[].", sizeof(struct token_config)},
    [SECTION_WEBHOOK] = {SECTION_WEBHOOK, "webhooks[].", sizeof(struct webhook_config)},
    [SECTION_LIMITS] = {SECTION_LIMITS, "limits.", 0},
    [SECTION_GATE] = {SECTION_GATE, "gate.", 0},
};

const struct config_row *config_rows(size_t *ret_n)
{
    static const char *const types[] = {"text", "true/false",     "number",      "duration",         "size",
                                        "word", "auto or number", "list",        "map of durations", "map",
                                        "map",  "map of names",   "list of maps"};
    static struct config_row out[ARRAY_LEN(rows)];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        out[i] = (struct config_row){sections[rows[i].section].prefix, rows[i].key, types[rows[i].type],
                                     rows[i].def, rows[i].doc};
    *ret_n = ARRAY_LEN(rows);
    return out;
}

// ---- what is shared while decoding --------------------------------------------------------------

const char *config_pool(struct config *config, char *s)
{
    char **pool = s ? realloc(config->pool, (config->n_pool + 1) * sizeof(*pool)) : NULL;

    if (!pool) {
        free(s);
        return NULL;
    }
    config->pool = pool;
    return pool[config->n_pool++] = s;
}

const char *config_expand(struct decode *d, const char *pattern, const char *name)
{
    struct strbuf sb = {0};

    for (const char *p = pattern; *p; p++)
        if (p[0] == '%' && (p[1] == 'i' || p[1] == 'n'))
            sb_adds(&sb, *++p == 'i' ? d->instance : name);
        else
            sb_addc(&sb, *p);
    const char *s = config_pool(d->config, sb_finish(&sb));
    if (!s)
        d->diags->failed = true;
    return s;
}

static const struct row *find_row(enum section section, const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].section == section && str_eq(rows[i].key, key))
            return &rows[i];
    return NULL;
}

static void unknown_key(struct decode *d, enum section section, const struct ypair *pair, const char *path)
{
    const char *best = NULL;
    unsigned distance = 4;

    if (section == SECTION_ACCOUNT && str_eq(pair->key, "groups")) {
        diag_add(
            d->diags, pair->pos, path,
            "is refused: a plugin gets its account's gid and no other; a docker or sudo group would be a door to root");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned n = rows[i].section == section ? str_distance(rows[i].key, pair->key) : 255;
        if (n < distance) {
            distance = n;
            best = rows[i].key;
        }
    }
    diag_add(d->diags, pair->pos, path, best ? "unknown key; did you mean \"%s\"?" : "unknown key", best);
}

// ---- scalars ------------------------------------------------------------------------------------

static int take_text(struct decode *d, const struct ynode *node, const char *path, enum check check,
                     const char **ret)
{
    if (node->kind != YNODE_SCALAR || ynode_scalar(node) != YSCALAR_STRING) {
        diag_add(d->diags, node->pos, path, "expected text");
        return -EINVAL;
    }
    const char *want = config_check_text(check, node->text);
    if (want) {
        diag_add(d->diags, node->pos, path, "expected %s, not \"%.100s\"", want, node->text);
        return -EINVAL;
    }
    *ret = node->text;
    return 0;
}

static void take_enum(struct decode *d, const struct row *row, const struct ynode *node, const char *path,
                      uint64_t *field)
{
    const char *const *names = value_names[row->low];
    struct strbuf sb = {0};

    for (size_t i = 0; i < ARRAY_LEN(value_names[0]) && names[i]; i++) {
        if (node->kind == YNODE_SCALAR && str_eq(node->text, names[i])) {
            *field = i;
            sb_free(&sb);
            return;
        }
        sb_addf(&sb, "%s%s", i ? ", " : "", names[i]);
    }
    OWNED(freep) char *list = sb_finish(&sb);
    diag_add(d->diags, node->pos, path, "expected one of: %s", list ? list : "?");
}

static void take_number(struct decode *d, const struct row *row, const struct ynode *node, const char *path,
                        uint64_t *field)
{
    char low[32], high[32];
    uint64_t v = 0;
    int r = -EINVAL;
    const char *what = row->type == TYPE_DURATION ? "a duration such as 500ms, 30s, 5m, 24h or 30d"
                       : row->type == TYPE_SIZE   ? "a size such as 64K, 10M or 2G"
                                                  : "a whole number";

    if (node->kind == YNODE_SCALAR && node->plain)
        r = row->type == TYPE_DURATION ? str_to_duration(node->text, &v)
            : row->type == TYPE_SIZE   ? str_to_size(node->text, &v)
                                       : str_to_u64(node->text, 0, INT64_MAX, &v);
    if (r == -EINVAL)
        diag_add(d->diags, node->pos, path, "expected %s", what);
    else if ((r < 0 || v < (uint64_t)row->low || v > (uint64_t)row->high) && row->type == TYPE_DURATION)
        diag_add(d->diags, node->pos, path, "out of range (%s to %s)", str_duration((uint64_t)row->low, low),
                 str_duration((uint64_t)row->high, high));
    else if (r < 0 || v < (uint64_t)row->low || v > (uint64_t)row->high)
        diag_add(d->diags, node->pos, path, "out of range (%lld to %lld)", (long long)row->low,
                 (long long)row->high);
    else
        *field = v;
}

static void take_id(struct decode *d, const struct row *row, const struct ynode *node, const char *path,
                    int64_t *field)
{
    uint64_t v = 0;

    if (node->kind == YNODE_SCALAR && str_eq(node->text, "auto")) {
        *field = ID_AUTO;
        return;
    }
    if (node->kind != YNODE_SCALAR || !node->plain ||
        str_to_u64(node->text, (uint64_t)row->low, (uint64_t)row->high, &v) < 0)
        diag_add(d->diags, node->pos, path, "expected `auto` or a number from 1 to 2147483647");
    else if (v == 65534)
        diag_add(d->diags, node->pos, path, "65534 is nobody, which everyone may become: pick another");
    else
        *field = (int64_t)v;
}

// ---- lists and maps -----------------------------------------------------------------------------

static void take_strs(struct decode *d, const struct row *row, const struct ynode *node, const char *path,
                      struct strs *field)
{
    if (node->kind != YNODE_LIST) {
        diag_add(d->diags, node->pos, path, "expected a list");
        return;
    }
    const char **list = calloc(node->n ? node->n : 1, sizeof(*list));
    if (!list) {
        d->diags->failed = true;
        return;
    }
    free(field->list);
    *field = (struct strs){.list = list};
    for (size_t i = 0; i < node->n; i++) {
        char below[LIMIT_PATH];
        snprintf(below, sizeof(below), "%s[%zu]", path, i);
        if (take_text(d, node->items[i], below, (enum check)row->low, &list[field->n]) == 0)
            field->n++;
    }
}

static void take_durations(struct decode *d, const struct ynode *node, const char *path,
                           struct timeouts *field)
{
    static const struct row any = {.type = TYPE_DURATION, .low = 1, .high = 30ll * 86400000};

    if (node->kind != YNODE_MAP) {
        diag_add(d->diags, node->pos, path, "expected a map of command: duration");
        return;
    }
    field->list = calloc(node->n ? node->n : 1, sizeof(*field->list));
    for (size_t i = 0; field->list && i < node->n; i++) {
        char below[LIMIT_PATH];
        struct timeout_row *row = &field->list[field->n];
        snprintf(below, sizeof(below), "%s.%.60s", path, node->pairs[i].key);
        if (!str_is_plugin(node->pairs[i].key)) {
            diag_add(d->diags, node->pairs[i].pos, below, "is not a command's name");
            continue;
        }
        row->command = node->pairs[i].key;
        take_number(d, &any, node->pairs[i].value, below, &row->ms);
        field->n++;
    }
}

static void decode_section(struct decode *d, enum section section, const struct ynode *node, const char *path,
                           void *base);
static void set_defaults(struct decode *d, enum section section, const char *name, void *base);

// The structs of a NAMED or LIST all begin with {name, node}.
struct named {
    const char *name;
    const struct ynode *node;
};
_Static_assert(offsetof(struct account_config, node) == offsetof(struct named, node), "one shape");
_Static_assert(offsetof(struct accept_config, node) == offsetof(struct named, node), "one shape");
_Static_assert(offsetof(struct plugin_config, node) == offsetof(struct named, node), "one shape");
_Static_assert(offsetof(struct pipeline_config, node) == offsetof(struct named, node), "one shape");
_Static_assert(offsetof(struct step_config, node) == offsetof(struct named, node), "one shape");
_Static_assert(offsetof(struct token_config, node) == offsetof(struct named, node), "one shape");
_Static_assert(offsetof(struct webhook_config, node) == offsetof(struct named, node), "one shape");

static bool name_fits(struct decode *d, enum section section, const struct ypair *pair, const char *path)
{
    bool ok = section == SECTION_ACCOUNT ? str_is_account(pair->key) : str_is_plugin(pair->key);

    if (!ok)
        diag_add(d->diags, pair->pos, path, "is not a name (letters, digits, %s; a letter first)",
                 section == SECTION_ACCOUNT ? "hyphens; lower case" : "_ and -");
    return ok;
}

static void take_structs(struct decode *d, const struct row *row, const struct ynode *node, const char *path,
                         struct strs *field)
{
    enum section section = (enum section)row->low;
    size_t size = sections[section].size;
    bool named = row->type == TYPE_NAMED;

    if (node->kind == YNODE_SCALAR && ynode_scalar(node) == YSCALAR_NULL)
        return; // `accounts:` with everything below it commented out
    if (node->kind != (named ? YNODE_MAP : YNODE_LIST)) {
        diag_add(d->diags, node->pos, path, named ? "expected a map of names" : "expected a list");
        return;
    }
    char *list = calloc(node->n ? node->n : 1, size);
    field->list = (const char **)(void *)list;
    for (size_t i = 0; list && i < node->n; i++) {
        struct named *item = (struct named *)(void *)(list + field->n * size);
        const struct ynode *value = named ? node->pairs[i].value : node->items[i];
        char below[LIMIT_PATH];

        snprintf(below, sizeof(below), named ? "%s.%.60s" : "%s[%s]", path, named ? node->pairs[i].key : "");
        if (!named)
            snprintf(below, sizeof(below), "%s[%zu]", path, i);
        if (named && !name_fits(d, section, &node->pairs[i], below))
            continue;
        set_defaults(d, section, named ? node->pairs[i].key : "", item);
        item->name = named ? node->pairs[i].key : NULL;
        item->node = value;
        field->n++;
        if (value->kind == YNODE_SCALAR && ynode_scalar(value) == YSCALAR_NULL && named)
            continue; // `default:` alone means all defaults
        decode_section(d, section, value, below, item);
        item->node = value;
    }
}

static void decode_key(struct decode *d, const struct row *row, const struct ynode *node, const char *path,
                       void *base)
{
    void *field = (char *)base + row->offset;

    switch (row->type) {
    case TYPE_STR:
        if (take_text(d, node, path, (enum check)row->low, field) < 0)
            break;
        break;
    case TYPE_BOOL:
        if (node->kind == YNODE_SCALAR && ynode_scalar(node) == YSCALAR_BOOL)
            *(bool *)field = node->text[0] == 't' || node->text[0] == 'T';
        else
            diag_add(d->diags, node->pos, path, "expected true or false");
        break;
    case TYPE_U64:
    case TYPE_DURATION:
    case TYPE_SIZE: take_number(d, row, node, path, field); break;
    case TYPE_ENUM: take_enum(d, row, node, path, field); break;
    case TYPE_ID: take_id(d, row, node, path, field); break;
    case TYPE_STRS: take_strs(d, row, node, path, field); break;
    case TYPE_DURMAP: take_durations(d, node, path, field); break;
    case TYPE_FREE:
        if (node->kind == YNODE_MAP)
            *(const struct ynode **)field = node;
        else if (node->kind != YNODE_SCALAR || ynode_scalar(node) != YSCALAR_NULL)
            diag_add(d->diags, node->pos, path, "expected a map");
        break;
    case TYPE_SUB: decode_section(d, (enum section)row->low, node, path, base); break;
    case TYPE_NAMED:
    case TYPE_LIST: take_structs(d, row, node, path, field); break;
    }
}

static void decode_section(struct decode *d, enum section section, const struct ynode *node, const char *path,
                           void *base)
{
    if (node->kind == YNODE_SCALAR && ynode_scalar(node) == YSCALAR_NULL && section != SECTION_STEP)
        return;
    if (node->kind != YNODE_MAP) {
        diag_add(d->diags, node->pos, path, "expected a map");
        return;
    }
    for (size_t i = 0; i < node->n; i++) {
        const struct ypair *pair = &node->pairs[i];
        const struct row *row = find_row(section, pair->key);
        char below[LIMIT_PATH];

        snprintf(below, sizeof(below), "%s%s%.100s", path, path[0] ? "." : "", pair->key);
        if (row)
            decode_key(d, row, pair->value, below, base);
        else
            unknown_key(d, section, pair, below);
    }
}

// Defaults go through the same parser as what the operator writes: a default out of range cannot hide.
static void set_default(struct decode *d, const struct row *row, const char *name, void *base)
{
    void *field = (char *)base + row->offset;
    const char *text = config_expand(d, row->def, name);
    struct ynode node = {
        .kind = YNODE_SCALAR, .pos = {"(default)", 0, 0}, .text = (char *)text, .plain = true};

    if (!text)
        return;
    if (row->type == TYPE_STRS) {
        struct strs *strs = field;
        strs->list = calloc(1, sizeof(*strs->list));
        if (strs->list)
            strs->list[strs->n++] = text;
        return;
    }
    decode_key(d, row, &node, row->key, base);
}

static void set_defaults(struct decode *d, enum section section, const char *name, void *base)
{
    for (const struct row *row = rows; row < rows + ARRAY_LEN(rows); row++) {
        if (row->section != section)
            continue;
        if (row->type == TYPE_SUB)
            set_defaults(d, (enum section)row->low, name, base);
        else if (row->def)
            set_default(d, row, name, base);
    }
}

void config_decode(struct decode *d)
{
    set_defaults(d, SECTION_TOP, "", d->config);
    if (d->config->root)
        decode_section(d, SECTION_TOP, d->config->root, "", d->config);
}
