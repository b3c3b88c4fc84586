// SPDX-License-Identifier: Apache-2.0
#include "daemon/state.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

// mkdir -p. 0 or -errno.
static int make_path(const char *path)
{
    char text[PATH_MAX];
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof(text))
        return -ENAMETOOLONG;
    memcpy(text, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (text[i] != '/' && text[i] != '\0')
            continue;
        text[i] = '\0';
        if (mkdir(text, 0755) < 0 && errno != EEXIST)
            return -errno;
        text[i] = path[i];
    }
    return 0;
}

static int take_lock(int dir_fd, const char *dir, int *ret, struct err *err)
{
    _cleanup_fd_ int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    char text[32] = "";

    if (fd < 0)
        return err_sys(err, errno, "STATE_DIR: cannot write %s/lock", dir);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_sys(err, errno, "cannot lock %s/lock", dir);
        if (read(fd, text, sizeof(text) - 1) < 0) // only for the message
            text[0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return err_set(err, ERR_BUSY,
                       "another codesandboxd (pid %s) uses the state directory %s; stop it, or set "
                       "STATE_DIR",
                       text, dir);
    }
    (void)snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || fd_write_all(fd, text, strlen(text)) < 0)
        return err_set(err, ERR_SYSTEM, "cannot write %s/lock", dir);
    *ret = fd_steal(&fd);
    return 0;
}

// A directory of one owner's own.
static int make_private(int dir_fd, const char *name, uid_t uid, struct err *err)
{
    _cleanup_fd_ int fd = -1;

    if (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make the directory %s in STATE_DIR", name);
    fd = openat(dir_fd, name, DIR_FLAGS | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, errno, "cannot open the directory %s in STATE_DIR", name);
    if (geteuid() == 0 && (fchown(fd, uid, uid) < 0 || fchmod(fd, 0700) < 0))
        return err_sys(err, errno, "cannot give the directory %s in STATE_DIR to uid %u", name,
                       (unsigned)uid);
    return 0;
}

// Started as root: what is in a directory of the server's must be the server's, or root's. That of
// a former one is not handed over: it may be another service's, which is stopped just now.
static int check_owner(int fd, const char *dir, const char *name, uid_t uid, struct err *err)
{
    _cleanup_fd_ int list = openat(fd, ".", DIR_FLAGS);
    DIR *stream = list < 0 ? NULL : fdopendir(list);
    uid_t owner = 0;
    struct stat st;

    if (stream == NULL)
        return err_sys(err, errno, "STATE_DIR: cannot list %s/%s", dir, name);
    (void)fd_steal(&list);
    for (struct dirent *e; owner == 0 && (e = readdir(stream)) != NULL;)
        if (strcmp(e->d_name, "..") != 0 && // "." is the directory itself
            fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid != uid)
            owner = st.st_uid;
    (void)closedir(stream);
    if (owner == 0)
        return 0;
    return err_field(err, ERR_INVALID, "UID_BASE",
                     "STATE_DIR: %.80s/%s was used by uid %u, and UID_BASE is %u: set UID_BASE to "
                     "%u again, or, as root, chown -R %u:%u the directories store and templates "
                     "there",
                     dir, name, (unsigned)owner, (unsigned)uid, (unsigned)owner, (unsigned)uid,
                     (unsigned)uid);
}

// A directory of the server's own.
static int make_servers(int dir_fd, const char *dir, const char *name, uid_t uid, struct err *err)
{
    _cleanup_fd_ int fd = openat(dir_fd, name, DIR_FLAGS | O_NOFOLLOW);

    if (fd >= 0 && geteuid() == 0 && check_owner(fd, dir, name, uid, err) < 0)
        return -1;
    return make_private(dir_fd, name, uid, err);
}

int state_prepare(const char *dir, uint32_t uid, int *ret_lock, struct err *err)
{
    _cleanup_fd_ int fd = -1;
    _cleanup_fd_ int lock = -1;
    int r = make_path(dir);

    if (r < 0)
        return err_sys(err, r, "STATE_DIR: cannot make the directory %s", dir);
    fd = open(dir, DIR_FLAGS);
    if (fd < 0)
        return err_sys(err, errno, "STATE_DIR: cannot open the directory %s", dir);
    if (take_lock(fd, dir, &lock, err) < 0 || make_servers(fd, dir, "templates", uid, err) < 0 ||
        make_servers(fd, dir, "store", uid, err) < 0 ||
        make_private(fd, "launch", geteuid(), err) < 0)
        return -1;
    *ret_lock = fd_steal(&lock);
    return 0;
}

int state_open(const char *dir, const char *name, int *ret_fd, struct err *err)
{
    _cleanup_fd_ int fd = open(dir, DIR_FLAGS);
    int part;

    if (fd < 0)
        return err_sys(err, errno, "STATE_DIR: cannot open the directory %s", dir);
    part = openat(fd, name, DIR_FLAGS | O_NOFOLLOW);
    if (part < 0)
        return err_sys(err, errno, "cannot open %s/%s", dir, name);
    *ret_fd = part;
    return 0;
}
