// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/proc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "json/base64.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS     4           // reads of one stream before others have their turn
#define TRIM_BYTES (64u << 10) // what is worth moving the rest of the log

static const char *const prefixes[] = {
    "{\"event\":{\"data\":{\"stdout\":\"",
    "{\"event\":{\"data\":{\"stderr\":\"",
    "{\"event\":{\"data\":{\"pty\":\"",
};
static const char suffix[] = "\"}}}";

static uint64_t log_end(const struct proc *p)
{
    return p->log_start + p->log.len;
}

// The place of the slowest.
static uint64_t slowest(const struct proc *p)
{
    uint64_t min = log_end(p);

    for (const struct proc_subscriber *s = p->subscribers; s != NULL; s = s->next)
        if (s->at < min)
            min = s->at;
    return min;
}

static bool may_read(const struct proc *p)
{
    size_t max = p->envd->output_bytes < PROC_LOGS_BYTES ? PROC_LOG_BYTES : 1;

    return log_end(p) - slowest(p) < max;
}

static void trim(struct proc *p)
{
    size_t n = (size_t)(slowest(p) - p->log_start);

    if (n == 0 || (n < p->log.len && n < TRIM_BYTES))
        return;
    buf_consume(&p->log, n);
    p->log_start += n;
    p->envd->output_bytes -= n;
    if (p->log.len == 0)
        buf_release(&p->log);
}

void proc_unsubscribe(struct proc_subscriber *s)
{
    struct proc *p = s->proc;

    for (struct proc_subscriber **at = &p->subscribers; *at != NULL; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            break;
        }
    }
    p->subscriber_count--;
    if (p->starter == s)
        p->starter = NULL;
    loop_timer_clear(p->envd->loop, &s->keepalive);
    loop_timer_clear(p->envd->loop, &s->deadline);
    s->call->state = NULL;
    s->call->ops = NULL;
    free(s);
}

static void finish(struct proc_subscriber *s)
{
    struct call *c = s->call;

    if (s->error.code == RPC_OK)
        rpc_end(c);
    else
        rpc_fail(c, &s->error);
    proc_unsubscribe(s);
}

// Gives a subscriber what its stream takes. It may be over then, and gone.
static void feed(struct proc_subscriber *s)
{
    const struct proc *p = s->proc;
    uint64_t end = s->stopping ? s->stop : log_end(p);

    while (s->at < end && call_backlog(s->call) == 0) {
        const uint8_t *frame = p->log.data + (s->at - p->log_start);
        size_t len = RPC_HEADER_BYTES + ((size_t)frame[1] << 24 | (size_t)frame[2] << 16 |
                                         (size_t)frame[3] << 8 | frame[4]);
        call_write(s->call, frame, len);
        s->at += len;
        s->moved_ns = clock_mono_ns();
    }
    if (s->stopping && s->at >= s->stop)
        finish(s);
}

static void on_lag(void *arg)
{
    struct proc *p = arg;
    uint64_t now = clock_mono_ns();
    bool waited_for = false;

    for (const struct proc_subscriber *s = p->subscribers; s != NULL; s = s->next)
        waited_for = waited_for || s->at == log_end(p);
    for (struct proc_subscriber *s = p->subscribers, *next; s != NULL; s = next) {
        next = s->next;
        if (!waited_for || s->at == log_end(p) || now - s->moved_ns < PROC_LAG_MS * NS_PER_MS)
            continue;
        (void)rpc_set(&s->error, RPC_RESOURCE_EXHAUSTED, "the output was not read fast enough");
        finish(s);
    }
    trim(p);
    if (may_read(p))
        proc_listen(p);
    else if (p->subscriber_count > 1)
        loop_timer_set(p->envd->loop, &p->lag, clock_deadline_ms(PROC_LAG_MS), on_lag, p);
}

static void pause_reading(struct proc *p)
{
    p->paused = true;
    loop_del(p->envd->loop, &p->out[0]);
    loop_del(p->envd->loop, &p->out[1]);
    if (p->subscriber_count > 1 && !p->lag.armed)
        loop_timer_set(p->envd->loop, &p->lag, clock_deadline_ms(PROC_LAG_MS), on_lag, p);
}

// After subscribers took something, or went.
static void resume(struct proc *p)
{
    trim(p);
    if (p->paused && may_read(p)) {
        loop_timer_clear(p->envd->loop, &p->lag);
        proc_listen(p);
    }
}

static void feed_all(struct proc *p)
{
    for (struct proc_subscriber *s = p->subscribers, *next; s != NULL; s = next) {
        next = s->next;
        feed(s);
    }
    trim(p);
}

