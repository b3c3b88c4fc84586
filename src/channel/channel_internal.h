// SPDX-License-Identifier: Apache-2.0
//
// What the files of the client side share. channel.c moves bytes (loop thread, epoll, write),
// channel_session.c is the HTTP/2 session fed by hand, channel_stream.c is what callers block in.
//
// Locks: channel.lock guards the session, the descriptor, the output buffer and every stream of the
// channel; the I/O thread and the callers both take it, so that a request is written by the thread
// that makes it and needs no hop. channel_loop.lock guards only the list of detached channels and
// is taken with channel.lock held or alone, never the other way round.
//
// Lifetime: a channel has references: one of its owner (until channel_close), one of the loop
// (while the descriptor is registered and until the loop passed the batch of events that may still
// name it), one of each stream a caller holds.
#ifndef CSB_CHANNEL_CHANNEL_INTERNAL_H
#define CSB_CHANNEL_CHANNEL_INTERNAL_H

#include "base/buf.h"
#include "channel/channel.h"

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define CHANNEL_CONNECTION_WINDOW (1 << 20)
#define CHANNEL_HEADER_COUNT_MAX  64 // fields of one block
#define CHANNEL_BLOCKS_MAX        4  // header blocks of one answer, interim and trailers
#define CHANNEL_ACKS_MAX          64 // answers to PING and SETTINGS waiting to be sent
#define CHANNEL_SETTINGS_MAX      16 // entries of one SETTINGS frame

// Frames that carry no answer (SETTINGS, PING, WINDOW_UPDATE, empty DATA, ...) which the peer may
// send: a fixed number, and more as we give it cause. No clock: the rule is the same at any speed.
#define CHANNEL_CONTROL_BASE        512
#define CHANNEL_CONTROL_PER_REQUEST 32
#define CHANNEL_CONTROL_BYTES_EACH  256 // one more per so many bytes that we sent

// One write takes up to four full DATA frames; a frame is only asked for when it is sure to fit.
#define CHANNEL_FRAME_ROOM ((16u << 10) + 512)
#define CHANNEL_OUT_BYTES  (68u << 10)

// Bytes received may be this many times those of the answers' bodies (a body that comes byte by
// byte is ten), and more by a fixed sum and a sum per request (headers, what was on its way when a
// request was cancelled).
#define CHANNEL_WASTE_FACTOR      16
#define CHANNEL_WASTE_BASE        (64u << 10)
#define CHANNEL_WASTE_PER_REQUEST (CHANNEL_WINDOW_BYTES / 8)

struct channel_stream {
    struct channel *channel;
    struct channel_stream *prev; // in channel.streams, while in_session
    struct channel_stream *next;
    int32_t id;
    bool held;       // a caller has it; else it is freed when the session lets go
    bool in_session; // nghttp2 may still name it
    pthread_cond_t changed;

    struct buf body; // of the request, not yet sent, begins at `body_head`
    size_t body_head;
    bool finished; // `body` is the rest of it
    bool deferred; // nghttp2 waits for channel_write or channel_finish

    unsigned blocks; // header blocks so far, and what the current one holds
    size_t header_bytes;
    size_t header_count;
    int header_status;

    int status;         // of the answer, 0 before its headers
    struct buf headers; // of the answer: name, NUL, value, NUL, and so on; const once status is set
    struct buf queue;   // body not yet read by the caller begins at `head`
    size_t head;
    bool ended;         // the answer is complete
    struct err failure; // why it will never be; ERR_NONE while it may
};

struct channel {
    pthread_mutex_t lock;
    atomic_uint refs;
    atomic_bool dead; // takes no more requests
    struct channel_loop *loop;
    struct channel *next_detached; // channel_loop.lock

    int fd; // -1 when closed, or when fed by hand
    bool is_socket;
    bool registered;   // in the loop's epoll set
    bool want_out;     // EPOLLOUT is asked for
    bool write_broken; // writing failed; what the peer sent before may still be read
    nghttp2_session *session;
    const char *violation; // the rule the peer broke, set by callbacks
    bool goaway;           // the peer takes no more requests
    uint64_t control_frames;
    uint64_t control_allowed;
    uint64_t sent_bytes;
    uint64_t received_bytes;
    uint64_t useful_bytes;
    uint64_t waste_allowed;
    struct channel_stream *streams;

    size_t out_off;
    size_t out_len;
    uint8_t out[CHANNEL_OUT_BYTES];
};

// channel.c

void channel_put(struct channel *ch);

// Sends what the session has to say, as far as the descriptor takes it. Needs channel.lock. The
// session may be gone afterwards.
void channel_flush(struct channel *ch);

// Ends the session, its streams and the descriptor. Needs channel.lock; never inside a callback.
void channel_fail(struct channel *ch, enum err_code code, const char *message);

// channel_session.c

// A channel without loop and descriptor: what it sends is dropped, what it receives comes by
// channel_feed(). For channel_open() and for fuzzing. Returns NULL when memory is out.
struct channel *channel_new(void);

// Bytes from the peer. Needs channel.lock. The session may be gone afterwards.
void channel_feed(struct channel *ch, const uint8_t *data, size_t len);

// Fills ch->out, which must be empty, from the session. Needs channel.lock. 0 or -errno.
int channel_collect(struct channel *ch);

// Lets go of the session and fails the streams that are not complete. Needs channel.lock.
void channel_session_end(struct channel *ch, enum err_code code, const char *message);

// channel_stream.c

void channel_stream_free(struct channel_stream *s);

// Records why the answer will never be complete (the first reason stays) and wakes the caller.
void channel_stream_fail(struct channel_stream *s, enum err_code code, const char *message);

#endif
