// SPDX-License-Identifier: Apache-2.0
//
// What a sandbox uses. A virtual machine's kernel tells in /proc; whoever is jailed would find the
// host's figures there, so his are those of the control group that his limits are in.
#include "agent/envd/init.h"
#include "base/clock.h"
#include "base/fd.h"
#include "json/write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define JSON_TYPE "application/json; charset=utf-8"
#define GROUP     "/sys/fs/cgroup/"

struct memory {
    uint64_t total, used, cache; // bytes
};

// The number after `key` in the text, or 0.
static uint64_t number_after(const char *text, const char *key)
{
    const char *at = strstr(text, key);

    return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10);
}

static int read_meminfo(struct memory *ret)
{
    _cleanup_free_ char *text = NULL;
    int r = fd_read_file(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL);
    uint64_t free_bytes;

    if (r < 0)
        return r;
    ret->total = number_after(text, "MemTotal:") * 1024;
    ret->cache = (number_after(text, "\nCached:") + number_after(text, "Buffers:")) * 1024;
    free_bytes = number_after(text, "MemFree:") * 1024;
    ret->used = ret->total > free_bytes + ret->cache ? ret->total - free_bytes - ret->cache : 0;
    return 0;
}

// A file of the control group that holds one number, by its name in version 2, else in version 1. A
// word, such as "max", is no number.
static bool read_group(const char *v2, const char *v1, uint64_t *ret)
{
    _cleanup_free_ char *text = NULL;

    if (fd_read_file(AT_FDCWD, v2, 64, &text, NULL) < 0 &&
        fd_read_file(AT_FDCWD, v1, 64, &text, NULL) < 0)
        return false;
    if (text[0] < '0' || text[0] > '9')
        return false;
    *ret = strtoull(text, NULL, 10);
    return true;
}

// The kernel does not read its counters at one moment.
static uint64_t less(uint64_t from, uint64_t what)
{
    return from > what ? from - what : 0;
}

// False where no control group tells.
static bool read_group_memory(struct memory *ret)
{
    _cleanup_free_ char *text = NULL;
    struct memory host, m = {0};

    if (!read_group(GROUP "memory.current", GROUP "memory/memory.usage_in_bytes", &m.used) ||
        read_meminfo(&host) < 0)
        return false;
    if (!read_group(GROUP "memory.max", GROUP "memory/memory.limit_in_bytes", &m.total) ||
        m.total > host.total)
        m.total = host.total;
    // What was written to the disk is in memory, too, and stays until it is removed.
    if (fd_read_file(AT_FDCWD, GROUP "memory.stat", 65536, &text, NULL) == 0)
        m.cache = less(number_after(text, "\nfile "), number_after(text, "\nshmem "));
    else if (fd_read_file(AT_FDCWD, GROUP "memory/memory.stat", 65536, &text, NULL) == 0)
        m.cache = less(number_after(text, "\ntotal_cache "), number_after(text, "\ntotal_shmem "));
    if (m.cache > m.used)
        m.cache = m.used;
    m.used -= m.cache;
    *ret = m;
    return true;
}

// Processor time of the control group so far.
static bool read_group_cpu(uint64_t *ret_ns)
{
    _cleanup_free_ char *text = NULL;

    if (fd_read_file(AT_FDCWD, GROUP "cpu.stat", 4096, &text, NULL) == 0) {
        *ret_ns = number_after(text, "usage_usec ") * (NS_PER_MS / 1000);
        return true;
    }
    return read_group(GROUP "cpuacct/cpuacct.usage", GROUP "cpuacct/cpuacct.usage", ret_ns);
}

// Busy and total time of all processors, in ticks.
static bool read_proc_stat(uint64_t *ret_busy, uint64_t *ret_total)
{
    _cleanup_free_ char *text = NULL;
    uint64_t f[8] = {0};
    uint64_t total = 0;

    if (fd_read_file(AT_FDCWD, "/proc/stat", 1u << 20, &text, NULL) < 0 ||
        sscanf(text,
               "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %" SCNu64,
               &f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6], &f[7]) != 8)
        return false;
    for (int i = 0; i < 8; i++)
        total += f[i];
    *ret_busy = total - f[3] - f[4];
    *ret_total = total;
    return true;
}

// Percent of all CPUs that was used since the call before, as E2B counts: 100 is all of them.
static double cpu_percent(struct envd *e, long cpus)
{
    uint64_t busy, total;
    double percent = 0;

    if (e->agent->config.jailed && read_group_cpu(&busy))
        total = clock_mono_ns() * (uint64_t)cpus;
    else if (!read_proc_stat(&busy, &total))
        return 0;
    if (total > e->cpu_total && busy >= e->cpu_busy)
        percent = 100.0 * (double)(busy - e->cpu_busy) / (double)(total - e->cpu_total);
    e->cpu_total = total;
    e->cpu_busy = busy;
    return percent;
}

void init_metrics(struct call *c)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct statvfs disk = {0};
    struct memory mem;
    int r = 0;

    if (!c->envd->agent->config.jailed || !read_group_memory(&mem))
        r = read_meminfo(&mem);
    if (r == 0 && statvfs("/", &disk) < 0)
        r = -errno;
    if (r < 0) {
        call_fail(c, 500, "%s", strerror(-r));
        return;
    }
    json_open(&out, NULL, '{');
    json_put_u64(&out, "ts", clock_real_ns() / NS_PER_S);
    json_put_i64(&out, "cpu_count", cpus);
    json_put_double(&out, "cpu_used_pct", cpu_percent(c->envd, cpus));
    json_put_u64(&out, "mem_total", mem.total);
    json_put_u64(&out, "mem_used", mem.used);
    json_put_u64(&out, "mem_cache", mem.cache);
    json_put_u64(&out, "mem_total_mib", mem.total >> 20);
    json_put_u64(&out, "mem_used_mib", mem.used >> 20);
    json_put_u64(&out, "disk_used", (disk.f_blocks - disk.f_bfree) * disk.f_frsize);
    json_put_u64(&out, "disk_total", disk.f_blocks * disk.f_frsize);
    json_close(&out, '}');
    if (out.failed)
        call_reset(c);
    else
        call_answer(c, 200, JSON_TYPE, text.data, text.len);
}
