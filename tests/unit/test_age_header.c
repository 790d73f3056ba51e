// Every rule of the header (age-encryption.org/v1: "Encrypted file format", "The X25519 recipient type", "The
// scrypt recipient type"), each broken alone, with a MAC that is right for what stands there.
#include "age_lab.h"
#include "limits.h"

#define OK       0
#define HEADER   AGE_E_HEADER
#define NO_MATCH AGE_E_NO_MATCH
#define HMAC     AGE_E_HMAC

struct row {
    const char *rule, *header;
    int want;
};

static void check(const struct row *rows, size_t n, const struct age_keys *keys)
{
    static const size_t steps[] = {1, 7, 1 << 20};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
            struct strbuf file = {0}, plain = {0};
            uint8_t nonce[16] = {1};
            lab_header(&file, rows[i].header);
            sb_add(&file, nonce, 16);
            lab_chunk(&file, nonce, "hello", 5, 0, 1);
            int r = lab_decrypt(&file, steps[k], keys, &plain);
            if (r != rows[i].want)
                fail_msg("%s: %s, not %s\n%.*s", rows[i].rule, lab_name(r), lab_name(rows[i].want),
                         (int)file.len - 37, file.p);
            if (plain.len != (r == 0 ? 5 : 0) || (r == 0 && memcmp(plain.p, "hello", 5) != 0))
                fail_msg("%s: %zu bytes came out", rows[i].rule, plain.len);
            sb_free(&file);
            sb_free(&plain);
        }
}

static void test_age_header_read__form(void **s)
{
    static const struct row rows[] = {
        {"one stanza", "{v}{x}{end}", OK},
        {"two", "{v}{o}{x}{end}", OK},
        {"no version", "{x}{end}", HEADER},
        {"another version", "age-encryption.org/v2\n{x}{end}", HEADER},
        {"a longer version", "age-encryption.org/v1a\n{x}{end}", HEADER},
        {"no version string", "age-encryption.org/\n{x}{end}", HEADER},
        {"upper case", "AGE-encryption.org/v1\n{x}{end}", HEADER},
        {"CRLF behind the version", "age-encryption.org/v1\r\n{x}{end}", HEADER},
        {"space behind the version", "age-encryption.org/v1 \n{x}{end}", HEADER},
        {"space before the version", " age-encryption.org/v1\n{x}{end}", HEADER},
        {"an empty line before it", "\nage-encryption.org/v1\n{x}{end}", HEADER},
        {"an empty line behind it", "{v}\n{x}{end}", HEADER},
        {"no stanza", "{v}{end}", HEADER},
        {"an empty line between stanzas", "{v}{x}\n{x}{end}", HEADER},
        {"an empty line before the MAC", "{v}{x}\n{end}", HEADER},
        {"text between stanzas", "{v}{x}stanza\n{end}", HEADER},
        {"a MAC of another key", "{v}{x}--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", HMAC},
        {"a MAC that is too short", "{v}{x}--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", HEADER},
        {"a MAC that is too long", "{v}{x}--- {mac}A\n", HEADER},
        {"a MAC with padding", "{v}{x}--- {mac}=\n", HEADER},
        {"a MAC that is not canonical", "{v}{x}--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB\n", HEADER},
        {"a MAC that is no base64", "{v}{x}--- AAAAAAAAAAAAAAAAAAAAA_AAAAAAAAAAAAAAAAAAAAA\n", HEADER},
        {"no MAC", "{v}{x}---\n", HEADER},
        {"no MAC, but a space", "{v}{x}--- \n", HEADER},
        {"no space before the MAC", "{v}{x}---{mac}\n", HEADER},
        {"two spaces before the MAC", "{v}{x}---  {mac}\n", HEADER},
        {"a space behind the MAC", "{v}{x}--- {mac} \n", HEADER},
        {"CRLF behind the MAC", "{v}{x}--- {mac}\r\n", HEADER},
        {"two dashes", "{v}{x}-- {mac}\n", HEADER},
        {"four dashes", "{v}{x}---- {mac}\n", HEADER},
        {"text behind the MAC", "{v}{x}--- {mac} a\n", HEADER},
        {"nothing behind the version", "{v}", HEADER},
    };
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    (void)s;
    check(rows, ARRAY_LEN(rows), &keys);
}

