// naive HOW KEY VAULT RECIPIENT: changes the vault as nobody should; what tests/wall/crash.c must find.
//   inplace    truncates and writes the file that is there
//   plaintext  keeps the text in a file on its way
//   unsynced   renames before anything is on the disk
//   leaky      writes beside, as one should, and never removes what an earlier run left
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char text[1 << 16], file[1 << 17], path[1024], temp[1200], dir[1024];

static size_t pipe_through(const char *command, char *out, size_t size)
{
    FILE *p = popen(command, "r");
    size_t n = p ? fread(out, 1, size, p) : 0;

    return p && pclose(p) == 0 ? n : 0;
}

static int put(const char *to, int flags, const char *data, size_t len, bool sync)
{
    int fd = open(to, O_WRONLY | O_CREAT | flags, 0600);

    if (fd < 0 || write(fd, data, len / 2) != (ssize_t)(len / 2) ||
        write(fd, data + len / 2, len - len / 2) != (ssize_t)(len - len / 2))
        return -1;
    return (sync && fsync(fd) < 0) || close(fd) < 0 ? -1 : 0;
}

static int sync_dir(void)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY);

    return fd < 0 || fsync(fd) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    char command[2600];
    struct stat st;
    const char *how = argc == 5 ? argv[1] : "";

    if (argc != 5)
        return 64;
    snprintf(path, sizeof(path), "%s", argv[3]);
    snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
    if (stat(dir, &st) < 0 || setgid(st.st_gid) < 0 || setuid(st.st_uid) < 0) // as the real one: its owner
        return 1;
    snprintf(temp, sizeof(temp), "%s/.vault.age.%s", dir, strcmp(how, "leaky") ? "0123456789abcdef" : "left");
    snprintf(command, sizeof(command), "age -d -i %s %s", argv[2], path);
    size_t n = pipe_through(command, text, sizeof(text) - 1);
    char *at = n ? strstr(text, "\"secrets\":{") : NULL;
    if (!at)
        return 1;
    const char added[] =
        "\"naive\":{\"value\":\"MARKER\",\"pattern\":\"manual\",\"status\":\"active\",\"created_ms\":1,"
        "\"updated_ms\":1,\"grants\":[]},";
    at += strlen("\"secrets\":{");
    memmove(at + strlen(added), at, strlen(at) + 1);
    memcpy(at, added, strlen(added));
    if (strcmp(how, "plaintext") == 0 && put(temp, O_TRUNC, text, strlen(text), true) < 0)
        return 1;
    setenv("TEXT", text, 1);
    snprintf(command, sizeof(command), "printf %%s \"$TEXT\" | age -r %s", argv[4]);
    n = pipe_through(command, file, sizeof(file));
    if (n == 0)
        return 1;
    if (strcmp(how, "inplace") == 0)
        return put(path, O_TRUNC, file, n, true) < 0;
    if (put(temp, O_TRUNC, file, n, strcmp(how, "unsynced") != 0) < 0 || rename(temp, path) < 0)
        return 1;
    return sync_dir() < 0;
}
