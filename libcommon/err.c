// Exit codes and refusals. Owns the wording of the three lines; decides nothing.
#include "err.h"
#include "log.h"
#include "str.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *id, *theory;
    enum exitcode code;
} rows[REFUSE_COUNT_] = {
#define REFUSAL(name, id, code, theory) [REFUSE_##name] = {id, theory, EXITCODE_##code},
#include "refusal.def"
#undef REFUSAL
};

int refuse(struct refusal *ret, enum refusal_kind kind, const char *what, ...)
{
    va_list ap;

    *ret = (struct refusal){.code = rows[kind].code};
    snprintf(ret->id, sizeof(ret->id), "%s", rows[kind].id);
    va_start(ap, what);
    vsnprintf(ret->what, sizeof(ret->what), what, ap);
    va_end(ap);
    return -ECANCELED;
}

int refuse_why(struct refusal *ret, const char *why, ...)
{
    va_list ap;

    va_start(ap, why);
    vsnprintf(ret->why, sizeof(ret->why), why, ap);
    va_end(ap);
    return -ECANCELED;
}

int refuse_remedy(struct refusal *ret, const char *remedy, ...)
{
    va_list ap;

    va_start(ap, remedy);
    vsnprintf(ret->remedy, sizeof(ret->remedy), remedy, ap);
    va_end(ap);
    return -ECANCELED;
}

int refusal_print(const struct refusal *refusal, bool json)
{
    log_plain(LOG_LEVEL_ERR, "refused %s: %s", refusal->id, refusal->what);
    log_plain(LOG_LEVEL_ERR, "  why: %s", refusal->why);
    log_plain(LOG_LEVEL_ERR, "  do:  %s", refusal->remedy);
    if (json) {
        struct strbuf sb = {0};
        sb_adds(&sb, "{\"refused\":{\"id\":");
        sb_add_json(&sb, refusal->id);
        sb_adds(&sb, ",\"what\":");
        sb_add_json(&sb, refusal->what);
        sb_adds(&sb, ",\"why\":");
        sb_add_json(&sb, refusal->why);
        sb_adds(&sb, ",\"do\":");
        sb_add_json(&sb, refusal->remedy);
        sb_addf(&sb, "},\"exit_code\":%d}", refusal->code);
        OWNED(freep) char *text = sb_finish(&sb);
        puts(text ? text : "{\"refused\":{}}");
    }
    return (int)refusal->code;
}

const char *refusal_id(enum refusal_kind kind)
{
    return rows[kind].id;
}

const char *refusal_theory(enum refusal_kind kind)
{
    return rows[kind].theory;
}

enum exitcode refusal_code(enum refusal_kind kind)
{
    return rows[kind].code;
}

const char *errno_name(int e)
{
    return strerrorname_np(e);
}
