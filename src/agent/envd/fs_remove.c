// SPDX-License-Identifier: Apache-2.0
//
// Remove: a file, or a tree in slices. A tree is walked by descriptors and no link is followed, so
// that nothing outside of it is touched, whatever happens to it meanwhile. What lies deeper than
// the descriptors reach is moved up first.
#include "agent/envd/fs.h"
#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX  32
#define PASSES_MAX 16 // over the top without anything moved there, while others add to the tree

struct removal {
    struct call *call;
    char path[PATH_MAX];
    DIR *dirs[DEPTH_MAX];
    char names[DEPTH_MAX][NAME_MAX + 1]; // of each in the one before
    size_t depth;
    unsigned moved; // for their names
    unsigned passes;
    struct loop_timer slice;
    struct rpc_error error;
};

static void removal_free(struct removal *r)
{
    loop_timer_clear(r->call->envd->loop, &r->slice);
    while (r->depth > 0)
        closedir(r->dirs[--r->depth]);
    free(r);
}

static int enter(struct removal *r, int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL) {
        int error = errno;
        fd_close(&fd);
        return -error;
    }
    r->dirs[r->depth] = dir;
    (void)snprintf(r->names[r->depth], sizeof(r->names[0]), "%s", r->depth == 0 ? "" : name);
    r->depth++;
    return 0;
}

static int fail(struct removal *r, int error, const char *name)
{
    return rpc_set_sys(&r->error, error, "remove '%s' below '%s'", name, r->path);
}

// Out of reach: to the top, under a name that nothing has.
static int move_up(struct removal *r, int from, const char *name)
{
    char to[40];

    for (;;) {
        (void)snprintf(to, sizeof(to), ".removing-%u", r->moved++);
        if (renameat2(from, name, dirfd(r->dirs[0]), to, RENAME_NOREPLACE) == 0) {
            r->passes = 0;
            return 0;
        }
        if (errno != EEXIST)
            return fail(r, errno, name);
    }
}

// The directory on top is empty as far as we read it.
static int leave(struct removal *r)
{
    DIR *dir = r->dirs[r->depth - 1];

    if (r->depth > 1) {
        closedir(dir);
        r->depth--;
        // What was added meanwhile is met in another pass over the top.
        if (unlinkat(dirfd(r->dirs[r->depth - 1]), r->names[r->depth], AT_REMOVEDIR) < 0 &&
            errno != ENOENT && errno != ENOTEMPTY)
            return fail(r, errno, r->names[r->depth]);
        return 0;
    }
    if (rmdir(r->path) == 0 || errno == ENOENT) {
        closedir(dir);
        r->depth = 0;
        return 0;
    }
    if (errno != ENOTEMPTY || ++r->passes == PASSES_MAX)
        return fail(r, errno, "");
    rewinddir(dir);
    return 0;
}

static int advance(struct removal *r)
{
    DIR *dir = r->dirs[r->depth - 1];
    const struct dirent *e = readdir(dir);
    int rc;

    if (e == NULL)
        return leave(r);
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
        unlinkat(dirfd(dir), e->d_name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return fail(r, errno, e->d_name);
    if (r->depth == DEPTH_MAX)
        return move_up(r, dirfd(dir), e->d_name);
    rc = enter(r, dirfd(dir), e->d_name);
    return rc < 0 && rc != -ENOENT ? fail(r, rc, e->d_name) : 0;
}

static void walk(void *arg)
{
    struct removal *r = arg;
    int rc = 0;

    for (int i = 0; i < FS_NAMES_SLICE && r->depth > 0 && rc == 0; i++)
        rc = advance(r);
    if (rc < 0)
        rpc_fail(r->call, &r->error);
    else if (r->depth == 0)
        rpc_reply_empty(r->call);
    else
        loop_timer_set(r->call->envd->loop, &r->slice, clock_mono_ns(), walk, r);
}

static void on_close(struct call *c)
{
    removal_free(c->state);
}

static const struct call_ops ops = {.close = on_close};

static int start(struct removal *r, const struct json_in *in)
{
    struct user user;
    int rc;

    if (fs_path(r->call, in, "path", &user, r->path, &r->error) < 0)
        return -1;
    if (r->path[1] == '\0')
        return rpc_set(&r->error, RPC_INVALID_ARGUMENT, "the root cannot be removed");
    if (unlink(r->path) == 0 || errno == ENOENT || errno == ENOTDIR)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return rpc_set_sys(&r->error, errno, "remove '%s'", r->path);
    rc = enter(r, AT_FDCWD, r->path);
    return rc < 0 ? rpc_set_sys(&r->error, rc, "remove '%s'", r->path) : 0;
}

void fs_remove(struct call *c, const struct json_in *in)
{
    struct removal *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        call_reset(c);
        return;
    }
    r->call = c;
    c->state = r;
    c->ops = &ops;
    if (start(r, in) < 0)
        rpc_fail(c, &r->error);
    else
        walk(r);
}
