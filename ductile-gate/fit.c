// Does secret zero open the vault? In a child of its own, which ends with it: the probes that follow are
// children of this process, and must never have had the key. It opens it as the warden will, so that a cut,
// changed or older vault is found here and not by the start that follows. It parses, so it first gives its
// capabilities away.
#include "fd.h"
#include "gate.h"
#include "privs.h"
#include "vault.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

struct fit {
    enum verdict verdict;
    char why[320];
};

static void try_fit(const struct config *c, struct fit *ret)
{
    struct refusal refusal = {0};
    struct vault v = {0};

    *ret = (struct fit){.verdict = VERDICT_UNPROVEN};
    if (privs_clear_caps() < 0)
        snprintf(ret->why, sizeof(ret->why), "its capabilities cannot be given away");
    else if (vault_arena_open(c->vault_file, &refusal) < 0)
        snprintf(ret->why, sizeof(ret->why), "no locked memory for it: %.250s", refusal.why);
    else if (vault_open(c->age_key_file, c->vault_file, &v, &refusal) < 0) {
        ret->verdict = VERDICT_REFUSE;
        snprintf(ret->why, sizeof(ret->why), "%.250s", refusal.why);
    } else {
        ret->verdict = VERDICT_PASS;
        snprintf(ret->why, sizeof(ret->why), "it opens, generation %llu", (unsigned long long)v.generation);
        vault_close(&v);
    }
}

// Who may read the key or the vault is the floor's to tell, and is the cause where they do not open.
static bool is_told(const struct gate *g)
{
    for (size_t i = 0; i < g->n_findings; i++) {
        const struct finding *f = &g->findings[i];
        if (f->verdict == VERDICT_REFUSE && (f->check == CHECK_KEY || f->check == CHECK_LAYOUT) &&
            (str_path_within(g->config->age_key_file, f->subject) ||
             str_path_within(g->config->vault_file, f->subject)))
            return true;
    }
    return false;
}

void check_vault(struct gate *g)
{
    const struct config *c = g->config;
    struct fit fit = {.verdict = VERDICT_UNPROVEN, .why = "the child that tried came to no end"};
    struct stat st;
    int p[2];

    if (is_told(g) || (int64_t)geteuid() != c->uid || fd_stat(g->root, c->vault_file, &st) == -ENOENT)
        return; // GATE-USER-01 says the first; a vault that is not there yet is made by apply
    if (pipe2(p, O_CLOEXEC) < 0) {
        g->failed = true;
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        alarm(TIME_PROBE_MS / 1000);
        try_fit(c, &fit);
        _exit(write(p[1], &fit, sizeof(fit)) == (ssize_t)sizeof(fit) ? 0 : 1);
    }
    close(p[1]);
    struct fit got;
    if (pid > 0 && read(p[0], &got, sizeof(got)) == (ssize_t)sizeof(got))
        fit = got;
    close(p[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    gate_note(g, CHECK_VAULT, fit.verdict, c->vault_file, "%s", fit.why);
}
