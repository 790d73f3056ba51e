// Who exists: /etc/passwd and /etc/group of the tree that is worked on.
#include "fd.h"
#include "install.h"
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

static int open_file(int root, const char *path, FILE **ret)
{
    int fd = fd_open(root, path, O_RDONLY, 0);

    if (fd < 0)
        return fd;
    *ret = fdopen(fd, "re");
    if (*ret)
        return 0;
    close(fd);
    return -ENOMEM;
}

static int read_users(FILE *f, struct facts *facts)
{
    for (struct passwd *p; (p = fgetpwent(f));) {
        struct host_user *list = reallocarray(facts->users, facts->n_users + 1, sizeof(*list));
        if (!list)
            return -ENOMEM;
        facts->users = list;
        struct host_user *u = &list[facts->n_users++];
        *u = (struct host_user){strdup(p->pw_name), strdup(p->pw_dir), strdup(p->pw_shell), p->pw_uid,
                                p->pw_gid};
        if (!u->name || !u->home || !u->shell)
            return -ENOMEM;
    }
    return 0;
}

static int read_groups(FILE *f, struct facts *facts)
{
    for (struct group *g; (g = fgetgrent(f));) {
        struct host_group *list = reallocarray(facts->groups, facts->n_groups + 1, sizeof(*list));
        if (!list)
            return -ENOMEM;
        facts->groups = list;
        list[facts->n_groups++] = (struct host_group){strdup(g->gr_name), g->gr_gid};
        if (!list[facts->n_groups - 1].name)
            return -ENOMEM;
    }
    return 0;
}

static int read_file(int root, const char *path, int (*read)(FILE *, struct facts *), struct facts *facts)
{
    FILE *f;
    int r = open_file(root, path, &f);

    if (r < 0)
        return r == -ENOENT ? 0 : r; // an image without users yet
    r = read(f, facts);
    fclose(f);
    return r;
}

int facts_read(int root, bool live, struct facts *ret)
{
    struct facts f = {.live = live};
    int r = read_file(root, "/etc/passwd", read_users, &f);

    if (r == 0)
        r = read_file(root, "/etc/group", read_groups, &f);
    if (r < 0) {
        facts_free(&f);
        return r;
    }
    *ret = f;
    return 0;
}

void facts_free(struct facts *f)
{
    for (size_t i = 0; i < f->n_users; i++) {
        free(f->users[i].name);
        free(f->users[i].home);
        free(f->users[i].shell);
    }
    for (size_t i = 0; i < f->n_groups; i++)
        free(f->groups[i].name);
    free(f->users);
    free(f->groups);
    *f = (struct facts){0};
}

const struct host_user *facts_user(const struct facts *f, const char *name)
{
    for (size_t i = 0; i < f->n_users; i++)
        if (str_eq(f->users[i].name, name))
            return &f->users[i];
    return NULL;
}

const struct host_user *facts_uid(const struct facts *f, uid_t uid)
{
    for (size_t i = 0; i < f->n_users; i++)
        if (f->users[i].uid == uid)
            return &f->users[i];
    return NULL;
}

const struct host_group *facts_group(const struct facts *f, const char *name)
{
    for (size_t i = 0; i < f->n_groups; i++)
        if (str_eq(f->groups[i].name, name))
            return &f->groups[i];
    return NULL;
}

const struct host_group *facts_gid(const struct facts *f, gid_t gid)
{
    for (size_t i = 0; i < f->n_groups; i++)
        if (f->groups[i].gid == gid)
            return &f->groups[i];
    return NULL;
}
