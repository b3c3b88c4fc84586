// SPDX-License-Identifier: Apache-2.0
//
// How it works: libmicrohttpd calls on_access() on the connection's thread, first with the head,
// then with pieces of the body, then once more at its end. Answers are given at the end, so that a
// client that is still sending gets to read them; a body over the limit is thrown away as it comes,
// up to DRAIN_MAX. An exchange lives until libmicrohttpd reports the request completed and, for a
// streamed answer, until its response object is gone; whichever comes last frees it.
#include "http/server.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "http/head.h"
#include "http/origin.h"
#include "http/router.h"
#include "http/server_internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_MAX  ((uint64_t)64 << 20) // bytes of a refused body read before giving up
#define HEAD_MAX   ((size_t)32 << 10)   // bytes of a request's head, and of one piece of body
#define STOP_MS    5000                 // for upgraded connections, to notice that they are cut
#define QUIESCE_MS 2000                 // for requests that are still arriving, to be told 503
// All bodies held at once may have as many bytes as so many of the largest, and never less than the
// second in bytes, so that small ones do not meet it. A run takes a few times its body in memory.
#define BODIES_MAX      16
#define BODIES_MIN_HELD ((uint64_t)64 << 20)

// Called with the request line, before the headers are there: the only place that tells the query
// as it was sent. What it returns is the exchange that on_access() gets; NULL when memory is out.
static void *on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct http_server *s = cls;
    struct http_exchange *ex = calloc(1, sizeof(*ex));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    if (ex == NULL || info == NULL || info->socket_context == NULL ||
        (ex->target = strdup(target)) == NULL) {
        free(ex);
        return NULL;
    }
    ex->server = s;
    ex->mhd = mhd;
    ex->conn = info->socket_context;
    ex->socket = http_conn_socket(ex->conn);
    atomic_init(&ex->refs, 1);
    ex->body.cap = s->options.body_max_bytes;
    ex->req.exchange = ex;
    id_uuid4(ex->req.id);
    return ex;
}

static void accept_request(struct http_exchange *ex, const char *method, const char *path)
{
    const char *query = strchr(ex->target, '?');

    ex->req.method = method;
    ex->req.path = path;
    ex->req.query = query == NULL ? "" : query + 1;
    (void)trace_read(http_header(&ex->req, "traceparent"), &ex->req.trace);
    log_set_request(ex->req.id, ex->req.trace.trace_id);
    ex->seen.took_ns = clock_mono_ns();
    ex->accepted = true;
    pthread_mutex_lock(&ex->server->lock);
    ex->server->active++;
    pthread_mutex_unlock(&ex->server->lock);
}

static void release_body(struct http_exchange *ex)
{
    buf_release(&ex->body);
    atomic_fetch_sub(&ex->server->held_bytes, ex->held_bytes);
    ex->held_bytes = 0;
}

static void observe(struct http_exchange *ex)
{
    const struct http_options *o = &ex->server->options;

    ex->seen.taken = ex->sink.end != NULL;
    ex->seen.took_ns = clock_mono_ns() - ex->seen.took_ns;
    if (o->observe != NULL)
        o->observe(o->app, &ex->seen);
    log_set_request("", "");
}

void http_exchange_unref(struct http_exchange *ex)
{
    struct http_server *s = ex->server;
    bool accepted = ex->accepted;

    if (atomic_fetch_sub(&ex->refs, 1) != 1)
        return;
    if (ex->sink.done != NULL)
        ex->sink.done(ex->sink.arg);
    if (accepted)
        observe(ex);
    release_body(ex);
    buf_release(&ex->refusal.body);
    buf_release(&ex->refusal.headers);
    free(ex->target);
    free(ex);
    if (!accepted)
        return;
    pthread_mutex_lock(&s->lock);
    if (--s->active == 0)
        pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

const char *http_header(const struct http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->exchange->mhd, MHD_HEADER_KIND, name);
}

struct each_header {
    bool (*each)(void *arg, const char *name, const char *value);
    void *arg;
};

