// needs: ductile-gate/
// The picture and the short matrix: cells.c, draw.c, svg.c.
#include "../../ductile-gate/cells.h"
#include "../../ductile-gate/draw.h"
#include "unit.h"

static const struct account_config account = {.name = "default", .uid = 990, .mode = MODE_CONFINED};

struct lab {
    struct config config;
    struct gate gate;
    struct identity identities[2];
    struct probe_result results[16];
};

// Two identities: `default`, walled, and one without a wall.
static struct lab *lab_make(void)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    assert_non_null(lab);
    lab->config.posture = POSTURE_FULL_PRIVSEP;
    lab->identities[0] = (struct identity){.name = "default", .mode = MODE_CONFINED, .account = &account};
    lab->identities[1] = (struct identity){.name = "bare", .mode = MODE_UNCONFINED};
    lab->gate = (struct gate){
        .config = &lab->config, .results = lab->results, .identities = lab->identities, .n_identities = 2};
    return lab;
}

static unsigned probe(const char *word)
{
    for (unsigned i = 0; probe_row(i); i++)
        if (str_eq(probe_row(i)->word, word))
            return i;
    fail_msg("no probe %s", word);
    return 0;
}

static const struct probe_result *add(struct lab *lab, unsigned identity, const char *word, enum cell cell,
                                      int error, bool control)
{
    struct probe_result *r = &lab->results[lab->gate.n_results++];
    *r = (struct probe_result){.probe = probe(word),
                               .identity = identity,
                               .cell = cell,
                               .error = error,
                               .twin = true,
                               .control = control};
    return r;
}

static void test_cell_asset__every_probe_has_one(void **s)
{
    (void)s;
    for (unsigned i = 0; probe_row(i); i++)
        if (!cell_knows(probe_row(i)->word))
            fail_msg("%s has no row in assets.def", probe_row(i)->word);
    assert_int_equal(cell_asset("secret-zero"), ASSET_KEY);
    assert_int_equal(cell_asset("of no table"), ASSET_OTHER);
}

static void test_cell_edge__each(void **s)
{
    struct lab *l = lab_make();
    (void)s;
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "vault", CELL_DENIED, EACCES, true)), EDGE_DENIED);
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "vault", CELL_DENIED, EACCES, false)), EDGE_UNPROVEN);
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "vault", CELL_UNPROVEN, ENOENT, true)), EDGE_UNPROVEN);
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "signal-sibling", CELL_ABSENT, 0, true)), EDGE_UNPROVEN);
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "vault", CELL_ALLOWED, 0, true)), EDGE_BREACH);
    assert_int_equal(cell_edge(&l->gate, add(l, 1, "vault", CELL_ALLOWED, 0, true)), EDGE_OPEN);
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "write-tmp", CELL_ALLOWED, 0, true)), EDGE_WORKS);
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "write-tmp", CELL_DENIED, EACCES, true)), EDGE_BREACH);
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "shell-rc", CELL_ALLOWED, 0, true)), EDGE_OPEN);
    assert_int_equal(cell_edge(&l->gate, add(l, 0, "shell-rc", CELL_UNPROVEN, ENOENT, true)), EDGE_DENIED);
    free(l);
}

static void says(const struct lab *l, enum asset asset, const char *words, const char *worst)
{
    struct cell_sum sum = cell_sum(&l->gate, 0, asset);
    char out[96], all[48];
    cell_words(&sum, out);
    assert_string_equal(out, words);
    (void)cell_worst(&l->gate, asset, all);
    assert_string_equal(all, worst);
}

