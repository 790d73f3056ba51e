// A bus without processes: a config (the text `yaml`, which stands before this is included) and a scratch
// ledger.
#pragma once
struct lab {
    char *dir;
    struct bus bus;
};

static int setup(void **s)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    struct refusal refusal;
    char path[512];
    struct config_file *files = calloc(1, sizeof(*files));
    lab->dir = scratch_make();
    log_set_level(LOG_LEVEL_ERR);
    files[0] = (struct config_file){strdup("/c.yaml"), strdup(yaml), sizeof(yaml) - 1};
    assert_int_equal(config_parse(files, 1, &lab->bus.config, &refusal), 0);
    snprintf(path, sizeof(path), "%s/ductile.db", lab->dir);
    assert_int_equal(ledger_open(path, true, &lab->bus.ledger), 0);
    assert_int_equal(ledger_run(&lab->bus.ledger, &lab->bus.snapshot_id,
                                "INSERT INTO config_snapshot(hash, at_ms, content) VALUES('h', 1, '')", ""),
                     0);
    *s = lab;
    return 0;
}

static int teardown(void **s)
{
    struct lab *lab = *s;
    ledger_close(&lab->bus.ledger);
    config_free(lab->bus.config);
    scratch_remove(lab->dir);
    free(lab);
    return 0;
}

// ---- asking the ledger ------------------------------------------------------------------------------

static void sql(struct lab *lab, const char *text)
{
    char *error = NULL;
    if (sqlite3_exec(lab->bus.ledger.db, text, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", text, error);
}
