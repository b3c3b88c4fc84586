// SPDX-License-Identifier: Apache-2.0
//
// The agent's side of the channel. One thread, nothing blocks, nothing is locked: the caller's loop
// drives it. Bytes out are collected from nghttp2 into one buffer, so that an answer of ordinary
// size is one write.
#include "channel/server.h"

#include "base/buf.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_WINDOW     (1 << 20)
#define CONNECTION_WINDOW (4 << 20)
#define METHOD_MAX        15
#define PATH_MAX_BYTES    1023
#define HEADER_BYTES_MAX  (16u << 10)
#define IN_BYTES          (64u << 10)
#define OUT_BYTES         (68u << 10)
#define FRAME_ROOM        ((16u << 10) + 512) // a frame of ours never takes more
#define ROUNDS            16                  // reads or writes of one call
#define PIECE_BYTES       4096 // a virtio-serial port hands out a page at a time: less is the last

struct server_stream {
    struct server *server;
    struct server_stream *prev;
    struct server_stream *next;
    int32_t id;
    void *user;

    char method[METHOD_MAX + 1];
    char path[PATH_MAX_BYTES + 1];
    size_t header_bytes;
    size_t body_bytes;
    bool announced; // on_request was called
    bool ended;     // the request is complete, or no longer wanted

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

static struct server_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static size_t queued(const struct server_stream *s)
{
    return s->queue.len - s->head;
}

static struct server_stream *stream_new(struct server *server, int32_t id)
{
    struct server_stream *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->server = server;
    s->id = id;
    s->next = server->streams;
    if (s->next != NULL)
        s->next->prev = s;
    server->streams = s;
    return s;
}

static void stream_free(struct server_stream *s)
{
    const struct server_options *o = &s->server->options;

    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        s->server->streams = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    if (s->announced && o->callbacks->on_close != NULL)
        o->callbacks->on_close(o->arg, s);
    buf_release(&s->queue);
    free(s);
}

// The peer asked for too much. What else comes of the request is dropped.
static int refuse(struct server_stream *s)
{
    s->ended = true;
    return nghttp2_submit_rst_stream(s->server->session, NGHTTP2_FLAG_NONE, s->id,
                                     NGHTTP2_ENHANCE_YOUR_CALM) == 0
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct server_stream *s;

    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    s = stream_new(arg, frame->hd.stream_id);
    if (s == NULL)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
    return 0;
}

// Copies a header's value that fits; false when it does not.
static bool copy(char *out, size_t size, const uint8_t *value, size_t len)
{
    if (len >= size)
        return false;
    memcpy(out, value, len);
    out[len] = '\0';
    return true;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct server_stream *s = stream_of(session, frame->hd.stream_id);
    bool ok = true;

    (void)flags;
    (void)arg;
    if (s == NULL || s->ended)
        return 0;
    s->header_bytes += name_len + value_len + 32;
    if (s->header_bytes > HEADER_BYTES_MAX)
        return refuse(s);
    if (s->announced)
        return 0;
    if (name_len == 7 && memcmp(name, ":method", 7) == 0)
        ok = copy(s->method, sizeof(s->method), value, value_len);
    else if (name_len == 5 && memcmp(name, ":path", 5) == 0)
        ok = copy(s->path, sizeof(s->path), value, value_len);
    return ok ? 0 : refuse(s);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    const struct server *server = arg;
    const struct server_options *o = &server->options;
    struct server_stream *s;

    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    s = stream_of(session, frame->hd.stream_id);
    if (s == NULL || s->ended)
        return 0;
    if (!s->announced) {
        s->announced = true;
        if (o->callbacks->on_request != NULL)
            o->callbacks->on_request(o->arg, s, s->method, s->path);
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        s->ended = true;
        if (o->callbacks->on_end != NULL && !s->finished)
            o->callbacks->on_end(o->arg, s);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    const struct server *server = arg;
    const struct server_options *o = &server->options;
    struct server_stream *s = stream_of(session, id);

    (void)flags;
    if (s == NULL || s->ended || s->finished)
        return 0;
    s->body_bytes += len;
    if (s->body_bytes > o->body_max)
        return refuse(s);
    if (o->callbacks->on_body != NULL)
        o->callbacks->on_body(o->arg, s, data, len);
    return 0;
}

// An answer that is out before its request is in: the peer shall stop sending.
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct server_stream *s;

    (void)arg;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    s = stream_of(session, frame->hd.stream_id);
    if (s == NULL || s->ended)
        return 0;
    s->ended = true;
    return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR) == 0
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct server_stream *s = stream_of(session, id);

