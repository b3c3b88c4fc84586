// SPDX-License-Identifier: Apache-2.0
//
// What a handler does with its stream: reads the request's headers, holds its body back, answers.
#include "channel/nv.h"
#include "channel/server_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_HEADERS (SERVER_HEADERS_MAX + 2)

void server_stream_credit(struct server_stream *s)
{
    if (s->uncredited > 0)
        (void)nghttp2_session_consume_stream(s->server->session, s->id, s->uncredited);
    s->uncredited = 0;
}

// nghttp2 asks for the next part of an answer's body.
static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *out, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct server_stream *s = source->ptr;
    size_t n = server_stream_queued(s);

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
    if (server_stream_queued(s) == 0) {
        buf_clear(&s->queue);
        s->head = 0;
        if (s->finished)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

void server_stream_set_user(struct server_stream *s, void *user)
{
    s->user = user;
}

void *server_stream_user(const struct server_stream *s)
{
    return s->user;
}

void server_stream_set_callbacks(struct server_stream *s, const struct server_callbacks *callbacks,
                                 void *arg)
{
    s->callbacks = callbacks;
    s->arg = arg;
}

void server_stream_set_body_max(struct server_stream *s, uint64_t body_max)
{
    s->body_max = body_max;
}

bool server_stream_header_at(const struct server_stream *s, size_t *at, const char **ret_name,
                             const char **ret_value)
{
    const char *name;
    const char *value;

    if (*at >= s->headers.len)
        return false;
    name = (const char *)s->headers.data + *at;
    value = name + strlen(name) + 1;
    *ret_name = name;
    *ret_value = value;
    *at += (size_t)(value - name) + strlen(value) + 1;
    return true;
}

const char *server_stream_header(const struct server_stream *s, const char *name)
{
    const char *have, *value;

    for (size_t at = 0; server_stream_header_at(s, &at, &have, &value);)
        if (strcmp(have, name) == 0)
            return value;
    return NULL;
}

void server_stream_hold(struct server_stream *s, bool hold)
{
    s->held = hold;
    if (!hold && s->server->error == 0)
        server_stream_credit(s);
}

void server_stream_reset(struct server_stream *s)
{
    if (s->server->error != 0)
        return;
    s->ended = true;
    s->responded = true;
    s->finished = true;
    buf_clear(&s->queue);
    s->head = 0;
    (void)nghttp2_submit_rst_stream(s->server->session, NGHTTP2_FLAG_NONE, s->id,
                                    NGHTTP2_INTERNAL_ERROR);
}

int server_answer(struct server_stream *s, const struct server_answer *a)
{
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_answer};
    nghttp2_nv headers[ANSWER_HEADERS];
    size_t count = 0;
    char digits[4];
    int r;

    if (s->server->error != 0)
        return -EPIPE;
    if (s->responded || a->status < 200 || a->status > 599 || a->header_count > SERVER_HEADERS_MAX)
        return -EINVAL;
    if (a->len > SERVER_QUEUE_BYTES)
        return -EMSGSIZE;
    r = buf_append(&s->queue, a->data, a->len);
    if (r < 0)
        return r;
    (void)snprintf(digits, sizeof(digits), "%03d", a->status);
    headers[count++] = nv_header(":status", digits);
    if (a->content_type != NULL)
        headers[count++] = nv_header("content-type", a->content_type);
    for (size_t i = 0; i < a->header_count; i++)
        headers[count++] = nv_header(a->headers[i].name, a->headers[i].value);
    r = nghttp2_submit_response(s->server->session, s->id, headers, count,
                                a->len > 0 || a->more ? &body : NULL);
    if (r != 0)
        return r == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
    s->responded = true;
    s->finished = !a->more;
    return 0;
}

int server_respond(struct server_stream *s, int status, const char *content_type, const void *data,
                   size_t len, bool more)
{
    return server_answer(s, &(struct server_answer){.status = status,
                                                    .content_type = content_type,
                                                    .data = data,
                                                    .len = len,
                                                    .more = more});
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
    return SERVER_QUEUE_BYTES - server_stream_queued(s);
}
