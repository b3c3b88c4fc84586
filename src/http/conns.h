// SPDX-License-Identifier: Apache-2.0
//
// The open connections and how long each has been in its present state. A reaper thread shuts the
// socket of one that stayed too long; the connection's own thread then sees the end and cleans up.
// That bounds what slow or silent clients can hold, byte-dripping ones included.
#ifndef CSB_HTTP_CONNS_H
#define CSB_HTTP_CONNS_H

#include "base/err.h"

#include <stdint.h>

enum http_conn_state {
    HTTP_CONN_HEAD,    // waits for a request's head, or for the next request
    HTTP_CONN_BODY,    // receives a request's body
    HTTP_CONN_HANDLER, // our turn: never reaped
    HTTP_CONN_WRITE,   // sends the answer
    HTTP_CONN_STATES
};

struct http_conn;
struct http_conns;

// `limits_ms` holds the longest stay in each state; 0: none.
int http_conns_new(const uint64_t limits_ms[HTTP_CONN_STATES], struct http_conns **ret,
                   struct err *err);
// Every connection must have been removed.
void http_conns_free(struct http_conns *c);

// The socket is borrowed until http_conns_remove(). Any thread.
struct http_conn *http_conns_add(struct http_conns *c, int socket);
void http_conns_remove(struct http_conns *c, struct http_conn *conn);

// Moves to a state, restarting its time. Called by the connection's thread only.
void http_conn_enter(struct http_conn *conn, enum http_conn_state state);
int http_conn_socket(const struct http_conn *conn);

// From the deadline on, connections in the HEAD and BODY states are shut, also those that come to
// them later: nothing that a client may still send will be served. Any thread; the sooner of two
// deadlines holds.
void http_conns_cut(struct http_conns *c, uint64_t deadline_ns);

#endif