static void test_cell_sum__the_worst_decides(void **s)
{
    struct lab *l = lab_make();
    (void)s;
    says(l, ASSET_ROOT, "-", "");
    add(l, 0, "become-root", CELL_DENIED, EPERM, true);
    add(l, 0, "userns-clone", CELL_DENIED, EPERM, true);
    add(l, 0, "setgroups", CELL_DENIED, EPERM, true);
    says(l, ASSET_ROOT, "denied, 3 of 3: caps, seccomp", "");
    add(l, 0, "raise-caps", CELL_UNPROVEN, EINTR, true);
    says(l, ASSET_ROOT, "unproven, 1 of 4: raise-caps EINTR", "unproven: raise-caps");
    add(l, 0, "setuid-program", CELL_ALLOWED, 0, true);
    says(l, ASSET_ROOT, "ALLOWED, 1 of 5: setuid-program", "ALLOWED: setuid-program");
    add(l, 0, "userns-clone3", CELL_ALLOWED, 0, true);
    add(l, 0, "userns-unshare", CELL_ALLOWED, 0, true);
    says(l, ASSET_ROOT, "ALLOWED, 3 of 7: setuid-program", "ALLOWED: setuid-program, userns-clone3 +1");
    add(l, 0, "run-shell", CELL_DENIED, ENOEXEC, true);
    says(l, ASSET_OWN, "BROKEN, 1 of 1: run-shell", "BROKEN: run-shell");
    free(l);
}

static void has(const char *text, const char *what, bool wanted)
{
    if ((strstr(text, what) != NULL) != wanted)
        fail_msg("%s%s in:\n%s", wanted ? "no " : "", what, text);
}

static char *drawn(const struct lab *l, bool svg)
{
    struct strbuf sb = {0};
    if (svg)
        draw_svg(&l->gate, VERDICT_REFUSE, "made & <when>", &sb);
    else
        draw_mermaid(&l->gate, &sb);
    char *text = sb_finish(&sb);
    assert_non_null(text);
    return text;
}

static void test_draw__a_breach_is_red_and_unproven_dashed(void **s)
{
    struct lab *l = lab_make();
    (void)s;
    add(l, 0, "vault", CELL_DENIED, EACCES, true);
    add(l, 0, "ledger", CELL_UNPROVEN, ENOENT, true);
    OWNED(freep) char *svg = drawn(l, true), *mermaid = drawn(l, false);
    has(svg, "class=\"edge denied\"><title>default to vault: denied, 1 of 1: dac<", true);
    has(svg, "class=\"edge unproven\"><title>default to ledger: unproven", true);
    has(svg, "class=\"edge breach\"><title>", false);
    has(mermaid, "i0 --x|\"denied, 1 of 1: dac\"| a1\n  linkStyle 0 stroke:#2f8f5b", true);
    has(mermaid,
        "i0 -.->|\"unproven, 1 of 1: ledger ENOENT\"| a3\n  linkStyle 1 stroke:#7a7f87,stroke-dasharray",
        true);
    has(mermaid, "#d1242f", false);
    add(l, 0, "vault", CELL_ALLOWED, 0, true);
    OWNED(freep) char *red = drawn(l, true), *red_mermaid = drawn(l, false);
    has(red, "class=\"edge breach\"><title>default to vault: ALLOWED, 1 of 2: vault<", true);
    has(red_mermaid, "i0 ==>|\"ALLOWED, 1 of 2: vault\"| a1\n  linkStyle 0 stroke:#d1242f", true);
    free(l);
}

static void test_draw__names_cannot_end_the_markup(void **s)
{
    struct lab *l = lab_make();
    (void)s;
    l->identities[0].name = "<script>\"&\x01";
    add(l, 0, "vault", CELL_DENIED, EACCES, true);
    OWNED(freep) char *svg = drawn(l, true), *mermaid = drawn(l, false);
    has(svg, "<script", false);
    has(svg, "&lt;script&gt;&quot;&amp;?", true);
    has(svg, "made &amp; &lt;when&gt;", true);
    has(mermaid, "<script", false);
    has(mermaid, "#60;script#62;#34;#38;#1;", true);
    free(l);
}

static void test_draw__nothing_tried(void **s)
{
    struct lab *l = lab_make();
    (void)s;
    OWNED(freep) char *svg = drawn(l, true), *mermaid = drawn(l, false);
    has(svg, "Nothing was tried", true);
    has(mermaid, "nothing was tried", true);
    l->gate.n_identities = 0;
    OWNED(freep) char *none = drawn(l, true);
    has(none, "Nothing was tried", true);
    free(l);
}

RUN(T(cell_asset__every_probe_has_one), T(cell_edge__each), T(cell_sum__the_worst_decides),
    T(draw__a_breach_is_red_and_unproven_dashed), T(draw__names_cannot_end_the_markup),
    T(draw__nothing_tried))
