// The unit that tries the wall beside the running gateway, and the timer that does it again. One unit, and
// the long form both times: what it costs is a fraction of a second (make bench-gate), and a row that only
// the long form knows must be seen shut by something before a breach ends.
#include "fd.h"
#include "install.h"
#include "unitfile.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool is_walled(const struct config *c)
{
    return c->posture != POSTURE_UNCONFINED; // without a wall there is nothing to try
}

bool prove_timed(const struct config *c)
{
    return is_walled(c) && c->reprobe_every > 0;
}

// After: READY. Requisite: not where the gateway did not start. PartOf: not beside one that stops.
char *render_prove_unit(const struct config *c)
{
    struct strbuf sb = {0};

    sb_addf(&sb,
            "%s[Unit]\nDescription=ductile: try the wall (%s)\nDocumentation=man:ductile-gate(8)\n"
            "Requisite=%s.service\nAfter=%s.service\nPartOf=%s.service\n\n"
            "[Service]\nType=oneshot\nUser=%s\nGroup=%s\n"
            "AmbientCapabilities=CAP_SETUID CAP_SETGID\nCapabilityBoundingSet=CAP_SETUID CAP_SETGID\n"
            "ExecStart=%s/ductile-gate -c %s prove -q\nTimeoutStartSec=%d\n",
            render_header, c->name, c->name, c->name, c->name, c->user, c->user, DUCTILE_BINDIR, c->path,
            2 * TIME_GATE_MS / 1000);
    unitfile_hardening(&sb, c);
    return sb_finish(&sb);
}

char *render_prove_timer(const struct config *c)
{
    const unsigned long long s = (c->reprobe_every + 999) / 1000;
    struct strbuf sb = {0};

    sb_addf(&sb,
            "%s[Unit]\nDescription=ductile: try the wall again (%s)\nDocumentation=man:ductile-gate(8)\n"
            "After=%s.service\nPartOf=%s.service\n\n"
            "[Timer]\nOnActiveSec=%llus\nOnUnitActiveSec=%llus\nAccuracySec=1s\n",
            render_header, c->name, c->name, c->name, s, s);
    return sb_finish(&sb);
}

static int gone(struct host *h, struct plan *plan, const char *path)
{
    struct stat st;
    struct action a = {.kind = ACTION_REMOVE};

    if (fd_stat(h->root, path, &st) < 0)
        return 0;
    a.path = strdup(path);
    a.before = strdup("generated");
    a.after = strdup("removed: the config wants none");
    if (asprintf(&a.what, "file %s", path) < 0)
        a.what = NULL;
    return plan_add(plan, &a);
}

int prove_plan(struct host *h, struct plan *plan)
{
    const struct config *c = h->config;
    char unit[LIMIT_PATH], timer[LIMIT_PATH];

    plan_unit_path(h, "-prove", unit);
    snprintf(timer, sizeof(timer), "/etc/systemd/system/%s-prove.timer", c->name);
    int r = is_walled(c) ? plan_file(h, plan, unit, render_prove_unit(c), 0644, 0) : gone(h, plan, unit);
    if (r < 0)
        return r;
    return prove_timed(c) ? plan_file(h, plan, timer, render_prove_timer(c), 0644, 0) : gone(h, plan, timer);
}
