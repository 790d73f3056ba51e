// Every rule of the armor (age-encryption.org/v1: "ASCII armor"; RFC 7468, section 3, figure 3), each broken
// alone.
#include "age_lab.h"
#include "limits.h"

#define ARMOR AGE_E_ARMOR
#define BEGIN "-----BEGIN AGE ENCRYPTED FILE-----\n"
#define END   "-----END AGE ENCRYPTED FILE-----\n"

// A binary file for lab_id whose plaintext makes it `len` bytes long modulo 48.
static void make(struct strbuf *file, size_t modulo)
{
    uint8_t nonce[16] = {3};
    static const char text[48];
    lab_header(file, "{v}{x}{end}");
    sb_add(file, nonce, 16);
    size_t pad = (modulo + 96 - (file->len + 16) % 48) % 48;
    lab_chunk(file, nonce, text, pad, 0, 1);
    assert_int_equal(file->len % 48, modulo);
}

// {1} the first line, {n} all lines between the first and the last, {l} the last; {r}..{R} inside: as they
// are.
static void fill(struct strbuf *out, const char *template, const struct strbuf *file)
{
    static char all[1 << 16];
    sodium_bin2base64(all, sizeof(all), (const uint8_t *)file->p, file->len, sodium_base64_VARIANT_ORIGINAL);
    size_t len = strlen(all), last = (len - 1) / 64 * 64;
    for (const char *p = template; *p; p++) {
        if (*p != '{') {
            sb_addc(out, *p);
            continue;
        }
        if (p[1] == '1')
            sb_addf(out, "%.64s\n", all);
        else if (p[1] == 'l')
            sb_addf(out, "%s", all + last);
        else
            for (size_t at = 64; at < last; at += 64)
                sb_addf(out, "%.64s\n", all + at);
        p += 2;
    }
}

struct row {
    const char *rule, *text;
    int want;
    size_t modulo;
};

static void check(const struct row *rows, size_t n)
{
    static const size_t steps[] = {1, 50, 1 << 20};
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
            struct strbuf file = {0}, text = {0}, plain = {0};
            make(&file, rows[i].modulo);
            fill(&text, rows[i].text, &file);
            int r = lab_decrypt(&text, steps[k], &keys, &plain);
            if (r != rows[i].want)
                fail_msg("%s: %s, not %s\n%.*s", rows[i].rule, lab_name(r), lab_name(rows[i].want),
                         (int)text.len, text.p);
            sb_free(&file);
            sb_free(&text);
            sb_free(&plain);
        }
}

