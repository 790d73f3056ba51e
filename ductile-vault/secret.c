// Secrets: their values come in by standard input, a file or a prompt, and never go out here.
#include "log.h"
#include "str.h"
#include "vault_cli.h"
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <time.h>

__attribute__((format(printf, 4, 5))) static int value_refused(struct session *s, const char *name,
                                                               const char *why, const char *remedy, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, remedy);
    vsnprintf(text, sizeof(text), remedy, ap);
    va_end(ap);
    refuse(&s->refusal, REFUSE_VAULT_VALUE, "the value of %s", name);
    refuse_why(&s->refusal, "%s", why);
    return refuse_remedy(&s->refusal, "%s", text);
}

static void ignore_signal(int number)
{
    (void)number; // it only ends the read
}

// Standard input; from a terminal with a prompt and no echo. Ctrl-C ends the read, so that the echo comes
// back.
static int read_value(int fd, const char *name, struct secret *ret)
{
    const struct sigaction end = {.sa_handler = ignore_signal};
    struct sigaction before;
    struct termios old, quiet;
    bool terminal = isatty(fd) && tcgetattr(fd, &old) == 0;
    int r;

    if (!terminal)
        return secret_from_fd(fd, LIMIT_SECRET_VALUE, ret);
    quiet = old;
    quiet.c_lflag &= (tcflag_t)~ECHO;
    fprintf(stderr, "value of %s (not shown; end with Enter): ", name);
    sigaction(SIGINT, &end, &before);
    tcsetattr(fd, TCSAFLUSH, &quiet);
    struct secret line;
    r = secret_new(LIMIT_SECRET_VALUE + 1, &line);
    ssize_t n = r < 0 ? -1 : read(fd, line.data, LIMIT_SECRET_VALUE + 1);
    tcsetattr(fd, TCSAFLUSH, &old);
    sigaction(SIGINT, &before, NULL);
    fputc('\n', stderr);
    if (r == 0)
        r = n < 0 ? err_last() : secret_copy(line.data, (size_t)n, ret);
    secret_wipe(&line);
    return r;
}

static int mint_value(struct secret *ret)
{
    uint8_t raw[32];
    char text[44];

    randombytes_buf(raw, sizeof(raw));
    sodium_bin2base64(text, sizeof(text), raw, sizeof(raw), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    int r = secret_copy(text, strlen(text), ret);
    sodium_memzero(raw, sizeof(raw));
    sodium_memzero(text, sizeof(text));
    return r;
}

// The file is opened while still root: it may be readable to nobody else.
static int open_value(const struct opts *o)
{
    int fd = opt_given(o, OPT_FROM_FILE) ? open(o->value[OPT_FROM_FILE], O_RDONLY | O_CLOEXEC) : STDIN_FILENO;

    return fd < 0 ? err_last() : fd;
}

static int get_value(struct session *s, int fd, const char *name, struct secret *value)
{
    int r = opt_given(s->opts, OPT_AUTO) ? mint_value(value) : read_value(fd, name, value);

    if (r == -EFBIG)
        return value_refused(s, name, "it is longer than 32 KiB",
                             "keep a file elsewhere and store its key here");
    if (r < 0)
        return value_refused(s, name, strerror(-r), "pipe the value into standard input");
    if (value->len > 0 && value->data[value->len - 1] == '\n') {
        value->data[--value->len] = '\0';
        if (!isatty(fd))
            log_info("one trailing newline was dropped from the value");
    }
    if (value->len == 0)
        return value_refused(s, name, "it is empty", "printf %%s VALUE | ductile-vault secret set %s", name);
    if (memchr(value->data, '\0', value->len) || !str_is_utf8((const char *)value->data, value->len))
        return value_refused(s, name, "it is not UTF-8 text: a plugin gets it inside JSON",
                             "store it in base64");
    return 0;
}

// ---- times --------------------------------------------------------------------------------------

// 0 for "never"; a date is its beginning, UTC.
static int parse_when(const char *text, int64_t *ret_ms)
{
    struct tm tm = {0};
    uint64_t ms;
    const char *end = strptime(text, "%Y-%m-%d", &tm);

    if (str_eq(text, "never"))
        *ret_ms = 0;
    else if (end && (*end == '\0' || ((end = strptime(end, "T%H:%M:%SZ", &tm)) && *end == '\0')))
        *ret_ms = (int64_t)timegm(&tm) * 1000;
    else if (str_to_duration(text, &ms) == 0 && ms > 0 && ms < INT64_MAX / 4)
        *ret_ms = vault_now_ms() + (int64_t)ms;
    else
        return -EINVAL;
    return 0;
}

static int parse_span(const char *text, int64_t *ret_ms)
{
    uint64_t ms = 0;

    if (!str_eq(text, "never") && (str_to_duration(text, &ms) < 0 || ms == 0 || ms > INT64_MAX / 4))
        return -EINVAL;
    *ret_ms = (int64_t)ms;
    return 0;
}

struct times {
    int64_t expires_ms, rotate_every_ms, keep_ms;
};

static int get_times(struct session *s, struct times *t)
{
    static const struct {
        enum opt_id option;
        const char *what, *rule;
    } rows[] = {
        {OPT_EXPIRES, "expiry",
         "a date to come (2027-01-31, 2027-01-31T12:00:00Z), a duration (90d) or never"},
        {OPT_ROTATE_EVERY, "duration", "30s, 5m, 24h, 30d, or never"},
        {OPT_KEEP_PREVIOUS, "duration", "30s, 5m, 24h, 30d"},
    };
    const char *const *v = s->opts->value;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text = v[rows[i].option];
        int r = !text                           ? 0
                : rows[i].option == OPT_EXPIRES ? parse_when(text, &t->expires_ms)
                : i == 1                        ? parse_span(text, &t->rotate_every_ms)
                                                : parse_span(text, &t->keep_ms);
        if (r < 0 || (i == 0 && t->expires_ms > 0 && t->expires_ms <= vault_now_ms()))
            return session_name_refused(s, rows[i].what, text, rows[i].rule);
    }
    return 0;
}

