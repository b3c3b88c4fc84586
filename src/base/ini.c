// SPDX-License-Identifier: Apache-2.0
#include "base/ini.h"

#include "base/fd.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define INI_FILE_MAX  (256 * 1024)
#define INI_KEY_MAX   64
#define INI_VALUE_MAX 8192

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

static char *trim(char *s)
{
    size_t len;

    while (*s == ' ' || *s == '\t')
        s++;
    len = strlen(s);
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t' || s[len - 1] == '\r'))
        s[--len] = '\0';
    return s;
}

static bool is_key(const char *s)
{
    size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_.");

    return len > 0 && len <= INI_KEY_MAX && s[len] == '\0' && is_key_char(s[0]);
}

static int parse_line(char *line, unsigned number, ini_entry_cb cb, void *arg, struct err *err)
{
    char *text = trim(line);
    char *eq;
    char *key;
    char *value;

    if (text[0] == '\0' || text[0] == '#')
        return 0;
    eq = strchr(text, '=');
    if (eq == NULL)
        return err_set(err, ERR_INVALID, "expected 'key = value'");
    *eq = '\0';
    key = trim(text);
    value = trim(eq + 1);
    if (!is_key(key))
        return err_set(err, ERR_INVALID, "'%.40s' is not a key", key);
    if (strlen(value) > INI_VALUE_MAX)
        return err_set(err, ERR_INVALID, "the value of %s is longer than %d bytes", key,
                       INI_VALUE_MAX);
    return cb(arg, number, key, value, err);
}

// Without `problem` it stops at the first, which is then in *err; else it goes on. How many.
static size_t parse(const char *name, const char *text, ini_entry_cb cb, ini_problem_cb problem,
                    void *arg, struct err *err)
{
    _cleanup_free_ char *copy = strdup(text);
    unsigned number = 0;
    size_t count = 0;
    char *next = copy;

    if (copy == NULL) {
        (void)err_set(err, ERR_INTERNAL, "out of memory");
        if (problem != NULL)
            problem(arg, err);
        return 1;
    }
    while (next != NULL) {
        char *line = next;

        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        number++;
        if (parse_line(line, number, cb, arg, err) == 0)
            continue;
        (void)err_wrap(err, "%s:%u", name, number);
        count++;
        if (problem == NULL)
            return count;
        problem(arg, err);
    }
    return count;
}

int ini_parse(const char *name, const char *text, ini_entry_cb cb, void *arg, struct err *err)
{
    return parse(name, text, cb, NULL, arg, err) == 0 ? 0 : -1;
}

size_t ini_parse_all(const char *name, const char *text, ini_entry_cb cb, ini_problem_cb problem,
                     void *arg)
{
    struct err err = ERR_INIT;

    return parse(name, text, cb, problem, arg, &err);
}

int ini_read(int dirfd, const char *path, char **ret_text, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    int r = fd_read_file(dirfd, path, INI_FILE_MAX, &text, &len);

    if (r < 0)
        return err_sys(err, r, "cannot read %s", path);
    if (strlen(text) != len)
        return err_set(err, ERR_INVALID, "%s holds a NUL byte", path);
    *ret_text = text;
    text = NULL;
    return 0;
}

int ini_parse_file(int dirfd, const char *path, ini_entry_cb cb, void *arg, struct err *err)
{
    _cleanup_free_ char *text = NULL;

    if (ini_read(dirfd, path, &text, err) < 0)
        return -1;
    return ini_parse(path, text, cb, arg, err);
}