// "--- " + the MAC over everything to the mark, without the space: a MAC of anything else is none.
static void test_age_header_read__what_the_mac_covers(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    (void)s;
    for (int without = 0; without <= 4; without++) { // the last bytes of "--- " that are left out
        struct strbuf file = {0}, plain = {0};
        char mac[64];
        uint8_t nonce[16] = {0};
        lab_header(&file, "{v}{x}--- ");
        struct strbuf covered = {.p = file.p, .len = file.len - (size_t)without};
        lab_mac(&covered, lab_file_key, mac);
        sb_addf(&file, "%s\n", mac);
        sb_add(&file, nonce, 16);
        lab_chunk(&file, nonce, "x", 1, 0, 1);
        assert_int_equal(lab_decrypt(&file, 100, &keys, &plain), without == 1 ? 0 : AGE_E_HMAC);
        sb_free(&file);
        sb_free(&plain);
    }
}

static void test_age_header_read__stanzas(void **s)
{
    static const struct row rows[] = {
        // arguments: one or more, visible characters, one space between
        {"grease", "{v}-> ;grease a b c\nAAAA\n{x}{end}", OK},
        {"grease behind", "{v}{x}-> grease\n\n{end}", OK},
        {"an argument of every visible character",
         "{v}-> !\"#$%&'()*+,-./0123456789:;<=>?@ABC[\\]^_`abc|~ {\n\n{x}{end}", OK},
        {"an empty body", "{v}-> a\n\n{x}{end}", OK},
        {"a full line and an empty one", "{v}-> a\n{64}\n{x}{end}", OK},
        {"two full lines and a short one", "{v}-> a\n{64}{64}AA\n{x}{end}", OK},
        {"the longest short line",
         "{v}-> a\nAAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKKKLLLLMMMMNNNNOOOOPPA\n{x}{end}", OK},
        {"a short line of 62",
         "{v}-> a\nAAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKKKLLLLMMMMNNNNOOOOPA\n{x}{end}", OK},
        {"no argument", "{v}->\n\n{x}{end}", HEADER},
        {"no argument, but a space", "{v}-> \n\n{x}{end}", HEADER},
        {"no space", "{v}->a\n\n{x}{end}", HEADER},
        {"two spaces", "{v}->  a\n\n{x}{end}", HEADER},
        {"an empty argument", "{v}-> a  b\n\n{x}{end}", HEADER},
        {"a space at the end", "{v}-> a \n\n{x}{end}", HEADER},
        {"a tab", "{v}-> a\tb\n\n{x}{end}", HEADER},
        {"a control byte", "{v}-> a\x01\n\n{x}{end}", HEADER},
        {"DEL", "{v}-> a\x7f\n\n{x}{end}", HEADER},
        {"not ASCII", "{v}-> \xc3\xa9\n\n{x}{end}", HEADER},
        {"CRLF behind the arguments", "{v}-> a\r\n\n{x}{end}", HEADER},
        {"another mark", "{v}=> a\n\n{x}{end}", HEADER},
        {"a space before the mark", "{v} -> a\n\n{x}{end}", HEADER},
        // bodies
        {"no body", "{v}-> a\n{x}{end}", HEADER},
        {"no last line", "{v}-> a\n{64}{x}{end}", HEADER},
        {"a line of 65",
         "{v}-> a\nAAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKKKLLLLMMMMNNNNOOOOPPPPA\n{x}{end}", HEADER},
        {"a line of 66",
         "{v}-> a\nAAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKKKLLLLMMMMNNNNOOOOPPPPAA\n{x}{end}", HEADER},
        {"a line of 68",
         "{v}-> a\nAAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKKKLLLLMMMMNNNNOOOOPPPPAAAA\n{x}{end}", HEADER},
        {"two short lines", "{v}-> a\nAAAA\nAAAA\n{x}{end}", HEADER},
        {"padding", "{v}-> a\nAA==\n{x}{end}", HEADER},
        {"not canonical", "{v}-> a\nAB\n{x}{end}", HEADER},
        {"not canonical, three", "{v}-> a\nAAB\n{x}{end}", HEADER},
        {"a character alone", "{v}-> a\nA\n{x}{end}", HEADER},
        {"URL alphabet", "{v}-> a\nAA-_\n{x}{end}", HEADER},
        {"a space in it", "{v}-> a\nAA AA\n{x}{end}", HEADER},
        {"a space behind it", "{v}-> a\nAAAA \n{x}{end}", HEADER},
        {"CRLF behind it", "{v}-> a\nAAAA\r\n{x}{end}", HEADER},
        {"CRLF as an empty body", "{v}-> a\n\r\n{x}{end}", HEADER},
        {"a bare CR in it", "{v}-> a\nAA\rAA\n{x}{end}", HEADER},
        {"a byte above 0x7f", "{v}-> a\nAAA\xc1\n{x}{end}", HEADER},
    };
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    (void)s;
    check(rows, ARRAY_LEN(rows), &keys);
}