// Adds an envelope to the log, whole or not at all.
static int log_data(struct proc *p, const char *prefix, const uint8_t *data, size_t len)
{
    size_t before = p->log.len;
    uint8_t header[RPC_HEADER_BYTES];
    int rc;

    rpc_header(header, 0, strlen(prefix) + (len + 2) / 3 * 4 + sizeof(suffix) - 1);
    rc = buf_append(&p->log, header, sizeof(header));
    if (rc == 0)
        rc = buf_append(&p->log, prefix, strlen(prefix));
    if (rc == 0)
        rc = base64_encode(data, len, &p->log);
    if (rc == 0)
        rc = buf_append(&p->log, suffix, sizeof(suffix) - 1);
    if (rc < 0)
        p->log.len = before;
    p->envd->output_bytes += p->log.len - before;
    return rc;
}

void proc_close_output(struct proc *p, int i)
{
    loop_del(p->envd->loop, &p->out[i]);
    fd_close(&p->out_fd[i]);
}

// One read. False: nothing is there, or never again.
static bool read_some(struct proc *p, int i)
{
    uint8_t *piece = p->envd->piece;
    ssize_t n = read(p->out_fd[i], piece, p->terminal ? PROC_TERMINAL_BYTES : PROC_PIPE_BYTES);

    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) { // a terminal that nobody has open any more says EIO
        proc_close_output(p, i);
        return false;
    }
    if (p->subscribers == NULL)
        return true;
    if (log_data(p, prefixes[p->terminal ? 2 : i], piece, (size_t)n) < 0) {
        // Memory is out: better no output than one with a hole.
        for (struct proc_subscriber *s = p->subscribers; s != NULL; s = s->next)
            call_reset(s->call);
        return false;
    }
    feed_all(p);
    return true;
}

void proc_read_output(struct proc *p, bool last)
{
    for (int i = 0; i < 2; i++) {
        for (int round = 0; p->out_fd[i] >= 0 && round < ROUNDS; round++) {
            if (!last && !may_read(p)) {
                pause_reading(p);
                return;
            }
            if (!read_some(p, i))
                break;
        }
    }
}

void proc_stop_subscriber(struct proc_subscriber *s)
{
    s->stopping = true;
    s->stop = log_end(s->proc);
    feed(s);
}

void proc_end_output(struct proc *p)
{
    size_t before = p->log.len;

    // A stream whose end cannot be told is broken off by the missing event.
    if (p->end != NULL && p->subscribers != NULL &&
        rpc_append(&p->log, 0, p->end, strlen(p->end)) < 0)
        p->log.len = before;
    p->envd->output_bytes += p->log.len - before;
    for (struct proc_subscriber *s = p->subscribers, *next; s != NULL; s = next) {
        next = s->next;
        if (!s->stopping)
            proc_stop_subscriber(s);
    }
    trim(p);
}

static void on_keepalive(void *arg)
{
    struct proc_subscriber *s = arg;
    uint64_t now = clock_mono_ns();

    if (now - s->moved_ns >= s->interval_ns) {
        // A stream with something on its way is alive.
        if (s->at == log_end(s->proc) && call_backlog(s->call) == 0) {
            rpc_send(s->call, "{\"event\":{\"keepalive\":{}}}");
            s->moved_ns = now;
        }
    }
    uint64_t from = now - s->moved_ns < s->interval_ns ? s->moved_ns : now;
    loop_timer_set(s->proc->envd->loop, &s->keepalive, from + s->interval_ns, on_keepalive, s);
}

static void on_deadline(void *arg)
{
    struct proc_subscriber *s = arg;

    (void)rpc_set(&s->error, RPC_DEADLINE_EXCEEDED, "the stream's time is over");
    proc_stop_subscriber(s);
}

static void on_drain(struct call *c)
{
    struct proc_subscriber *s = c->state;
    struct proc *p = s->proc;

    feed(s);
    resume(p);
}

static void on_close(struct call *c)
{
    struct proc_subscriber *s = c->state;
    struct proc *p;

    if (s == NULL)
        return;
    p = s->proc;
    proc_unsubscribe(s);
    resume(p);
}

static const struct call_ops ops = {.drain = on_drain, .close = on_close};

int proc_subscribe(struct proc *p, struct call *c, struct proc_subscriber **ret,
                   struct rpc_error *e)
{
    struct loop *loop = p->envd->loop;
    uint64_t timeout_ms = call_timeout_ms(c);
    struct proc_subscriber *s;

    if (p->subscriber_count >= PROC_SUBSCRIBERS_MAX)
        return rpc_set(e, RPC_RESOURCE_EXHAUSTED, "more than %d subscribers", PROC_SUBSCRIBERS_MAX);
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return rpc_set(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
    s->proc = p;
    s->call = c;
    s->at = log_end(p);
    s->moved_ns = clock_mono_ns();
    s->interval_ns = call_keepalive_ns(c);
    s->next = p->subscribers;
    p->subscribers = s;
    p->subscriber_count++;
    c->state = s;
    c->ops = &ops;
    loop_timer_set(loop, &s->keepalive, s->moved_ns + s->interval_ns, on_keepalive, s);
    if (ret != NULL)
        *ret = s; // whose deadline is the process's
    else if (timeout_ms > 0)
        loop_timer_set(loop, &s->deadline, clock_deadline_ms(timeout_ms), on_deadline, s);
    return 0;
}
