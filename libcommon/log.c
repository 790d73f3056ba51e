// The log. One write per line, so that lines of several processes on one pipe do not mix.
#include "log.h"
#include "err.h"
#include "str.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct {
    const char *program;
    bool service, journal;
    enum log_level level;
} state = {.program = "ductile", .level = LOG_LEVEL_INFO};

static const struct {
    const char *name;
    char priority; // RFC 5424 severity, as sd-daemon(3) wants it
} levels[LOG_LEVEL_COUNT_] = {
    [LOG_LEVEL_DEBUG] = {"debug", '7'},
    [LOG_LEVEL_INFO] = {"info", '6'},
    [LOG_LEVEL_WARN] = {"warn", '4'},
    [LOG_LEVEL_ERR] = {"error", '3'},
};

void log_open(const char *program, bool service)
{
    struct stat st;

    state.program = program;
    state.service = service;
    state.journal = fstat(STDERR_FILENO, &st) == 0 && S_ISSOCK(st.st_mode);
}

void log_set_level(enum log_level level)
{
    state.level = level;
}

const char *log_level_name(enum log_level level)
{
    return levels[level].name;
}

// Every line has its own priority for the journal, and only the first begins with the program: what stands
// after a newline in somebody's text can choose neither.
static void add_lines(struct strbuf *sb, enum log_level level, const char *text)
{
    sb_addf(sb, "%s: ", state.program);
    for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
        sb_addf(sb, "%.*s\n", (int)(end - text), text);
        if (state.journal)
            sb_addf(sb, "<%c>", levels[level].priority);
        sb_adds(sb, "    ");
    }
    sb_adds(sb, text);
}

static void emit(enum log_level level, bool logfmt, const char *text)
{
    struct strbuf sb = {0};

    if (state.journal)
        sb_addf(&sb, "<%c>", levels[level].priority);
    if (logfmt) {
        sb_addf(&sb, "level=%s program=%s msg=", levels[level].name, state.program);
        sb_add_json(&sb, text);
    } else
        add_lines(&sb, level, text);
    sb_addc(&sb, '\n');
    size_t len = sb.len;
    OWNED(freep) char *line = sb_finish(&sb);
    if (line && write(STDERR_FILENO, line, len) < 0)
        return; // nowhere left to say it
}

__attribute__((format(printf, 3, 0))) static void emit_va(enum log_level level, bool logfmt,
                                                          const char *format, va_list ap)
{
    char text[4096];

    if (level < state.level)
        return;
    vsnprintf(text, sizeof(text), format, ap);
    emit(level, logfmt, text);
}

void log_msg(enum log_level level, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    emit_va(level, state.service, format, ap);
    va_end(ap);
}

void log_fact(const char *text)
{
    if (state.level < LOG_LEVEL_COUNT_) // a test that wants no line at all
        emit(LOG_LEVEL_INFO, state.service, text);
}

void log_plain(enum log_level level, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    emit_va(level, false, format, ap);
    va_end(ap);
}

int log_err(int r, const char *format, ...)
{
    char text[2048];
    va_list ap;
    const char *name = errno_name(-r);

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    log_msg(LOG_LEVEL_ERR, "%s: %s (%s)", text, strerror(-r), name ? name : "unknown");
    return r;
}
