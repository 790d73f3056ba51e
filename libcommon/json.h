// jansson, with the limits of the house.
#pragma once
#include "ynode.h"
#include <jansson.h>

// Parses exactly one document of at most max_depth levels; duplicate keys and NUL bytes are errors. NULL,
// with the reason in error.
json_t *json_parse(const char *text, size_t len, unsigned max_depth, char error[static 160]);
// A YAML node as JSON, by the core schema. NULL on no memory.
json_t *json_from_ynode(const struct ynode *node);
