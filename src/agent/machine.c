// SPDX-License-Identifier: Apache-2.0
//
// Identity and description of the machine.
#include "agent/machine.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/agent_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define ENTROPY_BYTES 64
#define HOSTS         "/etc/hosts"
#define HOSTS_MAX     65536
#define HOSTS_ADDRESS "127.0.1.1"

struct sync_request {
    uint64_t time_ns;
    uint8_t entropy[ENTROPY_BYTES];
    const char *hostname;
    const char *machine_id;
};

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool from_hex(const char *text, uint8_t *ret, size_t bytes)
{
    if (text == NULL || strlen(text) != 2 * bytes)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static int decode(const json_t *doc, struct sync_request *ret, struct err *err)
{
    uint8_t id[16];
    const json_t *time = json_object_get(doc, "time_ns");

    if (!json_is_integer(time) || json_integer_value(time) < 0)
        return err_field(err, ERR_INVALID, "time_ns", "time_ns must be an integer");
    ret->time_ns = (uint64_t)json_integer_value(time);
    if (!from_hex(json_string_value(json_object_get(doc, "entropy")), ret->entropy, ENTROPY_BYTES))
        return err_field(err, ERR_INVALID, "entropy", "entropy must be %d hex digits",
                         2 * ENTROPY_BYTES);
    ret->hostname = json_string_value(json_object_get(doc, "hostname"));
    if (ret->hostname == NULL || ret->hostname[0] == '\0' || strlen(ret->hostname) > 63 ||
        strspn(ret->hostname, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(ret->hostname))
        return err_field(err, ERR_INVALID, "hostname", "hostname is not a host name");
    ret->machine_id = json_string_value(json_object_get(doc, "machine_id"));
    if (!from_hex(ret->machine_id, id, sizeof(id)))
        return err_field(err, ERR_INVALID, "machine_id", "machine_id must be 32 hex digits");
    return 0;
}

// Credits the bytes to the kernel's generator and makes it draw its key anew, so that nothing the
// template's generator would have produced is produced here.
static int add_entropy(const uint8_t *bytes, struct err *err)
{
    struct {
        struct rand_pool_info info;
        uint8_t data[ENTROPY_BYTES];
    } pool = {.info = {.entropy_count = ENTROPY_BYTES * 8, .buf_size = ENTROPY_BYTES}};
    _cleanup_fd_ int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

    memcpy(pool.data, bytes, ENTROPY_BYTES);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
        return err_sys(err, errno, "reseed the random generator");
    return 0;
}

static int write_line(const char *path, const char *text, struct err *err)
{
    char line[80];
    int n = snprintf(line, sizeof(line), "%s\n", text);
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    int rc = fd < 0 ? -errno : fd_write_all(fd, line, (size_t)n);

    return rc < 0 ? err_sys(err, rc, "write %s", path) : 0;
}

// A machine that does not find its own name makes sudo wait and complain, and programs fail that
// look themselves up. The line of the name before is replaced, and all else stays. Without a word
// when it cannot be: the owner of a sandbox may have made anything of the file.
static void name_in_hosts(const char *before, const char *name)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_buf_ struct buf out = BUF_INIT;
    _cleanup_fd_ int fd = -1;
    char old[80];
    const char *at;
    size_t len, head, skip = 0;

    if (fd_read_file(AT_FDCWD, HOSTS, HOSTS_MAX, &text, &len) < 0)
        return;
    (void)snprintf(old, sizeof(old), HOSTS_ADDRESS "\t%s\n", before);
    at = strstr(text, old);
    if (at != NULL)
        skip = strlen(old);
    head = at != NULL ? (size_t)(at - text) : len;
    if (buf_append(&out, text, head) < 0 ||
        (head > 0 && text[head - 1] != '\n' && buf_append(&out, "\n", 1) < 0) ||
        buf_appendf(&out, HOSTS_ADDRESS "\t%s\n", name) < 0 ||
        buf_append(&out, text + head + skip, len - head - skip) < 0)
        return;
    fd = open(HOSTS, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0)
        (void)fd_write_all(fd, out.data, out.len);
}

static int apply(const struct sync_request *r, struct err *err)
{
    struct timespec ts = clock_to_timespec(r->time_ns);
    struct utsname uts;

    if (add_entropy(r->entropy, err) < 0)
        return -1;
    if (clock_settime(CLOCK_REALTIME, &ts) < 0)
        return err_sys(err, errno, "set the clock");
    (void)uname(&uts); // cannot fail with this argument
    if (sethostname(r->hostname, strlen(r->hostname)) < 0)
        return err_sys(err, errno, "set the host name");
    name_in_hosts(uts.nodename, r->hostname);
    if (write_line("/etc/hostname", r->hostname, err) < 0)
        return -1;
    return write_line("/etc/machine-id", r->machine_id, err);
}

int machine_sync(const char *text, size_t len, bool own, struct err *err)
{
    struct sync_request request;
    json_error_t jerr;
    json_t *doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, &jerr);
    int rc = 0;

    if (!json_is_object(doc))
        rc = err_set(err, ERR_INVALID, "not a JSON object");
    else if (decode(doc, &request, err) < 0)
        rc = -1;
    else if (own)
        rc = apply(&request, err);
    json_decref(doc);
    return rc;
}

// The number after `key` in the text of /proc/meminfo, in bytes.
static uint64_t meminfo_bytes(const char *text, const char *key)
{
    const char *at = strstr(text, key);

    return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10) * 1024;
}

char *machine_stats(void)
{
    _cleanup_free_ char *meminfo = NULL;
    _cleanup_free_ char *cmdline = NULL;
    struct utsname uts;
    struct timespec up = {0};
    size_t len = 0;

    uname(&uts);
    clock_gettime(CLOCK_BOOTTIME, &up);
    if (fd_read_file(AT_FDCWD, "/proc/meminfo", 65536, &meminfo, &len) < 0 ||
        fd_read_file(AT_FDCWD, "/proc/cmdline", 8192, &cmdline, &len) < 0)
        return NULL;
    cmdline[strcspn(cmdline, "\n")] = '\0';
    json_t *doc = json_pack(
        "{s:I, s:I, s:I, s:s, s:s, s:I, s:s, s:i}", "cpu_count",
        (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory_total_bytes",
        (json_int_t)meminfo_bytes(meminfo, "MemTotal:"), "memory_available_bytes",
        (json_int_t)meminfo_bytes(meminfo, "MemAvailable:"), "kernel", uts.release, "cmdline",
        cmdline, "uptime_ms", (json_int_t)up.tv_sec * 1000 + up.tv_nsec / 1000000, "agent",
        CSB_VERSION, "protocol", AGENT_PROTOCOL);
    char *text = doc == NULL ? NULL : json_dumps(doc, JSON_COMPACT);
    json_decref(doc);
    return text;
}
