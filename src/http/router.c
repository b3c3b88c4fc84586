// SPDX-License-Identifier: Apache-2.0
#include "http/router.h"

#include "http/h1.h"
#include "http/http.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

// Adds a method to an Allow value, once.
static void allow(char *list, size_t size, const char *method)
{
    size_t used = strlen(list);

    if (h1_list_has(list, method))
        return;
    (void)snprintf(list + used, size - used, "%s%s", used > 0 ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        allow(list, size, "HEAD");
}

static bool matches(const char *pattern, const char *path)
{
    for (; *pattern != '\0'; pattern++) {
        size_t len = strcspn(path, "/");

        if (*pattern != '*') {
            if (*pattern != *path++)
                return false;
        } else if (len == 0) {
            return false;
        } else {
            path += len;
        }
    }
    return *path == '\0';
}

const struct http_route *http_route_find(const struct http_route *routes, const char *method,
                                         const char *path)
{
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (const struct http_route *r = routes; r->method != NULL; r++)
        if (strcmp(r->method, method) == 0 && matches(r->path, path))
            return r;
    return NULL;
}

const struct http_route *http_route(const struct http_route *routes, void *app,
                                    const struct http_request *req, struct http_response *res)
{
    const char *method = strcmp(req->method, "HEAD") == 0 ? "GET" : req->method;
    char allowed[64] = "";

    for (const struct http_route *r = routes; r->method != NULL; r++) {
        if (!matches(r->path, req->path))
            continue;
        if (strcmp(r->method, method) == 0) {
            r->handler(app, req, res);
            return r;
        }
        allow(allowed, sizeof(allowed), r->method);
    }
    if (allowed[0] == '\0') {
        http_fail(req, res, 404, "not_found", NULL, "There is nothing at this path.");
        return NULL;
    }
    http_fail(req, res, 405, "method_not_allowed", NULL,
              "This path does not take that method; see the Allow header.");
    http_set_header(res, "Allow", allowed);
    return NULL;
}
