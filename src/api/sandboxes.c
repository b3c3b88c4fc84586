// SPDX-License-Identifier: Apache-2.0
//
// The life of a sandbox over HTTP, as E2B's SDKs ask for it: made, told about, given more time,
// ended. docs/E2B.md says what is behind each call.
#include "api/api.h"
#include "api/sandboxes_internal.h"
#include "api/sandboxes_parse.h"
#include "base/log.h"
#include "config/config.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "sandbox/live.h"
#include "sandbox/templates.h"
#include "json/write.h"

#include <stdio.h>
#include <string.h>

#define MS_PER_S          1000
#define NAMED_MAX         8 // templates that a message names
#define REFRESH_DEFAULT_S 15

static bool client_gone(void *arg)
{
    return http_client_gone(arg);
}

static void answer_connection(const struct api *api, struct http_response *res, struct live *l,
                              unsigned status)
{
    struct json_out out = {.buf = &res->body};

    res->status = status;
    e2b_put_connection(&out, NULL, api, l);
    if (out.failed)
        e2b_fail(res, 500, "internal", "out of memory");
}

// What a sandbox begins as.
struct origin {
    char template[LIVE_REFERENCE_MAX];
    struct live_snapshot snapshot; // its id is "" for a template of the service
};

// Names the first templates there are.
static void tell_unknown(const struct api *api, struct http_response *res, const char *name)
{
    struct template list[NAMED_MAX];
    size_t count = engine_list_templates(api->engine, list, NAMED_MAX);
    char message[160 + NAMED_MAX * (TEMPLATE_NAME_MAX + 2)];
    int n = snprintf(message, sizeof(message),
                     "templateID: there is no template or snapshot '%.64s'; there are ", name);

    for (size_t i = 0; i < count; i++)
        n += snprintf(message + n, sizeof(message) - (size_t)n, "%s%s",
                      i == 0           ? ""
                      : i + 1 == count ? " and "
                                       : ", ",
                      list[i].name);
    e2b_fail(res, 404, "template_not_found", message);
}

// False: the answer is filled.
static bool find_origin(const struct api *api, const struct http_request *req,
                        struct http_response *res, const char *name, const char *key,
                        struct origin *ret)
{
    struct template template;
    struct err err = ERR_INIT;
    bool is_template = engine_find_template(api->engine, name, &template);
    bool found = is_template;

    *ret = (struct origin){0};
    if (found)
        (void)snprintf(ret->template, sizeof(ret->template), "%s", template.name);
    else if (live_snapshot_find(api->live, key, name, &ret->snapshot, &found, &err) < 0) {
        e2b_fail_err(req, res, &err);
        return false;
    }
    if (!found) {
        tell_unknown(api, res, name);
    } else if (!is_template) {
        live_snapshot_reference(&ret->snapshot, ret->template);
    }
    return found;
}

static void make(const struct api *api, const struct http_request *req, struct http_response *res,
                 const struct create_request *x, const struct origin *origin, const char *key)
{
    const struct live_spec spec = {
        .key = key,
        .template = origin->template,
        .snapshot = origin->snapshot.id[0] == '\0' ? NULL : origin->snapshot.id,
        .metadata = x->metadata.list,
        .metadata_count = x->metadata.count,
        .env = x->env.list,
        .env_count = x->env.count,
        .timeout_ms = x->timeout_s * MS_PER_S,
        .on_timeout = x->auto_pause ? LIVE_PAUSE : LIVE_KILL,
        .auto_resume = x->auto_resume,
        .secure = x->secure,
        .private_traffic = x->private_traffic,
        .gone = client_gone,
        .gone_arg = req->exchange,
    };
    struct err err = ERR_INIT;
    struct live *l;

    if (live_create(api->live, &spec, &l, &err) < 0) {
        if (err.code != ERR_BUSY && err.code != ERR_UNSUPPORTED && err.code != ERR_CANCELLED)
            log_error("cannot make a sandbox: %s", err.message);
        e2b_fail_err(req, res, &err);
        return;
    }
    answer_connection(api, res, l, 201);
    live_unref(l);
}

static void create(const struct api *api, const struct http_request *req, struct http_response *res,
                   int version)
{
    char key[LIVE_KEY_MAX];
    struct create_request x;
    struct err err = ERR_INIT;
    struct origin origin;

    if (!e2b_authorize(api, req, res, key))
        return;
    if (create_parse(req->body, req->body_len, version, api->config->sandbox_life_max_s, &x, &err) <
        0) {
        e2b_fail_err(req, res, &err);
        return;
    }
    if (find_origin(api, req, res, x.template, key, &origin))
        make(api, req, res, &x, &origin, key);
    create_request_release(&x);
}

void api_sandboxes_create_v1(void *app, const struct http_request *req, struct http_response *res)
{
    create(app, req, res, 1);
}

void api_sandboxes_create_v2(void *app, const struct http_request *req, struct http_response *res)
{
    create(app, req, res, 2);
}

static void put_detail(struct json_out *out, const struct api *api, struct live *l)
{
    struct live_info info;

    live_describe(api->live, l, &info);
    json_open(out, NULL, '{');
    e2b_put_listed(out, &info);
    if (live_token(l) != NULL)
        json_put_str(out, "envdAccessToken", live_token(l));
    json_put_str(out, "domain", api->domain[0] == '\0' ? NULL : api->domain);
    json_put_bool(out, "allowInternetAccess", false);
    json_open(out, "lifecycle", '{');
    json_put_str(out, "onTimeout", info.on_timeout == LIVE_PAUSE ? "pause" : "kill");
    json_put_bool(out, "autoResume", info.auto_resume);
    json_close(out, '}');
    json_close(out, '}');
}