    (void)code;
    (void)arg;
    if (s != NULL)
        stream_free(s);
    return 0;
}

// nghttp2 asks for the next part of an answer's body.
static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *out, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct server_stream *s = source->ptr;
    size_t n = queued(s);

    (void)session;
    (void)id;
    (void)arg;
    if (n > len)
        n = len;
    if (n == 0 && !s->finished) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > 0)
        memcpy(out, s->queue.data + s->head, n);
    s->head += n;
    if (queued(s) == 0) {
        buf_clear(&s->queue);
        s->head = 0;
        if (s->finished)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

static int new_session(struct server *s)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->options.streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_BYTES_MAX},
    };
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    int r;

    if (nghttp2_session_callbacks_new(&cb) != 0)
        return -ENOMEM;
    if (nghttp2_option_new(&option) != 0) {
        nghttp2_session_callbacks_del(cb);
        return -ENOMEM;
    }
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    r = nghttp2_session_server_new2(&s->session, cb, s, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    if (r == 0)
        r = nghttp2_submit_settings(s->session, NGHTTP2_FLAG_NONE, settings,
                                    sizeof(settings) / sizeof(settings[0]));
    if (r == 0)
        r = nghttp2_session_set_local_window_size(s->session, NGHTTP2_FLAG_NONE, 0,
                                                  CONNECTION_WINDOW);
    return r == 0 ? 0 : -ENOMEM;
}

