// SPDX-License-Identifier: Apache-2.0
#include "cli/recipe.h"

#include "base/ini.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LOWER        "abcdefghijklmnopqrstuvwxyz"
#define UPPER        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS       "0123456789"
#define VERSION_MAX  48
#define MODE_DEFAULT 0644

static int bad(struct err *err, const char *field, const char *value, const char *reason)
{
    return err_field(err, ERR_INVALID, field, "%s: '%.80s' %s", field, value, reason);
}

// All of [first][rest]*, at most `max` of them.
static bool consists_of(const char *text, const char *first, const char *rest, size_t max)
{
    size_t len = strnlen(text, max + 1);

    return len > 0 && len <= max && strchr(first, text[0]) != NULL && strspn(text, rest) == len;
}

// Of the service's own templates.
static bool is_own(const char *name)
{
    return strcmp(name, "base") == 0 || strcmp(name, "code-interpreter-v1") == 0;
}

int recipe_check_name(const char *value, struct err *err)
{
    if (!consists_of(value, LOWER DIGITS, LOWER DIGITS "._-", RECIPE_NAME_MAX))
        return bad(err, "name", value, "is no name of a template: up to 40 of a-z 0-9 . _ -");
    // Directories of templates have such names, too.
    if (strlen(value) == 16 && strspn(value, DIGITS "abcdef") == 16)
        return bad(err, "name", value, "is no name of a template: 16 hexadecimal digits");
    if (is_own(value))
        return bad(err, "name", value, "is a template of the service's own");
    return 0;
}

static int take_name(struct recipe *r, const char *value, struct err *err)
{
    if (recipe_check_name(value, err) < 0)
        return -1;
    (void)snprintf(r->name, sizeof(r->name), "%s", value);
    return 0;
}

static int take_base(struct recipe *r, const char *value, struct err *err)
{
    if (!is_own(value))
        return bad(err, "base", value, "is neither base nor code-interpreter-v1");
    (void)snprintf(r->base, sizeof(r->base), "%s", value);
    return 0;
}

// Debian Policy 5.6.1 and 5.6.12.
static bool is_package(const char *word)
{
    char name[RECIPE_PACKAGE_MAX + 1];
    size_t len = strcspn(word, "=");

    if (strlen(word) > RECIPE_PACKAGE_MAX)
        return false;
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, word);
    return len >= 2 && consists_of(name, LOWER DIGITS, LOWER DIGITS "+.-", RECIPE_PACKAGE_MAX) &&
           (word[len] == '\0' ||
            consists_of(word + len + 1, DIGITS, LOWER UPPER DIGITS ".+~:-", RECIPE_PACKAGE_MAX));
}

static int take_package(struct recipe *r, const char *word, struct err *err)
{
    if (!is_package(word))
        return bad(err, "packages", word, "is no name of a Debian package, or NAME=VERSION");
    if (r->package_count == RECIPE_PARTS_MAX)
        return bad(err, "packages", word, "is one too many: 64 at most");
    (void)snprintf(r->packages[r->package_count++], RECIPE_PACKAGE_MAX + 1, "%s", word);
    return 0;
}

// One part of "@scope/name".
static bool is_npm_part(const char *text, size_t len)
{
    return len > 0 && text[0] != '.' && text[0] != '-' && strspn(text, LOWER DIGITS "._-") >= len;
}

// An exact version, as 1.2.3 or 1.2.3-beta.1: no range, no tag, no address.
static bool is_npm_version(const char *text)
{
    const char *at = text;

    for (int i = 0; i < 3; i++) {
        size_t digits = strspn(at, DIGITS);

        if (digits == 0 || (i < 2 && at[digits] != '.'))
            return false;
        at += digits + (i < 2);
    }
    if (*at == '-' || *at == '+')
        at += 1 + strspn(at + 1, LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS ".-+");
    return *at == '\0' && strlen(text) <= VERSION_MAX;
}

static int take_npm(struct recipe *r, const char *word, struct err *err)
{
    const char *at = strchr(word + 1, '@');
    size_t len = at == NULL ? strlen(word) : (size_t)(at - word);
    const char *slash = memchr(word, '/', len);
    bool fine = strlen(word) <= RECIPE_NPM_MAX;

    if (word[0] == '@')
        fine = fine && slash != NULL && is_npm_part(word + 1, (size_t)(slash - word - 1)) &&
               is_npm_part(slash + 1, (size_t)(word + len - slash - 1));
    else
        fine = fine && is_npm_part(word, len);
    if (!fine)
        return bad(err, "npm", word, "is no name of an npm package");
    if (at != NULL && !is_npm_version(at + 1))
        return bad(err, "npm", word, "has no exact version, as in name@1.2.3");
    if (r->npm_count == RECIPE_PARTS_MAX)
        return bad(err, "npm", word, "is one too many: 64 at most");
    (void)snprintf(r->npm[r->npm_count++], RECIPE_NPM_MAX + 1, "%s", word);
    return 0;
}

