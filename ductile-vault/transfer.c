// Values on their way out (reveal, export) and in (import). What leaves is composed in the arena and written
// with one call: no buffer of a library ever holds it.
#include "fd.h"
#include "log.h"
#include "str.h"
#include "vault_cli.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

// Values go to a pipe or a file because somebody sent them there; to a terminal only after a yes.
static int may_show(struct session *s, const char *what, const char *command)
{
    char question[256];

    if (!isatty(STDOUT_FILENO))
        return 0;
    snprintf(question, sizeof(question), "show %s on this terminal?", what);
    return session_confirm(s, question, command);
}

static int write_out(struct session *s, const void *data, size_t len)
{
    int r = fd_write_all(STDOUT_FILENO, data, len);

    if (r == 0)
        return 0;
    refuse(&s->refusal, REFUSE_IO, "writing to standard output");
    refuse_why(&s->refusal, "%s (%s)", strerror(-r), errno_name(-r));
    return refuse_remedy(&s->refusal, "mend what the line above says, and try again");
}

// ---- reveal -------------------------------------------------------------------------------------

static int reveal(struct session *s, const char *name)
{
    char command[160];
    int r = session_open(s, false);

    if (r < 0)
        return r;
    const struct vault_secret *x = vault_secret(&s->vault, name);
    if (!x)
        return session_unknown(s, "secret", name, "ductile-vault secret list");
    if (x->revoked) {
        refuse(&s->refusal, REFUSE_VAULT_VALUE, "showing %s", name);
        refuse_why(&s->refusal, "it was revoked: its value is gone");
        return refuse_remedy(&s->refusal, "ductile-vault secret list");
    }
    snprintf(command, sizeof(command), "ductile-vault reveal %s --stdout", name);
    if (!opt_given(s->opts, OPT_STDOUT)) {
        if (!isatty(STDOUT_FILENO)) {
            refuse(&s->refusal, REFUSE_CONFIRM, "showing %s", name);
            refuse_why(&s->refusal, "standard output is no terminal");
            return refuse_remedy(&s->refusal, "%s", command);
        }
        r = may_show(s, name, command);
    }
    if (r < 0)
        return r;
    r = session_note_first(s, AUDIT_SECRET_REVEALED, name, "");
    if (r == 0)
        r = write_out(s, x->value.data, x->value.len);
    if (r == 0 && isatty(STDOUT_FILENO))
        putchar('\n');
    return r;
}

int verb_reveal(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, o->args[0]);

    return session_end(&s, r < 0 ? r : reveal(&s, o->args[0]));
}

// ---- export -------------------------------------------------------------------------------------

struct text {
    uint8_t *out; // NULL: only count
    size_t n;
};

static void put(struct text *t, const void *data, size_t len)
{
    if (t->out)
        memcpy(t->out + t->n, data, len);
    t->n += len;
}

static void put_json(struct text *t, const uint8_t *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";

    put(t, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        const char escape[] = {'\\', 'u', '0', '0', hex[s[i] >> 4], hex[s[i] & 15]};
        if (s[i] < 0x20 || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f)
            put(t, escape, sizeof(escape));
        else
            put(t, &s[i], 1);
    }
    put(t, "\"", 1);
}

static void put_dotenv(struct text *t, const struct vault_secret *x)
{
    for (const char *c = x->name; *c; c++) {
        const char up = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        put(t, &up, 1);
    }
    put(t, "=\"", 2);
    for (size_t i = 0; i < x->value.len; i++) {
        const uint8_t c = x->value.data[i];
        if (c == '\n' || c == '\r')
            put(t, c == '\n' ? "\\n" : "\\r", 2);
        else if (c == '"' || c == '\\' || c == '$') {
            put(t, "\\", 1);
            put(t, &c, 1);
        } else
            put(t, &c, 1);
    }
    put(t, "\"\n", 2);
}

static int write_all(const struct vault *v, bool dotenv, struct text *t)
{
    int n = 0;

    put(t, "{", dotenv ? 0 : 1);
    for (size_t i = 0; i < v->n_secrets; i++) {
        const struct vault_secret *x = &v->secrets[i];
        if (x->revoked)
            continue;
        if (dotenv)
            put_dotenv(t, x);
        else {
            put(t, n ? ",\n " : "\n ", n ? 3 : 2);
            put_json(t, (const uint8_t *)x->name, strlen(x->name));
            put(t, ": ", 2);
            put_json(t, x->value.data, x->value.len);
        }
        n++;
    }
    put(t, "\n}\n", dotenv ? 0 : 3);
    return n;
}

// Two names that are one in dotenv would lose a value.
static int check_names(struct session *s)
{
    for (size_t i = 0; i < s->vault.n_secrets; i++)
        for (size_t j = 0; j < i; j++) {
            const char *a = s->vault.secrets[i].name, *b = s->vault.secrets[j].name;
            while (*a && (*a == *b || (strchr("-_", *a) && *b && strchr("-_", *b))))
                a++, b++;
            if (*a || *b)
                continue;
            refuse(&s->refusal, REFUSE_VAULT_NAME, "exporting as dotenv");
            refuse_why(&s->refusal, "%s and %s would have one name", s->vault.secrets[i].name,
                       s->vault.secrets[j].name);
            return refuse_remedy(&s->refusal, "ductile-vault export --format json");
        }
    return 0;
}

static int get_format(struct session *s, bool pass, const char **ret)
{
    const char *f = opt_given(s->opts, OPT_FORMAT) ? s->opts->value[OPT_FORMAT] : "";

    *ret = f;
    if (str_eq(f, "") || str_eq(f, "json") || str_eq(f, "dotenv") || (pass && str_eq(f, "pass")))
        return 0;
    return session_name_refused(s, "format", f, pass ? "json, dotenv or pass" : "json or dotenv");
}

