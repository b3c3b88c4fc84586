// SPDX-License-Identifier: Apache-2.0
//
// StreamInput: a stream of messages of which the first selects the process and the others are its
// input. One is written at a time; until it was taken the client is held back.
#include "agent/envd/proc.h"
#include "base/fd.h"

#include <stdlib.h>
#include <string.h>

struct input_stream {
    struct call *call;
    struct buf in; // what came; from `taken` on it was not taken
    size_t taken;
    uint64_t serial; // of the process; 0: none selected yet
    bool ended;      // the client said all
    bool writing;    // the process did not take the last message yet
    bool parsing;    // take_messages() is on the stack
};

static struct proc *process_of(const struct input_stream *s, struct rpc_error *e)
{
    struct proc *p = s->serial == 0 ? NULL : proc_find_serial(s->call->envd, s->serial);

    if (p != NULL && p->state != PROC_ENDED)
        return p;
    (void)rpc_set(e, RPC_NOT_FOUND, "the process ended, or none was selected");
    return NULL;
}

static void take_messages(struct input_stream *s);

static void on_written(void *owner, const struct rpc_error *e)
{
    struct input_stream *s = owner;

    s->writing = false;
    if (e != NULL)
        rpc_fail(s->call, e);
    else if (!s->parsing)
        take_messages(s);
}

static int take_message(struct input_stream *s, const struct proc_message *m, struct rpc_error *e)
{
    struct json_in top = json_top(m->tree), *in = &top;
    _cleanup_buf_ struct buf data = BUF_INIT;
    struct json_in start = {0}, part = {0};
    struct proc *p;

    if (rpc_get_object(in, "start", &start, e) < 0 || rpc_get_object(in, "data", &part, e) < 0)
        return -1;
    if (start.object != NULL) {
        p = proc_select(s->call->envd, &start, e);
        if (p == NULL)
            return -1;
        s->serial = p->serial;
        return 0;
    }
    if (part.object == NULL)
        return 0; // a keepalive
    p = process_of(s, e);
    if (p == NULL || proc_message_input(m, p, &part, &data, e) < 0)
        return -1;
    s->writing = true;
    proc_input_write(p, s, &data, on_written);
    return 0;
}

// Takes one envelope. 1: it did, 0: it is not complete, -1 with *e set.
static int take_envelope(struct input_stream *s, struct rpc_error *e)
{
    size_t have = s->in.len - s->taken;
    const uint8_t *p;
    struct proc_message m = {0};
    size_t len;
    int rc = 0;

    if (have < RPC_HEADER_BYTES)
        return 0;
    p = s->in.data + s->taken;
    len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (p[0] & RPC_FLAG_GZIP)
        return rpc_set(e, RPC_UNIMPLEMENTED, "compressed messages are not supported");
    if (len > ENVD_BODY_MAX)
        return rpc_set(e, RPC_RESOURCE_EXHAUSTED, "the message is larger than %u bytes",
                       ENVD_BODY_MAX);
    if (have - RPC_HEADER_BYTES < len)
        return 0;
    if (!(p[0] & RPC_FLAG_END)) {
        rc = proc_message_read(p + RPC_HEADER_BYTES, len, &m, e);
        if (rc == 0)
            rc = take_message(s, &m, e);
        json_free(&m.tree);
    }
    s->taken += RPC_HEADER_BYTES + len;
    return rc < 0 ? -1 : 1;
}

static void take_messages(struct input_stream *s)
{
    struct rpc_error e = RPC_ERROR_INIT;
    int rc = 1;

    s->parsing = true;
    while (rc > 0 && !s->writing && !s->call->finished)
        rc = take_envelope(s, &e);
    s->parsing = false;
    buf_consume(&s->in, s->taken);
    s->taken = 0;
    if (s->call->finished)
        return;
    if (rc == 0 && s->ended && s->in.len > 0)
        rc = rpc_set(&e, RPC_INVALID_ARGUMENT, "the envelope is cut off");
    if (rc < 0) {
        rpc_fail(s->call, &e);
        return;
    }
    server_stream_hold(s->call->stream, s->writing);
    if (s->ended && !s->writing) {
        rpc_begin(s->call);
        rpc_send(s->call, "{}");
        rpc_end(s->call);
    }
}

static void on_body(struct call *c, const uint8_t *data, size_t len)
{
    struct input_stream *s = c->state;

    if (c->finished)
        return;
    if (buf_append(&s->in, data, len) < 0)
        call_reset(c);
    else if (!s->writing)
        take_messages(s);
}

static void on_end(struct call *c)
{
    struct input_stream *s = c->state;

    s->ended = true;
    if (!c->finished && !s->writing)
        take_messages(s);
}

static void on_close(struct call *c)
{
    struct input_stream *s = c->state;

    proc_input_forget(c->envd, s);
    buf_release(&s->in);
    free(s);
}

static const struct call_ops ops = {.body = on_body, .end = on_end, .close = on_close};

void proc_rpc_stream_input(struct call *c)
{
    struct input_stream *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        call_reset(c);
        return;
    }
    s->call = c;
    c->state = s;
    c->ops = &ops;
    server_stream_set_body_max(c->stream, UINT64_MAX);
}