int server_new(int fd, const struct server_options *options, struct server **ret)
{
    struct server *s = calloc(1, sizeof(*s));
    socklen_t len = sizeof(int);
    int type;
    int r;

    if (s == NULL)
        return -ENOMEM;
    s->fd = fd;
    s->options = *options;
    s->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
    r = new_session(s);
    if (r < 0) {
        server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

static void end_session(struct server *s)
{
    s->inside = true;
    if (s->error == 0)
        s->error = -EPIPE;
    nghttp2_session_del(s->session);
    s->session = NULL;
    while (s->streams != NULL)
        stream_free(s->streams);
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    end_session(s);
    free(s);
}

// Collects frames into the empty output buffer.
static int collect(struct server *s)
{
    s->out_off = 0;
    s->out_len = 0;
    while (sizeof(s->out) - s->out_len >= FRAME_ROOM) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(s->session, &data);

        if (n < 0)
            return n == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
        if (n == 0)
            return 0;
        if ((size_t)n > sizeof(s->out) - s->out_len)
            return -EMSGSIZE;
        memcpy(s->out + s->out_len, data, (size_t)n);
        s->out_len += (size_t)n;
    }
    return 0;
}

static int write_some(struct server *s)
{
    const uint8_t *data = s->out + s->out_off;
    size_t len = s->out_len - s->out_off;
    ssize_t n;

    do {
        n = s->is_socket ? send(s->fd, data, len, MSG_NOSIGNAL) : write(s->fd, data, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? -EAGAIN : -EPIPE;
    s->out_off += (size_t)n;
    return 0;
}

// Tells the streams that were refused a write and now have room. True if any was told. A stream
// cannot go away in here: only driving the session ends streams.
static bool tell_drained(struct server *s)
{
    const struct server_options *o = &s->options;
    bool told = false;

    for (struct server_stream *i = s->streams; i != NULL; i = i->next) {
        if (!i->refused || queued(i) >= SERVER_QUEUE_BYTES / 2)
            continue;
        i->refused = false;
        told = true;
        if (o->callbacks->on_drain != NULL)
            o->callbacks->on_drain(o->arg, i);
    }
    return told;
}

// Sends until nothing is left or the descriptor takes no more.
static int flush(struct server *s)
{
    for (int i = 0; i < ROUNDS; i++) {
        int r = 0;

        if (s->out_off == s->out_len)
            r = collect(s);
        if (r < 0)
            return r;
        if (tell_drained(s) && s->out_len == 0)
            continue;
        if (s->out_len == 0)
            break;
        r = write_some(s);
        if (r == -EAGAIN)
            return 0;
        if (r < 0)
            return r;
    }
    if (s->out_len == 0 && !nghttp2_session_want_read(s->session) &&
        !nghttp2_session_want_write(s->session))
        return -EPROTO;
    return 0;
}

static int drive_out(struct server *s)
{
    int r = flush(s);

    if (r < 0)
        s->error = r;
    return s->error;
}

static bool is_greeting(const struct server *s, size_t len)
{
    return len >= NGHTTP2_CLIENT_MAGIC_LEN &&
           memcmp(s->in, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN) == 0;
}

static int feed(struct server *s, size_t len)
{
    ssize_t n = nghttp2_session_mem_recv(s->session, s->in, len);

    if (n < 0)
        return s->error = n == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
    return 0;
}

static int drive_in(struct server *s)
{
    for (int i = 0; i < ROUNDS; i++) {
        ssize_t n = read(s->fd, s->in, sizeof(s->in));
        size_t got;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0)
            return s->error = -EPIPE;
        got = (size_t)n;
        if (s->options.port && s->greeted && is_greeting(s, got)) {
            s->kept = got;
            return s->error = -ECONNRESET;
        }
        if (s->options.port && !s->greeted && !is_greeting(s, got))
            continue;
        s->greeted = true;
        if (feed(s, got) < 0)
            return s->error;
        if (got < PIECE_BYTES)
            break;
    }
    return drive_out(s);
}

int server_readable(struct server *s)
{
    int r;

    if (s->inside || s->error != 0)
        return s->error;
    s->inside = true;
    r = drive_in(s);
    s->inside = false;
    return r;
}

int server_restart(struct server *s)
{
    end_session(s);
    s->out_off = 0;
    s->out_len = 0;
    s->error = new_session(s);
    if (s->error == 0 && feed(s, s->kept) == 0)
        (void)drive_out(s);
    s->inside = false;
    return s->error;
}

int server_writable(struct server *s)
{
    int r;

    if (s->inside || s->error != 0)
        return s->error;
    s->inside = true;
    r = drive_out(s);
    s->inside = false;
    return r;
}

bool server_wants_write(const struct server *s)
{
    if (s->error != 0)
        return false;
    return s->out_off < s->out_len || nghttp2_session_want_write(s->session);
}

void server_stream_set_user(struct server_stream *s, void *user)
{
    s->user = user;
}

void *server_stream_user(const struct server_stream *s)
{
    return s->user;
}

// nghttp2 copies names and values, so borrowed strings will do.
static nghttp2_nv header(const char *name, const char *value)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {name}, v = {value};

    return (nghttp2_nv){
        .name = n.out, .value = v.out, .namelen = strlen(name), .valuelen = strlen(value)};
}

int server_respond(struct server_stream *s, int status, const char *content_type, const void *data,
                   size_t len, bool more)
{
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_answer};
    char digits[4];
    int r;

    if (s->server->error != 0)
        return -EPIPE;
    if (s->responded || status < 200 || status > 599)
        return -EINVAL;
    if (len > SERVER_QUEUE_BYTES)
        return -EMSGSIZE;
    r = buf_append(&s->queue, data, len);
    if (r < 0)
        return r;
    (void)snprintf(digits, sizeof(digits), "%03d", status);
    const nghttp2_nv headers[] = {
        header(":status", digits),
        header("content-type", content_type),
    };
    r = nghttp2_submit_response(s->server->session, s->id, headers, 2,
                                len > 0 || more ? &body : NULL);
    if (r != 0)
        return r == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
    s->responded = true;
    s->finished = !more;
    return 0;
}

static void resume(struct server_stream *s)
{
    if (!s->deferred)
        return;
    s->deferred = false;
    (void)nghttp2_session_resume_data(s->server->session, s->id);
}

int server_write(struct server_stream *s, const void *data, size_t len)
{
    int r;

    if (s->server->error != 0)
        return -EPIPE;
    if (!s->responded || s->finished)
        return -EINVAL;
    if (len > server_room(s)) {
        s->refused = true;
        return -EAGAIN;
    }
    if (s->head > 0 && s->queue.len + len > s->queue.alloc) {
        buf_consume(&s->queue, s->head);
        s->head = 0;
    }
    r = buf_append(&s->queue, data, len);
    if (r < 0)
        return r;
    if (len > 0)
        resume(s);
    return 0;
}

void server_finish(struct server_stream *s)
{
    if (s->server->error != 0 || !s->responded || s->finished)
        return;
    s->finished = true;
    resume(s);
}

size_t server_room(const struct server_stream *s)
{
    return SERVER_QUEUE_BYTES - queued(s);
}
