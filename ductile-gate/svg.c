// The posture picture as SVG: identities left, assets right, the wall between them. Each edge is a sum of
// probe results: what was denied ends at the wall, what was allowed goes through. No script, no link, nothing
// from elsewhere; colours for light and dark, and never colour alone: a breach is thick and labelled, an
// unproven edge dashed.
#include "cells.h"
#include "draw.h"
#include <stdio.h>
#include <string.h>

enum {
    MARGIN = 32,
    HEAD = 132,
    CARD_W = 236, // an identity
    ASSET_W = 320,
    ASSET_H = 50,
    ASSET_STEP = 62,
    IDENTITY_STEP = 84,
    WALL_GAP = 64, // from the wall to the assets
    WALL_W = 10,
    LEGEND = 84,
    ROW_H = 30,
    NAME_W = 236,
    LAYERS_W = 210,
    CELL_W = 180,
    FOOT = 44,
    NARROW = 1160, // the least width
};

struct page {
    const struct gate *g;
    struct strbuf *sb;
    unsigned n_assets;
    enum asset assets[ASSET_COUNT_]; // that anything was tried of
    int width, graph, height;        // graph: of its own part, in height
    bool walled;
};

static const char style[] =
    "<style>\n"
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:13px;fill:#1d2530}\n"
    ".bg{fill:#fbfbf9}.card{fill:#fff;stroke:#d3d8de}.row{fill:#f1f2ee}.wall{fill:#c9c3b4}\n"
    ".title{font-size:24px;font-weight:600}.name{font-size:15px;font-weight:600}\n"
    ".soft,.wrong{font-size:12px}.soft{fill:#5a6470}.wrong{font-weight:600}\n"
    ".stripe{fill:#b7791f}.confined{fill:#7b8794}.edge path{fill:none}\n"
    ".denied path{stroke:#2f8f5b;stroke-width:1.4;stroke-opacity:.75}.denied circle,.badge.denied rect{fill:#2f8f5b}\n"
    ".works path{stroke:#3b6fb6;stroke-width:1.6;stroke-opacity:.85}.works circle{fill:#3b6fb6}\n"
    ".open path{stroke:#b7791f;stroke-width:2.4}.open circle,.badge.open rect{fill:#b7791f}\n"
    ".unproven path{stroke:#6d757f;stroke-width:1.8;stroke-dasharray:7 5}.unproven circle{fill:#6d757f}\n"
    ".breach path{stroke:#d1242f;stroke-width:4}.breach circle,.badge.breach rect{fill:#d1242f}\n"
    ".asset.breach rect{stroke:#d1242f;stroke-width:2}.asset.unproven rect{stroke-dasharray:7 5;stroke:#6d757f}\n"
    ".breach .wrong,.cell.breach text{fill:#b3121d}.open .wrong,.cell.open text{fill:#8a5a12}\n"
    ".unproven .wrong,.cell.unproven text{fill:#5a6470}.badge text{fill:#fff;font-weight:600}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#e4e8ec}.bg{fill:#14181d}.card{fill:#1e242b;stroke:#39424c}.row{fill:#1a2027}.wall{fill:#4a4f57}\n"
    ".soft{fill:#9aa5b1}.stripe{fill:#e2ab4c}.confined{fill:#8994a0}\n"
    ".denied path{stroke:#56c288}.denied circle,.badge.denied rect{fill:#56c288}\n"
    ".works path{stroke:#79abec}.works circle{fill:#79abec}\n"
    ".open path{stroke:#e2ab4c}.open circle,.badge.open rect{fill:#e2ab4c}\n"
    ".unproven path{stroke:#a3adb8}.unproven circle{fill:#a3adb8}\n"
    ".breach path{stroke:#ff6b6b}.breach circle,.badge.breach rect{fill:#ff6b6b}\n"
    ".asset.breach rect{stroke:#ff6b6b}.asset.unproven rect{stroke:#a3adb8}\n"
    ".breach .wrong,.cell.breach text{fill:#ff8f8f}.open .wrong,.cell.open text{fill:#e9bd70}\n"
    ".unproven .wrong,.cell.unproven text{fill:#9aa5b1}.badge text{fill:#14181d}\n"
    "}\n"
    "</style>\n";

