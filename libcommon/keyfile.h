// Where secret zero lies, and whether it lies there safely: a path, or `credential:NAME`, a file that the
// service manager put into this process's credentials directory (LoadCredential=, LoadCredentialEncrypted=).
#pragma once
#include "err.h"
#include "limits.h"
#include <stddef.h>

#define KEYFILE_CREDENTIAL "credential:"

bool keyfile_is_credential(const char *key_file);
// NULL where key_file is a path or credential:NAME, else what it must be.
const char *keyfile_problem(const char *key_file);
// The path: of a credential, below $CREDENTIALS_DIRECTORY. -ECANCELED: this process was given none.
MUST int keyfile_path(const char *key_file, char ret[static LIMIT_PATH], struct refusal *refusal);

// Opens it for reading if nobody but its owner, this process's user, can read it or put another in its place:
// a regular file, 0600 or 0400, no ACL; every directory above root's or this user's, writable by nobody else
// (or sticky), none of it a link. A credential may be root's, with an ACL that lets this user read and nobody
// else. -ECANCELED says which part, why and what to do.
MUST int keyfile_open(const char *key_file, int *ret_fd, struct refusal *refusal);
