// The checks on secret zero. Each looks at the descriptor that is then read, never at a name again.
#include "keyfile.h"
#include "fd.h"
#include "str.h"
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

// A vault that is there opens with the key that was there, and with no new one.
#define NO_KEY_REMEDY "put the key back from a backup, or, where there is no vault yet: ductile-vault init"

bool keyfile_is_credential(const char *key_file)
{
    return str_starts(key_file, KEYFILE_CREDENTIAL);
}

const char *keyfile_problem(const char *key_file)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    const char *name = key_file + strlen(KEYFILE_CREDENTIAL);

    if (!keyfile_is_credential(key_file))
        return str_is_abspath(key_file)
                   ? NULL
                   : "an absolute path without \".\", \"..\" or \"//\", or credential:NAME";
    return *name && *name != '.' && strlen(name) < LIMIT_NAME && name[strspn(name, letters)] == '\0'
               ? NULL
               : "credential: and a name of letters, digits, _, - and .";
}

__attribute__((format(printf, 4, 5))) static int refused(struct refusal *refusal, const char *path,
                                                         const char *remedy, const char *why, ...)
{
    char text[LIMIT_PATH];
    va_list ap;

    va_start(ap, why);
    vsnprintf(text, sizeof(text), why, ap);
    va_end(ap);
    refuse(refusal, REFUSE_VAULT_KEY, "secret zero, %s", path);
    refuse_why(refusal, "%s", text);
    return refuse_remedy(refusal, "%s", remedy);
}

int keyfile_path(const char *key_file, char ret[static LIMIT_PATH], struct refusal *refusal)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY"), *name = key_file + strlen(KEYFILE_CREDENTIAL);
    char remedy[LIMIT_PATH];

    if (!keyfile_is_credential(key_file)) {
        snprintf(ret, LIMIT_PATH, "%s", key_file);
        return 0;
    }
    snprintf(remedy, sizeof(remedy),
             "LoadCredential=%s:FILE or LoadCredentialEncrypted= in a drop-in of the unit; in a shell, "
             "systemd-run --pipe --wait -p LoadCredential=%s:FILE -p User=USER ...",
             name, name);
    if (!dir || !str_is_abspath(dir))
        return refused(refusal, key_file, remedy, "the service manager gave this process no credentials");
    if (snprintf(ret, LIMIT_PATH, "%s/%s", dir, name) >= LIMIT_PATH)
        return refused(refusal, key_file, remedy, "its path is too long");
    return 0;
}

// ---- ACLs: read as the kernel keeps them, because the warden links no libacl --------------------------

struct entry {
    uint16_t tag, perm;
    uint32_t id;
};

// How many entries; 0 where there is no ACL; -errno.
static int read_acl(int fd, struct entry *list, size_t max)
{
    struct {
        uint32_t version;
        struct entry list[64];
    } acl;
    ssize_t n = fgetxattr(fd, "system.posix_acl_access", &acl, sizeof(acl));

    if (n < 0)
        return errno == ENODATA || errno == EOPNOTSUPP ? 0 : err_last();
    size_t count = ((size_t)n - sizeof(acl.version)) / sizeof(struct entry);
    if ((size_t)n < sizeof(acl.version) || acl.version != POSIX_ACL_XATTR_VERSION || count > max)
        return -EBADMSG;
    memcpy(list, acl.list, count * sizeof(*list));
    return (int)count;
}

// Does it let this user read, and nobody else do anything (but root, whose file it is)?
static bool is_for_us_alone(const struct entry *list, int n)
{
    for (int i = 0; i < n; i++)
        switch (list[i].tag) {
        case ACL_USER_OBJ:
        case ACL_MASK: break;
        case ACL_USER:
            if (list[i].id != geteuid() || (list[i].perm & ACL_WRITE))
                return false;
            break;
        default:
            if (list[i].perm != 0)
                return false;
        }
    return n > 0;
}

