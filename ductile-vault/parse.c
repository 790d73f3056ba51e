// What `import` reads: JSON, dotenv, or the first line of `pass show`. All of it in the arena; nothing here
// prints a value, nor a line of the text.
#include "str.h"
#include "vault_cli.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

void pairs_free(struct pairs *p)
{
    for (size_t i = 0; i < p->n; i++)
        secret_wipe(&p->list[i].value);
    free(p->list);
    *p = (struct pairs){0};
}

static int bad(char why[static 160], size_t line, const char *what)
{
    if (line > 0)
        snprintf(why, 160, "line %zu: %s", line, what);
    else
        snprintf(why, 160, "%s", what);
    return -EINVAL;
}

// GITHUB_TOKEN is github_token here.
static int add_pair(struct pairs *to, const char *name, size_t name_len, const void *value, size_t len,
                    char why[static 160], size_t line)
{
    struct pair *list = reallocarray(to->list, to->n + 1, sizeof(*list));

    if (!list)
        return -ENOMEM;
    to->list = list;
    struct pair *p = &list[to->n];
    *p = (struct pair){0};
    if (name_len >= sizeof(p->name))
        return bad(why, line, "a name is longer than 63 bytes");
    for (size_t i = 0; i < name_len; i++)
        p->name[i] = (char)tolower((unsigned char)name[i]);
    if (!str_is_secret(p->name))
        return bad(why, line, "a name is letters and digits, with _ and - inside");
    for (size_t i = 0; i < to->n; i++)
        if (str_eq(list[i].name, p->name))
            return bad(why, line, "a name stands twice");
    if (len == 0 || len > LIMIT_SECRET_VALUE)
        return bad(why, line, len ? "a value is longer than 32 KiB" : "a value is empty");
    if (memchr(value, '\0', len) || !str_is_utf8(value, len))
        return bad(why, line, "a value is not UTF-8 text");
    int r = secret_copy(value, len, &p->value);
    to->n += r == 0;
    return r;
}

// ---- JSON ---------------------------------------------------------------------------------------

static int parse_json(const struct secret *text, struct pairs *to, char why[static 160])
{
    const char *name;
    json_t *o;
    int r = 0;

    json_set_alloc_funcs(secret_alloc, secret_free); // no copy of a value is anywhere but in the arena
    json_t *root =
        json_loadb((const char *)text->data, text->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (!json_is_object(root))
        r = bad(why, 0, "it is not one JSON object");
    json_object_foreach(root, name, o)
    {
        if (r == 0 && !json_is_string(o))
            r = bad(why, 0, "a member is not a string: only {\"name\": \"value\", ...} is read");
        if (r == 0)
            r = add_pair(to, name, strlen(name), json_string_value(o), json_string_length(o), why, 0);
    }
    json_decref(root);
    json_set_alloc_funcs(malloc, free);
    return r;
}

// ---- dotenv -------------------------------------------------------------------------------------

// "..." with \n \r \t \" \\ \$ and line ends inside, in place; *p stands behind the opening quote, then
// behind the closing one. How long the value is.
static int unquote(uint8_t **p, const uint8_t *end, char quote, size_t *ret_len)
{
    uint8_t *out = *p, *in = *p;

    for (; in < end && *in != (uint8_t)quote; in++) {
        if (quote == '"' && *in == '\\' && in + 1 < end) {
            in++;
            *out++ = *in == 'n' ? '\n' : *in == 'r' ? '\r' : *in == 't' ? '\t' : *in;
        } else
            *out++ = *in;
    }
    if (in == end)
        return -EINVAL;
    *ret_len = (size_t)(out - *p);
    *p = in + 1;
    return 0;
}

static uint8_t *skip_blanks(uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

// An unquoted value ends with the line, or before " #".
static size_t bare_len(const uint8_t *p, const uint8_t *end)
{
    size_t n = 0;

    while (p + n < end && p[n] != '\n' && !(n > 0 && p[n] == '#' && (p[n - 1] == ' ' || p[n - 1] == '\t')))
        n++;
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\r'))
        n--;
    return n;
}

// One NAME=VALUE at *p; *p then stands at the end of its line.
static int parse_assignment(uint8_t **p, const uint8_t *end, struct pairs *to, size_t line,
                            char why[static 160])
{
    uint8_t *name = *p;

    if (end - name > 7 && memcmp(name, "export ", 7) == 0)
        name = skip_blanks(name + 7, end);
    uint8_t *equals = name;
    while (equals < end && *equals != '=' && *equals != '\n')
        equals++;
    if (equals == end || *equals != '=')
        return bad(why, line, "it is not NAME=VALUE");
    size_t name_len = (size_t)(equals - name), len = 0;
    while (name_len > 0 && name[name_len - 1] == ' ')
        name_len--;
    uint8_t *value = skip_blanks(equals + 1, end), *rest = value;
    if (value < end && (*value == '"' || *value == '\'')) {
        rest = ++value;
        if (unquote(&rest, end, (char)value[-1], &len) < 0)
            return bad(why, line, "a quote is not closed");
        rest = skip_blanks(rest, end);
        if (rest < end && *rest != '\n' && *rest != '#')
            return bad(why, line, "something stands behind the closing quote");
    } else
        len = bare_len(value, end);
    int r = add_pair(to, (const char *)name, name_len, value, len, why, line);
    while (rest < end && *rest != '\n')
        rest++;
    *p = rest;
    return r;
}

static int parse_dotenv(struct secret *text, struct pairs *to, char why[static 160])
{
    uint8_t *p = text->data, *counted = p;
    const uint8_t *end = text->data + text->len;
    size_t line = 1;
    int r = 0;

    while (r == 0 && (p = skip_blanks(p, end)) < end) {
        for (; counted < p; counted++)
            line += *counted == '\n';
        if (*p == '\n')
            p++;
        else if (*p == '#')
            while (p < end && *p != '\n')
                p++;
        else
            r = parse_assignment(&p, end, to, line, why);
    }
    return r;
}

int pairs_parse(struct secret *text, const char *format, const char *name, struct pairs *ret,
                char why[static 160])
{
    struct pairs p = {0};
    const uint8_t *first = skip_blanks(text->data, text->data + text->len);
    int r;

    snprintf(why, 160, "not enough memory");
    while (first < text->data + text->len && *first == '\n')
        first++;
    if (str_eq(format, "pass")) {
        const uint8_t *line_end = memchr(text->data, '\n', text->len);
        r = add_pair(&p, name, strlen(name), text->data,
                     line_end ? (size_t)(line_end - text->data) : text->len, why, 1);
    } else if (str_eq(format, "json") ||
               (str_eq(format, "") && first < text->data + text->len && *first == '{'))
        r = parse_json(text, &p, why);
    else
        r = parse_dotenv(text, &p, why);
    if (r == 0 && p.n == 0)
        r = bad(why, 0, "nothing is in it");
    if (r < 0) {
        pairs_free(&p);
        return r;
    }
    *ret = p;
    return 0;
}
