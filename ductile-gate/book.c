// /etc/passwd and /etc/group of the host, read once: below the root descriptor and not by NSS, which may ask
// a server and wait. A few hundred accounts, each of which read both again, took longer than everything else.
#include "fd.h"
#include "gate.h"
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

static FILE *open_stream(int root, const char *path)
{
    int fd = fd_open(root, path, O_RDONLY, 0);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "re");

    if (!f && fd >= 0)
        close(fd);
    return f;
}

static bool add_user(struct book *b, const struct passwd *p)
{
    struct book_user *list = reallocarray(b->users, b->n_users + 1, sizeof(*list));

    if (!list)
        return false;
    b->users = list;
    list[b->n_users] = (struct book_user){.name = strdup(p->pw_name), .uid = p->pw_uid, .gid = p->pw_gid};
    return list[b->n_users++].name != NULL;
}

static bool add_group(struct book *b, const struct group *g)
{
    struct book_group *list = reallocarray(b->groups, b->n_groups + 1, sizeof(*list));
    size_t n = 0;

    if (!list)
        return false;
    b->groups = list;
    while (g->gr_mem[n])
        n++;
    struct book_group *to = &list[b->n_groups++];
    *to = (struct book_group){
        .name = strdup(g->gr_name), .gid = g->gr_gid, .members = calloc(n + 1, sizeof(char *))};
    for (size_t i = 0; to->members && i < n; i++)
        if (!(to->members[i] = strdup(g->gr_mem[i])))
            return false;
    return to->name && to->members;
}

const struct book *gate_book(struct gate *g)
{
    if (g->book)
        return g->book;
    struct book *b = g->book = calloc(1, sizeof(*b));
    if (!b) {
        g->failed = true;
        return NULL;
    }
    FILE *f = open_stream(g->root, "/etc/passwd");
    b->has_users = f != NULL;
    for (struct passwd *p; f && (p = fgetpwent(f));)
        g->failed |= !add_user(b, p);
    if (f)
        fclose(f);
    f = open_stream(g->root, "/etc/group");
    b->has_groups = f != NULL;
    for (struct group *p; f && (p = fgetgrent(f));)
        g->failed |= !add_group(b, p);
    if (f)
        fclose(f);
    return b;
}

void book_free(struct book *b)
{
    for (size_t i = 0; b && i < b->n_users; i++)
        free(b->users[i].name);
    for (size_t i = 0; b && i < b->n_groups; i++) {
        for (size_t k = 0; b->groups[i].members && b->groups[i].members[k]; k++)
            free(b->groups[i].members[k]);
        free(b->groups[i].members);
        free(b->groups[i].name);
    }
    if (b) {
        free(b->users);
        free(b->groups);
    }
    free(b);
}
