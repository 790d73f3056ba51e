// manifest.yaml. An accept-list: a key nobody reads would promise something nobody keeps. Keys that existing
// plugins carry and that need nothing of the gateway (schemas, values, stopwatch) are known and kept as they
// are.
#include "manifest.h"
#include "str.h"
#include <stdio.h>
#include <string.h>

struct reading {
    struct manifest *m;
    struct diags *diags;
};

static const char *const top_keys[] = {
    "manifest_spec",    "manifest_version", "name",     "version",      "protocol",    "entrypoint",
    "description",      "concurrency_safe", "commands", "fact_outputs", "config_keys", "stopwatch",
    "requires_secrets",
};
static const char *const command_keys[] = {"name",       "type",         "description",   "idempotent",
                                           "retry_safe", "input_schema", "output_schema", "values"};

static void check_keys(struct reading *r, const struct ynode *map, const char *path, const char *const *known,
                       size_t n)
{
    for (size_t i = 0; map->kind == YNODE_MAP && i < map->n; i++) {
        size_t j = 0;
        while (j < n && !str_eq(known[j], map->pairs[i].key))
            j++;
        if (j == n)
            diag_add(r->diags, map->pairs[i].pos, path, "unknown key \"%s\"", map->pairs[i].key);
    }
}

// Text under key; numbers are taken as they are written (version: 1.0). NULL, with an error, where required.
static const char *text(struct reading *r, const struct ynode *map, const char *key, bool required)
{
    const struct ynode *node = ynode_get(map, key);

    if (node && node->kind == YNODE_SCALAR && node->text[0])
        return node->text;
    if (node || required)
        diag_add(r->diags, node ? node->pos : map->pos, key, "expected text");
    return NULL;
}

static bool flag(struct reading *r, const struct ynode *map, const char *key, bool otherwise)
{
    const struct ynode *node = ynode_get(map, key);

    if (!node)
        return otherwise;
    if (node->kind != YNODE_SCALAR || ynode_scalar(node) != YSCALAR_BOOL) {
        diag_add(r->diags, node->pos, key, "expected true or false");
        return otherwise;
    }
    return node->text[0] == 't' || node->text[0] == 'T';
}

static void names(struct reading *r, const struct ynode *map, const char *key, struct strs *ret)
{
    const struct ynode *node = ynode_get(map, key);

    if (!node || (node->kind == YNODE_SCALAR && ynode_scalar(node) == YSCALAR_NULL))
        return;
    if (node->kind != YNODE_LIST) {
        diag_add(r->diags, node->pos, key, "expected a list of names");
        return;
    }
    ret->list = calloc(MAX(node->n, (size_t)1), sizeof(*ret->list));
    for (size_t i = 0; ret->list && i < node->n; i++)
        if (node->items[i]->kind == YNODE_SCALAR)
            ret->list[ret->n++] = node->items[i]->text;
        else
            diag_add(r->diags, node->items[i]->pos, key, "expected a name");
}

static void read_command(struct reading *r, const struct ynode *node, struct manifest_command *ret)
{
    if (node->kind != YNODE_MAP) {
        diag_add(r->diags, node->pos, "commands", "expected a map with name and type");
        return;
    }
    check_keys(r, node, "commands", command_keys, ARRAY_LEN(command_keys));
    ret->name = text(r, node, "name", true);
    ret->description = text(r, node, "description", false);
    const char *type = text(r, node, "type", false);
    ret->type = type && str_eq(type, "read") ? COMMAND_READ : COMMAND_WRITE;
    if (type && !str_eq(type, "read") && !str_eq(type, "write"))
        diag_add(r->diags, node->pos, "commands", "type is read or write, not \"%s\"", type);
    if (ret->name && !str_is_plugin(ret->name))
        diag_add(r->diags, node->pos, "commands", "\"%s\" is not a command's name", ret->name);
}

static void read_commands(struct reading *r, const struct ynode *root)
{
    const struct ynode *list = ynode_get(root, "commands");

    if (!list || list->kind != YNODE_LIST || list->n == 0) {
        diag_add(r->diags, list ? list->pos : root->pos, "commands",
                 "expected a list with at least one command");
        return;
    }
    r->m->commands = calloc(list->n, sizeof(*r->m->commands));
    for (size_t i = 0; r->m->commands && i < list->n; i++) {
        struct manifest_command *c = &r->m->commands[i];
        read_command(r, list->items[i], c);
        for (size_t j = 0; c->name && j < i; j++)
            if (r->m->commands[j].name && str_eq(r->m->commands[j].name, c->name))
                diag_add(r->diags, list->items[i]->pos, "commands", "\"%s\" appears twice", c->name);
        r->m->n_commands++;
    }
}

