// SPDX-License-Identifier: Apache-2.0
//
// A directory of things that are directories of a few files each: what templates and images have in
// common on disk. A thing appears under its name complete and synced, by rename, or not at all.
#ifndef CSB_DRIVER_STORE_DIR_H
#define CSB_DRIVER_STORE_DIR_H

#include "base/err.h"

#include <stddef.h>

// Of one kind of store; constant.
struct store_kind {
    const char *name; // of the directory below the state directory
    const char *what; // for messages: "templates"
    const char *const *files;
    size_t file_count;
};

// Opens the store below `state_dir_fd`, making it if it is missing, and removes what an interrupted
// save left there.
int store_dir_open(const struct store_kind *kind, int state_dir_fd, int *ret_fd, struct err *err);

// Calls `each` with every name in the store, "." and those of saves under way among them.
void store_dir_each(int store_fd, void (*each)(int store_fd, const char *name, void *arg),
                    void *arg);

// Removes one, best effort: what stays is found again at the next start.
void store_dir_remove(const struct store_kind *kind, int store_fd, const char *name);

// A new file in a directory. 0 or -errno.
int store_dir_new_file(int dir, const char *name, int *ret_fd);
// One with this content, synced. 0 or -errno.
int store_dir_write_file(int dir, const char *name, const void *data, size_t len);

// Fills a directory. 0 or -errno.
typedef int (*store_fill_fn)(void *arg, int dir);

// Makes a thing under `name`, in place of an older one. 0 or -errno.
int store_dir_save(const struct store_kind *kind, int store_fd, const char *name,
                   store_fill_fn fill, void *arg);

#endif
