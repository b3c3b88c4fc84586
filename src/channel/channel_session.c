// SPDX-License-Identifier: Apache-2.0
//
// The HTTP/2 session of a channel and the caps on what its peer may make us hold or do. Knows no
// descriptor and no thread: bytes come in by channel_feed() and go out by channel_collect().
#include "channel/channel_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Notes the broken rule; the value returned ends the session.
static int violate(struct channel *ch, const char *rule)
{
    if (ch->violation == NULL)
        ch->violation = rule;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static struct channel_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

// A frame that brings a caller nothing. Padding counts as such: our agent never pads, and it would
// otherwise be bytes without end that no window stops.
static bool is_control(const nghttp2_frame_hd *hd)
{
    if (hd->type != NGHTTP2_DATA)
        return true;
    if (hd->flags & NGHTTP2_FLAG_PADDED)
        return true;
    return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    struct channel *ch = arg;

    (void)session;
    if (hd->type == NGHTTP2_PUSH_PROMISE)
        return violate(ch, "server push");
    if (!is_control(hd))
        return 0;
    ch->control_frames++;
    if (ch->control_frames > ch->control_allowed + ch->sent_bytes / CHANNEL_CONTROL_BYTES_EACH)
        return violate(ch, "too many control frames");
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct channel_stream *s = stream_of(session, frame->hd.stream_id);

    if (s == NULL)
        return 0;
    s->blocks++;
    s->header_bytes = 0;
    s->header_count = 0;
    s->header_status = 0;
    if (s->status == 0)
        buf_clear(&s->headers);
    if (s->blocks > CHANNEL_BLOCKS_MAX)
        return violate(arg, "too many header blocks");
    return 0;
}

// nghttp2 lets no NUL, CR or LF into names and values.
static int keep_header(struct channel_stream *s, const uint8_t *name, size_t name_len,
                       const uint8_t *value, size_t value_len)
{
    if (buf_append(&s->headers, name, name_len) < 0 || buf_append_u8(&s->headers, 0) < 0 ||
        buf_append(&s->headers, value, value_len) < 0 || buf_append_u8(&s->headers, 0) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct channel_stream *s = stream_of(session, frame->hd.stream_id);

    (void)flags;
    if (s == NULL)
        return 0;
    s->header_bytes += name_len + value_len + 32;
    s->header_count++;
    if (s->header_bytes > CHANNEL_HEADER_BYTES || s->header_count > CHANNEL_HEADER_COUNT_MAX)
        return violate(arg, "header block too large");
    // nghttp2 has checked that the value is three digits.
    if (name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3)
        s->header_status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
    if (s->status == 0 && s->held && name_len > 0 && name[0] != ':')
        return keep_header(s, name, name_len, value, value_len);
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct channel *ch = arg;
    struct channel_stream *s;

    if (frame->hd.type == NGHTTP2_GOAWAY) {
        ch->goaway = true;
        atomic_store(&ch->dead, true);
        return 0;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    s = stream_of(session, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && s->header_status >= 200 && s->status == 0) {
        if (s->header_status > 599)
            return violate(ch, "answer with a status above 599");
        s->status = s->header_status;
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        if (s->status == 0)
            return violate(ch, "answer without a status");
        s->ended = true;
    }
    pthread_cond_broadcast(&s->changed);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    struct channel_stream *s = stream_of(session, id);
    struct channel *ch = arg;

    (void)flags;
    // The window of the connection never holds a stream back: each has its own.
    (void)nghttp2_session_consume_connection(session, len);
    if (s == NULL || !s->held)
        return 0;
    ch->useful_bytes += len;
    if (s->queue.len - s->head + len > CHANNEL_WINDOW_BYTES)
        return violate(ch, "more body than the window allows");
    if (s->head > 0 && s->queue.len + len > s->queue.alloc) {
        buf_consume(&s->queue, s->head);
        s->head = 0;
    }
    if (buf_append(&s->queue, data, len) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    pthread_cond_broadcast(&s->changed);
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code,
                            void *arg)
{
    (void)session;
    (void)frame;
    return violate(arg, nghttp2_strerror(code));
}

static void list_remove(struct channel_stream *s)
{
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        s->channel->streams = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    s->prev = NULL;
    s->next = NULL;
}

// The session no longer names the stream. Frees it when no caller holds it either.
static void let_go(struct channel_stream *s)
{
    list_remove(s);
    s->in_session = false;
    if (!s->held)
        channel_stream_free(s);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct channel_stream *s = stream_of(session, id);
    struct channel *ch = arg;

    if (s == NULL)
        return 0;
    if (!s->ended && code == NGHTTP2_PROTOCOL_ERROR)
        channel_stream_fail(s, ERR_PROTOCOL, "the agent's answer broke the rules of HTTP/2");
    else if (!s->ended && ch->goaway)
        channel_stream_fail(s, ERR_GONE, "the agent is shutting down");
    else if (!s->ended)
        channel_stream_fail(s, ERR_GONE, "the agent reset the request");
    let_go(s);
    return 0;
}

static nghttp2_option *new_option(void)
{
    nghttp2_option *option;

    if (nghttp2_option_new(&option) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_outbound_ack(option, CHANNEL_ACKS_MAX);
    nghttp2_option_set_max_settings(option, CHANNEL_SETTINGS_MAX);
    nghttp2_option_set_max_reserved_remote_streams(option, 0);
    return option;
}

static nghttp2_session_callbacks *new_callbacks(void)
{
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    return cb;
}

static int submit_settings(nghttp2_session *session)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CHANNEL_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, CHANNEL_HEADER_BYTES},
    };

    if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings,
                                sizeof(settings) / sizeof(settings[0])) != 0)
        return -ENOMEM;
    if (nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                              CHANNEL_CONNECTION_WINDOW) != 0)
        return -ENOMEM;
    return 0;
}

