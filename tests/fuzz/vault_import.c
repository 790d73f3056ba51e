// What `import` reads: JSON, dotenv, pass. What is refused leaves nothing in the arena, and why says nothing
// of a value. An input: a byte for the format, a text; MARKED in it stands for a value.
#include "lab.h"
#include "vault_cli.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    lab_open(4 << 20);
    return 0;
}

static bool holds(const struct pair *p)
{
    size_t n = strnlen(p->name, sizeof(p->name));

    for (size_t i = 0; i < n; i++)
        if (p->name[i] >= 'A' && p->name[i] <= 'Z')
            return false;
    return n < sizeof(p->name) && p->value.data && p->value.data[p->value.len] == '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = {"json", "dotenv", "pass", "", "other"};
    struct pairs pairs = {0};
    struct secret text;
    char why[160] = "";

    if (size < 1 || size > 64 << 10)
        return 0;
    MUST_HOLD(secret_copy(data + 1, size - 1, &text) == 0, "room");
    const size_t f = data[0] % ARRAY_LEN(formats);
    int r = pairs_parse(&text, formats[f], "given", &pairs, why);
    MUST_HOLD(r <= 0 && memchr(why, '\0', sizeof(why)), "a verdict");
    MUST_HOLD(!strcasestr(why, "MARKED"), "why says nothing of a value");
    MUST_HOLD(r == 0 || pairs.n == 0, "all of it, or nothing");
    for (size_t i = 0; i < pairs.n; i++)
        MUST_HOLD(holds(&pairs.list[i]), "a name in lower case, a value with its end");
    pairs_free(&pairs);
    secret_wipe(&text);
    MUST_HOLD(secret_in_use() == 0, "nothing is left");
    return 0;
}
