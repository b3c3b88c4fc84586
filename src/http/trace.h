// SPDX-License-Identifier: Apache-2.0
//
// W3C Trace Context (https://www.w3.org/TR/trace-context/): the header `traceparent` of a request,
// and the one that goes on with what is done for it. Pure but for randomness.
#ifndef CSB_HTTP_TRACE_H
#define CSB_HTTP_TRACE_H

#include <stdbool.h>

#define TRACE_ID_LEN     32 // lower-case hex digits
#define TRACE_SPAN_LEN   16
#define TRACE_PARENT_LEN 55 // of a whole traceparent

// Zeroed: the request is of no trace.
struct http_trace {
    char trace_id[TRACE_ID_LEN + 1];  // the client's; "" for none
    char span_id[TRACE_SPAN_LEN + 1]; // of this request, made here
    char flags[3];                    // the client's
};

// Reads a header's value, NULL when there is none. False, with *ret empty: there is none, or it is
// malformed and to be ignored.
bool trace_read(const char *header, struct http_trace *ret);

// What is sent on, and answered: the same trace with this request as the parent.
void trace_write(const struct http_trace *t, char ret[TRACE_PARENT_LEN + 1]);

#endif
