// polkit's rules, read and not run. Understood is a rule of if, else, return and polkit.log, whose conditions
// compare what is said of the action and of the subject with words; an action may be any, the subject is the
// account, without a session. What is more than that cannot be judged. Of an account, polkit sees the uid
// (and looks its groups up by itself): neither the emptied group list nor no_new_privs stands in the way, so
// what it grants is open to a plugin.
#include "rootdoors.h"
#include "str.h"
#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static const char open_by_uid[] = "exists: yes; open to a plugin: yes (asked over D-Bus, by uid)";

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$';
}

// Comments become blanks, in place; strings stay.
static void blank_comments(char *text)
{
    char quote = 0;

    for (char *p = text; *p; p++) {
        if (quote) {
            if (*p == '\\' && p[1])
                p++;
            else if (*p == quote)
                quote = 0;
        } else if (*p == '"' || *p == '\'' || *p == '`')
            quote = *p;
        else if (*p == '\\' && p[1]) // of a regular expression: its slash begins nothing
            p++;
        else if (p[0] == '/' && (p[1] == '/' || p[1] == '*')) {
            const char *end = p[1] == '/' ? strchr(p, '\n') : strstr(p + 2, "*/");
            size_t len = end ? (size_t)(end - p) + (p[1] == '*' ? 2 : 0) : strlen(p);
            memset(p, ' ', len);
            p += len - 1;
        }
    }
}

// What follows the bracket that closes the one at p, strings skipped. NULL where none does.
static char *after_bracket(char *p)
{
    char quote = 0;
    int depth = 0;

    for (; *p; p++) {
        if (quote) {
            if (*p == '\\' && p[1])
                p++;
            else if (*p == quote)
                quote = 0;
        } else if (*p == '"' || *p == '\'' || *p == '`')
            quote = *p;
        else if (*p == '(' || *p == '{' || *p == '[')
            depth++;
        else if ((*p == ')' || *p == '}' || *p == ']') && --depth == 0)
            return p + 1;
    }
    return NULL;
}

