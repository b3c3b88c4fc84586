// SPDX-License-Identifier: Apache-2.0
//
// A client session fed by a hostile agent. First byte: what the client does; second: the size of
// the pieces; then the agent's bytes. The client is driven without a thread: a channel without a
// descriptor drops what it sends.
#include "channel/channel_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define STREAMS 3

enum {
    DO_BODY = 1,   // the second request has a body larger than the default window
    DO_READ = 2,   // bodies are read as they come
    DO_CLOSE = 4,  // the first stream is closed midway
    DO_CANCEL = 8, // the second is cancelled midway
    DO_LATE = 16,  // streams are closed after the channel
    DO_WRITE = 32, // the third request's body is written as the answers come
    DO_SHUT = 64,  // the session is shut midway
};

static const uint8_t body[100000];

static void feed(struct channel *ch, const uint8_t *data, size_t len)
{
    (void)pthread_mutex_lock(&ch->lock);
    channel_feed(ch, data, len);
    (void)pthread_mutex_unlock(&ch->lock);
}

static void read_now(struct channel_stream *s)
{
    uint8_t out[1000];
    struct err err = ERR_INIT;
    int status = 0;

    if (s == NULL)
        return;
    if (channel_status(s, 0, &status, &err) == 0) {
        const char *value = channel_header(s, "x");

        if (status < 200 || status > 599)
            abort();
        if (value != NULL && strpbrk(value, "\r\n") != NULL)
            abort();
    }
    if (channel_read(s, out, sizeof(out), 0, &err) > (ssize_t)sizeof(out))
        abort();
    if (s->queue.len - s->head > CHANNEL_WINDOW_BYTES)
        abort();
}

static void write_now(struct channel_stream *s)
{
    struct err err = ERR_INIT;

    if (channel_write(s, body, 5000, 0, &err) > 5000)
        abort();
    if (s->body.len - s->body_head > CHANNEL_WINDOW_BYTES || s->headers.len > CHANNEL_HEADER_BYTES)
        abort();
}

static void midway(struct channel_stream *s[STREAMS], uint8_t what)
{
    if (what & DO_CLOSE) {
        channel_stream_close(s[0]);
        s[0] = NULL;
    }
    if ((what & DO_CANCEL) && s[1] != NULL)
        channel_stream_cancel(s[1]);
}

static void run(struct channel *ch, struct channel_stream *s[STREAMS], const uint8_t *data,
                size_t len)
{
    const uint8_t what = data[0];
    const size_t piece = (size_t)data[1] * data[1] + 1;
    bool done = false;

    for (size_t at = 2; at < len; at += piece) {
        feed(ch, data + at, len - at < piece ? len - at : piece);
        for (int i = 0; i < STREAMS && (what & DO_READ); i++)
            read_now(s[i]);
        if (what & DO_WRITE)
            write_now(s[2]);
        if (!done && at >= len / 2) {
            midway(s, what);
            if (what & DO_SHUT)
                channel_shut(ch);
            done = true;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct channel_stream *s[STREAMS] = {0};
    struct err err = ERR_INIT;
    struct channel *ch;

    if (len < 2)
        return 0;
    ch = channel_new();
    if (ch == NULL)
        abort();
    for (int i = 0; i < STREAMS; i++) {
        const struct channel_request req = {
            .method = "POST",
            .path = "/run",
            .body = body,
            .body_len = i == 1 && (data[0] & DO_BODY) ? sizeof(body) : 0,
        };

        if ((i == 2 && (data[0] & DO_WRITE) ? channel_begin : channel_send)(ch, &req, &s[i], &err) <
            0)
            abort();
    }
    run(ch, s, data, len);
    if (data[0] & DO_LATE)
        channel_close(ch);
    for (int i = 0; i < STREAMS; i++) {
        read_now(s[i]);
        channel_stream_close(s[i]);
    }
    if (!(data[0] & DO_LATE))
        channel_close(ch);
    return 0;
}