static void test_age_header_read__x25519(void **s)
{
    static const struct row rows[] = {
        {"for another", "{v}{o}{end}", NO_MATCH},
        {"by its texts", "{v}-> X25519 {share}\n{body}\n{end}", OK},
        {"of another case: unknown", "{v}-> x25519 {share}\n{body}\n{end}", NO_MATCH},
        {"a longer kind: unknown", "{v}-> X25519a {share}\n{body}\n{end}", NO_MATCH},
        {"no share", "{v}-> X25519\n{body}\n{end}", HEADER},
        {"an argument more", "{v}-> X25519 {share} a\n{body}\n{end}", HEADER},
        {"four more", "{v}-> X25519 {share} a b c d\n{body}\n{end}", HEADER},
        {"malformed, behind one that opens", "{v}{x}-> X25519\n{body}\n{end}", HEADER},
        {"malformed, before one that opens", "{v}-> X25519\n{body}\n{x}{end}", HEADER},
        {"a share with padding", "{v}-> X25519 {share}=\n{body}\n{end}", HEADER},
        {"a share of 31 bytes", "{v}-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{body}\n{end}",
         HEADER},
        {"a share of 33 bytes", "{v}-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{body}\n{end}",
         HEADER},
        {"a share that is not canonical",
         "{v}-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB\n{body}\n{end}", HEADER},
        {"a share that is no base64",
         "{v}-> X25519 AAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAA\n{body}\n{end}", HEADER},
        {"a body of 31 bytes", "{v}-> X25519 {share}\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{end}",
         HEADER},
        {"a body of 33 bytes", "{v}-> X25519 {share}\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{end}",
         HEADER},
        {"no body", "{v}-> X25519 {share}\n\n{end}", HEADER},
        {"a body of a line and more", "{v}-> X25519 {share}\n{64}{body}\n{end}", HEADER},
        {"a body that is not of the key",
         "{v}-> X25519 {share}\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{end}", NO_MATCH},
        {"the same, and one that opens",
         "{v}-> X25519 {share}\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{x}{end}", OK},
        // shares of low order: the shared secret is all zero, whoever reads
        {"share 0", "{v}-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{body}\n{end}", HEADER},
        {"share 1", "{v}-> X25519 AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{body}\n{end}", HEADER},
        {"share p - 1", "{v}-> X25519 7P///////////////////////////////////////38\n{body}\n{end}", HEADER},
        {"share p", "{v}-> X25519 7f///////////////////////////////////////38\n{body}\n{end}", HEADER},
        {"share p + 1", "{v}-> X25519 7v///////////////////////////////////////38\n{body}\n{end}", HEADER},
        {"a share of order 8", "{v}-> X25519 4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA\n{body}\n{end}",
         HEADER},
        {"the other of order 8", "{v}-> X25519 X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc\n{body}\n{end}",
         HEADER},
        {"of low order, behind one that opens",
         "{v}{x}-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{body}\n{end}", HEADER},
    };
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    (void)s;
    check(rows, ARRAY_LEN(rows), &keys);
    const struct age_identity both[] = {lab_other, lab_id};
    const struct age_keys two = {.identities = both, .n = 2};
    const struct row others[] = {{"any of our keys", "{v}{x}{end}", OK}, {"either", "{v}{o}{end}", OK}};
    check(others, 2, &two);
    const struct age_keys none = {.n = 0};
    const struct row nobody[] = {{"no key", "{v}{x}{end}", NO_MATCH}};
    check(nobody, 1, &none);
}