static enum MHD_Result each_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    const struct each_header *e = cls;

    (void)kind;
    return e->each(e->arg, name, value != NULL ? value : "") ? MHD_YES : MHD_NO;
}

void http_each_header(const struct http_request *req,
                      bool (*each)(void *arg, const char *name, const char *value), void *arg)
{
    struct each_header e = {each, arg};

    (void)MHD_get_connection_values(req->exchange->mhd, MHD_HEADER_KIND, each_header, &e);
}

bool http_is_cut(const struct http_exchange *exchange)
{
    return atomic_load(&exchange->server->cutting);
}

bool http_client_gone(const struct http_exchange *exchange)
{
    struct pollfd p = {.fd = exchange->socket, .events = POLLRDHUP};

    if (http_is_cut(exchange))
        return true;
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

static void fail_too_large(struct http_exchange *ex, struct http_response *res)
{
    char message[96];

    (void)snprintf(message, sizeof(message), "The request body may have at most %zu bytes.",
                   ex->server->options.body_max_bytes);
    http_fail(&ex->req, res, 413, "too_large", "body", message);
}

static void fail_crowded(struct http_exchange *ex, struct http_response *res)
{
    http_fail(&ex->req, res, 429, "busy", NULL, "Too many large requests are under way.");
    http_set_header(res, "Retry-After", "1");
}

static bool count_host(void *arg, const char *name, const char *value)
{
    (void)value;
    *(int *)arg += strcasecmp(name, "Host") == 0;
    return true;
}

// A browser says itself where a request comes from. Following a link is no harm; what a page
// fetches or sends is, and so is what a page of a sandbox does, which may be one of this site's.
static bool is_cross_site(const struct http_request *req)
{
    const char *site = http_header(req, "Sec-Fetch-Site");
    const char *mode = http_header(req, "Sec-Fetch-Mode");
    bool reads = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;

    if (site == NULL || (strcmp(site, "cross-site") != 0 && strcmp(site, "same-site") != 0))
        return false;
    return !(reads && mode != NULL && strcmp(mode, "navigate") == 0);
}

// Whom the request is addressed to, and which page sends it.
static bool refused_by_name(const struct http_exchange *ex, struct http_response *res)
{
    const char *allowed = ex->server->options.allowed_hosts;
    const char *host = http_header(&ex->req, "Host");
    const char *origin = http_header(&ex->req, "Origin");
    int hosts = 0;

    http_each_header(&ex->req, count_host, &hosts);
    if (hosts > 1)
        http_fail(&ex->req, res, 400, "invalid", "Host", "There may be only one Host header.");
    else if (allowed == NULL)
        return false;
    else if (host == NULL || !origin_host_ok(host, allowed))
        http_fail(&ex->req, res, 403, "host_not_allowed", "Host",
                  "This service answers only requests addressed to it by a loopback name or one "
                  "listed in ALLOWED_HOSTS.");
    else if (origin != NULL ? !origin_ok(origin, allowed) : is_cross_site(&ex->req))
        http_fail(&ex->req, res, 403, "origin_not_allowed", "Origin",
                  "Pages of other sites may not use this service.");
    else
        return false;
    return true;
}

// What the head alone tells. Who may not, may not have a body held either.
static bool refused_by_head(struct http_exchange *ex, struct http_response *res)
{
    const struct http_options *o = &ex->server->options;
    const struct http_route *route = http_route_find(o->routes, ex->req.method, ex->req.path);
    const char *coding = http_header(&ex->req, "Content-Encoding");

    ex->seen.route = route;
    if (refused_by_name(ex, res))
        return true;
    if (coding != NULL && strcasecmp(coding, "identity") != 0) {
        http_fail(&ex->req, res, 415, "unsupported_encoding", "Content-Encoding",
                  "Request bodies are taken uncompressed only.");
        return true;
    }
    return route != NULL && o->admit != NULL &&
           !o->admit(o->app, route, &ex->req, &ex->req.caller, res);
}

// Fills an answer to requests that are refused whatever they ask for. False: go on.
static bool refused(struct http_exchange *ex, struct http_response *res)
{
    if (ex->turned_away) {
        *res = ex->refusal;
        ex->refusal = (struct http_response){0};
    } else if (ex->too_large) {
        fail_too_large(ex, res);
    } else if (ex->crowded) {
        fail_crowded(ex, res);
    } else if (atomic_load(&ex->server->draining)) {
        http_fail(&ex->req, res, 503, "draining", NULL, "The service is shutting down.");
    } else {
        return false;
    }
    return true;
}

// Whether the request goes to who takes its body as it comes.
static bool taken(struct http_exchange *ex)
{
    const struct http_options *o = &ex->server->options;

    if (o->take == NULL || atomic_load(&ex->server->draining))
        return false;
    http_conn_enter(ex->conn, HTTP_CONN_HANDLER);
    return o->take(o->app, &ex->req, &ex->sink);
}

static enum MHD_Result on_end(struct http_exchange *ex)
{
    struct http_response res = {0};

    http_conn_enter(ex->conn, HTTP_CONN_HANDLER);
    if (ex->sink.end != NULL) {
        ex->sink.end(ex->sink.arg, &ex->req, &res);
        return http_answer(ex, &res);
    }
    ex->req.body = ex->body.data;
    ex->req.body_len = ex->body.len;
    if (!refused(ex, &res))
        ex->seen.route =
            http_route(ex->server->options.routes, ex->server->options.app, &ex->req, &res);
    release_body(ex);
    return http_answer(ex, &res);
}

// Where nobody can say what of it is the body, nothing that follows is read.
static enum MHD_Result refuse_head(struct http_exchange *ex, const struct head_fault *fault)
{
    struct http_response res = {0};

    http_fail(&ex->req, &res, 400, "invalid", fault->header, fault->why);
    http_set_header(&res, "Connection", "close");
    return http_answer(ex, &res);
}

// With the head: answer at once only where reading the body first is wrong (a client that asked
// whether to send it) or too much.
static enum MHD_Result on_head(struct http_exchange *ex, const char *version)
{
    const struct head_fault *fault = head_check(&ex->req, version);
    const char *length = http_header(&ex->req, "Content-Length");
    uint64_t announced = length == NULL ? 0 : strtoull(length, NULL, 10); // checked by the library
    struct http_response res = {0};

    if (fault != NULL)
        return refuse_head(ex, fault);
    if (taken(ex)) {
        http_conn_enter(ex->conn, HTTP_CONN_BODY);
        if (ex->sink.push == NULL &&
            (announced > DRAIN_MAX || http_header(&ex->req, "Expect") != NULL))
            return on_end(ex);
        return MHD_YES;
    }
    ex->turned_away = refused_by_head(ex, &ex->refusal);
    http_conn_enter(ex->conn, HTTP_CONN_BODY);
    if (announced > ex->server->options.body_max_bytes)
        ex->too_large = true;
    if (announced <= DRAIN_MAX && http_header(&ex->req, "Expect") == NULL)
        return MHD_YES;
    return refused(ex, &res) ? http_answer(ex, &res) : MHD_YES;
}

// The time of what is thrown away is not begun anew with each piece.
static enum MHD_Result on_piece(struct http_exchange *ex, const char *data, size_t *len)
{
    if (ex->sink.push != NULL) {
        http_conn_enter(ex->conn, HTTP_CONN_HANDLER);
        if (!ex->sink.push(ex->sink.arg, data, *len))
            ex->sink.push = NULL;
        http_conn_enter(ex->conn, HTTP_CONN_BODY);
    } else {
        ex->received_bytes += *len;
    }
    *len = 0;
    return ex->received_bytes > DRAIN_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_body(struct http_exchange *ex, const char *data, size_t *len)
{
    uint64_t most = BODIES_MAX * (uint64_t)ex->server->options.body_max_bytes;

    if (most < BODIES_MIN_HELD)
        most = BODIES_MIN_HELD;
    ex->received_bytes += *len;
    if (!ex->too_large && !ex->crowded && !ex->turned_away) {
        ex->held_bytes += *len;
        ex->crowded = atomic_fetch_add(&ex->server->held_bytes, *len) + *len > most;
        ex->too_large = buf_append(&ex->body, data, *len) < 0;
    }
    if (ex->too_large || ex->crowded)
        release_body(ex);
    *len = 0;
    return ex->received_bytes > DRAIN_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *len, void **request)
{
    struct http_exchange *ex = *request;

    (void)cls;
    (void)mhd;
    if (ex == NULL)
        return MHD_NO;
    if (!ex->accepted) {
        accept_request(ex, method, url);
        return on_head(ex, version);
    }
    if (*len == 0)
        return on_end(ex);
    return ex->sink.end != NULL ? on_piece(ex, data, len) : on_body(ex, data, len);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct http_exchange *ex = *request;

    (void)cls;
    (void)mhd;
    (void)code;
    if (ex == NULL)
        return;
    *request = NULL;
    http_conn_enter(ex->conn, HTTP_CONN_HEAD);
    http_exchange_unref(ex);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    const union MHD_ConnectionInfo *info;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = info == NULL ? NULL : http_conns_add(s->conns, info->connect_fd);
    } else {
        http_conns_remove(s->conns, *context);
        *context = NULL;
    }
}

// Paths are matched as they were sent: no decoding, so no two spellings of one path.
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void)cls;
    (void)mhd;
    return strlen(text);
}

