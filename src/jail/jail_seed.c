// SPDX-License-Identifier: Apache-2.0
//
// A writable root for a jail whose namespace has one id, an ordinary user's. The tree's files are
// mostly somebody else's then, and the kernel copies nothing up whose owner it cannot name there.
// So the directories that programs put files into are made anew above, and so are the small files
// of /etc and /home, which programs change in place. Others can be replaced and removed.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define DEPTH_MAX 16
#define FILE_MAX  (256 << 10)

struct seed {
    struct jail_ctx *c;
    char path[PATH_MAX]; // in the tree, without a leading slash
    size_t left;         // that may be made
};

// Large ones, in which nothing is put beside what is there.
static bool stays_whole(const char *path)
{
    static const char *const large[] = {"usr/lib", "usr/share", "usr/include", "usr/libexec",
                                        "proc",    "sys",       "dev",         "run"};

    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
        if (strcmp(path, large[i]) == 0)
            return true;
    return false;
}

static bool has_files_to_change(const char *path)
{
    return strncmp(path, "etc/", 4) == 0 || strncmp(path, "home/", 5) == 0;
}

// One that cannot be read stays below: it cannot be read in the jail either.
static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    _cleanup_fd_ int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_fd_ int to = -1;

    if (from < 0)
        return errno == EACCES ? 0 : -errno;
    to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    for (off_t left = st->st_size; left > 0;) {
        ssize_t n = sendfile(to, from, NULL, (size_t)left);

        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        left -= n;
    }
    return fchmod(to, st->st_mode & 07777) < 0 || futimens(to, times) < 0 ? -errno : 0;
}

static int seed_dir(struct seed *s, int from, int to, int depth);

// Where the kernel keeps no such mark, what cannot be read below cannot be listed above either.
static void hide_lower(int dir)
{
    (void)fsetxattr(dir, "user.overlay.opaque", "y", 1, 0);
}

static int make_dir(struct seed *s, int from_dir, int to_dir, const char *name, mode_t mode,
                    int depth)
{
    _cleanup_fd_ int from = -1;
    _cleanup_fd_ int to = -1;

    if (s->left == 0)
        return 0;
    s->left--;
    if (mkdirat(to_dir, name, 0700) < 0)
        return errno == EEXIST ? 0 : -errno; // one of the first
    to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0 || fchmod(to, mode & 07777) < 0)
        return -errno;
    if (stays_whole(s->path))
        return 0;
    from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from >= 0)
        return seed_dir(s, from, to, depth + 1);
    if (errno != EACCES)
        return -errno;
    hide_lower(to);
    return 0;
}

static int seed_entry(struct seed *s, int from, int to, const char *name, int depth)
{
    struct stat st;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) && st.st_size <= FILE_MAX && has_files_to_change(s->path) &&
        s->left > 0) {
        int r = copy_file(from, to, name, &st);

        s->left--;
        if (r != -ENOSPC)
            return r;
        s->left = 0;
        return unlinkat(to, name, 0) < 0 ? -errno : 0;
    }
    if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
        return 0;
    return make_dir(s, from, to, name, st.st_mode, depth);
}

static int seed_dir(struct seed *s, int from, int to, int depth)
{
    size_t len = strlen(s->path);
    int copy = fcntl(from, F_DUPFD_CLOEXEC, 3);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    int r = 0;

    if (d == NULL) {
        r = -errno;
        fd_close(&copy);
        return r;
    }
    for (struct dirent *e; r == 0 && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (snprintf(s->path + len, sizeof(s->path) - len, "%s%s", len == 0 ? "" : "/",
                     e->d_name) >= (int)(sizeof(s->path) - len))
            r = -ENAMETOOLONG;
        else
            r = seed_entry(s, from, to, e->d_name, depth);
        if (r < 0)
            (void)jail_step_failed(s->c, r, "make /%.150s of the root anew", s->path);
        s->path[len] = '\0';
    }
    (void)closedir(d);
    return r;
}

int jail_seed(struct jail_ctx *c, int lower, int upper)
{
    // What programs cannot do without comes first, whatever else a tree holds.
    static const char *const first[] = {"home", "root", "tmp", "etc", "var"};
    struct seed s = {.c = c, .left = JAIL_SEED_MAX};
    _cleanup_fd_ int from = openat(lower, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (from < 0)
        return jail_step_failed(c, errno, "read the root %.150s", c->plan->root);
    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        int r;

        (void)snprintf(s.path, sizeof(s.path), "%s", first[i]);
        r = seed_entry(&s, from, upper, first[i], 0);
        if (r < 0 && r != -ENOENT)
            return jail_step_failed(c, r, "make /%.150s of the root anew", s.path);
    }
    s.path[0] = '\0';
    return seed_dir(&s, from, upper, 0);
}
