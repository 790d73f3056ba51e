#include "jobstate.h"
#include "ledger.h"
#include "unit.h"
#include <sodium.h>

struct lab {
    char *dir;
    char path[512];
    struct ledger l;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->dir = scratch_make();
    snprintf(lab->path, sizeof(lab->path), "%s/ductile.db", lab->dir);
    assert_true(sodium_init() >= 0);
    assert_int_equal(ledger_open(lab->path, true, &lab->l), 0);
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    ledger_close(&lab->l);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

static void test_ledger_open__private_files(void **s)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    struct lab *lab = *s;
    assert_int_equal(ledger_audit(&lab->l, "t", 1, AUDIT_SECRET_SET, "x", "{}", NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char path[600];
        struct stat st;
        snprintf(path, sizeof(path), "%s%s", lab->path, suffixes[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
}

// The schema's list of states is jobstate.def's: each of them is taken, and nothing else.
static void test_ledger_open__job_states_of_the_table(void **s)
{
    static const char *const states[] = {
#define JOBSTATE(name, word, over) word,
#include "jobstate.def"
#undef JOBSTATE
        "",
        "QUEUED",
        "running ",
        "lost",
    };
    static const char insert[] =
        "INSERT INTO job(plugin, command, payload, state, max_attempts, not_before_ms, created_ms,"
        " submitted_by) VALUES('p','c','{}',?,1,0,0,'t')";
    struct lab *lab = *s;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        int r = ledger_run(&lab->l, NULL, insert, "s", states[i]);
        if ((r == 0) != jobstate_known(states[i]))
            fail_msg("\"%s\": %d", states[i], r);
    }
}

static void test_ledger_open__without_create(void **s)
{
    struct lab *lab = *s;
    struct ledger other;
    char path[600];
    snprintf(path, sizeof(path), "%s/absent.db", lab->dir);
    assert_int_equal(ledger_open(path, false, &other), -ENOENT);
    assert_true(access(path, F_OK) < 0);
}

static void test_ledger_open__newer_and_foreign(void **s)
{
    struct lab *lab = *s;
    struct ledger other;
    assert_int_equal(sqlite3_exec(lab->l.db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(ledger_open(lab->path, true, &other), -EIO);
    assert_non_null(strstr(other.error, "schema 99"));
    assert_int_equal(
        sqlite3_exec(lab->l.db, "PRAGMA user_version=1; PRAGMA application_id=7", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(ledger_open(lab->path, true, &other), -EIO);
    assert_non_null(strstr(other.error, "not a ledger"));
    char path[600];
    snprintf(path, sizeof(path), "%s/rubbish.db", lab->dir);
    put(path,
        "this is no database at all, and long enough to be read as a header ...........................................");
    assert_int_equal(ledger_open(path, true, &other), -EIO);
}

static void test_ledger_audit__chain(void **s)
{
    struct lab *lab = *s;
    int64_t seq, n;
    for (int i = 1; i <= 20; i++) {
        assert_int_equal(ledger_audit(&lab->l, "t", 7, AUDIT_SECRET_GRANTED, "s", "{\"a\":1}", &seq), 0);
        assert_int_equal(seq, i);
    }
    assert_int_equal(ledger_verify(&lab->l, &n), 0);
    assert_int_equal(n, 20);
}

static void test_ledger_audit__cannot_be_changed(void **s)
{
    struct lab *lab = *s;
    assert_int_equal(ledger_audit(&lab->l, "t", 7, AUDIT_SECRET_SET, "s", "{}", NULL), 0);
    assert_true(sqlite3_exec(lab->l.db, "UPDATE audit SET subject='x'", NULL, NULL, NULL) != SQLITE_OK);
    assert_true(sqlite3_exec(lab->l.db, "DELETE FROM audit", NULL, NULL, NULL) != SQLITE_OK);
    assert_true(ledger_audit(&lab->l, "t", 7, AUDIT_SECRET_SET, "s", "not json", NULL) < 0);
}

// Whoever takes the triggers away can change rows, but not unseen.
static void test_ledger_verify__names_the_broken_row(void **s)
{
    static const char exchange[] = "UPDATE audit SET seq=99 WHERE seq=5; UPDATE audit SET seq=5 WHERE seq=6;"
                                   " UPDATE audit SET seq=6 WHERE seq=99";
    const char *const changes[] = {
        "UPDATE audit SET detail='{\"x\":1}' WHERE seq=5",
        "UPDATE audit SET uid=0 WHERE seq=5",
        "DELETE FROM audit WHERE seq=5",
        exchange,
        "UPDATE audit SET prev=(SELECT hash FROM audit WHERE seq=1) WHERE seq=5",
        "UPDATE audit SET subject='su', kind='bjects' WHERE seq=5",
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        void *state;
        assert_int_equal(setup(&state), 0);
        struct lab *lab = state;
        int64_t n;
        for (int k = 0; k < 9; k++)
            assert_int_equal(ledger_audit(&lab->l, "t", 7, AUDIT_SECRET_SET, "subject", "{}", NULL), 0);
        assert_int_equal(sqlite3_exec(lab->l.db, "DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_exec(lab->l.db, changes[i], NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(ledger_verify(&lab->l, &n), 1);
        assert_int_equal(n, 5);
        teardown(&state);
    }
}

static void test_ledger_run__rolls_back(void **s)
{
    struct lab *lab = *s;
    int64_t n;
    assert_int_equal(ledger_begin(&lab->l), 0);
    assert_int_equal(ledger_audit(&lab->l, "t", 7, AUDIT_SECRET_SET, "s", "{}", NULL), 0);
    ledger_rollback(&lab->l);
    assert_int_equal(ledger_verify(&lab->l, &n), 0);
    assert_int_equal(n, 0);
}

static void test_ledger_open__two_writers(void **s)
{
    struct lab *lab = *s;
    struct ledger other;
    int64_t n;
    assert_int_equal(ledger_open(lab->path, false, &other), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ledger_audit(i % 2 ? &other : &lab->l, "t", 7, AUDIT_SECRET_SET, "s", "{}", NULL),
                         0);
    assert_int_equal(ledger_verify(&other, &n), 0);
    assert_int_equal(n, 10);
    ledger_close(&other);
}

#define L(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
RUN(L(ledger_open__private_files), L(ledger_open__without_create), L(ledger_open__job_states_of_the_table),
    L(ledger_open__newer_and_foreign), L(ledger_audit__chain), L(ledger_audit__cannot_be_changed),
    T(ledger_verify__names_the_broken_row), L(ledger_run__rolls_back), L(ledger_open__two_writers))
