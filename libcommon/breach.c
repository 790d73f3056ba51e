// The flag file: a line per account, "NAME ROW,ROW". Both ends are the service user; it is read strictly all
// the same, because a flag that is half understood is a breach that goes on.
#include "breach.h"
#include "fd.h"
#include "str.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { FLAG_MAX = LIMIT_ACCOUNTS * (int)sizeof(struct breach) };

const char *breach_path(const struct config *config, char buf[static LIMIT_PATH])
{
    const char *slash = strrchr(config->api_socket, '/');

    snprintf(buf, LIMIT_PATH, "%.*s/breach", (int)(slash - config->api_socket), config->api_socket);
    return buf;
}

void breach_free(struct breach_list *list)
{
    free(list->list);
    *list = (struct breach_list){0};
}

const struct breach *breach_find(const struct breach_list *list, const char *account)
{
    for (size_t i = 0; i < list->n; i++)
        if (str_eq(list->list[i].account, account))
            return &list->list[i];
    return NULL;
}

bool breach_has(const struct breach *breach, const char *word)
{
    const char *rows = breach->rows;
    const size_t n = strlen(word);

    for (const char *p = rows; (p = strstr(p, word)); p += n)
        if ((p == rows || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
            return true;
    return false;
}

int breach_add(struct breach_list *list, const char *account, const char *row)
{
    struct breach *b = (struct breach *)breach_find(list, account);

    if (!b) {
        b = reallocarray(list->list, list->n + 1, sizeof(*b));
        if (!b)
            return -ENOMEM;
        list->list = b;
        b = &list->list[list->n++];
        *b = (struct breach){0};
        snprintf(b->account, sizeof(b->account), "%s", account);
    }
    const size_t len = strlen(b->rows);
    if (!breach_has(b, row) &&
        len + strlen(row) + 2 < sizeof(b->rows)) // one that does not fit changes nothing
        snprintf(b->rows + len, sizeof(b->rows) - len, "%s%s", len ? "," : "", row);
    return 0;
}

static int add_line(struct breach_list *list, char *line)
{
    char *space = strchr(line, ' '), *save = NULL;

    if (!space || space == line || (size_t)(space - line) >= LIMIT_NAME || !space[1])
        return -EBADMSG;
    *space = '\0';
    for (char *row = strtok_r(space + 1, ",", &save); row; row = strtok_r(NULL, ",", &save)) {
        int r = breach_add(list, line, row);
        if (r < 0)
            return r;
    }
    return 0;
}

int breach_read(int root, const struct config *config, struct breach_list *ret)
{
    char path[LIMIT_PATH];
    struct breach_list list = {0};
    struct stat st;
    OWNED(freep) char *text = NULL;
    size_t len;
    char *save = NULL;

    *ret = list;
    OWNED(fd_closep) int fd = fd_open(root, breach_path(config, path), O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fd < 0 ? fd : err_last();
    if (!S_ISREG(st.st_mode) || (int64_t)st.st_uid != config->uid || (st.st_mode & 022))
        return -EPERM;
    int r = fd_read_all(fd, FLAG_MAX, &text, &len);
    if (r == 0 && (len == 0 || strlen(text) != len || text[len - 1] != '\n'))
        r = -EBADMSG;
    for (char *line = r < 0 ? NULL : strtok_r(text, "\n", &save); r == 0 && line;
         line = strtok_r(NULL, "\n", &save))
        r = add_line(&list, line);
    if (r < 0)
        breach_free(&list);
    *ret = list;
    return r;
}

int breach_write(int root, const struct config *config, const struct breach_list *list)
{
    char path[LIMIT_PATH];
    const char *name;
    struct strbuf sb = {0};

    breach_path(config, path);
    if (list->n == 0) {
        OWNED(fd_closep) int dir = fd_open_parent(root, path, &name);
        if (dir == -ENOENT)
            return 0;
        return dir < 0 ? dir : unlinkat(dir, name, 0) < 0 && errno != ENOENT ? err_last() : 0;
    }
    for (size_t i = 0; i < list->n; i++)
        sb_addf(&sb, "%s %s\n", list->list[i].account, list->list[i].rows);
    OWNED(freep) char *text = sb_finish(&sb);
    return text ? fd_replace_file(root, path, text, strlen(text), 0600, (uid_t)-1, (gid_t)config->gid)
                : -ENOMEM;
}
