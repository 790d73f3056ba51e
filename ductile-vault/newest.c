// The newest generation of each vault, as the ledger has it, in a small file beside the ledger: who only
// looks at the vault is told of an older one without opening the ledger, which takes longer than opening the
// vault. It is the bus's as the ledger is, so who may put an older vault back cannot put this back with it.
//
// A change stands in the vault first, then here, then in the ledger: killed in between, what stands here is
// never behind the ledger, nor ahead of the vault.
#include "newest.h"
#include "fd.h"
#include "str.h"
#include "vault.h"
#include <stdio.h>
#include <string.h>

#define NAME "vault-generations"

enum { TEXT_MAX = NEWEST_MAX * (NEWEST_ID_LEN + 22) + 1 };

static const char *path_of(const struct config *config, char buf[static LIMIT_PATH])
{
    return vault_beside(config->state_path, NAME, buf);
}

// ---- reading ------------------------------------------------------------------------------------

const struct newest *newest_of(const struct newest_list *list, const char *vault)
{
    for (size_t i = 0; i < list->n; i++)
        if (str_eq(list->list[i].vault, vault))
            return &list->list[i];
    return NULL;
}

// "VAULT_ID GENERATION".
static bool parse_line(char *line, struct newest_list *ret)
{
    char *number = line + NEWEST_ID_LEN;
    struct newest *to = &ret->list[ret->n];

    if (ret->n == NEWEST_MAX || strspn(line, "0123456789abcdef") != NEWEST_ID_LEN || *number != ' ')
        return false;
    *number++ = '\0';
    if (newest_of(ret, line) || str_to_u64(number, 1, INT64_MAX, &to->generation) < 0)
        return false;
    memcpy(to->vault, line, sizeof(to->vault));
    ret->n++;
    return true;
}

static int parse(char *text, size_t len, struct newest_list *ret)
{
    for (char *line = text, *end; line < text + len; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + len - line));
        if (!end)
            return -EBADMSG;
        *end = '\0';
        if (!parse_line(line, ret))
            return -EBADMSG;
    }
    return ret->n > 0 ? 0 : -EBADMSG;
}

int newest_read(int root, const struct config *config, struct newest_list *ret)
{
    char path[LIMIT_PATH];
    OWNED(freep) char *text = NULL;
    size_t len;
    int r = fd_read_file(root, path_of(config, path), TEXT_MAX, &text, &len);

    *ret = (struct newest_list){0};
    if (r == 0)
        r = parse(text, len, ret);
    if (r < 0)
        ret->n = 0; // half of it is as good as none
    return r;
}

// ---- writing ------------------------------------------------------------------------------------

// From the facts themselves, where there is no file: the last that is known of each vault, the latest first.
static int collect(struct ledger *l, struct newest_list *ret)
{
    sqlite3_stmt *q = ledger_query(l,
                                   "SELECT json_extract(detail, '$.vault') AS vault,"
                                   " json_extract(detail, '$.generation'), max(seq) AS last FROM audit"
                                   " WHERE actor = 'ductile-vault' AND"
                                   " json_type(detail, '$.generation') = 'integer' AND"
                                   " json_type(detail, '$.vault') = 'text'"
                                   " GROUP BY vault ORDER BY last DESC LIMIT ?1",
                                   "i", (int64_t)NEWEST_MAX);
    int step = q ? SQLITE_ROW : SQLITE_ERROR;

    *ret = (struct newest_list){0};
    while (q && (step = sqlite3_step(q)) == SQLITE_ROW) {
        struct newest *to = &ret->list[ret->n++];
        snprintf(to->vault, sizeof(to->vault), "%s", (const char *)sqlite3_column_text(q, 0));
        to->generation = (uint64_t)sqlite3_column_int64(q, 1);
    }
    sqlite3_finalize(q);
    return step == SQLITE_DONE ? 0 : ledger_failed(l);
}

static int write_list(int root, const char *path, const struct newest_list *list)
{
    struct strbuf sb = {0};

    for (size_t i = 0; i < list->n; i++)
        sb_addf(&sb, "%s %llu\n", list->list[i].vault, (unsigned long long)list->list[i].generation);
    int r = sb.failed ? -ENOMEM : fd_replace_file(root, path, sb.p, sb.len, 0600, (uid_t)-1, (gid_t)-1);
    sb_free(&sb);
    return r;
}

// This vault to the front, at this generation; the one that was noted longest ago may fall out.
static void put_first(struct newest_list *list, const char *vault, uint64_t generation)
{
    size_t at = 0;

    while (at < list->n && !str_eq(list->list[at].vault, vault))
        at++;
    if (at == NEWEST_MAX)
        at--;
    list->n = MAX(list->n, at + 1);
    memmove(&list->list[1], &list->list[0], at * sizeof(list->list[0]));
    list->list[0].generation = generation;
    snprintf(list->list[0].vault, sizeof(list->list[0].vault), "%s", vault);
}

// What a killed scribe left of a file that was never renamed.
static void sweep(int root, const char *path)
{
    const char *name;
    char **names = NULL;
    size_t n = 0;
    OWNED(fd_closep) int dir = fd_open_parent(root, path, &name);

    if (dir < 0 || fd_list(dir, &names, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (vault_is_leftover(names[i], NAME))
            (void)unlinkat(dir, names[i], 0);
    fd_list_free(names, n);
}

// Without the file the ledger is asked, which is slower and as right; a file that is behind would be wrong.
static int take_away(int root, const char *path)
{
    const char *name;
    OWNED(fd_closep) int dir = fd_open_parent(root, path, &name);

    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? err_last() : 0;
}

int newest_note(struct ledger *l, const struct config *config, const char *vault, uint64_t generation,
                bool accepted)
{
    char path[LIMIT_PATH];
    struct newest_list list;
    OWNED(fd_closep) int root = fd_open_root(NULL);

    if (root < 0)
        return root;
    sweep(root, path_of(config, path));
    int r = newest_read(root, config, &list);
    bool fresh = r < 0;
    if (fresh)
        r = collect(l, &list);
    const struct newest *there = r == 0 ? newest_of(&list, vault) : NULL;
    if (there && !accepted)
        generation = MAX(generation, there->generation);
    if (r == 0 && !fresh && there == list.list && there->generation == generation)
        return 0;
    if (r == 0) {
        put_first(&list, vault, generation);
        r = write_list(root, path, &list);
    }
    return r < 0 ? take_away(root, path) : 0;
}
