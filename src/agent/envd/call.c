// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/call.h"

#include "agent/envd/path.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"
#include "json/write.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(ENVD_PIECE_BYTES <= SERVER_QUEUE_BYTES / 2, "a piece fits a drained stream");

#define TIMEOUT_MAX_MS    (366ull * 24 * 3600 * 1000)
#define KEEPALIVE_S       90
#define KEEPALIVE_MAX_S   3600
#define JSON_CONTENT_TYPE "application/json; charset=utf-8"

// Hands over what the stream takes. False: the rest waits for on_drain.
static bool push(struct call *c)
{
    while (c->out_off < c->out.len) {
        size_t n = c->out.len - c->out_off;
        int rc;

        if (n > ENVD_PIECE_BYTES)
            n = ENVD_PIECE_BYTES;
        rc = server_write(c->stream, c->out.data + c->out_off, n);
        if (rc == -EAGAIN)
            return false;
        if (rc < 0) {
            call_reset(c);
            return false;
        }
        c->out_off += n;
    }
    // What was large once must not stay so for as long as a stream lasts.
    if (c->out.alloc > ENVD_PIECE_BYTES)
        buf_release(&c->out);
    buf_clear(&c->out);
    c->out_off = 0;
    if (c->finished)
        server_finish(c->stream);
    return true;
}

void call_begin(struct call *c, const struct server_answer *answer)
{
    struct server_answer a = *answer;

    if (c->begun)
        return;
    a.more = true;
    c->begun = true;
    if (server_answer(c->stream, &a) < 0)
        call_reset(c);
}

void call_write(struct call *c, const void *data, size_t len)
{
    if (!c->begun || c->finished || len == 0)
        return;
    if (call_backlog(c) == 0 && len <= ENVD_PIECE_BYTES && server_write(c->stream, data, len) == 0)
        return;
    if (buf_append(&c->out, data, len) < 0)
        call_reset(c);
    else
        (void)push(c);
}

void call_finish(struct call *c)
{
    if (c->finished)
        return;
    c->finished = true;
    (void)push(c);
}

void call_answer(struct call *c, int status, const char *content_type, const void *data, size_t len)
{
    if (c->begun)
        return;
    if (len <= ENVD_PIECE_BYTES) {
        c->begun = true;
        c->finished = true;
        if (server_respond(c->stream, status, content_type, data, len, false) < 0)
            server_stream_reset(c->stream);
        return;
    }
    call_begin(c, &(struct server_answer){.status = status, .content_type = content_type});
    call_write(c, data, len);
    call_finish(c);
}

void call_reset(struct call *c)
{
    c->begun = true;
    c->finished = true;
    buf_release(&c->out);
    c->out_off = 0;
    server_stream_reset(c->stream);
}

size_t call_backlog(const struct call *c)
{
    return c->out.len - c->out_off;
}

void call_drained(struct call *c)
{
    if (push(c) && !c->finished && c->ops != NULL && c->ops->drain != NULL)
        c->ops->drain(c);
}

void call_fail(struct call *c, int status, const char *fmt, ...)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    char message[CALL_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    json_open(&out, NULL, '{');
    json_put_i64(&out, "code", status);
    json_put_str(&out, "message", message);
    json_close(&out, '}');
    call_answer(c, status, JSON_CONTENT_TYPE, text.data, text.len);
}

int call_query(struct call *c, const char *key, char **ret)
{
    if (path_query(c->query, key, ret) == 0)
        return 0;
    call_fail(c, 400, "the query's %s is not percent-encoded as it should be, or holds a NUL", key);
    return -1;
}

uint64_t call_timeout_ms(const struct call *c)
{
    const char *text = server_stream_header(c->stream, "connect-timeout-ms");
    uint64_t ms = 0;

    if (text == NULL || parse_u64(text, 0, TIMEOUT_MAX_MS, &ms) < 0)
        return 0;
    return ms;
}

uint64_t call_keepalive_ns(const struct call *c)
{
    const char *text = server_stream_header(c->stream, "keepalive-ping-interval");
    uint64_t s = KEEPALIVE_S;

    if (text == NULL || parse_u64(text, 1, KEEPALIVE_MAX_S, &s) < 0)
        s = KEEPALIVE_S;
    return s * NS_PER_S;
}
