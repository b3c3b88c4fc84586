// SPDX-License-Identifier: Apache-2.0
//
// Switching to the root image. An initramfs cannot be unmounted or pivoted away from: the new root
// is moved over it and its files are deleted, which gives their memory back.
#include "agent/init_root.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st)
{
    _cleanup_fd_ int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_fd_ int to =
        openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st->st_mode & 0755);
    off_t left = st->st_size;

    if (from < 0 || to < 0)
        return -errno;
    while (left > 0) {
        ssize_t n = sendfile(to, from, NULL, (size_t)left);
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        left -= n;
    }
    // A Python file's compiled form names its source's time.
    const struct timespec times[2] = {st->st_mtim, st->st_mtim};
    return futimens(to, times) < 0 ? -errno : 0;
}

// Copies directories and plain files of `from_dir` (taken) into `to_dir` (taken).
static int copy_tree(int from_dir, int to_dir, int depth)
{
    _cleanup_fd_ int to = to_dir;
    DIR *dir = from_dir < 0 ? NULL : fdopendir(from_dir);
    int rc = dir == NULL || to < 0 || depth > DEPTH_MAX ? -EINVAL : 0;

    if (dir == NULL) {
        fd_close(&from_dir);
        return rc;
    }
    for (const struct dirent *e = readdir(dir); e != NULL && rc == 0; e = readdir(dir)) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            rc = -errno;
        } else if (S_ISREG(st.st_mode)) {
            rc = copy_file(dirfd(dir), to, e->d_name, &st);
        } else if (S_ISDIR(st.st_mode)) {
            if (mkdirat(to, e->d_name, 0755) < 0 && errno != EEXIST)
                rc = -errno;
            else
                rc =
                    copy_tree(openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                              openat(to, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), depth + 1);
        }
    }
    closedir(dir);
    return rc;
}

// Deletes what is on the file system `device` below `fd` (taken), not crossing mounts.
static void delete_tree(int fd, dev_t device, int depth)
{
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL) {
        fd_close(&fd);
        return;
    }
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != device)
            continue;
        if (!S_ISDIR(st.st_mode)) {
            unlinkat(dirfd(dir), e->d_name, 0);
            continue;
        }
        if (depth < DEPTH_MAX)
            delete_tree(openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), device,
                        depth + 1);
        unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
    }
    closedir(dir);
}

static int mount_layers(const char *device, struct err *err)
{
    mkdir("/newroot", 0755);
    mkdir("/lower", 0755);
    mkdir("/upper", 0755);
    if (mount(device, "/lower", "erofs", MS_RDONLY, NULL) < 0)
        return err_sys(err, errno, "mount %s", device);
    if (mount("csb-upper", "/upper", "tmpfs", 0, "size=25%,mode=0755") < 0)
        return err_sys(err, errno, "mount the writable layer");
    mkdir("/upper/data", 0755);
    mkdir("/upper/work", 0755);
    if (mount("csb-root", "/newroot", "overlay", 0,
              "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work") < 0)
        return err_sys(err, errno, "mount the overlay");
    return 0;
}

static int move_root(struct err *err)
{
    static const char *const dirs[] = {"/dev", "/proc", "/sys"};
    struct stat old;
    int old_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (old_fd < 0 || fstat(old_fd, &old) < 0)
        return err_sys(err, errno, "open the initramfs");
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        char target[32];
        snprintf(target, sizeof(target), "/newroot%s", dirs[i]);
        mkdir(target, 0755);
        if (mount(dirs[i], target, NULL, MS_MOVE, NULL) < 0)
            return err_sys(err, errno, "move %s", dirs[i]);
    }
    // Its own way to /lower and /upper is not needed: the overlay holds both.
    umount2("/lower", MNT_DETACH);
    umount2("/upper", MNT_DETACH);
    if (chdir("/newroot") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        return err_sys(err, errno, "switch the root");
    delete_tree(old_fd, old.st_dev, 0);
    return 0;
}

int init_root(const char *device, struct err *err)
{
    if (mount_layers(device, err) < 0)
        return -1;
    mkdir("/newroot/csb", 0755);
    int rc = copy_tree(open("/csb", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                       open("/newroot/csb", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0);
    if (rc < 0)
        return err_sys(err, rc, "copy the shims");
    return move_root(err);
}
