// The kinds of facts, for programs that tell them without touching the ledger (the warden links no SQL).
#pragma once

enum audit_kind {
#define AUDIT(name, word, meaning) AUDIT_##name,
#include "audit.def"
#undef AUDIT
    AUDIT_COUNT_
};

const char *audit_word(enum audit_kind kind);
