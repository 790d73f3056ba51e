// The words of audit.def.
#include "ledger_kinds.h"

static const char *const words[AUDIT_COUNT_] = {
#define AUDIT(name, word, meaning) [AUDIT_##name] = word,
#include "audit.def"
#undef AUDIT
};

const char *audit_word(enum audit_kind kind)
{
    return kind < AUDIT_COUNT_ ? words[kind] : "unknown";
}
