// SPDX-License-Identifier: Apache-2.0
//
// Reader for small `key = value` files (configuration, runtime definitions). Lines may be empty or
// start with '#'; a value runs to the end of the line, outer spaces cut. No sections, no quoting,
// no continuation. Key: [a-z0-9_.]{1,64}; value up to 8 KiB; file up to 256 KiB.
#ifndef CSB_BASE_INI_H
#define CSB_BASE_INI_H

#include "base/err.h"

#include <stddef.h>

// Called per entry with the 1-based line number; strings are borrowed for the call. Return 0, or -1
// with *err set to stop.
typedef int (*ini_entry_cb)(void *arg, unsigned line, const char *key, const char *value,
                            struct err *err);

// Parses NUL-terminated `text`; `name` is for messages. 0, or -1 with "name:line: ..." in *err.
int ini_parse(const char *name, const char *text, ini_entry_cb cb, void *arg, struct err *err);

// As ini_parse, but goes on after a problem: each is told to `problem`, with "name:line: " in front
// of its message. Returns how many there were.
typedef void (*ini_problem_cb)(void *arg, const struct err *problem);
size_t ini_parse_all(const char *name, const char *text, ini_entry_cb cb, ini_problem_cb problem,
                     void *arg);

// Reads a whole file for the above. The caller frees *ret_text.
int ini_read(int dirfd, const char *path, char **ret_text, struct err *err);

// Reads and parses a file beneath `dirfd` (AT_FDCWD allowed).
int ini_parse_file(int dirfd, const char *path, ini_entry_cb cb, void *arg, struct err *err);

#endif
