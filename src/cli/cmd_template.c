// SPDX-License-Identifier: Apache-2.0
//
// csb template: what long-lived sandboxes can begin as.
#include "cli/box.h"
#include "cli/cli.h"
#include "cli/out.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define WHO "template"

static int usage(void)
{
    (void)fprintf(stderr, "usage: csb template ls [--json]\n");
    return CLI_EXIT_USAGE;
}

static int add_templates(json_t *list)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = box_service(WHO, "GET", "/templates", NULL, &answer);
    json_t *o;
    size_t i;

    json_array_foreach(answer, i, o)
    {
        (void)json_array_append_new(list, json_pack("{s:O*,s:O*,s:O*,s:O*,s:O*}", "name",
                                                    json_object_get(o, "templateID"), "kind",
                                                    json_object_get(o, "kind"), "size",
                                                    json_object_get(o, "sizeBytes"), "built",
                                                    json_object_get(o, "createdAt"), "packages",
                                                    json_object_get(o, "packages")));
    }
    return r;
}

static int add_snapshots(json_t *list)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = box_list(WHO, "/snapshots", &answer);
    json_t *o;
    size_t i;

    json_array_foreach(answer, i, o)
    {
        const char *id = json_string_value(json_object_get(o, "snapshotID"));

        if (id != NULL)
            (void)json_array_append_new(list,
                                        json_pack("{s:s,s:s}", "name", id, "kind", "snapshot"));
    }
    return r;
}

// "" for what is not told.
static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text == NULL ? "" : text;
}

static void print_one(const json_t *o)
{
    const json_t *size = json_object_get(o, "size");
    char bytes[24] = "";

    if (json_is_integer(size))
        out_bytes((uint64_t)json_integer_value(size), bytes);
    out_put(stdout, OUT_BOLD, 24, text_of(o, "name"));
    printf(" %-9s %10s  %s\n", text_of(o, "kind"), bytes, text_of(o, "built"));
}

static int cmd_ls(int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    _cleanup_json_ json_t *list = json_array();
    _cleanup_json_ json_t *plain = NULL;
    bool json = false;
    json_t *o;
    size_t i;
    int c, r;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c != 'j')
            return usage();
        json = true;
        out_json_errors();
    }
    if (optind < argc)
        return usage();
    r = add_templates(list);
    if (r == 0)
        r = add_snapshots(list);
    if (r != 0)
        return r;
    if (json) {
        out_json(list);
        return 0;
    }
    plain = out_plain(list);
    json_array_foreach(plain, i, o)
    {
        print_one(o);
    }
    return 0;
}

const struct cli_command template_commands[] = {
    {"ls", "[--json]", "list templates and snapshots, with size and when they were built", cmd_ls,
     "--json"},
    {"build", "[--force] [--only=process|microvm] [--update-lock] RECIPE",
     "build a template of Debian packages, npm packages and files", cmd_template_build,
     "--force --only --update-lock"},
    {"rm", "[-f] [--json] NAME|--stale",
     "remove a template or a snapshot; --stale: only what builds replaced", cmd_template_rm,
     "--force --json --stale"},
    {0},
};

int cmd_template(int argc, char **argv)
{
    return cli_run_sub("template", template_commands, argc, argv);
}
