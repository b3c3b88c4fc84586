// SPDX-License-Identifier: Apache-2.0
//
// POST /sandboxes/ID/fork: copies of a running sandbox. The answer has one entry for each that was
// asked for, {"sandbox"} or {"error"}.
#include "api/api.h"
#include "api/sandboxes_internal.h"
#include "api/sandboxes_parse.h"
#include "base/log.h"
#include "config/config.h"
#include "http/http.h"
#include "sandbox/live.h"
#include "json/write.h"

#include <stdlib.h>

#define MS_PER_S 1000

static void put_forked(struct json_out *out, const struct api *api, const struct live_forked *f)
{
    json_open(out, NULL, '{');
    if (f->live != NULL) {
        e2b_put_connection(out, "sandbox", api, f->live);
    } else {
        json_open(out, "error", '{');
        json_put_u64(out, "code", f->err.code == ERR_BUSY ? 429 : 503);
        json_put_str(out, "message", f->err.message);
        json_close(out, '}');
    }
    json_close(out, '}');
}

static void answer(const struct api *api, struct http_response *res, const struct live_forked *list,
                   uint64_t count)
{
    struct json_out out = {.buf = &res->body};

    res->status = 201;
    json_open(&out, NULL, '[');
    for (uint64_t i = 0; i < count; i++) {
        put_forked(&out, api, &list[i]);
        live_unref(list[i].live);
    }
    json_close(&out, ']');
    if (out.failed)
        e2b_fail(res, 500, "internal", "out of memory");
}

static void fork_it(const struct api *api, const struct http_request *req,
                    struct http_response *res, struct live *l)
{
    uint64_t count = 1, seconds = SANDBOXES_TIMEOUT_V2_S;
    struct live_forked *list = NULL;
    struct err err = ERR_INIT;
    int r = fork_parse(req->body, req->body_len, api->config->sandbox_life_max_s, &count, &seconds,
                       &err);

    if (r < 0) {
        e2b_fail_err(req, res, &err);
        return;
    }
    list = calloc(count, sizeof(*list));
    if (list == NULL) {
        e2b_fail(res, 500, "internal", "out of memory");
        return;
    }
    if (live_fork(api->live, l, (uint32_t)count, seconds * MS_PER_S, list, &err) == 0) {
        answer(api, res, list, count);
    } else if (err.code == ERR_INVALID) {
        e2b_fail(res, 409, "paused", "The sandbox is paused.");
    } else if (err.code == ERR_GONE) {
        e2b_fail(res, 404, "not_found", "The sandbox has just ended.");
    } else {
        if (err.code != ERR_UNSUPPORTED && err.code != ERR_BUSY)
            log_error("cannot fork a sandbox: %s", err.message);
        e2b_fail_err(req, res, &err);
    }
    free(list);
}

void api_sandboxes_fork(void *app, const struct http_request *req, struct http_response *res)
{
    struct live *l = e2b_sandbox(app, req, res, 1);

    if (l == NULL)
        return;
    fork_it(app, req, res, l);
    live_unref(l);
}