// Text of an element or attribute. What XML cannot hold becomes '?'.
static void add_xml(struct strbuf *sb, const char *s)
{
    for (; *s; s++)
        switch (*s) {
        case '&': sb_adds(sb, "&amp;"); break;
        case '<': sb_adds(sb, "&lt;"); break;
        case '>': sb_adds(sb, "&gt;"); break;
        case '"': sb_adds(sb, "&quot;"); break;
        default: sb_addc(sb, (unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s); break;
        }
}

static void text_at(struct page *p, int x, int y, const char *attributes, const char *s)
{
    sb_addf(p->sb, "<text x=\"%d\" y=\"%d\"%s%s>", x, y, attributes[0] ? " " : "", attributes);
    add_xml(p->sb, s);
    sb_adds(p->sb, "</text>\n");
}

static int identity_y(const struct page *p, unsigned identity)
{
    return HEAD + (int)(identity * (unsigned)p->graph / (unsigned)p->g->n_identities);
}

static int identity_h(const struct page *p)
{
    return p->graph / (int)p->g->n_identities - 22;
}

static int asset_y(const struct page *p, unsigned n)
{
    return HEAD + (int)n * p->graph / (int)p->n_assets + (p->graph / (int)p->n_assets - ASSET_H) / 2;
}

static struct page lay_out(const struct gate *g, struct strbuf *sb)
{
    struct page p = {.g = g, .sb = sb};

    for (enum asset a = 0; a < ASSET_COUNT_; a++)
        if (cell_any(g, a))
            p.assets[p.n_assets++] = a;
    for (size_t i = 0; i < g->n_identities; i++)
        p.walled |= g->identities[i].account != NULL;
    p.width = MAX(NARROW, 2 * MARGIN + NAME_W + LAYERS_W + CELL_W * (int)g->n_identities);
    p.graph = MAX((int)p.n_assets * ASSET_STEP, (int)g->n_identities * IDENTITY_STEP);
    p.height = HEAD + p.graph + LEGEND + ROW_H * ((int)p.n_assets + 1) + FOOT;
    if (p.n_assets == 0 || g->n_identities == 0)
        p.height = HEAD + 60 + FOOT;
    return p;
}

// ---- edges --------------------------------------------------------------------------------------

static void draw_edge(struct page *p, unsigned identity, unsigned n, const struct cell_sum *sum)
{
    const int assets = (int)p->n_assets, identities = (int)p->g->n_identities;
    const int x1 = MARGIN + CARD_W, asset_x = p->width - MARGIN - ASSET_W;
    const int y1 = identity_y(p, identity) + ((int)n + 1) * identity_h(p) / (assets + 1);
    const int y2 = asset_y(p, n) + ((int)identity + 1) * ASSET_H / (identities + 1);
    const bool through = sum->edge != EDGE_DENIED && sum->edge != EDGE_UNPROVEN;
    const int wall = asset_x - WALL_GAP, x2 = through ? asset_x - 7 : wall - 3;
    const int bend = (wall - x1) / 2;
    char words[96];

    cell_words(sum, words);
    sb_addf(p->sb, "<g class=\"edge %s\"><title>", edge_name(sum->edge));
    add_xml(p->sb, p->g->identities[identity].name);
    sb_adds(p->sb, " to ");
    add_xml(p->sb, asset_rows[p->assets[n]].title);
    sb_adds(p->sb, ": ");
    add_xml(p->sb, words);
    sb_addf(p->sb, "</title><path d=\"M%d %dC%d %d %d %d %d %dH%d\"/>", x1, y1, x1 + bend, y1, wall - bend,
            y2, wall - 3, y2, x2);
    if (through) // an arrow head, with the edge's own stroke
        sb_addf(p->sb, "<path d=\"M%d %dl7 5l-7 5\" style=\"stroke-dasharray:none\"/>", x2 - 2, y2 - 5);
    else
        sb_addf(p->sb, "<circle cx=\"%d\" cy=\"%d\" r=\"3\"/>", wall - 3, y2);
    sb_adds(p->sb, "</g>\n");
}

// The alarming last, so that nothing lies over them.
static void draw_edges(struct page *p)
{
    static const enum edge order[] = {EDGE_DENIED, EDGE_WORKS, EDGE_UNPROVEN, EDGE_OPEN, EDGE_BREACH};

    for (size_t k = 0; k < ARRAY_LEN(order); k++)
        for (unsigned i = 0; i < p->g->n_identities; i++)
            for (unsigned n = 0; n < p->n_assets; n++) {
                struct cell_sum sum = cell_sum(p->g, i, p->assets[n]);
                if (sum.edge == order[k])
                    draw_edge(p, i, n, &sum);
            }
}

// ---- cards --------------------------------------------------------------------------------------

static void draw_identity(struct page *p, unsigned i)
{
    const struct identity *id = &p->g->identities[i];
    const int y = identity_y(p, i), h = identity_h(p), mid = y + h / 2;
    unsigned tried = 0, breaches = 0;
    char line[96];

    for (size_t k = 0; k < p->g->n_results; k++)
        if (p->g->results[k].identity == i) {
            tried++;
            breaches += cell_edge(p->g, &p->g->results[k]) == EDGE_BREACH;
        }
    sb_addf(p->sb, "<rect class=\"card\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", MARGIN,
            y, CARD_W, h);
    sb_addf(p->sb, "<rect class=\"stripe %s\" x=\"%d\" y=\"%d\" width=\"5\" height=\"%d\" rx=\"2.5\"/>\n",
            account_mode_name(id->mode), MARGIN + 8, y + 8, h - 16);
    text_at(p, MARGIN + 28, mid - 12, "class=\"name\"", id->name);
    snprintf(line, sizeof(line), id->account ? "%s, uid %lld" : "%s, the service user",
             account_mode_name(id->mode), id->account ? (long long)id->account->uid : 0LL);
    text_at(p, MARGIN + 28, mid + 8, "class=\"soft\"", line);
    if (tried == 0)
        snprintf(line, sizeof(line), "no attempt was made");
    else
        snprintf(line, sizeof(line), breaches ? "%u attempts, %u wrong" : "%u attempts", tried, breaches);
    text_at(p, MARGIN + 28, mid + 26, "class=\"soft\"", line);
}

static void draw_asset(struct page *p, unsigned n)
{
    const struct asset_row *row = &asset_rows[p->assets[n]];
    const int x = p->width - MARGIN - ASSET_W, y = asset_y(p, n);
    char wrong[48];
    const enum edge worst = cell_worst(p->g, p->assets[n], wrong);

    sb_addf(p->sb, "<g class=\"asset %s\"><title>", edge_name(worst));
    add_xml(p->sb, row->what);
    sb_addf(p->sb, "</title><rect class=\"card\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n",
            x, y, ASSET_W, ASSET_H);
    text_at(p, x + 16, y + 21, "class=\"name\"", row->title);
    text_at(p, x + 16, y + 39, wrong[0] ? "class=\"wrong\"" : "class=\"soft\"", wrong[0] ? wrong : row->what);
    sb_adds(p->sb, "</g>\n");
}

static void draw_cards(struct page *p)
{
    for (unsigned i = 0; i < p->g->n_identities; i++)
        draw_identity(p, i);
    for (unsigned n = 0; n < p->n_assets; n++)
        draw_asset(p, n);
}

static void draw_wall(struct page *p)
{
    const int x = p->width - MARGIN - ASSET_W - WALL_GAP;

    text_at(p, MARGIN, HEAD - 14, "class=\"soft\"", "who tries");
    text_at(p, p->width - MARGIN - ASSET_W, HEAD - 14, "class=\"soft\"", "what is tried");
    text_at(p, x + WALL_W / 2, HEAD - 14, "class=\"soft\" text-anchor=\"middle\"",
            p->walled ? "the wall" : "no wall");
    if (p->walled)
        sb_addf(p->sb, "<rect class=\"wall\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\"/>\n", x,
                HEAD - 4, WALL_W, p->graph + 4);
}

// ---- legend and matrix --------------------------------------------------------------------------

static void draw_legend(struct page *p)
{
    static const struct {
        enum edge edge;
        const char *text;
    } items[] = {
        {EDGE_DENIED, "denied"},
        {EDGE_WORKS, "must work, and does"},
        {EDGE_OPEN, "open: by consent, or unconfined"},
        {EDGE_UNPROVEN, "unproven"},
        {EDGE_BREACH, "ALLOWED, or BROKEN: wrong"},
    };
    static const int widths[] = {136, 206, 268, 136, 0};
    int x = MARGIN;

    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        const int y = HEAD + p->graph + 26;
        sb_addf(p->sb, "<g class=\"edge %s\"><path d=\"M%d %dh34\"/>", edge_name(items[i].edge), x, y - 4);
        if (items[i].edge == EDGE_DENIED || items[i].edge == EDGE_UNPROVEN)
            sb_addf(p->sb, "<circle cx=\"%d\" cy=\"%d\" r=\"3\"/></g>\n", x + 36, y - 4);
        else
            sb_addf(p->sb, "<path d=\"M%d %dl7 5l-7 5\"/></g>\n", x + 30, y - 9);
        text_at(p, x + 46, y, "class=\"soft\"", items[i].text);
        x += widths[i];
    }
}

