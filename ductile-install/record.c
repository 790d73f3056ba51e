// What apply did: one JSON line per run in the root-owned manifest, and a copy for reading in the ledger,
// written by a child that first became the ledger's owner.
#include "fd.h"
#include "install.h"
#include "ledger.h"
#include "log.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static char *manifest_line(const struct plan *done)
{
    struct strbuf sb = {0};

    sb_addf(&sb, "{\"at_ms\":%lld,\"version\":\"%s\",\"actions\":[", (long long)ledger_now_ms(),
            DUCTILE_VERSION);
    for (size_t i = 0; i < done->n; i++) {
        sb_adds(&sb, i ? ",{\"what\":" : "{\"what\":");
        sb_add_json(&sb, done->list[i].what);
        sb_adds(&sb, ",\"before\":");
        sb_add_json(&sb, done->list[i].before);
        sb_adds(&sb, ",\"after\":");
        sb_add_json(&sb, done->list[i].after);
        sb_addc(&sb, '}');
    }
    sb_adds(&sb, "]}\n");
    return sb_finish(&sb);
}

static int append_manifest(struct host *h, const struct plan *done)
{
    char path[LIMIT_PATH];
    OWNED(freep) char *line = manifest_line(done);
    struct layout layout;

    if (layout_expand(h->config, &layout) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < layout.n; i++) // also where apply stopped before it came to them
        if ((layout.list[i].id == LAYOUT_INSTALL || layout.list[i].id == LAYOUT_INSTALL_INSTANCE) &&
            layout_apply(h->root, &layout.list[i]) < 0)
            log_warn("%s cannot be made", layout.list[i].path);
    layout_free(&layout);
    snprintf(path, sizeof(path), "/var/lib/ductile-install/%s/manifest.jsonl", h->config->name);
    OWNED(fd_closep) int fd = fd_open(h->root, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0 || !line)
        return fd < 0 ? fd : -ENOMEM;
    int r = fd_write_all(fd, line, strlen(line));
    return r < 0 ? r : fsync(fd) < 0 ? err_last() : 0;
}

static int write_rows(struct ledger *l, void *arg)
{
    const struct plan *done = arg;
    char detail[64];
    int64_t run;
    int r = ledger_begin(l);

    if (r == 0)
        r = ledger_run(l, &run, "INSERT INTO provision_run(at_ms, version, actions) VALUES(?,?,?)", "isi",
                       ledger_now_ms(), DUCTILE_VERSION, (int64_t)done->n);
    for (size_t i = 0; r == 0 && i < done->n; i++)
        r = ledger_run(
            l, NULL, "INSERT INTO provision_action(run, seq, what, before, after) VALUES(?,?,?,?,?)", "iisss",
            run, (int64_t)i + 1, done->list[i].what, done->list[i].before, done->list[i].after);
    snprintf(detail, sizeof(detail), "{\"actions\":%zu}", done->n);
    if (r == 0)
        r = ledger_audit(l, "ductile-install", 0, AUDIT_PROVISIONED, "apply", detail, NULL);
    if (r == 0)
        r = ledger_commit(l);
    return r;
}

int record_apply(struct host *h, const struct plan *done, struct refusal *refusal)
{
    int r = h->config->personal ? 0 : append_manifest(h, done);

    if (r < 0) {
        refuse(refusal, REFUSE_APPLY, "writing down what was done");
        refuse_why(refusal, "/var/lib/ductile-install/%s/manifest.jsonl: %s", h->config->name, strerror(-r));
        return refuse_remedy(refusal, "ductile-install apply");
    }
    if (h->root_path)
        return 0;
    r = ledger_as_owner(h->config, true, write_rows, (void *)done);
    if (r != 0)
        log_warn("what was done is not in the ledger (%s); the manifest has it", strerror(-r));
    return 0;
}