static void test_age_header_read__scrypt(void **s)
{
    static const struct row rows[] = {
        {"alone", "{v}{s}{end}", OK},
        {"by its texts", "{v}-> scrypt {salt} 2\n{wrapped}\n{end}", OK},
        {"another passphrase's body",
         "{v}-> scrypt {salt} 2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{end}", NO_MATCH},
        {"another work", "{v}-> scrypt {salt} 3\n{wrapped}\n{end}", NO_MATCH},
        {"twice", "{v}{s}{s}{end}", HEADER},
        {"before X25519", "{v}{s}{x}{end}", HEADER},
        {"behind X25519", "{v}{x}{s}{end}", HEADER},
        {"behind grease", "{v}-> grease\n\n{s}{end}", HEADER},
        {"before grease", "{v}{s}-> grease\n\n{end}", HEADER},
        {"only X25519", "{v}{o}{end}", NO_MATCH},
        {"of another case: unknown", "{v}-> Scrypt {salt} 2\n{wrapped}\n{end}", NO_MATCH},
        {"no work", "{v}-> scrypt {salt}\n{wrapped}\n{end}", HEADER},
        {"no arguments", "{v}-> scrypt\n{wrapped}\n{end}", HEADER},
        {"an argument more", "{v}-> scrypt {salt} 2 2\n{wrapped}\n{end}", HEADER},
        {"work 0", "{v}-> scrypt {salt} 0\n{wrapped}\n{end}", HEADER},
        {"work 02", "{v}-> scrypt {salt} 02\n{wrapped}\n{end}", HEADER},
        {"work +2", "{v}-> scrypt {salt} +2\n{wrapped}\n{end}", HEADER},
        {"work -2", "{v}-> scrypt {salt} -2\n{wrapped}\n{end}", HEADER},
        {"work 0x2", "{v}-> scrypt {salt} 0x2\n{wrapped}\n{end}", HEADER},
        {"work 2.", "{v}-> scrypt {salt} 2.\n{wrapped}\n{end}", HEADER},
        {"work a", "{v}-> scrypt {salt} a\n{wrapped}\n{end}", HEADER},
        {"work above the limit", "{v}-> scrypt {salt} 13\n{wrapped}\n{end}", HEADER},
        {"work 64", "{v}-> scrypt {salt} 64\n{wrapped}\n{end}", HEADER},
        {"work that wraps to 2", "{v}-> scrypt {salt} 18446744073709551618\n{wrapped}\n{end}", HEADER},
        {"work that wraps to 2 in 32 bits", "{v}-> scrypt {salt} 4294967298\n{wrapped}\n{end}", HEADER},
        {"a salt of 15 bytes", "{v}-> scrypt AAAAAAAAAAAAAAAAAAAA 2\n{wrapped}\n{end}", HEADER},
        {"a salt of 17 bytes", "{v}-> scrypt AAAAAAAAAAAAAAAAAAAAAAA 2\n{wrapped}\n{end}", HEADER},
        {"a salt with padding", "{v}-> scrypt {salt}== 2\n{wrapped}\n{end}", HEADER},
        {"a salt that is not canonical", "{v}-> scrypt AAAAAAAAAAAAAAAAAAAAAB 2\n{wrapped}\n{end}", HEADER},
        {"a body of 31 bytes", "{v}-> scrypt {salt} 2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{end}",
         HEADER},
        {"a body of 33 bytes", "{v}-> scrypt {salt} 2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n{end}",
         HEADER},
        {"no body", "{v}-> scrypt {salt} 2\n\n{end}", HEADER},
        {"a MAC of another key", "{v}{s}--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", HMAC},
    };
    const struct age_keys keys = {.passphrase = &lab_passphrase, .max_work = 12};
    (void)s;
    check(rows, ARRAY_LEN(rows), &keys);
    const struct age_keys key_too = {.identities = &lab_id, .n = 1, .passphrase = &lab_passphrase};
    const struct row both[] = {{"a passphrase and a key: the passphrase's", "{v}{s}{end}", OK},
                               {"the key's", "{v}{x}{end}", OK},
                               {"never mixed", "{v}{x}{s}{end}", HEADER}};
    check(both, ARRAY_LEN(both), &key_too);
    const struct age_keys no_passphrase = {.identities = &lab_id, .n = 1};
    const struct row without[] = {
        {"no passphrase", "{v}{s}{end}", NO_MATCH},
        {"and still alone", "{v}{x}{s}{end}", HEADER},
        {"and still well formed", "{v}-> scrypt {salt} 02\n{wrapped}\n{end}", HEADER}};
    check(without, ARRAY_LEN(without), &no_passphrase);
}

