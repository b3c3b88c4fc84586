// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/envd.h"

#include "agent/envd/files.h"
#include "agent/envd/fs.h"
#include "agent/envd/init.h"
#include "agent/envd/proc.h"
#include "agent/envd/watch.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PREFIX       "/envd"
#define DEFAULT_USER "user"

enum route_kind {
    ROUTE_PLAIN,  // its own request and answer; begins when the request is complete
    ROUTE_BODY,   // the same, but takes the body as it comes
    ROUTE_UNARY,  // Connect: a message, a message
    ROUTE_STREAM, // Connect: a message, a stream of them
    ROUTE_INPUT,  // Connect: a stream of messages, one
};

struct route {
    const char *method;
    const char *path;
    enum route_kind kind;
    void (*plain)(struct call *c);
    void (*message)(struct call *c, const struct json_in *in);
};

#define PROCESS    "/process.Process/"
#define FILESYSTEM "/filesystem.Filesystem/"

static const struct route routes[] = {
    {"GET", "/health", ROUTE_PLAIN, init_health, NULL},
    {"GET", "/metrics", ROUTE_PLAIN, init_metrics, NULL},
    {"GET", "/envs", ROUTE_PLAIN, init_envs, NULL},
    {"POST", "/init", ROUTE_PLAIN, init_init, NULL},
    {"GET", "/files", ROUTE_PLAIN, files_download, NULL},
    {"POST", "/files", ROUTE_BODY, files_upload, NULL},
    {"POST", PROCESS "Start", ROUTE_STREAM, NULL, proc_rpc_start},
    {"POST", PROCESS "Connect", ROUTE_STREAM, NULL, proc_rpc_connect},
    {"POST", PROCESS "List", ROUTE_UNARY, NULL, proc_rpc_list},
    {"POST", PROCESS "Update", ROUTE_UNARY, NULL, proc_rpc_update},
    {"POST", PROCESS "StreamInput", ROUTE_INPUT, proc_rpc_stream_input, NULL},
    {"POST", PROCESS "SendInput", ROUTE_UNARY, proc_rpc_send_input, NULL},
    {"POST", PROCESS "SendSignal", ROUTE_UNARY, NULL, proc_rpc_send_signal},
    {"POST", PROCESS "CloseStdin", ROUTE_UNARY, NULL, proc_rpc_close_stdin},
    {"POST", FILESYSTEM "Stat", ROUTE_UNARY, NULL, fs_stat},
    {"POST", FILESYSTEM "MakeDir", ROUTE_UNARY, NULL, fs_make_dir},
    {"POST", FILESYSTEM "Move", ROUTE_UNARY, NULL, fs_move},
    {"POST", FILESYSTEM "ListDir", ROUTE_UNARY, NULL, fs_list_dir},
    {"POST", FILESYSTEM "Remove", ROUTE_UNARY, NULL, fs_remove},
    {"POST", FILESYSTEM "WatchDir", ROUTE_STREAM, NULL, watch_dir},
    {"POST", FILESYSTEM "CreateWatcher", ROUTE_UNARY, NULL, watch_create},
    {"POST", FILESYSTEM "GetWatcherEvents", ROUTE_UNARY, NULL, watch_get_events},
    {"POST", FILESYSTEM "RemoveWatcher", ROUTE_UNARY, NULL, watch_remove},
};

// The route, or NULL with the status that says why: no such path, or no such method for it.
static const struct route *find_route(const char *method, const char *path, size_t len,
                                      int *ret_status)
{
    *ret_status = 404;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strlen(routes[i].path) != len || memcmp(routes[i].path, path, len) != 0)
            continue;
        if (strcmp(routes[i].method, method) == 0)
            return &routes[i];
        *ret_status = 405;
    }
    return NULL;
}

// Whether the request says it is of the route's kind. Connect's kinds differ by their type.
static bool has_right_type(const struct call *c)
{
    const char *type = server_stream_header(c->stream, "content-type");
    const char *want = c->is_stream ? "application/connect+json" : "application/json";
    size_t len = strlen(want);

    if (c->route->kind == ROUTE_PLAIN || c->route->kind == ROUTE_BODY)
        return true;
    return type != NULL && strncasecmp(type, want, len) == 0 &&
           (type[len] == '\0' || type[len] == ';' || type[len] == ' ');
}

