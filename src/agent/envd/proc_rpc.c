// SPDX-License-Identifier: Apache-2.0
//
// The methods of process.Process that take one message.
#include "agent/envd/path.h"
#include "agent/envd/proc.h"
#include "base/fd.h"
#include "json/write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIZE_MAX_CELLS 4096 // of a terminal, either way
#define COLUMNS        80
#define ROWS           24

// What Start asks for. Strings are of the message's tree.
struct start {
    struct user user;
    const char **argv;
    const char **envp;
    const char *cwd; // as it was asked for
    const char *tag;
    char dir[PATH_MAX];
    char *config;
    struct proc_spec spec;
};

static void start_release(struct start *s)
{
    free(s->argv);
    proc_env_free(s->envp);
    free(s->config);
}

// argv of `cmd` and `args`; the strings stay the tree's.
static int read_argv(const struct json_in *process, struct start *s, struct rpc_error *e)
{
    struct err err = ERR_INIT;
    size_t count = json_count(process, "args");
    const char *cmd;

    if (rpc_get_text(process, "cmd", NULL, &cmd, e) < 0)
        return -1;
    if (cmd[0] == '\0')
        return rpc_set(e, RPC_INVALID_ARGUMENT, "process.cmd is missing");
    s->argv = calloc(count + 2, sizeof(*s->argv));
    if (s->argv == NULL)
        return rpc_set(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
    s->argv[0] = cmd;
    for (size_t i = 0; i < count; i++) {
        struct json_str arg = {.data = ""};
        if (json_item_text(process, "args", i, &arg, &err) < 0)
            return rpc_set(e, RPC_INVALID_ARGUMENT, "%s", err.message);
        s->argv[i + 1] = arg.data;
    }
    return 0;
}

static int find_dir(const struct envd *e, struct start *s, struct rpc_error *err)
{
    struct stat st;

    if (path_resolve(&s->user, e->workdir, s->cwd, s->dir) < 0)
        return rpc_set(err, RPC_INVALID_ARGUMENT, "invalid cwd '%s'", s->cwd);
    if (stat(s->dir, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    if (s->cwd[0] != '\0' || e->workdir != NULL)
        return rpc_set(err, RPC_INVALID_ARGUMENT, "cwd '%s' does not exist", s->dir);
    memcpy(s->dir, "/", 2); // a user without a home
    return 0;
}

static int clamp(uint32_t value, uint16_t fallback, uint16_t *ret)
{
    *ret = value == 0 ? fallback : (uint16_t)(value > SIZE_MAX_CELLS ? SIZE_MAX_CELLS : value);
    return 0;
}

// The size in the message's `pty`; *ret_present tells whether there is a `pty`.
static int read_size(const struct json_in *in, uint16_t *ret_columns, uint16_t *ret_rows,
                     bool *ret_present, struct rpc_error *e)
{
    struct json_in pty = {0}, size = {0};
    uint32_t columns = 0, rows = 0;

    if (rpc_get_object(in, "pty", &pty, e) < 0)
        return -1;
    *ret_present = pty.object != NULL;
    if (pty.object != NULL && rpc_get_object(&pty, "size", &size, e) < 0)
        return -1;
    if (size.object != NULL &&
        (rpc_get_u32(&size, "cols", &columns, e) < 0 || rpc_get_u32(&size, "rows", &rows, e) < 0))
        return -1;
    (void)clamp(columns, COLUMNS, ret_columns);
    return clamp(rows, ROWS, ret_rows);
}

static int put_env(void *arg, const struct json_in *in, const char *key, struct err *err)
{
    struct json_str value = {.data = ""};

    if (json_get_text(in, key, &value, err) < 0)
        return -1;
    json_put_str(arg, key, value.data);
    return 0;
}

// The ProcessConfig as List tells it.
static char *config_text(const struct start *s, const struct json_in *envs)
{
    struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    struct err err = ERR_INIT;

    json_open(&out, NULL, '{');
    json_put_str(&out, "cmd", s->argv[0]);
    json_open(&out, "args", '[');
    for (const char **a = s->argv + 1; *a != NULL; a++)
        json_put_str(&out, NULL, *a);
    json_close(&out, ']');
    json_open(&out, "envs", '{');
    if (envs->object != NULL)
        (void)json_each(envs, put_env, &out, &err); // they were read before
    json_close(&out, '}');
    if (s->cwd[0] != '\0')
        json_put_str(&out, "cwd", s->cwd);
    json_close(&out, '}');
    if (!out.failed && buf_cstr(&text) != NULL)
        return (char *)text.data;
    buf_release(&text);
    return NULL;
}

static int read_start(const struct call *c, const struct json_in *in, struct start *s,
                      struct rpc_error *e)
{
    struct json_in process = {0}, envs = {0};

    s->spec.input = true;
    if (rpc_user(c, &s->user, e) < 0 || rpc_get_object(in, "process", &process, e) < 0)
        return -1;
    if (process.object == NULL)
        return rpc_set(e, RPC_INVALID_ARGUMENT, "process is missing");
    if (read_argv(&process, s, e) < 0 || rpc_get_object(&process, "envs", &envs, e) < 0 ||
        rpc_get_text(&process, "cwd", NULL, &s->cwd, e) < 0 ||
        rpc_get_text(in, "tag", NULL, &s->tag, e) < 0 ||
        rpc_get_bool(in, "stdin", NULL, &s->spec.input, e) < 0 ||
        read_size(in, &s->spec.columns, &s->spec.rows, &s->spec.terminal, e) < 0 ||
        find_dir(c->envd, s, e) < 0)
        return -1;
    if (strlen(s->tag) > PROC_TAG_MAX)
        return rpc_set(e, RPC_INVALID_ARGUMENT, "tag is longer than %d bytes", PROC_TAG_MAX);
    s->envp = proc_env_make(c->envd, &s->user, &envs, e);
    if (s->envp == NULL)
        return -1;
    s->config = config_text(s, &envs);
    s->spec.argv = s->argv;
    s->spec.envp = s->envp;
    s->spec.cwd = s->dir;
    s->spec.user = &s->user;
    return 0;
}

static void send_start(struct call *c, pid_t pid)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "{\"event\":{\"start\":{\"pid\":%d}}}", (int)pid);
    rpc_begin(c);
    rpc_send(c, text);
}

static int start(struct call *c, struct start *s, struct rpc_error *e)
{
    struct proc *p;

    if (proc_start(c->envd, &s->spec, &p, e) < 0)
        return -1;
    p->config = s->config;
    s->config = NULL;
    p->tag = s->tag[0] == '\0' ? NULL : strdup(s->tag);
    if (proc_subscribe(p, c, &p->starter, e) < 0) {
        proc_free(p);
        return -1;
    }
    proc_set_deadline(p, call_timeout_ms(c));
    send_start(c, p->pid);
    proc_listen(p);
    return 0;
}

void proc_rpc_start(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct start *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        call_reset(c);
        return;
    }
    if (read_start(c, in, s, &e) < 0 || start(c, s, &e) < 0)
        rpc_fail(c, &e);
    start_release(s);
    free(s);
}

