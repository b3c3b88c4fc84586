// SPDX-License-Identifier: Apache-2.0
//
// POST /execute answered as server-sent events. docs/API.md lists them.
#ifndef CSB_API_EXECUTE_STREAM_H
#define CSB_API_EXECUTE_STREAM_H

struct api;
struct execute_request;
struct http_request;
struct http_response;

// Opens the run and fills `res` with its event stream, or with an error answer when the run could
// not be opened. `x` is borrowed for the call.
void execute_stream(const struct api *api, const struct http_request *req,
                    struct http_response *res, struct execute_request *x);

#endif
