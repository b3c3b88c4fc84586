// SPDX-License-Identifier: Apache-2.0
#include "http/http.h"

#include "json/write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void http_set_header(struct http_response *res, const char *name, const char *value)
{
    size_t name_size = strlen(name) + 1;
    size_t value_size = strlen(value) + 1;

    // In one step, so that a name never stands without its value.
    if (name_size + value_size > HTTP_HEADER_BYTES - res->headers.len ||
        buf_reserve(&res->headers, name_size + value_size) == NULL)
        return;
    (void)buf_append(&res->headers, name, name_size);
    (void)buf_append(&res->headers, value, value_size);
}

void http_set_retry_after(struct http_response *res, uint64_t wait_ms)
{
    char seconds[24];

    (void)snprintf(seconds, sizeof(seconds), "%" PRIu64, wait_ms / 1000 + (wait_ms % 1000 > 0));
    http_set_header(res, "Retry-After", seconds);
}

void http_fail(const struct http_request *req, struct http_response *res, unsigned status,
               const char *error, const char *field, const char *message)
{
    struct json_out out = {.buf = &res->body};

    res->status = status;
    res->content_type = NULL;
    buf_clear(&res->headers);
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
