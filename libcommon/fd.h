// Descriptors: paths below a root fd without symlinks, whole reads and writes, atomic files, sealed memfds.
#pragma once
#include "owned.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

// Opens the directory that stands for "/". NULL or "/" is the real one. -errno.
MUST int fd_open_root(const char *dir);

// Opens an absolute path below root with openat2(2): no symlink in any component (-ELOOP), no magic link, no
// way out of root. O_CLOEXEC|O_NOFOLLOW are implied. A ".." holds also while others rename. -errno.
MUST int fd_open(int root, const char *path, int flags, mode_t mode);
// Opens the parent directory of path (O_PATH) and points *ret_name at the last component.
MUST int fd_open_parent(int root, const char *path, const char **ret_name);
// lstat below root. -ENOENT where it is not there; -ELOOP where a component is a link.
MUST int fd_stat(int root, const char *path, struct stat *ret);

// Makes the directories above path that are missing, 0755, owned by whoever runs this. -errno.
MUST int fd_make_parents(int root, const char *path);

// Opens a regular file to read; -EISDIR, or -ENOTSUP for what else is none.
MUST int fd_open_file(int root, const char *path);
// Reads the whole file, at most max bytes (-EFBIG), NUL-terminated; the caller frees *ret_data.
MUST int fd_read_file(int root, const char *path, size_t max, char **ret_data, size_t *ret_len);
// The same from an open descriptor.
MUST int fd_read_all(int fd, size_t max, char **ret_data, size_t *ret_len);
// Writes all or fails. -errno.
MUST int fd_write_all(int fd, const void *data, size_t len);

// Replaces path below root: temporary file beside it, owner and mode set on its descriptor before the
// content, fsync, rename, fsync of the directory. uid/gid -1: leave as created. -errno; on failure nothing is
// left.
MUST int fd_replace_file(int root, const char *path, const void *data, size_t len, mode_t mode, uid_t uid,
                         gid_t gid);

// A memfd with these bytes and all seals (WRITE, SHRINK, GROW, SEAL), offset 0. -errno.
MUST int fd_sealed(const char *name, const void *data, size_t len);
// 0 if fd is a memfd that nobody can change any more; -EPERM if it is not. *ret_size is its length.
MUST int fd_check_sealed(int fd, uint64_t *ret_size);

MUST int fd_set_nonblock(int fd, bool on);
// A directory's names, sorted, without "." and "..". The caller frees with fd_list_free.
MUST int fd_list(int dir, char ***ret_names, size_t *ret_n);
// The same, but -E2BIG beyond max names: whoever owns a directory may put millions there.
MUST int fd_list_some(int dir, size_t max, char ***ret_names, size_t *ret_n);
// Removes name below parent, and everything in it; follows no link. A directory that its owner closed to
// himself is opened first. At most LIMIT_REMOVE_DEPTH levels (-ELOOP). A name that is not there is success.
// -errno.
MUST int fd_remove_tree(int parent, const char *name);
void fd_list_free(char **names, size_t n);
