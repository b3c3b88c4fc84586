// SPDX-License-Identifier: Apache-2.0
#include "daemon/reload.h"

#include "base/ini.h"
#include "config/config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

struct change {
    char *text;
    size_t used;
    size_t waiting; // changes that need a new start
};

static void on_problem(void *arg, const struct err *e)
{
    (void)arg;
    log_error("configuration: %s", e->message);
}

static void on_change(void *arg, const char *name, const char *before, const char *after,
                      bool reloadable)
{
    struct change *c = arg;
    size_t begin = c->used;
    int n;

    (void)before;
    if (!reloadable) {
        log_warn("%s was changed; it needs a new start", name);
        c->waiting++;
        return;
    }
    n = snprintf(c->text + begin, RELOAD_TEXT_MAX - begin, "%s = %s\n", name, after);
    if (n < 0 || (size_t)n >= RELOAD_TEXT_MAX - begin) {
        c->text[begin] = '\0';
        log_error("%s was changed, but too much changed at once", name);
        return;
    }
    c->used += (size_t)n;
    for (size_t i = begin; c->text[i] != ' '; i++)
        c->text[i] = (char)tolower((unsigned char)c->text[i]);
    log_info("%s was changed", name);
}

int reload_read(const struct config *now, const struct config_sources *sources, struct config *ret,
                char text[RELOAD_TEXT_MAX])
{
    static struct config fresh; // large; the supervisor has one thread
    struct change change = {.text = text};
    struct err err = ERR_INIT;
    size_t problems = config_load(&fresh, sources, on_problem, NULL);

    text[0] = '\0';
    if (problems > 0) {
        log_error("the configuration has %zu mistake%s; the old one stays", problems,
                  problems == 1 ? "" : "s");
        return -1;
    }
    config_diff(now, &fresh, on_change, &change);
    if (reload_take(now, text, ret, &err) < 0) {
        log_error("%s, while other changes wait for a new start; the old configuration stays",
                  err.message);
        return -1;
    }
    return 0;
}

static int on_entry(void *arg, unsigned line, const char *key, const char *value, struct err *err)
{
    (void)line;
    return config_set(arg, key, value, err);
}

int reload_take(const struct config *now, const char *text, struct config *ret, struct err *err)
{
    *ret = *now;
    if (ini_parse("reload", text, on_entry, ret, err) < 0)
        return -1;
    return config_finish(ret, err);
}

enum log_level reload_log_level(const struct config *c)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    for (int i = 0; i < 4; i++)
        if (strcmp(names[i], c->log_level) == 0)
            return (enum log_level)i;
    return LOG_LEVEL_INFO;
}
