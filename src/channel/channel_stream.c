// SPDX-License-Identifier: Apache-2.0
//
// Requests as their callers see them: send, wait for the status, read the body, close.
#include "channel/channel_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct channel_stream *stream_new(const struct channel_request *req)
{
    struct channel_stream *s = calloc(1, sizeof(*s));
    pthread_condattr_t attr;

    if (s == NULL)
        return NULL;
    if (req->body_len > 0) {
        s->body = malloc(req->body_len);
        if (s->body == NULL) {
            free(s);
            return NULL;
        }
        memcpy(s->body, req->body, req->body_len);
        s->body_len = req->body_len;
    }
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return s;
}

void channel_stream_free(struct channel_stream *s)
{
    (void)pthread_cond_destroy(&s->changed);
    buf_release(&s->queue);
    free(s->body);
    free(s);
}

void channel_stream_fail(struct channel_stream *s, enum err_code code, const char *message)
{
    if (s->failure.code == ERR_NONE)
        (void)err_set(&s->failure, code, "%s", message);
    (void)pthread_cond_broadcast(&s->changed);
}

// nghttp2 asks for the next part of a request's body.
static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t len,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct channel_stream *s = source->ptr;
    size_t n = s->body_len - s->body_sent;

    (void)session;
    (void)id;
    (void)arg;
    if (n > len)
        n = len;
    memcpy(out, s->body + s->body_sent, n);
    s->body_sent += n;
    if (s->body_sent == s->body_len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        free(s->body);
        s->body = NULL;
    }
    return (ssize_t)n;
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

static int submit(struct channel *ch, const struct channel_request *req, struct channel_stream *s)
{
    nghttp2_nv headers[4 + CHANNEL_HEADERS_MAX] = {
        header(":method", req->method),
        header(":scheme", "http"),
        header(":authority", "csb"),
        header(":path", req->path),
    };
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_body};
    size_t count = 4;
    int32_t id;

    for (size_t i = 0; i < req->header_count && i < CHANNEL_HEADERS_MAX; i++)
        headers[count++] = header(req->headers[i].name, req->headers[i].value);
    id = nghttp2_submit_request(ch->session, NULL, headers, count, s->body_len > 0 ? &body : NULL,
                                s);
    if (id < 0)
        return -1;
    s->id = id;
    s->channel = ch;
    s->held = true;
    s->in_session = true;
    s->next = ch->streams;
    if (s->next != NULL)
        s->next->prev = s;
    ch->streams = s;
    ch->control_allowed += CHANNEL_CONTROL_PER_REQUEST;
    ch->waste_allowed += CHANNEL_WASTE_PER_REQUEST;
    return 0;
}

int channel_send(struct channel *ch, const struct channel_request *req, struct channel_stream **ret,
                 struct err *err)
{
    struct channel_stream *s = stream_new(req);
    bool ok = false;

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory for a request of %zu bytes",
                       req->body_len);
    (void)pthread_mutex_lock(&ch->lock);
    if (ch->session != NULL && !ch->goaway && submit(ch, req, s) == 0) {
        ok = true;
        atomic_fetch_add(&ch->refs, 1);
        channel_flush(ch);
    }
    (void)pthread_mutex_unlock(&ch->lock);
    if (!ok) {
        channel_stream_free(s);
        return err_set(err, ERR_GONE, "the channel to the agent is closed");
    }
    *ret = s;
    return 0;
}

// Waits for a change of the stream. Needs channel.lock. False at the deadline.
static bool wait_change(struct channel_stream *s, uint64_t deadline_ns)
{
    struct timespec at;

    if (deadline_ns == CLOCK_NEVER) {
        (void)pthread_cond_wait(&s->changed, &s->channel->lock);
        return true;
    }
    at = clock_to_timespec(deadline_ns);
    return pthread_cond_timedwait(&s->changed, &s->channel->lock, &at) != ETIMEDOUT;
}

// What a stream without an answer to give has to say. Needs channel.lock.
static int report(const struct channel_stream *s, struct err *err)
{
    if (s->failure.code != ERR_NONE) {
        if (err != NULL)
            *err = s->failure;
        return -1;
    }
    return err_set(err, ERR_TIMEOUT, "the agent did not answer in time");
}