static int start(struct http_server *s, struct err *err)
{
    s->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
            MHD_USE_ITC | MHD_ALLOW_UPGRADE,
        0, NULL, NULL, on_access, s, MHD_OPTION_LISTEN_SOCKET, s->options.listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->options.connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)s->options.connections_per_address_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEAD_MAX, MHD_OPTION_THREAD_STACK_SIZE,
        HTTP_STACK_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_URI_LOG_CALLBACK, on_target, s,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_END);
    if (s->daemon == NULL)
        return err_set(err, ERR_INTERNAL, "cannot start the HTTP server");
    return 0;
}

int http_server_new(const struct http_options *options, struct http_server **ret, struct err *err)
{
    const uint64_t limits_ms[HTTP_CONN_STATES] = {
        [HTTP_CONN_HEAD] = options->idle_ms,
        [HTTP_CONN_BODY] = options->body_ms,
        [HTTP_CONN_WRITE] = options->write_ms,
    };
    struct http_server *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    s->options = *options;
    pthread_mutex_init(&s->lock, NULL);
    clock_cond_init(&s->idle);
    s->quiesced = true; // nothing listens yet
    if (http_conns_new(limits_ms, &s->conns, err) < 0 || start(s, err) < 0) {
        http_server_free(s);
        return -1;
    }
    s->quiesced = false;
    *ret = s;
    return 0;
}

