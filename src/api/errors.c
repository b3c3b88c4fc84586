// SPDX-License-Identifier: Apache-2.0
//
// Errors as answers. One table gives each code of ours its HTTP status and says whether the same
// request may succeed later.
#include "api/api_internal.h"

#include "api/auth.h"
#include "api/metrics.h"
#include "base/clock.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "sandbox/tenant.h"
#include "json/write.h"

#include <string.h>

struct answer {
    unsigned status;
    const char *word; // of the "error" field
    bool transient;
};

static const struct answer answers[ERR_CODE_COUNT] = {
    [ERR_NONE] = {500, "internal", false},
    [ERR_INVALID] = {400, "invalid", false},
    [ERR_TOO_LARGE] = {413, "too_large", false},
    [ERR_TIMEOUT] = {503, "sandbox_timeout", true},
    [ERR_BUSY] = {429, "busy", true},
    [ERR_GONE] = {503, "sandbox_lost", true},
    [ERR_PROTOCOL] = {503, "sandbox_lost", true},
    [ERR_UNSUPPORTED] = {501, "unsupported", false},
    [ERR_CANCELLED] = {503, "cancelled", true},
    [ERR_SYSTEM] = {503, "sandbox_failed", true},
    [ERR_INTERNAL] = {500, "internal", false},
};

// A limit of somebody's is told from a service that has much to do.
static const struct answer *answer_of(const struct err *err)
{
    static const struct answer limit = {429, "limit", true};

    if (err->code == ERR_BUSY && err->field[0] != '\0')
        return &limit;
    return &answers[(unsigned)err->code < ERR_CODE_COUNT ? err->code : ERR_INTERNAL];
}

void api_set_retry_after(const struct http_request *req, struct http_response *res,
                         const struct err *err, uint64_t otherwise_ms)
{
    const struct api_caller *caller = api_caller(req);
    uint64_t wait_ms = otherwise_ms;

    if (caller != NULL && strcmp(err->field, "TENANT_CPU_SECONDS_PER_HOUR") == 0)
        wait_ms = tenant_cpu_wait_ms(caller->tenant, clock_mono_ns());
    http_set_retry_after(res, wait_ms);
}

unsigned api_error_status(enum err_code code)
{
    return answers[(unsigned)code < ERR_CODE_COUNT ? code : ERR_INTERNAL].status;
}

const char *api_error_word(enum err_code code)
{
    return answers[(unsigned)code < ERR_CODE_COUNT ? code : ERR_INTERNAL].word;
}

void api_fail(const struct http_request *req, struct http_response *res, const struct err *err)
{
    const struct answer *a = answer_of(err);

    http_fail(req, res, a->status, a->word, err->field, err->message);
    if (a->status == 429)
        api_set_retry_after(req, res, err, API_BUSY_RETRY_MS);
}

void api_write_run_error(struct buf *out, const char *request_id, const struct err *err,
                         bool may_have_run)
{
    const struct answer *a = answer_of(err);
    struct json_out json = {.buf = out};

    json_open(&json, NULL, '{');
    json_put_u64(&json, "code", a->status);
    json_put_str(&json, "error", a->word);
    json_put_str(&json, "message", err->message);
    if (err->field[0] != '\0')
        json_put_str(&json, "field", err->field);
    json_put_str(&json, "request_id", request_id);
    json_put_bool(&json, "may_have_run", may_have_run);
    json_put_bool(&json, "retry", a->transient && !may_have_run);
    json_close(&json, '}');
}

void api_fail_run(const struct http_request *req, struct http_response *res, const struct err *err,
                  bool may_have_run)
{
    const struct answer *a = answer_of(err);

    res->status = a->status;
    buf_clear(&res->body);
    api_write_run_error(&res->body, req->id, err, may_have_run);
    if (a->status == 429)
        api_set_retry_after(req, res, err, API_BUSY_RETRY_MS);
}

void api_run_failed(struct api_metrics *m, const struct runtime *rt, bool cut, struct err *err)
{
    cut = cut && err->code == ERR_CANCELLED;
    if (cut)
        (void)err_set(err, ERR_CANCELLED, "the service is shutting down");
    api_metrics_error(m, rt, err, cut);
}

bool api_result_error(const struct run_result *result, struct err *err)
{
    bool internal = (result->ran && result->run.reason == RUN_INTERNAL) ||
                    (result->compiled && result->compile.reason == RUN_INTERNAL) ||
                    (!result->ran && !result->compiled);

    if (!internal)
        return false;
    (void)err_set(err, ERR_SYSTEM, "the sandbox could not run the program: %.180s",
                  result->message[0] != '\0' ? result->message : "no reason given");
    return true;
}