// 22 is the default limit, as the age tool has it; the work itself is not done for 23.
static void test_age_scrypt_open__default_limit(void **s)
{
    const struct age_scrypt stanza = {.work = 23};
    uint8_t file_key[16];
    (void)s;
    assert_int_equal(age_scrypt_open(&stanza, &lab_passphrase, 0, file_key), AGE_E_HEADER);
    assert_int_equal(AGE_SCRYPT_WORK_MAX, 22);
    assert_int_equal(AGE_SCRYPT_WORK, 18);
}

// The vector of RFC 7914, section 12, through a stanza's own derivation is not possible (the label is in the
// salt); so: ours against a second derivation, both ways.
static void test_age_header_write__scrypt_round_trip(void **s)
{
    struct strbuf file = {0}, plain = {0};
    struct secret wrong;
    struct pieces in = {"secret", 6, 3};
    const struct age_source source = {pieces_read, &in};
    const struct age_sink sink = {.write = pieces_write, .ctx = &file};
    const struct age_targets targets = {.passphrase = &lab_passphrase, .work = 4};
    const struct age_keys keys = {.passphrase = &lab_passphrase};
    (void)s;
    assert_int_equal(age_encrypt_stream(&source, &targets, false, &sink), 0);
    assert_memory_equal(file.p, "age-encryption.org/v1\n-> scrypt ", 32);
    assert_memory_equal(file.p + 32 + 22, " 4\n", 3);
    assert_int_equal(lab_decrypt(&file, 5, &keys, &plain), 0);
    assert_int_equal(plain.len, 6);
    assert_memory_equal(plain.p, "secret", 6);
    assert_int_equal(secret_copy("incorrect horse", 15, &wrong), 0);
    const struct age_keys other = {.passphrase = &wrong};
    sb_free(&plain);
    assert_int_equal(lab_decrypt(&file, 5, &other, &plain), AGE_E_NO_MATCH);
    secret_wipe(&wrong);
    sb_free(&file);
    sb_free(&plain);
}

static void test_age_header_write__who_may_be_mixed(void **s)
{
    struct strbuf sb = {0};
    const struct age_targets both = {.recipients = (const uint8_t(*)[AGE_KEY_LEN])lab_id.recipient,
                                     .n = 1,
                                     .passphrase = &lab_passphrase,
                                     .work = 1};
    const struct age_targets nobody = {.n = 0};
    const uint8_t low[1][AGE_KEY_LEN] = {{1}};
    const struct age_targets low_order = {.recipients = low, .n = 1};
    (void)s;
    assert_int_equal(age_header_write(&sb, &both, lab_file_key), -EINVAL);
    assert_int_equal(age_header_write(&sb, &nobody, lab_file_key), -EINVAL);
    assert_int_equal(age_header_write(&sb, &low_order, lab_file_key), -EINVAL);
    sb_free(&sb);
}

