#include "age.h"
#include "bech32.h"
#include "fd.h"
#include "unit.h"
#include <sodium.h>

static int setup(void **s)
{
    (void)s;
    return sodium_init() < 0 ? -1 : secret_arena_open(4 << 20);
}

static int teardown(void **s)
{
    (void)s;
    secret_arena_close();
    return 0;
}

// Vectors of BIP 173.
static void test_bech32_decode__valid(void **s)
{
    uint8_t data[32];
    (void)s;
    assert_int_equal(bech32_decode("a", "A12UEL5L", 8, data, 0), 0);
    assert_int_equal(bech32_decode("a", "a12uel5l", 8, data, 0), 0);
}

static void test_bech32_decode__invalid(void **s)
{
    static const char *const bad[] = {"A1G7SGD8", "a12uel5L", "a12uel5", "12uel5l",
                                      "a12uel5m", "b12uel5l", "a2uel5l", ""};
    uint8_t data[32];
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(bech32_decode("a", bad[i], strlen(bad[i]), data, 0), -EINVAL);
}

static void test_bech32_encode__round_trip(void **s)
{
    uint8_t data[32], out[32];
    char text[128];
    (void)s;
    for (int i = 0; i < 200; i++) {
        randombytes_buf(data, sizeof(data));
        assert_int_equal(bech32_encode("age", data, 32, text, sizeof(text)), 0);
        assert_int_equal(strlen(text), AGE_RECIPIENT_LEN);
        assert_int_equal(bech32_decode("age", text, strlen(text), out, 32), 0);
        assert_memory_equal(data, out, 32);
        text[10] = text[10] == 'q' ? 'p' : 'q';
        assert_int_equal(bech32_decode("age", text, strlen(text), out, 32), -EINVAL);
    }
}

static struct age_identity identity(void)
{
    struct age_identity id = {0};
    assert_int_equal(age_identity_new(&id), 0);
    return id;
}

static void encrypt(const struct age_identity *id, const void *plain, size_t len, uint8_t **file,
                    size_t *file_len)
{
    assert_int_equal(age_encrypt(plain, len, (const uint8_t(*)[AGE_KEY_LEN])id->recipient, 1, file, file_len),
                     0);
}

static int decrypt(const uint8_t *file, size_t len, const struct age_identity *id, size_t max,
                   struct secret *ret)
{
    OWNED(fd_closep) int fd = fd_sealed("age", file, len);

    assert_true(fd >= 0);
    return age_decrypt(fd, id, max, ret);
}

static void test_age_decrypt__round_trip_of_sizes(void **s)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 200000};
    struct age_identity id = identity();
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint8_t *plain = malloc(sizes[i] + 1), *file;
        size_t len;
        struct secret back;
        randombytes_buf(plain, sizes[i]);
        encrypt(&id, plain, sizes[i], &file, &len);
        assert_int_equal(decrypt(file, len, &id, 1 << 20, &back), 0);
        assert_int_equal(back.len, sizes[i]);
        assert_memory_equal(back.data, plain, sizes[i]);
        secret_wipe(&back);
        free(plain);
        free(file);
    }
    age_identity_wipe(&id);
}

static void test_age_decrypt__another_key(void **s)
{
    struct age_identity a = identity(), b = identity();
    uint8_t *file;
    size_t len;
    struct secret back;
    (void)s;
    encrypt(&a, "x", 1, &file, &len);
    assert_int_equal(decrypt(file, len, &b, 10, &back), -ENOKEY);
    free(file);
    age_identity_wipe(&a);
    age_identity_wipe(&b);
}

static void test_age_decrypt__too_large(void **s)
{
    struct age_identity id = identity();
    uint8_t *file;
    size_t len;
    struct secret back;
    (void)s;
    encrypt(&id, "0123456789", 10, &file, &len);
    assert_int_equal(decrypt(file, len, &id, 9, &back), -EFBIG);
    free(file);
    age_identity_wipe(&id);
}