static const char *blanks(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

// The next whole word w at or after p, outside of strings where it is not asked for a quoted one.
static const char *find_word(const char *p, const char *w)
{
    size_t len = strlen(w);

    for (const char *q = p; (q = strstr(q, w)); q += len)
        if ((q == p || !is_word(q[-1])) && !is_word(q[len]))
            return q;
    return NULL;
}

// ---- conditions -----------------------------------------------------------------------------------

enum kind { KIND_BOOL, KIND_WORD, KIND_NULL, KIND_ANY };

struct value {
    enum kind kind;
    bool can_be, can_not; // true, false
    char word[128];
};

struct rule {
    char action[32], subject[32]; // the names of its parameters
    const struct door_subject *who;
    const char *p;   // where it is read
    const char *end; // of the text
    unsigned depth;
    bool asks;        // something of the subject decides
    bool grants, odd; // it says YES to the account; it is more than we understand
};

enum { DEPTH_MAX = 40 };

static struct value truth(bool can_be, bool can_not)
{
    return (struct value){.kind = KIND_BOOL, .can_be = can_be, .can_not = can_not};
}

static struct value word_of(const char *text)
{
    struct value v = {.kind = KIND_WORD, .can_be = text[0] != '\0', .can_not = text[0] == '\0'};

    snprintf(v.word, sizeof(v.word), "%s", text);
    return v;
}

static struct value odd(struct rule *r)
{
    r->odd = true;
    return truth(true, true);
}

static bool take(struct rule *r, const char *token)
{
    r->p = blanks(r->p);
    if (!str_starts(r->p, token) || (is_word(token[0]) && is_word(r->p[strlen(token)])))
        return false;
    r->p += strlen(token);
    return true;
}

// A quoted word without escapes.
static bool take_quoted(struct rule *r, char buf[static 128])
{
    r->p = blanks(r->p);
    size_t len = *r->p == '"' || *r->p == '\'' ? strcspn(r->p + 1, "\"'\\\n") : 128;

    if (len >= 128 || r->p[len + 1] != *r->p)
        return false;
    snprintf(buf, 128, "%.*s", (int)len, r->p + 1);
    r->p += len + 2;
    return true;
}

static bool has_group(const struct door_subject *s, const char *name)
{
    for (size_t i = 0; i < s->n_groups; i++)
        if (str_eq(s->groups[i], name))
            return true;
    return false;
}

static struct value read_subject(struct rule *r)
{
    char word[128];

    r->asks = true;
    if (!take(r, "."))
        return odd(r);
    if (take(r, "user"))
        return word_of(r->who->user);
    if (take(r, "active") || take(r, "local"))
        return truth(false, true);
    if (take(r, "session") || take(r, "seat"))
        return (struct value){.kind = KIND_NULL, .can_not = true};
    if (take(r, "isInGroup") && take(r, "(") && take_quoted(r, word) && take(r, ")")) {
        bool in = has_group(r->who, word);
        return truth(in, !in);
    }
    return odd(r);
}

// action, then .word or (...) as often as there are: whatever that is, some action has it and another has
// not.
static struct value read_action(struct rule *r)
{
    while (take(r, ".") || *blanks(r->p) == '(') {
        r->p = blanks(r->p);
        char *behind = *r->p == '(' ? after_bracket((char *)r->p) : NULL;
        const char *start = r->p;
        if (*r->p == '(' && (!behind || behind > r->end))
            return odd(r);
        if (behind)
            r->p = behind;
        while (!behind && is_word(*r->p))
            r->p++;
        if (r->p == start)
            return odd(r);
        const char *within = behind ? find_word(start, r->subject) : NULL;
        if (within && within < behind)
            return odd(r); // a question within the question
    }
    return (struct value){.kind = KIND_ANY, .can_be = true, .can_not = true};
}

static struct value read_or(struct rule *r);

static struct value read_primary(struct rule *r)
{
    struct value v = {.kind = KIND_WORD};

    if (r->odd || r->depth > DEPTH_MAX)
        return odd(r);
    if (take(r, "!")) {
        r->depth++;
        v = read_primary(r);
        r->depth--;
        return truth(v.can_not, v.can_be);
    }
    if (take(r, "(")) {
        r->depth++;
        v = read_or(r);
        r->depth--;
        return take(r, ")") ? v : odd(r);
    }
    if (take(r, "true"))
        return truth(true, false);
    if (take(r, "false"))
        return truth(false, true);
    if (take(r, "null") || take(r, "undefined"))
        return (struct value){.kind = KIND_NULL, .can_not = true};
    if (take(r, r->subject))
        return read_subject(r);
    if (take(r, r->action))
        return read_action(r);
    if (take_quoted(r, v.word))
        return word_of(v.word);
    size_t digits = strspn(blanks(r->p), "-0123456789");
    r->p = blanks(r->p) + digits;
    return digits ? (struct value){.kind = KIND_ANY, .can_be = true, .can_not = true} : odd(r);
}

static struct value equal(struct rule *r, const struct value *a, const struct value *b)
{
    if (a->kind == KIND_ANY || b->kind == KIND_ANY)
        return truth(true, true);
    if (a->kind == KIND_WORD && b->kind == KIND_WORD) {
        bool same = str_eq(a->word, b->word);
        return truth(same, !same);
    }
    if (a->kind == KIND_BOOL && b->kind == KIND_BOOL)
        return truth((a->can_be && b->can_be) || (a->can_not && b->can_not),
                     (a->can_be && b->can_not) || (a->can_not && b->can_be));
    if (a->kind == KIND_NULL && b->kind == KIND_NULL)
        return truth(true, true); // null or undefined
    if ((a->kind == KIND_NULL && b->kind == KIND_WORD && b->word[0]) ||
        (b->kind == KIND_NULL && a->kind == KIND_WORD && a->word[0]))
        return truth(false, true);
    return odd(r);
}

static struct value read_comparison(struct rule *r)
{
    struct value a = read_primary(r), b, v;

    for (;;) {
        bool same = take(r, "===") || take(r, "=="), other = !same && (take(r, "!==") || take(r, "!="));
        bool order = !same && !other && (take(r, "<=") || take(r, ">=") || take(r, "<") || take(r, ">"));
        if (!same && !other && !order)
            return a;
        b = read_primary(r);
        if (order && a.kind != KIND_ANY && b.kind != KIND_ANY)
            return odd(r);
        v = equal(r, &a, &b);
        a = other ? truth(v.can_not, v.can_be) : v;
    }
}

static struct value read_and(struct rule *r)
{
    struct value a = read_comparison(r);

    while (!r->odd && take(r, "&&")) {
        struct value b = read_comparison(r);
        a = truth(a.can_be && b.can_be, a.can_not || b.can_not);
    }
    return a;
}

static struct value read_or(struct rule *r)
{
    struct value a = read_and(r);

    while (!r->odd && take(r, "||")) {
        struct value b = read_and(r);
        a = truth(a.can_be || b.can_be, a.can_not && b.can_not);
    }
    return a;
}

// ---- rules ----------------------------------------------------------------------------------------

// What a return says that grants nothing. True where it was that.
static bool take_refusal(struct rule *r)
{
    static const char *const words[] = {"NO",         "AUTH_SELF",       "AUTH_SELF_KEEP",
                                        "AUTH_ADMIN", "AUTH_ADMIN_KEEP", "NOT_HANDLED"};
    const char *before = r->p;
    char word[128];

    if (take(r, "null") || take(r, "undefined") || *blanks(r->p) == ';' || *blanks(r->p) == '}')
        return true;
    if (take_quoted(r, word) && !str_eq(word, "yes"))
        return true;
    r->p = before;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        r->p = before;
        if (take(r, "polkit") && take(r, ".") && take(r, "Result") && take(r, ".") && take(r, words[i]))
            return true;
    }
    r->p = before;
    return false;
}

