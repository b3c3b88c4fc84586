// SPDX-License-Identifier: Apache-2.0
//
// The agent's side of the channel. One thread, nothing blocks, nothing is locked: the caller's loop
// drives it. Bytes out are collected from nghttp2 into one buffer, so that an answer of ordinary
// size is one write.
#include "channel/server_internal.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_WINDOW     (1 << 20)
#define CONNECTION_WINDOW (4 << 20)
#define HEADER_BYTES_MAX  (16u << 10)         // of a request, as HTTP/2 counts them
#define FRAME_ROOM        ((16u << 10) + 512) // a frame of ours never takes more
#define ROUNDS            16                  // reads or writes of one call
#define PIECE_BYTES       4096 // a virtio-serial port hands out a page at a time: less is the last

static struct server_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static struct server_stream *stream_new(struct server *server, int32_t id)
{
    struct server_stream *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->server = server;
    s->id = id;
    s->callbacks = server->options.callbacks;
    s->arg = server->options.arg;
    s->body_max = server->options.body_max;
    s->headers.cap = HEADER_BYTES_MAX;
    s->next = server->streams;
    if (s->next != NULL)
        s->next->prev = s;
    server->streams = s;
    return s;
}

static void stream_free(struct server_stream *s)
{
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        s->server->streams = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    if (s->announced && s->callbacks->on_close != NULL)
        s->callbacks->on_close(s->arg, s);
    buf_release(&s->queue);
    buf_release(&s->headers);
    free(s->path);
    free(s->authority);
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

// Copies the method, which must fit; false when it does not.
static bool copy_method(struct server_stream *s, const uint8_t *value, size_t len)
{
    if (len > METHOD_MAX)
        return false;
    memcpy(s->method, value, len);
    s->method[len] = '\0';
    return true;
}

// nghttp2 lets no NUL into names and values.
static bool keep_header(struct server_stream *s, const uint8_t *name, size_t name_len,
                        const uint8_t *value, size_t value_len)
{
    return buf_append(&s->headers, name, name_len) == 0 && buf_append_u8(&s->headers, 0) == 0 &&
           buf_append(&s->headers, value, value_len) == 0 && buf_append_u8(&s->headers, 0) == 0;
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
        ok = copy_method(s, value, value_len);
    else if (name_len == 5 && memcmp(name, ":path", 5) == 0)
        ok = s->path == NULL && (s->path = strndup((const char *)value, value_len)) != NULL;
    else if (name_len == 10 && memcmp(name, ":authority", 10) == 0)
        ok = s->authority == NULL &&
             (s->authority = strndup((const char *)value, value_len)) != NULL;
    else if (name_len > 0 && name[0] != ':')
        ok = keep_header(s, name, name_len, value, value_len);
    return ok ? 0 : refuse(s);
}

// Only a request by CONNECT has no path; what it has instead, nghttp2 has seen to.
static void announce(struct server_stream *s)
{
    const char *target = s->path != NULL ? s->path : s->authority;

    s->announced = true;
    if (s->callbacks->on_request != NULL)
        s->callbacks->on_request(s->arg, s, s->method, target != NULL ? target : "");
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct server_stream *s;

    (void)arg;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    s = stream_of(session, frame->hd.stream_id);
    if (s == NULL || s->ended)
        return 0;
    if (!s->announced)
        announce(s);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        s->ended = true;
        if (s->callbacks->on_end != NULL && !s->finished)
            s->callbacks->on_end(s->arg, s);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    struct server_stream *s = stream_of(session, id);

    (void)flags;
    (void)arg;
    // A stream that is held back must not hold back the others.
    if (nghttp2_session_consume_connection(session, len) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (s == NULL || s->ended || s->finished)
        return 0;
    s->body_bytes += len;
    if (s->body_bytes > s->body_max)
        return refuse(s);
    s->uncredited += len;
    if (!s->held)
        server_stream_credit(s);
    if (s->callbacks->on_body != NULL)
        s->callbacks->on_body(s->arg, s, data, len);
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
    nghttp2_option_set_no_auto_window_update(option, 1);
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
    bool told = false;

    for (struct server_stream *i = s->streams; i != NULL; i = i->next) {
        if (!i->refused || server_stream_queued(i) >= SERVER_QUEUE_BYTES / 2)
            continue;
        i->refused = false;
        told = true;
        if (i->callbacks->on_drain != NULL)
            i->callbacks->on_drain(i->arg, i);
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
