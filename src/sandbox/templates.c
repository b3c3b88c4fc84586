// SPDX-License-Identifier: Apache-2.0
#include "sandbox/templates.h"

#include "base/fd.h"
#include "base/ini.h"
#include "base/parse.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_LEN   16
#define MS_PER_S 1000
#define PATH_LEN (TEMPLATE_NAME_MAX + sizeof("/template.conf"))

static const struct template own[] = {
    {.name = "base"}, // what runs are made from, too
    {.name = "code-interpreter-v1", .contexts = true},
};
#define OWN_COUNT (sizeof(own) / sizeof(own[0]))

static const struct template *find_own(const char *name)
{
    for (size_t i = 0; i < OWN_COUNT; i++)
        if (strcmp(own[i].name, name) == 0)
            return &own[i];
    return NULL;
}

static bool is_name(const char *name)
{
    size_t len = strnlen(name, TEMPLATE_NAME_MAX + 1);

    return len > 0 && len <= TEMPLATE_NAME_MAX && strchr("._-", name[0]) == NULL &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

// The id as a number; 0 for what is none.
static uint64_t read_id(const char *text)
{
    if (strlen(text) != ID_LEN || strspn(text, "0123456789abcdef") != ID_LEN)
        return 0;
    return strtoull(text, NULL, 16);
}

static int take_entry(void *arg, unsigned line, const char *key, const char *value, struct err *err)
{
    struct template *t = arg;
    const struct template *base;
    uint64_t built_s;

    (void)line;
    if (strcmp(key, "id") == 0) {
        t->root = read_id(value);
    } else if (strcmp(key, "base") == 0) {
        base = find_own(value);
        if (base == NULL)
            return err_set(err, ERR_INVALID, "base is no template of the service's");
        t->contexts = base->contexts;
    } else if (strcmp(key, "bytes") == 0 && parse_u64(value, 0, INT64_MAX, &t->bytes) < 0) {
        return err_set(err, ERR_INVALID, "bytes is no number");
    } else if (strcmp(key, "built_s") == 0) {
        if (parse_u64(value, 0, UINT32_MAX, &built_s) < 0)
            return err_set(err, ERR_INVALID, "built_s is no time");
        t->built_ms = built_s * MS_PER_S;
    }
    return 0;
}

static bool read_template(int dir, const char *name, struct template *ret)
{
    struct template t = {0};
    char path[PATH_LEN];

    (void)snprintf(path, sizeof(path), "%s/template.conf", name);
    if (ini_parse_file(dir, path, take_entry, &t, NULL) < 0 || t.root == 0)
        return false;
    (void)snprintf(t.name, sizeof(t.name), "%s", name);
    *ret = t;
    return true;
}

struct parts {
    template_part_fn fn;
    void *arg;
};

static int take_part(void *arg, unsigned line, const char *key, const char *value, struct err *err)
{
    const struct parts *p = arg;
    struct template_part part;

    (void)line;
    (void)err;
    if (strcmp(key, "part") == 0 &&
        sscanf(value, "%7s %128s %96s", part.kind, part.name, part.version) == 3)
        p->fn(p->arg, &part);
    return 0;
}

void template_each_part(int dir, const char *name, template_part_fn fn, void *arg)
{
    struct parts p = {.fn = fn, .arg = arg};
    char path[PATH_LEN];

    if (dir < 0 || !is_name(name) || find_own(name) != NULL)
        return;
    (void)snprintf(path, sizeof(path), "%s/template.conf", name);
    (void)ini_parse_file(dir, path, take_part, &p, NULL); // one that has gone has no parts
}

bool template_find(int dir, const char *name, struct template *ret)
{
    const struct template *t = find_own(name);

    if (t != NULL) {
        *ret = *t;
        return true;
    }
    return dir >= 0 && is_name(name) && read_template(dir, name, ret);
}

static int by_name(const void *a, const void *b)
{
    const struct template *x = a;
    const struct template *y = b;

    return strcmp(x->name, y->name);
}

// Those of the directory.
static size_t list_made(int dir, struct template *ret, size_t max)
{
    _cleanup_fd_ int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    size_t n = 0;

    if (stream == NULL)
        return 0;
    (void)fd_steal(&fd);
    while (n < max && (entry = readdir(stream)) != NULL)
        if (entry->d_type == DT_LNK && is_name(entry->d_name) && find_own(entry->d_name) == NULL &&
            read_template(dir, entry->d_name, &ret[n]))
            n++;
    (void)closedir(stream);
    qsort(ret, n, sizeof(*ret), by_name);
    return n;
}

size_t template_list(int dir, struct template *ret, size_t max)
{
    size_t n = 0;

    while (n < OWN_COUNT && n < max) {
        ret[n] = own[n];
        n++;
    }
    return dir < 0 ? n : n + list_made(dir, ret + n, max - n);
}
