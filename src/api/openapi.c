// SPDX-License-Identifier: Apache-2.0
//
// GET /openapi.yaml: the description of this API, which the build puts into the program.
#include "api/openapi.h"
#include "api/api_internal.h"
#include "http/http.h"

void api_openapi(void *app, const struct http_request *req, struct http_response *res)
{
    (void)app;
    if (buf_append(&res->body, openapi_yaml, openapi_yaml_len) < 0) {
        http_fail(req, res, 500, "internal", NULL, "out of memory");
        return;
    }
    res->status = 200;
    res->content_type = "application/yaml";
}
