// SPDX-License-Identifier: Apache-2.0
//
// How it works. A request's head tells the sandbox and whether it may; its stream on the channel is
// begun then, its body is passed on piece by piece as it comes, and once it is complete the answer
// is: libmicrohttpd reads no request while it sends an answer. Whoever does not take what the other
// sends holds him back, by the windows of HTTP/2 and of TCP. While it waits, the connection's
// thread looks now and then whether its client is still there; when he is not, the stream is reset,
// and when the stream breaks off, so is the client's connection.
#include "api/data_plane.h"

#include "api/api.h"
#include "api/data_plane_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"
#include "sandbox/live.h"
#include "json/write.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LOOK_MS        250 // between two looks for the client
#define PATH_PREFIX    "/envd"
#define CONTEXTS_PORT  49999 // of runtimes/contexts
#define METADATA       "x-metadata-"
#define HEADERS_LENGTH 12000 // of the client's that are handed on; the agent takes some more

bool plane_write(struct plane *p, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    while (len > 0) {
        struct err err = ERR_INIT;
        ssize_t n = channel_write(p->stream, bytes, len, clock_deadline_ms(LOOK_MS), &err);

        if (n < 0 && (err.code != ERR_TIMEOUT || http_client_gone(p->exchange)))
            return false;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

ssize_t plane_read(struct plane *p, void *data, size_t len)
{
    while (!live_was_stopped(p->live)) {
        struct err err = ERR_INIT;
        ssize_t n = channel_read(p->stream, data, len, clock_deadline_ms(LOOK_MS), &err);

        if (n >= 0)
            return n;
        if (err.code != ERR_TIMEOUT || atomic_load(&p->stopped) || http_client_gone(p->exchange))
            return -1;
    }
    return -1;
}

bool plane_is_cut(const struct plane *p)
{
    struct channel *ch = live_channel(p->live);

    return ch == NULL || channel_is_dead(ch);
}

enum plane_refusal plane_wait_status(struct plane *p, int *ret_status)
{
    for (;;) {
        struct err err = ERR_INIT;

        if (live_was_stopped(p->live))
            return PLANE_BUSY;
        if (channel_status(p->stream, clock_deadline_ms(LOOK_MS), ret_status, &err) == 0)
            return PLANE_FINE;
        if (err.code == ERR_TIMEOUT && !http_client_gone(p->exchange))
            continue;
        return plane_is_cut(p) ? PLANE_NOT_FOUND : PLANE_BUSY;
    }
}

bool plane_target_is_clean(const struct http_request *req)
{
    for (int i = 0; i < 2; i++)
        for (const char *at = i == 0 ? req->path : req->query; *at != '\0'; at++)
            if ((unsigned char)*at <= ' ' || *at == 0x7f || *at == '#')
                return false;
    return req->path[0] == '/';
}

// ---- refusals ----

static const struct {
    unsigned status;
    bool names; // the sandbox
    const char *message;
} refusals[] = {
    [PLANE_FINE] = {500, false, "internal error"},
    [PLANE_BAD_TARGET] = {400, false,
                          "E2b-Sandbox-Id and E2b-Sandbox-Port go together: an id, and a port"},
    [PLANE_BAD_REQUEST] = {400, false, "the request cannot be handed to the sandbox"},
    [PLANE_NO_TOKEN] = {401, false, "missing access token in X-Access-Token"},
    [PLANE_BAD_TOKEN] = {401, false, "invalid access token"},
    [PLANE_NO_SIGNATURE] = {401, false, "missing signature query parameter"},
    [PLANE_BAD_SIGNATURE] = {401, false, "invalid signature"},
    [PLANE_EXPIRED] = {401, false, "signature is already expired"},
    [PLANE_TRAFFIC] = {403, true, "missing or invalid e2b-traffic-access-token"},
    [PLANE_HIDDEN] = {404, false, "not found"},
    [PLANE_NOT_FOUND] = {502, true, "The sandbox was not found"},
    [PLANE_NOT_RESUMED] = {502, true, "The sandbox is paused and cannot be resumed"},
    [PLANE_CLOSED_PORT] = {502, true, "The sandbox is running but port is not open"},
    [PLANE_BAD_ANSWER] = {502, true, "The answer of the port is not HTTP"},
    [PLANE_BUSY] = {503, true, "The sandbox takes no more requests right now"},
};

// In the agent's own words for what is used up. A stream tells its errors in its last message: from
// a bare 429 clients would take it that there is no sandbox any more.
#define SPENT                                                                                      \
    "{\"code\":\"resource_exhausted\",\"message\":\"the sandbox's keys have used up "              \
    "TENANT_CPU_SECONDS_PER_HOUR: nothing more is begun\"}"

static void refuse_spent(const struct plane *p, struct http_response *res)
{
    static const char alone[] = SPENT, last[] = "{\"error\":" SPENT "}";
    uint8_t head[PLANE_FRAME_HEAD];

    http_set_retry_after(res, p->wait_ms);
    res->status = p->streams ? 200 : 429;
    res->content_type = p->streams ? PLANE_FRAMES_TYPE : "application/json";
    plane_frames_last(head, strlen(last));
    if (p->streams)
        (void)buf_append(&res->body, head, sizeof(head));
    (void)buf_append(&res->body, p->streams ? last : alone, strlen(p->streams ? last : alone));
}

void plane_refuse(const struct plane *p, enum plane_refusal why, struct http_response *res)
{
    struct json_out out = {.buf = &res->body};

    res->foreign = true;
    http_set_header(res, "Access-Control-Allow-Origin", "*");
    if (why == PLANE_SPENT) {
        refuse_spent(p, res);
        return;
    }
    res->status = refusals[why].status;
    res->content_type = "application/json";
    json_open(&out, NULL, '{');
    // Clients compare whole bodies: the order is that of the service they were written for.
    if (!refusals[why].names)
        json_put_u64(&out, "code", refusals[why].status);
    else
        json_put_str(&out, "sandboxId", p->target.id);
    json_put_str(&out, "message", refusals[why].message);
    if (why == PLANE_CLOSED_PORT)
        json_put_u64(&out, "port", p->target.port);
    if (refusals[why].names)
        json_put_u64(&out, "code", refusals[why].status);
    json_close(&out, '}');
}

static void allow_everyone(struct http_response *res)
{
    http_set_header(res, "Access-Control-Allow-Origin", "*");
    http_set_header(res, "Access-Control-Expose-Headers", "*");
}

static void answer_preflight(const struct http_request *req, struct http_response *res)
{
    const char *wanted = http_header(req, "Access-Control-Request-Headers");

    res->status = 204;
    res->foreign = true;
    http_set_header(res, "Access-Control-Allow-Origin", "*");
    http_set_header(res, "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
    // By name: "*" does not cover Authorization.
    if (wanted != NULL)
        http_set_header(res, "Access-Control-Allow-Headers", wanted);
    http_set_header(res, "Access-Control-Max-Age", "7200");
    http_set_header(res, "Vary", "Access-Control-Request-Headers");
}

// ---- who may ----

// The agent's own endpoints, which are the daemon's alone.
static bool is_hidden(const char *path)
{
    static const char *const hidden[] = {"/init",     "/freeze", "/unfreeze",
                                         "/fsfreeze", "/fsthaw", "/collapse"};

    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        if (strcmp(path, hidden[i]) == 0)
            return true;
    return false;
}

static bool is_files(const struct http_request *req)
{
    return strcmp(req->path, "/files") == 0 &&
           (strcmp(req->method, "GET") == 0 || strcmp(req->method, "POST") == 0);
}

static enum plane_refusal authorise(const struct plane *p, const struct http_request *req)
{
    const char *token = live_token(p->live);
    const char *given = http_header(req, "X-Access-Token");

    if (is_hidden(req->path))
        return PLANE_HIDDEN;
    if (token == NULL || (strcmp(req->path, "/health") == 0 && strcmp(req->method, "GET") == 0))
        return PLANE_FINE;
    if (given != NULL)
        return plane_same_secret(given, token) ? PLANE_FINE : PLANE_BAD_TOKEN;
    return is_files(req) ? plane_check_signature(req, token) : PLANE_NO_TOKEN;
}

static enum plane_refusal authorise_port(const struct plane *p, const struct http_request *req)
{
    const char *token = live_traffic_token(p->live);

    if (token == NULL || plane_same_secret(http_header(req, "E2b-Traffic-Access-Token"), token))
        return PLANE_FINE;
    return PLANE_TRAFFIC;
}

// ---- to the agent ----

struct forwarded {
    struct channel_header headers[CHANNEL_HEADERS_MAX];
    size_t count;
    size_t length;
    bool too_many;
};

static bool is_forwarded(const char *name)
{
    static const char *const names[] = {AGENT_ENVD_HEADERS};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return strncasecmp(name, METADATA, strlen(METADATA)) == 0;
}

// nghttp2 makes names lower case.
static bool forward_header(void *arg, const char *name, const char *value)
{
    struct forwarded *f = arg;

    if (!is_forwarded(name))
        return true;
    f->length += strlen(name) + strlen(value) + 32;
    f->too_many = f->count == CHANNEL_HEADERS_MAX || f->length > HEADERS_LENGTH;
    if (f->too_many)
        return false;
    f->headers[f->count++] = (struct channel_header){name, value};
    return true;
}

static enum plane_refusal envd_begin(struct plane *p, const struct http_request *req)
{
    _cleanup_buf_ struct buf path = BUF_INIT;
    struct forwarded f = {0};
    struct channel *ch = live_channel(p->live);
    struct err err = ERR_INIT;

    http_each_header(req, forward_header, &f);
    if (f.too_many || strlen(req->method) > 7 || !plane_target_is_clean(req))
        return PLANE_BAD_REQUEST;
    if (buf_appendf(&path, PATH_PREFIX "%s%s%s", req->path, req->query[0] != '\0' ? "?" : "",
                    req->query) < 0 ||
        buf_cstr(&path) == NULL)
        return PLANE_BUSY;

    const struct channel_request out = {.method = req->method,
                                        .path = (const char *)path.data,
                                        .headers = f.headers,
                                        .header_count = f.count};

    if (ch == NULL || channel_begin(ch, &out, &p->stream, &err) < 0)
        return PLANE_NOT_FOUND;
    return PLANE_FINE;
}

static bool envd_push(void *arg, const void *data, size_t len)
{
    return plane_write(arg, data, len);
}

static ssize_t envd_pull(void *arg, char *data, size_t max)
{
    struct plane *p = arg;
    ssize_t n = p->bade_farewell ? 0 : plane_read(p, data, max);

    if (n > 0)
        plane_frames_see(&p->frames, data, (size_t)n);
    if (n >= 0 || !live_was_stopped(p->live))
        return n;
    n = (ssize_t)plane_frames_farewell(&p->frames, data, max);
    p->bade_farewell = n > 0;
    return n > 0 ? n : -1;
}

static void answer_envd(struct plane *p, struct http_response *res, int status)
{
    static const char *const kept[] = {"content-type",  "content-encoding",    "content-range",
                                       "vary",          "content-disposition", "accept-ranges",
                                       "last-modified", "cache-control"};
    const char *length = channel_header(p->stream, "content-length");
    const char *type = channel_header(p->stream, "content-type");

    res->status = (unsigned)status;
    res->foreign = true;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        const char *value = channel_header(p->stream, kept[i]);

        if (value != NULL)
            http_set_header(res, kept[i], value);
    }
    allow_everyone(res);
    res->sized = length != NULL && parse_u64(length, 0, INT64_MAX, &res->size) == 0;
    if (status == 204 || status == 304 || (res->sized && res->size == 0))
        return;
    p->frames.on = type != NULL && strcmp(type, PLANE_FRAMES_TYPE) == 0;
    res->stream.pull = envd_pull;
    res->stream.arg = p;
}

// ---- a request ----

static void plane_end(void *arg, const struct http_request *req, struct http_response *res)
{
    struct plane *p = arg;
    int status = 0;

    if (p->preflight) {
        answer_preflight(req, res);
        return;
    }
    if (p->refusal == PLANE_FINE) {
        channel_finish(p->stream);
        p->refusal = plane_wait_status(p, &status);
    }
    if (p->refusal == PLANE_FINE)
        answer_envd(p, res, status);
    else
        plane_refuse(p, p->refusal, res);
}

static void plane_done(void *arg)
{
    struct plane *p = arg;

    channel_stream_close(p->stream);
    port_release(p);
    live_unref(p->live);
    free(p);
}

// A browser asks before it sends: it names what it will send, but sends none of it.
static bool is_preflight(const struct http_request *req, enum plane_target_kind kind,
                         const struct plane_target *target)
{
    const char *wanted = http_header(req, "Access-Control-Request-Headers");

    if (strcmp(req->method, "OPTIONS") != 0 ||
        http_header(req, "Access-Control-Request-Method") == NULL)
        return false;
    if (kind == PLANE_OTHER)
        return wanted != NULL && h1_list_has(wanted, "e2b-sandbox-id");
    return kind == PLANE_SIGNED || (kind == PLANE_SANDBOX && target->port == DATA_PLANE_PORT);
}

static enum plane_refusal find_sandbox(struct plane *p, struct live_table *t,
                                       const struct http_request *req, enum plane_target_kind kind)
{
    if (kind == PLANE_BAD)
        return PLANE_BAD_TARGET;
    if (kind == PLANE_SIGNED) {
        p->live = plane_find_signed(t, req);
        p->target.port = DATA_PLANE_PORT;
        return p->live != NULL ? PLANE_FINE : PLANE_BAD_SIGNATURE;
    }
    p->live = live_find(t, p->target.id);
    if (p->live == NULL || (live_channel(p->live) == NULL && !live_wakes(p->live)))
        return PLANE_NOT_FOUND;
    return PLANE_FINE;
}

static bool is_below(const char *path, const char *segment)
{
    size_t len = strlen(segment);

    path += strspn(path, "/");
    return strcspn(path, "/") == len && strncmp(path, segment, len) == 0;
}

// Whether the request has a program begin, or code of a context. What is asked of other ports is
// asked of programs that run already.
static bool begins_program(const struct http_request *req, uint16_t port)
{
    if (port == DATA_PLANE_PORT)
        return strcmp(req->path, "/process.Process/Start") == 0;
    return port == CONTEXTS_PORT && strcmp(req->method, "POST") == 0 &&
           (is_below(req->path, "execute") || is_below(req->path, "contexts"));
}

static enum plane_refusal check_cpu(struct plane *p, struct live_table *t,
                                    const struct http_request *req)
{
    if (!begins_program(req, p->target.port))
        return PLANE_FINE;
    p->wait_ms = live_cpu_wait_ms(t, p->live);
    return p->wait_ms == 0 ? PLANE_FINE : PLANE_SPENT;
}

// A paused one that requests wake is resumed by the first that may be sent to it.
static enum plane_refusal wake(struct plane *p, struct live_table *t)
{
    struct err err = ERR_INIT;
    struct live *running;

    if (!live_wakes(p->live))
        return PLANE_FINE;
    if (live_wake(t, p->live, &running, &err) == 0) {
        live_unref(p->live);
        p->live = running;
        return PLANE_FINE;
    }
    if (err.code == ERR_GONE)
        return PLANE_NOT_FOUND;
    p->wait_ms = err.code == ERR_BUSY ? live_cpu_wait_ms(t, p->live) : 0;
    if (p->wait_ms > 0)
        return PLANE_SPENT;
    if (err.code == ERR_BUSY || err.code == ERR_CANCELLED)
        return PLANE_BUSY;
    log_error("cannot resume a sandbox for a request: %s", err.message);
    return PLANE_NOT_RESUMED;
}

static enum plane_refusal plane_begin(struct plane *p, struct live_table *t,
                                      const struct http_request *req, enum plane_target_kind kind)
{
    bool other = kind == PLANE_SANDBOX && p->target.port != DATA_PLANE_PORT;
    enum plane_refusal r = find_sandbox(p, t, req, kind);

    if (r == PLANE_FINE)
        r = other ? authorise_port(p, req) : authorise(p, req);
    if (r == PLANE_FINE)
        log_set_sandbox(live_id(p->live));
    if (r == PLANE_FINE)
        r = check_cpu(p, t, req);
    if (r == PLANE_FINE)
        r = wake(p, t);
    if (r == PLANE_FINE)
        r = other ? port_begin(p, req) : envd_begin(p, req);
    return r;
}

static bool is_stream(const struct http_request *req)
{
    const char *type = http_header(req, "Content-Type");

    return type != NULL && strcmp(type, PLANE_FRAMES_TYPE) == 0;
}

bool data_plane_take(void *app, const struct http_request *req, struct http_sink *ret)
{
    const struct api *api = app;
    struct plane_target target = {0};
    enum plane_target_kind kind = plane_find_target(req, &target);
    bool preflight = is_preflight(req, kind, &target);
    struct plane *p;

    if ((kind == PLANE_OTHER && !preflight) || api->live == NULL)
        return false;
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return false;
    p->target = target;
    p->exchange = req->exchange;
    p->preflight = preflight;
    p->streams = is_stream(req);
    *ret = (struct http_sink){.end = plane_end, .done = plane_done, .arg = p};
    if (preflight)
        return true;
    p->refusal = plane_begin(p, api->live, req, kind);
    if (p->refusal != PLANE_FINE)
        return true;
    if (target.port != DATA_PLANE_PORT && kind == PLANE_SANDBOX) {
        ret->push = port_push;
        ret->end = port_end;
    } else {
        ret->push = envd_push;
    }
    return true;
}
