// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/init.h"

#include "agent/envd/rpc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "json/write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define JSON_TYPE      "application/json; charset=utf-8"
#define AGENT_PRIORITY (-15)
#define VARIABLES      "/run/csb.variables"

void init_health(struct call *c)
{
    call_answer(c, 204, NULL, NULL, 0);
}

struct variables {
    char **list;
    size_t count;
};

static void free_variables(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        free(list[i]);
    free(list);
}

static int add_variable(void *arg, const struct json_in *in, const char *key, struct err *err)
{
    struct variables *v = arg;
    struct json_str value = {.data = ""};

    if (key[0] == '\0' || strchr(key, '=') != NULL)
        return err_set(err, ERR_INVALID, "'%.64s' is not a variable's name", key);
    if (json_get_text(in, key, &value, err) < 0)
        return -1;
    if (asprintf(&v->list[v->count], "%s=%s", key, value.data) < 0) {
        v->list[v->count] = NULL;
        return err_set(err, ERR_INTERNAL, "out of memory");
    }
    v->count++;
    return 0;
}

static int read_variables(const struct json_in *in, struct variables *ret, struct err *err)
{
    struct json_in envs = {0};

    if (json_get_object(in, "envVars", &envs, err) < 0)
        return -1;
    if (envs.object == NULL)
        return 0;
    ret->list = calloc(json_count(in, "envVars") + 1, sizeof(char *));
    if (ret->list == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    return json_each(&envs, add_variable, ret, err);
}

static int apply(struct envd *e, const struct json_in *in, struct err *err)
{
    struct variables v = {0};
    struct json_str user = {0}, dir = {0};
    char *copy = NULL;

    if (json_get_text(in, "defaultUser", &user, err) < 0 ||
        json_get_text(in, "defaultWorkdir", &dir, err) < 0)
        return -1;
    if (user.len > USER_NAME_MAX)
        return err_set(err, ERR_INVALID, "defaultUser is too long");
    if (dir.data != NULL && dir.len > 0 && (copy = strdup(dir.data)) == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (read_variables(in, &v, err) < 0) {
        free_variables(v.list);
        free(copy);
        return -1;
    }
    if (user.len > 0)
        memcpy(e->user, user.data, user.len + 1);
    if (copy != NULL) {
        free(e->workdir);
        e->workdir = copy;
    }
    if (v.list != NULL) {
        free_variables(e->env);
        e->env = v.list;
    }
    return 0;
}

static int write_variables(const struct envd *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;

    for (char **v = e->env; v != NULL && *v != NULL; v++)
        if (buf_append(&text, *v, strlen(*v) + 1) < 0)
            return -ENOMEM;
    (void)unlink(VARIABLES ".new");
    _cleanup_fd_ int fd =
        open(VARIABLES ".new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    int rc = fd_write_all(fd, text.data, text.len);
    if (rc < 0)
        return rc;
    return rename(VARIABLES ".new", VARIABLES) < 0 ? -errno : 0;
}

// For programs that ran before the sandbox had variables, the code interpreter above all
// (runtimes/contexts): they are in a file, too, as NAME=VALUE with a NUL after each.
static void publish_variables(const struct envd *e)
{
    int rc = write_variables(e);

    if (rc < 0)
        log_warn("%s: %s", VARIABLES, strerror(-rc));
}

void init_init(struct call *c)
{
    struct json_t *tree = NULL;
    struct err err = ERR_INIT;
    const char *text = c->body.len == 0 ? "{}" : (const char *)c->body.data;
    size_t len = c->body.len == 0 ? 2 : c->body.len;
    int rc = c->too_large ? err_set(&err, ERR_TOO_LARGE, "the body is too large")
                          : json_read("body", text, len, &tree, &err);

    if (rc == 0) {
        struct json_in in = json_top(tree);
        rc = apply(c->envd, &in, &err);
        if (rc == 0 && (c->envd->agent->config.vm || c->envd->agent->config.jailed))
            publish_variables(c->envd);
    }
    json_free(&tree);
    if (rc < 0)
        call_fail(c, err.code == ERR_INTERNAL ? 500 : 400, "%s", err.message);
    else
        call_answer(c, 204, NULL, NULL, 0);
}

void init_envs(struct call *c)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};

    json_open(&out, NULL, '{');
    for (char **v = c->envd->env; v != NULL && *v != NULL; v++) {
        size_t len = strcspn(*v, "=");
        _cleanup_free_ char *name = strndup(*v, len);
        if (name != NULL)
            json_put_str(&out, name, *v + len + 1);
    }
    json_close(&out, '}');
    if (out.failed)
        call_reset(c);
    else
        call_answer(c, 200, JSON_TYPE, text.data, text.len);
}

// The number after `key` in the text of /proc/meminfo, in bytes.
static uint64_t meminfo(const char *text, const char *key)
{
    const char *at = strstr(text, key);

    return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10) * 1024;
}

