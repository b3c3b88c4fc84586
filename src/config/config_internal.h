// SPDX-License-Identifier: Apache-2.0
//
// The table behind config.h, shared by the files of this module.
#ifndef CSB_CONFIG_CONFIG_INTERNAL_H
#define CSB_CONFIG_CONFIG_INTERNAL_H

#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_PREFIX "PREFIX" // in .installed

// CONFIG_RELOAD: SIGHUP may change it. CONFIG_SECRET: the value is never printed.
enum config_flag { CONFIG_RELOAD = 1, CONFIG_SECRET = 2 };

enum config_type { CONFIG_TEXT, CONFIG_COUNT, CONFIG_BYTES, CONFIG_BOOL, CONFIG_CHOICE };

struct config_key {
    const char *group; // heading in the docs
    const char *name;  // in the environment; lower case it is the key of the file
    enum config_type type;
    size_t offset; // in struct config
    const char *def;
    uint64_t min, max;          // CONFIG_COUNT, CONFIG_BYTES
    const char *const *choices; // CONFIG_CHOICE, NULL-terminated; the ones after "" are not shown
    const char *help;
    unsigned flags;        // enum config_flag
    const char *installed; // the default of an installed program, PREFIX being where; NULL: def
};

extern const struct config_key config_keys[]; // ends with name NULL

// Lower-case name. `ret` holds at least 64 bytes.
void config_file_key(const struct config_key *key, char ret[64]);

// NULL when unknown.
const struct config_key *config_find(const char *file_key);

// Where in struct config's origin[] and origin_line[] the key is.
size_t config_index(const struct config_key *key);

// config_set() saying where from.
int config_put(struct config *c, const char *file_key, const char *value, enum config_origin origin,
               unsigned line, struct err *err);

// The value as text, as it would stand in a file.
void config_value_text(const struct config *c, const struct config_key *key, char *ret,
                       size_t size);

#endif