static bool take_yes(struct rule *r)
{
    char word[128];

    if (take(r, "polkit"))
        return take(r, ".") && take(r, "Result") && take(r, ".") && take(r, "YES");
    return take_quoted(r, word) && str_eq(word, "yes");
}

// A statement, or none where the text of it cannot be. True: what stands behind it may be come to.
static bool read_statement(struct rule *r, bool reached);

static bool read_if(struct rule *r, bool reached)
{
    if (!take(r, "("))
        return odd(r).can_be;
    struct value v = read_or(r);
    if (r->odd || !take(r, ")"))
        return odd(r).can_be;
    bool falls = read_statement(r, reached && v.can_be);
    bool other = reached && v.can_not;
    if (!r->odd && take(r, "else"))
        other = read_statement(r, other);
    return falls || other;
}

static bool read_statement(struct rule *r, bool reached)
{
    if (r->odd || ++r->depth > DEPTH_MAX)
        return odd(r).can_be;
    if (take(r, "{")) {
        while (!r->odd && !take(r, "}"))
            reached = read_statement(r, reached);
    } else if (take(r, "if"))
        reached = read_if(r, reached);
    else if (take(r, "return")) {
        if (!take_refusal(r)) {
            r->odd |= !take_yes(r);
            r->grants |= reached;
        }
        take(r, ";");
        const char *next = blanks(r->p); // no expression goes on here
        r->odd |= r->p[-1] != ';' && *next != '}' && !is_word(*next);
        reached = false;
    } else if (take(r, "polkit") && take(r, ".") && take(r, "log") && *blanks(r->p) == '(') {
        char *behind = after_bracket((char *)blanks(r->p));
        r->odd |= !behind || behind > r->end;
        r->p = r->odd ? r->end : behind;
        take(r, ";");
    } else if (!take(r, ";"))
        r->odd = true;
    r->depth--;
    return reached;
}