// A cell says less than cell_words: the layers have a column of their own.
static void draw_cell(struct page *p, int x, int y, const struct cell_sum *sum)
{
    static const char *const verbs[EDGE_COUNT_] = {"-", "works", "denied", "open", "unproven", "ALLOWED"};
    const struct probe_row *row = sum->worst ? probe_row(sum->worst->probe) : NULL;
    char words[96];

    if (!row) {
        text_at(p, x + 18, y, "class=\"soft\"", "-");
        return;
    }
    const char *verb = sum->edge == EDGE_BREACH && row->expected == EXPECTED_ALLOWED   ? "BROKEN"
                       : sum->edge == EDGE_DENIED && row->expected == EXPECTED_EITHER  ? "closed"
                       : sum->edge == EDGE_UNPROVEN && sum->worst->cell == CELL_ABSENT ? "absent layer"
                                                                                       : verbs[sum->edge];
    snprintf(words, sizeof(words), "%s %u of %u", verb, sum->alike, sum->tried);
    sb_addf(p->sb, "<g class=\"cell %s\"><title>", edge_name(sum->edge));
    add_xml(p->sb, row->word);
    sb_addf(p->sb, "</title><circle cx=\"%d\" cy=\"%d\" r=\"5\"/>", x + 6, y - 4);
    text_at(p, x + 18, y, "", words);
    sb_adds(p->sb, "</g>\n");
}