static void test_age_armor_read__markers(void **s)
{
    static const struct row rows[] = {
        {"as it is written", BEGIN "{1}{n}{l}\n" END, 0, 10},
        {"no newline at the end", BEGIN "{1}{n}{l}\n-----END AGE ENCRYPTED FILE-----", 0, 10},
        {"white space around", " \t\n\n\r\n \n" BEGIN "{1}{n}{l}\n" END "\n \t\r\n\v\f\n  ", 0, 10},
        {"no begin marker", "{1}{n}{l}\n" END, ARMOR, 10},
        {"no end marker", BEGIN "{1}{n}{l}\n", ARMOR, 10},
        {"no end marker behind a full line", BEGIN "{1}{n}{l}\n", ARMOR, 0},
        {"nothing but a marker", BEGIN, ARMOR, 0},
        {"nothing between the markers: an empty file", BEGIN END, AGE_E_HEADER, 0},
        {"text before", "text\n" BEGIN "{1}{n}{l}\n" END, ARMOR, 10},
        {"text behind", BEGIN "{1}{n}{l}\n" END "text\n", ARMOR, 10},
        {"text on the line of the end marker", BEGIN "{1}{n}{l}\n-----END AGE ENCRYPTED FILE----- text\n",
         ARMOR, 10},
        {"white space on the line of the end marker", BEGIN "{1}{n}{l}\n-----END AGE ENCRYPTED FILE----- \n",
         ARMOR, 10},
        {"white space behind the begin marker", "-----BEGIN AGE ENCRYPTED FILE----- \n{1}{n}{l}\n" END, ARMOR,
         10},
        {"white space on the line of the begin marker", " " BEGIN "{1}{n}{l}\n" END, ARMOR, 10},
        {"white space before the end marker", BEGIN "{1}{n}{l}\n -----END AGE ENCRYPTED FILE-----\n", ARMOR,
         10},
        {"another file behind", BEGIN "{1}{n}{l}\n" END BEGIN "{1}{n}{l}\n" END, ARMOR, 10},
        {"the label in lower case",
         "-----begin age encrypted file-----\n{1}{n}{l}\n-----end age encrypted file-----\n", ARMOR, 10},
        {"another label", "-----BEGIN AGE FILE-----\n{1}{n}{l}\n-----END AGE FILE-----\n", ARMOR, 10},
        {"another end label", BEGIN "{1}{n}{l}\n-----END AGE FILE-----\n", ARMOR, 10},
        {"four dashes", "----BEGIN AGE ENCRYPTED FILE-----\n{1}{n}{l}\n" END, ARMOR, 10},
        {"four dashes behind", "-----BEGIN AGE ENCRYPTED FILE----\n{1}{n}{l}\n" END, ARMOR, 10},
        {"six dashes", "------BEGIN AGE ENCRYPTED FILE-----\n{1}{n}{l}\n" END, ARMOR, 10},
        {"headers", BEGIN "Comment: a\n\n{1}{n}{l}\n" END, ARMOR, 10},
        {"a checksum of PGP", BEGIN "{1}{n}{l}\n=TwTF\n" END, ARMOR, 10},
        {"two begin markers", BEGIN BEGIN "{1}{n}{l}\n" END, ARMOR, 10},
        {"no line break behind the begin marker", "-----BEGIN AGE ENCRYPTED FILE-----{1}{n}{l}\n" END, ARMOR,
         10},
        {"no line break before the end marker", BEGIN "{1}{n}{l}" END, ARMOR, 10},
        {"an end marker before the begin marker", END BEGIN "{1}{n}{l}\n" END, ARMOR, 10},
        {"a control byte behind", BEGIN "{1}{n}{l}\n" END "\x01", ARMOR, 10},
    };
    (void)s;
    check(rows, ARRAY_LEN(rows));
}

static void test_age_armor_read__lines(void **s)
{
    static const struct row rows[] = {
        {"a full last line", BEGIN "{1}{n}{l}\n" END, 0, 0},
        {"a last line of 64 columns with one =", BEGIN "{1}{n}{l}\n" END, 0, 47},
        {"a last line of 64 columns with two =", BEGIN "{1}{n}{l}\n" END, 0, 46},
        {"a last line of four columns", BEGIN "{1}{n}{l}\n" END, 0, 1},
        {"an empty line at the end, behind a full line", BEGIN "{1}{n}{l}\n\n" END, ARMOR, 0},
        {"an empty line at the end, behind a short one", BEGIN "{1}{n}{l}\n\n" END, ARMOR, 10},
        {"an empty line at the beginning", BEGIN "\n{1}{n}{l}\n" END, ARMOR, 10},
        {"an empty line in the middle", BEGIN "{1}\n{n}{l}\n" END, ARMOR, 10},
        {"a short line in the middle", BEGIN "AAAA\n{1}{n}{l}\n" END, ARMOR, 10},
        {"a padded line in the middle", BEGIN "{1}{n}{l}\nAAAA\n" END, ARMOR, 46},
        {"lines of 68 columns", BEGIN "AAAA{1}{n}{l}\n" END, ARMOR, 10},
        {"a space in front", BEGIN " {1}{n}{l}\n" END, ARMOR, 10},
        {"a space behind the last line", BEGIN "{1}{n}{l} \n" END, ARMOR, 10},
        {"a tab behind the last line", BEGIN "{1}{n}{l}\t\n" END, ARMOR, 10},
        {"three =", BEGIN "{1}{n}A===\n" END, ARMOR, 10},
        {"= alone", BEGIN "{1}{n}====\n" END, ARMOR, 10},
        {"= in the middle", BEGIN "{1}{n}AA=A\n" END, ARMOR, 10},
        {"= before the end of a line", BEGIN "{1}{n}AA==AAAA\n" END, ARMOR, 10},
        {"no padding, two", BEGIN "{1}{n}AA\n" END, ARMOR, 10},
        {"no padding, three", BEGIN "{1}{n}AAA\n" END, ARMOR, 10},
        {"half of the padding", BEGIN "{1}{n}AA=\n" END, ARMOR, 10},
        {"padding on a line of its own", BEGIN "{1}{n}AA\n==\n" END, ARMOR, 10},
        {"not canonical, two", BEGIN "{1}{n}AB==\n" END, ARMOR, 10},
        {"not canonical, three", BEGIN "{1}{n}AAB=\n" END, ARMOR, 10},
        {"the URL alphabet", BEGIN "{1}{n}AA-_\n" END, ARMOR, 10},
        {"another character", BEGIN "{1}{n}AA*A\n" END, ARMOR, 10},
        {"a byte above 0x7f",
         BEGIN "{1}{n}AA\xc1"
               "A\n" END,
         ARMOR, 10},
        {"CR alone as line end", BEGIN "{1}{n}{l}\r" END, ARMOR, 10},
        {"CR in a line", BEGIN "{1}{n}AA\rAA\n" END, ARMOR, 10},
        {"two CR", BEGIN "{1}{n}{l}\r\r\n" END, ARMOR, 10},
        {"CRLF at one place", BEGIN "{1}{n}{l}\r\n" END, 0, 10},
    };
    (void)s;
    check(rows, ARRAY_LEN(rows));
}

