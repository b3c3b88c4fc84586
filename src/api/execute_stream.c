// SPDX-License-Identifier: Apache-2.0
//
// How it works: a thread of the stream's own, the pump, blocks in run_next(), turns what comes into
// event text and puts it into a bounded buffer; the connection's thread takes it from there, and
// sends a comment when nothing came for a while. A full buffer holds the pump, and through flow
// control the program. When the client leaves, the connection's thread sets `closed`, which the
// run's `gone` callback reports.
#include "api/execute_stream.h"

#include "api/api.h"
#include "api/api_internal.h"
#include "api/execute_parse.h"
#include "api/execute_result.h"
#include "api/metrics.h"
#include "base/clock.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "sandbox/runtime.h"
#include "json/write.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX_BYTES ((size_t)256 << 10)
#define KEEPALIVE_MS    15000
#define STALL_MAX_MS    120000
#define ROOM_SLACK      ((uint64_t)64 << 10)

struct stream {
    // Const while the pump runs.
    char request_id[ID_UUID_LEN + 1];
    const struct runtime *runtime;
    struct api_metrics *metrics;
    const struct http_exchange *exchange;
    struct run *run; // the pump's
    pthread_t pump;
    atomic_bool closed;
    // The pump's.
    struct utf8_fix fix_out;
    struct utf8_fix fix_err;
    struct utf8_fix fix_compile;
    uint64_t room_bytes;
    uint64_t compile_room_bytes;
    uint64_t stall_left_ns; // how much longer the client may hold the run up, in sum
    bool cut;
    // Guarded by lock.
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct buf queue;
    bool ended; // nothing more will be queued
};

static bool stream_gone(void *arg)
{
    struct stream *s = arg;

    return atomic_load(&s->closed) || http_client_gone(s->exchange);
}

// Waits, with the lock held, while the queue is full and somebody still reads it. A client that
// reads so slowly that it holds its run up for STALL_MAX_MS in sum loses the rest of it: its
// sandbox is wanted by others.
static void wait_for_room(struct stream *s)
{
    uint64_t start = clock_mono_ns();
    struct timespec until = clock_to_timespec(start + s->stall_left_ns);
    uint64_t waited;
    int r = 0;

    while (r == 0 && s->queue.len > QUEUE_MAX_BYTES && !atomic_load(&s->closed))
        r = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    if (r != 0)
        atomic_store(&s->closed, true);
    waited = clock_mono_ns() - start;
    s->stall_left_ns = waited < s->stall_left_ns ? s->stall_left_ns - waited : 0;
}

// Appends one event, or drops it when nobody reads any more.
static void push(struct stream *s, const char *name, struct buf *data)
{
    pthread_mutex_lock(&s->lock);
    wait_for_room(s);
    if (atomic_load(&s->closed)) {
        pthread_mutex_unlock(&s->lock);
        return;
    }
    // Out of memory loses an event rather than the service; the sizes are bounded.
    (void)buf_appendf(&s->queue, "event: %s\ndata: ", name);
    (void)buf_append(&s->queue, data->data, data->len);
    (void)buf_append(&s->queue, "\n\n", 2);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void push_text(struct stream *s, const char *name, const struct buf *text)
{
    _cleanup_buf_ struct buf data = BUF_INIT;
    struct json_out out = {.buf = &data};

    if (text->len == 0)
        return;
    json_open(&out, NULL, '{');
    json_put_text(&out, "text", text->data, text->len);
    json_close(&out, '}');
    push(s, name, &data);
}

static void push_start(struct stream *s)
{
    _cleanup_buf_ struct buf data = BUF_INIT;
    struct json_out out = {.buf = &data};

    json_open(&out, NULL, '{');
    json_put_str(&out, "request_id", s->request_id);
    json_put_str(&out, "language", s->runtime->id);
    json_put_str(&out, "version", s->runtime->version);
    json_close(&out, '}');
    push(s, "start", &data);
}

static void push_output(struct stream *s, const struct run_event *event)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    size_t len = event->len;
    struct utf8_fix *fix = &s->fix_out;
    uint64_t *room = &s->room_bytes;
    const char *name = "stdout";

    if (event->kind == RUN_EVENT_STDERR) {
        fix = &s->fix_err;
        name = "stderr";
    } else if (event->kind == RUN_EVENT_COMPILE_OUT) {
        fix = &s->fix_compile;
        room = &s->compile_room_bytes;
        name = "compile";
    }
    if (len > *room) {
        len = (size_t)*room;
        s->cut = true;
    }
    *room -= len;
    (void)utf8_fix_feed(fix, event->data, len, &text);
    push_text(s, name, &text);
}

static void push_rest(struct stream *s, const char *name, struct utf8_fix *fix)
{
    _cleanup_buf_ struct buf text = BUF_INIT;

    (void)utf8_fix_end(fix, &text);
    push_text(s, name, &text);
}

// Cut by the service, unless its client had left before.
static bool is_cut(const struct stream *s)
{
    return !atomic_load(&s->closed) && http_is_cut(s->exchange);
}

