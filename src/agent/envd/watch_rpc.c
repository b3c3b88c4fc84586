// SPDX-License-Identifier: Apache-2.0
//
// The two ways to hear of events: a stream, and a watcher that is asked.
#include "agent/envd/fs.h"
#include "agent/envd/watch.h"
#include "base/clock.h"
#include "base/id.h"
#include "json/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_BYTES (WATCH_ID_MAX / 2)

// A stream: its watcher, its keepalives, its deadline.
struct watch_stream {
    struct call *call;
    struct watcher *watcher;
    uint64_t interval_ns;
    uint64_t sent_ns; // when the last message was
    struct loop_timer keepalive;
    struct loop_timer deadline;
};

static int read_spec(const struct call *c, const struct json_in *in, struct watch_spec *ret,
                     struct rpc_error *e)
{
    struct user user;

    *ret = (struct watch_spec){0};
    if (fs_path(c, in, "path", &user, ret->path, e) < 0)
        return -1;
    ret->viewer_uid = user.uid;
    ret->viewer_gid = user.gid;
    if (rpc_get_bool(in, "recursive", NULL, &ret->recursive, e) < 0 ||
        rpc_get_bool(in, "includeEntry", "include_entry", &ret->with_entry, e) < 0)
        return -1;
    return rpc_get_bool(in, "allowNetworkMounts", "allow_network_mounts", &ret->network, e);
}

static void stream_stop(struct watch_stream *s)
{
    struct loop *loop = s->call->envd->loop;

    loop_timer_clear(loop, &s->keepalive);
    loop_timer_clear(loop, &s->deadline);
    if (s->watcher != NULL)
        watch_pause(s->watcher, true);
}

static void on_event(struct watcher *w, const struct buf *json)
{
    struct watch_stream *s = w->state;
    _cleanup_buf_ struct buf text = BUF_INIT;

    if (buf_append(&text, "{\"filesystem\":", 14) < 0 ||
        buf_append(&text, json->data, json->len) < 0 || buf_append(&text, "}", 1) < 0 ||
        buf_cstr(&text) == NULL) {
        call_reset(s->call);
        return;
    }
    rpc_send(s->call, (const char *)text.data);
    s->sent_ns = clock_mono_ns();
    if (call_backlog(s->call) > 0)
        watch_pause(w, true);
}

static void on_failed(struct watcher *w, const struct rpc_error *e)
{
    struct watch_stream *s = w->state;

    stream_stop(s);
    rpc_fail(s->call, e);
}

static void on_keepalive(void *arg)
{
    struct watch_stream *s = arg;
    uint64_t now = clock_mono_ns();

    if (now - s->sent_ns >= s->interval_ns) {
        if (call_backlog(s->call) == 0)
            rpc_send(s->call, "{\"keepalive\":{}}");
        s->sent_ns = now;
    }
    loop_timer_set(s->call->envd->loop, &s->keepalive, s->sent_ns + s->interval_ns, on_keepalive,
                   s);
}

static void on_deadline(void *arg)
{
    struct watch_stream *s = arg;
    struct rpc_error e = RPC_ERROR_INIT;

    stream_stop(s);
    (void)rpc_set(&e, RPC_DEADLINE_EXCEEDED, "the stream's time is over");
    rpc_fail(s->call, &e);
}

static void on_drain(struct call *c)
{
    struct watch_stream *s = c->state;

    watch_pause(s->watcher, false);
}

static void on_close(struct call *c)
{
    struct watch_stream *s = c->state;

    stream_stop(s);
    watch_free(s->watcher);
    free(s);
}

static const struct call_ops ops = {.drain = on_drain, .close = on_close};

static int stream_start(struct call *c, const struct json_in *in, struct rpc_error *e)
{
    struct watch_spec spec;
    struct watch_stream *s;
    uint64_t timeout_ms = call_timeout_ms(c);

    if (read_spec(c, in, &spec, e) < 0)
        return -1;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return rpc_set(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
    s->call = c;
    if (watch_new(c->envd, &spec, &s->watcher, e) < 0) {
        free(s);
        return -1;
    }
    s->watcher->state = s;
    s->watcher->event = on_event;
    s->watcher->failed = on_failed;
    c->state = s;
    c->ops = &ops;
    s->interval_ns = call_keepalive_ns(c);
    s->sent_ns = clock_mono_ns();
    loop_timer_set(c->envd->loop, &s->keepalive, s->sent_ns + s->interval_ns, on_keepalive, s);
    if (timeout_ms > 0)
        loop_timer_set(c->envd->loop, &s->deadline, clock_deadline_ms(timeout_ms), on_deadline, s);
    return 0;
}

void watch_dir(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;

    if (stream_start(c, in, &e) < 0) {
        rpc_fail(c, &e);
        return;
    }
    rpc_begin(c);
    rpc_send(c, "{\"start\":{}}");
}

// One that is asked keeps its events; when it cannot any more, the next answer says so.
static void keep_event(struct watcher *w, const struct buf *json)
{
    if (w->error.code != RPC_OK)
        return;
    if (w->pending_count == WATCH_EVENTS_MAX || w->pending.len + json->len > WATCH_EVENT_BYTES ||
        (w->pending_count > 0 && buf_append(&w->pending, ",", 1) < 0) ||
        buf_append(&w->pending, json->data, json->len) < 0) {
        (void)rpc_set(&w->error, RPC_RESOURCE_EXHAUSTED,
                      "events of '%s' were not fetched in time and were lost", w->path);
        return;
    }
    w->pending_count++;
}

static void keep_error(struct watcher *w, const struct rpc_error *e)
{
    w->error = *e;
}

void watch_create(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct watch_spec spec;
    struct watcher *w;
    char text[WATCH_ID_MAX + 32];

    if (read_spec(c, in, &spec, &e) < 0 || watch_new(c->envd, &spec, &w, &e) < 0) {
        rpc_fail(c, &e);
        return;
    }
    w->event = keep_event;
    w->failed = keep_error;
    id_hex(w->id, ID_BYTES);
    int n = snprintf(text, sizeof(text), "{\"watcherId\":\"%s\"}", w->id);
    call_answer(c, 200, "application/json", text, (size_t)n);
}

// The watcher that the message names, or NULL and the call was answered.
static struct watcher *named(struct call *c, const struct json_in *in)
{
    struct rpc_error e = RPC_ERROR_INIT;
    const char *id;

    if (rpc_get_text(in, "watcherId", "watcher_id", &id, &e) == 0) {
        for (struct watcher *w = c->envd->watchers; w != NULL && id[0] != '\0'; w = w->next)
            if (strcmp(w->id, id) == 0)
                return w;
        (void)rpc_set(&e, RPC_NOT_FOUND, "watcher '%s' does not exist", id);
    }
    rpc_fail(c, &e);
    return NULL;
}

void watch_get_events(struct call *c, const struct json_in *in)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct watcher *w = named(c, in);

    if (w == NULL)
        return;
    watch_poll(w);
    if (w->error.code != RPC_OK) {
        rpc_fail(c, &w->error);
        w->error.code = RPC_OK;
    } else if (buf_append(&text, "{\"events\":[", 11) < 0 ||
               buf_append(&text, w->pending.data, w->pending.len) < 0 ||
               buf_append(&text, "]}", 2) < 0) {
        call_reset(c);
        return;
    } else {
        rpc_reply(c, &text);
    }
    buf_release(&w->pending);
    w->pending_count = 0;
}

void watch_remove(struct call *c, const struct json_in *in)
{
    struct watcher *w = named(c, in);

    if (w == NULL)
        return;
    watch_free(w);
    rpc_reply_empty(c);
}
