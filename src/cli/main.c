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

static const struct cli_command commands[] = {
    {"run", "[options] FILE [ARGUMENT...]", "run a program in a fresh sandbox", cmd_run},
    {"sandbox", "create|list|kill", "long-lived sandboxes", cmd_sandbox},
    {"key", "create|list|revoke", "API keys of the service on this host", cmd_key},
    {"doctor", "", "say what this host offers, and what to do about what is missing", cmd_doctor},
    {"version", "", "print the version", cmd_version},
    {"help", "", "print this", cmd_help},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static int cmd_help(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("usage: csb COMMAND\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-8s %-30s %s\n", commands[i].name, commands[i].usage, commands[i].help);
    printf("\nThe service is looked for at CSB_URL, by default %s.\n", cli_url());
    return 0;
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
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
    (void)fprintf(stderr, "csb: no command '%s'; try 'csb help'\n", name);
    return CLI_EXIT_USAGE;
}
