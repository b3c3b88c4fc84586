// SPDX-License-Identifier: Apache-2.0
//
// A recipe: what a template is made of, as lines `key = value` (base/ini.h), see docs/TEMPLATES.md.
#ifndef CSB_CLI_RECIPE_H
#define CSB_CLI_RECIPE_H

#include "base/err.h"

#include <stddef.h>

#define RECIPE_NAME_MAX    40  // of [a-z0-9._-]
#define RECIPE_PARTS_MAX   64  // packages, npm packages and files, each
#define RECIPE_PACKAGE_MAX 128 // with its version
#define RECIPE_NPM_MAX     128 // with its version
#define RECIPE_PATH_MAX    255

struct recipe_file {
    char source[RECIPE_PATH_MAX + 1]; // as the recipe has it: relative to the recipe's directory
    char path[RECIPE_PATH_MAX + 1];   // absolute, in the template
    unsigned mode;                    // permissions: 0..0777
};

struct recipe {
    char name[RECIPE_NAME_MAX + 1];
    char base[RECIPE_NAME_MAX + 1];
    char packages[RECIPE_PARTS_MAX][RECIPE_PACKAGE_MAX + 1]; // "NAME" or "NAME=VERSION"
    size_t package_count;
    char npm[RECIPE_PARTS_MAX][RECIPE_NPM_MAX + 1]; // "NAME" or "NAME@VERSION"
    size_t npm_count;
    struct recipe_file files[RECIPE_PARTS_MAX];
    size_t file_count;
};

// Whether a template of a recipe may have that name. ERR_INVALID with "name: reason".
int recipe_check_name(const char *name, struct err *err);

// Parses NUL-terminated `text`; `name` is for messages. ERR_INVALID, with "name:line: field:
// reason" as its message, or "name: field: reason" for what is missing.
int recipe_parse(const char *name, const char *text, struct recipe *ret, struct err *err);

#endif
