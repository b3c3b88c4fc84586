// SPDX-License-Identifier: Apache-2.0
//
// Methods of filesystem.Filesystem, and what the rest of the package needs of directories.
#ifndef CSB_AGENT_ENVD_FS_H
#define CSB_AGENT_ENVD_FS_H

#include "agent/envd/rpc.h"

#include <limits.h>
#include <stdbool.h>

#define FS_ENTRIES_MAX 100000 // of one ListDir
#define FS_DEPTH_MAX   64     // levels of one ListDir
#define FS_NAMES_SLICE 512    // directory entries between two looks at the loop

// Makes the directory and those above it that are missing, 0755 and the user's. *ret_made (may be
// NULL) tells whether the last one was. 0 or -errno; -ENOTDIR when one of the names is a file.
int fs_make_dirs(const char *path, const struct user *user, bool *ret_made);
// The same for the directory that holds `path`.
int fs_make_parents(const char *path, const struct user *user);

// The user and the path in a field of the message.
int fs_path(const struct call *c, const struct json_in *in, const char *key, struct user *ret_user,
            char ret_path[PATH_MAX], struct rpc_error *e);

void fs_stat(struct call *c, const struct json_in *in);
void fs_make_dir(struct call *c, const struct json_in *in);
void fs_move(struct call *c, const struct json_in *in);
// These two go on in slices.
void fs_list_dir(struct call *c, const struct json_in *in);
void fs_remove(struct call *c, const struct json_in *in);

#endif