// It can say nothing but no: each return says so, and nothing makes another word of that.
static bool is_harmless(struct rule r, const char *body)
{
    static const char *const ways[] = {"YES", "yes", "eval", "Function", "this"};

    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        if (find_word(body, ways[i]))
            return false;
    for (r.p = body; (r.p = find_word(r.p, "return"));) {
        r.p += strlen("return");
        if (!take_refusal(&r))
            return false;
        r.p = blanks(r.p);
        if (*r.p != ';' && *r.p != '}')
            return false;
    }
    for (r.p = body; (r.p = find_word(r.p, "polkit"));) {
        r.p += strlen("polkit");
        bool result = take(&r, ".") && take(&r, "Result") && take(&r, ".");
        r.p += result ? strspn(r.p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") : 0;
        if (result ? *blanks(r.p) == '=' : !take(&r, "log") && !take(&r, "spawn"))
            return false;
    }
    return true;
}

// function (ACTION, SUBJECT) { BODY }, at p. Where BODY begins, NULL where it is something else.
static const char *read_head(const char *p, struct rule *r)
{
    int end = 0;

    if (sscanf(p, "( function ( %31[A-Za-z0-9_$] , %31[A-Za-z0-9_$] ) %n{", r->action, r->subject, &end) !=
            2 ||
        end == 0 || p[end] != '{')
        return NULL;
    return p + end;
}

static void judge_rule(const char *path, const char *text, const struct door_subject *s,
                       struct rootdoor *door)
{
    struct rule r = {.who = s, .end = text + strlen(text)};
    const char *body = read_head(text, &r);

    r.p = body;
    r.odd = !body;
    if (body) {
        read_statement(&r, true);
        r.odd |= !take(&r, ")") || *blanks(r.p) != '\0';
    }
    if (r.odd && (!body || !is_harmless(r, body)))
        rootdoors_note(
            door, DOOR_UNKNOWN, false,
            "%s grants by a condition that only polkit can judge; exists: not known, open to a plugin: not known",
            path);
    else if (!r.odd && r.grants)
        rootdoors_note(door, DOOR_EXISTS, true, "%s grants %s; %s", path,
                       r.asks ? "the account or a group of its" : "everybody", open_by_uid);
}

// What polkit asks of an admin grants nothing by itself.
static void blank_admin_rules(char *text)
{
    for (char *p = text; (p = strstr(p, "polkit.addAdminRule"));) {
        char *open = p + strlen("polkit.addAdminRule");
        open += strspn(open, " \t\r\n");
        char *end = *open == '(' ? after_bracket(open) : NULL;
        if (!end)
            return;
        memset(p, ' ', (size_t)(end - p));
    }
}

void rootdoors_polkit(const char *path, const char *text, const struct door_subject *s, struct rootdoor *door)
{
    OWNED(freep) char *copy = strdup(text);

    if (!copy) {
        rootdoors_note(door, DOOR_UNKNOWN, false, "%s: out of memory", path);
        return;
    }
    blank_comments(copy);
    blank_admin_rules(copy);
    for (char *p = copy; (p = strstr(p, "polkit.addRule"));) {
        char *start = p;
        p += strlen("polkit.addRule");
        p += strspn(p, " \t\r\n");
        char *end = *p == '(' ? after_bracket(p) : NULL;
        if (!end) {
            rootdoors_note(door, DOOR_UNKNOWN, false, "%s has a rule that does not end", path);
            return;
        }
        char kept = *end;
        *end = '\0';
        judge_rule(path, p, s, door);
        *end = kept;
        memset(start, ' ', (size_t)(end - start)); // what is left must be nothing
        p = end;
    }
    if (copy[strspn(copy, " \t\r\n;")])
        rootdoors_note(door, DOOR_UNKNOWN, false,
                       "%s holds more than rules, which only polkit can judge; exists: not known", path);
}

// ---- pkla -----------------------------------------------------------------------------------------

static bool pkla_names(char *list, const struct door_subject *s)
{
    for (char *save = NULL, *w = strtok_r(list, "; \t", &save); w; w = strtok_r(NULL, "; \t", &save)) {
        if (str_eq(w, "*") || str_eq(w, "default"))
            return true;
        if (str_starts(w, "unix-user:") && fnmatch(w + 10, s->user, 0) == 0)
            return true;
        for (size_t i = 0; str_starts(w, "unix-group:") && i < s->n_groups; i++)
            if (fnmatch(w + 11, s->groups[i], 0) == 0)
                return true;
    }
    return false;
}

void rootdoors_pkla(const char *path, const char *text, const struct door_subject *s, struct rootdoor *door)
{
    OWNED(freep) char *copy = strdup(text);
    bool named = false, yes = false;

    if (!copy) {
        rootdoors_note(door, DOOR_UNKNOWN, false, "%s: out of memory", path);
        return;
    }
    for (char *line = copy, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line += strspn(line, " \t");
        char *value = strchr(line, '=');
        if (*line == '[')
            named = yes = false;
        else if (value && str_starts(line, "Identity"))
            named |= pkla_names(value + 1, s);
        else if (value && str_starts(line, "ResultAny")) // the others ask for a session, and it has none
            yes |= strncmp(value + 1 + strspn(value + 1, " \t"), "yes", 3) == 0;
        if (named && yes)
            rootdoors_note(door, DOOR_EXISTS, true, "%s grants the account or a group of its; %s", path,
                           open_by_uid);
    }
}