const char *secret_date(int64_t ms, char buf[static 24])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    if (ms == 0 || !gmtime_r(&t, &tm) || strftime(buf, 24, "%Y-%m-%d", &tm) == 0)
        return "never";
    return buf;
}

// ---- set, roll ----------------------------------------------------------------------------------

static int bad_name(struct session *s, const char *name)
{
    return str_is_secret(name) ? 0
                               : session_name_refused(s, "secret", name,
                                                      "lower-case letters and digits, with _ and - inside");
}

static void warn_short(const char *name, const struct secret *value)
{
    if (value->len < MASK_MIN)
        log_warn("%s is shorter than %d bytes: it is not masked in what a plugin says", name, MASK_MIN);
}

static int set_refused(struct session *s, const char *name, int r)
{
    if (r == -EEXIST)
        return value_refused(s, name,
                             "it has another value already, and values are superseded on purpose only",
                             "ductile-vault secret roll %s", name);
    if (r == -EKEYREVOKED)
        return value_refused(s, name, "it was revoked, for good", "choose another name");
    return value_refused(s, name, r == -E2BIG ? "the vault holds as many secrets as it may" : strerror(-r),
                         "ductile-vault secret remove what nobody needs");
}

// An equal value may get other times; without any nothing is saved.
static int keep_set(struct session *s, const char *name, const struct times *t, bool fresh,
                    enum secret_pattern pattern)
{
    char detail[128], date[24];
    struct vault_secret *x = vault_secret(&s->vault, name);
    bool timed = opt_given(s->opts, OPT_EXPIRES) || opt_given(s->opts, OPT_ROTATE_EVERY);
    int r = 0;

    if (opt_given(s->opts, OPT_EXPIRES))
        x->expires_ms = t->expires_ms;
    if (opt_given(s->opts, OPT_ROTATE_EVERY))
        x->rotate_every_ms = t->rotate_every_ms;
    snprintf(detail, sizeof(detail), "\"pattern\":\"%s\"%s", secret_pattern_name(pattern),
             fresh   ? ""
             : timed ? ",\"times\":true"
                     : ",\"changed\":false");
    if (fresh || timed)
        r = session_save(s, AUDIT_SECRET_SET, name, detail);
    else
        session_note(s, AUDIT_SECRET_SET, name, detail);
    if (r == 0 && fresh)
        session_say(s, "%s: stored; nobody gets it yet (ductile-vault grant %s PRINCIPAL)", name, name);
    else if (r == 0)
        session_say(s, "%s: had this value already; it expires: %s", name, secret_date(x->expires_ms, date));
    return r;
}

// What set and roll are given, and the vault to put it in.
static int asked(struct session *s, const char *name, int fd, struct times *ret_times,
                 struct secret *ret_value)
{
    int r = bad_name(s, name);

    if (r == 0)
        r = get_times(s, ret_times);
    if (r == 0)
        r = get_value(s, fd, name, ret_value);
    return r < 0 ? r : session_open(s, true);
}

