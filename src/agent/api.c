// SPDX-License-Identifier: Apache-2.0
//
// Endpoints: a request's body is gathered, then its route answers.
#include "agent/api.h"

#include "agent/agent.h"
#include "agent/connect.h"
#include "agent/envd/envd.h"
#include "agent/machine.h"
#include "agent/prepared.h"
#include "agent/run.h"
#include "agent/session.h"
#include "base/buf.h"
#include "base/fd.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct route;

struct request {
    struct session *session;
    struct server_stream *stream;
    const struct route *route; // NULL: answered when the request ends, with 404
    struct buf body;
    struct run *run;
    char prepared_id[65];
};

struct route {
    const char *method;
    const char *path;
    size_t body_max;
    void (*answer)(struct request *r);
};

static void respond_json(struct request *r, int status, json_t *doc)
{
    _cleanup_free_ char *text = doc == NULL ? NULL : json_dumps(doc, JSON_COMPACT);

    json_decref(doc);
    if (text == NULL)
        status = 500;
    (void)server_respond(r->stream, status, "application/json", text,
                         text == NULL ? 0 : strlen(text), false);
}

static int status_of(const struct err *err)
{
    switch (err->code) {
    case ERR_INVALID:
        return 400;
    case ERR_TOO_LARGE:
        return 413;
    case ERR_GONE:
        return AGENT_STATUS_GONE;
    case ERR_BUSY:
        return 429;
    case ERR_TIMEOUT:
        return 504;
    default:
        return 500;
    }
}

static void respond_error(struct request *r, int status, const struct err *err)
{
    respond_json(
        r, status,
        json_pack("{s:s, s:s}", "error", err_code_name(err->code), "message", err->message));
}

static void answer_health(struct request *r)
{
    respond_json(r, 200, json_pack("{s:s, s:i}", "agent", CSB_VERSION, "protocol", AGENT_PROTOCOL));
}

static void answer_stats(struct request *r)
{
    _cleanup_free_ char *text = machine_stats();

    (void)server_respond(r->stream, text == NULL ? 500 : 200, "application/json", text,
                         text == NULL ? 0 : strlen(text), false);
}

static void answer_sync(struct request *r)
{
    struct err err = ERR_INIT;

    if (machine_sync((const char *)r->body.data, r->body.len, r->session->agent->config.vm, &err) <
        0)
        respond_error(r, status_of(&err), &err);
    else
        respond_json(r, 200, json_pack("{s:b}", "ok", 1));
}

static void on_ready(void *arg, const struct err *err)
{
    struct request *r = arg;

    if (err == NULL)
        respond_json(r, 200, json_pack("{s:s}", "prepared", r->prepared_id));
    else
        respond_error(r, err->code == ERR_TIMEOUT ? 504 : 500, err);
}

static void answer_prepare(struct request *r)
{
    struct prepare_spec spec;
    struct err err = ERR_INIT;

    if (prepare_spec_parse((const char *)r->body.data, r->body.len, &spec, &err) < 0) {
        respond_error(r, status_of(&err), &err);
        return;
    }
    strncpy(r->prepared_id, spec.id, sizeof(r->prepared_id) - 1);
    if (prepared_start(&r->session->prepared, &spec, on_ready, r, &err) < 0)
        respond_error(r, status_of(&err), &err);
    prepare_spec_release(&spec);
}

static void answer_run(struct request *r)
{
    struct err err = ERR_INIT;

    if (run_start(&r->session->prepared, r->stream, &r->body, &r->run, &err) < 0)
        respond_error(r, status_of(&err), &err);
}

static const struct route routes[] = {
    {"GET", "/health", 0, answer_health},
    {"GET", "/stats", 0, answer_stats},
    {"POST", "/sync", AGENT_JSON_MAX, answer_sync},
    {"POST", "/prepare", AGENT_JSON_MAX, answer_prepare},
    {"POST", "/run", AGENT_BODY_MAX, answer_run},
};

static void on_request(void *arg, struct server_stream *stream, const char *method,
                       const char *path)
{
    struct session *session = arg;
    struct request *r;

    if (session->agent->config.envd && envd_takes(path)) {
        envd_open(session->agent, stream, method, path);
        return;
    }
    if (session->agent->config.envd && strcmp(method, "CONNECT") == 0) {
        connect_open(session->agent, stream, path);
        return;
    }
    r = calloc(1, sizeof(*r));
    server_stream_set_user(stream, r);
    if (r == NULL)
        return;
    r->session = session;
    r->stream = stream;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        if (strcmp(method, routes[i].method) == 0 && strcmp(path, routes[i].path) == 0)
            r->route = &routes[i];
    r->body.cap = r->route == NULL || r->route->body_max == 0 ? 1 : r->route->body_max;
}

static void on_body(void *arg, struct server_stream *stream, const uint8_t *data, size_t len)
{
    struct request *r = server_stream_user(stream);

    (void)arg;
    // What does not fit is told when the request ended: a body cut short would be worse.
    if (r != NULL && buf_append(&r->body, data, len) < 0)
        r->body.cap = SIZE_MAX;
}

static void on_end(void *arg, struct server_stream *stream)
{
    struct request *r = server_stream_user(stream);
    struct err err = ERR_INIT;

    (void)arg;
    if (r == NULL) {
        (void)server_respond(stream, 500, "application/json", NULL, 0, false);
    } else if (r->route == NULL) {
        err_set(&err, ERR_INVALID, "no such endpoint");
        respond_error(r, 404, &err);
    } else if (r->body.cap == SIZE_MAX) {
        err_set(&err, ERR_TOO_LARGE, "the body is too large");
        respond_error(r, 413, &err);
    } else {
        r->route->answer(r);
    }
}

static void on_drain(void *arg, struct server_stream *stream)
{
    struct request *r = server_stream_user(stream);

    (void)arg;
    if (r != NULL && r->run != NULL)
        run_drain(r->run);
}

static void on_close(void *arg, struct server_stream *stream)
{
    struct request *r = server_stream_user(stream);

    (void)arg;
    if (r == NULL)
        return;
    prepared_forget(&r->session->prepared, r);
    run_free(r->run);
    buf_release(&r->body);
    free(r);
}

const struct server_callbacks api_callbacks = {
    .on_request = on_request,
    .on_body = on_body,
    .on_end = on_end,
    .on_close = on_close,
    .on_drain = on_drain,
};
