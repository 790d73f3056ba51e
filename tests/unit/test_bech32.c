#include "bech32.h"
#include "str.h"
#include "unit.h"

enum { ROOM = 256 };

static int decode(const char *hrp, const char *text, uint8_t *data, size_t len)
{
    return bech32_decode(hrp, text, strlen(text), data, len);
}

// ---- a second opinion: the checksum as BIP 173 writes it down, over values of five bits -----------

static const char letters[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

static uint32_t fold(uint32_t sum, unsigned value)
{
    static const uint32_t generator[] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
    uint32_t top = sum >> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ value;
    for (unsigned i = 0; i < 5; i++)
        sum ^= (top >> i) & 1 ? generator[i] : 0;
    return sum;
}

// constant: 1 for Bech32, 0x2bc830a3 for Bech32m.
static void sign(const char *hrp, const uint8_t *values, size_t n, uint32_t constant, char out[static ROOM])
{
    uint32_t sum = 1;
    size_t at = (size_t)snprintf(out, ROOM, "%s1", hrp);
    for (const char *p = hrp; *p; p++)
        sum = fold(sum, (unsigned char)*p >> 5);
    sum = fold(sum, 0);
    for (const char *p = hrp; *p; p++)
        sum = fold(sum, (unsigned char)*p & 31);
    for (size_t i = 0; i < n; i++) {
        sum = fold(sum, values[i]);
        out[at++] = letters[values[i]];
    }
    for (int i = 0; i < 6; i++)
        sum = fold(sum, 0);
    sum ^= constant;
    for (int i = 5; i >= 0; i--)
        out[at++] = letters[(sum >> (5 * i)) & 31];
    out[at] = '\0';
}

// ---- vectors of the BIP ---------------------------------------------------------------------------

static const struct {
    const char *hrp, *text, *hex;
} vectors[] = {
    {"a", "a12uel5l", ""},
    {"?", "?1ezyfcl", ""},
    {"an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio",
     "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs", ""},
    {"abcdef", "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw", "00443214c74254b635cf84653a56d7c675be77df"},
    {"1", "11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"},
    {"split", "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
     "c5f38b70305f519bf66d85fb6cf03058f3dde463ecd7918f2dc743918f2d"},
};

static void test_bech32_decode__valid_vectors(void **s)
{
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        uint8_t data[64] = {0}, expected[64];
        char text[ROOM];
        size_t len = strlen(vectors[i].hex) / 2;
        assert_int_equal(str_unhex(vectors[i].hex, expected, len), 0);
        if (decode(vectors[i].hrp, vectors[i].text, data, len) != 0)
            fail_msg("%s", vectors[i].text);
        assert_memory_equal(data, expected, len);
        assert_int_equal(bech32_encode(vectors[i].hrp, expected, len, text, sizeof(text)), 0);
        assert_string_equal(text, vectors[i].text);
    }
}

static void test_bech32_decode__upper_case(void **s)
{
    uint8_t data[20], expected[20];
    (void)s;
    assert_int_equal(decode("a", "A12UEL5L", data, 0), 0);
    assert_int_equal(decode("abcdef", "ABCDEF1QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LMQQQXW", data, 20), 0);
    assert_int_equal(str_unhex("00443214c74254b635cf84653a56d7c675be77df", expected, 20), 0);
    assert_memory_equal(data, expected, 20);
}

static void test_bech32_decode__mixed_case(void **s)
{
    static const char good[] = "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw";
    uint8_t data[20];
    (void)s;
    for (size_t i = 0; good[i]; i++) { // one letter of the other case, wherever it stands, both ways
        char lower[sizeof(good)], upper[sizeof(good)];
        if (good[i] < 'a')
            continue;
        memcpy(lower, good, sizeof(good));
        for (size_t j = 0; j < sizeof(good); j++)
            upper[j] = (char)(good[j] >= 'a' ? good[j] - 32 : good[j]);
        lower[i] = (char)(lower[i] - 32);
        upper[i] = (char)(upper[i] + 32);
        if (decode("abcdef", lower, data, 20) != -EINVAL || decode("abcdef", upper, data, 20) != -EINVAL)
            fail_msg("position %zu", i);
    }
    // whole parts of one case each
    assert_int_equal(decode("abcdef", "ABCDEF1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw", data, 20), -EINVAL);
    assert_int_equal(decode("abcdef", "abcdef1QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LMQQQXW", data, 20), -EINVAL);
}

