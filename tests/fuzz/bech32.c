// Bech32 and key files: what is read is exactly what we would write. An input: a byte for the prefix, one for
// the length, a text.
#include "bech32.h"
#include "lab.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    lab_open(64 << 10);
    return 0;
}

static void key_file(const uint8_t *data, size_t size)
{
    struct age_identity ids[4];
    struct secret text, back;
    size_t n;

    MUST_HOLD(secret_copy(data, size, &text) == 0, "room");
    if (age_identity_parse_all(&text, ids, 4, &n) == 0)
        for (size_t i = 0; i < n; i++) {
            MUST_HOLD(age_identity_text(&ids[i], &back) == 0, "a text");
            char *key = strstr((char *)back.data, "AGE-SECRET-KEY-1");
            MUST_HOLD(key && memmem(text.data, text.len, key, strlen(key) - 1),
                      "a key that was read is there");
            secret_wipe(&back);
            age_identity_wipe(&ids[i]);
        }
    secret_wipe(&text);
    MUST_HOLD(secret_in_use() == 0, "nothing is left");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const prefixes[] = {"age", "age-secret-key-", "a", "1"};
    uint8_t bytes[64];
    char text[256];

    if (size < 2 || size > 4096)
        return 0;
    const char *hrp = prefixes[data[0] % ARRAY_LEN(prefixes)];
    const size_t len = data[1] % 65u;
    key_file(data + 2, size - 2);
    if (bech32_decode(hrp, (const char *)data + 2, size - 2, bytes, len) < 0)
        return 0;
    MUST_HOLD(bech32_encode(hrp, bytes, len, text, sizeof(text)) == 0, "written");
    MUST_HOLD(strlen(text) == size - 2, "as long as it was read");
    bool upper = false, lower = false;
    for (size_t i = 0; i < size - 2; i++) {
        char c = (char)data[i + 2];
        upper |= c >= 'A' && c <= 'Z';
        lower |= c >= 'a' && c <= 'z';
        MUST_HOLD((c >= 'A' && c <= 'Z' ? c + 32 : c) == text[i], "one text for one key");
    }
    MUST_HOLD(!upper || !lower, "of one case");
    return 0;
}