struct proc *proc_select(const struct envd *e, const struct json_in *in, struct rpc_error *err)
{
    struct json_in selector = {0};
    const char *tag;
    uint32_t pid = 0;
    struct proc *p;

    if (rpc_get_object(in, "process", &selector, err) < 0)
        return NULL;
    if (selector.object == NULL || json_count(in, "process") == 0) {
        (void)rpc_set(err, RPC_INVALID_ARGUMENT, "process is missing");
        return NULL;
    }
    if (rpc_get_u32(&selector, "pid", &pid, err) < 0 ||
        rpc_get_text(&selector, "tag", NULL, &tag, err) < 0)
        return NULL;
    p = tag[0] != '\0' ? proc_find_tag(e, tag) : proc_find_pid(e, (pid_t)pid);
    if (p == NULL && tag[0] != '\0')
        (void)rpc_set(err, RPC_NOT_FOUND, "process with tag '%s' not found", tag);
    else if (p == NULL)
        (void)rpc_set(err, RPC_NOT_FOUND, "process with pid %u not found", pid);
    return p;
}

// As proc_select(), for what ended ones cannot do.
static struct proc *select_live(const struct envd *e, const struct json_in *in,
                                struct rpc_error *err)
{
    struct proc *p = proc_select(e, in, err);

    if (p == NULL || p->state != PROC_ENDED)
        return p;
    (void)rpc_set(err, RPC_NOT_FOUND, "process with pid %d not found", (int)p->pid);
    return NULL;
}

void proc_rpc_connect(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct proc *p = proc_select(c->envd, in, &e);

    if (p == NULL || (p->state != PROC_ENDED && proc_subscribe(p, c, NULL, &e) < 0)) {
        rpc_fail(c, &e);
        return;
    }
    send_start(c, p->pid);
    if (p->state != PROC_ENDED)
        return;
    if (p->end != NULL)
        rpc_send(c, p->end);
    rpc_end(c);
}