static void test_age_armor_read__crlf(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    struct strbuf file = {0}, text = {0}, crlf = {0}, plain = {0};
    (void)s;
    make(&file, 5);
    fill(&text, BEGIN "{1}{n}{l}\n" END, &file);
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '\n')
            sb_addc(&crlf, '\r');
        sb_addc(&crlf, text.p[i]);
    }
    assert_int_equal(lab_decrypt(&crlf, 9, &keys, &plain), 0);
    sb_free(&file);
    sb_free(&text);
    sb_free(&crlf);
    sb_free(&plain);
}

static void test_age_armor_read__space_is_bounded(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    (void)s;
    for (int where = 0; where < 2; where++)
        for (int over = 0; over < 2; over++) {
            struct strbuf file = {0}, text = {0}, plain = {0};
            make(&file, 5);
            for (int i = 0; where == 0 && i < LIMIT_AGE_SPACE + over; i++)
                sb_addc(&text, '\n');
            fill(&text, BEGIN "{1}{n}{l}\n" END, &file);
            for (int i = 0; where == 1 && i < LIMIT_AGE_SPACE + over; i++)
                sb_addc(&text, ' ');
            assert_int_equal(lab_decrypt(&text, 64, &keys, &plain), over ? ARMOR : 0);
            sb_free(&file);
            sb_free(&text);
            sb_free(&plain);
        }
}

// What is wrong inside is told as it is told of the binary form.
static void test_age_armor_read__what_is_inside(void **s)
{
    static const struct {
        const char *header;
        int want;
    } rows[] = {{"{v}{o}{end}", AGE_E_NO_MATCH},
                {"{v}{end}", AGE_E_HEADER},
                {"{v}{x}--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", AGE_E_HMAC},
                {"{v}{x}{end}", AGE_E_PAYLOAD}};
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct strbuf file = {0}, text = {0}, plain = {0};
        lab_header(&file, rows[i].header);
        sb_add(&file, "0123456789abcdef0123456789abcdefg", 33);
        fill(&text, BEGIN "{1}{n}{l}\n" END, &file);
        assert_int_equal(lab_decrypt(&text, 64, &keys, &plain), rows[i].want);
        sb_free(&file);
        sb_free(&text);
        sb_free(&plain);
    }
}

// Every cut of an armored file is a bad armor, but for its last newline.
static void test_age_armor_read__every_cut(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    struct strbuf file = {0}, text = {0}, plain = {0};
    (void)s;
    make(&file, 20);
    fill(&text, BEGIN "{1}{n}{l}\n" END, &file);
    for (size_t n = 5; n < text.len - 1; n++) {
        const struct strbuf cut = {.p = text.p, .len = n};
        int r = lab_decrypt(&cut, 64, &keys, &plain);
        if (r != ARMOR)
            fail_msg("%zu of %zu: %s", n, text.len, lab_name(r));
    }
    assert_int_equal(lab_decrypt(&(struct strbuf){.p = text.p, .len = text.len - 1}, 64, &keys, &plain), 0);
    sb_free(&file);
    sb_free(&text);
    sb_free(&plain);
}

