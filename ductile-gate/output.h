// In which form `check` and `prove` say what they found. Exactly one of text, --json, --sarif, --format.
#pragma once
#include "gate.h"

enum output { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_SARIF, OUTPUT_MATRIX, OUTPUT_MERMAID, OUTPUT_SVG };

// 0 with *ret_output, or the exit code of a usage refusal that has been printed: two forms at once, an
// unknown word.
int output_of(const struct opts *o, enum output *ret_output);
// Prints; all: the long form of text. Returns report_written().
int output_print(const struct opts *o, const struct gate *g, enum output output, bool all,
                 enum verdict outcome);

// sarif.c: one SARIF 2.1.0 document. passes: results that passed, too.
void sarif_add(const struct gate *g, enum verdict outcome, int exit_code, bool passes, struct strbuf *sb);
