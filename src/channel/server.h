// SPDX-License-Identifier: Apache-2.0
//
// The agent's side of the channel: an HTTP/2 server session on one byte stream, driven by the
// caller's own event loop (single-threaded, nothing here blocks). Used by csb-agent and by the fake
// driver.
//
// The caller polls the fd for input always, and for output while server_wants_write(); on readiness
// it calls server_readable()/server_writable(). Callbacks run inside those calls.
#ifndef CSB_CHANNEL_SERVER_H
#define CSB_CHANNEL_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;
struct server_stream;

struct server_callbacks {
    // A request's headers came. `method` (at most 15 bytes) and `path` (of CONNECT: "host:port")
    // are borrowed until on_close. All headers of a request together take at most 16 KiB; more
    // resets the stream.
    void (*on_request)(void *arg, struct server_stream *s, const char *method, const char *path);
    // Part of the request's body. Borrowed for the call. The body as a whole is capped by
    // server_options.body_max, or server_stream_set_body_max(): past it the stream is reset.
    // Neither this nor on_end is called once the answer was given in full.
    void (*on_body)(void *arg, struct server_stream *s, const uint8_t *data, size_t len);
    // The request's body ended.
    void (*on_end)(void *arg, struct server_stream *s);
    // The stream is gone: answered in full, reset by the peer, or the session ended. The last call
    // for `s`, always made once per on_request. server_stream_user() still works.
    void (*on_close)(void *arg, struct server_stream *s);
    // The queue of `s` fell below half of SERVER_QUEUE_BYTES again after a write was refused.
    void (*on_drain)(void *arg, struct server_stream *s);
};

#define SERVER_QUEUE_BYTES (256u << 10)

struct server_options {
    const struct server_callbacks *callbacks;
    void *arg;
    size_t body_max;
    uint32_t streams_max;
    // The descriptor is a port that stays while peers behind it come and go, perhaps unseen: what
    // comes before the first bytes of a session is left from a former peer and skipped, and those
    // bytes at the start of a read later are a new peer (-ECONNRESET below).
    bool port;
};

// `fd` is borrowed and must be non-blocking; a stream socket or anything that reads and writes like
// one (then SIGPIPE must be ignored). 0 or -errno.
int server_new(int fd, const struct server_options *options, struct server **ret);
void server_free(struct server *s); // on_close for every open stream; NULL allowed

// 0, or -errno when the session is over (-EPIPE peer closed, -EPROTO peer broke the rules): free
// it. -ECONNRESET: another peer has taken the place of the one before; free it, or server_restart()
// it to serve that one. server_free() must not be called inside a callback.
int server_readable(struct server *s);
int server_writable(struct server *s);
// After -ECONNRESET: on_close for every open stream, then a fresh session that has read what the
// new peer sent. 0 or -errno as server_readable().
int server_restart(struct server *s);

bool server_wants_write(const struct server *s);

// Gives the stream other callbacks than the session's, from now on; to be called in on_request.
void server_stream_set_callbacks(struct server_stream *s, const struct server_callbacks *callbacks,
                                 void *arg);

// Another cap for the body of this request; UINT64_MAX for none. In on_request.
void server_stream_set_body_max(struct server_stream *s, uint64_t body_max);

// The first value of a header of the request, or NULL. `name` in lower case; the value is borrowed
// until on_close.
const char *server_stream_header(const struct server_stream *s, const char *name);

// Steps through the request's headers: *at begins with 0. False when there are no more. Borrowed.
bool server_stream_header_at(const struct server_stream *s, size_t *at, const char **ret_name,
                             const char **ret_value);

// While held, the peer is not credited for what it sends: on_body gets at most 1 MiB more. Other
// streams go on.
void server_stream_hold(struct server_stream *s, bool hold);

// Breaks the answer off: the peer sees an error in place of the end. on_close follows later.
void server_stream_reset(struct server_stream *s);

void server_stream_set_user(struct server_stream *s, void *user);
void *server_stream_user(const struct server_stream *s);

// Starts the answer; more = false ends it after `data` (at most SERVER_QUEUE_BYTES). 0; -EMSGSIZE
// when `data` is larger; -EINVAL when called twice or `status` is not 200..599; -EPIPE. Call once
// per stream.
int server_respond(struct server_stream *s, int status, const char *content_type, const void *data,
                   size_t len, bool more);

#define SERVER_HEADERS_MAX 12

struct server_header {
    const char *name; // lower case
    const char *value;
};

struct server_answer {
    int status;
    const char *content_type; // or NULL
    const struct server_header *headers;
    size_t header_count; // at most SERVER_HEADERS_MAX
    const void *data;
    size_t len;
    bool more;
};

// As server_respond(), with headers. All is copied.
int server_answer(struct server_stream *s, const struct server_answer *a);

// Appends to the answer's body. 0; -EAGAIN when the queue is full (nothing was taken; wait for
// on_drain); -EPIPE when the session ended; -EINVAL before server_respond() or after the end. A
// write of up to half of SERVER_QUEUE_BYTES always fits once on_drain was called, one of more than
// all of it never. Data is copied. Call server_writable() afterwards (or poll) to get it sent;
// inside a callback there is no need to.
int server_write(struct server_stream *s, const void *data, size_t len);

// Ends the answer's body once the queue is sent.
void server_finish(struct server_stream *s);

// Free room in the queue, bytes.
size_t server_room(const struct server_stream *s);

#endif
