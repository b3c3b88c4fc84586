// SPDX-License-Identifier: Apache-2.0
//
// csb completion bash: a completion for bash, made from the tables of commands.
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void put_names(const struct cli_command *c)
{
    for (const char *gap = ""; c->name != NULL; c++)
        if (c->help != NULL) {
            printf("%s%s", gap, c->name);
            gap = " ";
        }
}

// A case of the inner table: options after a dash, ids where they belong.
static void put_case(const char *path, const struct cli_command *c)
{
    printf("    '%s') options='%s'; ids=%d ;;\n", path, c->options == NULL ? "" : c->options,
           c->ids ? 1 : 0);
}

static void put_cases(void)
{
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        if (c->words != NULL)
            printf("    '%s '*) options='%s' ;;\n", c->name, c->options);
        else
            put_case(c->name, c);
        for (const struct cli_command *s = c->subs; s != NULL && s->name != NULL; s++) {
            char path[64];

            (void)snprintf(path, sizeof(path), "%s %s", c->name, s->name);
            put_case(path, s);
        }
    }
}

static void put_subs(void)
{
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        const struct cli_command *subs = strcmp(c->name, "help") == 0 ? cli_commands : c->subs;

        if (subs == NULL && c->words == NULL)
            continue;
        printf("    %s) words='", c->name);
        if (subs != NULL)
            put_names(subs);
        else
            printf("%s", c->words);
        printf("' ;;\n");
    }
}

static void put_bash(void)
{
    printf("# Completion of csb for bash; made by `csb completion bash`.\n"
           "_csb()\n{\n"
           "    local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]-}\n"
           "    local sub=${COMP_WORDS[2]-} words='' options='' ids=0\n\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W '");
    put_names(cli_commands);
    printf("' -- \"$current\")\n        return\n    fi\n"
           "    case $command in\n");
    put_subs();
    printf("    esac\n"
           "    if [ -n \"$words\" ] && [ \"$COMP_CWORD\" -eq 2 ]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
           "        return\n    fi\n"
           "    [ -z \"$words\" ] || command=\"$command $sub\"\n"
           "    case $command in\n");
    put_cases();
    printf("    esac\n"
           "    case $current in\n"
           "    -*) mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\") ;;\n"
           "    *)\n"
           "        [ \"$ids\" = 0 ] || mapfile -t COMPREPLY < <(compgen -W \\\n"
           "            \"$(csb sandbox list --quiet 2>/dev/null)\" -- \"$current\")\n"
           "        ;;\n"
           "    esac\n"
           "}\n"
           "complete -o default -F _csb csb\n");
}

int cmd_completion(int argc, char **argv)
{
    if (argc != 2 || strcmp(argv[1], "bash") != 0) {
        (void)fprintf(stderr, "usage: csb completion bash\n");
        return CLI_EXIT_USAGE;
    }
    put_bash();
    return 0;
}
