// SPDX-License-Identifier: Apache-2.0
//
// Requests as their callers see them: send, wait for the status, read the body, close.
#include "channel/channel_internal.h"
#include "channel/nv.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct channel_stream *stream_new(const struct channel_request *req)
{
    struct channel_stream *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    if (buf_append(&s->body, req->body, req->body_len) < 0) {
        free(s);
        return NULL;
    }
    clock_cond_init(&s->changed);
    return s;
}

void channel_stream_free(struct channel_stream *s)
{
    (void)pthread_cond_destroy(&s->changed);
    buf_release(&s->queue);
    buf_release(&s->headers);
    buf_release(&s->body);
    free(s);
}

void channel_stream_fail(struct channel_stream *s, enum err_code code, const char *message)
{
    if (s->failure.code == ERR_NONE)
        (void)err_set(&s->failure, code, "%s", message);
    (void)pthread_cond_broadcast(&s->changed);
}

static size_t unsent(const struct channel_stream *s)
{
    return s->body.len - s->body_head;
}

// nghttp2 asks for the next part of a request's body.
static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t len,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct channel_stream *s = source->ptr;
    size_t had = unsent(s);
    size_t n = had < len ? had : len;

    (void)session;
    (void)id;
    (void)arg;
    if (n == 0 && !s->finished) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > 0)
        memcpy(out, s->body.data + s->body_head, n);
    s->body_head += n;
    if (unsent(s) == 0 && s->finished) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        buf_release(&s->body);
        s->body_head = 0;
    }
    if (had >= CHANNEL_WINDOW_BYTES / 2 && unsent(s) < CHANNEL_WINDOW_BYTES / 2)
        (void)pthread_cond_broadcast(&s->changed);
    return (ssize_t)n;
}

static int submit(struct channel *ch, const struct channel_request *req, struct channel_stream *s)
{
    const bool connect = strcmp(req->method, "CONNECT") == 0;
    nghttp2_nv headers[4 + CHANNEL_HEADERS_MAX] = {nv_header(":method", req->method)};
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_body};
    size_t count = 1;
    int32_t id;

    headers[count++] = nv_header(":authority", connect ? req->path : "csb");
    if (!connect) {
        headers[count++] = nv_header(":scheme", "http");
        headers[count++] = nv_header(":path", req->path);
    }
    for (size_t i = 0; i < req->header_count && i < CHANNEL_HEADERS_MAX; i++)
        headers[count++] = nv_header(req->headers[i].name, req->headers[i].value);
    id = nghttp2_submit_request(ch->session, NULL, headers, count,
                                s->finished && s->body.len == 0 ? NULL : &body, s);
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

static int begin(struct channel *ch, const struct channel_request *req, bool finished,
                 struct channel_stream **ret, struct err *err)
{
    struct channel_stream *s = stream_new(req);
    bool ok = false;

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory for a request of %zu bytes",
                       req->body_len);
    s->finished = finished;
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

int channel_begin(struct channel *ch, const struct channel_request *req,
                  struct channel_stream **ret, struct err *err)
{
    return begin(ch, req, false, ret, err);
}

int channel_send(struct channel *ch, const struct channel_request *req, struct channel_stream **ret,
                 struct err *err)
{
    return begin(ch, req, true, ret, err);
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

// Lets the session ask for the body again, and sends. Needs channel.lock; the session is there.
static void resume(struct channel_stream *s)
{
    if (s->deferred) {
        s->deferred = false;
        (void)nghttp2_session_resume_data(s->channel->session, s->id);
    }
    channel_flush(s->channel);
}

// Whether what is written now can still be of use. Needs channel.lock.
static bool writable(const struct channel_stream *s)
{
    return s->failure.code == ERR_NONE && s->in_session && !s->ended && !s->finished;
}

// Queues as much as there is room for. Needs channel.lock. 0 when memory is out.
static size_t put(struct channel_stream *s, const void *data, size_t len)
{
    size_t room = CHANNEL_WINDOW_BYTES - unsent(s);

    if (len > room)
        len = room;
    if (s->body_head > 0 && s->body.len + len > s->body.alloc) {
        buf_consume(&s->body, s->body_head);
        s->body_head = 0;
    }
    return buf_append(&s->body, data, len) == 0 ? len : 0;
}

ssize_t channel_write(struct channel_stream *s, const void *data, size_t len, uint64_t deadline_ns,
                      struct err *err)
{
    ssize_t r;

    (void)pthread_mutex_lock(&s->channel->lock);
    while (writable(s) && unsent(s) >= CHANNEL_WINDOW_BYTES && wait_change(s, deadline_ns))
        ;
    if (s->failure.code != ERR_NONE) {
        r = report(s, err);
    } else if (!writable(s)) {
        r = err_set(err, ERR_GONE, "the agent wants no more of the request");
    } else if (unsent(s) >= CHANNEL_WINDOW_BYTES) {
        r = err_set(err, ERR_TIMEOUT, "the agent did not take the request in time");
    } else {
        r = (ssize_t)put(s, data, len);
        if (r == 0)
            r = err_set(err, ERR_GONE, "out of memory for a request");
        else
            resume(s);
    }
    (void)pthread_mutex_unlock(&s->channel->lock);
    return r;
}

void channel_finish(struct channel_stream *s)
{
    (void)pthread_mutex_lock(&s->channel->lock);
    s->finished = true;
    if (s->in_session)
        resume(s);
    (void)pthread_mutex_unlock(&s->channel->lock);
}

const char *channel_header(const struct channel_stream *s, const char *name)
{
    for (size_t at = 0; at < s->headers.len;) {
        const char *have = (const char *)s->headers.data + at;
        const char *value = have + strlen(have) + 1;

        if (strcmp(have, name) == 0)
            return value;
        at += (size_t)(value - have) + strlen(value) + 1;
    }
    return NULL;
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