void proc_rpc_list(struct call *c, const struct json_in *in)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};

    (void)in;
    json_open(&out, NULL, '{');
    json_open(&out, "processes", '[');
    for (const struct proc *p = c->envd->procs; p != NULL; p = p->next) {
        if (p->state == PROC_ENDED)
            continue;
        json_open(&out, NULL, '{');
        json_put_raw(&out, "config", p->config == NULL ? "{}" : p->config);
        json_put_i64(&out, "pid", p->pid);
        if (p->tag != NULL)
            json_put_str(&out, "tag", p->tag);
        json_close(&out, '}');
    }
    json_close(&out, ']');
    json_close(&out, '}');
    if (out.failed)
        call_reset(c);
    else
        rpc_reply(c, &text);
}

static int update(const struct proc *p, const struct json_in *in, struct rpc_error *e)
{
    uint16_t columns, rows;
    bool present;
    int rc;

    if (read_size(in, &columns, &rows, &present, e) < 0)
        return -1;
    if (!present)
        return 0;
    if (!p->terminal || p->out_fd[0] < 0)
        return rpc_set(e, RPC_INTERNAL, "the process has no terminal");
    rc = proc_resize((struct proc *)(uintptr_t)p, columns, rows);
    return rc < 0 ? rpc_set_sys(e, rc, "resize the terminal") : 0;
}

void proc_rpc_update(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct proc *p = select_live(c->envd, in, &e);

    if (p == NULL || update(p, in, &e) < 0)
        rpc_fail(c, &e);
    else
        rpc_reply_empty(c);
}

static void on_input_done(void *owner, const struct rpc_error *e)
{
    struct call *c = owner;

    c->ops = NULL;
    if (e != NULL)
        rpc_fail(c, e);
    else
        rpc_reply_empty(c);
}

static void on_input_close(struct call *c)
{
    proc_input_forget(c->envd, c);
}

static const struct call_ops input_ops = {.close = on_input_close};

static int send_input(struct call *c, const struct proc_message *m, struct rpc_error *e)
{
    _cleanup_buf_ struct buf data = BUF_INIT;
    struct json_in in = json_top(m->tree);
    struct proc *p = select_live(c->envd, &in, e);

    if (p == NULL || proc_message_input(m, p, &in, &data, e) < 0)
        return -1;
    c->ops = &input_ops;
    proc_input_write(p, c, &data, on_input_done);
    return 0;
}

void proc_rpc_send_input(struct call *c)
{
    struct proc_message m = {0};
    struct rpc_error e = RPC_ERROR_INIT;

    if (rpc_check_size(c, &e) < 0 || proc_message_read(c->body.data, c->body.len, &m, &e) < 0 ||
        send_input(c, &m, &e) < 0)
        rpc_fail(c, &e);
    json_free(&m.tree);
}

// The enumeration by name or number.
static int read_signal(const struct json_in *in, int *ret, struct rpc_error *e)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"SIGNAL_SIGKILL", SIGKILL}, {"SIGNAL_SIGTERM", SIGTERM}};
    const char *name = "";
    uint32_t number = 0;

    if (json_kind(in, "signal") == JSON_KIND_NUMBER) {
        if (rpc_get_u32(in, "signal", &number, e) < 0)
            return -1;
    } else if (rpc_get_text(in, "signal", NULL, &name, e) < 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (strcmp(name, signals[i].name) != 0 && number != (uint32_t)signals[i].number)
            continue;
        *ret = signals[i].number;
        return 0;
    }
    return rpc_set(e, RPC_UNIMPLEMENTED, "signal '%.32s' is not supported", name);
}

void proc_rpc_send_signal(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct proc *p = select_live(c->envd, in, &e);
    int sig;
    int rc;

    if (p == NULL || read_signal(in, &sig, &e) < 0) {
        rpc_fail(c, &e);
        return;
    }
    rc = proc_signal(p, sig); // it may be gone now
    if (rc < 0 && rc != -ESRCH) {
        (void)rpc_set_sys(&e, rc, "send the signal");
        rpc_fail(c, &e);
    } else {
        rpc_reply_empty(c);
    }
}

void proc_rpc_close_stdin(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct proc *p = select_live(c->envd, in, &e);

    if (p != NULL && p->terminal) {
        (void)rpc_set(&e, RPC_UNKNOWN,
                      "the process has a terminal, whose input is ended by its "
                      "end-of-file character");
        p = NULL;
    }
    if (p == NULL) {
        rpc_fail(c, &e);
        return;
    }
    proc_input_close(p);
    rpc_reply_empty(c);
}