static void push_error(struct stream *s, struct err *err)
{
    _cleanup_buf_ struct buf data = BUF_INIT;

    api_run_failed(s->metrics, s->runtime, is_cut(s), err);
    api_write_run_error(&data, s->request_id, err, true);
    push(s, "error", &data);
}

static void push_result(struct stream *s, const struct run_result *result)
{
    _cleanup_buf_ struct buf data = BUF_INIT;
    struct json_out out = {.buf = &data};
    struct err err = ERR_INIT;
    struct execute_answer a = {
        .request_id = s->request_id,
        .runtime = s->runtime,
        .result = result,
        .truncated = s->cut,
    };

    push_rest(s, "compile", &s->fix_compile);
    push_rest(s, "stdout", &s->fix_out);
    push_rest(s, "stderr", &s->fix_err);
    if (api_result_error(result, &err)) {
        push_error(s, &err);
        return;
    }
    api_metrics_result(s->metrics, s->runtime, result);
    a.lossy = s->fix_out.lossy || s->fix_err.lossy || s->fix_compile.lossy;
    execute_write_answer(&out, &a);
    push(s, "result", &data);
}

static void *pump_main(void *arg)
{
    struct stream *s = arg;
    struct run_event event = {0};
    struct err err = ERR_INIT;

    push_start(s);
    for (;;) {
        if (run_next(s->run, &event, &err) < 0) {
            push_error(s, &err);
            break;
        }
        if (event.kind == RUN_EVENT_RESULT) {
            push_result(s, event.result);
            break;
        }
        push_output(s, &event);
    }
    run_close(s->run);
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static ssize_t stream_pull(void *arg, char *data, size_t max)
{
    static const char keepalive[] = ": keepalive\n\n";
    struct timespec until = clock_to_timespec(clock_deadline_ms(KEEPALIVE_MS));
    struct stream *s = arg;
    size_t n;
    int r = 0;

    pthread_mutex_lock(&s->lock);
    while (s->queue.len == 0 && !s->ended && r == 0)
        r = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    n = s->queue.len < max ? s->queue.len : max;
    if (n > 0) {
        memcpy(data, s->queue.data, n);
        buf_consume(&s->queue, n);
        pthread_cond_broadcast(&s->changed);
    } else if (!s->ended && max >= sizeof(keepalive)) {
        n = sizeof(keepalive) - 1;
        memcpy(data, keepalive, n);
    }
    pthread_mutex_unlock(&s->lock);
    return (ssize_t)n;
}

static void stream_free(struct stream *s)
{
    buf_release(&s->queue);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void stream_done(void *arg)
{
    struct stream *s = arg;

    pthread_mutex_lock(&s->lock);
    atomic_store(&s->closed, true);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->pump, NULL);
    stream_free(s);
}

static struct stream *stream_new(const struct api *api, const struct http_request *req,
                                 const struct execute_request *x)
{
    struct stream *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    memcpy(s->request_id, req->id, sizeof(s->request_id));
    s->runtime = x->run.runtime;
    s->metrics = api->metrics;
    s->exchange = req->exchange;
    s->stall_left_ns = STALL_MAX_MS * NS_PER_MS;
    s->room_bytes = x->run.limits.output_bytes + ROOM_SLACK;
    s->compile_room_bytes = RUN_COMPILE_OUTPUT_BYTES + ROOM_SLACK;
    pthread_mutex_init(&s->lock, NULL);
    clock_cond_init(&s->changed);
    return s;
}

static int start_pump(struct stream *s, struct err *err)
{
    pthread_attr_t attr;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, HTTP_STACK_BYTES);
    r = pthread_create(&s->pump, &attr, pump_main, s);
    pthread_attr_destroy(&attr);
    if (r != 0)
        return err_sys(err, r, "cannot start a thread");
    return 0;
}

void execute_stream(const struct api *api, const struct http_request *req,
                    struct http_response *res, struct execute_request *x)
{
    struct stream *s = stream_new(api, req, x);
    struct err err = ERR_INIT;
    bool may_have_run = false;

    if (s == NULL) {
        (void)err_set(&err, ERR_INTERNAL, "out of memory");
        api_fail_run(req, res, &err, false);
        return;
    }
    x->run.gone = stream_gone;
    x->run.gone_arg = s;
    if (run_open(api->engine, &x->run, &s->run, &may_have_run, &err) < 0) {
        api_run_failed(api->metrics, x->run.runtime, is_cut(s), &err);
        api_fail_run(req, res, &err, may_have_run);
        stream_free(s);
        return;
    }
    if (start_pump(s, &err) < 0) {
        run_close(s->run);
        api_fail_run(req, res, &err, true);
        stream_free(s);
        return;
    }
    res->status = 200;
    res->content_type = "text/event-stream";
    res->stream.pull = stream_pull;
    res->stream.done = stream_done;
    res->stream.arg = s;
    http_set_header(res, "X-Accel-Buffering", "no");
}
