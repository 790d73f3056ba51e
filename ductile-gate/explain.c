// `list` and `explain`: prints rows of the tables. Knows nothing that is not in them, asks nothing of the
// host.
#include "explain.h"
#include "gate.h"
#include "log.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct family {
    const char *prefix, *tier, *tried, *rule;
} families[] = {
#define HOST                              "host"
#define EVERY                             "every account"
#define CONFINED                          "confined"
#define CREDENTIALED                      "credentialed"
#define UNCONFINED                        "unconfined"
#define FAMILY(prefix, tier, tried, rule) {prefix, tier, tried, rule},
#include "families.def"
#undef FAMILY
#undef HOST
#undef EVERY
#undef CONFINED
#undef CREDENTIALED
#undef UNCONFINED
};

static const struct {
    const char *group, *reason;
} doors[] = {
#define DOOR(group, reason) {group, reason},
#include "doors.def"
#undef DOOR
};

const char *entry_kind_name(enum entry_kind kind)
{
    static const char *const names[ENTRY_COUNT_] = {"check", "door", "probe", "refusal"};

    return names[kind];
}

static const struct family *family_of(const char *id)
{
    static const struct family none = {"", "host", "", ""};
    const struct family *best = &none;

    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (str_starts(id, families[i].prefix) && strlen(families[i].prefix) > strlen(best->prefix))
            best = &families[i];
    return best;
}

static size_t count_probes(void)
{
    unsigned n = 0;

    while (probe_row(n))
        n++;
    return n;
}

// The finding that a probe's wrong answer becomes.
static enum check_id check_of(const struct probe_row *row)
{
    return row->expected == EXPECTED_EITHER    ? CHECK_LOGIN
           : row->expected == EXPECTED_ALLOWED ? CHECK_WORKS
           : str_starts(row->word, "egress-")  ? CHECK_EGRESS
                                               : CHECK_PROBE;
}

static void take_check(struct entry *e, const struct check_row *row)
{
    const struct family *f = family_of(row->id);

    *e = (struct entry){.id = row->id, .family = row->id, .tier = f->tier};
    finding_remedy(row->remedy, "SUBJECT", e->remedy);
    e->theory = row->theory;
    e->rule = f->rule;
    snprintf(e->good, sizeof(e->good), "%s", row->good);
    snprintf(e->bad, sizeof(e->bad), "%s", row->bad);
    snprintf(e->tried, sizeof(e->tried), "%s", f->tried);
}

static void get_door(size_t i, struct entry *e)
{
    take_check(e, &check_rows[CHECK_DOOR]);
    e->kind = ENTRY_DOOR;
    e->id = doors[i].group;
    snprintf(e->good, sizeof(e->good), "no account is in the group %s", e->id);
    snprintf(e->bad, sizeof(e->bad), "an account is in the group %s, which %s", e->id, doors[i].reason);
    snprintf(e->tried, sizeof(e->tried),
             "/etc/group is read, and judged by gid: another name of %s's gid is %s", e->id, e->id);
}

static void get_probe(unsigned i, struct entry *e)
{
    const struct probe_row *row = probe_row(i);
    const char *when = row->brief ? "at boot and by prove" : "by prove";

    take_check(e, &check_rows[check_of(row)]);
    e->kind = ENTRY_PROBE;
    e->id = row->word;
    e->tier = probe_who(i);
    if (row->expected == EXPECTED_ALLOWED) {
        snprintf(e->good, sizeof(e->good), "it can: %s", row->what);
        snprintf(e->bad, sizeof(e->bad), "it cannot: %s", row->what);
    } else {
        snprintf(e->good, sizeof(e->good), "it cannot: %s (stopped by: %s)", row->what, row->layer);
        snprintf(e->bad, sizeof(e->bad), "it can: %s", row->what);
    }
    if (row->abi)
        snprintf(e->tried, sizeof(e->tried),
                 "%s, after the warden's own drop, %s; denied from Landlock ABI %d on", row->what, when,
                 row->abi);
    else
        snprintf(e->tried, sizeof(e->tried), "%s, after the warden's own drop, %s", row->what, when);
}

static void get_refusal(enum refusal_kind kind, struct entry *e)
{
    *e = (struct entry){.kind = ENTRY_REFUSAL, .id = refusal_id(kind), .tier = "host"};
    e->theory = refusal_theory(kind);
    e->rule = "";
    snprintf(e->bad, sizeof(e->bad), "refused with exit code %d; its lines say what, why and what to do",
             refusal_code(kind));
}

size_t entry_count(void)
{
    return CHECK_COUNT_ + ARRAY_LEN(doors) + count_probes() + REFUSE_COUNT_;
}

void entry_get(size_t i, struct entry *ret)
{
    const size_t probes = count_probes();

    if (i < CHECK_COUNT_) {
        take_check(ret, &check_rows[i]);
        return;
    }
    i -= CHECK_COUNT_;
    if (i < ARRAY_LEN(doors)) {
        get_door(i, ret);
        return;
    }
    i -= ARRAY_LEN(doors);
    if (i < probes)
        get_probe((unsigned)i, ret);
    else
        get_refusal((enum refusal_kind)(i - probes), ret);
}

int entry_find(const char *id, struct entry *ret, const char **ret_near)
{
    unsigned best = 5;

    *ret_near = NULL;
    for (size_t i = 0; i < entry_count(); i++) {
        struct entry e;
        entry_get(i, &e);
        if (strcasecmp(e.id, id) == 0) {
            *ret = e;
            return 0;
        }
        unsigned d = str_distance(e.id, id);
        if (d < best && d < strlen(e.id)) {
            best = d;
            *ret_near = e.id;
        }
    }
    return -ENOENT;
}

