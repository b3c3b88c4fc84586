// SPDX-License-Identifier: Apache-2.0
#include "api/api.h"
#include "api/api_internal.h"
#include "api/auth.h"
#include "api/sandboxes_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/http.h"
#include "sandbox/tenant.h"
#include "json/write.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LIMIT_RETRY_MS 10000 // until a sandbox of a tenant may have ended

void e2b_fail(struct http_response *res, unsigned status, const char *error_code,
              const char *message)
{
    struct json_out out = {.buf = &res->body};

    buf_clear(&res->body);
    res->status = status;
    json_open(&out, NULL, '{');
    json_put_u64(&out, "code", status);
    json_put_str(&out, "message", message);
    json_put_str(&out, "error_code", error_code);
    json_close(&out, '}');
}

void e2b_fail_err(const struct http_request *req, struct http_response *res, const struct err *err)
{
    static const struct {
        unsigned status;
        const char *word;
    } answers[ERR_CODE_COUNT] = {
        [ERR_INVALID] = {400, "invalid"},         [ERR_TOO_LARGE] = {413, "too_large"},
        [ERR_TIMEOUT] = {503, "sandbox_timeout"}, [ERR_BUSY] = {503, "busy"},
        [ERR_GONE] = {503, "sandbox_lost"},       [ERR_PROTOCOL] = {503, "sandbox_lost"},
        [ERR_UNSUPPORTED] = {501, "unsupported"}, [ERR_CANCELLED] = {503, "cancelled"},
        [ERR_SYSTEM] = {503, "sandbox_failed"},   [ERR_INTERNAL] = {500, "internal"},
    };
    unsigned code = (unsigned)err->code < ERR_CODE_COUNT ? err->code : ERR_INTERNAL;

    if (err->code == ERR_BUSY && err->field[0] != '\0')
        e2b_fail(res, 429, "limit", err->message);
    else if (answers[code].status == 0)
        e2b_fail(res, 500, "internal", err->message);
    else
        e2b_fail(res, answers[code].status, answers[code].word, err->message);
    if (err->code == ERR_BUSY)
        api_set_retry_after(req, res, err,
                            err->field[0] != '\0' ? LIMIT_RETRY_MS : API_BUSY_RETRY_MS);
}

bool e2b_authorize(const struct api *api, const struct http_request *req, struct http_response *res,
                   char ret_key[LIVE_KEY_MAX])
{
    const struct api_caller *caller = api_caller(req);

    (void)api;
    if (caller == NULL) {
        e2b_fail(res, 401, "unauthorized", "An API key is needed.");
        return false;
    }
    (void)snprintf(ret_key, LIVE_KEY_MAX, "%s", tenant_name(caller->tenant));
    return true;
}

struct live *e2b_sandbox(const struct api *api, const struct http_request *req,
                         struct http_response *res, size_t index)
{
    char key[LIVE_KEY_MAX];
    char id[64] = "";
    char message[128];
    struct live_info info;
    struct live *l;

    if (!e2b_authorize(api, req, res, key))
        return NULL;
    (void)http_segment(req, index, id, sizeof(id));
    id[strcspn(id, "-")] = '\0'; // an older form is ID-CLIENT
    l = live_find(api->live, id);
    if (l != NULL) {
        live_describe(api->live, l, &info);
        if (strcmp(info.key, key) == 0) {
            log_set_sandbox(info.id);
            return l;
        }
        live_unref(l);
    }
    if (strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(id))
        id[0] = '\0';
    (void)snprintf(message, sizeof(message), "sandbox \"%s\" was not found", id);
    e2b_fail(res, 404, "not_found", message);
    return NULL;
}

void e2b_put_time(struct json_out *out, const char *key, uint64_t ms)
{
    char text[CLOCK_UTC_BYTES];

    clock_format_utc(ms * NS_PER_MS, text);
    json_put_str(out, key, text);
}

void e2b_put_connection(struct json_out *out, const char *key, const struct api *api,
                        struct live *l)
{
    struct live_info info;

    live_describe(api->live, l, &info);
    json_open(out, key, '{');
    json_put_str(out, "sandboxID", info.id);
    json_put_str(out, "templateID", info.template);
    json_put_str(out, "alias", info.template);
    json_put_str(out, "clientID", "codesandbox");
    json_put_str(out, "envdVersion", E2B_ENVD_VERSION);
    if (live_token(l) != NULL)
        json_put_str(out, "envdAccessToken", live_token(l));
    json_put_str(out, "trafficAccessToken", live_traffic_token(l));
    json_put_str(out, "domain", api->domain[0] == '\0' ? NULL : api->domain);
    json_close(out, '}');
}

void e2b_put_listed(struct json_out *out, const struct live_info *info)
{
    json_put_str(out, "sandboxID", info->id);
    json_put_str(out, "templateID", info->template);
    json_put_str(out, "alias", info->template);
    json_put_str(out, "clientID", "codesandbox");
    json_put_str(out, "envdVersion", E2B_ENVD_VERSION);
    json_put_str(out, "state", info->state == LIVE_PAUSED ? "paused" : "running");
    e2b_put_time(out, "startedAt", info->started_ms);
    e2b_put_time(out, "endAt", info->end_ms);
    json_put_u64(out, "cpuCount", info->cpus);
    json_put_u64(out, "memoryMB", info->memory_mib);
    json_put_u64(out, "diskSizeMB", info->disk_mib);
    json_open(out, "metadata", '{');
    for (size_t i = 0; i < info->metadata_count; i++)
        json_put_str(out, info->metadata[i].name, info->metadata[i].value);
    json_close(out, '}');
}