static int set_secret(struct session *s, const char *name, int fd)
{
    struct secret value = {0};
    struct times t = {0};
    enum secret_pattern pattern = opt_given(s->opts, OPT_AUTO) ? PATTERN_AUTO : PATTERN_MANUAL;
    int r = asked(s, name, fd, &t, &value);

    size_t before = s->vault.n_secrets;
    if (r == 0) {
        r = vault_set_secret(&s->vault, name, &value, pattern);
        r = r < 0 ? set_refused(s, name, r) : 0;
    }
    if (r == 0)
        warn_short(name, &value);
    secret_wipe(&value);
    if (r < 0)
        return r;
    return keep_set(s, name, &t, s->vault.n_secrets > before, pattern);
}

static int roll_refused(struct session *s, const char *name, int r)
{
    char set[LIMIT_NAME + 64];

    switch (-r) {
    case ENOENT:
        snprintf(set, sizeof(set), "ductile-vault secret set %s", name);
        return session_unknown(s, "secret", name, set);
    case EKEYREVOKED: return value_refused(s, name, "it was revoked, for good", "choose another name");
    case EALREADY: return value_refused(s, name, "it is the value it has", "give the new one");
    case EEXIST:
        return value_refused(s, name,
                             "a principal gets another secret under its name with _previous behind it",
                             "roll without --keep-previous, or grant that one under another name");
    case ENAMETOOLONG:
        return value_refused(s, name, "its name with _previous behind it would be longer than a name may be",
                             "roll without --keep-previous");
    default: return value_refused(s, name, strerror(-r), "ductile-vault status");
    }
}

// Which plugins get the old value as what; all that core has to do is take it too.
static const char *kept_as(const struct vault_secret *x, char buf[static 128])
{
    const char *as = NULL;
    bool one = true;

    for (size_t i = 0; i < x->n_grants; i++)
        if (!str_eq(x->grants[i].principal, PRINCIPAL_CORE_NAME)) {
            one = one && (!as || str_eq(as, x->grants[i].as));
            as = x->grants[i].as;
        }
    if (as && one)
        snprintf(buf, 128, ", the old one meanwhile as %s_previous", as);
    else
        snprintf(buf, 128, ", the old one meanwhile too%s", as ? ", with _previous behind its name" : "");
    return buf;
}

static int roll_secret(struct session *s, const char *name, int fd)
{
    struct secret value = {0};
    struct times t = {0};
    char detail[128], date[24], kept[128];
    int r = asked(s, name, fd, &t, &value);

    if (r == 0) {
        r = vault_roll_secret(&s->vault, name, &value, t.keep_ms);
        r = r < 0 ? roll_refused(s, name, r) : 0;
    }
    if (r == 0)
        warn_short(name, &value);
    secret_wipe(&value);
    if (r < 0)
        return r;
    struct vault_secret *x = vault_secret(&s->vault, name);
    if (opt_given(s->opts, OPT_AUTO))
        x->pattern = PATTERN_AUTO;
    x->expires_ms = t.expires_ms; // what was said of the old value does not hold for the new one
    if (opt_given(s->opts, OPT_ROTATE_EVERY))
        x->rotate_every_ms = t.rotate_every_ms;
    snprintf(detail, sizeof(detail), "\"previous_until_ms\":%lld", (long long)x->previous_until_ms);
    r = session_save(s, AUDIT_SECRET_ROLLED, name, detail);
    if (r == 0)
        session_say(s, "%s: the new value is delivered %s%s; expires: %s", name, session_when_of(x),
                    t.keep_ms ? kept_as(x, kept) : "", secret_date(x->expires_ms, date));
    return r;
}

static int with_value(const struct opts *o, int (*change)(struct session *, const char *, int))
{
    struct session s;
    OWNED(fd_closep) int file = opt_given(o, OPT_FROM_FILE) ? open_value(o) : -1;
    int r = session_begin(o, &s, o->args[0]);

    if (r == 0 && opt_given(o, OPT_FROM_FILE) && file < 0) {
        refuse(&s.refusal, REFUSE_VAULT_SOURCE, "reading the value from %s", o->value[OPT_FROM_FILE]);
        refuse_why(&s.refusal, "%s (%s)", strerror(-file), errno_name(-file));
        r = refuse_remedy(&s.refusal, "give a file that is there, or pipe the value into standard input");
    }
    return session_end(&s, r < 0 ? r : change(&s, o->args[0], file < 0 ? STDIN_FILENO : file));
}

int verb_secret_set(const struct opts *o)
{
    return with_value(o, set_secret);
}

int verb_secret_roll(const struct opts *o)
{
    return with_value(o, roll_secret);
}

// ---- revoke, remove -----------------------------------------------------------------------------

