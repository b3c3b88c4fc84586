// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/fs.h"

#include "agent/envd/entry.h"
#include "agent/envd/path.h"
#include "json/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_dir(const char *path, const struct user *user, bool *ret_made)
{
    struct stat st;

    *ret_made = mkdir(path, 0755) == 0;
    if (*ret_made)
        return user_give(user, AT_FDCWD, path);
    if (errno != EEXIST)
        return -errno;
    if (stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int fs_make_dirs(const char *path, const struct user *user, bool *ret_made)
{
    char part[PATH_MAX];
    bool made = false;
    size_t len = strlen(path);

    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        int rc;
        if (path[i] != '/' && path[i] != '\0')
            continue;
        part[i] = '\0';
        rc = make_dir(part, user, &made);
        if (rc < 0)
            return rc;
        part[i] = path[i];
    }
    if (ret_made != NULL)
        *ret_made = made;
    return 0;
}

int fs_make_parents(const char *path, const struct user *user)
{
    char dir[PATH_MAX];
    size_t len = (size_t)(path_base(path) - path);

    if (len <= 1)
        return 0;
    memcpy(dir, path, len - 1);
    dir[len - 1] = '\0';
    return fs_make_dirs(dir, user, NULL);
}

int fs_path(const struct call *c, const struct json_in *in, const char *key, struct user *ret_user,
            char ret_path[PATH_MAX], struct rpc_error *e)
{
    const char *path;

    if (rpc_user(c, ret_user, e) < 0 || rpc_get_text(in, key, NULL, &path, e) < 0)
        return -1;
    int rc = path_resolve(ret_user, c->envd->workdir, path, ret_path);
    return rc < 0 ? rpc_set(e, RPC_INVALID_ARGUMENT, "invalid path '%s'", path) : 0;
}

static void reply_entry(struct call *c, const struct user *user, const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    struct user_names names = {0};
    struct rpc_error e = RPC_ERROR_INIT;
    int rc;

    user_names_for(&names, user);
    json_open(&out, NULL, '{');
    rc = entry_put_path(&out, "entry", path, &names);
    json_close(&out, '}');
    user_names_release(&names);
    if (rc == -ENOENT || rc == -ENOTDIR) {
        (void)rpc_set(&e, RPC_NOT_FOUND, "path '%s' does not exist", path);
        rpc_fail(c, &e);
    } else if (rc < 0) {
        (void)rpc_set_sys(&e, rc, "stat '%s'", path);
        rpc_fail(c, &e);
    } else {
        rpc_reply(c, &text);
    }
}

void fs_stat(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct user user;
    char path[PATH_MAX];

    if (fs_path(c, in, "path", &user, path, &e) < 0)
        rpc_fail(c, &e);
    else
        reply_entry(c, &user, path);
}

static int make_new_dir(const char *path, const struct user *user, struct rpc_error *e)
{
    bool made = false;
    int rc = fs_make_dirs(path, user, &made);

    if (rc == -ENOTDIR)
        return rpc_set(e, RPC_INVALID_ARGUMENT, "path '%s' is or leads through a file", path);
    if (rc < 0)
        return rpc_set_sys(e, rc, "make directory '%s'", path);
    if (!made)
        return rpc_set(e, RPC_ALREADY_EXISTS, "directory '%s' already exists", path);
    return 0;
}

void fs_make_dir(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct user user;
    char path[PATH_MAX];

    if (fs_path(c, in, "path", &user, path, &e) < 0 || make_new_dir(path, &user, &e) < 0)
        rpc_fail(c, &e);
    else
        reply_entry(c, &user, path);
}

static int move(const char *from, const char *to, const struct user *user, struct rpc_error *e)
{
    struct stat st;
    int rc;

    if (lstat(from, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return rpc_set(e, RPC_NOT_FOUND, "path '%s' does not exist", from);
        return rpc_set_sys(e, errno, "stat '%s'", from);
    }
    rc = fs_make_parents(to, user);
    if (rc < 0)
        return rpc_set_sys(e, rc, "make the directory of '%s'", to);
    if (rename(from, to) < 0)
        return rpc_set_sys(e, errno, "move '%s' to '%s'", from, to);
    return 0;
}

void fs_move(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct user user;
    char from[PATH_MAX], to[PATH_MAX];

    if (fs_path(c, in, "source", &user, from, &e) < 0 ||
        fs_path(c, in, "destination", &user, to, &e) < 0 || move(from, to, &user, &e) < 0)
        rpc_fail(c, &e);
    else
        reply_entry(c, &user, to);
}
