// SPDX-License-Identifier: Apache-2.0
//
// csb: the command line of Codesandbox.
#include "cli/cli.h"

#include "cli/out.h"
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
static int csb(int argc, char **argv);

const struct cli_command cli_commands[] = {
    {"run", "[options] FILE [ARGUMENT...]", "run a program in a fresh sandbox", cmd_run,
     "--language --timeout --env --file --json", .own_help = true},
    {"sandbox", "COMMAND", "long-lived sandboxes: create, exec, shell, cp and more", cmd_sandbox,
     .subs = sandbox_commands},
    {"template", "COMMAND", "what long-lived sandboxes can begin as: ls, build, rm", cmd_template,
     .subs = template_commands},
    {"top", "[-d SECONDS] [-n TIMES] [--json]", "what the service does now", cmd_top,
     "--delay --times --json"},
    {"job", "COMMAND", "queued programs: submit, get, list, cancel, wait", cmd_job,
     .subs = job_commands},
    {"key", "create|list|revoke", "API keys of the service on this host", cmd_key,
     "--tenant --role --json", .words = "create list revoke", .own_help = true},
    {"tenant", "set|list|webhook-secret", "limits and secret of a tenant's own", cmd_tenant,
     "--json --new", .words = "set list webhook-secret", .own_help = true},
    {"doctor", "[--config=FILE] [--json]",
     "say what this host offers, and what to do about what is missing", cmd_doctor,
     "--config --json"},
    {"version", "", "print the version", cmd_version},
    {"help", "[COMMAND...]", "print this, or how a command is used", cmd_help},
    {"completion", "bash", NULL, cmd_completion}, // for the packages, so not in the help
    {0},
};

const char *cli_word(const char *name)
{
    const char *space = strrchr(name, ' ');

    return space == NULL ? name : space + 1;
}

static bool is_help(const char *arg)
{
    return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

// `name` is the whole of it; argv[0] becomes that, too, which is how getopt() calls it.
static int run_command(const struct cli_command *c, const char *name, int argc, char **argv)
{
    char whole[64];

    (void)snprintf(whole, sizeof(whole), "%s", name);
    if (argc > 1 && is_help(argv[1]) && c->subs == NULL && !c->own_help && c->help != NULL) {
        printf("usage: %s %s\n\n%s\n", whole, c->usage, c->help);
        return 0;
    }
    argv[0] = whole;
    return c->run(argc, argv);
}

// Of `csb help COMMAND...`.
static int help_of(int argc, char **argv)
{
    static char help[] = "--help";
    char *asked[] = {argv[0], argv[1], argc > 2 ? argv[2] : help, help, NULL};

    return csb(argc > 2 ? 4 : 3, asked);
}

static int cmd_help(int argc, char **argv)
{
    if (argc > 1)
        return help_of(argc, argv);
    printf("usage: csb COMMAND\n\n");
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        if (c->help != NULL)
            printf("  %-8s %-33s %s\n", c->name, c->usage, c->help);
    printf("\ncsb help COMMAND tells about one. The service is looked for at %s (CSB_URL).\n",
           cli_url());
    return 0;
}

int cli_run_sub(const char *name, const struct cli_command *subs, int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    bool help = is_help(what);
    char whole[64];
    FILE *out = help ? stdout : stderr;

    for (const struct cli_command *c = subs; c->name != NULL; c++)
        if (strcmp(c->name, what) == 0) {
            (void)snprintf(whole, sizeof(whole), "csb %s %s", name, what);
            return run_command(c, whole, argc - 1, argv + 1);
        }
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

static int csb(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    char whole[64];

    if (is_help(name))
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0) {
            (void)snprintf(whole, sizeof(whole), "csb %s", name);
            return run_command(c, whole, argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
        }
    (void)fprintf(stderr, "csb: no command '%s'; try 'csb help'\n", name);
    return CLI_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], KVM_PROBE_MODE) == 0) // the doctor, starting itself again
        return kvm_probe_main();
    return out_finish(csb(argc, argv));
}
