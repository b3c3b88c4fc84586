// SPDX-License-Identifier: Apache-2.0
//
// Whether a request's head can be read in one way only. The library is tolerant where another
// server before this one may read otherwise, and then one takes for a body what the other takes for
// the next request.
#ifndef CSB_HTTP_HEAD_H
#define CSB_HTTP_HEAD_H

struct http_request;

struct head_fault {
    const char *header; // the one at fault, or "headers"; static
    const char *why;    // a sentence; static
};

// `version` is that of the request line. NULL when all is well; else static. Blocks for nothing; on
// the connection's thread.
const struct head_fault *head_check(const struct http_request *req, const char *version);

#endif