int channel_status(struct channel_stream *s, uint64_t deadline_ns, int *ret_status, struct err *err)
{
    int r = 0;

    (void)pthread_mutex_lock(&s->channel->lock);
    while (s->status == 0 && s->failure.code == ERR_NONE && wait_change(s, deadline_ns))
        ;
    if (s->status != 0)
        *ret_status = s->status;
    else
        r = report(s, err);
    (void)pthread_mutex_unlock(&s->channel->lock);
    return r;
}

// Moves what is queued to the caller and opens the window by as much. Needs channel.lock.
static size_t take(struct channel_stream *s, void *data, size_t len)
{
    struct channel *ch = s->channel;
    size_t n = s->queue.len - s->head;

    if (n > len)
        n = len;
    if (n == 0)
        return 0;
    memcpy(data, s->queue.data + s->head, n);
    s->head += n;
    if (s->head == s->queue.len) {
        buf_clear(&s->queue);
        s->head = 0;
    }
    if (s->in_session && !s->ended) {
        (void)nghttp2_session_consume_stream(ch->session, s->id, n);
        channel_flush(ch);
    }
    return n;
}

ssize_t channel_read(struct channel_stream *s, void *data, size_t len, uint64_t deadline_ns,
                     struct err *err)
{
    ssize_t r;

    (void)pthread_mutex_lock(&s->channel->lock);
    while (s->queue.len == s->head && !s->ended && s->failure.code == ERR_NONE &&
           wait_change(s, deadline_ns))
        ;
    if (s->queue.len > s->head)
        r = (ssize_t)take(s, data, len);
    else
        r = s->ended ? 0 : report(s, err);
    (void)pthread_mutex_unlock(&s->channel->lock);
    return r;
}

void channel_stream_cancel(struct channel_stream *s)
{
    struct channel *ch = s->channel;

    (void)pthread_mutex_lock(&ch->lock);
    if (!s->ended)
        channel_stream_fail(s, ERR_CANCELLED, "the request was cancelled");
    if (s->in_session) {
        (void)nghttp2_submit_rst_stream(ch->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        channel_flush(ch);
    }
    (void)pthread_mutex_unlock(&ch->lock);
}

void channel_stream_close(struct channel_stream *s)
{
    struct channel *ch;

    if (s == NULL)
        return;
    ch = s->channel;
    (void)pthread_mutex_lock(&ch->lock);
    s->held = false;
    if (s->in_session) {
        (void)nghttp2_submit_rst_stream(ch->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        channel_flush(ch);
    } else {
        channel_stream_free(s);
    }
    (void)pthread_mutex_unlock(&ch->lock);
    channel_put(ch);
}

// Reads the body to its end into `b`, whose cap is the largest body allowed.
static int read_all(struct channel_stream *s, struct buf *b, uint64_t deadline_ns, struct err *err)
{
    for (;;) {
        char chunk[16384];
        ssize_t n = channel_read(s, chunk, sizeof(chunk), deadline_ns, err);
        int r;

        if (n <= 0)
            return (int)n;
        r = buf_append(b, chunk, (size_t)n);
        if (r == -EFBIG)
            return err_set(err, ERR_PROTOCOL, "the agent's answer is larger than %zu bytes",
                           b->cap);
        if (r < 0)
            return err_set(err, ERR_INTERNAL, "out of memory for an answer");
    }
}

int channel_call(struct channel *ch, const struct channel_request *req, size_t max,
                 uint64_t deadline_ns, int *ret_status, char **ret_body, size_t *ret_len,
                 struct err *err)
{
    struct buf body = BUF_CAPPED(max);
    struct channel_stream *s;
    int status;
    int r;

    if (channel_send(ch, req, &s, err) < 0)
        return -1;
    r = channel_status(s, deadline_ns, &status, err);
    if (r == 0)
        r = read_all(s, &body, deadline_ns, err);
    channel_stream_close(s);
    if (r == 0 && buf_cstr(&body) == NULL)
        r = err_set(err, ERR_INTERNAL, "out of memory for an answer");
    if (r < 0) {
        buf_release(&body);
        return -1;
    }
    *ret_status = status;
    *ret_body = (char *)body.data;
    *ret_len = body.len;
    return 0;
}
