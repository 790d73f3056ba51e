// The audit book against itself (its chain) and against the journal. Who keeps the book is the half of the
// gateway that parses hostile bytes; what the warden and the bus said when it happened is in the journal,
// where neither can take it back. Pure: rows and lines in, findings out.
#pragma once
#include "chain.h"
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct book;

// Who may speak in the journal: a line counts only by the uid and the program that the journal saw, because a
// plugin can forge all else.
struct book_speakers {
    uid_t warden_uid, bus_uid;
    const char *warden_exe, *bus_exe;
};

struct book_line {
    uid_t uid;
    const char *exe, *message;
    int64_t at_ms;
};

struct book *book_new(void);
void book_free(struct book *book);

// The next row of the ledger. After the first that does not follow, the chain is not looked at any more.
// -ENOMEM.
MUST int book_row(struct book *book, const struct chain_fact *fact,
                  const uint8_t hash[static CHAIN_HASH_LEN]);
// A line of the journal, in its order. 1: it counts, 0: it does not, or says nothing of the book. -ENOMEM.
MUST int book_line(struct book *book, const struct book_speakers *speakers, const struct book_line *line);
// After the last line: what left and is not in the book, what is in the book and was not seen to leave, what
// was cut off.
MUST int book_compare(struct book *book);

struct book_sum {
    int64_t rows;                 // of the ledger
    uint8_t head[CHAIN_HASH_LEN]; // of the last good one
    size_t lines;                 // of the journal that count
    size_t deliveries;            // that stand in both
    size_t withdrawn;             // rows whose secret did not leave: the spawn was refused after all
    size_t older;                 // deliveries from before the journal's first line
    const json_t *findings;       // [{"row", "what"}], empty: all is well
};
struct book_sum book_sum(const struct book *book);
