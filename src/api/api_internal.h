// SPDX-License-Identifier: Apache-2.0
//
// Shared by the resources: the handlers and how errors become answers.
#ifndef CSB_API_API_INTERNAL_H
#define CSB_API_API_INTERNAL_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct http_request;
struct http_response;
struct json_out;
struct run_result;

void api_execute(void *app, const struct http_request *req, struct http_response *res);
void api_health(void *app, const struct http_request *req, struct http_response *res);
void api_ready(void *app, const struct http_request *req, struct http_response *res);
void api_metrics(void *app, const struct http_request *req, struct http_response *res);
void api_openapi(void *app, const struct http_request *req, struct http_response *res);
void api_languages(void *app, const struct http_request *req, struct http_response *res);
void api_debug_guest(void *app, const struct http_request *req, struct http_response *res);

// What an error's code becomes: the HTTP status, and the word of the "error" field.
unsigned api_error_status(enum err_code code);
const char *api_error_word(enum err_code code);

// An error of the client's request: status by its code, the field named.
void api_fail(const struct http_request *req, struct http_response *res, const struct err *err);

// After an ERR_BUSY of which nothing else is known: a place may be free in a moment.
#define API_BUSY_RETRY_MS 1000

// http_set_retry_after() after an ERR_BUSY: until what it names is there again for who asks, or
// where that is not known `otherwise_ms`.
void api_set_retry_after(const struct http_request *req, struct http_response *res,
                         const struct err *err, uint64_t otherwise_ms);

// An error of ours around a run. The body also says whether the code may have run and whether
// sending the request again is safe and may help.
void api_fail_run(const struct http_request *req, struct http_response *res, const struct err *err,
                  bool may_have_run);

// The same body as JSON text, for the `error` event of a stream.
void api_write_run_error(struct buf *out, const char *request_id, const struct err *err,
                         bool may_have_run);

// Reads the run to its end, and takes what it writes. 0 with *ret filled (it points into the run),
// or -1.
struct execute_text;
struct run;
int api_collect(struct run *run, struct execute_text *text, const struct run_result **ret,
                struct err *err);

// Counts a run that ended without a result. `cut`: the service has begun to end runs, so one that
// was given up is its own doing and not its client's: *err says so from now on.
struct api_metrics;
struct runtime;
void api_run_failed(struct api_metrics *m, const struct runtime *rt, bool cut, struct err *err);

// A RUN_INTERNAL result as the error it is. False when the result is none.
bool api_result_error(const struct run_result *result, struct err *err);

#endif
