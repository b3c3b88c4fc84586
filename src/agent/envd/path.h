// SPDX-License-Identifier: Apache-2.0
//
// What a client's path means, and the parameters of a query. Pure code.
#ifndef CSB_AGENT_ENVD_PATH_H
#define CSB_AGENT_ENVD_PATH_H

#include "agent/envd/user.h"

#include <limits.h>
#include <stddef.h>

// Makes an absolute path without ".", ".." (taken away with the name before it, links are not
// looked at) and doubled slashes. "" is `workdir`, or the home where that is NULL; "~" and a
// relative path are of the user's home. 0; -EINVAL for another user's home ("~name");
// -ENAMETOOLONG.
int path_resolve(const struct user *user, const char *workdir, const char *path,
                 char ret[PATH_MAX]);

// The last name of a cleaned path; "/" of the root. Borrowed.
const char *path_base(const char *path);

// The decoded value of the first parameter `key` ("+" is a space), freed by the caller, or NULL
// when it is not there. 0; -EINVAL when it is not encoded rightly or holds a NUL.
int path_query(const char *query, const char *key, char **ret);

// Decodes "%41"; a '+' is a space where `plus`. `text` need not end with NUL. Freed by the caller;
// NULL where path_query() says -EINVAL.
char *path_unescape(const char *text, size_t len, int plus);

#endif
