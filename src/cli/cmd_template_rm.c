// SPDX-License-Identifier: Apache-2.0
//
// csb template rm: checks the name and becomes the script that removes it,
// image/template_remove.sh; a snapshot is removed by the service.
#include "cli/box.h"
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/recipe.h"
#include "cli/template_script.h"
#include "config/config.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHO "template"

static int usage(void)
{
    (void)fprintf(stderr, "usage: csb template rm [--force] [--json] NAME\n"
                          "       csb template rm --stale [--json]\n");
    return CLI_EXIT_USAGE;
}

struct options {
    bool force, json, stale;
    const char *name; // NULL with `stale`
};

static int parse_options(int argc, char **argv, struct options *ret)
{
    static const struct option longs[] = {{"force", no_argument, NULL, 'f'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"stale", no_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "f", longs, NULL)) != -1) {
        if (c == 'f')
            ret->force = true;
        else if (c == 'j') {
            ret->json = true;
            out_json_errors();
        } else if (c == 's')
            ret->stale = true;
        else
            return -1;
    }
    ret->name = argv[optind];
    return argc - optind == (ret->stale ? 0 : 1) && !(ret->stale && ret->force) ? 0 : -1;
}

// As a snapshot's id ends; no template's name has a colon.
static bool is_snapshot(const char *name)
{
    return name != NULL && strchr(name, ':') != NULL;
}

static int remove_snapshot(const struct options *o)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_json_ json_t *shown = NULL;
    char *escaped = box_escape(o->name);
    char path[128];
    int r;

    (void)snprintf(path, sizeof(path), "/templates/%.100s", escaped == NULL ? "" : escaped);
    free(escaped);
    r = box_service(WHO, "DELETE", path, NULL, &answer);
    if (r != 0)
        return r;
    shown = json_pack("{s:s,s:i,s:i}", "name", o->name, "removed", 1, "in_use", 0);
    if (o->json)
        out_json(shown);
    else
        printf("snapshot %s removed\n", o->name);
    return 0;
}

static int prepare(const struct options *o, struct template_script *s, struct err *err)
{
    static struct config config; // large

    if (template_script_begin(s, "template_remove.sh", &config, err) < 0)
        return -1;
    if (o->force)
        template_script_add(s, "--force");
    if (o->json)
        template_script_add(s, "--json");
    template_script_add(s, "%s", config.templates_dir);
    if (o->name != NULL)
        template_script_add(s, "%s", o->name);
    return 0;
}

int cmd_template_rm(int argc, char **argv)
{
    struct template_script s = {.count = 0};
    struct options o = {.force = false};
    struct err err = ERR_INIT;

    if (parse_options(argc, argv, &o) < 0)
        return usage();
    if (is_snapshot(o.name))
        return remove_snapshot(&o);
    if (o.name != NULL && recipe_check_name(o.name, &err) < 0) {
        (void)template_script_fail(&err);
        return CLI_EXIT_USAGE;
    }
    if (prepare(&o, &s, &err) < 0)
        return template_script_fail(&err);
    return template_script_run(&s);
}
