// Bundles. The reader trusts the writer (the warden) with content, not with lengths.
#include "bundle.h"
#include "fd.h"
#include "limits.h"
#include "str.h"
#include <string.h>

static const char magic[] = "DTLB1\n";
enum { HEAD = 7 };

void bundle_add(struct strbuf *sb, char kind, const char *name, const void *data, size_t len)
{
    size_t name_len = strlen(name);
    unsigned char head[HEAD] = {(unsigned char)kind};

    if (name_len > UINT16_MAX || len > UINT32_MAX) {
        sb->failed = true;
        return;
    }
    if (sb->len == 0)
        sb_adds(sb, magic);
    for (int i = 0; i < 2; i++)
        head[1 + i] = (unsigned char)(name_len >> (8 * i));
    for (int i = 0; i < 4; i++)
        head[3 + i] = (unsigned char)(len >> (8 * i));
    sb_add(sb, head, sizeof(head));
    sb_add(sb, name, name_len + 1);
    sb_add(sb, data, len);
    sb_addc(sb, '\0');
}

static int parse(struct bundle *b, const char *p, const char *end)
{
    while (p < end) {
        const unsigned char *head = (const unsigned char *)p;
        if (end - p < HEAD)
            return -EBADMSG;
        size_t name_len = head[1] | (size_t)head[2] << 8;
        size_t len = head[3] | (size_t)head[4] << 8 | (size_t)head[5] << 16 | (size_t)head[6] << 24;
        p += HEAD;
        if ((size_t)(end - p) < name_len + 1 + len + 1 || p[name_len] != '\0' ||
            p[name_len + 1 + len] != '\0' || strlen(p) != name_len)
            return -EBADMSG;
        struct bundle_entry *list = reallocarray(b->list, b->n + 1, sizeof(*list));
        if (!list)
            return -ENOMEM;
        b->list = list;
        list[b->n++] = (struct bundle_entry){(char)head[0], p, p + name_len + 1, len};
        p += name_len + 1 + len + 1;
    }
    return 0;
}

int bundle_read(int fd, struct bundle *ret)
{
    struct bundle b = {0};
    uint64_t size;
    size_t len;
    int r = fd_check_sealed(fd, &size);

    if (r < 0)
        return r;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_last();
    r = fd_read_all(fd, LIMIT_BUNDLE, &b.memory, &len);
    if (r < 0)
        return r;
    r = len >= strlen(magic) && memcmp(b.memory, magic, strlen(magic)) == 0
            ? parse(&b, b.memory + strlen(magic), b.memory + len)
            : -EBADMSG;
    if (r < 0) {
        bundle_free(&b);
        return r;
    }
    *ret = b;
    return 0;
}

void bundle_free(struct bundle *bundle)
{
    free(bundle->memory);
    free(bundle->list);
    *bundle = (struct bundle){0};
}
