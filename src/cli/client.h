// SPDX-License-Identifier: Apache-2.0
//
// HTTP to the service by libcurl: one exchange per call, blocking.
#ifndef CSB_CLI_CLIENT_H
#define CSB_CLI_CLIENT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

#define CLIENT_ANSWER_MAX (64u << 20)

// Fills up to `max` bytes of a request's body: how many, 0 at its end, SIZE_MAX to abort.
typedef size_t (*client_read_fn)(void *arg, char *data, size_t max);

// Takes a piece of a successful answer's body; a value other than 0 aborts the exchange.
typedef int (*client_body_fn)(void *arg, const char *data, size_t len);

// A header of the answer that is wanted. `value` is "" where it is not there, or is longer.
struct client_header {
    const char *name;
    char value[128];
};

struct client_request {
    const char *method; // "GET" or "POST"
    const char *path;   // "/execute"
    const char *accept; // NULL: application/json
    const char *body;   // JSON, NULL for none
    size_t body_len;
    const char *type;    // of the body; NULL: application/json
    client_read_fn read; // a body that is read as it is sent; NULL: `body`
    void *read_arg;
    int64_t read_len;           // its length, -1: not known
    const char *const *headers; // more of them, "Name: value"; NULL ends; or NULL
    struct client_header *wanted;
    long timeout_s;            // of the whole exchange, 0: none
    const atomic_bool *cancel; // once true, it ends within a second as a failed one; or NULL
    client_body_fn on_body;    // gets the body of a 2xx answer; NULL: it goes to `answer`
    void *arg;
};

// `answer` gets the body of an error answer, or of any without on_body. Errors: ERR_GONE when the
// service cannot be reached or closed the connection.
//
// Any thread. What libcurl has for the process is set up by the first call, which must be the only
// one then.
int client_call(const struct client_request *req, long *ret_status, struct buf *answer,
                struct err *err);

#endif
