// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Adds the names of `path` to the clean path in `to`, of which `len` bytes are there.
static int add_names(char to[PATH_MAX], size_t *len, const char *path)
{
    while (*path != '\0') {
        size_t n;

        path += strspn(path, "/");
        n = strcspn(path, "/");
        if (n == 2 && path[0] == '.' && path[1] == '.') {
            while (*len > 0) {
                --*len;
                if (to[*len] == '/')
                    break;
            }
        } else if (n > 0 && !(n == 1 && path[0] == '.')) {
            if (*len + 1 + n >= PATH_MAX)
                return -ENAMETOOLONG;
            to[(*len)++] = '/';
            memcpy(to + *len, path, n);
            *len += n;
        }
        path += n;
    }
    return 0;
}

int path_resolve(const struct user *user, const char *workdir, const char *path, char ret[PATH_MAX])
{
    size_t len = 0;
    int rc = 0;

    if (path[0] == '\0' && workdir != NULL)
        path = workdir;
    if (path[0] == '~' && path[1] != '\0' && path[1] != '/')
        return -EINVAL;
    if (path[0] != '/')
        rc = add_names(ret, &len, user->home);
    if (rc == 0)
        rc = add_names(ret, &len, path + (path[0] == '~'));
    if (rc < 0)
        return rc;
    if (len == 0)
        ret[len++] = '/';
    ret[len] = '\0';
    return 0;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL || slash[1] == '\0' ? path : slash + 1;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *path_unescape(const char *text, size_t len, int plus)
{
    char *ret = malloc(len + 1);
    size_t n = 0;

    for (size_t i = 0; ret != NULL && i < len; i++) {
        char c = text[i];
        if (c == '+' && plus)
            c = ' ';
        if (c == '%') {
            int high = len - i > 2 ? hex(text[i + 1]) : -1;
            int low = len - i > 2 ? hex(text[i + 2]) : -1;
            c = '\0';
            if (high >= 0 && low >= 0)
                c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0') {
            free(ret);
            return NULL;
        }
        ret[n++] = c;
    }
    if (ret != NULL)
        ret[n] = '\0';
    return ret;
}

int path_query(const char *query, const char *key, char **ret)
{
    size_t key_len = strlen(key);

    while (*query != '\0') {
        size_t len = strcspn(query, "&");
        if (len > key_len && query[key_len] == '=' && memcmp(query, key, key_len) == 0) {
            char *value = path_unescape(query + key_len + 1, len - key_len - 1, 1);
            if (value == NULL)
                return -EINVAL;
            *ret = value;
            return 0;
        }
        query += len + (query[len] == '&');
    }
    *ret = NULL;
    return 0;
}
