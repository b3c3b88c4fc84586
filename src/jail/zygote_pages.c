// SPDX-License-Identifier: Apache-2.0
//
// Which pages of a zygote every program uses. After a fork the first write to a page is an
// exception and a copy, the first look at a page of a file an exception, and an interpreter makes
// hundreds on the way through a program that does nothing. The zygote has such a program run by a
// child of its own; at that child's end, the private pages that it alone maps are those it wrote
// to, and the files' pages that are mapped at all those it read. Each later program has them copied
// and mapped in a few calls when it is forked, which is before it is given anything to run.
#include "jail/jail.h"
#include "jail/zygote_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT     __attribute__((visibility("default")))

#define RANGES_MAX 1024
#define PAGES_MAX  8192 // 32 MiB: more is not what an interpreter touches for nothing
#define MAPS_BYTES (1u << 20)
#define BATCH      512
#define AROUND     65536u // bytes of a file that the kernel maps when one page of them is read

#ifndef MADV_POPULATE_WRITE // Linux 5.14
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define PIDFD_OF_SELF (-10000) // Linux 6.14

// Of /proc/PID/pagemap.
#define PAGE_PRESENT   (1ull << 63)
#define PAGE_EXCLUSIVE (1ull << 56)

EXPORT void csb_zygote_learn(void);
EXPORT _Noreturn void csb_zygote_leave(int status);

struct ranges {
    size_t count;
    struct iovec at[RANGES_MAX];
};

// Shared between the zygote and the child that it learns from.
struct table {
    size_t pages;
    struct ranges written;
    struct ranges read;
};

static struct table *table;
static bool learning; // in the child too
static uintptr_t page_size;
static unsigned long long libraries; // that were ever loaded

static void add_page(struct ranges *ranges, uintptr_t at)
{
    struct iovec *last = ranges->count > 0 ? &ranges->at[ranges->count - 1] : NULL;

    if (table->pages == PAGES_MAX)
        return;
    table->pages++;
    if (last != NULL && at == (uintptr_t)last->iov_base + last->iov_len) {
        last->iov_len += page_size;
        return;
    }
    if (ranges->count < RANGES_MAX)
        ranges->at[ranges->count++] = (struct iovec){.iov_base = (void *)at, .iov_len = page_size};
}

static void look_at(int pagemap, uintptr_t start, uintptr_t end, bool writable)
{
    const uint64_t used = writable ? PAGE_PRESENT | PAGE_EXCLUSIVE : PAGE_PRESENT;
    uint64_t entries[BATCH];
    uintptr_t mapped = start; // up to where a page that is only read brings the others along

    while (start < end) {
        size_t want = (end - start) / page_size < BATCH ? (end - start) / page_size : BATCH;
        ssize_t n = pread(pagemap, entries, want * sizeof(entries[0]),
                          (off_t)(start / page_size * sizeof(entries[0])));

        if (n < (ssize_t)sizeof(entries[0]))
            return;
        n /= (ssize_t)sizeof(entries[0]);
        for (ssize_t i = 0; i < n; i++, start += page_size) {
            if ((entries[i] & used) != used || start < mapped)
                continue;
            add_page(writable ? &table->written : &table->read, start);
            if (!writable)
                mapped = (start / AROUND + 1) * AROUND;
        }
    }
}

static uintptr_t hex(const char **p)
{
    uintptr_t v = 0;

    for (;; ++*p) {
        if (**p >= '0' && **p <= '9')
            v = v * 16 + (uintptr_t)(**p - '0');
        else if (**p >= 'a' && **p <= 'f')
            v = v * 16 + (uintptr_t)(**p - 'a' + 10);
        else
            return v;
    }
}

// "55d0-55e0 rw-p ...": all that is private. The child is about to end: whatever this
// does to its memory matters no more.
__attribute__((destructor)) static void record(void)
{
    _cleanup_free_ char *maps = NULL;
    _cleanup_fd_ int pagemap = -1;

    if (!learning)
        return;
    pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap < 0 || fd_read_file(AT_FDCWD, "/proc/self/maps", MAPS_BYTES, &maps, NULL) < 0)
        return;
    for (const char *p = maps; *p != '\0';) {
        uintptr_t start = hex(&p);
        uintptr_t end;

        p += *p == '-';
        end = hex(&p);
        if (p[0] == ' ' && p[1] == 'r' && p[4] == 'p')
            look_at(pagemap, start, end, p[2] == 'w');
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
}

static int count_libraries(struct dl_phdr_info *info, size_t size, void *arg)
{
    unsigned long long *count = arg;

    (void)size;
    *count = info->dlpi_adds;
    return 1;
}

void csb_zygote_learn(void)
{
    void *at =
        mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        return;
    // Now, and not when the first program is asked for: what it leaves of the heap is then the same
    // for the example and for all programs.
    (void)jail_prepare(JAIL_SECCOMP_RUN);
    table = at;
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)dl_iterate_phdr(count_libraries, &libraries);
    learning = true;
}

// Libraries that were there before the program have nothing to undo that the kernel does not, and
// have it done on a page of memory each.
void csb_zygote_leave(int status)
{
    unsigned long long now = 0;

    (void)dl_iterate_phdr(count_libraries, &now);
    if (now != libraries)
        exit(status);
    (void)fflush(NULL);
    record();
    _exit(status);
}

static bool is_mapped(const struct iovec *range)
{
    unsigned char seen[BATCH];
    const size_t step = sizeof(seen) * page_size;

    for (size_t at = 0; at < range->iov_len; at += step) {
        size_t rest = range->iov_len - at;

        if (mincore((char *)range->iov_base + at, rest < step ? rest : step, seen) < 0)
            return false;
    }
    return true;
}

static void drop_unmapped(struct ranges *ranges)
{
    size_t kept = 0;

    for (size_t i = 0; i < ranges->count; i++)
        if (is_mapped(&ranges->at[i]))
            ranges->at[kept++] = ranges->at[i];
    ranges->count = kept;
}

// What the child mapped for itself is not there in the programs: the first such range would end the
// one call that copies all (see advise()).
void zygote_pages_learned(void)
{
    learning = false;
    if (table == NULL)
        return;
    drop_unmapped(&table->written);
    drop_unmapped(&table->read);
}

// All in one call where the kernel does that of a process for itself. It stops at a range that is
// not mapped here; that one, or a kernel that cannot do this at all, costs nothing but the call.
static void advise(const struct ranges *ranges, int advice)
{
    long done = syscall(SYS_process_madvise, PIDFD_OF_SELF, ranges->at, ranges->count, advice, 0u);
    size_t next = 0;

    for (; done > 0 && next < ranges->count; next++)
        done -= (long)ranges->at[next].iov_len;
    for (; next < ranges->count; next++)
        (void)madvise(ranges->at[next].iov_base, ranges->at[next].iov_len, advice);
}

void zygote_pages_copy(void)
{
    if (table == NULL)
        return;
    advise(&table->written, MADV_POPULATE_WRITE);
    advise(&table->read, MADV_POPULATE_READ);
    (void)munmap(table, sizeof(*table));
    table = NULL;
}
