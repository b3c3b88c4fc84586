// SPDX-License-Identifier: Apache-2.0
//
// csb template build: checks a recipe and becomes the script that builds it, image/template.sh.
#include "base/err.h"
#include "base/ini.h"
#include "cli/cli.h"
#include "cli/recipe.h"
#include "cli/template_script.h"
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
#define LOCK_BYTES_MAX  (16 << 20)
#define SUFFIX          ".recipe"

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: csb template build [--force] [--only=process|microvm] [--update-lock] "
                  "RECIPE\n");
    return CLI_EXIT_USAGE;
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

static int add_parts(struct template_script *a, const char *recipe_path, const struct recipe *r,
                     struct err *err)
{
    char dir[PATH_MAX], real[PATH_MAX], path[2 * PATH_MAX];
    uint64_t total = 0;

    template_script_dir(recipe_path, dir);
    if (realpath(dir, real) == NULL)
        return err_sys(err, errno, "%.150s", dir);
    for (size_t i = 0; i < r->package_count; i++)
        template_script_add(a, "deb:%s", r->packages[i]);
    for (size_t i = 0; i < r->npm_count; i++)
        template_script_add(a, "npm:%s", r->npm[i]);
    for (size_t i = 0; i < r->file_count; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", real, r->files[i].source);
        if (check_file(&r->files[i], path, &total, err) < 0)
            return -1;
        template_script_add(a, "file:%04o:%s:%s", r->files[i].mode, r->files[i].path, path);
    }
    return 0;
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
    bool force, update_lock;
    const char *only; // NULL: for both kinds of isolation
    const char *recipe;
};

static int parse_options(int argc, char **argv, struct options *ret)
{
    static const struct option longs[] = {{"force", no_argument, NULL, 'f'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"update-lock", no_argument, NULL, 'u'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'f')
            ret->force = true;
        else if (c == 'u')
            ret->update_lock = true;
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

// Beside the recipe, named as npm names its own beside package.json: of tools.recipe it is
// tools-lock.json.
static void lock_path(const char *recipe_path, const char *dir, char ret[2 * PATH_MAX])
{
    const char *slash = strrchr(recipe_path, '/');
    const char *name = slash == NULL ? recipe_path : slash + 1;
    size_t len = strlen(name), suffix = strlen(SUFFIX);

    if (len > suffix && strcmp(name + len - suffix, SUFFIX) == 0)
        len -= suffix;
    (void)snprintf(ret, (size_t)2 * PATH_MAX, "%s/%.*s-lock.json", dir, (int)len, name);
}

// One that is there is what npm packages come from, unless it is to be made anew.
static int add_lock(struct template_script *s, const struct options *o, const struct recipe *r,
                    struct err *err)
{
    char dir[PATH_MAX], real[PATH_MAX], path[2 * PATH_MAX];
    struct stat st;

    if (r->npm_count == 0)
        return !o->update_lock ? 0
                               : err_set(err, ERR_INVALID,
                                         "--update-lock: %.120s names no npm packages", o->recipe);
    template_script_dir(o->recipe, dir);
    if (realpath(dir, real) == NULL)
        return err_sys(err, errno, "%.150s", dir);
    lock_path(o->recipe, real, path);
    if (stat(path, &st) < 0 && errno == ENOENT) {
        if (!o->update_lock)
            return 0;
    } else if (access(path, R_OK) < 0) {
        return err_sys(err, errno, "%.150s", path);
    } else if (!S_ISREG(st.st_mode) || st.st_size > LOCK_BYTES_MAX) {
        return err_set(err, ERR_INVALID, "%.150s is no regular file of at most 16 MiB", path);
    }
    template_script_add(s, o->update_lock ? "--save-lock" : "--lock");
    template_script_add(s, "%s", path);
    return 0;
}

static int prepare(const struct options *o, struct template_script *a, struct err *err)
{
    static struct config config; // large
    static struct recipe recipe; // likewise
    char image[PATH_MAX];

    if (read_recipe(o->recipe, &recipe, err) < 0 ||
        template_script_begin(a, "template.sh", &config, err) < 0)
        return -1;
    template_script_dir(config.rootfs_path, image);
    if (o->force)
        template_script_add(a, "--force");
    if (o->only != NULL) {
        template_script_add(a, "--only");
        template_script_add(a, "%s", o->only);
    }
    if (add_lock(a, o, &recipe, err) < 0)
        return -1;
    template_script_add(a, "%s", image);
    template_script_add(a, "%s", config.templates_dir);
    template_script_add(a, "%s", recipe.name);
    template_script_add(a, "%s", recipe.base);
    return add_parts(a, o->recipe, &recipe, err);
}

int cmd_template_build(int argc, char **argv)
{
    struct template_script a = {.count = 0};
    struct options o = {.force = false};
    struct err err = ERR_INIT;

    if (parse_options(argc, argv, &o) < 0)
        return usage();
    if (prepare(&o, &a, &err) < 0)
        return template_script_fail(&err);
    return template_script_run(&a); // its output is the progress
}
