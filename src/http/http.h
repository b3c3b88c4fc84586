// SPDX-License-Identifier: Apache-2.0
//
// A request and its answer, as handlers see them. A handler runs on the connection's own thread and
// may block; it fills the response and returns. The server (http/server.h) does the rest.
#ifndef CSB_HTTP_HTTP_H
#define CSB_HTTP_HTTP_H

#include "base/buf.h"
#include "base/id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_HEADERS_MAX 4 // extra headers of one response

// Stack of a connection's thread, and of what handlers start. Sanitizers need more.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HTTP_STACK_BYTES ((size_t)2 << 20)
#else
#define HTTP_STACK_BYTES ((size_t)256 << 10)
#endif

struct http_exchange;

// Everything is borrowed for the handler's call, but `exchange`: see http_client_gone().
struct http_request {
    const char *method;
    const char *path;         // as sent (no decoding), without the query
    const char *query;        // as sent, without '?'; "" when there is none
    const uint8_t *body;      // NULL when body_len is 0
    size_t body_len;          // at most the server's limit
    char id[ID_UUID_LEN + 1]; // also sent as X-Request-Id
    struct http_exchange *exchange;
};

// A request header by name (case-insensitive); NULL when absent. Borrowed for the handler's call.
const char *http_header(const struct http_request *req, const char *name);

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

// Source of a streamed body. Both run on the connection's thread.
struct http_stream {
    // Blocks for the next bytes. Returns 1..max, 0 at the end, -1 to break the connection off.
    ssize_t (*pull)(void *arg, char *data, size_t max);
    // The last call, made exactly once, also when the client went away.
    void (*done)(void *arg);
    void *arg;
};

struct http_response {
    unsigned status;           // 200..599
    const char *content_type;  // static; NULL: application/json
    struct buf body;           // taken by the server
    struct http_stream stream; // used instead of `body` when pull is set
    struct {
        const char *name; // static
        char value[64];
    } headers[HTTP_HEADERS_MAX];
    size_t header_count;
};

// Adds a header; `name` is static, `value` copied.
void http_set_header(struct http_response *res, const char *name, const char *value);

// Fills an error: {"code", "error", "message", "field"?, "request_id"}. `field` may be NULL or "".
// What `res` held before is dropped.
void http_fail(const struct http_request *req, struct http_response *res, unsigned status,
               const char *error, const char *field, const char *message);

#endif