static void draw_matrix(struct page *p)
{
    const int top = HEAD + p->graph + LEGEND, cells = MARGIN + NAME_W + LAYERS_W;
    const int step = (p->width - MARGIN - cells) / (int)p->g->n_identities;

    text_at(p, MARGIN + 12, top - 10, "class=\"soft\"", "asset");
    text_at(p, MARGIN + NAME_W, top - 10, "class=\"soft\"", "held by");
    for (unsigned i = 0; i < p->g->n_identities; i++)
        text_at(p, cells + (int)i * step, top - 10, "class=\"name\"", p->g->identities[i].name);
    for (unsigned n = 0; n < p->n_assets; n++) {
        const int y = top + (int)n * ROW_H;
        char layers[64] = "";
        if (n % 2 == 0)
            sb_addf(p->sb, "<rect class=\"row\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/>\n",
                    MARGIN, y, p->width - 2 * MARGIN, ROW_H);
        text_at(p, MARGIN + 12, y + 20, "", asset_rows[p->assets[n]].title);
        for (unsigned i = 0; i < p->g->n_identities; i++) {
            struct cell_sum sum = cell_sum(p->g, i, p->assets[n]);
            if (strlen(sum.layers) > strlen(layers))
                snprintf(layers, sizeof(layers), "%s", sum.layers);
            draw_cell(p, cells + (int)i * step, y + 20, &sum);
        }
        text_at(p, MARGIN + NAME_W, y + 20, "class=\"soft\"", layers);
    }
}