static int new_session(struct channel *ch)
{
    nghttp2_session_callbacks *callbacks = new_callbacks();
    nghttp2_option *option = new_option();
    int r = -ENOMEM;

    if (callbacks != NULL && option != NULL &&
        nghttp2_session_client_new2(&ch->session, callbacks, ch, option) == 0)
        r = submit_settings(ch->session);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return r;
}

struct channel *channel_new(void)
{
    struct channel *ch = calloc(1, sizeof(*ch));

    if (ch == NULL)
        return NULL;
    ch->fd = -1;
    ch->control_allowed = CHANNEL_CONTROL_BASE;
    ch->waste_allowed = CHANNEL_WASTE_BASE;
    atomic_init(&ch->refs, 1);
    atomic_init(&ch->dead, false);
    (void)pthread_mutex_init(&ch->lock, NULL);
    if (new_session(ch) < 0) {
        channel_put(ch);
        return NULL;
    }
    return ch;
}

// nghttp2 passes over frames of unknown type and of ended streams without a word to us, so their
// number is bounded by bytes: what was received against what callers got of it.
static bool wasteful(const struct channel *ch)
{
    return ch->received_bytes / CHANNEL_WASTE_FACTOR > ch->useful_bytes + ch->waste_allowed;
}

void channel_feed(struct channel *ch, const uint8_t *data, size_t len)
{
    char message[160];
    ssize_t n;

    if (ch->session == NULL)
        return;
    n = nghttp2_session_mem_recv(ch->session, data, len);
    ch->received_bytes += len;
    if (n >= 0 && wasteful(ch))
        n = violate(ch, "too many bytes without content");
    if (n >= 0) {
        channel_flush(ch);
        return;
    }
    if (n == NGHTTP2_ERR_NOMEM || (n == NGHTTP2_ERR_CALLBACK_FAILURE && ch->violation == NULL)) {
        channel_fail(ch, ERR_INTERNAL, "out of memory in a channel");
        return;
    }
    (void)snprintf(message, sizeof(message), "the agent broke the rules of the channel: %s",
                   ch->violation != NULL ? ch->violation : nghttp2_strerror((int)n));
    channel_fail(ch, ERR_PROTOCOL, message);
}

int channel_collect(struct channel *ch)
{
    ch->out_off = 0;
    ch->out_len = 0;
    while (sizeof(ch->out) - ch->out_len >= CHANNEL_FRAME_ROOM) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(ch->session, &data);

        if (n < 0)
            return -ENOMEM;
        if (n == 0)
            break;
        if ((size_t)n > sizeof(ch->out) - ch->out_len)
            return -EMSGSIZE;
        memcpy(ch->out + ch->out_len, data, (size_t)n);
        ch->out_len += (size_t)n;
    }
    ch->sent_bytes += ch->out_len;
    return 0;
}

void channel_session_end(struct channel *ch, enum err_code code, const char *message)
{
    atomic_store(&ch->dead, true);
    nghttp2_session_del(ch->session);
    ch->session = NULL;
    while (ch->streams != NULL) {
        struct channel_stream *s = ch->streams;

        if (!s->ended)
            channel_stream_fail(s, code, message);
        let_go(s);
    }
}
