// SPDX-License-Identifier: Apache-2.0
//
// What the resources of the sandbox API share: who asks, which sandbox is meant, errors in the form
// that E2B's SDKs read, and a sandbox as JSON.
#ifndef CSB_API_SANDBOXES_INTERNAL_H
#define CSB_API_SANDBOXES_INTERNAL_H

#include "base/err.h"
#include "sandbox/live.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api;
struct http_request;
struct http_response;
struct json_out;

#define E2B_ENVD_VERSION "0.6.13" // whose data plane a sandbox has, as the SDKs gate features

// {"code": status, "message", "error_code"}; both texts are copied.
void e2b_fail(struct http_response *res, unsigned status, const char *error_code,
              const char *message);

// The same for an error of ours or of the request.
void e2b_fail_err(const struct http_request *req, struct http_response *res, const struct err *err);

// Who asks: *ret_key is the name of his tenant, to whom sandboxes belong. False: the answer is
// filled.
bool e2b_authorize(const struct api *api, const struct http_request *req, struct http_response *res,
                   char ret_key[LIVE_KEY_MAX]);

// The sandbox whose id is segment `index` of the path, if it is the asking key's. NULL: the answer
// is filled. Give it back with live_unref().
struct live *e2b_sandbox(const struct api *api, const struct http_request *req,
                         struct http_response *res, size_t index);

// An argument of the request, decoded, to be freed; NULL when it is not there. False: the answer is
// filled.
bool e2b_argument(const struct http_request *req, struct http_response *res, const char *name,
                  char **ret);

// The answer of creation and connection.
void e2b_put_connection(struct json_out *out, const char *key, const struct api *api,
                        struct live *l);

// Members of a listing's entry, without brackets.
void e2b_put_listed(struct json_out *out, const struct live_info *info);

void e2b_put_time(struct json_out *out, const char *key, uint64_t ms);

void api_sandboxes_create_v1(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_create_v2(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_get(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_kill(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_timeout(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_refresh(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_connect_v1(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_connect_v2(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_resume(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_pause(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_fork(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_network(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_list_v1(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_list_v2(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_metrics(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_metrics_all(void *app, const struct http_request *req,
                               struct http_response *res);
void api_sandboxes_logs_v1(void *app, const struct http_request *req, struct http_response *res);
void api_sandboxes_logs_v2(void *app, const struct http_request *req, struct http_response *res);
void api_snapshots_create(void *app, const struct http_request *req, struct http_response *res);
void api_snapshots_list(void *app, const struct http_request *req, struct http_response *res);
void api_templates_list(void *app, const struct http_request *req, struct http_response *res);
void api_templates_alias(void *app, const struct http_request *req, struct http_response *res);
void api_templates_delete(void *app, const struct http_request *req, struct http_response *res);

#endif
