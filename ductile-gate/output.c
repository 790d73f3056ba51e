// Chooses the form and prints it. Documents go to standard output alone; the refusals beside a picture to
// standard error.
#include "output.h"
#include "draw.h"
#include "log.h"
#include "wall.h"
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

int report_written(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXITCODE_OK;
    struct refusal refusal;
    refuse(&refusal, REFUSE_IO, "the report");
    refuse_why(&refusal, "standard output does not take it");
    refuse_remedy(&refusal, "look at where it is sent to, and how full that is");
    return refusal_print(&refusal, false);
}

int output_of(const struct opts *o, enum output *ret_output)
{
    const char *format = o->value[OPT_FORMAT];
    const int n = opt_given(o, OPT_JSON) + opt_given(o, OPT_SARIF) + opt_given(o, OPT_FORMAT);

    if (n > 1)
        return opt_usage(o, "--json, --sarif and --format are three answers; give one of them");
    if (opt_given(o, OPT_JSON))
        *ret_output = OUTPUT_JSON;
    else if (opt_given(o, OPT_SARIF))
        *ret_output = OUTPUT_SARIF;
    else if (!format)
        *ret_output = OUTPUT_TEXT;
    else if (str_eq(format, "text"))
        *ret_output = OUTPUT_MATRIX;
    else if (str_eq(format, "mermaid"))
        *ret_output = OUTPUT_MERMAID;
    else if (str_eq(format, "svg"))
        *ret_output = OUTPUT_SVG;
    else
        return opt_usage(o, "--format is text, mermaid or svg, not \"%.64s\"", format);
    return 0;
}

static void made_line(const char *verb, char out[static 256])
{
    time_t now = time(NULL);
    struct tm tm;
    struct utsname u;
    char at[32] = "";

    if (gmtime_r(&now, &tm))
        strftime(at, sizeof(at), "%Y-%m-%d %H:%M UTC", &tm);
    if (uname(&u) < 0)
        u = (struct utsname){.release = "?"};
    snprintf(
        out, 256,
        "Tried by ductile-gate %s at %s, on Linux %.64s with Landlock ABI %d. Drawn from what was found, not from the config.",
        verb, at, u.release, wall_landlock_abi());
}

static void print_document(const struct opts *o, const struct gate *g, enum output output,
                           enum verdict outcome)
{
    struct strbuf sb = {0};
    char made[256];

    made_line(o->verb->name, made);
    if (output == OUTPUT_SARIF)
        sarif_add(g, outcome,
                  outcome != VERDICT_REFUSE ? EXITCODE_OK
                  : opt_given(o, OPT_BOOT)  ? EXITCODE_CONFIG
                                            : EXITCODE_FINDING,
                  opt_given(o, OPT_VERBOSE), &sb);
    else if (output == OUTPUT_MERMAID)
        draw_mermaid(g, &sb);
    else if (output == OUTPUT_SVG)
        draw_svg(g, outcome, made, &sb);
    else
        draw_text(g, &sb);
    OWNED(freep) char *text = sb_finish(&sb);
    fputs(text ? text : "", stdout);
}

int output_print(const struct opts *o, const struct gate *g, enum output output, bool all,
                 enum verdict outcome)
{
    switch (output) {
    case OUTPUT_JSON: report_json(g, o->verb->name, outcome); return report_written();
    case OUTPUT_SARIF: print_document(o, g, output, outcome); return report_written();
    case OUTPUT_MATRIX:
    case OUTPUT_MERMAID:
    case OUTPUT_SVG:
        report_findings(g, false); // standard error
        if (output == OUTPUT_MATRIX) {
            report_matrix(g);
            putchar('\n');
        }
        print_document(o, g, output, outcome);
        return report_written();
    case OUTPUT_TEXT: break;
    }
    report_findings(g, opt_given(o, OPT_VERBOSE) || str_eq(o->verb->name, "doctor"));
    if (all && !g->quiet)
        report_matrix(g);
    if (!opt_given(o, OPT_QUIET) || outcome == VERDICT_REFUSE)
        log_plain(outcome == VERDICT_REFUSE ? LOG_LEVEL_ERR : LOG_LEVEL_INFO,
                  "%s: posture %s, %zu checks, %zu attempts to climb the wall",
                  outcome == VERDICT_REFUSE ? "REFUSED"
                  : outcome == VERDICT_PASS ? "pass"
                                            : "pass, with warnings",
                  posture_name(g->config->posture), g->n_findings, g->n_results);
    return EXITCODE_OK;
}
