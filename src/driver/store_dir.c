// SPDX-License-Identifier: Apache-2.0
#include "driver/store_dir.h"

#include "base/fd.h"
#include "base/id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TMP_PREFIX ".tmp-"
#define DIR_FLAGS  (O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC)

void store_dir_remove(const struct store_kind *kind, int store_fd, const char *name)
{
    _cleanup_fd_ int dir = openat(store_fd, name, DIR_FLAGS);

    if (dir < 0)
        return;
    for (size_t i = 0; i < kind->file_count; i++)
        (void)unlinkat(dir, kind->files[i], 0);
    (void)unlinkat(store_fd, name, AT_REMOVEDIR);
}

void store_dir_each(int store_fd, void (*each)(int store_fd, const char *name, void *arg),
                    void *arg)
{
    int fd = openat(store_fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (dir == NULL) {
        fd_close(&fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL)
        each(store_fd, entry->d_name, arg);
    (void)closedir(dir); // only read
}

static void remove_leftover(int store_fd, const char *name, void *arg)
{
    if (strncmp(name, TMP_PREFIX, sizeof(TMP_PREFIX) - 1) == 0)
        store_dir_remove(arg, store_fd, name);
}

int store_dir_open(const struct store_kind *kind, int state_dir_fd, int *ret_fd, struct err *err)
{
    int fd;

    if (mkdirat(state_dir_fd, kind->name, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make the directory of %s", kind->what);
    fd = openat(state_dir_fd, kind->name, DIR_FLAGS);
    if (fd < 0)
        return err_sys(err, errno, "cannot open the directory of %s", kind->what);
    store_dir_each(fd, remove_leftover, (void *)(uintptr_t)kind);
    *ret_fd = fd;
    return 0;
}

int store_dir_new_file(int dir, const char *name, int *ret_fd)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

int store_dir_write_file(int dir, const char *name, const void *data, size_t len)
{
    _cleanup_fd_ int fd = -1;
    int r = store_dir_new_file(dir, name, &fd);

    if (r == 0)
        r = fd_write_all(fd, data, len);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r;
}

static int fill_new(int store_fd, const char *tmp, store_fill_fn fill, void *arg)
{
    _cleanup_fd_ int dir = -1;
    int r;

    if (mkdirat(store_fd, tmp, 0700) < 0)
        return -errno;
    dir = openat(store_fd, tmp, DIR_FLAGS);
    if (dir < 0)
        return -errno;
    r = fill(arg, dir);
    if (r == 0 && fsync(dir) < 0)
        r = -errno;
    return r;
}

// In one step, so that at every moment there is the old one or the new one; what is then under the
// temporary name is the old one. A file system that cannot exchange names has neither for a moment.
static int publish(const struct store_kind *kind, int store_fd, const char *tmp, const char *name)
{
    if (renameat2(store_fd, tmp, store_fd, name, RENAME_EXCHANGE) < 0) {
        if (errno != ENOENT)
            store_dir_remove(kind, store_fd, name);
        if (renameat(store_fd, tmp, store_fd, name) < 0)
            return -errno;
    }
    return fsync(store_fd) < 0 ? -errno : 0;
}

int store_dir_save(const struct store_kind *kind, int store_fd, const char *name,
                   store_fill_fn fill, void *arg)
{
    char tmp[sizeof(TMP_PREFIX) + 16];
    int r;

    (void)snprintf(tmp, sizeof(tmp), "%s", TMP_PREFIX);
    id_hex(tmp + sizeof(TMP_PREFIX) - 1, 8);
    r = fill_new(store_fd, tmp, fill, arg);
    if (r == 0)
        r = publish(kind, store_fd, tmp, name);
    store_dir_remove(kind, store_fd, tmp);
    return r;
}