static int check_file(int fd, const char *path, bool credential, struct refusal *refusal)
{
    struct stat st;
    struct entry acl[64];
    char remedy[2 * LIMIT_PATH + 64];
    int r = fstat(fd, &st), n;

    if (r < 0 || !S_ISREG(st.st_mode))
        return refused(refusal, path, NO_KEY_REMEDY, "it is not a regular file");
    n = read_acl(fd, acl, ARRAY_LEN(acl));
    if (credential && n > 0 && st.st_uid == 0 && is_for_us_alone(acl, n))
        return 0; // the service manager's way where it cannot give the file away
    if (n != 0) {
        snprintf(remedy, sizeof(remedy), "setfacl -b %s && chmod 0600 %s", path, path);
        return refused(refusal, path, remedy,
                       n < 0 ? "its ACL cannot be read" : "it has an ACL, which may let others read it");
    }
    snprintf(remedy, sizeof(remedy), "chown %u %s && chmod 0600 %s", geteuid(), path, path);
    if (st.st_uid != geteuid())
        return refused(refusal, path, remedy, "it belongs to uid %u, and this is uid %u", st.st_uid,
                       geteuid());
    if (st.st_mode & 077)
        return refused(refusal, path, remedy, "its mode is %04o: others may read it", st.st_mode & 07777);
    return 0;
}

// One directory on the way. Whoever may write there may put another key in its place.
static int check_dir(int fd, const char *dir, const char *path, struct refusal *refusal)
{
    struct stat st;
    char remedy[LIMIT_PATH + 64];

    if (fstat(fd, &st) < 0)
        return refused(refusal, path, "look at it by hand", "%s cannot be looked at: %s", dir,
                       strerror(errno));
    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        snprintf(remedy, sizeof(remedy), "chown root %s", dir);
        return refused(refusal, path, remedy, "%s belongs to uid %u, who may put another key there", dir,
                       st.st_uid);
    }
    if ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)) { // an ACL that gives more shows in the group's bits
        snprintf(remedy, sizeof(remedy), "setfacl -b %s; chmod go-w %s", dir, dir);
        return refused(refusal, path, remedy, "%s may be written by others (mode %04o)", dir,
                       st.st_mode & 07777);
    }
    return 0;
}

static int open_refused(const char *path, const char *part, int r, struct refusal *refusal)
{
    if (r == -ELOOP || r == -ENOTDIR)
        return refused(refusal, path, "put a real file there, or the real path into secrets.age_key_file",
                       "%s is a symbolic link, or no directory (%s)", part, errno_name(-r));
    return refused(refusal, path, r == -ENOENT ? NO_KEY_REMEDY : "run this as root or as the service user",
                   "%s: %s (%s)", part, strerror(-r), errno_name(-r));
}

static int walk(const char *path, int *ret_dir, struct refusal *refusal)
{
    char part[LIMIT_PATH];
    OWNED(fd_closep) int dir = fd_open_root(NULL);
    int r = dir < 0 ? open_refused(path, "/", dir, refusal) : check_dir(dir, "/", path, refusal);

    for (const char *p = path, *end; r == 0 && (end = strchr(p + 1, '/')); p = end) {
        char name[256];
        snprintf(part, sizeof(part), "%.*s", (int)(end - path), path);
        snprintf(name, sizeof(name), "%.*s", (int)(end - p - 1), p + 1);
        int next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return open_refused(path, part, err_last(), refusal);
        close(dir);
        dir = next;
        r = check_dir(dir, part, path, refusal);
    }
    if (r == 0)
        *ret_dir = fd_take(&dir);
    return r;
}

int keyfile_open(const char *key_file, int *ret_fd, struct refusal *refusal)
{
    char path[LIMIT_PATH];
    OWNED(fd_closep) int dir = -1;
    int r = keyfile_path(key_file, path, refusal);

    if (r == 0)
        r = walk(path, &dir, refusal);
    if (r < 0)
        return r;
    OWNED(fd_closep)
    int fd = openat(dir, strrchr(path, '/') + 1, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return open_refused(path, path, err_last(), refusal);
    r = check_file(fd, path, keyfile_is_credential(key_file), refusal);
    if (r == 0)
        *ret_fd = fd_take(&fd);
    return r;
}