static void test_bech32_decode__invalid_vectors(void **s)
{
    static const struct {
        const char *hrp, *text;
    } bad[] = {
        {"pzry9x0s", "pzry9x0s0muk"},                                // no separator
        {"pzry9x", "pzry9x0s0muk"},                                  //
        {"x", "x1b4n0q5v"},                                          // b is no letter of data
        {"li", "li1dgmt3"},                                          // checksum too short
        {"de", "de1lg7wt\xff"},                                      // not ASCII
        {"a", "A1G7SGD8"},                                           // its checksum is of the upper-case hrp
        {"a", "1qzzfhee"},                                           // another hrp: none
        {"a", "b12uel5l"},                                           //
        {"a", "a12uel5"},                                            //
        {"a", "a1"},                                                 //
        {"a", "a"},                                                  //
        {"a", ""},                                                   //
        {"a", "a1 2uel5l"},                                          //
        {"a", " a12uel5l"},                                          //
        {"a", "a12uel5l "},                                          //
        {"a", "a12uel5l\n"},                                         //
        {"a", "a1lqfn3a"},                                           // Bech32m
        {"abcdef", "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx"}, // Bech32m
        {"split", "split1cheo2y9e3w"},                               // o
        {"split", "split1a2y9w"},
        {"split", "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3x"},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (size_t len = 0; len <= 64; len++) { // whatever length is wanted
            uint8_t data[64];
            if (decode(bad[i].hrp, bad[i].text, data, len) != -EINVAL)
                fail_msg("%s as %zu bytes", bad[i].text, len);
        }
}

static void test_bech32_decode__checksum_finds_every_change_of_one(void **s)
{
    static const char good[] = "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw";
    uint8_t data[20];
    (void)s;
    for (size_t i = 7; good[i]; i++) {
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        for (const char *l = letters; *l; l++) {
            text[i] = *l;
            if ((decode("abcdef", text, data, 20) == 0) != (*l == good[i])) // the good one is the control
                fail_msg("%s", text);
        }
        memcpy(text, good, sizeof(good));
        text[i] = good[i - (i > 7)];
        text[i - (i > 7)] = good[i]; // two neighbours change places
        if (text[i] != good[i])
            assert_int_equal(decode("abcdef", text, data, 20), -EINVAL);
    }
    for (size_t i = 0; i < 6; i++) { // and the hrp is under it, when ours is asked for
        char hrp[] = "abcdef", text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        hrp[i] = text[i] = 'x';
        assert_int_equal(decode(hrp, text, data, 20), -EINVAL);
    }
}

static void test_bech32_decode__other_checksum(void **s)
{
    static const uint8_t values[] = {0, 1, 2, 3, 4, 5, 6, 7}; // 40 bits: 5 bytes
    static const uint32_t constants[] = {0, 2, 0x2bc830a3, 0x3fffffff};
    char text[ROOM];
    uint8_t data[5];
    (void)s;
    sign("age", values, sizeof(values), 1, text);
    assert_int_equal(decode("age", text, data, 5), 0); // control: the second opinion agrees
    for (size_t i = 0; i < ARRAY_LEN(constants); i++) {
        sign("age", values, sizeof(values), constants[i], text);
        assert_int_equal(decode("age", text, data, 5), -EINVAL);
    }
}

static void test_bech32_decode__exact_length(void **s)
{
    uint8_t data[64] = {0};
    char text[ROOM];
    (void)s;
    for (size_t len = 1; len <= 40; len++) {
        assert_int_equal(bech32_encode("k", data, len, text, sizeof(text)), 0);
        for (size_t wanted = 0; wanted <= 64; wanted++)
            if ((decode("k", text, data, wanted) == 0) != (wanted == len))
                fail_msg("%zu bytes read as %zu", len, wanted);
    }
    assert_int_equal(decode("k", text, data, 65), -EINVAL);
}

// A q before a last p does not change the checksum (the BIP's known weakness); the length tells.
static void test_bech32_decode__inserted_q(void **s)
{
    uint8_t values[8], data[8];
    char text[ROOM], longer[ROOM];
    (void)s;
    for (unsigned n = 0; n < 40000; n++) { // one in 32 ends in p
        for (size_t i = 0; i < sizeof(values); i++)
            values[i] = (uint8_t)(n >> (2 * i) & 31);
        sign("k", values, sizeof(values), 1, text);
        if (text[strlen(text) - 1] == 'p')
            break;
    }
    assert_int_equal(text[strlen(text) - 1], 'p');
    snprintf(longer, sizeof(longer), "%.*sqp", (int)strlen(text) - 1, text);
    assert_int_equal(decode("k", text, data, 5), 0);
    assert_int_equal(decode("k", longer, data, 5), -EINVAL);
    assert_int_equal(decode("k", longer, data, 6), -EINVAL);
}

// Same bytes, another text: there is one way to write a key.
static void test_bech32_decode__padding(void **s)
{
    uint8_t values[7] = {31, 31, 31, 31, 0, 0, 0}, data[4];
    char text[ROOM];
    (void)s;
    values[3] = 16; // 16 bits of ones and 4 of zeros: two bytes
    sign("k", values, 4, 1, text);
    assert_int_equal(decode("k", text, data, 2), 0);
    assert_true(data[0] == 0xff && data[1] == 0xff);
    for (unsigned bit = 0; bit < 4; bit++) {
        values[3] = (uint8_t)(16 | 1u << bit);
        sign("k", values, 4, 1, text);
        assert_int_equal(decode("k", text, data, 2), -EINVAL);
    }
    values[3] = 16;
    sign("k", values, 5, 1, text); // nine bits of zeros are a byte and one: three bytes, not two
    assert_int_equal(decode("k", text, data, 2), -EINVAL);
    assert_int_equal(decode("k", text, data, 3), 0); // control
    sign("k", values, 6, 1, text);                   // 30 bits: a whole letter too many for three bytes
    assert_int_equal(decode("k", text, data, 3), -EINVAL);
}

static void test_bech32_decode__text_has_no_end(void **s)
{
    uint8_t data[1];
    (void)s;
    assert_int_equal(bech32_decode("a", "a12uel5lqqqq", 8, data, 0), 0); // only text_len characters are read
    assert_int_equal(bech32_decode("a", "a12uel5lqqqq", 9, data, 0), -EINVAL);
    assert_int_equal(bech32_decode("a", "a12uel5l", 9, data, 0), -EINVAL); // NUL is no letter
    char *exact = malloc(8);                                               // for the sanitizer to watch
    memcpy(exact, "a12uel5l", 8);
    for (size_t n = 0; n <= 8; n++)
        assert_int_equal(bech32_decode("a", exact, n, data, 0), n == 8 ? 0 : -EINVAL);
    free(exact);
}

static void test_bech32_encode__round_trip(void **s)
{
    uint8_t in[64], out[64];
    char text[ROOM];
    (void)s;
    for (size_t len = 0; len <= sizeof(in); len++) {
        for (size_t i = 0; i < len; i++)
            in[i] = (uint8_t)(255 - 7 * i - len);
        memset(out, 0, sizeof(out));
        assert_int_equal(bech32_encode("age-secret-key-", in, len, text, sizeof(text)), 0);
        assert_int_equal(decode("age-secret-key-", text, out, len), 0);
        assert_memory_equal(in, out, len);
        for (const char *p = text; *p; p++)
            assert_false(*p >= 'A' && *p <= 'Z');
    }
}

static void test_bech32_encode__room(void **s)
{
    uint8_t data[65] = {0};
    char text[ROOM];
    (void)s;
    for (size_t len = 0; len <= 64; len++) {
        size_t need = 3 + 1 + (len * 8 + 4) / 5 + 6 + 1;
        memset(text, '#', sizeof(text));
        assert_int_equal(bech32_encode("abc", data, len, text, need - 1), -ENOSPC);
        assert_int_equal(text[0], '#');
        assert_int_equal(bech32_encode("abc", data, len, text, need), 0);
        assert_int_equal(strlen(text), need - 1);
        assert_int_equal(text[need], '#');
    }
    assert_int_equal(bech32_encode("abc", data, 65, text, sizeof(text)), -ENOSPC);
    assert_int_equal(bech32_encode("abc", data, 1, text, 0), -ENOSPC);
}

RUN(T(bech32_decode__valid_vectors), T(bech32_decode__upper_case), T(bech32_decode__mixed_case),
    T(bech32_decode__invalid_vectors), T(bech32_decode__checksum_finds_every_change_of_one),
    T(bech32_decode__other_checksum), T(bech32_decode__exact_length), T(bech32_decode__inserted_q),
    T(bech32_decode__padding), T(bech32_decode__text_has_no_end), T(bech32_encode__round_trip),
    T(bech32_encode__room))