void http_server_quiesce(struct http_server *s)
{
    int fd;

    atomic_store(&s->draining, true);
    if (s->quiesced)
        return;
    s->quiesced = true;
    fd = MHD_quiesce_daemon(s->daemon);
    fd_close(&fd);
    http_conns_cut(s->conns, clock_deadline_ms(QUIESCE_MS));
}

bool http_server_wait_idle(struct http_server *s, uint64_t deadline_ns)
{
    struct timespec until = clock_to_timespec(deadline_ns);
    bool idle;
    int r = 0;

    pthread_mutex_lock(&s->lock);
    while (s->active > 0 && r == 0)
        r = pthread_cond_timedwait(&s->idle, &s->lock, &until);
    idle = s->active == 0;
    pthread_mutex_unlock(&s->lock);
    return idle;
}

void http_server_cut(struct http_server *s)
{
    atomic_store(&s->cutting, true);
    http_conns_cut(s->conns, 0);
}

void http_server_free(struct http_server *s)
{
    if (s == NULL)
        return;
    if (s->daemon != NULL) {
        http_server_quiesce(s);
        http_server_cut(s);
        // libmicrohttpd must not be stopped while it has lent a socket to an upgraded connection.
        (void)http_server_wait_idle(s, clock_deadline_ms(STOP_MS));
        MHD_stop_daemon(s->daemon);
    }
    http_conns_free(s->conns);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