void api_sandboxes_get(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct json_out out = {.buf = &res->body};
    struct live *l = e2b_sandbox(api, req, res, 1);

    if (l == NULL)
        return;
    res->status = 200;
    put_detail(&out, api, l);
    if (out.failed)
        e2b_fail(res, 500, "internal", "out of memory");
    live_unref(l);
}

static void gone(struct http_response *res)
{
    e2b_fail(res, 404, "not_found", "The sandbox has just ended.");
}

void api_sandboxes_kill(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct live *l = e2b_sandbox(api, req, res, 1);

    if (l == NULL)
        return;
    if (live_kill(api->live, l))
        res->status = 204;
    else
        gone(res);
    live_unref(l);
}

// The body's seconds. False: the answer is filled.
static bool read_seconds(const struct http_request *req, struct http_response *res, const char *key,
                         bool required, uint64_t *ret_s)
{
    struct err err = ERR_INIT;

    if (seconds_parse(req->body, req->body_len, key, required, ret_s, &err) == 0)
        return true;
    e2b_fail_err(req, res, &err);
    return false;
}

static void change_time(const struct api *api, struct http_response *res, struct live *l,
                        uint64_t seconds, bool extend_only)
{
    if (live_set_timeout(api->live, l, seconds * MS_PER_S, extend_only))
        res->status = 204;
    else
        e2b_fail(res, 404, "not_found",
                 "The sandbox does not run: it is paused, or has just ended.");
}

void api_sandboxes_timeout(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct live *l = e2b_sandbox(api, req, res, 1);
    uint64_t seconds = 0;

    if (l != NULL && read_seconds(req, res, "timeout", true, &seconds))
        change_time(api, res, l, seconds, false);
    live_unref(l);
}

void api_sandboxes_refresh(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct live *l = e2b_sandbox(api, req, res, 1);
    uint64_t seconds = REFRESH_DEFAULT_S;

    if (l != NULL && read_seconds(req, res, "duration", false, &seconds))
        change_time(api, res, l, seconds < REFRESH_DEFAULT_S ? REFRESH_DEFAULT_S : seconds, true);
    live_unref(l);
}

static void resume(const struct api *api, const struct http_request *req, struct http_response *res,
                   struct live *l, uint64_t seconds)
{
    struct live *running;
    struct err err = ERR_INIT;
    bool resumed;

    if (live_resume(api->live, l, seconds * MS_PER_S, &running, &resumed, &err) == 0) {
        answer_connection(api, res, running, resumed ? 201 : 200);
        live_unref(running);
    } else if (err.code == ERR_GONE) {
        gone(res);
    } else {
        if (err.code != ERR_BUSY)
            log_error("cannot resume a sandbox: %s", err.message);
        e2b_fail_err(req, res, &err);
    }
}

static void connect_to(const struct api *api, const struct http_request *req,
                       struct http_response *res, size_t index)
{
    struct live *l = e2b_sandbox(api, req, res, index);
    uint64_t seconds = SANDBOXES_TIMEOUT_V2_S;

    if (l != NULL && read_seconds(req, res, "timeout", false, &seconds))
        resume(api, req, res, l, seconds);
    live_unref(l);
}

void api_sandboxes_connect_v1(void *app, const struct http_request *req, struct http_response *res)
{
    connect_to(app, req, res, 1);
}

void api_sandboxes_connect_v2(void *app, const struct http_request *req, struct http_response *res)
{
    connect_to(app, req, res, 2);
}

// Of old SDKs: only for paused sandboxes.
void api_sandboxes_resume(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct live *l = e2b_sandbox(api, req, res, 1);
    uint64_t seconds = SANDBOXES_TIMEOUT_V2_S;
    struct live_info info;

    if (l == NULL)
        return;
    live_describe(api->live, l, &info);
    if (info.state == LIVE_RUNNING)
        e2b_fail(res, 409, "already_running", "The sandbox is running.");
    else if (read_seconds(req, res, "timeout", false, &seconds))
        resume(api, req, res, l, seconds);
    live_unref(l);
}

// The body may say {"memory": false}, to keep the files alone: the memory is kept anyway.
void api_sandboxes_pause(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct live *l = e2b_sandbox(api, req, res, 1);
    uint64_t unused = 0;
    struct err err = ERR_INIT;

    if (l == NULL)
        return;
    if (!read_seconds(req, res, "timeout", false, &unused)) {
        live_unref(l);
        return;
    }
    if (live_pause(api->live, l, &err) == 0) {
        res->status = 204;
    } else if (err.code == ERR_INVALID) {
        e2b_fail(res, 409, "already_paused", "The sandbox is paused already.");
    } else if (err.code == ERR_GONE) {
        gone(res);
    } else {
        if (err.code != ERR_UNSUPPORTED)
            log_error("cannot pause a sandbox: %s", err.message);
        e2b_fail_err(req, res, &err);
    }
    live_unref(l);
}

void api_sandboxes_network(void *app, const struct http_request *req, struct http_response *res)
{
    struct live *l = e2b_sandbox(app, req, res, 1);

    if (l == NULL)
        return;
    e2b_fail(res, 501, "unsupported",
             "Sandboxes have no network: there are no rules that could be changed.");
    live_unref(l);
}
