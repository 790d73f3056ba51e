// YAML to nodes, on libyaml's events. libyaml reads the syntax; what it would let pass and we do not want
// (aliases, tags, second documents, duplicate keys) is refused here, with its position.
#include "ynode.h"
#include "limits.h"
#include "str.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

void diag_add(struct diags *diags, struct ypos pos, const char *path, const char *format, ...)
{
    char text[1024];
    va_list ap;
    struct diag *list = realloc(diags->list, (diags->n + 1) * sizeof(*list));

    if (!list) {
        diags->failed = true;
        return;
    }
    diags->list = list;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    list[diags->n] = (struct diag){pos, strdup(path), strdup(text)};
    if (list[diags->n].path && list[diags->n].text)
        diags->n++;
    else {
        free(list[diags->n].path);
        free(list[diags->n].text);
        diags->failed = true;
    }
}

static int by_position(const void *a, const void *b)
{
    const struct diag *x = a, *y = b;
    int files = strcmp(x->pos.file, y->pos.file);

    if (files != 0)
        return files;
    if (x->pos.line != y->pos.line)
        return x->pos.line < y->pos.line ? -1 : 1;
    if (x->pos.column != y->pos.column)
        return x->pos.column < y->pos.column ? -1 : 1;
    return strcmp(x->text, y->text);
}

char *diags_text(struct diags *diags)
{
    struct strbuf sb = {0};

    if (diags->n > 0)
        qsort(diags->list, diags->n, sizeof(*diags->list), by_position);
    for (size_t i = 0; i < diags->n; i++) {
        const struct diag *d = &diags->list[i];
        sb_addf(&sb, "%s%s:%u:%u: %s%s%s", i ? "\n" : "", d->pos.file, d->pos.line, d->pos.column, d->path,
                d->path[0] ? ": " : "", d->text);
    }
    if (diags->failed)
        sb_adds(&sb, "\nout of memory while noting errors");
    return sb_finish(&sb);
}

void diags_free(struct diags *diags)
{
    for (size_t i = 0; i < diags->n; i++) {
        free(diags->list[i].path);
        free(diags->list[i].text);
    }
    free(diags->list);
    *diags = (struct diags){0};
}

void ynode_free(struct ynode *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->n; i++) {
        if (node->kind == YNODE_MAP) {
            free(node->pairs[i].key);
            ynode_free(node->pairs[i].value);
        } else
            ynode_free(node->items[i]);
    }
    free(node->pairs);
    free(node->items);
    free(node->text);
    free(node);
}

struct parse {
    yaml_parser_t yaml;
    const char *file;
    struct diags *diags;
};

