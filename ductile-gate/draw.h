// The posture picture and the short access matrix, drawn from probe results: identities left, assets right.
#pragma once
#include "gate.h"

// All append to sb. made: when and on what it was tried, one line of text, for the foot of the SVG.
void draw_text(const struct gate *g, struct strbuf *sb);
void draw_mermaid(const struct gate *g, struct strbuf *sb);
void draw_svg(const struct gate *g, enum verdict outcome, const char *made, struct strbuf *sb);
