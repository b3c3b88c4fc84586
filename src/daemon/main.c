// SPDX-License-Identifier: Apache-2.0
//
// codesandboxd: reads the configuration and becomes the supervisor (supervise.c) or, started by it
// with --serve, the server (serve.c).
#include "base/log.h"
#include "config/config.h"
#include "daemon/daemon.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum mode { MODE_SUPERVISE, MODE_SERVE, MODE_CHECK, MODE_DOCS, MODE_HELP, MODE_VERSION };

static const struct {
    const char *option;
    enum mode mode;
    const char *help; // NULL: not shown
} modes[] = {
    {DAEMON_SERVE_OPTION, MODE_SERVE, NULL},
    {"--check-config", MODE_CHECK, "say whether the configuration is well, and print it"},
    {"--print-config-docs", MODE_DOCS, "print docs/CONFIGURATION.md"},
    {"--help", MODE_HELP, "print this"},
    {"--version", MODE_VERSION, "print the version"},
};

static void print_help(void)
{
    printf("Usage: codesandboxd [--config=FILE] [--SETTING=VALUE ...]\n\n"
           "Runs untrusted code in microVMs, or jails, behind an HTTP API.\n\n"
           "  --config=FILE\n      read settings from FILE, not from " CONFIG_DEFAULT_FILE "\n");
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

static int load_file(struct config *config, char **argv, struct err *err)
{
    static const char option[] = "--config=";

    for (char **arg = argv + 1; *arg != NULL; arg++)
        if (strncmp(*arg, option, sizeof(option) - 1) == 0)
            return config_load_file(config, *arg + sizeof(option) - 1, err);
    if (access(CONFIG_DEFAULT_FILE, F_OK) == 0)
        return config_load_file(config, CONFIG_DEFAULT_FILE, err);
    return 0;
}

static int load(struct config *config, char **argv, enum mode *mode, struct err *err)
{
    config_init(config);
    *mode = MODE_SUPERVISE;
    if (load_file(config, argv, err) < 0 || config_load_env(config, environ, err) < 0)
        return -1;
    for (char **arg = argv + 1; *arg != NULL; arg++) {
        if (is_mode(*arg, mode) || strncmp(*arg, "--config=", 9) == 0)
            continue;
        if (config_load_option(config, *arg, err) < 0)
            return -1;
    }
    return config_finish(config, err);
}

static void warn_missing(const char *name, const char *path)
{
    if (access(path, R_OK) < 0)
        fprintf(stderr, "warning: %s: cannot read %s\n", name, path);
}

static int check(const struct config *c)
{
    if (strcmp(c->isolation, "process") == 0) {
        warn_missing("ROOTFS_TREE", c->rootfs_tree);
    } else {
        warn_missing("KERNEL_PATH", c->kernel_path);
        warn_missing("INITRD_PATH", c->initrd_path);
        warn_missing("ROOTFS_PATH", c->rootfs_path);
    }
    warn_missing("RUNTIMES_DIR", c->runtimes_dir);
    config_print_values(c, stdout);
    return EXIT_OK;
}

static enum log_level log_level_of(const struct config *c)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    for (int i = 0; i < 4; i++)
        if (strcmp(names[i], c->log_level) == 0)
            return (enum log_level)i;
    return LOG_LEVEL_INFO;
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

int main(int argc, char **argv)
{
    static struct config config;
    struct err err = ERR_INIT;
    enum mode mode;

    if (argc < 1)
        return EXIT_USAGE;
    if (run_plain(argv))
        return EXIT_OK;
    if (load(&config, argv, &mode, &err) < 0) {
        fprintf(stderr, "codesandboxd: %s\n", err.message);
        return EXIT_USAGE;
    }
    if (mode == MODE_CHECK)
        return check(&config);
    log_init(mode == MODE_SERVE ? "codesandboxd" : "supervisor", log_level_of(&config));
    return mode == MODE_SERVE ? serve(&config) : supervise(&config, argv);
}
