// A source of age.h that gives bytes in pieces of `step`, and a sink into a strbuf: for unit tests and fuzz
// targets.
#pragma once
#include "str.h"
#include <string.h>

struct pieces {
    const void *p;
    size_t left, step;
};

static inline ssize_t pieces_read(void *ctx, void *buf, size_t size)
{
    struct pieces *in = ctx;
    size_t n = MIN(MIN(in->left, in->step), size);

    if (n > 0)
        memcpy(buf, in->p, n);
    in->p = (const char *)in->p + n;
    in->left -= n;
    return (ssize_t)n;
}

static inline int pieces_write(void *ctx, const void *data, size_t len)
{
    sb_add(ctx, data, len);
    return 0;
}
