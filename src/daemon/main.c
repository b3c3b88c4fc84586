// SPDX-License-Identifier: Apache-2.0
//
// codesandboxd: reads the configuration and becomes the supervisor (supervise.c) or, started by it
// with --serve, the server (serve.c).
#include "base/log.h"
#include "config/config.h"
#include "daemon/daemon.h"
#include "daemon/reload.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum mode { MODE_SUPERVISE, MODE_SERVE, MODE_CHECK, MODE_FILE, MODE_DOCS, MODE_HELP, MODE_VERSION };

struct command {
    enum mode mode;
    bool verbose;
    const char *file; // of --config; NULL without
    char **options;   // the rest
};

static const struct {
    const char *option;
    enum mode mode;
    const char *help; // NULL: not shown
} modes[] = {
    {DAEMON_SERVE_OPTION, MODE_SERVE, NULL},
    {"--check-config", MODE_CHECK,
     "say all that is wrong with the configuration (exit code 1), or print it; with --verbose also "
     "where each value came from"},
    {"--print-config", MODE_FILE, "print a configuration file to start from"},
    {"--print-config-docs", MODE_DOCS, "print docs/CONFIGURATION.md"},
    {"--help", MODE_HELP, "print this"},
    {"--version", MODE_VERSION, "print the version"},
};

static void print_help(void)
{
    printf("Usage: codesandboxd [--config=FILE] [--SETTING=VALUE ...]\n\n"
           "Runs untrusted code in microVMs, or jails, behind an HTTP API.\n\n"
           "  --config=FILE, --config FILE\n      read settings from FILE, not "
           "from " CONFIG_DEFAULT_FILE "\n");
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (modes[i].help != NULL)
            printf("  %s\n      %s\n", modes[i].option, modes[i].help);
    config_print_help(stdout);
    printf("\nThe names in capitals with '_' work in the environment: API_PORT=9000.\n");
}

static bool is_mode(const char *arg, enum mode *ret)
{
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(modes[i].option, arg) == 0) {
            *ret = modes[i].mode;
            return true;
        }
    }
    return false;
}

static void print_problem(void *arg, const struct err *e)
{
    (void)arg;
    fprintf(stderr, "codesandboxd: %s\n", e->message);
}

static void warn_missing(const char *name, const char *path)
{
    if (access(path, R_OK) < 0)
        fprintf(stderr, "warning: %s: cannot read %s\n", name, path);
}

static int check(const struct config *c, const struct config_sources *from, bool verbose)
{
    if (strcmp(c->isolation, "process") == 0) {
        warn_missing("ROOTFS_TREE", c->rootfs_tree);
    } else {
        warn_missing("KERNEL_PATH", c->kernel_path);
        warn_missing("INITRD_PATH", c->initrd_path);
        warn_missing("ROOTFS_PATH", c->rootfs_path);
        warn_missing("QEMU_PATH", c->qemu_path);
    }
    if (c->webhook_ca_file[0] != '\0')
        warn_missing("WEBHOOK_CA_FILE", c->webhook_ca_file);
    warn_missing("RUNTIMES_DIR", c->runtimes_dir);
    config_print_values(c, from->file, verbose, stdout);
    return EXIT_OK;
}

// What needs no valid configuration. False: go on.
static bool run_plain(char **argv)
{
    for (char **arg = argv + 1; *arg != NULL; arg++) {
        enum mode mode;

        if (!is_mode(*arg, &mode))
            continue;
        if (mode == MODE_HELP)
            print_help();
        else if (mode == MODE_FILE)
            config_print_file(stdout);
        else if (mode == MODE_DOCS)
            config_print_docs(stdout);
        else if (mode == MODE_VERSION)
            printf("codesandboxd %s\n", CSB_VERSION);
        else
            continue;
        return true;
    }
    return false;
}

static int count_args(char *const *argv)
{
    int n = 0;

    while (argv[n] != NULL)
        n++;
    return n;
}

// Takes modes and --config out of the command line; what is left is settings. False: an option of
// ours is wrong, which was said.
static bool split_options(char **argv, struct command *ret)
{
    static const char config[] = "--config";
    size_t n = 0;

    *ret = (struct command){.mode = MODE_SUPERVISE};
    ret->options = calloc(1 + (size_t)count_args(argv), sizeof(char *));
    if (ret->options == NULL)
        return false;
    for (char **arg = argv + 1; *arg != NULL; arg++) {
        if (is_mode(*arg, &ret->mode))
            continue;
        if (strcmp(*arg, "--verbose") == 0) {
            ret->verbose = true;
        } else if (strncmp(*arg, config, sizeof(config) - 1) == 0 &&
                   ((*arg)[sizeof(config) - 1] == '=' || (*arg)[sizeof(config) - 1] == '\0')) {
            ret->file = (*arg)[sizeof(config) - 1] == '=' ? *arg + sizeof(config) : *++arg;
            if (ret->file == NULL) {
                fprintf(stderr, "codesandboxd: --config: the file's name is missing\n");
                return false;
            }
        } else {
            ret->options[n++] = *arg;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct config config;
    static struct command command; // for the life of the program
    size_t problems;

    if (argc < 1)
        return EXIT_USAGE;
    if (run_plain(argv))
        return EXIT_OK;
    if (!split_options(argv, &command))
        return EXIT_USAGE;
    const struct config_sources sources = {
        .file = command.file, .environment = environ, .options = command.options};
    problems = config_load(&config, &sources, print_problem, NULL);
    if (command.mode == MODE_CHECK)
        return problems > 0 ? EXIT_FAILED : check(&config, &sources, command.verbose);
    if (problems > 0)
        return EXIT_USAGE;
    log_init(command.mode == MODE_SERVE ? "codesandboxd" : "supervisor", reload_log_level(&config));
    log_set_format(strcmp(config.log_format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
    (void)setenv("LOG_FORMAT", config.log_format, 1); // for csb-launch
    return command.mode == MODE_SERVE ? serve(&config) : supervise(&config, &sources, argv);
}