static int take(const struct opts *o, int (*change)(struct vault *, const char *), enum audit_kind kind,
                const char *effect)
{
    struct session s;
    const char *name = o->args[0];
    int r = session_begin(o, &s, name);

    if (r == 0)
        r = session_open(&s, true);
    if (r == 0)
        r = change(&s.vault, name);
    if (r == -ENOENT)
        r = session_unknown(&s, "secret", name, "ductile-vault secret list");
    if (r == 0) {
        session_note(&s, kind, name, "\"changed\":false");
        session_say(&s, "%s: was revoked already", name);
    } else if (r > 0) {
        const struct vault_secret *x = vault_secret(&s.vault, name); // NULL: removed
        r = session_save(&s, kind, name, "");
        if (r == 0)
            session_say(&s, "%s: %s%s%s", name, effect, x ? " " : "", x ? session_when_of(x) : "");
    }
    return session_end(&s, r);
}

int verb_secret_revoke(const struct opts *o)
{
    return take(o, vault_revoke_secret, AUDIT_SECRET_REVOKED, "its value is wiped, for good; nobody gets it");
}

int verb_secret_remove(const struct opts *o)
{
    return take(o, vault_remove_secret, AUDIT_SECRET_REMOVED, "gone with its grants; the name is free again");
}

// ---- list, show ---------------------------------------------------------------------------------

const char *secret_status(const struct vault_secret *x)
{
    if (x->revoked)
        return "revoked";
    return x->expires_ms > 0 && x->expires_ms <= vault_now_ms() ? "expired" : "active";
}

static json_t *or_null(int64_t ms)
{
    return ms ? json_integer((json_int_t)ms) : json_null();
}

json_t *secret_json(const struct vault_secret *x)
{
    json_t *grants = json_array();

    for (size_t i = 0; i < x->n_grants; i++)
        json_array_append_new(
            grants, json_pack("{s:s, s:s}", "principal", x->grants[i].principal, "as", x->grants[i].as));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "name", x->name, "pattern",
                     secret_pattern_name(x->pattern), "status", secret_status(x), "created_ms",
                     (json_int_t)x->created_ms, "updated_ms", (json_int_t)x->updated_ms, "expires_ms",
                     or_null(x->expires_ms), "rotate_every_ms", or_null(x->rotate_every_ms),
                     "previous_until_ms", or_null(x->previous_until_ms), "grants", grants);
}

void secret_add_grants(struct strbuf *sb, const struct vault_secret *x)
{
    sb_adds(sb, x->n_grants ? ", granted to" : ", granted to nobody");
    for (size_t i = 0; i < x->n_grants; i++) {
        sb_adds(sb, i ? ", " : " ");
        sb_adds(sb, x->grants[i].principal);
        sb_adds(sb, " as ");
        sb_adds(sb, x->grants[i].as);
    }
    sb_addc(sb, '\n');
}

static void secret_text(struct strbuf *sb, const struct vault_secret *x)
{
    char date[24];

    sb_add_column(sb, x->name, 28);
    sb_add_column(sb, secret_pattern_name(x->pattern), 7);
    sb_add_column(sb, secret_status(x), 8);
    sb_adds(sb, "changed ");
    sb_adds(sb, secret_date(x->updated_ms, date));
    sb_adds(sb, ", expires ");
    sb_adds(sb, secret_date(x->expires_ms, date));
    secret_add_grants(sb, x);
}

int verb_secret_list(const struct opts *o)
{
    struct session s;
    int r = session_begin_look(o, &s);
    json_t *list = json_array();
    struct strbuf text = {0};

    if (r == 0)
        r = session_open(&s, false);
    for (size_t i = 0; r == 0 && i < s.vault.n_secrets; i++)
        if (session_json(&s))
            json_array_append_new(list, secret_json(&s.vault.secrets[i]));
        else {
            secret_text(&text, &s.vault.secrets[i]);
            session_put(&text, SESSION_SOME);
        }
    if (r == 0 && session_json(&s))
        session_print(json_pack("{s:O}", "secrets", list));
    else
        session_put(&text, 0);
    json_decref(list);
    sb_free(&text);
    return session_end(&s, r);
}

int verb_secret_show(const struct opts *o)
{
    struct session s;
    struct vault_secret *x = NULL;
    int r = session_secret(o, &s, &x);

    if (x && session_json(&s))
        session_print(secret_json(x));
    else if (x) {
        struct strbuf text = {0};
        secret_text(&text, x);
        session_put(&text, 0);
        sb_free(&text);
    }
    return session_end(&s, r);
}