// ---- the page -----------------------------------------------------------------------------------

static void draw_head(struct page *p, enum verdict outcome)
{
    const char *name = outcome == VERDICT_REFUSE ? "breach" : outcome == VERDICT_PASS ? "denied" : "open";
    const char *word = outcome == VERDICT_REFUSE ? "REFUSED"
                       : outcome == VERDICT_PASS ? "pass"
                                                 : "pass, with warnings";
    unsigned n[EDGE_COUNT_] = {0};
    char line[256];

    for (size_t i = 0; i < p->g->n_results; i++)
        n[cell_edge(p->g, &p->g->results[i])]++;
    snprintf(line, sizeof(line),
             "%zu attempts by %zu %s: %u denied, %u work as they must, %u open, %u unproven, %u wrong",
             p->g->n_results, p->g->n_identities, p->g->n_identities == 1 ? "identity" : "identities",
             n[EDGE_DENIED], n[EDGE_WORKS], n[EDGE_OPEN], n[EDGE_UNPROVEN], n[EDGE_BREACH]);
    sb_addf(
        p->sb,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" "
        "aria-labelledby=\"title desc\">\n<title id=\"title\">ductile, posture %s: what was tried, and what held</title>\n"
        "<desc id=\"desc\">",
        p->width, p->height, p->width, p->height, posture_name(p->g->config->posture));
    add_xml(p->sb, line);
    sb_addf(p->sb,
            ". The gate says: %s.</desc>\n%s<rect class=\"bg\" width=\"%d\" height=\"%d\" rx=\"12\"/>\n",
            word, style, p->width, p->height);
    sb_addf(p->sb, "<text class=\"title\" x=\"%d\" y=\"48\">posture %s</text>\n", MARGIN,
            posture_name(p->g->config->posture));
    text_at(p, MARGIN, 74, "class=\"soft\"", line);
    sb_addf(p->sb, "<g class=\"badge %s\"><rect x=\"%d\" y=\"28\" width=\"180\" height=\"30\" rx=\"15\"/>",
            name, p->width - MARGIN - 180);
    text_at(p, p->width - MARGIN - 90, 48, "text-anchor=\"middle\"", word);
    sb_adds(p->sb, "</g>\n");
}

void draw_svg(const struct gate *g, enum verdict outcome, const char *made, struct strbuf *sb)
{
    struct page p = lay_out(g, sb);

    draw_head(&p, outcome);
    if (p.n_assets > 0 && g->n_identities > 0) {
        draw_wall(&p);
        draw_edges(&p);
        draw_cards(&p);
        draw_legend(&p);
        draw_matrix(&p);
    } else
        text_at(&p, MARGIN, HEAD + 20, "class=\"name\"", "Nothing was tried: the gate refused before.");
    text_at(&p, MARGIN, p.height - 18, "class=\"soft\"", made);
    sb_adds(sb, "</svg>\n");
}
