// The installed unit. Read as whoever runs the gate: unit files are no secret.
#include "fd.h"
#include "gate.h"
#include "unitfile.h"
#include <stdio.h>
#include <string.h>

// Drop-ins may be links (systemctl revert, /dev/null as a mask): followed, as systemd does.
static int read_followed(int root, const char *path, char **ret, size_t *len)
{
    OWNED(fd_closep) int fd = openat(root, path + 1, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    return fd < 0 ? err_last() : fd_read_all(fd, 1 << 20, ret, len);
}

static enum verdict verdict_of(enum unitfile_finding found)
{
    return found == UNITFILE_ROOTED ? VERDICT_REFUSE : VERDICT_WARN;
}

// The first line that is another.
static void note_difference(struct gate *g, const char *path, const char *have, const char *want)
{
    while (*have && *want) {
        size_t a = strcspn(have, "\n"), b = strcspn(want, "\n");
        if (a != b || memcmp(have, want, a) != 0)
            break;
        have += a + (have[a] == '\n');
        want += b + (want[b] == '\n');
    }
    gate_note(g, CHECK_UNIT, VERDICT_WARN, g->config->name, "%s: it has \"%.*s\", rendered is \"%.*s\"", path,
              (int)MIN(strcspn(have, "\n"), (size_t)120), have, (int)MIN(strcspn(want, "\n"), (size_t)120),
              want);
}

static void check_installed(struct gate *g, const char *path)
{
    OWNED(freep) char *have = NULL;
    OWNED(freep) char *want = unitfile_render(g->config);
    char line[160];
    size_t len;
    int r = read_followed(g->root, path, &have, &len);

    if (!want) {
        g->failed = true;
        return;
    }
    if (r < 0 || !have) {
        gate_note(g, CHECK_UNIT, r == -ENOENT ? VERDICT_WARN : VERDICT_UNPROVEN, g->config->name, "%s: %s",
                  path, r == -ENOENT ? "it is not installed" : strerror(-r));
        return;
    }
    if (str_eq(have, want))
        gate_note(g, CHECK_UNIT, VERDICT_PASS, g->config->name, "%s is as rendered, without a + or ! prefix",
                  path);
    else if (unitfile_scan(g->config, have, line) == UNITFILE_ROOTED)
        gate_note(g, CHECK_UNIT, VERDICT_REFUSE, g->config->name, "%s: %s", path, line);
    else
        note_difference(g, path, have, want);
}

static void check_dropins(struct gate *g, const char *base, const char *name)
{
    char dir[256], path[600], line[160];
    char **names = NULL;
    size_t n = 0, len;

    snprintf(dir, sizeof(dir), "%s/%.150s.d", base, name);
    OWNED(fd_closep) int fd = openat(g->root, dir + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 ? err_last() : fd_list_some(fd, 1000, &names, &n);
    if (r < 0 && r != -ENOENT && r != -ENOTDIR)
        gate_note(g, CHECK_UNIT, VERDICT_UNPROVEN, g->config->name, "%s: %s", dir, strerror(-r));
    for (size_t i = 0; i < n; i++) {
        OWNED(freep) char *text = NULL;
        const char *dot = strrchr(names[i], '.');
        if (!dot || !str_eq(dot, ".conf"))
            continue;
        snprintf(path, sizeof(path), "%s/%.255s", dir, names[i]);
        r = read_followed(g->root, path, &text, &len);
        enum unitfile_finding found = r < 0 ? UNITFILE_NOTHING : unitfile_scan(g->config, text, line);
        if (r < 0)
            gate_note(g, CHECK_UNIT, VERDICT_UNPROVEN, g->config->name, "%s: %s", path, strerror(-r));
        else if (found != UNITFILE_NOTHING)
            gate_note(g, CHECK_UNIT, verdict_of(found), g->config->name, "%s: %s", path, line);
    }
    fd_list_free(names, n);
}

// Of the units beside the gateway's: no root in them either.
static void check_beside(struct gate *g, const char *path)
{
    OWNED(freep) char *text = NULL;
    char line[160];
    size_t len;
    int r = read_followed(g->root, path, &text, &len);

    if (r < 0 && r != -ENOENT)
        gate_note(g, CHECK_UNIT, VERDICT_UNPROVEN, g->config->name, "%s: %s", path, strerror(-r));
    else if (r == 0 && text && unitfile_scan(g->config, text, line) == UNITFILE_ROOTED)
        gate_note(g, CHECK_UNIT, VERDICT_REFUSE, g->config->name, "%s: %s", path, line);
}

void check_unit(struct gate *g)
{
    static const char *const bases[] = {"/etc/systemd/system.control",   "/run/systemd/system.control",
                                        "/etc/systemd/system",           "/run/systemd/system",
                                        "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"};
    static const char *const suffixes[] = {"", "-prove", "-egress"};
    const struct config *c = g->config;
    char path[LIMIT_PATH], name[LIMIT_NAME + 32];

    if (c->personal || c->posture == POSTURE_UNCONFINED) // whoever runs it starts it; nothing to drop from
        return;
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(path, sizeof(path), "/etc/systemd/system/%s%s.service", c->name, suffixes[i]);
        if (i == 0)
            check_installed(g, path);
        else
            check_beside(g, path);
    }
    for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
        check_dropins(g, bases[i], "service"); // for every service there is
        for (size_t j = 0; j < ARRAY_LEN(suffixes); j++) {
            snprintf(name, sizeof(name), "%s%s.service", c->name, suffixes[j]);
            check_dropins(g, bases[i], name);
        }
        snprintf(name, sizeof(name), "%s-prove", c->name);
        for (char *dash = name + strlen(name); dash > name; dash--) // a-b-prove: a-b-.service, a-.service
            if (*dash == '-') {
                snprintf(dash + 1, sizeof(name) - (size_t)(dash + 1 - name), ".service");
                check_dropins(g, bases[i], name);
            }
    }
}
