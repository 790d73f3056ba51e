// facts.json, read by who is not root: is it still true, and does it speak of these accounts?
#include "fd.h"
#include "rootfacts.h"
#include "str.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void rootfacts_free(struct rootfacts *facts)
{
    free(facts->list);
    *facts = (struct rootfacts){0};
}

// 1, with the reason.
__attribute__((format(printf, 2, 3))) static int stale(char why[static 256], const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(why, 256, format, ap);
    va_end(ap);
    str_make_utf8(why);
    return 1;
}

static const struct ynode *list_of(const struct ynode *map, const char *key)
{
    const struct ynode *node = ynode_get(map, key);

    return node && node->kind == YNODE_LIST ? node : NULL;
}

static int check_stamps(int root, const struct ynode *files, char why[static 256])
{
    for (size_t i = 0; i < files->n; i++) {
        const char *path = ynode_get_text(files->items[i], "path");
        const char *was = ynode_get_text(files->items[i], "stamp");
        char now[ROOTFACTS_STAMP];
        if (!path || !was || path[0] != '/')
            return stale(why, "it is damaged: file %zu has no stamp", i);
        rootfacts_stamp(root, path, now);
        if (!str_eq(now, was))
            return stale(why, "%s has changed since (%s)", path,
                         str_eq(now, "absent")   ? "it is gone"
                         : str_eq(was, "absent") ? "it is new"
                         : str_eq(now, "unseen") ? "it cannot be examined any more"
                                                 : "its stat differs");
    }
    return 0;
}

static int take_door(const struct ynode *node, struct rootfact *fact)
{
    static const char *const states[DOOR_COUNT_] = {"none", "unknown", "exists"};
    const char *word = ynode_get_text(node, "door"), *state = ynode_get_text(node, "state");
    const char *open = ynode_get_text(node, "open"), *evidence = ynode_get_text(node, "evidence");
    bool known = false;

    for (int i = 0; word && i < ROOTDOOR_COUNT_; i++)
        if (str_eq(word, rootdoor_word((enum rootdoor_id)i))) {
            fact->id = (enum rootdoor_id)i;
            known = true;
        }
    for (int i = 0; known && state && open && evidence && i < DOOR_COUNT_; i++)
        if (str_eq(state, states[i])) {
            fact->door.state = (enum door_state)i;
            fact->door.open = str_eq(open, "yes");
            snprintf(fact->door.evidence, sizeof(fact->door.evidence), "%s", evidence);
            return 0;
        }
    return -EINVAL;
}

// Every door of one account, each once.
static int take_account(const struct ynode *accounts, const struct account_config *a, struct rootfacts *f,
                        char why[static 256])
{
    for (size_t i = 0; i < accounts->n; i++) {
        const struct ynode *row = accounts->items[i], *doors = list_of(row, "doors");
        const char *name = ynode_get_text(row, "account"), *user = ynode_get_text(row, "user");
        const char *text = ynode_get_text(row, "uid");
        uint64_t uid;
        unsigned seen = 0;
        if (!name || !str_eq(name, a->name))
            continue;
        if (!user || !text || !doors || !str_eq(user, a->user) || str_to_u64(text, 0, UINT32_MAX, &uid) < 0 ||
            (int64_t)uid != a->uid)
            return stale(why, "it speaks of another %s: not %s, uid %lld", a->name, a->user,
                         (long long)a->uid);
        for (size_t j = 0; j < doors->n; j++) {
            struct rootfact *fact = &f->list[f->n];
            if (take_door(doors->items[j], fact) < 0 || (seen & 1U << fact->id))
                return stale(why, "it is damaged: account %s, door %zu", a->name, j);
            seen |= 1U << fact->id;
            snprintf(fact->account, sizeof(fact->account), "%s", a->name);
            f->n++;
        }
        return seen + 1 == 1U << ROOTDOOR_COUNT_ ? 0
                                                 : stale(why, "it does not know every door of %s", a->name);
    }
    return stale(why, "it says nothing of the account %s", a->name);
}

static int too_old(const struct config *c, char why[static 256])
{
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = {{86400000, "day"}, {3600000, "hour"}, {60000, "minute"}, {1, "millisecond"}};
    size_t i = 0;

    while (c->retention_facts % units[i].ms)
        i++;
    const unsigned long long n = c->retention_facts / units[i].ms;
    return stale(why, "it is older than %llu %s%s (service.retention.facts)", n, units[i].name,
                 n == 1 ? "" : "s");
}

static int take(int root, const struct config *c, const struct ynode *top, int64_t now_ms,
                struct rootfacts *f, char why[static 256])
{
    const struct ynode *files = list_of(top, "files"), *unseen = list_of(top, "unseen");
    const struct ynode *accounts = list_of(top, "accounts");
    const char *version = ynode_get_text(top, "version"), *at = ynode_get_text(top, "collected_ms");
    const char *by = ynode_get_text(top, "by");
    uint64_t ms;

    if (!files || !unseen || !accounts || !version || !str_eq(version, "1") || !at || !by ||
        str_to_u64(at, 1, INT64_MAX, &ms) < 0)
        return stale(why, "it is damaged, or of another version");
    f->at_ms = (int64_t)ms;
    f->n_files = files->n;
    f->n_unseen = unseen->n;
    snprintf(f->by, sizeof(f->by), "%s", by);
    const char *secure = ynode_get_text(top, "secure_path");
    snprintf(f->secure_path, sizeof(f->secure_path), "%s", secure ? secure : "");
    if (now_ms - f->at_ms > (int64_t)c->retention_facts)
        return too_old(c, why);
    if (f->at_ms - now_ms > 86400000)
        return stale(why, "it is from the future: the clock was set back");
    int r = check_stamps(root, files, why);
    f->list = r == 0 ? calloc(c->accounts.n * ROOTDOOR_COUNT_ + 1, sizeof(*f->list)) : NULL;
    if (r == 0 && !f->list)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < c->accounts.n; i++)
        r = take_account(accounts, &c->accounts.list[i], f, why);
    return r;
}

int rootfacts_read(int root, const struct config *c, int64_t now_ms, struct rootfacts *ret,
                   char why[static 256])
{
    OWNED(diags_free) struct diags diags = {0};
    OWNED(ynode_freep) struct ynode *top = NULL;
    OWNED(freep) char *text = NULL;
    char path[LIMIT_PATH];
    struct rootfacts f = {0};
    struct stat st;
    size_t len = 0;

    *ret = f;
    int r = fd_stat(root, rootfacts_path(c, path), &st);
    if (r == 0)
        r = fd_read_file(root, path, LIMIT_CONFIG_FILE, &text, &len);
    if (r < 0)
        return stale(why, "%s: %s", path, r == -ENOENT ? "root has not collected any yet" : strerror(-r));
    // Whoever else could have written it could have written "none".
    if (st.st_uid != 0 || (st.st_mode & 0022))
        return stale(why, "%s is not root's alone", path);
    if (yaml_parse("facts.json", text, len, &diags, &top) < 0 || !top) // JSON is YAML
        return stale(why, "%s is damaged: it does not parse", path);
    r = take(root, c, top, now_ms, &f, why);
    if (r == 0)
        *ret = f;
    else
        rootfacts_free(&f);
    return r;
}