static bool is_entrypoint(const char *s)
{
    char absolute[LIMIT_PATH];

    snprintf(absolute, sizeof(absolute), "/%s", s);
    return s[0] != '/' && str_is_abspath(absolute) && strlen(s) + 1 < LIMIT_PATH;
}

static void expect(struct reading *r, const struct ynode *root, const char *key, const char *want)
{
    const char *s = text(r, root, key, true);

    if (s && !str_eq(s, want))
        diag_add(r->diags, ynode_get(root, key)->pos, key, "expected %s, not \"%.60s\"", want, s);
}

static void read_manifest(struct reading *r, const struct ynode *root)
{
    struct manifest *m = r->m;

    check_keys(r, root, "", top_keys, ARRAY_LEN(top_keys));
    expect(r, root, "manifest_spec", "ductile.plugin");
    expect(r, root, "manifest_version", "1");
    expect(r, root, "protocol", "2");
    m->name = text(r, root, "name", true);
    if (m->name && !str_is_plugin(m->name))
        diag_add(r->diags, ynode_get(root, "name")->pos, "name", "\"%.60s\" is not a plugin's name", m->name);
    m->version = text(r, root, "version", true);
    m->description = text(r, root, "description", false);
    m->entrypoint = text(r, root, "entrypoint", true);
    if (m->entrypoint && !is_entrypoint(m->entrypoint))
        diag_add(r->diags, ynode_get(root, "entrypoint")->pos, "entrypoint",
                 "expected a relative path without \"..\"");
    m->concurrency_safe = flag(r, root, "concurrency_safe", true);
    read_commands(r, root);
    names(r, root, "requires_secrets", &m->requires_secrets);
    for (size_t i = 0; i < m->requires_secrets.n; i++)
        if (!str_is_secret(m->requires_secrets.list[i]))
            diag_add(r->diags, ynode_get(root, "requires_secrets")->pos, "requires_secrets",
                     "\"%.60s\" is not a secret's name", m->requires_secrets.list[i]);
    const struct ynode *keys = ynode_get(root, "config_keys");
    if (keys) {
        static const char *const known[] = {"required", "optional"};
        if (keys->kind != YNODE_MAP)
            diag_add(r->diags, keys->pos, "config_keys", "expected a map with required and optional");
        check_keys(r, keys, "config_keys", known, ARRAY_LEN(known));
        names(r, keys, "required", &m->config_required);
        names(r, keys, "optional", &m->config_optional);
    }
}

int manifest_parse(const char *file, const char *bytes, size_t len, struct manifest *ret,
                   struct refusal *refusal)
{
    OWNED(diags_free) struct diags diags = {0};
    struct manifest m = {0};
    struct reading r = {&m, &diags};

    if (len > LIMIT_CONFIG_FILE)
        diag_add(&diags, (struct ypos){file, 1, 1}, "", "larger than 1 MiB");
    else if (yaml_parse(file, bytes, len, &diags, &m.root) == 0) {
        if (m.root && m.root->kind == YNODE_MAP)
            read_manifest(&r, m.root);
        else
            diag_add(&diags, (struct ypos){file, 1, 1}, "", "expected a map");
    }
    if (diags.n == 0 && !diags.failed) {
        *ret = m;
        return 0;
    }
    OWNED(freep) char *list = diags_text(&diags);
    refuse(refusal, REFUSE_PLUGIN_BAD, "the manifest %s", file);
    refuse_why(refusal, "%s", list ? list : "out of memory");
    refuse_remedy(refusal, "mend it; share/plugins/_template has one that works");
    manifest_free(&m);
    return -ECANCELED;
}

void manifest_free(struct manifest *m)
{
    free(m->commands);
    free(m->requires_secrets.list);
    free(m->config_required.list);
    free(m->config_optional.list);
    ynode_free(m->root);
    *m = (struct manifest){0};
}

const struct manifest_command *manifest_command(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n_commands; i++)
        if (str_eq(m->commands[i].name, name))
            return &m->commands[i];
    return NULL;
}