static int export(struct session *s)
{
    const char *format;
    char detail[96];
    struct text t = {0};
    struct secret out = {0};
    int r = get_format(s, false, &format);
    const bool dotenv = r == 0 && str_eq(format, "dotenv");

    if (r == 0)
        r = session_open(s, false);
    if (r == 0 && dotenv)
        r = check_names(s);
    if (r == 0)
        r = may_show(s, "every value", "ductile-vault export --yes");
    if (r < 0)
        return r;
    int n = write_all(&s->vault, dotenv, &t);
    r = secret_new(t.n, &out);
    if (r < 0) {
        refuse(&s->refusal, REFUSE_VAULT_MEMLOCK, "composing the export");
        refuse_why(&s->refusal, "the locked memory is too small for it");
        return refuse_remedy(&s->refusal, "ulimit -l unlimited");
    }
    t = (struct text){.out = out.data};
    (void)write_all(&s->vault, dotenv, &t);
    snprintf(detail, sizeof(detail), "\"secrets\":%d,\"format\":\"%s\"", n, dotenv ? "dotenv" : "json");
    r = session_note_first(s, AUDIT_VAULT_EXPORTED, s->config->vault_file, detail);
    if (r == 0)
        r = write_out(s, out.data, out.len);
    secret_wipe(&out);
    if (r == 0)
        log_info("%d values left the vault, readable by whoever has that output", n);
    return r;
}

int verb_export(const struct opts *o)
{
    struct session s;
    int r = session_begin(o, &s, "vault");

    return session_end(&s, r < 0 ? r : export(&s));
}

// ---- import -------------------------------------------------------------------------------------

struct counts {
    int fresh, rolled, equal;
};

static int import_refused(struct session *s, const char *name, const char *why, const char *remedy)
{
    refuse(&s->refusal, REFUSE_VAULT_VALUE, "importing %s; nothing was changed", name);
    refuse_why(&s->refusal, "%s", why);
    return refuse_remedy(&s->refusal, "%s", remedy);
}

static int take_in(struct session *s, const struct pair *p, struct counts *n)
{
    size_t before = s->vault.n_secrets;
    int r = vault_set_secret(&s->vault, p->name, &p->value, PATTERN_MANUAL);

    if (r == 0) {
        *(s->vault.n_secrets > before ? &n->fresh : &n->equal) += 1;
        return 0;
    }
    if (r == -EEXIST && !opt_given(s->opts, OPT_FORCE))
        return import_refused(s, p->name, "it has another value already",
                              "ductile-vault import --force, which rolls it");
    if (r == -EEXIST)
        r = vault_roll_secret(&s->vault, p->name, &p->value, 0);
    if (r < 0)
        return import_refused(s, p->name,
                              r == -EKEYREVOKED ? "it was revoked, for good"
                              : r == -E2BIG     ? "the vault holds as many secrets as it may"
                                                : strerror(-r),
                              "leave it out");
    n->rolled++;
    return 0;
}

static int import_pairs(struct session *s, const struct pairs *p)
{
    struct counts n = {0};
    char detail[3072];
    size_t used = 0;
    bool dry = opt_given(s->opts, OPT_DRY_RUN);
    int r = session_open(s, true);

    for (size_t i = 0; r == 0 && i < p->n; i++)
        r = take_in(s, &p->list[i], &n);
    if (r < 0)
        return r;
    used = (size_t)snprintf(detail, sizeof(detail), "\"new\":%d,\"rolled\":%d,\"equal\":%d%s,\"names\":[",
                            n.fresh, n.rolled, n.equal, dry ? ",\"changed\":false" : "");
    for (size_t i = 0; i < p->n && used < sizeof(detail) - 2 * LIMIT_NAME;
         i++) // as many as there is room for
        used +=
            (size_t)snprintf(detail + used, sizeof(detail) - used, "%s\"%s\"", i ? "," : "", p->list[i].name);
    snprintf(detail + used, sizeof(detail) - used, "]");
    if (dry || n.fresh + n.rolled == 0)
        session_note(s, AUDIT_VAULT_IMPORTED, s->config->vault_file, detail);
    else
        r = session_save(s, AUDIT_VAULT_IMPORTED, s->config->vault_file, detail);
    if (r == 0)
        session_say(s, "%s%d new, %d rolled, %d had this value already; nobody gets a new one before a grant",
                    dry ? "it would be: " : "", n.fresh, n.rolled, n.equal);
    return r;
}

static int import(struct session *s)
{
    const char *format, *name = opt_given(s->opts, OPT_AS) ? s->opts->value[OPT_AS] : "";
    char why[160];
    struct secret text = {0};
    struct pairs p = {0};
    int r = get_format(s, true, &format);

    if (r < 0)
        return r;
    if (str_eq(format, "pass") && !str_is_secret(name))
        return session_name_refused(s, "name", name,
                                    "given with --as where the format is pass: lower-case letters "
                                    "and digits, with _ and - inside");
    r = secret_from_fd(STDIN_FILENO, LIMIT_VAULT_TEXT, &text);
    if (r < 0)
        return import_refused(s, "what standard input holds",
                              r == -EFBIG ? "it is longer than 4 MiB" : strerror(-r),
                              "pipe it into standard input");
    r = pairs_parse(&text, format, name, &p, why);
    secret_wipe(&text);
    if (r < 0)
        return import_refused(s, "what standard input holds", why, "ductile-vault import --help");
    r = import_pairs(s, &p);
    pairs_free(&p);
    return r;
}

int verb_import(const struct opts *o)
{
    struct session s;
    int r = session_begin_large(o, &s, "vault");

    return session_end(&s, r < 0 ? r : import(&s));
}
