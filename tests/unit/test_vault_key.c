#include "vault_lab.h"
#include <signal.h>
#include <sys/stat.h>

static bool is_there(const struct lab *lab, const char *name)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", lab->dir, name);
    return lstat(path, &st) == 0;
}

static void test_vault_rotate_key__the_old_key_opens_the_old_vault_only(void **s)
{
    struct lab *lab = *s;
    struct refusal refusal;
    struct vault v;
    char old[LIMIT_PATH], copy[LIMIT_PATH], command[2200];
    uint64_t seen;
    lab_open(lab, &v);
    lab_set(&v, "token", "t");
    lab_save(lab, &v);
    snprintf(copy, sizeof(copy), "%s/copy.age", lab->dir);
    snprintf(command, sizeof(command), "cp -a %s %s", lab->config->vault_file, copy);
    assert_int_equal(system(command), 0);
    assert_int_equal(vault_rotate_key(&v, lab->config, old, &refusal), 0);
    assert_int_equal(v.generation, 4);
    vault_close(&v);
    lab_open(lab, &v);
    assert_non_null(vault_secret(&v, "token"));
    vault_close(&v);
    assert_int_equal(vault_open(old, lab->config->vault_file, &v, &refusal), -ECANCELED);
    assert_non_null(strstr(refusal.why, "vault.age was encrypted to age1"));
    assert_int_equal(vault_open_older(old, copy, &v, &seen, &refusal), 0);
    vault_close(&v);
    assert_false(is_there(lab, "rotating"));
    assert_false(is_there(lab, "age.key.new"));
}

static void test_vault_recover__sweeps_only_what_is_ours(void **s)
{
    static const char *const ours[] = {".vault.age.0123456789abcdef", ".generation.0123456789abcdef",
                                       ".age.key.0123456789abcdef",   ".age.key.new.0123456789abcdef",
                                       ".rotating.0123456789abcdef",  "age.key.new"};
    static const char *const theirs[] = {".vault.age.0123456789abcde", ".vault.age.0123456789abcdeg",
                                         ".vault.age.0123456789abcdef0", "vault.age.0123456789abcdef",
                                         ".other.0123456789abcdef"};
    struct lab *lab = *s;
    struct refusal refusal;
    char path[512];
    assert_false(vault_interrupted(lab->config));
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        snprintf(path, sizeof(path), "%s/%s", lab->dir, ours[i]);
        put(path, "x");
        assert_true(vault_interrupted(lab->config));
        assert_true(vault_recover(lab->config, &refusal) >= 0);
        assert_false(is_there(lab, ours[i]));
        assert_false(vault_interrupted(lab->config));
    }
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++) {
        snprintf(path, sizeof(path), "%s/%s", lab->dir, theirs[i]);
        put(path, "x");
    }
    assert_int_equal(vault_recover(lab->config, &refusal), VAULT_CLEAN);
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
        assert_true(is_there(lab, theirs[i]));
}

static void test_vault_create__no_new_key_for_a_vault_that_is_there(void **s)
{
    struct lab *lab = *s;
    struct refusal refusal;
    assert_int_equal(unlink(lab->config->age_key_file), 0);
    assert_int_equal(vault_create(lab->config, &refusal), -ECANCELED);
    assert_string_equal(refusal.id, "VAULT-KEY-01");
    assert_false(is_there(lab, "age.key"));
}

// ---- two who write, one who reads ----------------------------------------------------------------

struct part {
    struct lab *lab;
    int number, ops;
    unsigned seed;
};

static void own_arena(void)
{
    secret_arena_close(); // the parent's was wiped in this child
    if (secret_arena_open(vault_arena_size(256 << 10)) < 0)
        _exit(9);
}

// Each has a secret of its own, whose value counts its changes; and one that both count up.
static int count_up(struct vault *v, const char *name)
{
    struct vault_secret *x = vault_secret(v, name);
    char text[24];
    uint64_t n = 0;
    if (x && str_to_u64((const char *)x->value.data, 0, UINT64_MAX, &n) < 0)
        return -EINVAL;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)n + 1);
    const struct secret value = {(uint8_t *)text, strlen(text)};
    return x ? vault_roll_secret(v, name, &value, 0) : vault_set_secret(v, name, &value, PATTERN_MANUAL);
}

static int writer(void *arg)
{
    struct part *p = arg;
    const struct config *c = p->lab->config;
    struct refusal refusal;
    char own[16], old[LIMIT_PATH];
    own_arena();
    snprintf(own, sizeof(own), "own-%d", p->number);
    for (int i = 0; i < p->ops; i++) {
        struct vault v;
        OWNED(fd_closep) int lock = vault_lock(c->vault_file);
        if (lock < 0 || vault_recover(c, &refusal) != VAULT_CLEAN ||
            vault_open(c->age_key_file, c->vault_file, &v, &refusal) < 0)
            return 1;
        int r = count_up(&v, own);
        if (r >= 0)
            r = count_up(&v, "shared");
        if (r >= 0)
            r = vault_save(&v, c, &refusal);
        if (r == 0 && rand_r(&p->seed) % 16 == 0)
            r = vault_rotate_key(&v, c, old, &refusal);
        vault_close(&v);
        if (r != 0)
            return 2;
    }
    return 0;
}

// The warden's half: no lock. What it sees never goes back, and always opens.
static int reader(void *arg)
{
    struct part *p = arg;
    const struct config *c = p->lab->config;
    struct refusal refusal;
    uint64_t last = 0;
    own_arena();
    for (;;) {
        struct vault v;
        if (vault_open(c->age_key_file, c->vault_file, &v, &refusal) < 0) {
            print_error("%s: %s\n", refusal.what, refusal.why);
            return 1;
        }
        if (v.generation < last)
            return 2;
        last = v.generation;
        bool end = vault_principal(&v, "end") != NULL;
        vault_close(&v);
        if (end)
            return 0;
    }
}

static pid_t start(int (*fn)(void *), struct part *p)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn(p));
    return pid;
}

static int end_of(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static uint64_t number_of(struct vault *v, const char *name)
{
    uint64_t n;
    assert_int_equal(str_to_u64((const char *)vault_secret(v, name)->value.data, 0, UINT64_MAX, &n), 0);
    return n;
}

static void test_vault_lock__two_writers_and_a_reading_warden(void **s)
{
    struct lab *lab = *s;
    const char *count = getenv("VAULT_OPS");
    struct part parts[] = {{lab, 0, 0, 1}, {lab, 1, 0, 2}, {lab, 2, 0, 3}};
    struct vault v;
    for (size_t i = 0; i < 2; i++)
        parts[i].ops = (count ? (int)strtol(count, NULL, 10) : 100) / 2;
    pid_t a = start(writer, &parts[0]), b = start(writer, &parts[1]), c = start(reader, &parts[2]);
    assert_int_equal(end_of(a), 0);
    assert_int_equal(end_of(b), 0);
    lab_open(lab, &v);
    assert_int_equal(number_of(&v, "own-0"), parts[0].ops);
    assert_int_equal(number_of(&v, "own-1"), parts[1].ops);
    assert_int_equal(number_of(&v, "shared"), parts[0].ops + parts[1].ops);
    assert_int_equal(vault_add_principal(&v, "end", PRINCIPAL_CORE), 0);
    lab_save(lab, &v);
    vault_close(&v);
    assert_int_equal(end_of(c), 0);
}

RUN(L(vault_rotate_key__the_old_key_opens_the_old_vault_only), L(vault_recover__sweeps_only_what_is_ours),
    L(vault_create__no_new_key_for_a_vault_that_is_there), L(vault_lock__two_writers_and_a_reading_warden))