static void test_age_armor_write__round_trip(void **s)
{
    static const size_t sizes[] = {0, 1, 2, 3, 40, 47, 48, 49, 95, 96, 97, 4000, 65536, 100000};
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    const struct age_targets targets = {.recipients = (const uint8_t(*)[AGE_KEY_LEN])lab_id.recipient,
                                        .n = 1};
    static char plain[100000];
    (void)s;
    randombytes_buf(plain, sizeof(plain));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct strbuf text = {0}, back = {0};
        struct pieces in = {plain, sizes[i], 1000};
        const struct age_source source = {pieces_read, &in};
        const struct age_sink sink = {.write = pieces_write, .ctx = &text};
        assert_int_equal(age_encrypt_stream(&source, &targets, true, &sink), 0);
        assert_memory_equal(text.p, BEGIN, strlen(BEGIN));
        assert_memory_equal(text.p + text.len - strlen(END), END, strlen(END));
        size_t column = 0;
        for (size_t k = 0; k < text.len; k++) {
            column = text.p[k] == '\n' ? 0 : column + 1;
            assert_true(column <= 64);
        }
        assert_int_equal(lab_decrypt(&text, 777, &keys, &back), 0);
        assert_int_equal(back.len, sizes[i]);
        assert_memory_equal(back.p ? back.p : "", plain, sizes[i]);
        sb_free(&text);
        sb_free(&back);
    }
}

static void test_age_armor_looks__forms(void **s)
{
    static const struct {
        const char *text;
        bool armored;
    } rows[] = {{"age-encryption.org/v1\n-> X25519", false},
                {"age-encryption.org/v2\n-----", false},
                {"", false},
                {"hello", false},
                {"-----BEGIN", true},
                {"\n  -----BEGIN", true},
                {"some text\n-----BEGIN AGE", true},
                {"YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0", true},
                {" age-encryption.org/v1\n", false},
                {"a-----b", false}};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (age_armor_looks(rows[i].text, strlen(rows[i].text)) != rows[i].armored)
            fail_msg("%s", rows[i].text);
}

static void test_age_b64_decode__canonical(void **s)
{
    uint8_t out[3], again[3];
    char text[8];
    size_t n;
    (void)s;
    for (unsigned v = 0; v < 1 << 16;
         v++) { // every text of three characters and every one of two, with all last bytes
        static const char some[] = "AQgw/+9zB\x80=- ";
        const char in[4] = {(char)(v >> 8), (char)v, some[v % (sizeof(some) - 1)], '\0'};
        for (size_t len = 2; len <= 3; len++) {
            if (age_b64_decode(in, len, false, out, sizeof(out), &n) < 0)
                continue;
            sodium_bin2base64(text, sizeof(text), out, n, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
            assert_int_equal(strlen(text), len);
            assert_memory_equal(text, in, len);
        }
    }
    for (unsigned v = 0; v < 1 << 16; v++)
        for (size_t len = 1; len <= 2; len++) { // and every value has a text
            memcpy(out, &v, 2);
            lab_b64(out, len, text, sizeof(text));
            assert_int_equal(age_b64_decode(text, strlen(text), false, again, sizeof(again), &n), 0);
            assert_int_equal(n, len);
            assert_memory_equal(out, again, len);
        }
    assert_int_equal(age_b64_decode("AAAA", 4, false, out, 2, &n), -EBADMSG); // no room
    assert_int_equal(age_b64_decode("", 0, true, out, 3, &n), 0);
    assert_int_equal(n, 0);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, lab_setup, lab_teardown)
RUN(L(age_armor_read__markers), L(age_armor_read__lines), L(age_armor_read__crlf),
    L(age_armor_read__space_is_bounded), L(age_armor_read__what_is_inside), L(age_armor_read__every_cut),
    L(age_armor_write__round_trip), L(age_armor_looks__forms), L(age_b64_decode__canonical))
