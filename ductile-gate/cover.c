// Every directory of a plugin root in a home has the service's group in its default ACL, so that what is made
// in it later can be read and attested. Looks at no file.
#include "acl.h"
#include "fd.h"
#include "gate.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { COVER_ENTRIES = 20000 };

struct cover {
    struct gate *gate;
    unsigned directories, left;
    unsigned bare;          // directories that are not covered
    char first[LIMIT_PATH]; // one of them
    const char *why;
};

static void look(struct cover *c, int fd, const char *path)
{
    bool masked = false;
    int has = acl_group_has(fd, (gid_t)c->gate->config->gid, ACL_RIGHT_RX, true, &masked);

    c->directories++;
    if (has == 1)
        return;
    if (c->bare++ == 0) {
        snprintf(c->first, sizeof(c->first), "%s", path);
        c->why = has < 0  ? "its default ACL cannot be read"
                 : masked ? "the default ACL has its entry, and the mask takes it away"
                          : "no entry for its group in the default ACL";
    }
}

static void walk(struct cover *c, int parent, const char *name, const char *path, unsigned depth)
{
    char **names = NULL, below[LIMIT_PATH];
    size_t n = 0;
    struct stat st;
    OWNED(fd_closep)
    int dir = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (dir < 0)
        return;
    look(c, dir, path);
    OWNED(fd_closep) int list = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (list < 0 || depth > LIMIT_TREE_DEPTH || fd_list_some(list, COVER_ENTRIES, &names, &n) < 0)
        return; // closed to the service already: GATE-HOME-02, or no plugin of ours
    for (size_t i = 0; i < n && c->left > 0; i++, c->left--)
        if (fstatat(list, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
            (size_t)snprintf(below, sizeof(below), "%s/%s", path, names[i]) < sizeof(below))
            walk(c, list, names[i], below, depth + 1);
    fd_list_free(names, n);
}

static void check_root(struct gate *g, const char *path)
{
    const char *name;
    struct cover c = {.gate = g, .left = COVER_ENTRIES};
    OWNED(fd_closep) int parent = fd_open_parent(g->root, path, &name);

    if (parent < 0)
        return; // GATE-HOME-02 names what keeps the service out
    walk(&c, parent, name, path, 0);
    if (c.bare > 0)
        gate_note(g, CHECK_HOME_COVER, VERDICT_WARN, c.first, "%s (%u of %u directories of %.200s)", c.why,
                  c.bare, c.directories, path);
    else if (c.left == 0)
        gate_note(g, CHECK_HOME_COVER, VERDICT_UNPROVEN, path, "more than %d entries", COVER_ENTRIES);
    else if (c.directories > 0)
        gate_note(g, CHECK_HOME_COVER, VERDICT_PASS, path, "%u directories", c.directories);
}

void check_cover(struct gate *g)
{
    const struct config *c = g->config;

    for (size_t i = 0; c->posture != POSTURE_UNCONFINED && i < c->plugin_roots.n; i++)
        if (config_home_of(c, c->plugin_roots.list[i]) && gate_step(g, c->plugin_roots.list[i]))
            check_root(g, c->plugin_roots.list[i]);
}