// No cut and no changed bit is ever accepted.
static void test_age_decrypt__every_cut_and_bit(void **s)
{
    struct age_identity id = identity();
    uint8_t *file;
    size_t len;
    struct secret back;
    (void)s;
    encrypt(&id, "some plaintext", 14, &file, &len);
    for (size_t n = 0; n < len; n++)
        assert_true(decrypt(file, n, &id, 100, &back) < 0);
    for (size_t n = 0; n < len; n++)
        for (int bit = 0; bit < 8; bit++) {
            file[n] ^= (uint8_t)(1 << bit);
            if (decrypt(file, len, &id, 100, &back) >= 0)
                fail_msg("bit %d of byte %zu of %zu: %.200s", bit, n, len, file);
            file[n] ^= (uint8_t)(1 << bit);
        }
    assert_int_equal(decrypt(file, len, &id, 100, &back), 0);
    secret_wipe(&back);
    uint8_t *longer = malloc(len + 1);
    memcpy(longer, file, len);
    longer[len] = 0;
    assert_true(decrypt(longer, len + 1, &id, 100, &back) < 0);
    free(longer);
    free(file);
    age_identity_wipe(&id);
    assert_int_equal(secret_in_use(), 0);
}

static void test_age_identity_parse__texts(void **s)
{
    struct age_identity id = identity(), back = {0};
    struct secret text, changed;
    (void)s;
    assert_int_equal(age_identity_text(&id, &text), 0);
    assert_int_equal(age_identity_parse(&text, &back), 0);
    assert_memory_equal(id.recipient, back.recipient, AGE_KEY_LEN);
    age_identity_wipe(&back);
    assert_int_equal(secret_copy("# nothing\n\n", 11, &changed), 0);
    assert_int_equal(age_identity_parse(&changed, &back), -EINVAL);
    secret_wipe(&changed);
    assert_int_equal(secret_new(2 * text.len, &changed), 0); // two keys
    memcpy(changed.data, text.data, text.len);
    memcpy(changed.data + text.len, text.data, text.len);
    assert_int_equal(age_identity_parse(&changed, &back), -EINVAL);
    secret_wipe(&changed);
    assert_int_equal(secret_copy(text.data, text.len, &changed), 0); // lower case
    for (size_t i = 0; i < changed.len; i++)
        if (changed.data[i] >= 'A' && changed.data[i] <= 'Z')
            changed.data[i] = (uint8_t)(changed.data[i] + 32);
    assert_int_equal(age_identity_parse(&changed, &back), -EINVAL);
    secret_wipe(&changed);
    secret_wipe(&text);
    age_identity_wipe(&id);
}

static void test_age_identity_parse_all__several(void **s)
{
    struct age_identity id[3], back[3];
    struct secret text[3], all;
    size_t n = 0, at = 0;
    (void)s;
    assert_int_equal(secret_new(4096, &all), 0);
    for (int i = 0; i < 3; i++) {
        id[i] = identity();
        assert_int_equal(age_identity_text(&id[i], &text[i]), 0);
        memcpy(all.data + at, text[i].data, text[i].len);
        at += text[i].len;
        secret_wipe(&text[i]);
    }
    all.len = at;
    assert_int_equal(age_identity_parse_all(&all, back, 3, &n), 0);
    assert_int_equal(n, 3);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(back[i].recipient, id[i].recipient, AGE_KEY_LEN);
        age_identity_wipe(&back[i]);
    }
    size_t before = secret_in_use();
    assert_int_equal(age_identity_parse_all(&all, back, 2, &n), -E2BIG);
    all.data[at - 10] ^= 1; // the last one is wrong: none is handed out
    assert_int_equal(age_identity_parse_all(&all, back, 3, &n), -EINVAL);
    assert_int_equal(secret_in_use(), before);
    secret_wipe(&all);
    for (int i = 0; i < 3; i++)
        age_identity_wipe(&id[i]);
}