static void gather(struct call *c, const uint8_t *data, size_t len)
{
    if (c->finished || c->too_large)
        return;
    if (c->envd->gathered + len > ENVD_GATHERED_MAX || buf_append(&c->body, data, len) < 0) {
        c->too_large = true;
        c->envd->gathered -= c->body.len;
        buf_release(&c->body);
        return;
    }
    c->envd->gathered += len;
}

static void on_body(void *arg, struct server_stream *stream, const uint8_t *data, size_t len)
{
    struct call *c = server_stream_user(stream);

    (void)arg;
    if (c->ops != NULL && c->ops->body != NULL)
        c->ops->body(c, data, len);
    else
        gather(c, data, len);
}

static void serve_message(struct call *c)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct json_t *tree = NULL;

    if (rpc_parse(c, &tree, &e) < 0) {
        rpc_fail(c, &e);
    } else {
        struct json_in in = json_top(tree);
        c->envd->gathered -= c->body.len;
        buf_release(&c->body);
        c->route->message(c, &in);
    }
    json_free(&tree);
}

static void on_end(void *arg, struct server_stream *stream)
{
    struct call *c = server_stream_user(stream);

    (void)arg;
    if (c->ops != NULL && c->ops->end != NULL)
        c->ops->end(c);
    else if (c->begun)
        return;
    else if (c->route->message != NULL)
        serve_message(c);
    else if (c->route->kind == ROUTE_PLAIN || c->route->kind == ROUTE_UNARY)
        c->route->plain(c);
}

static void on_drain(void *arg, struct server_stream *stream)
{
    (void)arg;
    call_drained(server_stream_user(stream));
}

static void on_close(void *arg, struct server_stream *stream)
{
    struct call *c = server_stream_user(stream);

    (void)arg;
    if (c->ops != NULL && c->ops->close != NULL)
        c->ops->close(c);
    if (!c->too_large)
        c->envd->gathered -= c->body.len;
    buf_release(&c->body);
    buf_release(&c->out);
    free(c);
}

static const struct server_callbacks callbacks = {
    .on_body = on_body,
    .on_end = on_end,
    .on_close = on_close,
    .on_drain = on_drain,
};

// For a stream that there is no memory for.
static const struct server_callbacks no_callbacks;

bool envd_takes(const char *path)
{
    return strncmp(path, PREFIX "/", sizeof(PREFIX)) == 0;
}

static struct envd *envd_new(struct agent *agent)
{
    struct envd *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return NULL;
    e->agent = agent;
    e->loop = &agent->loop;
    memcpy(e->user, DEFAULT_USER, sizeof(DEFAULT_USER));
    if (agent->config.vm)
        init_prepare_machine();
    return e;
}

static void begin(struct call *c, const char *method, const char *path)
{
    size_t len = strcspn(path, "?");
    int status;

    c->query = path[len] == '?' ? path + len + 1 : "";
    c->route = find_route(method, path, len, &status);
    if (c->route == NULL) {
        call_fail(c, status, status == 404 ? "no such endpoint" : "no such method");
        return;
    }
    c->is_stream = c->route->kind == ROUTE_STREAM || c->route->kind == ROUTE_INPUT;
    c->body.cap = ENVD_BODY_MAX + RPC_HEADER_BYTES;
    server_stream_set_body_max(c->stream, UINT64_MAX);
    if (!has_right_type(c))
        call_fail(c, 415, "the content type is not the method's");
    else if (c->route->kind == ROUTE_BODY || c->route->kind == ROUTE_INPUT)
        c->route->plain(c);
}

void envd_open(struct agent *agent, struct server_stream *stream, const char *method,
               const char *path)
{
    struct call *c = calloc(1, sizeof(*c));

    if (agent->envd == NULL)
        agent->envd = envd_new(agent);
    if (c == NULL || agent->envd == NULL) {
        free(c);
        server_stream_set_callbacks(stream, &no_callbacks, NULL);
        server_stream_reset(stream);
        return;
    }
    c->envd = agent->envd;
    c->stream = stream;
    server_stream_set_user(stream, c);
    server_stream_set_callbacks(stream, &callbacks, agent);
    begin(c, method, path + sizeof(PREFIX) - 1);
}

void envd_free(struct envd *e)
{
    if (e == NULL)
        return;
    proc_free_all(e);
    while (e->watchers != NULL)
        watch_free(e->watchers);
    cgroup_free(e->cgroup);
    for (char **v = e->env; v != NULL && *v != NULL; v++)
        free(*v);
    free(e->env);
    free(e->workdir);
    free(e);
}
