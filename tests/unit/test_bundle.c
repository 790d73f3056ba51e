#include "bundle.h"
#include "fd.h"
#include "str.h"
#include "unit.h"

static int write_bundle(char **ret_text, size_t *ret_len)
{
    struct strbuf sb = {0};
    bundle_add(&sb, BUNDLE_CONFIG, "/etc/x.yaml", "a: 1\n", 5);
    bundle_add(&sb, BUNDLE_LOCK, "plugins.lock", "", 0);
    bundle_add(&sb, BUNDLE_MANIFEST, "p", "bin\0ary", 7);
    *ret_len = sb.len;
    *ret_text = sb_finish(&sb);
    return fd_sealed("t", *ret_text, *ret_len);
}

static void test_bundle_read__round_trip(void **s)
{
    struct bundle b;
    char *text;
    size_t len;
    OWNED(fd_closep) int fd = write_bundle(&text, &len);
    (void)s;
    assert_int_equal(bundle_read(fd, &b), 0);
    assert_int_equal(b.n, 3);
    assert_string_equal(b.list[0].name, "/etc/x.yaml");
    assert_string_equal(b.list[0].data, "a: 1\n");
    assert_int_equal(b.list[1].len, 0);
    assert_memory_equal(b.list[2].data, "bin\0ary", 7);
    bundle_free(&b);
    free(text);
}

static void test_bundle_read__every_cut(void **s)
{
    char *text;
    size_t len;
    OWNED(fd_closep) int whole = write_bundle(&text, &len);
    (void)s;
    for (size_t n = 0; n < len; n++) {
        struct bundle b;
        OWNED(fd_closep) int fd = fd_sealed("t", text, n);
        int r = bundle_read(fd, &b);
        if (r == 0) { // cut exactly between entries
            assert_true(b.n < 3);
            bundle_free(&b);
        } else
            assert_int_equal(r, -EBADMSG);
    }
    assert_true(whole >= 0);
    free(text);
}

static void test_bundle_read__every_byte_changed(void **s)
{
    char *text;
    size_t len;
    OWNED(fd_closep) int whole = write_bundle(&text, &len);
    (void)s;
    assert_true(whole >= 0);
    for (size_t n = 0; n < len; n++) {
        struct bundle b;
        text[n] = (char)~text[n];
        OWNED(fd_closep) int fd = fd_sealed("t", text, len);
        if (bundle_read(fd, &b) == 0)
            bundle_free(&b);
        text[n] = (char)~text[n];
    }
    free(text);
}

static void test_bundle_read__must_be_sealed(void **s)
{
    struct bundle b;
    (void)s;
    char *path = scratch_make();
    OWNED(fd_closep) int fd = open(path, O_RDWR | O_TMPFILE, 0600);
    assert_true(write(fd, "DTLB1\n", 6) == 6);
    assert_int_equal(bundle_read(fd, &b), -EPERM);
    scratch_remove(path);
}

RUN(T(bundle_read__round_trip), T(bundle_read__every_cut), T(bundle_read__every_byte_changed),
    T(bundle_read__must_be_sealed))
