// `posture`: which posture the config makes, which of its lines make it so, and when to pick which. Reads the
// config only.
#include "derive.h"
#include "fd.h"
#include "gate.h"
#include "posture.h"
#include "ynode.h"
#include <stdio.h>
#include <string.h>

const struct posture_row posture_rows[POSTURE_COUNT_] = {
#define POSTURE(name, accounts, runs_as, pick_when) [POSTURE_##name] = {accounts, runs_as, pick_when},
#include "postures.def"
#undef POSTURE
};

static const char *boot_word(enum boot_verdict v)
{
    switch (v) {
    case BOOT_ENFORCE: return "enforce";
    case BOOT_UNCONFINED: return "unconfined";
    case BOOT_UNCONFINED_LOUD: return "unconfined, loud";
    case BOOT_REFUSE_NO_ACCOUNT: return "refuse: a privileged daemon with nothing to drop to";
    case BOOT_REFUSE_NO_POWER: return "refuse: a wall the host cannot build";
    }
    return "";
}

void derive_because(const struct config *c, char out[static 256])
{
    const char *name = "";
    size_t credentialed = 0;

    for (size_t i = 0; i < c->accounts.n; i++)
        if (c->accounts.list[i].mode == MODE_CREDENTIALED && credentialed++ == 0)
            name = c->accounts.list[i].name;
    if (c->unconfined)
        snprintf(out, 256, "service.unconfined is true: no drop, whatever the accounts say");
    else if (c->accounts.n == 0)
        snprintf(out, 256, "there are no accounts");
    else if (credentialed == 0)
        snprintf(out, 256, "no account has a home: every one of the %zu is confined to a state_dir",
                 c->accounts.n);
    else
        snprintf(out, 256, "%zu of %zu accounts %s credentialed, by a home: %s%s", credentialed,
                 c->accounts.n, credentialed == 1 ? "is" : "are", name, credentialed == 1 ? "" : ", ...");
}

static void add_pair(struct strbuf *sb, const char *key, const char *value)
{
    sb_addf(sb, "\"%s\":", key);
    sb_add_json(sb, value);
}

static int print_json(const struct config *c, const char *because, const char *can, const char *cannot)
{
    struct strbuf sb = {0};

    sb_adds(&sb, "{\"verb\":\"posture\",");
    add_pair(&sb, "posture", posture_name(c->posture));
    sb_addc(&sb, ',');
    add_pair(&sb, "because", because);
    sb_addc(&sb, ',');
    add_pair(&sb, "config", c->path);
    sb_adds(&sb, ",\"accounts\":[");
    for (size_t i = 0; i < c->accounts.n; i++) {
        const struct account_config *a = &c->accounts.list[i];
        sb_adds(&sb, i ? ",{" : "{");
        add_pair(&sb, "name", a->name);
        sb_addc(&sb, ',');
        add_pair(&sb, "mode", account_mode_name(a->mode));
        sb_addc(&sb, ',');
        add_pair(&sb, a->home ? "home" : "state_dir", a->home ? a->home : a->state_dir);
        sb_addc(&sb, ',');
        add_pair(&sb, "file", a->node ? a->node->pos.file : c->path);
        sb_addf(&sb, ",\"line\":%u}", a->node ? a->node->pos.line : 1);
    }
    sb_adds(&sb, "],\"boot\":{");
    add_pair(&sb, "can_drop", can);
    sb_addc(&sb, ',');
    add_pair(&sb, "cannot_drop", cannot);
    sb_adds(&sb, "},\"postures\":[");
    for (unsigned i = 0; i < POSTURE_COUNT_; i++) {
        sb_adds(&sb, i ? ",{" : "{");
        add_pair(&sb, "name", posture_name((enum posture)i));
        sb_addf(&sb, ",\"derived\":%s,", c->posture == i ? "true" : "false");
        add_pair(&sb, "accounts", posture_rows[i].accounts);
        sb_addc(&sb, ',');
        add_pair(&sb, "runs_as", posture_rows[i].runs_as);
        sb_addc(&sb, ',');
        add_pair(&sb, "pick_when", posture_rows[i].pick_when);
        sb_addc(&sb, '}');
    }
    sb_adds(&sb, "]}");
    OWNED(freep) char *text = sb_finish(&sb);
    if (!text)
        return EXITCODE_BUG;
    puts(text);
    return report_written();
}

int verb_posture(const struct opts *o)
{
    struct refusal refusal;
    char because[256];
    OWNED(config_freep) struct config *c = NULL;
    OWNED(fd_closep) int root = fd_open_root(o->value[OPT_ROOT]);

    if (root < 0) {
        refuse(&refusal, REFUSE_IO, "the system image %s", o->value[OPT_ROOT] ? o->value[OPT_ROOT] : "/");
        refuse_why(&refusal, "%s", strerror(-root));
        refuse_remedy(&refusal, "give a directory that is there");
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    }
    if (config_read(root, o->value[OPT_CONFIG], o->value[OPT_INSTANCE], &c, &refusal) < 0)
        return refusal_print(&refusal, opt_given(o, OPT_JSON));
    const char *can = boot_word(posture_verdict(true, c->accounts.n > 0, c->unconfined));
    const char *cannot = boot_word(posture_verdict(false, c->accounts.n > 0, c->unconfined));
    derive_because(c, because);
    if (opt_given(o, OPT_JSON))
        return print_json(c, because, can, cannot);
    printf("posture %s\n  because %s (%s)\n", posture_name(c->posture), because, c->path);
    for (size_t i = 0; i < c->accounts.n; i++) {
        const struct account_config *a = &c->accounts.list[i];
        printf("  %-16s %-13s %s %s", a->name, account_mode_name(a->mode), a->home ? "home" : "state_dir",
               a->home ? a->home : a->state_dir);
        printf(a->node ? "  (%s:%u)\n" : "\n", a->node ? a->node->pos.file : "",
               a->node ? a->node->pos.line : 0);
    }
    printf(
        "  boot, with the two capabilities: %s\n  boot, without them: %s\n\nThe three, and when to pick which:\n",
        can, cannot);
    for (unsigned i = 0; i < POSTURE_COUNT_; i++)
        printf("%s %-13s accounts: %s\n    a plugin runs as  %s\n    pick when         %s\n",
               c->posture == i ? "*" : " ", posture_name((enum posture)i), posture_rows[i].accounts,
               posture_rows[i].runs_as, posture_rows[i].pick_when);
    return report_written();
}
