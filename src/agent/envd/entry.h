// SPDX-License-Identifier: Apache-2.0
//
// What the API tells of a file: EntryInfo. And the metadata that clients give to files, kept in
// extended attributes.
#ifndef CSB_AGENT_ENVD_ENTRY_H
#define CSB_AGENT_ENVD_ENTRY_H

#include "agent/envd/user.h"
#include "json/write.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define ENTRY_METADATA_KEY_MAX 246
#define ENTRY_METADATA_MAX     4096 // keys and values of a file together

// "drwxr-xr-x" as Go writes a mode; `ret` holds ENTRY_PERMISSIONS_MAX.
#define ENTRY_PERMISSIONS_MAX 24
void entry_permissions(mode_t mode, char ret[ENTRY_PERMISSIONS_MAX]);

// "2026-01-31T12:00:00.123Z"; the fraction has 0, 3, 6 or 9 digits. `ret` holds ENTRY_TIME_MAX.
#define ENTRY_TIME_MAX 48
void entry_time(const struct timespec *ts, char ret[ENTRY_TIME_MAX]);

// Writes the object of the absolute path; `st` is of lstat(2).
void entry_put(struct json_out *out, const char *key, const char *path, const struct stat *st,
               struct user_names *names);

// The same after lstat(2). 0 or -errno, nothing written then.
int entry_put_path(struct json_out *out, const char *key, const char *path,
                   struct user_names *names);

// Writes the metadata of an open file, or of a path, as an object, if it has any.
void entry_put_metadata(struct json_out *out, const char *key, const char *path);

// One pair: "name", NUL, "value", NUL.
struct buf;

// Replaces the whole metadata of an open file by the pairs in `pairs`. A file system without
// attributes for users keeps them as the machine's own; 0 or -errno when it can do neither.
int entry_set_metadata(int fd, const struct buf *pairs);

#endif
