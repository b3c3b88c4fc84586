// SPDX-License-Identifier: Apache-2.0
#include "driver/qemu_memory.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "launch/launch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAPS_BYTES   (1u << 20)
#define MAPPINGS_MAX 64
#define PIECE_PAGES  256u // looked at in one go
#define PIECE_BYTES  (PIECE_PAGES * QEMU_PAGE_BYTES)

// Of an entry of a page map: in memory, swapped out, of a file (and so not a copy).
#define PAGE_PRESENT (1ull << 63)
#define PAGE_SWAPPED (1ull << 62)
#define PAGE_FILE    (1ull << 61)

// A private mapping of the template's RAM.
struct mapping {
    uint64_t start, len; // address, bytes
    uint64_t offset;     // in the RAM
};

struct walk {
    const struct qemu_memory_spec *spec;
    int fds[LAUNCH_MEMORY_FD_COUNT];
    struct mapping mappings[MAPPINGS_MAX];
    size_t mapping_count;
    uint8_t *theirs, *ours; // PIECE_BYTES each: the VM's pages, the template's
    qemu_page_fn take;
    void *arg;
};

// One line of /proc/PID/maps. -EPROTO when it maps the RAM in a way that QEMU does not.
static int add_line(struct walk *w, const char *line, const struct stat *ram)
{
    uint64_t start, end, offset, inode;
    unsigned major_number, minor_number;
    char perms[5];

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &start, &end, perms,
               &offset, &major_number, &minor_number, &inode) != 7 ||
        inode != ram->st_ino || makedev(major_number, minor_number) != ram->st_dev)
        return 0;
    if (w->mapping_count == MAPPINGS_MAX || perms[3] != 'p' || end <= start ||
        start % QEMU_PAGE_BYTES != 0 || end % QEMU_PAGE_BYTES != 0 ||
        offset % QEMU_PAGE_BYTES != 0 || offset > w->spec->memory_bytes ||
        end - start > w->spec->memory_bytes - offset)
        return -EPROTO;
    w->mappings[w->mapping_count++] =
        (struct mapping){.start = start, .len = end - start, .offset = offset};
    return 0;
}

static int find_mappings(struct walk *w)
{
    _cleanup_buf_ struct buf text = BUF_CAPPED(MAPS_BYTES);
    uint64_t total = 0;
    struct stat ram;
    char *line, *rest;
    int r = fd_read_to_buf(w->fds[LAUNCH_MEMORY_FD_MAPS], &text);

    if (r == 0 && fstat(w->spec->ram_fd, &ram) < 0)
        r = -errno;
    if (r == 0 && buf_append(&text, "", 1) < 0)
        r = -EPROTO;
    rest = r == 0 ? (char *)text.data : NULL;
    while (r == 0 && (line = strsep(&rest, "\n")) != NULL)
        r = add_line(w, line, &ram);
    for (size_t i = 0; i < w->mapping_count; i++)
        total += w->mappings[i].len;
    // All of it, once.
    return r == 0 && total != w->spec->memory_bytes ? -EPROTO : r;
}

static int read_at(int fd, void *data, size_t len, uint64_t offset)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = pread(fd, (uint8_t *)data + got, len - got, (off_t)(offset + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ESRCH; // the process is gone
        got += (size_t)n;
    }
    return 0;
}

// `count` neighbouring pages that the VM has copies of.
static int take_run(struct walk *w, uint64_t address, uint64_t offset, size_t count)
{
    size_t len = count * QEMU_PAGE_BYTES;
    int r = read_at(w->fds[LAUNCH_MEMORY_FD_MEM], w->theirs, len, address);

    if (r == 0)
        r = read_at(w->spec->ram_fd, w->ours, len, offset);
    for (size_t at = 0; r == 0 && at < len; at += QEMU_PAGE_BYTES)
        if (memcmp(w->theirs + at, w->ours + at, QEMU_PAGE_BYTES) != 0)
            r = w->take(w->arg, offset + at, w->theirs + at);
    return r;
}

static bool is_copy(uint64_t entry)
{
    return (entry & (PAGE_PRESENT | PAGE_SWAPPED)) != 0 && (entry & PAGE_FILE) == 0;
}

static int walk_piece(struct walk *w, uint64_t address, uint64_t offset, size_t pages)
{
    uint64_t entries[PIECE_PAGES];
    int r = read_at(w->fds[LAUNCH_MEMORY_FD_PAGEMAP], entries, pages * sizeof(entries[0]),
                    address / QEMU_PAGE_BYTES * sizeof(entries[0]));

    for (size_t i = 0; r == 0 && i < pages;) {
        size_t begin = i;

        while (i < pages && is_copy(entries[i]))
            i++;
        if (i > begin)
            r = take_run(w, address + begin * QEMU_PAGE_BYTES, offset + begin * QEMU_PAGE_BYTES,
                         i - begin);
        else
            i++;
    }
    return r;
}

static int walk_mapping(struct walk *w, const struct mapping *m)
{
    int r = 0;

    for (uint64_t at = 0; r == 0 && at < m->len; at += PIECE_BYTES) {
        uint64_t len = m->len - at < PIECE_BYTES ? m->len - at : PIECE_BYTES;

        if (clock_mono_ns() >= w->spec->deadline_ns)
            return -ETIMEDOUT;
        r = walk_piece(w, m->start + at, m->offset + at, (size_t)(len / QEMU_PAGE_BYTES));
    }
    return r;
}

static int walk_all(struct walk *w)
{
    int r = find_mappings(w);

    for (size_t i = 0; r == 0 && i < w->mapping_count; i++)
        r = walk_mapping(w, &w->mappings[i]);
    return r;
}

int qemu_memory_each(const struct qemu_memory_spec *spec, qemu_page_fn take, void *arg,
                     struct err *err)
{
    struct walk w = {.spec = spec, .take = take, .arg = arg};
    int r = -ENOMEM;

    if (launch_open_memory(spec->launch, spec->vm_id, w.fds, err) < 0)
        return -1;
    w.theirs = malloc(PIECE_BYTES);
    w.ours = malloc(PIECE_BYTES);
    if (w.theirs != NULL && w.ours != NULL)
        r = walk_all(&w);
    free(w.theirs);
    free(w.ours);
    for (size_t i = 0; i < LAUNCH_MEMORY_FD_COUNT; i++)
        fd_close(&w.fds[i]);
    if (r == -ETIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "the VM's memory was not read in time");
    if (r == -ESRCH)
        return err_set(err, ERR_GONE, "the VM ended");
    if (r == -EPROTO)
        return err_set(err, ERR_PROTOCOL, "QEMU's mappings of the RAM make no sense");
    return r < 0 ? err_sys(err, r, "cannot read the VM's memory") : 0;
}
