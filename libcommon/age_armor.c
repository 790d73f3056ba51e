// ASCII armor: RFC 7468, section 3, figure 3 (strict), label AGE ENCRYPTED FILE. Armored text is malleable
// wherever a parser is lenient; so one text for one file, but for the line ends and white space outside,
// which the format allows. Line by line: an error is told only when everything before it was taken.
#include "age_parts.h"
#include "limits.h"
#include <sodium.h>
#include <string.h>

static const char begin_marker[] = "-----BEGIN AGE ENCRYPTED FILE-----";
static const char end_marker[] = "-----END AGE ENCRYPTED FILE-----";
enum { LINE_BYTES = 48 };

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool all_space(const char *s, size_t len)
{
    while (len > 0 && is_space(s[len - 1]))
        len--;
    return len == 0;
}

struct line {
    char text[LIMIT_AGE_SPACE];
    size_t len;   // without its end
    size_t taken; // with it
};

// The next line, without LF or CRLF. 1: there is one; 0: the end; AGE_E_ARMOR: it is too long.
static int next_line(struct age_input *in, struct line *line)
{
    int r;

    line->len = line->taken = 0;
    while ((r = age_input_more(in)) > 0) {
        char c = (char)in->buf[in->pos++];
        line->taken++;
        if (c == '\n')
            break;
        if (line->len == sizeof(line->text))
            return AGE_E_ARMOR;
        line->text[line->len++] = c;
    }
    if (r < 0)
        return r;
    if (line->len > 0 && line->text[line->len - 1] == '\r')
        line->len--;
    return line->taken > 0;
}

static bool is_marker(const struct line *line, const char *marker)
{
    return line->len == strlen(marker) && memcmp(line->text, marker, line->len) == 0;
}

static int find_begin(struct age_armor_reader *a)
{
    struct line line;
    size_t space = 0;

    for (;;) {
        int r = next_line(a->in, &line);
        if (r <= 0)
            return r < 0 ? r : AGE_E_ARMOR;
        if (is_marker(&line, begin_marker))
            return 0;
        space += line.taken;
        if (!all_space(line.text, line.len) || space > LIMIT_AGE_SPACE)
            return AGE_E_ARMOR;
    }
}

// What follows the end marker. 0 at the end of the file.
static int only_space(struct age_input *in)
{
    size_t space = 0;
    int r;

    while ((r = age_input_more(in)) > 0)
        if (!is_space((char)in->buf[in->pos++]) || ++space > LIMIT_AGE_SPACE)
            return AGE_E_ARMOR;
    return r;
}

static int end_of_armor(struct age_armor_reader *a)
{
    a->state = ARMOR_AFTER;
    return only_space(a->in);
}

// One line of the body into out. How many bytes; 0 behind the end marker; -errno. Behind a short line the end
// marker is looked for at once: a line that was cut is no part of anything.
static ssize_t body_line(struct age_armor_reader *a, uint8_t out[static LINE_BYTES])
{
    struct line line;
    size_t n;
    int r = next_line(a->in, &line);

    if (r <= 0)
        return r < 0 ? r : AGE_E_ARMOR; // no end marker
    if (is_marker(&line, end_marker))
        return end_of_armor(a); // nothing between the markers: an empty file, whose header is then missed
    if (line.len == 0 || line.len > AGE_COLUMNS ||
        age_b64_decode(line.text, line.len, true, out, LINE_BYTES, &n) < 0)
        return AGE_E_ARMOR;
    if (n == LINE_BYTES)
        return LINE_BYTES;
    r = next_line(a->in, &line);
    if (r <= 0 || !is_marker(&line, end_marker))
        return r < 0 ? r : AGE_E_ARMOR;
    a->error = end_of_armor(a);
    return (ssize_t)n;
}

ssize_t age_armor_read(void *reader, void *buf, size_t size)
{
    struct age_armor_reader *a = reader;
    uint8_t *out = buf;
    size_t n = 0;

    if (a->error == 0 && a->state == ARMOR_BEFORE) {
        a->error = find_begin(a);
        a->state = ARMOR_BODY;
    }
    while (a->error == 0 && a->state != ARMOR_AFTER && size - n >= LINE_BYTES) {
        ssize_t got = body_line(a, out + n);
        if (got < 0)
            a->error = (int)got;
        else
            n += (size_t)got;
    }
    return n > 0 ? (ssize_t)n : a->error;
}

bool age_armor_looks(const char *s, size_t len)
{
    static const char binary[] = "age-encryption.org/", encoded[] = "YWdlLWVuY3J5cHRpb24ub3JnL";
    const char *end = s + len;

    if (len >= sizeof(binary) - 1 && memcmp(s, binary, sizeof(binary) - 1) == 0)
        return false;
    for (const char *p = s; p < end; p++) { // what is armored badly is told so, not that its header is bad
        if (p > s && p[-1] != '\n' && !is_space(p[-1]))
            continue;
        size_t left = (size_t)(end - p);
        if ((left >= 5 && memcmp(p, "-----", 5) == 0) ||
            (left >= sizeof(encoded) - 1 && memcmp(p, encoded, sizeof(encoded) - 1) == 0))
            return true;
    }
    return false;
}

// ---- writing ------------------------------------------------------------------------------------

static int flush_text(struct age_armor_writer *w)
{
    int r = w->n_text > 0 ? w->sink.write(w->sink.ctx, w->text, w->n_text) : 0;

    w->n_text = 0;
    return r;
}

static int add_line(struct age_armor_writer *w)
{
    int r = w->n_text + AGE_COLUMNS + 2 > sizeof(w->text) ? flush_text(w) : 0;

    if (!w->begun) {
        w->n_text = strlen(begin_marker) + 1;
        memcpy(w->text, begin_marker, w->n_text);
        w->text[w->n_text - 1] = '\n';
        w->begun = true;
    }
    if (w->n == 0 || r < 0)
        return r;
    sodium_bin2base64(w->text + w->n_text, AGE_COLUMNS + 1, w->bytes, w->n, sodium_base64_VARIANT_ORIGINAL);
    w->n_text += (w->n + 2) / 3 * 4;
    w->text[w->n_text++] = '\n';
    w->n = 0;
    return 0;
}

int age_armor_write(void *writer, const void *data, size_t len)
{
    struct age_armor_writer *w = writer;
    const uint8_t *p = data;
    int r = 0;

    while (r == 0 && len > 0) {
        size_t take = MIN(len, LINE_BYTES - w->n);
        memcpy(w->bytes + w->n, p, take);
        w->n += take;
        p += take;
        len -= take;
        if (w->n == LINE_BYTES)
            r = add_line(w);
    }
    return r;
}

int age_armor_finish(struct age_armor_writer *w)
{
    int r = add_line(w);

    if (r == 0)
        r = flush_text(w);
    if (r == 0)
        r = w->sink.write(w->sink.ctx, end_marker, strlen(end_marker));
    return r < 0 ? r : w->sink.write(w->sink.ctx, "\n", 1);
}
