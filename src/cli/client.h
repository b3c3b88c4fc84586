// SPDX-License-Identifier: Apache-2.0
//
// HTTP to the service by libcurl: one exchange per call, blocking.
#ifndef CSB_CLI_CLIENT_H
#define CSB_CLI_CLIENT_H

#include "base/buf.h"
#include "base/err.h"

#define CLIENT_ANSWER_MAX (64u << 20)

// Takes a piece of a successful answer's body; a value other than 0 aborts the exchange.
typedef int (*client_body_fn)(void *arg, const char *data, size_t len);

struct client_request {
    const char *method; // "GET" or "POST"
    const char *path;   // "/execute"
    const char *accept; // NULL: application/json
    const char *body;   // JSON, NULL for none
    size_t body_len;
    long timeout_s;         // of the whole exchange, 0: none
    client_body_fn on_body; // gets the body of a 2xx answer; NULL: it goes to `answer`
    void *arg;
};

// `answer` gets the body of an error answer, or of any without on_body. Errors: ERR_GONE when the
// service cannot be reached or closed the connection.
int client_call(const struct client_request *req, long *ret_status, struct buf *answer,
                struct err *err);

#endif
