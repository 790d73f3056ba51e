// Probe results by identity and asset: what the picture draws and the short matrix prints. Judged from
// results alone.
#pragma once
#include "gate.h"

enum asset {
#define ASSET(name, title, what) ASSET_##name,
#define HELD(word, asset)
#include "assets.def"
#undef ASSET
#undef HELD
    ASSET_COUNT_
};

struct asset_row {
    const char *title, *what;
};
extern const struct asset_row asset_rows[ASSET_COUNT_];

// From the least to the most alarming: a cell is as bad as its worst attempt.
enum edge {
    EDGE_NONE,     // nothing of it was tried
    EDGE_WORKS,    // must work, and does
    EDGE_DENIED,   // denied, with a control that succeeded
    EDGE_OPEN,     // allowed, and nobody promised otherwise: by consent, or unconfined
    EDGE_UNPROVEN, // neither shown denied nor allowed; or this kernel lacks the layer
    EDGE_BREACH,   // allowed and should not be; or must work and does not
    EDGE_COUNT_
};
const char *edge_name(enum edge edge);

struct cell_sum {
    enum edge edge;                   // of the worst
    unsigned tried, alike;            // attempts; of them with that edge
    const struct probe_result *worst; // the first with that edge; NULL with EDGE_NONE
    char layers[64];                  // that must stop what was denied, "dac, landlock"
};

enum asset cell_asset(const char *word);
// Has the word a row of its own?
bool cell_knows(const char *word);
enum edge cell_edge(const struct gate *g, const struct probe_result *r);
struct cell_sum cell_sum(const struct gate *g, unsigned identity, enum asset asset);
// Was anything of it tried by anybody?
bool cell_any(const struct gate *g, enum asset asset);
// "denied 3 of 3 by dac", "ALLOWED: become-root", ...
void cell_words(const struct cell_sum *cell, char out[static 96]);
// What is not as it should be about an asset, over all identities: "ALLOWED: become-root, setgroups +4".
// Returns the worst edge; out is "" where that is denied or works.
enum edge cell_worst(const struct gate *g, enum asset asset, char out[static 48]);
