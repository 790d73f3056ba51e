// What the fuzz targets of age files share. These are libFuzzer's: tests/fuzz/run-age builds on its own
// mutations, the corpus of each is tests/fuzz/corpus/TARGET/. What does not hold aborts.
#pragma once
#include "../lib/pieces.h"
#include "age_parts.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST_HOLD(condition, what)                                                                           \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "does not hold: %s (%s:%d)\n", what, __FILE__, __LINE__);                        \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static inline void lab_open(size_t arena)
{
    MUST_HOLD(sodium_init() >= 0 && secret_arena_open(arena) == 0, "an arena");
}
