// SPDX-License-Identifier: Apache-2.0
#include "launch/agent_files.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#define FILE_MAX  (256ll << 20)
#define DEPTH_MAX 8
#define NAME      "agent-files"

// Removes what is in a directory of ours.
static void clear(int dir, int depth)
{
    int fd = openat(dir, ".", DIR_FLAGS);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (d == NULL) {
        fd_close(&fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        _cleanup_fd_ int child = -1;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            unlinkat(dir, e->d_name, 0) == 0)
            continue;
        child = openat(dir, e->d_name, DIR_FLAGS | O_NOFOLLOW);
        if (child >= 0 && depth < DEPTH_MAX)
            clear(child, depth + 1);
        (void)unlinkat(dir, e->d_name, AT_REMOVEDIR);
    }
    (void)closedir(d);
}

// Modes are set as they are meant, whatever the umask.
static int copy_file(int from_dir, const char *from, int to_dir, const char *name, mode_t mode)
{
    _cleanup_fd_ int in = openat(from_dir, from, O_RDONLY | O_CLOEXEC);
    _cleanup_fd_ int out = -1;
    struct stat st;

    if (in < 0 || fstat(in, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        return -EINVAL;
    out = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0)
        return -errno;
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = sendfile(out, in, NULL, (size_t)left);

        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        left -= n;
    }
    return fchmod(out, mode) < 0 ? -errno : 0;
}

static int make_dir(int dir, const char *name)
{
    int fd;

    if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(dir, name, DIR_FLAGS | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0755) < 0) {
        fd_close(&fd);
        return -errno;
    }
    return fd;
}

// Copies the files and directories below `from`; at the top only directories, which are the shims.
static int copy_tree(int from, int to, int depth)
{
    int fd = openat(from, ".", DIR_FLAGS);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int r = 0;

    if (d == NULL) {
        fd_close(&fd);
        return -errno;
    }
    for (struct dirent *e; r == 0 && (e = readdir(d)) != NULL;) {
        _cleanup_fd_ int source = -1;
        _cleanup_fd_ int target = -1;

        if (e->d_name[0] == '.' || strcmp(e->d_name, "__pycache__") == 0)
            continue;
        source = openat(from, e->d_name, DIR_FLAGS);
        if (source < 0 && depth > 0)
            r = copy_file(from, e->d_name, to, e->d_name, 0644);
        if (source < 0 || depth >= DEPTH_MAX)
            continue;
        target = make_dir(to, e->d_name);
        r = target < 0 ? target : copy_tree(source, target, depth + 1);
    }
    (void)closedir(d);
    return r;
}

// Beside the agent where it is installed, else where the build puts it.
static int copy_library(const char *agent, const char *name, int to)
{
    static const char *const places[] = {"", "../jail/"};
    const char *slash = strrchr(agent, '/');
    int dir_len = slash == NULL ? 0 : (int)(slash - agent) + 1;
    int r = -ENOENT;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && r == -ENOENT; i++) {
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%.*s%s%s", dir_len, agent, places[i], name);
        r = copy_file(AT_FDCWD, path, to, name, 0755);
    }
    return r;
}

static int copy_all(const struct agent_host_config *config, int to, struct err *err)
{
    static const char *const libraries[] = {"wait.so", "zygote.so"};
    _cleanup_fd_ int runtimes = open(config->runtimes, DIR_FLAGS);
    int r;

    if (runtimes < 0)
        return err_sys(err, errno, "open %.150s", config->runtimes);
    r = copy_tree(runtimes, to, 0);
    if (r < 0)
        return err_sys(err, r, "copy the shims of %.150s", config->runtimes);
    r = copy_file(AT_FDCWD, config->agent, to, "csb-agent", 0755);
    if (r < 0)
        return err_sys(err, r, "copy %.150s", config->agent);
    for (size_t i = 0; i < 2; i++) {
        r = copy_library(config->agent, libraries[i], to);
        if (r < 0)
            return err_sys(err, r, "copy %s from beside %.150s", libraries[i], config->agent);
    }
    return 0;
}

int agent_files_copy(const struct agent_host_config *config, char *ret, struct err *err)
{
    _cleanup_fd_ int run_dir = open(config->run_dir, DIR_FLAGS);
    _cleanup_fd_ int to = -1;
    char real[PATH_MAX];

    if (run_dir < 0 || realpath(config->run_dir, real) == NULL)
        return err_sys(err, errno, "open %.150s", config->run_dir);
    to = make_dir(run_dir, NAME);
    if (to < 0)
        return err_sys(err, to, "make %.150s/" NAME, config->run_dir);
    clear(to, 0);
    if (copy_all(config, to, err) < 0)
        return -1;
    if (snprintf(ret, PATH_MAX, "%s/" NAME, real) >= PATH_MAX)
        return err_sys(err, ENAMETOOLONG, "%.150s", config->run_dir);
    return 0;
}
