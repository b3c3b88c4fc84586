// SPDX-License-Identifier: Apache-2.0
#include "driver/process_key.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_VERSION 1
#define DEPTH_MAX      8
#define ENTRIES_MAX    4096

static void add_text(struct sha256_ctx *hash, const char *text)
{
    sha256_update(hash, strlen(text) + 1, (const uint8_t *)text);
}

static int add_file(struct sha256_ctx *hash, int dir, const char *name)
{
    _cleanup_fd_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    uint8_t piece[32768];
    ssize_t n = -1;

    if (fd < 0)
        return -errno;
    add_text(hash, name);
    while ((n = read(fd, piece, sizeof(piece))) > 0)
        sha256_update(hash, (size_t)n, piece);
    return n < 0 ? -errno : 0;
}

// The tree is too large to read at every start; its builder leaves a key in it.
static int add_tree(struct sha256_ctx *hash, const char *path)
{
    _cleanup_fd_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char text[128];
    struct stat st;

    if (dir < 0 || fstat(dir, &st) < 0)
        return -errno;
    if (add_file(hash, dir, DRIVER_TREE_KEY) == 0)
        return 0;
    (void)snprintf(text, sizeof(text), "%llu %llu %lld.%09ld", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    add_text(hash, text);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

// The names in a directory, sorted.
static int list(int dir, char ***ret, size_t *ret_count)
{
    char **names = calloc(ENTRIES_MAX, sizeof(*names));
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    size_t count = 0;

    if (d == NULL || names == NULL) {
        if (d != NULL)
            (void)closedir(d);
        else
            fd_close(&fd);
        free(names);
        return -EIO;
    }
    for (struct dirent *e; count < ENTRIES_MAX && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && strcmp(e->d_name, "__pycache__") != 0 &&
            (names[count] = strdup(e->d_name)) != NULL)
            count++;
    (void)closedir(d);
    qsort(names, count, sizeof(*names), by_name);
    *ret = names;
    *ret_count = count;
    return 0;
}

static int add_directory(struct sha256_ctx *hash, int dir, int depth)
{
    char **names = NULL;
    size_t count = 0;
    int r = list(dir, &names, &count);

    for (size_t i = 0; r == 0 && i < count; i++) {
        _cleanup_fd_ int child = openat(dir, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (child < 0) {
            r = add_file(hash, dir, names[i]);
        } else if (depth < DEPTH_MAX) {
            add_text(hash, names[i]);
            r = add_directory(hash, child, depth + 1);
        }
    }
    free_names(names, count);
    return r;
}

int process_key(const struct driver_config *config, const struct driver_template_spec *spec,
                char ret[PROCESS_KEY_LEN + 1], struct err *err)
{
    _cleanup_fd_ int runtimes = open(config->runtimes_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char text[64];
    int r;

    sha256_init(&hash);
    (void)snprintf(text, sizeof(text), "codesandbox process %d", FORMAT_VERSION);
    add_text(&hash, text);
    if (spec->root != 0) {
        (void)snprintf(text, sizeof(text), "root %016llx", (unsigned long long)spec->root);
        add_text(&hash, text);
    }
    r = add_tree(&hash, config->tree_path);
    if (r < 0)
        return err_sys(err, r, "cannot read the root tree");
    r = add_file(&hash, AT_FDCWD, config->agent_path);
    if (r < 0)
        return err_sys(err, r, "cannot read the agent");
    r = runtimes < 0 ? -errno : add_directory(&hash, runtimes, 0);
    if (r < 0)
        return err_sys(err, r, "cannot read the runtimes");
    if (spec->seed != NULL)
        add_text(&hash, spec->seed);
    sha256_digest(&hash, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    return 0;
}
