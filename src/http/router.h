// SPDX-License-Identifier: Apache-2.0
//
// One const table of routes. Paths match exactly, but for a segment "*", which matches any one that
// is not empty; of two that match, the earlier is taken. A path with other methods is 405 with
// Allow, no path is 404. HEAD is served by the GET handler. Pure.
#ifndef CSB_HTTP_ROUTER_H
#define CSB_HTTP_ROUTER_H

struct http_request;
struct http_response;

typedef void (*http_handler)(void *app, const struct http_request *req, struct http_response *res);

struct http_route {
    const char *method;
    const char *path;
    http_handler handler;
    int access; // who may: http_options.admit knows
};

// The entry that takes the request, or NULL.
const struct http_route *http_route_find(const struct http_route *routes, const char *method,
                                         const char *path);

// `routes` ends with an entry whose method is NULL. Calls the handler, or fills 404 or 405. Returns
// the entry whose handler was called, or NULL.
const struct http_route *http_route(const struct http_route *routes, void *app,
                                    const struct http_request *req, struct http_response *res);

#endif
