// SPDX-License-Identifier: Apache-2.0
//
// csb template build: checks a recipe and becomes the script that builds it, image/template.sh.
#include "base/err.h"
#include "base/ini.h"
#include "cli/cli.h"
#include "cli/recipe.h"
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX  (64u << 20)
#define FILES_BYTES_MAX (256u << 20)
#define ARGUMENTS_MAX   (3 * RECIPE_PARTS_MAX + 16)
#define SCRIPT          "/image/template.sh"

struct arguments {
    char *list[ARGUMENTS_MAX];
    size_t count;
};

static int usage(void)
{
    (void)fprintf(stderr, "usage: csb template build [--force] [--only=process|microvm] RECIPE\n");
    return CLI_EXIT_USAGE;
}

static int fail(const struct err *err)
{
    (void)fprintf(stderr, "csb template: %s\n", err->message);
    return EXIT_FAILURE;
}

__attribute__((format(printf, 2, 3))) static void add(struct arguments *a, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (a->count < ARGUMENTS_MAX - 1 && vasprintf(&a->list[a->count], fmt, ap) >= 0)
        a->count++;
    va_end(ap);
}

// The directory of a path, "." for a plain name.
static void directory_of(const char *path, char ret[PATH_MAX])
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        (void)snprintf(ret, PATH_MAX, ".");
    else
        (void)snprintf(ret, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static int check_file(const struct recipe_file *f, const char *path, uint64_t *total,
                      struct err *err)
{
    struct stat st;

    if (stat(path, &st) < 0 || access(path, R_OK) < 0)
        return err_sys(err, errno, "file: '%.120s'", f->source);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "file: '%.120s' is no regular file", f->source);
    *total += (uint64_t)st.st_size;
    if ((uint64_t)st.st_size > FILE_BYTES_MAX || *total > FILES_BYTES_MAX)
        return err_set(err, ERR_INVALID,
                       "file: '%.120s' is too large: 64 MiB at most, and 256 MiB all together",
                       f->source);
    return 0;
}

static int add_parts(struct arguments *a, const char *recipe_path, const struct recipe *r,
                     struct err *err)
{
    char dir[PATH_MAX], real[PATH_MAX], path[2 * PATH_MAX];
    uint64_t total = 0;

    directory_of(recipe_path, dir);
    if (realpath(dir, real) == NULL)
        return err_sys(err, errno, "%.150s", dir);
    for (size_t i = 0; i < r->package_count; i++)
        add(a, "deb:%s", r->packages[i]);
    for (size_t i = 0; i < r->npm_count; i++)
        add(a, "npm:%s", r->npm[i]);
    for (size_t i = 0; i < r->file_count; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", real, r->files[i].source);
        if (check_file(&r->files[i], path, &total, err) < 0)
            return -1;
        add(a, "file:%04o:%s:%s", r->files[i].mode, r->files[i].path, path);
    }
    return 0;
}

// Of the installation this program is of, else of the source tree we are in.
static void find_script(char ret[PATH_MAX])
{
    char self[PATH_MAX];
    char dir[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    self[n > 0 ? n : 0] = '\0';
    directory_of(self, dir);
    (void)snprintf(ret, PATH_MAX, "%.3900s/.." CONFIG_PROGRAMS SCRIPT, dir);
    if (access(ret, X_OK) < 0)
        (void)snprintf(ret, PATH_MAX, ".%s", SCRIPT);
}

static int read_recipe(const char *path, struct recipe *ret, struct err *err)
{
    char *text;
    int r;

    if (ini_read(AT_FDCWD, path, &text, err) < 0)
        return -1;
    r = recipe_parse(path, text, ret, err);
    free(text);
    return r;
}

struct options {
    bool force;
    const char *only; // NULL: for both kinds of isolation
    const char *recipe;
};

static int parse_options(int argc, char **argv, struct options *ret)
{
    static const struct option longs[] = {{"force", no_argument, NULL, 'f'},
                                          {"only", required_argument, NULL, 'o'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'f')
            ret->force = true;
        else if (c == 'o' && (strcmp(optarg, "process") == 0 || strcmp(optarg, "microvm") == 0))
            ret->only = optarg;
        else
            return -1;
    }
    if (optind != argc - 1)
        return -1;
    ret->recipe = argv[optind];
    return 0;
}

static int prepare(const struct options *o, struct arguments *a, struct err *err)
{
    static struct config config; // large
    static struct recipe recipe; // likewise
    char script[PATH_MAX], image[PATH_MAX];

    if (read_recipe(o->recipe, &recipe, err) < 0 || config_load_here(&config, environ, err) < 0 ||
        config_finish(&config, err) < 0)
        return -1;
    find_script(script);
    directory_of(config.rootfs_path, image);
    add(a, "%s", script);
    if (o->force)
        add(a, "--force");
    if (o->only != NULL) {
        add(a, "--only");
        add(a, "%s", o->only);
    }
    add(a, "%s", image);
    add(a, "%s", config.templates_dir);
    add(a, "%s", recipe.name);
    add(a, "%s", recipe.base);
    return add_parts(a, o->recipe, &recipe, err);
}

int cmd_template_build(int argc, char **argv)
{
    struct arguments a = {.count = 0};
    struct options o = {.force = false};
    struct err err = ERR_INIT;

    if (parse_options(argc, argv, &o) < 0)
        return usage();
    if (prepare(&o, &a, &err) < 0)
        return fail(&err);
    // Its output is the progress, its exit status ours.
    (void)execv(a.list[0], a.list);
    (void)err_sys(&err, errno, "%.150s", a.list[0]);
    return fail(&err);
}
