// SPDX-License-Identifier: Apache-2.0
//
// What the two halves of the agent's side share: server.c drives the session, server_stream.c is
// what a handler does with its stream.
#ifndef CSB_CHANNEL_SERVER_INTERNAL_H
#define CSB_CHANNEL_SERVER_INTERNAL_H

#include "base/buf.h"
#include "channel/server.h"

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METHOD_MAX 15
#define IN_BYTES   (64u << 10)
#define OUT_BYTES  (68u << 10)

struct server_stream {
    struct server *server;
    struct server_stream *prev;
    struct server_stream *next;
    int32_t id;
    void *user;

    const struct server_callbacks *callbacks;
    void *arg;

    char method[METHOD_MAX + 1];
    char *path;         // NULL for CONNECT
    char *authority;    // what CONNECT has instead
    struct buf headers; // name, NUL, value, NUL, and so on
    size_t header_bytes;
    uint64_t body_bytes;
    uint64_t body_max;
    bool held;         // the peer is not credited for what it sends
    size_t uncredited; // came while held
    bool announced;    // on_request was called
    bool ended;        // the request is complete, or no longer wanted

    struct buf queue; // of the answer; begins at `head`
    size_t head;
    bool responded;
    bool finished; // the queue is the rest of the answer
    bool deferred; // nghttp2 waits for server_write or server_finish
    bool refused;  // a write was, and on_drain is owed
};

struct server {
    int fd; // borrowed
    bool is_socket;
    bool inside;  // in a call that drives the session: callbacks must not drive it again
    bool greeted; // the peer's first bytes came
    size_t kept;  // bytes in `in` that server_restart() begins with
    int error;    // 0, or why the session is over
    struct server_options options;
    nghttp2_session *session;
    struct server_stream *streams;
    size_t out_off;
    size_t out_len;
    uint8_t out[OUT_BYTES];
    uint8_t in[IN_BYTES];
};

// Bytes of the answer that nghttp2 did not take yet.
static inline size_t server_stream_queued(const struct server_stream *s)
{
    return s->queue.len - s->head;
}

// Lets the peer send as much again as came. Fails only where nothing more will come.
void server_stream_credit(struct server_stream *s);

#endif
