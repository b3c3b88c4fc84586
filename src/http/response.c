// SPDX-License-Identifier: Apache-2.0
#include "http/http.h"

#include "json/write.h"

#include <stdio.h>
#include <string.h>

void http_set_header(struct http_response *res, const char *name, const char *value)
{
    if (res->header_count == HTTP_HEADERS_MAX)
        return;
    res->headers[res->header_count].name = name;
    (void)snprintf(res->headers[res->header_count].value, sizeof(res->headers[0].value), "%s",
                   value);
    res->header_count++;
}

void http_fail(const struct http_request *req, struct http_response *res, unsigned status,
               const char *error, const char *field, const char *message)
{
    struct json_out out = {.buf = &res->body};

    res->status = status;
    res->content_type = NULL;
    res->header_count = 0;
    buf_clear(&res->body);
    json_open(&out, NULL, '{');
    json_put_u64(&out, "code", status);
    json_put_str(&out, "error", error);
    json_put_str(&out, "message", message);
    if (field != NULL && field[0] != '\0')
        json_put_str(&out, "field", field);
    json_put_str(&out, "request_id", req->id);
    json_close(&out, '}');
}