// A header that does not end is given up at LIMIT_AGE_HEADER, wherever it was going on.
static void test_age_header_read__limit(void **s)
{
    static const char *const endless[] = {
        "A", "-> a\n\n", "-> a\n", "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKKKLLLLMMMMNNNNOOOOPPPP\n"};
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(endless); i++) {
        struct strbuf file = {0}, plain = {0};
        lab_header(&file, i == 3 ? "{v}-> a\n" : "{v}");
        while (file.len <= 2 * LIMIT_AGE_HEADER)
            sb_adds(&file, endless[i]);
        lab_header(&file, "{x}{end}");
        assert_int_equal(lab_decrypt(&file, 4096, &keys, &plain), AGE_E_HEADER);
        sb_free(&file);
    }
    for (int fits = 0; fits < 2; fits++) { // to the byte
        struct strbuf file = {0}, plain = {0};
        uint8_t nonce[16] = {0};
        lab_header(&file, "{v}{x}-> ");
        while (file.len < (size_t)LIMIT_AGE_HEADER - 2 - 48 + !fits)
            sb_addc(&file, 'a');
        lab_header(&file, "\n\n{end}");
        assert_int_equal(file.len, LIMIT_AGE_HEADER + !fits);
        sb_add(&file, nonce, 16);
        lab_chunk(&file, nonce, "", 0, 0, 1);
        assert_int_equal(lab_decrypt(&file, 4096, &keys, &plain), fits ? 0 : AGE_E_HEADER);
        sb_free(&file);
        sb_free(&plain);
    }
}

static void test_age_header_read__every_cut(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    struct strbuf file = {0}, plain = {0};
    uint8_t nonce[16] = {0};
    (void)s;
    lab_header(&file, "{v}-> a b\n{64}AAAA\n{x}{o}{end}");
    size_t header = file.len;
    sb_add(&file, nonce, 16);
    lab_chunk(&file, nonce, "x", 1, 0, 1);
    for (size_t n = 0; n < file.len; n++) {
        const struct strbuf cut = {.p = file.p, .len = n};
        // the nonce belongs to nothing yet: see age_parts.h
        assert_int_equal(lab_decrypt(&cut, 13, &keys, &plain),
                         n < header + 16 ? AGE_E_HEADER : AGE_E_PAYLOAD);
    }
    assert_int_equal(plain.len, 0);
    assert_int_equal(lab_decrypt(&file, 13, &keys, &plain), 0); // control
    sb_free(&file);
    sb_free(&plain);
}

static ssize_t fail_after(void *ctx, void *buf, size_t size)
{
    struct pieces *in = ctx;
    return in->left > 0 ? pieces_read(in, buf, size) : -ECONNRESET;
}

// An error of the source is told as such, wherever it comes.
static void test_age_decrypt_stream__source_fails(void **s)
{
    const struct age_keys keys = {.identities = &lab_id, .n = 1};
    struct strbuf file = {0}, plain = {0};
    const struct age_sink sink = {.write = pieces_write, .ctx = &plain};
    uint8_t nonce[16] = {0};
    (void)s;
    lab_header(&file, "{v}{x}{end}");
    sb_add(&file, nonce, 16);
    lab_chunk(&file, nonce, "x", 1, 0, 1);
    for (size_t n = 0; n <= file.len; n++) {
        struct pieces in = {file.p, n, 10};
        const struct age_source source = {fail_after, &in};
        assert_int_equal(age_decrypt_stream(&source, &keys, &sink), -ECONNRESET);
    }
    assert_int_equal(plain.len, 0);
    sb_free(&file);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, lab_setup, lab_teardown)
RUN(L(age_header_read__form), L(age_header_read__what_the_mac_covers), L(age_header_read__stanzas),
    L(age_header_read__x25519), L(age_header_read__scrypt), L(age_scrypt_open__default_limit),
    L(age_header_write__scrypt_round_trip), L(age_header_write__who_may_be_mixed), L(age_header_read__limit),
    L(age_header_read__every_cut), L(age_decrypt_stream__source_fails))
