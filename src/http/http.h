// SPDX-License-Identifier: Apache-2.0
//
// A request and its answer, as handlers see them. A handler runs on the connection's own thread and
// may block; it fills the response and returns. The server (http/server.h) does the rest.
#ifndef CSB_HTTP_HTTP_H
#define CSB_HTTP_HTTP_H

#include "base/buf.h"
#include "base/id.h"
#include "http/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_HEADER_BYTES ((size_t)24 << 10) // of a response's own headers

// Stack of a connection's thread, and of what handlers start. Sanitizers need more.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HTTP_STACK_BYTES ((size_t)2 << 20)
#else
#define HTTP_STACK_BYTES ((size_t)256 << 10)
#endif

struct http_exchange;
struct http_response;

// Everything is borrowed for the handler's call, but `exchange`: see http_client_gone().
struct http_request {
    const char *method;
    const char *path;         // as sent (no decoding), without the query
    const char *query;        // as sent, without '?'; "" when there is none
    const uint8_t *body;      // NULL when body_len is 0
    size_t body_len;          // at most the server's limit
    char id[ID_UUID_LEN + 1]; // also sent as X-Request-Id
    struct http_trace trace;  // of its traceparent; answered with one of the same trace
    const void *caller;       // who asks, as http_options.admit said; NULL: nobody known
    struct http_exchange *exchange;
};

// A request header by name (case-insensitive); NULL when absent. Borrowed for the handler's call.
const char *http_header(const struct http_request *req, const char *name);

// Calls `each` with every header of the request, in order, until it returns false. Names are as
// sent.
void http_each_header(const struct http_request *req,
                      bool (*each)(void *arg, const char *name, const char *value), void *arg);

// Percent-decodes; `plus`: a '+' is a space. *ret is NUL-terminated, freed with free(). 0, -EINVAL
// for a malformed escape or an escaped NUL, -ENOMEM.
int http_unescape(const char *text, size_t len, bool plus, char **ret);

// A query argument by name, percent-decoded, '+' being a space. *ret is freed with free(); NULL
// when the argument is absent. 0, -EINVAL for a malformed escape or a NUL, -EEXIST when it is there
// twice, -ENOMEM.
int http_query(const struct http_request *req, const char *name, char **ret);

// Copies segment `index` of the path, counted from 0, to `ret`. False when there is none or it does
// not fit.
bool http_segment(const struct http_request *req, size_t index, char *ret, size_t size);

// True once the client closed its connection, or its sending side, or the server cuts what runs at
// the end of a drain. Any thread; valid until the handler returned or, for a streamed response,
// until its `done` was called.
bool http_client_gone(const struct http_exchange *exchange);

// Whether the server has begun to cut what is under way (http_server_cut()): then
// http_client_gone() says so of everybody.
bool http_is_cut(const struct http_exchange *exchange);

// Source of a streamed body. Both run on the connection's thread.
struct http_stream {
    // Blocks for the next bytes. Returns 1..max, 0 at the end, -1 to break the connection off.
    ssize_t (*pull)(void *arg, char *data, size_t max);
    // The last call, made exactly once, also when the client went away. May be NULL.
    void (*done)(void *arg);
    void *arg;
};

// Takes a request's body as it comes, however long it is. All run on the connection's thread.
struct http_sink {
    // Blocks until the bytes are taken. False when no more are wanted: what else comes is thrown
    // away, up to a limit. NULL: none is wanted from the start.
    bool (*push)(void *arg, const void *data, size_t len);
    // The request is complete. Fills the answer.
    void (*end)(void *arg, const struct http_request *req, struct http_response *res);
    // The last call, made exactly once, also when the client went away before `end`: after that of
    // a streamed answer.
    void (*done)(void *arg);
    void *arg;
};

// What goes on after an answer 101: `socket` is the client's, `extra` what came of it already, both
// borrowed for the call, which is on the connection's thread and lasts as long as the connection.
// http_client_gone() works; when it says so the call shall end soon.
typedef void (*http_upgrade_fn)(void *arg, int socket, const void *extra, size_t extra_len);

struct http_response {
    unsigned status;           // 200..599; 101 with `upgrade`
    const char *content_type;  // static; NULL: application/json, or none when `foreign`
    struct buf body;           // taken by the server
    struct http_stream stream; // used instead of `body` when pull is set
    bool sized;                // a streamed body has `size` bytes: fewer break the connection off
    uint64_t size;
    bool foreign; // another server's answer: no header of ours is added
    http_upgrade_fn upgrade;
    void *upgrade_arg;
    struct buf headers; // name, NUL, value, NUL, and so on; taken by the server
};

// Adds a header; both are copied. What is more than HTTP_HEADER_BYTES in sum is left out.
void http_set_header(struct http_response *res, const char *name, const char *value);

// Sets Retry-After: in whole seconds, no sooner than `wait_ms` from now.
void http_set_retry_after(struct http_response *res, uint64_t wait_ms);

// Fills an error: {"code", "error", "message", "field"?, "request_id"}. `field` may be NULL or "".
// What `res` held before is dropped.
void http_fail(const struct http_request *req, struct http_response *res, unsigned status,
               const char *error, const char *field, const char *message);

#endif