static void test_age_recipient_parse__strict(void **s)
{
    static const char good[] =
        "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"; // of the specification
    uint8_t key[AGE_KEY_LEN];
    char text[80];
    (void)s;
    assert_int_equal(age_recipient_parse(good, key), 0);
    for (size_t i = 0; good[i]; i++)
        text[i] = (char)(good[i] >= 'a' ? good[i] - 32 : good[i]);
    text[sizeof(good) - 1] = '\0';
    assert_int_equal(age_recipient_parse(text, key), -EINVAL); // upper case
    memcpy(text, good, sizeof(good));
    text[20] = (char)(text[20] - 32);
    assert_int_equal(age_recipient_parse(text, key), -EINVAL); // mixed
    snprintf(text, sizeof(text), "%s ", good);
    assert_int_equal(age_recipient_parse(text, key), -EINVAL);
    snprintf(text, sizeof(text), " %s", good);
    assert_int_equal(age_recipient_parse(text, key), -EINVAL);
    assert_int_equal(age_recipient_parse("", key), -EINVAL);
    assert_int_equal(age_recipient_parse(
                         "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX", key),
                     -EINVAL);
}

// The pair of keys that the specification shows.
static void test_age_identity_parse__of_the_specification(void **s)
{
    static const char key[] =
        "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\r\n";
    struct age_identity id;
    struct secret text;
    char recipient[AGE_RECIPIENT_LEN + 1];
    (void)s;
    assert_int_equal(secret_copy(key, sizeof(key) - 1, &text), 0);
    assert_int_equal(age_identity_parse(&text, &id), 0);
    age_recipient_text(id.recipient, recipient);
    assert_string_equal(recipient, "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj");
    age_identity_wipe(&id);
    text.data[3] = '_'; // another hrp
    assert_int_equal(age_identity_parse(&text, &id), -EINVAL);
    secret_wipe(&text);
}

static void test_age_encrypt__low_order_recipient(void **s)
{
    const uint8_t zero[1][AGE_KEY_LEN] = {{0}};
    uint8_t *file;
    size_t len;
    (void)s;
    assert_int_equal(age_encrypt("x", 1, zero, 1, &file, &len), -EINVAL);
    assert_int_equal(age_encrypt("x", 1, zero, 0, &file, &len), -EINVAL);
}

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *format, ...)
{
    char command[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(command, sizeof(command), format, ap);
    va_end(ap);
    assert_int_equal(system(command), 0);
}

// The age tool reads what we write, and we read what it writes: binary files, several recipients, 64 KiB
// chunks.
static void test_age__interoperates_with_the_age_tool(void **s)
{
    char *dir = scratch_make(), path[512], recipient[AGE_RECIPIENT_LEN + 1];
    struct age_identity id = identity();
    struct secret text, back;
    uint8_t *file, plain[150000];
    size_t len;
    (void)s;
    randombytes_buf(plain, sizeof(plain));
    assert_int_equal(age_identity_text(&id, &text), 0);
    snprintf(path, sizeof(path), "%s/key", dir);
    put(path, "%s", (char *)text.data);
    encrypt(&id, plain, sizeof(plain), &file, &len);
    snprintf(path, sizeof(path), "%s/ours.age", dir);
    FILE *f = fopen(path, "w");
    assert_int_equal(fwrite(file, 1, len, f), len);
    fclose(f);
    free(file);
    run("age -d -i %s/key -o %s/plain %s/ours.age", dir, dir, dir);
    age_recipient_text(id.recipient, recipient);
    run("age-keygen -o %s/other 2>/dev/null", dir);
    run("age -r $(age-keygen -y %s/other) -r %s -o %s/theirs.age %s/plain", dir, recipient, dir, dir);
    snprintf(path, sizeof(path), "%s/theirs.age", dir);
    f = fopen(path, "r");
    file = malloc(400000);
    len = fread(file, 1, 400000, f);
    fclose(f);
    assert_int_equal(decrypt(file, len, &id, 1 << 20, &back), 0);
    assert_int_equal(back.len, sizeof(plain));
    assert_memory_equal(back.data, plain, sizeof(plain));
    free(file);
    secret_wipe(&back);
    secret_wipe(&text);
    age_identity_wipe(&id);
    scratch_remove(dir);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(T(bech32_decode__valid), T(bech32_decode__invalid), L(bech32_encode__round_trip),
    L(age_decrypt__round_trip_of_sizes), L(age_decrypt__another_key), L(age_decrypt__too_large),
    L(age_decrypt__every_cut_and_bit), L(age_identity_parse__texts), L(age_identity_parse_all__several),
    L(age_recipient_parse__strict), L(age_identity_parse__of_the_specification),
    L(age_encrypt__low_order_recipient), L(age__interoperates_with_the_age_tool))
