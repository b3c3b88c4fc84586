// SPDX-License-Identifier: Apache-2.0
//
// csb: the command line of Codesandbox.
#include "cli/cli.h"

#include "launch/kvm_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int cmd_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("csb %s\n", CSB_VERSION);
    return 0;
}

static int cmd_help(int argc, char **argv);

const struct cli_command cli_commands[] = {
    {"run", "[options] FILE [ARGUMENT...]", "run a program in a fresh sandbox", cmd_run,
     "--language --timeout --env --file --json"},
    {"sandbox", "COMMAND", "long-lived sandboxes: create, exec, shell, cp and more", cmd_sandbox,
     .subs = sandbox_commands},
    {"template", "COMMAND", "what long-lived sandboxes can begin as: ls, build", cmd_template,
     .subs = template_commands},
    {"top", "[-d SECONDS] [-n TIMES] [--json]", "what the service does now", cmd_top,
     "--delay --times --json"},
    {"job", "COMMAND", "queued programs: submit, get, list, cancel, wait", cmd_job,
     .subs = job_commands},
    {"key", "create|list|revoke", "API keys of the service on this host", cmd_key},
    {"tenant", "set|list", "limits of a tenant's own", cmd_tenant},
    {"doctor", "", "say what this host offers, and what to do about what is missing", cmd_doctor,
     "--json"},
    {"version", "", "print the version", cmd_version},
    {"help", "", "print this", cmd_help},
    {"completion", "bash", NULL, cmd_completion}, // for the packages, so not in the help
    {0},
};

static int cmd_help(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("usage: csb COMMAND\n\n");
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        if (c->help != NULL)
            printf("  %-8s %-33s %s\n", c->name, c->usage, c->help);
    printf("\nThe service is looked for at CSB_URL, by default %s.\n", cli_url());
    return 0;
}

int cli_run_sub(const char *name, const struct cli_command *subs, int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    bool help = strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0;
    FILE *out = help ? stdout : stderr;

    for (const struct cli_command *c = subs; c->name != NULL; c++)
        if (strcmp(c->name, what) == 0)
            return c->run(argc - 1, argv + 1);
    if (!help && what[0] != '\0')
        (void)fprintf(stderr, "csb %s: no command '%s'\n", name, what);
    (void)fprintf(out, "usage: csb %s COMMAND\n\n", name);
    for (const struct cli_command *c = subs; c->name != NULL; c++)
        (void)fprintf(out, "  %-8s %s\n  %-8s   %s\n", c->name, c->usage, "", c->help);
    return help ? 0 : CLI_EXIT_USAGE;
}

const char *cli_url(void)
{
    const char *url = getenv("CSB_URL");

    return url != NULL && url[0] != '\0' ? url : "http://127.0.0.1:8000";
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";

    if (strcmp(name, KVM_PROBE_MODE) == 0) // the doctor, starting itself again
        return kvm_probe_main();
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c->run(argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
    (void)fprintf(stderr, "csb: no command '%s'; try 'csb help'\n", name);
    return CLI_EXIT_USAGE;
}