// Percent of all CPUs that was used since the call before, as E2B counts: 100 is all of them.
static double cpu_percent(struct envd *e)
{
    _cleanup_free_ char *text = NULL;
    uint64_t f[8] = {0};
    uint64_t total = 0, busy;
    double percent = 0;

    if (fd_read_file(AT_FDCWD, "/proc/stat", 1u << 20, &text, NULL) < 0 ||
        sscanf(text,
               "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %" SCNu64,
               &f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6], &f[7]) != 8)
        return 0;
    for (int i = 0; i < 8; i++)
        total += f[i];
    busy = total - f[3] - f[4];
    if (total > e->cpu_total && busy >= e->cpu_busy)
        percent = 100.0 * (double)(busy - e->cpu_busy) / (double)(total - e->cpu_total);
    e->cpu_total = total;
    e->cpu_busy = busy;
    return percent;
}

void init_metrics(struct call *c)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_free_ char *mem = NULL;
    struct json_out out = {.buf = &text};
    struct statvfs disk = {0};

    if (fd_read_file(AT_FDCWD, "/proc/meminfo", 65536, &mem, NULL) < 0 || statvfs("/", &disk) < 0) {
        call_fail(c, 500, "%s", strerror(errno));
        return;
    }
    uint64_t total = meminfo(mem, "MemTotal:"), free_bytes = meminfo(mem, "MemFree:");
    uint64_t cache = meminfo(mem, "\nCached:") + meminfo(mem, "Buffers:");
    uint64_t used = total > free_bytes + cache ? total - free_bytes - cache : 0;
    json_open(&out, NULL, '{');
    json_put_u64(&out, "ts", clock_real_ns() / NS_PER_S);
    json_put_i64(&out, "cpu_count", sysconf(_SC_NPROCESSORS_ONLN));
    json_put_double(&out, "cpu_used_pct", cpu_percent(c->envd));
    json_put_u64(&out, "mem_total", total);
    json_put_u64(&out, "mem_used", used);
    json_put_u64(&out, "mem_cache", cache);
    json_put_u64(&out, "mem_total_mib", total >> 20);
    json_put_u64(&out, "mem_used_mib", used >> 20);
    json_put_u64(&out, "disk_used", (disk.f_blocks - disk.f_bfree) * disk.f_frsize);
    json_put_u64(&out, "disk_total", disk.f_blocks * disk.f_frsize);
    json_close(&out, '}');
    if (out.failed)
        call_reset(c);
    else
        call_answer(c, 200, JSON_TYPE, text.data, text.len);
}

void init_prepare_machine(void)
{
    static const struct {
        const char *type, *target, *options;
        mode_t mode;
        unsigned long flags;
    } mounts[] = {
        {"devpts", "/dev/pts", "gid=5,mode=0620,ptmxmode=0666", 0755, MS_NOSUID | MS_NOEXEC},
        {"tmpfs", "/dev/shm", "mode=1777,size=50%", 01777, MS_NOSUID | MS_NODEV},
    };
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"},
        {"/proc/self/fd/0", "/dev/stdin"},
        {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"},
    };

    for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
        (void)mkdir(mounts[i].target, mounts[i].mode);
        if (mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags,
                  mounts[i].options) < 0 &&
            errno != EBUSY)
            log_warn("mount %s: %s", mounts[i].target, strerror(errno));
    }
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            log_warn("link %s: %s", links[i][1], strerror(errno));
    // When memory is out, a program is to go and not the agent; and many that run are not to keep
    // the agent from running. Programs get the ordinary values back.
    (void)fd_write_file(AT_FDCWD, "/proc/self/oom_score_adj", "-999");
    (void)setpriority(PRIO_PROCESS, 0, AGENT_PRIORITY);
}
