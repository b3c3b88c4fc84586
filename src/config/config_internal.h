// SPDX-License-Identifier: Apache-2.0
//
// The table behind config.h, shared by the files of this module.
#ifndef CSB_CONFIG_CONFIG_INTERNAL_H
#define CSB_CONFIG_CONFIG_INTERNAL_H

#include "config/config.h"

#include <stddef.h>

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
};

extern const struct config_key config_keys[]; // ends with name NULL

// Lower-case name. `ret` holds at least 64 bytes.
void config_file_key(const struct config_key *key, char ret[64]);

// NULL when unknown.
const struct config_key *config_find(const char *file_key);

// The value as text, as it would stand in a file.
void config_value_text(const struct config *c, const struct config_key *key, char *ret,
                       size_t size);

#endif
