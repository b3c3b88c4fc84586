// SPDX-License-Identifier: Apache-2.0
//
// The writable tmpfs of a run.
#include "agent/space.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INODES_MIN 1024u
#define INODES_MAX (1u << 20)

static const struct {
    const char *name;
    mode_t mode;
    bool owned; // by the user, else by root with the sticky bit
} dirs[] = {
    {"work", 0755, true},     {"home", 0755, true},  {"tmp", 01777, false},
    {"vartmp", 01777, false}, {"shm", 01777, false},
};

static void options(const struct space *s, char *buf, size_t size, bool all)
{
    uint64_t inodes = s->bytes / 4096;

    if (inodes < INODES_MIN)
        inodes = INODES_MIN;
    if (inodes > INODES_MAX)
        inodes = INODES_MAX;
    snprintf(buf, size, "size=%llu,nr_inodes=%llu%s", (unsigned long long)s->bytes,
             (unsigned long long)inodes, all ? ",mode=0755" : "");
}

// The umask is 0 throughout the agent, so modes are what they say.
static int make_dirs(struct space *s, struct err *err)
{
    _cleanup_fd_ int root = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (root < 0)
        return err_sys(err, errno, "open %s", s->path);
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        if (mkdirat(root, dirs[i].name, dirs[i].mode) < 0 ||
            (dirs[i].owned && fchownat(root, dirs[i].name, s->uid, s->gid, 0) < 0))
            return err_sys(err, errno, "make %s/%s", s->path, dirs[i].name);
    }
    s->work_fd = openat(root, "work", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return s->work_fd < 0 ? err_sys(err, errno, "open %s/work", s->path) : 0;
}

int space_new(const char *base, struct slots *slots, uint64_t bytes, struct space *ret,
              struct err *err)
{
    static unsigned long long counter;
    char opts[96];
    struct space s = {.work_fd = -1, .bytes = bytes};

    if (snprintf(s.path, sizeof(s.path), "%s/%llu", base, ++counter) >= (int)sizeof(s.path))
        return err_set(err, ERR_INTERNAL, "%s is too long", base);
    if (slots_take(slots, &s.uid) < 0)
        return err_set(err, ERR_BUSY, "all %d user ids are taken", SLOTS_MAX);
    s.slots = slots;
    s.gid = s.uid;
    options(&s, opts, sizeof(opts), true);
    if (mkdir(s.path, 0700) < 0) {
        slots_drop(slots, s.uid);
        return err_sys(err, errno, "mkdir %s", s.path);
    }
    if (mount("csb-space", s.path, "tmpfs", MS_NOSUID | MS_NODEV, opts) < 0) {
        int sys = errno;
        rmdir(s.path);
        slots_drop(slots, s.uid);
        return err_sys(err, sys, "mount a tmpfs on %s", s.path);
    }
    if (make_dirs(&s, err) < 0) {
        space_free(&s);
        return -1;
    }
    *ret = s;
    return 0;
}

int space_resize(struct space *s, uint64_t bytes, struct err *err)
{
    char opts[96];

    if (bytes == s->bytes)
        return 0;
    s->bytes = bytes;
    options(s, opts, sizeof(opts), false);
    if (mount(NULL, s->path, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, opts) < 0)
        return err_sys(err, errno, "resize %s to %s", s->path, opts);
    return 0;
}

bool space_is_full(const struct space *s)
{
    struct statvfs st;

    return s->work_fd >= 0 && fstatvfs(s->work_fd, &st) == 0 &&
           (st.f_bfree == 0 || st.f_ffree == 0);
}

static int open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

    return fd < 0 ? -errno : (int)fd;
}

// Makes the directories of `path` one by one, each below the descriptor of the one before.
static int make_parents(struct space *s, const char *path)
{
    char name[256];
    _cleanup_fd_ int dir = -1;

    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(path, '/')) {
        int at = dir < 0 ? s->work_fd : dir;
        if (slash == path || slash - path >= (long)sizeof(name))
            return -EINVAL;
        memcpy(name, path, (size_t)(slash - path));
        name[slash - path] = '\0';
        bool made = mkdirat(at, name, 0755) == 0;
        if ((!made && errno != EEXIST) ||
            (made && fchownat(at, name, s->uid, s->gid, AT_SYMLINK_NOFOLLOW) < 0))
            return -errno;
        int next = open_beneath(at, name, O_RDONLY | O_DIRECTORY, 0);
        if (next < 0)
            return next;
        fd_close(&dir);
        dir = next;
        path = slash + 1;
    }
    return 0;
}

int space_write(struct space *s, const struct space_file *file, struct err *err)
{
    _cleanup_fd_ int fd = -1;
    int rc = strchr(file->path, '/') == NULL ? 0 : make_parents(s, file->path);

    if (rc < 0)
        return err_sys(err, rc, "directories of %s", file->path);
    fd = open_beneath(s->work_fd, file->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                      file->executable ? 0755 : 0644);
    if (fd < 0)
        return err_sys(err, fd, "create %s", file->path);
    rc = fd_write_all(fd, file->data, file->size);
    if (rc < 0)
        return err_sys(err, rc, "write %s", file->path);
    if (fchown(fd, s->uid, s->gid) < 0)
        return err_sys(err, errno, "chown %s", file->path);
    return 0;
}

int space_read(const struct space *s, const char *path, size_t max, struct buf *ret)
{
    // A pipe in its place must not hold us.
    _cleanup_fd_ int fd = open_beneath(s->work_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    struct stat st;
    uint8_t *at;
    int rc;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0)
        return -EINVAL;
    if ((uint64_t)st.st_size > max)
        return -EFBIG;
    at = buf_reserve(ret, (size_t)st.st_size);
    if (at == NULL)
        return -ENOMEM;
    rc = fd_read_all(fd, at, (size_t)st.st_size);
    if (rc == 0)
        ret->len += (size_t)st.st_size;
    return rc;
}

void space_free(struct space *s)
{
    fd_close(&s->work_fd);
    if (s->path[0] == '\0')
        return;
    umount2(s->path, MNT_DETACH);
    rmdir(s->path);
    slots_drop(s->slots, s->uid);
    s->path[0] = '\0';
}
