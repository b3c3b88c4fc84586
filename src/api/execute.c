// SPDX-License-Identifier: Apache-2.0
//
// POST /execute: one program, one fresh sandbox, one answer; with `Accept: text/event-stream` or
// "stream": true the output comes as it is written (execute_stream.c).
#include "api/api.h"
#include "api/api_internal.h"
#include "api/auth.h"
#include "api/execute_parse.h"
#include "api/execute_result.h"
#include "api/execute_stream.h"
#include "api/metrics.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "json/write.h"

#include <string.h>

static bool client_gone(void *arg)
{
    return http_client_gone(arg);
}

int api_collect(struct run *run, struct execute_text *text, const struct run_result **ret,
                struct err *err)
{
    for (;;) {
        struct run_event event;

        if (run_next(run, &event, err) < 0)
            return -1;
        if (event.kind == RUN_EVENT_RESULT) {
            *ret = event.result;
            return api_result_error(event.result, err) ? -1 : 0;
        }
        execute_text_add(text, &event);
    }
}

static void answer(const struct http_request *req, struct http_response *res,
                   const struct execute_request *x, struct execute_text *text,
                   const struct run_result *result)
{
    struct json_out out = {.buf = &res->body};
    struct execute_answer a = {
        .request_id = req->id,
        .runtime = x->run.runtime,
        .result = result,
        .text = text,
        .truncated = text->cut,
    };
    struct err err = ERR_INIT;

    execute_text_end(text);
    a.lossy = execute_text_lossy(text);
    res->status = 200;
    (void)buf_reserve(&res->body, 2 * (text->output.len + text->compile.len) + 2048);
    execute_write_answer(&out, &a);
    if (out.failed) {
        (void)err_set(&err, ERR_INTERNAL, "out of memory for the answer");
        api_fail_run(req, res, &err, true);
    }
}

static void fail(const struct api *api, const struct http_request *req, struct http_response *res,
                 const struct execute_request *x, struct err *err, bool may_have_run)
{
    api_run_failed(api->metrics, x->run.runtime, http_is_cut(req->exchange), err);
    api_fail_run(req, res, err, may_have_run);
}

static void run_and_answer(const struct api *api, const struct http_request *req,
                           struct http_response *res, struct execute_request *x)
{
    struct execute_text text;
    const struct run_result *result = NULL;
    struct run *run = NULL;
    struct err err = ERR_INIT;
    bool may_have_run = false;

    x->run.gone = client_gone;
    x->run.gone_arg = req->exchange;
    if (run_open(api->engine, &x->run, &run, &may_have_run, &err) < 0) {
        fail(api, req, res, x, &err, may_have_run);
        return;
    }
    execute_text_init(&text, x->run.limits.output_bytes);
    if (api_collect(run, &text, &result, &err) < 0) {
        fail(api, req, res, x, &err, true);
    } else {
        api_metrics_result(api->metrics, x->run.runtime, result);
        answer(req, res, x, &text, result);
    }
    execute_text_release(&text);
    run_close(run);
}

static bool wants_stream(const struct http_request *req, const struct execute_request *x)
{
    const char *accept = http_header(req, "Accept");

    return x->stream || (accept != NULL && strcasestr(accept, "text/event-stream") != NULL);
}

void api_execute(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct execute_request x;
    struct err err = ERR_INIT;

    if (execute_parse(api->config, engine_runtimes(api->engine), req->body, req->body_len, &x,
                      &err) < 0) {
        api_fail(req, res, &err);
        return;
    }
    x.run.tenant = api_caller(req)->tenant;
    if (wants_stream(req, &x))
        execute_stream(api, req, res, &x);
    else
        run_and_answer(api, req, res, &x);
    execute_request_release(&x);
}
