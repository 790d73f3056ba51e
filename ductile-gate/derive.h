// The posture of a config, and why it is that one.
#pragma once
#include "config.h"
#include "opt.h"

struct posture_row {
    const char *accounts, *runs_as, *pick_when;
};
extern const struct posture_row posture_rows[POSTURE_COUNT_];

// What in the config makes the posture, as half a sentence.
void derive_because(const struct config *config, char out[static 256]);

int verb_posture(const struct opts *o);
