// Findings as SARIF 2.1.0: each row of checks.def is a rule, each finding a result with a level. Where a
// subject is a path it is the location; everything else is located in the config, with its own name as the
// logical location.
#include "gate.h"
#include "output.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_pair(struct strbuf *sb, const char *before, const char *key, const char *value)
{
    sb_addf(sb, "%s\"%s\":", before, key);
    sb_add_json(sb, value);
}

// What is quoted may hold what SARIF gives a meaning: a brace (a hole for an argument) is doubled,
// [text](link) is taken apart.
static void add_text(struct strbuf *sb, const char *before, const char *key, const char *text)
{
    struct strbuf plain = {0};

    for (const char *p = text; *p; p++) {
        sb_addc(&plain, *p);
        if (*p == '{' || *p == '}')
            sb_addc(&plain, *p);
        else if (p[0] == ']' && p[1] == '(')
            sb_addc(&plain, ' ');
    }
    OWNED(freep) char *out = sb_finish(&plain);
    sb->failed |= !out;
    sb_addf(sb, "%s\"%s\":", before, key);
    add_pair(sb, "{", "text", out ? out : "");
    sb_addc(sb, '}');
}

// Segments that are empty or "." away, in place. A ".." may lead through a link: only the host can resolve
// it.
static char *canonical(const char *path)
{
    char *real = strstr(path, "/..") ? realpath(path, NULL) : NULL, *out = real ? real : strdup(path);
    size_t n = 0;

    for (const char *p = out; p && *p;) {
        size_t len = strcspn(p + 1, "/") + 1;
        if (len > 1 && !(len == 2 && p[1] == '.')) {
            memmove(out + n, p, len);
            n += len;
        }
        p += len;
    }
    if (out && n > 0)
        out[n] = '\0';
    else if (out && out[0])
        out[1] = '\0'; // the root
    return out;
}

// An absolute path as a file URI.
static void add_uri(struct strbuf *sb, const char *absolute)
{
    OWNED(freep) char *path = canonical(absolute);

    sb->failed |= !path;
    sb_adds(sb, "\"file://");
    for (const unsigned char *s = (const unsigned char *)(path ? path : "/"); *s; s++)
        if (*s == '/' || *s == '-' || *s == '.' || *s == '_' || *s == '~' || (*s >= '0' && *s <= '9') ||
            (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z'))
            sb_addc(sb, (char)*s);
        else
            sb_addf(sb, "%%%02X", *s);
    sb_addc(sb, '"');
}

// The remedy with the subject in its hole, or with a word for it.
static void add_remedy(struct strbuf *sb, const char *remedy, const char *subject)
{
    char text[1024];

    finding_remedy(remedy, subject, text);
    add_text(sb, ",", "help", text);
}

static void add_rules(struct strbuf *sb)
{
    for (size_t i = 0; i < CHECK_COUNT_; i++) {
        const struct check_row *row = &check_rows[i];
        add_pair(sb, i ? ",{" : "{", "id", row->id);
        add_text(sb, ",", "shortDescription", row->bad);
        add_text(sb, ",", "fullDescription", row->theory);
        add_remedy(sb, row->remedy, "SUBJECT");
        sb_adds(sb, ",\"defaultConfiguration\":{\"level\":\"error\"}}");
    }
}

static void add_location(struct strbuf *sb, const struct gate *g, const struct finding *f)
{
    bool path = f->subject[0] == '/';

    sb_adds(sb, ",\"locations\":[{\"physicalLocation\":{\"artifactLocation\":{\"uri\":");
    add_uri(sb, path ? f->subject : g->config->path);
    sb_adds(sb, "}}");
    if (!path) {
        add_pair(sb, ",\"logicalLocations\":[{", "name", f->subject);
        sb_adds(sb, "}]");
    }
    sb_adds(sb, "}]");
}

// Could not determine is not clean: it is a failure of its own, and an error where `strict` refuses it.
static const char *level_of(const struct gate *g, enum verdict v)
{
    bool strict = g->config->fail_on_sidedoor == SIDEDOOR_STRICT;

    return v == VERDICT_PASS                                          ? "none"
           : v == VERDICT_REFUSE || (v == VERDICT_UNPROVEN && strict) ? "error"
                                                                      : "warning";
}

static void add_result(struct strbuf *sb, const struct gate *g, const struct finding *f, bool first)
{
    const struct check_row *row = &check_rows[f->check];
    const bool pass = f->verdict == VERDICT_PASS;
    char message[1024], print[1024];

    snprintf(message, sizeof(message), "%s: %s (%s)", pass ? row->good : row->bad, f->subject, f->evidence);
    snprintf(print, sizeof(print), "%s %s", row->id, f->subject);
    add_pair(sb, first ? "{" : ",{", "ruleId", row->id);
    sb_addf(sb, ",\"ruleIndex\":%d", (int)f->check);
    add_pair(sb, ",", "kind", pass ? "pass" : "fail");
    add_pair(sb, ",", "level", level_of(g, f->verdict));
    add_text(sb, ",", "message", message);
    add_location(sb, g, f);
    sb_adds(sb, ",\"partialFingerprints\":{");
    add_pair(sb, "", "ruleAndSubject/v1", print);
    sb_adds(sb, "},\"properties\":{");
    add_pair(sb, "", "verdict", verdict_name(f->verdict));
    sb_adds(sb, "}}");
}

void sarif_add(const struct gate *g, enum verdict outcome, int exit_code, bool passes, struct strbuf *sb)
{
    bool first = true;

    sb_adds(
        sb,
        "{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":\"2.1.0\",\"runs\":[{\"tool\":{\"driver\":{");
    add_pair(sb, "", "name", "ductile-gate");
    add_pair(sb, ",", "version", DUCTILE_VERSION);
    sb_adds(sb, ",\"rules\":[");
    add_rules(sb);
    sb_addf(sb, "]}},\"invocations\":[{\"executionSuccessful\":true,\"exitCode\":%d}],\"results\":[",
            exit_code);
    for (size_t i = 0; i < g->n_findings; i++)
        if (passes || g->findings[i].verdict != VERDICT_PASS) {
            add_result(sb, g, &g->findings[i], first);
            first = false;
        }
    sb_adds(sb, "],\"properties\":{");
    add_pair(sb, "", "posture", posture_name(g->config->posture));
    add_pair(sb, ",", "outcome", verdict_name(outcome));
    sb_adds(sb, "}}]}\n");
}
