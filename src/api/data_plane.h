// SPDX-License-Identifier: Apache-2.0
//
// Requests that are for a sandbox of a client: to the agent's data plane (port 49983), or to any
// other port in it. They are found by E2b-Sandbox-Id and E2b-Sandbox-Port, by the left-most label
// of Host (<port>-<id>), or, for files, by a signature. What is theirs is handed on and streamed
// both ways without a bound; nothing of it is kept here.
#ifndef CSB_API_DATA_PLANE_H
#define CSB_API_DATA_PLANE_H

#include <stdbool.h>

struct http_request;
struct http_sink;

#define DATA_PLANE_PORT 49983

// For http_options.take; `app` is a struct api.
bool data_plane_take(void *app, const struct http_request *req, struct http_sink *ret);

#endif
