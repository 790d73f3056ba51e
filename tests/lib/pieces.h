// A source of age.h that gives bytes in pieces of `step`, a sink into a strbuf, and one that has room: for
// unit tests and fuzz targets.
#pragma once
#include "str.h"
#include <stdlib.h>
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

// A sink in whose memory chunks are decrypted.
struct pieces_room {
    uint8_t *p;
    size_t size, len;
};

static inline size_t pieces_room(void *ctx, uint8_t **ret)
{
    const struct pieces_room *r = ctx;

    *ret = r->p + r->len;
    return r->size - r->len;
}

static inline int pieces_room_write(void *ctx, const void *data, size_t len)
{
    struct pieces_room *r = ctx;

    if (data != r->p + r->len)
        abort(); // not where there was room
    r->len += len;
    return 0;
}