// ---- printing -----------------------------------------------------------------------------------

static void add_pair(struct strbuf *sb, const char *key, const char *value)
{
    sb_addf(sb, "%s\"%s\":", sb->p[sb->len - 1] == '{' ? "" : ",", key);
    sb_add_json(sb, value);
}

static void add_entry(struct strbuf *sb, const struct entry *e)
{
    sb_addc(sb, '{');
    add_pair(sb, "kind", entry_kind_name(e->kind));
    add_pair(sb, "id", e->id);
    add_pair(sb, "finding", e->family ? e->family : e->id);
    add_pair(sb, "tier", e->tier);
    add_pair(sb, "good", e->good);
    add_pair(sb, "bad", e->bad);
    add_pair(sb, "do", e->remedy);
    add_pair(sb, "theory", e->theory);
    add_pair(sb, "tried", e->tried);
    add_pair(sb, "rule", e->rule);
    sb_addc(sb, '}');
}

static int print_json(struct strbuf *sb)
{
    OWNED(freep) char *text = sb_finish(sb);

    if (!text)
        return EXITCODE_BUG;
    puts(text);
    return report_written();
}

int verb_list(const struct opts *o)
{
    struct strbuf sb = {0};
    struct entry e;

    if (opt_given(o, OPT_JSON)) {
        sb_adds(&sb, "{\"verb\":\"list\",\"rows\":[");
        for (size_t i = 0; i < entry_count(); i++) {
            entry_get(i, &e);
            sb_adds(&sb, i ? "," : "");
            add_entry(&sb, &e);
        }
        sb_adds(&sb, "]}");
        return print_json(&sb);
    }
    for (size_t i = 0; i < entry_count(); i++) {
        entry_get(i, &e);
        if (opt_given(o, OPT_QUIET)) {
            printf("%s\n", e.id);
            continue;
        }
        printf("%-16s  %-8s %s\n", e.id, entry_kind_name(e.kind), e.tier);
        if (e.good[0])
            printf("  good: %s\n", e.good);
        printf("  bad:  %s\n", e.bad);
        if (e.remedy[0])
            printf("  do:   %s\n", e.remedy);
    }
    return report_written();
}

// What a check tries row by row stands in another table.
static void print_members(const struct entry *e)
{
    int width = 0;

    for (size_t i = 0; e->kind == ENTRY_CHECK && i < entry_count(); i++) {
        struct entry row;
        entry_get(i, &row);
        if (row.kind == ENTRY_CHECK || !row.family || !str_eq(row.family, e->id))
            continue;
        if (width == 0 || width + strlen(row.id) > 100)
            width = printf("%s", width == 0 ? "  rows    " : "\n          ");
        width += printf("%s ", row.id);
    }
    if (width)
        putchar('\n');
}

int verb_explain(const struct opts *o)
{
    const char *near = NULL;
    struct entry e;

    if (entry_find(o->args[0], &e, &near) < 0) {
        struct refusal refusal;
        refuse(&refusal, REFUSE_USAGE, "explain %s", o->args[0]);
        if (near)
            refuse_why(&refusal, "there is no \"%s\"; did you mean \"%s\"?", o->args[0], near);
        else
            refuse_why(&refusal, "there is no \"%s\"", o->args[0]);
        if (near)
            refuse_remedy(&refusal, "ductile-gate explain %s", near);
        else
            refuse_remedy(&refusal, "ductile-gate list -q");
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    if (opt_given(o, OPT_JSON)) {
        struct strbuf sb = {0};
        sb_adds(&sb, "{\"verb\":\"explain\",\"row\":");
        add_entry(&sb, &e);
        sb_addc(&sb, '}');
        return print_json(&sb);
    }
    printf("%s (%s%s%s)\n", e.id, entry_kind_name(e.kind),
           e.family && e.kind != ENTRY_CHECK ? ", told as " : "",
           e.family && e.kind != ENTRY_CHECK ? e.family : "");
    if (e.good[0])
        printf("  good    %s\n", e.good);
    printf("  bad     %s\n  why     %s\n", e.bad, e.theory);
    if (e.tried[0])
        printf("  tried   %s\n", e.tried);
    print_members(&e);
    if (e.rule[0])
        printf("  tier    %s\n  rule    %s\n", e.tier, e.rule);
    if (e.remedy[0])
        printf("  do      %s\n", e.remedy);
    return report_written();
}

// ---- the man page -------------------------------------------------------------------------------

static void man_text(const char *s)
{
    for (; *s; s++)
        fputs(*s == '-' ? "\\-" : *s == '\\' ? "\\e" : (char[]){*s, '\0'}, stdout);
}

void explain_man(void)
{
    static const char *const titles[ENTRY_COUNT_] = {"FINDINGS", "GROUPS THAT ARE DOORS", "ATTEMPTS", NULL};
    enum entry_kind last = ENTRY_COUNT_;
    struct entry e;

    for (size_t i = 0; i < entry_count(); i++) {
        entry_get(i, &e);
        if (!titles[e.kind])
            break;
        if (e.kind != last)
            printf(".SH %s\n", titles[e.kind]);
        last = e.kind;
        printf(".TP\n.B ");
        man_text(e.id);
        printf("\n\\&");
        man_text(e.bad);
        printf(".\n");
        if (e.kind == ENTRY_CHECK) {
            printf("To do: ");
            man_text(e.remedy);
            printf(".\n");
        }
    }
}
