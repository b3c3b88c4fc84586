// SPDX-License-Identifier: Apache-2.0
#include "cli/template_script.h"

#include "cli/out.h"
#include "config/config.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int template_script_fail(const struct err *err)
{
    out_error("template", "%s", err->message);
    return EXIT_FAILURE;
}

void template_script_add(struct template_script *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (s->count < TEMPLATE_SCRIPT_ARGS_MAX - 1 && vasprintf(&s->list[s->count], fmt, ap) >= 0)
        s->count++;
    va_end(ap);
}

void template_script_dir(const char *path, char *ret)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        (void)snprintf(ret, PATH_MAX, ".");
    else
        (void)snprintf(ret, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

int template_script_begin(struct template_script *s, const char *name, struct config *ret_config,
                          struct err *err)
{
    char self[PATH_MAX], dir[PATH_MAX], path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (config_load_here(ret_config, environ, err) < 0 || config_finish(ret_config, err) < 0)
        return -1;
    self[n > 0 ? n : 0] = '\0';
    template_script_dir(self, dir);
    (void)snprintf(path, sizeof(path), "%.3900s/.." CONFIG_PROGRAMS "/image/%s", dir, name);
    if (access(path, X_OK) < 0)
        (void)snprintf(path, sizeof(path), "./image/%s", name);
    template_script_add(s, "%s", path);
    return 0;
}

int template_script_run(struct template_script *s)
{
    struct err err = ERR_INIT;

    (void)execv(s->list[0], s->list);
    (void)err_sys(&err, errno,
                  "%.150s: csb is installed without it, or this is not the top of a source tree",
                  s->list[0]);
    return template_script_fail(&err);
}
