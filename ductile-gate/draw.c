// The short matrix as text, and the picture as Mermaid. The SVG is in svg.c.
#include "draw.h"
#include "cells.h"
#include <stdio.h>

void draw_text(const struct gate *g, struct strbuf *sb)
{
    char words[96];

    sb_addf(sb, "%-30s", "asset");
    for (size_t i = 0; i < g->n_identities; i++)
        sb_addf(sb, " %-42s", g->identities[i].name);
    sb_addc(sb, '\n');
    for (enum asset a = 0; a < ASSET_COUNT_; a++) {
        if (!cell_any(g, a))
            continue;
        sb_addf(sb, "%-30s", asset_rows[a].title);
        for (unsigned i = 0; i < g->n_identities; i++) {
            struct cell_sum sum = cell_sum(g, i, a);
            cell_words(&sum, words);
            sb_addf(sb, " %-42s", words);
        }
        sb_addc(sb, '\n');
    }
}

// What would end a quoted label. Names of accounts have none of it; targets are not drawn here.
static void add_label(struct strbuf *sb, const char *s)
{
    for (; *s; s++)
        if (*s == '"' || *s == '<' || *s == '>' || *s == '#' || *s == '&' || *s < ' ')
            sb_addf(sb, "#%u;", (unsigned)(unsigned char)*s);
        else
            sb_addc(sb, *s);
}

void draw_mermaid(const struct gate *g, struct strbuf *sb)
{
    static const char *const arrows[EDGE_COUNT_] = {"", "-->", "--x", "==>", "-.->", "==>"};
    static const char *const colours[EDGE_COUNT_] = {
        "", "#3b6fb6", "#2f8f5b", "#b7791f", "#7a7f87,stroke-dasharray:5 4", "#d1242f,stroke-width:4px"};
    unsigned links = 0;
    char words[96];

    sb_addf(sb, "%%%% posture %s, drawn from %zu attempts\nflowchart LR\n", posture_name(g->config->posture),
            g->n_results);
    for (unsigned i = 0; i < g->n_identities; i++) {
        sb_addf(sb, "  i%u([\"", i);
        add_label(sb, g->identities[i].name);
        sb_addf(sb, "<br/>%s\"])\n", account_mode_name(g->identities[i].mode));
    }
    for (enum asset a = 0; a < ASSET_COUNT_; a++)
        if (cell_any(g, a)) {
            sb_addf(sb, "  a%u[\"", (unsigned)a);
            add_label(sb, asset_rows[a].title);
            sb_adds(sb, "\"]\n");
        }
    for (unsigned i = 0; i < g->n_identities; i++)
        for (enum asset a = 0; a < ASSET_COUNT_; a++) {
            struct cell_sum sum = cell_sum(g, i, a);
            if (sum.edge == EDGE_NONE)
                continue;
            cell_words(&sum, words);
            sb_addf(sb, "  i%u %s|\"", i, arrows[sum.edge]);
            add_label(sb, words);
            sb_addf(sb, "\"| a%u\n  linkStyle %u stroke:%s\n", (unsigned)a, links++, colours[sum.edge]);
        }
    if (links == 0)
        sb_adds(sb, "  none[\"nothing was tried\"]\n");
}
