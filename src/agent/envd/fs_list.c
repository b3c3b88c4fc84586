// SPDX-License-Identifier: Apache-2.0
//
// ListDir: a walk in slices, names in order, a directory before what is in it. Links are told of
// and not followed.
#include "agent/envd/entry.h"
#include "agent/envd/fs.h"
#include "base/clock.h"
#include "base/fd.h"
#include "json/write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX (48u << 20) // of an answer

struct level {
    char *path;
    DIR *dir; // while its names are read
    char **names;
    size_t count, alloc;
    size_t next;
};

struct listing {
    struct call *call;
    struct level levels[FS_DEPTH_MAX];
    size_t depth;     // levels in use
    size_t max_depth; // levels asked for
    size_t entries;
    struct user_names names;
    struct buf text;
    struct json_out out;
    struct loop_timer slice;
    struct rpc_error error;
};

static void level_release(struct level *l)
{
    if (l->dir != NULL)
        closedir(l->dir);
    for (size_t i = l->next; i < l->count; i++)
        free(l->names[i]);
    free(l->names);
    free(l->path);
    *l = (struct level){0};
}

static void listing_free(struct listing *l)
{
    loop_timer_clear(l->call->envd->loop, &l->slice);
    while (l->depth > 0)
        level_release(&l->levels[--l->depth]);
    user_names_release(&l->names);
    buf_release(&l->text);
    free(l);
}

// Begins a directory. `follow` only for the one that was asked for. 0 or -errno.
static int enter(struct listing *l, const char *path, bool follow)
{
    struct level *top = &l->levels[l->depth];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));

    *top = (struct level){0};
    if (fd < 0)
        return -errno;
    top->dir = fdopendir(fd);
    if (top->dir == NULL)
        fd_close(&fd);
    top->path = strdup(path);
    if (top->dir == NULL || top->path == NULL) {
        level_release(top);
        return -ENOMEM;
    }
    l->depth++;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;

    return strcmp(*x, *y);
}

static int add_name(struct level *top, const char *name)
{
    if (top->count == top->alloc) {
        size_t want = top->alloc == 0 ? 32 : top->alloc * 2;
        char **more = reallocarray(top->names, want, sizeof(*more));
        if (more == NULL)
            return -1;
        top->names = more;
        top->alloc = want;
    }
    top->names[top->count] = strdup(name);
    return top->names[top->count++] == NULL ? -1 : 0;
}

static int too_many(struct listing *l)
{
    return rpc_set(&l->error, RPC_RESOURCE_EXHAUSTED, "more than %d entries", FS_ENTRIES_MAX);
}

// Reads one name; at the end of the directory they are put in order.
static int read_name(struct listing *l, struct level *top)
{
    const struct dirent *e = readdir(top->dir);

    if (e == NULL) {
        closedir(top->dir);
        top->dir = NULL;
        if (top->count > 0)
            qsort(top->names, top->count, sizeof(*top->names), compare);
        return 0;
    }
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
        return 0;
    if (l->entries + top->count >= FS_ENTRIES_MAX)
        return too_many(l);
    return add_name(top, e->d_name) < 0
               ? rpc_set(&l->error, RPC_RESOURCE_EXHAUSTED, "out of memory")
               : 0;
}

// Tells one entry, and goes into it where that was asked for. What is gone by now is left out.
static int put_next(struct listing *l, struct level *top)
{
    _cleanup_free_ char *name = top->names[top->next++];
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s/%s", top->path[1] == '\0' ? "" : top->path, name);

    if (n >= (int)sizeof(path) || lstat(path, &st) < 0)
        return 0;
    if (++l->entries > FS_ENTRIES_MAX)
        return too_many(l);
    entry_put(&l->out, NULL, path, &st, &l->names);
    if (l->out.failed)
        return rpc_set(&l->error, RPC_RESOURCE_EXHAUSTED, "the answer is too large");
    if (!S_ISDIR(st.st_mode) || l->depth >= l->max_depth)
        return 0;
    if (l->depth == FS_DEPTH_MAX)
        return rpc_set(&l->error, RPC_RESOURCE_EXHAUSTED, "more than %d levels", FS_DEPTH_MAX);
    (void)enter(l, path, false);
    return 0;
}

static int advance(struct listing *l)
{
    struct level *top = &l->levels[l->depth - 1];

    if (top->dir != NULL)
        return read_name(l, top);
    if (top->next < top->count)
        return put_next(l, top);
    level_release(top);
    l->depth--;
    return 0;
}

static void walk(void *arg)
{
    struct listing *l = arg;
    struct call *c = l->call;
    int rc = 0;

    for (int i = 0; i < FS_NAMES_SLICE && l->depth > 0 && rc == 0; i++)
        rc = advance(l);
    if (rc < 0) {
        rpc_fail(c, &l->error);
    } else if (l->depth > 0) {
        loop_timer_set(c->envd->loop, &l->slice, clock_mono_ns(), walk, l);
    } else {
        json_close(&l->out, ']');
        json_close(&l->out, '}');
        rpc_reply(c, &l->text);
    }
}

static void on_close(struct call *c)
{
    listing_free(c->state);
}

static const struct call_ops ops = {.close = on_close};

static int start(struct listing *l, const struct json_in *in)
{
    struct rpc_error *e = &l->error;
    struct user user;
    char path[PATH_MAX];
    uint32_t depth = 0;
    int rc;

    if (fs_path(l->call, in, "path", &user, path, e) < 0 || rpc_get_u32(in, "depth", &depth, e) < 0)
        return -1;
    user_names_for(&l->names, &user);
    l->max_depth = depth == 0 ? 1 : depth;
    rc = enter(l, path, true);
    if (rc == -ENOENT)
        return rpc_set(e, RPC_NOT_FOUND, "path '%s' does not exist", path);
    if (rc == -ENOTDIR)
        return rpc_set(e, RPC_INVALID_ARGUMENT, "path '%s' is not a directory", path);
    return rc < 0 ? rpc_set_sys(e, rc, "open '%s'", path) : 0;
}

void fs_list_dir(struct call *c, const struct json_in *in)
{
    struct listing *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        call_reset(c);
        return;
    }
    l->call = c;
    l->text.cap = TEXT_MAX;
    l->out.buf = &l->text;
    c->state = l;
    c->ops = &ops;
    json_open(&l->out, NULL, '{');
    json_open(&l->out, "entries", '[');
    if (start(l, in) < 0)
        rpc_fail(c, &l->error);
    else
        walk(l);
}
