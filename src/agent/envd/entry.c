// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/entry.h"

#include "agent/envd/path.h"
#include "base/buf.h"
#include "base/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

#define NAMES_MAX (64u << 10) // of a file's attributes: the kernel's own limit

// Where metadata is kept: for the user to see, or, where the file system has no such attributes (a
// tmpfs of older kernels), out of sight.
static const char *const prefixes[] = {"user.e2b.", "trusted.e2b."};

void entry_permissions(mode_t mode, char ret[ENTRY_PERMISSIONS_MAX])
{
    static const char bits[] = "rwxrwxrwx";
    char *p = ret;

    if (S_ISDIR(mode))
        *p++ = 'd';
    if (S_ISLNK(mode))
        *p++ = 'L';
    if (S_ISBLK(mode) || S_ISCHR(mode))
        *p++ = 'D';
    if (S_ISFIFO(mode))
        *p++ = 'p';
    if (S_ISSOCK(mode))
        *p++ = 'S';
    if (mode & S_ISUID)
        *p++ = 'u';
    if (mode & S_ISGID)
        *p++ = 'g';
    if (S_ISCHR(mode))
        *p++ = 'c';
    if (mode & S_ISVTX)
        *p++ = 't';
    if (p == ret)
        *p++ = '-';
    for (int i = 0; i < 9; i++)
        *p++ = mode & (0400u >> i) ? bits[i] : '-';
    *p = '\0';
}

void entry_time(const struct timespec *ts, char ret[ENTRY_TIME_MAX])
{
    struct tm tm = {0};
    char fraction[12] = "";

    (void)gmtime_r(&ts->tv_sec, &tm);
    size_t len = strftime(ret, ENTRY_TIME_MAX - sizeof(fraction), "%Y-%m-%dT%H:%M:%S", &tm);
    if (ts->tv_nsec != 0) {
        (void)snprintf(fraction, sizeof(fraction), ".%09ld", ts->tv_nsec);
        while (strcmp(fraction + strlen(fraction) - 3, "000") == 0)
            fraction[strlen(fraction) - 3] = '\0';
    }
    (void)snprintf(ret + len, ENTRY_TIME_MAX - len, "%sZ", fraction);
}

static const char *type_name(mode_t mode)
{
    if (S_ISREG(mode))
        return "FILE_TYPE_FILE";
    if (S_ISDIR(mode))
        return "FILE_TYPE_DIRECTORY";
    return "FILE_TYPE_UNSPECIFIED";
}

// A link is described by what it leads to. One that leads nowhere is its own target, of no type.
static void put_type(struct json_out *out, const char *path, const struct stat *st)
{
    struct stat target = *st;

    if (S_ISLNK(st->st_mode)) {
        _cleanup_free_ char *real = realpath(path, NULL);
        if (real == NULL || stat(real, &target) < 0)
            target.st_mode = 0;
        json_put_str(out, "symlinkTarget", real == NULL ? path : real);
    }
    json_put_str(out, "type", type_name(target.st_mode));
    json_put_u64(out, "mode", target.st_mode & 0777);
}

void entry_put(struct json_out *out, const char *key, const char *path, const struct stat *st,
               struct user_names *names)
{
    char size[24], permissions[ENTRY_PERMISSIONS_MAX], when[ENTRY_TIME_MAX];

    (void)snprintf(size, sizeof(size), "%" PRId64, (int64_t)st->st_size);
    entry_permissions(st->st_mode, permissions);
    entry_time(&st->st_mtim, when);
    json_open(out, key, '{');
    json_put_str(out, "name", path_base(path));
    json_put_str(out, "path", path);
    put_type(out, path, st);
    json_put_str(out, "size", size);
    json_put_str(out, "permissions", permissions);
    json_put_str(out, "owner", user_name(names, st->st_uid));
    json_put_str(out, "group", user_group_name(names, st->st_gid));
    json_put_str(out, "modifiedTime", when);
    if (S_ISREG(st->st_mode))
        entry_put_metadata(out, "metadata", path);
    json_close(out, '}');
}

int entry_put_path(struct json_out *out, const char *key, const char *path,
                   struct user_names *names)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return -errno;
    entry_put(out, key, path, &st, names);
    return 0;
}

// The metadata's key in an attribute's name, or NULL.
static const char *metadata_key(const char *name)
{
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return name + strlen(prefixes[i]);
    return NULL;
}

void entry_put_metadata(struct json_out *out, const char *key, const char *path)
{
    char value[ENTRY_METADATA_MAX];
    bool any = false;
    ssize_t len = llistxattr(path, NULL, 0);

    if (len <= 0 || len > NAMES_MAX)
        return;
    _cleanup_free_ char *list = malloc((size_t)len);
    if (list == NULL)
        return;
    len = llistxattr(path, list, (size_t)len);
    for (const char *name = list; len > 0 && name < list + len; name += strlen(name) + 1) {
        const char *field = metadata_key(name);
        ssize_t n = field == NULL ? -1 : lgetxattr(path, name, value, sizeof(value));
        if (n < 0)
            continue;
        if (!any)
            json_open(out, key, '{');
        any = true;
        json_put_text(out, field, value, (size_t)n);
    }
    if (any)
        json_close(out, '}');
}

static void clear_metadata(int fd)
{
    ssize_t len = flistxattr(fd, NULL, 0);

    if (len <= 0 || len > NAMES_MAX)
        return;
    _cleanup_free_ char *list = malloc((size_t)len);
    if (list == NULL)
        return;
    len = flistxattr(fd, list, (size_t)len);
    for (const char *name = list; len > 0 && name < list + len; name += strlen(name) + 1)
        if (metadata_key(name) != NULL)
            (void)fremovexattr(fd, name);
}

static int set_one(int fd, const char *key, const char *value)
{
    char name[ENTRY_METADATA_KEY_MAX + 16];

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", prefixes[i], key);
        if (fsetxattr(fd, name, value, strlen(value), 0) == 0)
            return 0;
        if (errno != EOPNOTSUPP)
            break;
    }
    return -errno;
}

int entry_set_metadata(int fd, const struct buf *pairs)
{
    int rc = 0;

    clear_metadata(fd);
    for (size_t at = 0; at < pairs->len && rc == 0;) {
        const char *key = (const char *)pairs->data + at;
        const char *value = key + strlen(key) + 1;
        rc = set_one(fd, key, value);
        at += (size_t)(value - key) + strlen(value) + 1;
    }
    return rc;
}
