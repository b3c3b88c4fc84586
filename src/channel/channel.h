// SPDX-License-Identifier: Apache-2.0
//
// The daemon's side of the channel: HTTP/2 requests to an agent over one connected byte stream.
//
// One I/O thread (struct channel_loop) reads for all channels; a request is written by the thread
// that makes it. Callers on any thread hold streams and read them through a bounded queue: what the
// caller has not read is at most CHANNEL_WINDOW_BYTES, then the agent is held back by flow control.
// The agent is hostile: header blocks, header counts, frames of control type and settings are
// capped; a session that breaks a rule is closed and its streams end with ERR_PROTOCOL.
//
// A stream is used by one thread at a time, except that one may write the request's body while
// another reads the answer, and for channel_stream_cancel(). Any number of streams of a channel may
// be used at once.
#ifndef CSB_CHANNEL_CHANNEL_H
#define CSB_CHANNEL_CHANNEL_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHANNEL_WINDOW_BYTES (256u << 10)

struct channel_loop;   // the I/O thread
struct channel;        // one session
struct channel_stream; // one request

// Starts the I/O thread. Free only after every channel is closed; NULL is allowed. Streams may
// outlive the loop.
int channel_loop_new(struct channel_loop **ret, struct err *err);
void channel_loop_free(struct channel_loop *loop);

// Takes `fd` (a connected stream socket, also on failure) and starts a client session on it. Does
// not wait for the peer; the peer hears of it with the first request. SIGPIPE must be ignored
// unless `fd` is a socket. Errors: ERR_SYSTEM, ERR_INTERNAL (memory).
int channel_open(struct channel_loop *loop, int fd, struct channel **ret, struct err *err);

// Ends the session: streams still open fail with ERR_GONE, also those a thread is blocked in. The
// fd is closed before this returns. Streams must be closed by their holders, before or after. `ch`
// is no longer the caller's: nothing else may be called with it. NULL is allowed.
void channel_close(struct channel *ch);

// Ends the session as channel_close() does, but `ch` stays the caller's, dead, until that. Any
// thread.
void channel_shut(struct channel *ch);

// True once the peer hung up or the session failed. Any thread.
int channel_is_dead(struct channel *ch);

#define CHANNEL_HEADERS_MAX  64          // of a request
#define CHANNEL_HEADER_BYTES (16u << 10) // of an answer, names and values and 32 per field

struct channel_header {
    const char *name; // lower case
    const char *value;
};

struct channel_request {
    const char *method;  // "GET", "POST", "CONNECT"; borrowed for the call
    const char *path;    // of CONNECT: "host:port"; borrowed for the call
    const uint8_t *body; // borrowed for the call (it is copied); NULL when body_len is 0
    size_t body_len;
    const struct channel_header *headers; // borrowed for the call
    size_t header_count;                  // at most CHANNEL_HEADERS_MAX; the rest is not sent
};

// Begins a request whose body goes on after `body`: by channel_write(), until channel_finish().
// Returns at once. Close *ret with channel_stream_close(). Errors: ERR_GONE, ERR_INTERNAL (memory).
int channel_begin(struct channel *ch, const struct channel_request *req,
                  struct channel_stream **ret, struct err *err);

// Blocks until some of `len` (> 0) bytes are taken, at most CHANNEL_WINDOW_BYTES more than the
// agent lets us send. Returns how many, or -1: ERR_TIMEOUT (the stream is still usable), ERR_GONE
// or ERR_PROTOCOL. ERR_GONE also when the answer was complete before its request was: it can be
// read.
ssize_t channel_write(struct channel_stream *s, const void *data, size_t len, uint64_t deadline_ns,
                      struct err *err);

// Ends the request's body; to be called once. Does not wait for it to be sent.
void channel_finish(struct channel_stream *s);

// Sends a whole request: channel_begin(), channel_finish().
int channel_send(struct channel *ch, const struct channel_request *req, struct channel_stream **ret,
                 struct err *err);

// Blocks until the answer's headers came. *ret_status is the HTTP status, 100..599. Errors:
// ERR_TIMEOUT at the deadline, ERR_GONE, ERR_PROTOCOL.
int channel_status(struct channel_stream *s, uint64_t deadline_ns, int *ret_status,
                   struct err *err);

// The first value of a header of the answer, or NULL; `name` in lower case. Once channel_status()
// has succeeded; borrowed until channel_stream_close(). Hostile as the body is, but free of NUL, CR
// and LF and no longer than CHANNEL_HEADER_BYTES.
const char *channel_header(const struct channel_stream *s, const char *name);

// Blocks until at least one byte of the answer's body is there, the body ended, or the deadline.
// Returns the number of bytes put in `data` (> 0), 0 at the end of the body, -1 with ERR_TIMEOUT,
// ERR_GONE or ERR_PROTOCOL. What came before a failure is read first. After ERR_TIMEOUT the stream
// is still usable.
ssize_t channel_read(struct channel_stream *s, void *data, size_t len, uint64_t deadline_ns,
                     struct err *err);

// Resets an unfinished request from another thread than the one that reads it, which then gets
// ERR_CANCELLED once it read what had come. The stream still has to be closed by its holder, and
// must not be while this runs.
void channel_stream_cancel(struct channel_stream *s);

// Gives the stream back; an unfinished one is reset (RST_STREAM CANCEL), which kills what it ran.
// NULL is allowed.
void channel_stream_close(struct channel_stream *s);

// One whole exchange: send, read the answer (at most `max` bytes), close. *ret_body is
// NUL-terminated, freed by the caller with free(). ERR_PROTOCOL when the answer is larger.
int channel_call(struct channel *ch, const struct channel_request *req, size_t max,
                 uint64_t deadline_ns, int *ret_status, char **ret_body, size_t *ret_len,
                 struct err *err);

#endif
