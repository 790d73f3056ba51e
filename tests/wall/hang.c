// A file system that has stopped answering, by /dev/fuse: it answers INIT and nothing after it.
//
//   hang DIRECTORY keep|ignore
//
// keep reads each request and keeps it: then the kernel waits for the answer and not even SIGKILL ends the
// caller. ignore never reads: the caller can be killed. Says "mounted"; all callers fail once it is killed.
#include <fcntl.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static char buffer[1 << 20];

int main(int argc, char **argv)
{
    char options[128];
    struct {
        struct fuse_out_header header;
        struct fuse_init_out init;
    } answer = {
        .init = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096}};
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (argc != 3)
        return 64;
    snprintf(options, sizeof(options), "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fd);
    if (fd < 0 || mount("hang", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
        perror("hang");
        return 1;
    }
    if (read(fd, buffer, sizeof(buffer)) < (ssize_t)sizeof(struct fuse_in_header))
        return 1;
    memcpy(&answer.header.unique, buffer + offsetof(struct fuse_in_header, unique),
           sizeof(answer.header.unique));
    answer.header.len = sizeof(answer);
    if (write(fd, &answer, sizeof(answer)) != sizeof(answer))
        return 1;
    printf("mounted\n");
    fflush(stdout);
    while (strcmp(argv[2], "keep") == 0 && read(fd, buffer, sizeof(buffer)) > 0)
        ;
    for (;;)
        pause();
}
