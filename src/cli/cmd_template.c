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

// The service has no list of them, but says of each name whether there is one.
static int add_templates(json_t *list)
{
    static const char *const names[] = {"base", "code-interpreter-v1"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        _cleanup_json_ json_t *answer = NULL;
        char path[96];
        int r;

        (void)snprintf(path, sizeof(path), "/templates/aliases/%s", names[i]);
        r = box_service(WHO, "GET", path, NULL, &answer);
        if (r != 0)
            return r;
        (void)json_array_append_new(list,
                                    json_pack("{s:s,s:s}", "name", names[i], "kind", "template"));
    }
    return 0;
}

static int add_snapshots(json_t *list)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = box_service(WHO, "GET", "/snapshots", NULL, &answer);
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

static int cmd_ls(int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    _cleanup_json_ json_t *list = json_array();
    bool json = false;
    json_t *o;
    size_t i;
    int c, r;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c != 'j')
            return usage();
        json = true;
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
    json_array_foreach(list, i, o)
    {
        out_put(stdout, OUT_BOLD, 24, json_string_value(json_object_get(o, "name")));
        printf(" %s\n", json_string_value(json_object_get(o, "kind")));
    }
    return 0;
}

const struct cli_command template_commands[] = {
    {"ls", "[--json]", "list templates and snapshots", cmd_ls, "--json"},
    {0},
};

int cmd_template(int argc, char **argv)
{
    return cli_run_sub("template", template_commands, argc, argv);
}
