// Armor: what is taken is, but for line ends and white space outside, exactly what we would write for its
// bytes.
#include "lab.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    lab_open(64 << 10);
    return 0;
}

static int dearmor(const uint8_t *data, size_t size, size_t step, struct strbuf *out)
{
    struct pieces bytes = {data, size, step};
    struct age_input in = {.source = {pieces_read, &bytes}};
    struct age_armor_reader reader = {.in = &in};
    uint8_t buf[1000];

    for (;;) {
        ssize_t n = age_armor_read(&reader, buf, 48 + step % (sizeof(buf) - 48));
        if (n <= 0)
            return (int)n;
        sb_add(out, buf, (size_t)n);
    }
}

// The input as it must have been written: LF, no white space around, one newline at the end.
static void canonical(const uint8_t *data, size_t size, struct strbuf *out)
{
    static const char space[] = " \t\n\v\f\r";

    while (size > 0 && memchr(space, data[0], 6)) {
        data++;
        size--;
    }
    while (size > 0 && memchr(space, data[size - 1], 6))
        size--;
    for (size_t i = 0; i < size; i++)
        if (data[i] != '\r' || data[i + 1] != '\n')
            sb_addc(out, (char)data[i]);
    sb_addc(out, '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf bytes = {0}, again = {0}, text = {0}, want = {0};

    if (size < 1)
        return 0;
    const size_t step = (size_t)data[0] + 1;
    data++;
    size--;
    int r = dearmor(data, size, step, &bytes);
    MUST_HOLD(r == 0 || r == AGE_E_ARMOR, "a verdict");
    MUST_HOLD(dearmor(data, size, size + 1, &again) == r && again.len == bytes.len &&
                  (bytes.len == 0 || memcmp(again.p, bytes.p, bytes.len) == 0),
              "in pieces or whole, it is one");
    if (r == 0) {
        struct age_armor_writer writer = {.sink = {.write = pieces_write, .ctx = &text}};
        MUST_HOLD(age_armor_write(&writer, bytes.p, bytes.len) == 0 && age_armor_finish(&writer) == 0,
                  "written");
        canonical(data, size, &want);
        MUST_HOLD(text.len == want.len && memcmp(text.p, want.p, want.len) == 0, "one text for one file");
    }
    sb_free(&bytes);
    sb_free(&again);
    sb_free(&text);
    sb_free(&want);
    return 0;
}
