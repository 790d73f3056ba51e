// What changed between two runs of the gate.
#pragma once
#include "opt.h"
#include "owned.h"
#include <stddef.h>

struct seen {
    char *id, *verdict, *subject, *evidence;
};

enum change_kind { CHANGE_NEW, CHANGE_GONE, CHANGE_CHANGED, CHANGE_COUNT_ };
const char *change_name(enum change_kind kind);

struct change {
    enum change_kind kind;
    const struct seen *before, *after; // NULL where there is none
};

// Compares. Findings that are alike in all four are paired first; of the others, those of one id and subject
// are one finding that changed. In the order of `after`, then what is gone. *ret is the caller's to free; its
// pointers are into the lists. 0 or -ENOMEM.
MUST int diff_compare(const struct seen *before, size_t n_before, const struct seen *after, size_t n_after,
                      struct change **ret, size_t *ret_n);

int verb_diff(const struct opts *o);
