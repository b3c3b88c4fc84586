// SPDX-License-Identifier: Apache-2.0
//
// The key of a template: a hash of all that made it, so that a template is never used with anything
// else. The kernel and the initramfs (which holds the agent and the runtimes' shims) go in whole;
// the root image, too large to read at every start, by its superblock (which has the image's UUID),
// size and time.
#include "base/fd.h"
#include "driver/qemu_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_VERSION    3 // of everything in a template that no other part of the key covers
#define EROFS_SUPER_START 1024
#define EROFS_SUPER_BYTES 128
#define CPUINFO_MAX       (1u << 20)

__attribute__((format(printf, 2, 3))) static void add_text(struct sha256_ctx *hash, const char *fmt,
                                                           ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    sha256_update(hash, strlen(text) + 1, (const uint8_t *)text);
}

static int add_file(struct sha256_ctx *hash, const char *what, const char *path, struct err *err)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t piece[32768];
    uint64_t total = 0;
    ssize_t n = -1;

    if (fd < 0)
        return err_sys(err, errno, "cannot open the %s %.100s", what, path);
    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        sha256_update(hash, (size_t)n, piece);
        total += (uint64_t)n;
    }
    if (n < 0)
        return err_sys(err, errno, "cannot read the %s %.100s", what, path);
    add_text(hash, "%s %llu bytes", what, (unsigned long long)total);
    return 0;
}

static int add_rootfs(struct sha256_ctx *hash, const char *path, struct err *err)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t super[EROFS_SUPER_BYTES];
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "cannot open the root image %.100s", path);
    if (pread(fd, super, sizeof(super), EROFS_SUPER_START) != (ssize_t)sizeof(super))
        return err_set(err, ERR_INTERNAL, "the root image %.100s is no file system", path);
    sha256_update(hash, sizeof(super), super);
    add_text(hash, "rootfs %lld bytes, %lld.%09ld", (long long)st.st_size,
             (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    return 0;
}

// Hardware virtualisation shows the guest the host's processor, emulation its clock rate.
static void add_host_cpu(struct sha256_ctx *hash)
{
    static const char *const fields[] = {"model name", "flags"};
    char *text;
    size_t len;

    if (fd_read_file(AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &text, &len) < 0)
        return;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const char *at = strstr(text, fields[i]);

        if (at != NULL)
            sha256_update(hash, strcspn(at, "\n"), (const uint8_t *)at);
    }
    free(text);
}

static void to_hex(struct sha256_ctx *hash, char ret[TEMPLATE_KEY_LEN + 1])
{
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_digest(hash, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

// A frozen guest goes on with the root image it has pages of in its cache, the processor it looked
// at when it booted, and devices in a state that only the same VMM knows how to read.
int qemu_machine_key(struct driver *d, char ret[TEMPLATE_KEY_LEN + 1], struct err *err)
{
    struct sha256_ctx hash;

    sha256_init(&hash);
    add_text(&hash, "codesandbox machine %d", FORMAT_VERSION);
    if (add_rootfs(&hash, d->config.rootfs_path, err) < 0)
        return -1;
    add_text(&hash, "accelerator %u, %s", (unsigned)d->accel, d->qemu_version);
    add_host_cpu(&hash);
    to_hex(&hash, ret);
    return 0;
}

int qemu_key(struct driver *d, const struct driver_template_spec *spec,
             char ret[TEMPLATE_KEY_LEN + 1], struct err *err)
{
    struct sha256_ctx hash;

    sha256_init(&hash);
    add_text(&hash, "codesandbox template %d", FORMAT_VERSION);
    if (add_file(&hash, "kernel", d->config.kernel_path, err) < 0 ||
        add_file(&hash, "initramfs", d->config.initrd_path, err) < 0 ||
        add_rootfs(&hash, d->config.rootfs_path, err) < 0)
        return -1;
    if (spec->root != 0)
        add_text(&hash, "root %016llx", (unsigned long long)spec->root);
    add_text(&hash, "%u MiB, %u cpus, accelerator %u, %s", spec->shape.memory_mib, spec->shape.cpus,
             (unsigned)d->accel, d->qemu_version);
    add_host_cpu(&hash);
    if (spec->seed != NULL)
        sha256_update(&hash, strlen(spec->seed), (const uint8_t *)spec->seed);
    to_hex(&hash, ret);
    return 0;
}
