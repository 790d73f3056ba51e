// ACLs through libacl. O_PATH descriptors have no ACL calls of their own: /proc/self/fd/N stands for them.
#include "acl.h"
#include <acl/libacl.h>
#include <stdio.h>
#include <sys/acl.h>
#include <sys/stat.h>

static const char *path_of(int fd, char buf[static 32])
{
    snprintf(buf, 32, "/proc/self/fd/%d", fd);
    return buf;
}

static void acl_freep(acl_t *acl)
{
    if (*acl)
        acl_free(*acl);
}

static bool is_unsupported(int e)
{
    return e == ENOTSUP || e == ENOSYS || e == EINVAL;
}

int acl_is_extended(int fd)
{
    char path[32];
    int r = acl_extended_file(path_of(fd, path)); // asks for both, access and default

    return r < 0 ? (is_unsupported(errno) ? 0 : err_last()) : r > 0;
}

int acl_remove_extended(int fd)
{
    struct stat st;
    char path[32];

    if (acl_is_extended(fd) == 0)
        return 0;
    if (fstat(fd, &st) < 0)
        return err_last();
    OWNED(acl_freep) acl_t plain = acl_from_mode(st.st_mode & 07777);
    if (!plain || acl_set_fd(fd, plain) < 0)
        return err_last();
    return S_ISDIR(st.st_mode) && acl_delete_def_file(path_of(fd, path)) < 0 ? err_last() : 0;
}

// The entry of a kind (and gid, for ACL_GROUP); NULL where there is none.
static acl_entry_t find(acl_t acl, acl_tag_t kind, gid_t gid)
{
    acl_entry_t e;

    for (int which = ACL_FIRST_ENTRY; acl_get_entry(acl, which, &e) == 1; which = ACL_NEXT_ENTRY) {
        acl_tag_t tag;
        if (acl_get_tag_type(e, &tag) < 0 || tag != kind)
            continue;
        if (kind != ACL_GROUP)
            return e;
        gid_t *q = acl_get_qualifier(e);
        bool same = q && *q == gid;
        acl_free(q);
        if (same)
            return e;
    }
    return NULL;
}

static bool has(acl_entry_t e, enum acl_rights rights)
{
    acl_permset_t set;

    if (acl_get_permset(e, &set) < 0)
        return false;
    return (!(rights & ACL_RIGHT_R) || acl_get_perm(set, ACL_READ) == 1) &&
           (!(rights & ACL_RIGHT_X) || acl_get_perm(set, ACL_EXECUTE) == 1);
}

int acl_group_has(int fd, gid_t gid, enum acl_rights rights, bool inherit, bool *ret_masked)
{
    char path[32];
    OWNED(acl_freep)
    acl_t acl = acl_get_file(path_of(fd, path), inherit ? ACL_TYPE_DEFAULT : ACL_TYPE_ACCESS);

    *ret_masked = false;
    if (!acl)
        return is_unsupported(errno) ? 0 : err_last();
    acl_entry_t entry = find(acl, ACL_GROUP, gid), mask = find(acl, ACL_MASK, 0);
    if (!entry || !has(entry, rights))
        return 0;
    *ret_masked = mask && !has(mask, rights);
    return !*ret_masked;
}

static int add_rights(acl_entry_t e, enum acl_rights rights)
{
    acl_permset_t set;

    if (acl_get_permset(e, &set) < 0)
        return err_last();
    if ((rights & ACL_RIGHT_R) && acl_add_perm(set, ACL_READ) < 0)
        return err_last();
    return (rights & ACL_RIGHT_X) && acl_add_perm(set, ACL_EXECUTE) < 0 ? err_last() : 0;
}

// A default ACL needs owner, group and other too; they are taken from the mode.
static acl_t base_acl(int fd, const char *path, bool inherit)
{
    struct stat st;
    acl_t acl = acl_get_file(path, inherit ? ACL_TYPE_DEFAULT : ACL_TYPE_ACCESS);

    if (!inherit || !acl || acl_entries(acl) > 0)
        return acl;
    acl_free(acl);
    return fstat(fd, &st) < 0 ? NULL : acl_from_mode(st.st_mode & 0700);
}

int acl_group_grant(int fd, gid_t gid, enum acl_rights rights, bool inherit)
{
    char path[32];
    OWNED(acl_freep) acl_t acl = base_acl(fd, path_of(fd, path), inherit);
    acl_entry_t entry = acl ? find(acl, ACL_GROUP, gid) : NULL;

    if (!acl)
        return err_last();
    if (!entry && (acl_create_entry(&acl, &entry) < 0 || acl_set_tag_type(entry, ACL_GROUP) < 0 ||
                   acl_set_qualifier(entry, &gid) < 0))
        return err_last();
    int r = add_rights(entry, rights);
    if (r < 0)
        return r;
    acl_entry_t mask = find(acl, ACL_MASK, 0);
    // An existing mask is widened by these rights and no others: what the owner closed for somebody else
    // stays closed.
    r = mask ? add_rights(mask, rights) : acl_calc_mask(&acl) < 0 ? err_last() : 0;
    if (r < 0)
        return r;
    return acl_set_file(path, inherit ? ACL_TYPE_DEFAULT : ACL_TYPE_ACCESS, acl) < 0 ? err_last() : 0;
}
