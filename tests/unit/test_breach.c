#include "breach.h"
#include "fd.h"
#include "layout.h"
#include "str.h"
#include "unit.h"

struct lab {
    char *dir;
    int root;
    struct config config;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->dir = scratch_make();
    lab->root = fd_open_root(lab->dir);
    lab->config = (struct config){.api_socket = "/run/ductile/api.sock", .uid = geteuid(), .gid = getegid()};
    char path[512];
    snprintf(path, sizeof(path), "mkdir -p %s/run/ductile", lab->dir);
    assert_int_equal(system(path), 0);
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    close(lab->root);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static int reads(struct lab *lab, struct breach_list *ret)
{
    return breach_read(lab->root, &lab->config, ret);
}

static void flag(struct lab *lab, const char *text, mode_t mode)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/run/ductile/breach", lab->dir);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0);
    close(fd);
}

static void test_breach_path__is_the_row_of_the_layout(void **s)
{
    struct config *c = NULL;
    struct refusal refusal = {0};
    struct config_file *files = calloc(1, sizeof(*files));
    files[0] = (struct config_file){strdup("/etc/two/config.yaml"), strdup("service: {name: two}\n"), 21};
    assert_int_equal(config_parse(files, 1, &c, &refusal), 0);
    struct layout layout;
    char path[LIMIT_PATH];
    bool found = false;
    assert_int_equal(layout_expand(c, &layout), 0);
    for (size_t i = 0; i < layout.n; i++)
        if (layout.list[i].id == LAYOUT_BREACH) {
            assert_string_equal(layout.list[i].path, breach_path(c, path));
            found = true;
        }
    assert_true(found);
    layout_free(&layout);
    config_free(c);
    (void)s;
}

static void test_breach_read__without_a_flag_nobody_is_breached(void **s)
{
    struct breach_list list;
    assert_int_equal(reads(*s, &list), 0);
    assert_int_equal(list.n, 0);
    assert_null(breach_find(&list, "default"));
}

static void test_breach_write__what_is_read_back(void **s)
{
    struct lab *lab = *s;
    struct breach_list list = {0}, back;
    assert_int_equal(breach_add(&list, "default", "signal-warden"), 0);
    assert_int_equal(breach_add(&list, "matt", "vault"), 0);
    assert_int_equal(breach_add(&list, "default", "signal"), 0);
    assert_int_equal(breach_add(&list, "default", "signal"), 0);
    assert_int_equal(breach_write(lab->root, &lab->config, &list), 0);
    assert_int_equal(reads(lab, &back), 0);
    assert_int_equal(back.n, 2);
    assert_string_equal(breach_find(&back, "default")->rows, "signal-warden,signal");
    assert_string_equal(breach_find(&back, "matt")->rows, "vault");
    assert_true(breach_has(breach_find(&back, "default"), "signal"));
    assert_false(breach_has(breach_find(&back, "default"), "warden"));
    breach_free(&back);
    breach_free(&list);
    assert_int_equal(breach_write(lab->root, &lab->config, &list), 0); // empty: it goes
    assert_int_equal(breach_write(lab->root, &lab->config, &list), 0); // and was not there
    assert_int_equal(reads(lab, &back), 0);
    assert_int_equal(back.n, 0);
}

static void test_breach_read__what_is_no_flag_is_not_understood(void **s)
{
    static const char *const bad[] = {
        "", "default", "default vault", " vault\n", "default\n", "default vault\nx\n", "default \n"};
    struct breach_list list;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        flag(*s, bad[i], 0600);
        assert_int_equal(reads(*s, &list), -EBADMSG);
        assert_int_equal(list.n, 0);
    }
    char name[LIMIT_NAME + 16];
    memset(name, 'a', sizeof(name));
    snprintf(name + LIMIT_NAME, 16, " vault\n");
    flag(*s, name, 0600);
    assert_int_equal(reads(*s, &list), -EBADMSG);
}

static void test_breach_read__others_could_have_written_it(void **s)
{
    struct lab *lab = *s;
    struct breach_list list;
    flag(lab, "default vault\n", 0620);
    assert_int_equal(reads(lab, &list), -EPERM);
    flag(lab, "default vault\n", 0600);
    lab->config.uid++;
    assert_int_equal(reads(lab, &list), -EPERM);
    lab->config.uid--;
    assert_int_equal(reads(lab, &list), 0);
    breach_free(&list);
}

RUN(cmocka_unit_test(test_breach_path__is_the_row_of_the_layout),
    cmocka_unit_test_setup_teardown(test_breach_read__without_a_flag_nobody_is_breached, setup, teardown),
    cmocka_unit_test_setup_teardown(test_breach_write__what_is_read_back, setup, teardown),
    cmocka_unit_test_setup_teardown(test_breach_read__what_is_no_flag_is_not_understood, setup, teardown),
    cmocka_unit_test_setup_teardown(test_breach_read__others_could_have_written_it, setup, teardown))