static struct ypos pos_of(const struct parse *p, yaml_mark_t mark)
{
    return (struct ypos){p->file, (unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static int fail(struct parse *p, yaml_mark_t mark, const char *text)
{
    diag_add(p->diags, pos_of(p, mark), "", "%s", text);
    return -EINVAL;
}

static int next_event(struct parse *p, yaml_event_t *ret)
{
    if (yaml_parser_parse(&p->yaml, ret))
        return 0;
    const char *problem = p->yaml.problem ? p->yaml.problem : "it cannot be read";
    return fail(p, p->yaml.error == YAML_READER_ERROR ? p->yaml.mark : p->yaml.problem_mark, problem);
}

static bool core_tag(const yaml_char_t *tag)
{
    static const char *const core[] = {"str", "null", "bool", "int", "float", "seq", "map"};
    const char *s = (const char *)tag;

    if (!tag)
        return true;
    if (!str_starts(s, "tag:yaml.org,2002:"))
        return str_eq(s, "!");
    for (size_t i = 0; i < ARRAY_LEN(core); i++)
        if (str_eq(s + strlen("tag:yaml.org,2002:"), core[i]))
            return true;
    return false;
}

static int parse_node(struct parse *p, yaml_event_t *event, unsigned depth, struct ynode **ret);

static int parse_scalar(struct parse *p, const yaml_event_t *event, struct ynode *node)
{
    if (memchr(event->data.scalar.value, '\0', event->data.scalar.length))
        return fail(p, event->start_mark, "a NUL byte in a value");
    node->text = strdup((const char *)event->data.scalar.value);
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return node->text ? 0 : -ENOMEM;
}

static int grow(struct ynode *node)
{
    size_t size = node->kind == YNODE_MAP ? sizeof(*node->pairs) : sizeof(*node->items);
    void *list = node->kind == YNODE_MAP ? (void *)node->pairs : (void *)node->items;

    if ((node->n & (node->n - 1)) != 0) // grown at each power of two
        return 0;
    void *more = reallocarray(list, MAX((size_t)1, node->n * 2), size);
    if (!more)
        return -ENOMEM;
    if (node->kind == YNODE_MAP)
        node->pairs = more;
    else
        node->items = more;
    return 0;
}

static int parse_list(struct parse *p, struct ynode *node, unsigned depth)
{
    for (;;) {
        yaml_event_t event;
        int r = next_event(p, &event);
        if (r < 0)
            return r;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return 0;
        }
        struct ynode *item = NULL;
        r = parse_node(p, &event, depth + 1, &item);
        if (r == 0)
            r = grow(node);
        if (r < 0) {
            ynode_free(item);
            return r;
        }
        node->items[node->n++] = item;
    }
}

static int parse_pair(struct parse *p, const yaml_event_t *key, struct ynode *node, unsigned depth)
{
    yaml_event_t event;
    char path[LIMIT_PATH];

    if (key->type != YAML_SCALAR_EVENT)
        return fail(p, key->start_mark, "a key must be a plain word");
    const char *name = (const char *)key->data.scalar.value;
    if (strlen(name) != key->data.scalar.length)
        return fail(p, key->start_mark, "a NUL byte in a key");
    if (key->data.scalar.anchor || !core_tag(key->data.scalar.tag))
        return fail(p, key->start_mark, "anchors, aliases and tags are not accepted");
    if (ynode_get(node, name)) {
        snprintf(path, sizeof(path), "the key \"%.200s\" appears twice", name);
        return fail(p, key->start_mark, path);
    }
    int r = next_event(p, &event);
    if (r < 0)
        return r;
    struct ypair pair = {.key = strdup(name), .pos = pos_of(p, key->start_mark)};
    r = pair.key ? 0 : -ENOMEM;
    if (r < 0)
        yaml_event_delete(&event);
    else
        r = parse_node(p, &event, depth + 1, &pair.value);
    if (r == 0)
        r = grow(node);
    if (r < 0) {
        free(pair.key);
        ynode_free(pair.value);
        return r;
    }
    node->pairs[node->n++] = pair; // NOLINT(clang-analyzer-core.NullDereference): grow() made room
    return 0;
}

static int parse_map(struct parse *p, struct ynode *node, unsigned depth)
{
    for (;;) {
        yaml_event_t event;
        int r = next_event(p, &event);
        if (r < 0)
            return r;
        bool end = event.type == YAML_MAPPING_END_EVENT;
        r = end ? 0 : parse_pair(p, &event, node, depth);
        yaml_event_delete(&event);
        if (r < 0 || end)
            return r;
    }
}

// Consumes the event.
static int parse_node(struct parse *p, yaml_event_t *event, unsigned depth, struct ynode **ret)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    OWNED(ynode_freep) struct ynode *node = calloc(1, sizeof(*node));
    int r = node ? 0 : -ENOMEM;

    if (r == 0 && depth > LIMIT_CONFIG_DEPTH)
        r = fail(p, event->start_mark, "nested too deeply (32 levels are the limit)");
    if (r == 0)
        node->pos = pos_of(p, event->start_mark);
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (r == 0 && (event->type == YAML_ALIAS_EVENT || anchor || !core_tag(tag)))
        r = fail(p, event->start_mark, "anchors, aliases and tags are not accepted");
    yaml_event_type_t type = event->type;
    if (r == 0 && type == YAML_SCALAR_EVENT)
        r = parse_scalar(p, event, node);
    yaml_event_delete(event);
    if (r == 0 && type == YAML_SEQUENCE_START_EVENT) {
        node->kind = YNODE_LIST;
        r = parse_list(p, node, depth);
    } else if (r == 0 && type == YAML_MAPPING_START_EVENT) {
        node->kind = YNODE_MAP;
        r = parse_map(p, node, depth);
    }
    if (r < 0)
        return r;
    *ret = ptr_take(&node);
    return 0;
}

static int parse_stream(struct parse *p, struct ynode **ret)
{
    yaml_event_t event;
    OWNED(ynode_freep) struct ynode *root = NULL;

    for (bool seen = false;;) {
        int r = next_event(p, &event);
        if (r < 0)
            return r;
        switch ((int)event.type) {
        case YAML_STREAM_END_EVENT:
            yaml_event_delete(&event);
            *ret = ptr_take(&root);
            return 0;
        case YAML_DOCUMENT_START_EVENT:
            r = seen ? fail(p, event.start_mark, "a second document in one file") : 0;
            seen = true;
            yaml_event_delete(&event);
            break;
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT: yaml_event_delete(&event); break;
        default: r = parse_node(p, &event, 0, &root); break;
        }
        if (r < 0)
            return r;
    }
}

// ---- comments -----------------------------------------------------------------------------------

// Of the file that ductile-install writes they are most, and libyaml takes far longer for each byte of them
// than this does. A line that begins with # is one where no scalar may hold it: where nothing is quoted, and
// no block begun. Its # stays, as it ends a plain scalar, and so does its place among the lines.

static size_t line_end(const char *text, size_t len, size_t at)
{
    const char *newline = memchr(text + at, '\n', len - at);

    return newline ? (size_t)(newline - text) : len;
}

// Behind the # where the line from `at` to `end` is a comment of printable ASCII, which says nothing to
// anybody; 0.
static size_t comment_text(const char *text, size_t at, size_t end)
{
    while (at < end && (text[at] == ' ' || text[at] == '\t'))
        at++;
    if (at == end || text[at] != '#')
        return 0;
    const size_t behind = ++at;
    while (at < end && text[at] >= ' ' && text[at] <= '~')
        at++;
    return at == end ? behind : 0;
}

// The text without what its comments say; NULL: as it is.
static char *without_comments(const char *text, size_t len, size_t *ret_len)
{
    OWNED(freep) char *out = malloc(len + 1);
    size_t n = 0;

    for (size_t at = 0, end; out && at < len; at = end) {
        end = line_end(text, len, at);
        size_t behind = comment_text(text, at, end), keep = (behind ? behind : end) - at;
        for (size_t i = 0; !behind && i < keep; i++)
            if (strchr("'\"|>", text[at + i])) // or NUL
                return NULL;
        memcpy(out + n, text + at, keep);
        n += keep;
        if (end < len)
            out[n++] = text[end++];
    }
    *ret_len = n;
    return ptr_take(&out);
}

int yaml_parse(const char *file, const char *text, size_t len, struct diags *diags, struct ynode **ret)
{
    struct parse p = {.file = file, .diags = diags};

    if (!yaml_parser_initialize(&p.yaml))
        return -ENOMEM;
    OWNED(freep) char *bare = without_comments(text, len, &len);
    yaml_parser_set_input_string(&p.yaml, (const unsigned char *)(bare ? bare : text), len);
    int r = parse_stream(&p, ret);
    yaml_parser_delete(&p.yaml);
    return r;
}

const struct ynode *ynode_get(const struct ynode *map, const char *key)
{
    for (size_t i = 0; map && map->kind == YNODE_MAP && i < map->n; i++)
        if (str_eq(map->pairs[i].key, key))
            return map->pairs[i].value;
    return NULL;
}

const char *ynode_get_text(const struct ynode *map, const char *key)
{
    const struct ynode *node = ynode_get(map, key);

    return node && node->kind == YNODE_SCALAR ? node->text : NULL;
}

static bool matches_number(const char *s, bool *ret_float)
{
    bool digits = false;

    *ret_float = false;
    if (*s == '-' || *s == '+')
        s++;
    for (; *s; s++) {
        if (*s >= '0' && *s <= '9')
            digits = true;
        else if (*s == '.' && !*ret_float)
            *ret_float = true;
        else if ((*s == 'e' || *s == 'E') && digits) {
            *ret_float = true;
            s++;
            if (*s == '-' || *s == '+')
                s++;
            return *s && s[strspn(s, "0123456789")] == '\0';
        } else
            return false;
    }
    return digits;
}

enum yscalar ynode_scalar(const struct ynode *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE"};
    bool is_float;

    if (!node->plain)
        return YSCALAR_STRING;
    for (size_t i = 0; i < ARRAY_LEN(nulls); i++)
        if (str_eq(node->text, nulls[i]))
            return YSCALAR_NULL;
    for (size_t i = 0; i < ARRAY_LEN(bools); i++)
        if (str_eq(node->text, bools[i]))
            return YSCALAR_BOOL;
    if (matches_number(node->text, &is_float))
        return is_float ? YSCALAR_FLOAT : YSCALAR_INT;
    return YSCALAR_STRING;
}

static int merge_map(struct ynode *into, struct ynode *from, const char *path, struct diags *diags)
{
    int result = 0;

    for (size_t i = 0; i < from->n; i++) {
        struct ypair *pair = &from->pairs[i];
        char below[LIMIT_PATH];
        size_t j = 0;

        snprintf(below, sizeof(below), "%s%s%s", path, path[0] ? "." : "", pair->key);
        while (j < into->n && !str_eq(into->pairs[j].key, pair->key))
            j++;
        int r = 0;
        if (j < into->n) {
            r = ynode_merge(&into->pairs[j].value, ptr_take(&pair->value), below, diags);
        } else {
            r = grow(into);
            if (r == 0) {
                into->pairs[into->n++] = (struct ypair){ptr_take(&pair->key), pair->pos, pair->value};
                pair->value = NULL;
            }
        }
        if (r < 0)
            result = r;
    }
    return result;
}

static bool is_null(const struct ynode *node)
{
    return node->kind == YNODE_SCALAR && ynode_scalar(node) == YSCALAR_NULL;
}

int ynode_merge(struct ynode **into, struct ynode *from, const char *path, struct diags *diags)
{
    OWNED(ynode_freep) struct ynode *consumed = from;

    if (!from)
        return 0;
    if (is_null(from) && *into && !is_null(*into))
        return 0; // `plugins:` with nothing below it adds nothing
    if (!*into || is_null(*into) || ((*into)->kind == YNODE_SCALAR && from->kind == YNODE_SCALAR)) {
        ynode_free(*into);
        *into = ptr_take(&consumed);
        return 0;
    }
    if ((*into)->kind != from->kind) {
        diag_add(diags, from->pos, path, "is of another kind than at %s:%u", (*into)->pos.file,
                 (*into)->pos.line);
        return -EINVAL;
    }
    if (from->kind == YNODE_MAP)
        return merge_map(*into, from, path, diags);
    for (size_t i = 0; i < from->n; i++) {
        int r = grow(*into);
        if (r < 0)
            return r;
        (*into)->items[(*into)->n++] = ptr_take(&from->items[i]);
    }
    return 0;
}
