// SPDX-License-Identifier: Apache-2.0
//
// What csb template does to the directory of templates is done by scripts, image/template*.sh: csb
// checks what it was asked, makes the script's arguments and becomes the script.
#ifndef CSB_CLI_TEMPLATE_SCRIPT_H
#define CSB_CLI_TEMPLATE_SCRIPT_H

#include "base/err.h"
#include "cli/recipe.h"

#include <stddef.h>

#define TEMPLATE_SCRIPT_ARGS_MAX (3 * RECIPE_PARTS_MAX + 16)

struct config;

// Zeroed; what is added lives until the process ends.
struct template_script {
    char *list[TEMPLATE_SCRIPT_ARGS_MAX];
    size_t count;
};

// The script of that name ("template.sh") of the installation this program is of, else of the
// source tree we are in; and the settings of this host in *ret_config. Call it first.
int template_script_begin(struct template_script *s, const char *name, struct config *ret_config,
                          struct err *err);

// One more argument. What is beyond the room is left out: callers' limits are below it.
__attribute__((format(printf, 2, 3))) void template_script_add(struct template_script *s,
                                                               const char *fmt, ...);

// Becomes it: the script's output and exit status are ours. Returns only when that failed, with the
// exit code after a message.
int template_script_run(struct template_script *s);

// Says it. Returns the exit code.
int template_script_fail(const struct err *err);

// The directory of a path, "." for a plain name. `ret` has room for PATH_MAX.
void template_script_dir(const char *path, char *ret);

#endif
