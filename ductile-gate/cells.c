// Sums up probe results. Pure: results in, words out.
#include "cells.h"
#include <stdio.h>
#include <string.h>

const struct asset_row asset_rows[ASSET_COUNT_] = {
#define ASSET(name, title, what) [ASSET_##name] = {title, what},
#define HELD(word, asset)
#include "assets.def"
#undef ASSET
#undef HELD
};

static const struct {
    const char *word;
    enum asset asset;
} held[] = {
#define ASSET(name, title, what)
#define HELD(word, asset) {word, ASSET_##asset},
#include "assets.def"
#undef ASSET
#undef HELD
};

const char *edge_name(enum edge edge)
{
    static const char *const names[EDGE_COUNT_] = {"none", "works", "denied", "open", "unproven", "breach"};

    return names[edge];
}

bool cell_knows(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        if (str_eq(held[i].word, word))
            return true;
    return false;
}

enum asset cell_asset(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        if (str_eq(held[i].word, word))
            return held[i].asset;
    return ASSET_OTHER;
}

enum edge cell_edge(const struct gate *g, const struct probe_result *r)
{
    const enum expected expected = probe_row(r->probe)->expected;
    const bool walled = g->identities[r->identity].account != NULL;

    if (expected == EXPECTED_ALLOWED)
        return r->cell == CELL_ALLOWED ? EDGE_WORKS : EDGE_BREACH;
    if (expected == EXPECTED_EITHER)
        return r->cell == CELL_ALLOWED ? EDGE_OPEN : EDGE_DENIED; // not there is closed, too
    if (r->cell == CELL_ALLOWED)
        return walled ? EDGE_BREACH : EDGE_OPEN;
    return r->cell == CELL_DENIED && r->control ? EDGE_DENIED : EDGE_UNPROVEN;
}

// Adds the words of a row's layers that are not there yet.
static void add_layers(char out[static 64], const char *layers)
{
    while (*layers) {
        size_t n = strcspn(layers, ","), used = strlen(out);
        char word[24];
        snprintf(word, sizeof(word), "%.*s", (int)n, layers);
        if (!strstr(out, word))
            snprintf(out + used, 64 - used, "%s%s", used ? ", " : "", word);
        layers += n + (layers[n] == ',');
    }
}

struct cell_sum cell_sum(const struct gate *g, unsigned identity, enum asset asset)
{
    struct cell_sum sum = {0};

    for (size_t i = 0; i < g->n_results; i++) {
        const struct probe_result *r = &g->results[i];
        const struct probe_row *row = probe_row(r->probe);
        if (r->identity != identity || !row || cell_asset(row->word) != asset)
            continue;
        enum edge edge = cell_edge(g, r);
        sum.tried++;
        if (edge == EDGE_DENIED && row->expected == EXPECTED_DENIED)
            add_layers(sum.layers, row->layer);
        if (edge > sum.edge) {
            sum.edge = edge;
            sum.worst = r;
            sum.alike = 0;
        }
        sum.alike += edge == sum.edge;
    }
    return sum;
}

bool cell_any(const struct gate *g, enum asset asset)
{
    for (size_t i = 0; i < g->n_results; i++) {
        const struct probe_row *row = probe_row(g->results[i].probe);
        if (row && cell_asset(row->word) == asset)
            return true;
    }
    return false;
}

void cell_words(const struct cell_sum *cell, char out[static 96])
{
    const struct probe_row *row = cell->worst ? probe_row(cell->worst->probe) : NULL;
    const char *error = cell->worst && cell->worst->error ? errno_name(cell->worst->error) : NULL;

    switch (cell->edge) {
    case EDGE_WORKS: snprintf(out, 96, "works, %u of %u", cell->alike, cell->tried); return;
    case EDGE_DENIED:
        if (cell->layers[0])
            snprintf(out, 96, "denied, %u of %u: %s", cell->alike, cell->tried, cell->layers);
        else
            snprintf(out, 96, "closed, %u of %u", cell->alike, cell->tried);
        return;
    case EDGE_OPEN:
        snprintf(out, 96, "open, %u of %u: %s", cell->alike, cell->tried, row ? row->word : "");
        return;
    case EDGE_UNPROVEN:
        snprintf(out, 96, "%s, %u of %u: %s%s%s",
                 cell->worst && cell->worst->cell == CELL_ABSENT ? "absent layer" : "unproven", cell->alike,
                 cell->tried, row ? row->word : "", error ? " " : "", error ? error : "");
        return;
    case EDGE_BREACH:
        snprintf(out, 96, "%s, %u of %u: %s", row && row->expected == EXPECTED_ALLOWED ? "BROKEN" : "ALLOWED",
                 cell->alike, cell->tried, row ? row->word : "");
        return;
    case EDGE_NONE:
    case EDGE_COUNT_: break;
    }
    snprintf(out, 96, "-");
}

static const char *edge_prefix(const struct probe_result *r, enum edge edge)
{
    if (edge == EDGE_BREACH)
        return probe_row(r->probe)->expected == EXPECTED_ALLOWED ? "BROKEN" : "ALLOWED";
    return edge_name(edge);
}

enum edge cell_worst(const struct gate *g, enum asset asset, char out[static 48])
{
    enum edge worst = EDGE_NONE;
    unsigned more = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < g->n_identities; i++)
        worst = MAX(worst, cell_sum(g, i, asset).edge);
    if (worst < EDGE_OPEN)
        return worst;
    for (size_t i = 0; i < g->n_results; i++) {
        const struct probe_result *r = &g->results[i];
        const struct probe_row *row = probe_row(r->probe);
        const size_t used = strlen(out);
        bool seen = false;
        if (!row || cell_asset(row->word) != asset || cell_edge(g, r) != worst)
            continue;
        for (size_t j = 0; j < i; j++)
            seen |= g->results[j].probe == r->probe && cell_edge(g, &g->results[j]) == worst;
        if (!seen && used + strlen(row->word) + 8 < 48)
            snprintf(out + used, 48 - used, "%s%s%s", used ? "" : edge_prefix(r, worst), used ? ", " : ": ",
                     row->word);
        else
            more += !seen;
    }
    if (more) {
        const size_t used = strlen(out);
        snprintf(out + used, 48 - used, " +%u", more);
    }
    return worst;
}