// No part of it is "..", and it has no letter that a shell, a list or a reader would mistake.
static bool is_path(const char *path)
{
    size_t len = strnlen(path, RECIPE_PATH_MAX + 1);

    if (len == 0 || len > RECIPE_PATH_MAX || path[0] == '-' || path[len - 1] == '/' ||
        strspn(path, LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "/._+@%,=-") != len)
        return false;
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0'))
            return false;
    }
    return true;
}

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

// What is mounted over when the template is used.
static bool is_hidden(const char *path)
{
    static const char *const dirs[] = {"/proc", "/sys", "/dev", "/run", "/tmp", "/csb", "/work"};

    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        if (is_below(path, dirs[i]))
            return true;
    return false;
}

static int read_mode(const char *text, unsigned *ret)
{
    size_t len = strlen(text);
    unsigned mode = 0;

    if (len < 3 || len > 4 || strspn(text, "01234567") != len)
        return -1;
    for (size_t i = 0; i < len; i++)
        mode = mode * 8 + (unsigned)(text[i] - '0');
    *ret = mode;
    return mode <= 0777 ? 0 : -1;
}

// "SOURCE PATH [MODE]"
static int take_file(struct recipe *r, const char *value, struct err *err)
{
    char source[RECIPE_PATH_MAX + 2], path[RECIPE_PATH_MAX + 2], mode[8], more[2];
    int n = sscanf(value, "%256s %256s %7s %1s", source, path, mode, more);
    struct recipe_file f = {.mode = MODE_DEFAULT};

    if (n < 2 || n > 3)
        return bad(err, "file", value, "is not SOURCE PATH or SOURCE PATH MODE");
    if (!is_path(source) || source[0] == '/')
        return bad(err, "file", source, "is no relative path of plain characters without '..'");
    if (!is_path(path) || path[0] != '/')
        return bad(err, "file", path, "is no absolute path of plain characters without '..'");
    if (is_hidden(path))
        return bad(err, "file", path, "would not be seen: something is mounted there");
    if (n == 3 && read_mode(mode, &f.mode) < 0)
        return bad(err, "file", mode, "is no mode from 000 to 0777");
    if (r->file_count == RECIPE_PARTS_MAX)
        return bad(err, "file", path, "is one too many: 64 at most");
    memcpy(f.source, source, strlen(source) + 1); // is_path() has seen to the lengths
    memcpy(f.path, path, strlen(path) + 1);
    r->files[r->file_count++] = f;
    return 0;
}

// Each word of the value.
static int take_words(struct recipe *r, const char *value,
                      int (*take)(struct recipe *, const char *, struct err *), const char *field,
                      struct err *err)
{
    const char *at = value;

    if (*at == '\0')
        return bad(err, field, "", "is empty");
    while (*at != '\0') {
        size_t len = strcspn(at, " \t");
        char word[RECIPE_NPM_MAX + 2];

        // A word that is cut off is too long for any kind.
        (void)snprintf(word, sizeof(word), "%.*s", (int)(len < sizeof(word) ? len : sizeof(word)),
                       at);
        if (take(r, word, err) < 0)
            return -1;
        at += len;
        at += strspn(at, " \t");
    }
    return 0;
}

static int take_entry(void *arg, unsigned line, const char *key, const char *value, struct err *err)
{
    struct recipe *r = arg;

    (void)line;
    if (strcmp(key, "packages") == 0)
        return take_words(r, value, take_package, key, err);
    if (strcmp(key, "npm") == 0)
        return take_words(r, value, take_npm, key, err);
    if (strcmp(key, "file") == 0)
        return take_file(r, value, err);
    if (strcmp(key, "name") == 0)
        return r->name[0] != '\0' ? bad(err, key, value, "is a second one")
                                  : take_name(r, value, err);
    if (strcmp(key, "base") == 0)
        return r->base[0] != '\0' ? bad(err, key, value, "is a second one")
                                  : take_base(r, value, err);
    return bad(err, key, value, "is of no field: there are name, base, packages, npm and file");
}

int recipe_parse(const char *name, const char *text, struct recipe *ret, struct err *err)
{
    *ret = (struct recipe){0};
    if (ini_parse(name, text, take_entry, ret, err) < 0)
        return -1;
    if (ret->name[0] == '\0')
        return err_field(err, ERR_INVALID, "name", "%.80s: name: is missing", name);
    if (ret->package_count + ret->npm_count + ret->file_count == 0)
        return err_field(err, ERR_INVALID, "packages",
                         "%.80s: packages: there is nothing to add: no packages, npm or file",
                         name);
    if (ret->base[0] == '\0')
        (void)snprintf(ret->base, sizeof(ret->base), "base");
    return 0;
}
