// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/init.h"

#include "agent/envd/rpc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "json/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
