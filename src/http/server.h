// SPDX-License-Identifier: Apache-2.0
//
// The HTTP/1.1 server over libmicrohttpd: a thread per connection with a small stack, so handlers
// may simply block. Every resource a client can take has a limit below.
#ifndef CSB_HTTP_SERVER_H
#define CSB_HTTP_SERVER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_server;
struct http_request;
struct http_response;
struct http_route;
struct http_sink;

// A request that is over.
struct http_seen {
    const struct http_route *route; // NULL: none matched, or it was refused before
    bool taken;                     // it was its own, by http_options.take
    unsigned status;                // 0: it was not answered
    uint64_t took_ns;               // from its head to the end of its answer
};

struct http_options {
    int listen_fd; // of listen_tcp(); the server's when http_server_new() succeeds
    const struct http_route *routes; // borrowed for the server's life
    void *app;                       // given to handlers
    // Asked with the head of every request, on the connection's thread, and not to block for long.
    // True: the request is its own and *ret is filled; the server then neither bounds the body nor
    // looks at Host, Origin and Content-Encoding. NULL: there are no such requests.
    bool (*take)(void *app, const struct http_request *req, struct http_sink *ret);
    // Told of every request whose head was complete, on the connection's thread, when its answer
    // was sent or broken off. NULL allowed.
    void (*observe)(void *app, const struct http_seen *seen);
    // Asked with the head of every request that has a route and is not taken, on the connection's
    // thread. True: it may go on, and *ret_caller is what handlers get as its caller, valid until
    // it is over. False: the answer is filled, and the body is thrown away. NULL: all may.
    bool (*admit)(void *app, const struct http_route *route, const struct http_request *req,
                  const void **ret_caller, struct http_response *res);
    size_t body_max_bytes;                // larger request bodies are answered 413
    uint32_t connections_max;             // more wait in the listen queue
    uint32_t connections_per_address_max; // more of one client address are closed; 0: any number
    uint64_t idle_ms;  // a connection without a complete request head is closed after this
    uint64_t body_ms;  // longest time for a request's body to arrive; of one that is taken as it
                       // comes, for the next piece
    uint64_t write_ms; // longest time for the client to take what it is sent
    // Names accepted in the Host header and, as "http://NAME[:port]", in Origin; others are 403.
    // Comma-separated; NULL: any. Loopback names are always accepted.
    const char *allowed_hosts;
};

// Starts serving.
int http_server_new(const struct http_options *options, struct http_server **ret, struct err *err);

// Stops accepting connections; requests on open ones are answered 503 from now on, and those that
// have not come in whole after two seconds are cut off. Requests under way go on.
void http_server_quiesce(struct http_server *s);

// Waits until no request is under way. False at the deadline.
bool http_server_wait_idle(struct http_server *s, uint64_t deadline_ns);

// Makes http_client_gone() true for every request under way, and cuts off those still arriving.
void http_server_cut(struct http_server *s);

// Closes all connections and frees; handlers under way are waited for. NULL allowed.
void http_server_free(struct http_server *s);

#endif
