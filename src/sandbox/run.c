// SPDX-License-Identifier: Apache-2.0
//
// One one-shot run: takes a sandbox, hands the program over, turns the agent's frames into events.
// Whatever the agent does, a run ends: every wait is cut into slices in which the caller's `gone`
// is asked, and the whole is bounded by the run's own limits plus GRACE_MS. An agent that sends all
// the time is bounded by the bytes a run may write and by the time it makes us wait in all; a
// caller that takes its time with what came is not counted.
#include "sandbox/engine.h"

#include "base/buf.h"
#include "base/clock.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"
#include "channel/frames.h"
#include "sandbox/agent_client.h"
#include "sandbox/engine_internal.h"
#include "sandbox/runtime.h"
#include "sandbox/wrap.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRACE_MS    15000
#define SLICE_MS    200
#define SEND_TRIES  5
#define CHUNK_BYTES 16384
#define ROOM_SLACK  65536u // bytes beyond the limits, which the agent keeps to the byte

struct run {
    struct engine *engine;
    struct sandbox *sandbox;
    struct channel_stream *stream;
    bool (*gone)(void *arg);
    void *gone_arg;
    uint64_t deadline_ns;
    uint64_t sent_ns;
    uint64_t patience_ns; // how long the agent may make us wait in all
    uint64_t output_room; // bytes of the program, and of the compiler, that may still come
    uint64_t compile_room;
    struct frames frames;
    uint8_t chunk[CHUNK_BYTES];
    const uint8_t *data; // what of the chunk is not decoded yet
    size_t len;
    struct run_result result;
};

static bool matches(char *const *patterns, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    return false;
}

// True when something of the request could only take effect at the interpreter's start.
static bool needs_cold_start(const struct run_request *req)
{
    const struct runtime *rt = req->runtime;

    for (size_t i = 0; i < req->file_count; i++)
        if (matches(rt->cold_files, rt->cold_files_count, req->files[i].path))
            return true;
    for (size_t i = 0; req->env != NULL && req->env[i] != NULL; i++) {
        char name[256];

        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(req->env[i], "="), req->env[i]);
        if (matches(rt->cold_env, rt->cold_env_count, name))
            return true;
    }
    return false;
}

// The body with the program wrapped where the runtime asks for it. Returns 0 with *ret empty when
// nothing is to be wrapped.
static int wrap_program(const struct run_request *req, struct buf *ret, struct err *err)
{
    const struct runtime *rt = req->runtime;
    const struct run_file *f = &req->files[0];

    if (rt->wrap_unless == NULL || wrap_has_words((const char *)f->data, f->len, rt->wrap_unless))
        return 0;
    if (buf_append(ret, rt->wrap_prefix, strlen(rt->wrap_prefix)) < 0 ||
        buf_append(ret, f->data, f->len) < 0 || buf_append(ret, "\n", 1) < 0 ||
        buf_append(ret, rt->wrap_suffix, strlen(rt->wrap_suffix)) < 0)
        return err_set(err, ERR_INTERNAL, "out of memory");
    return 0;
}

static int encode(const struct run_request *req, bool prepared, struct buf *ret, struct err *err)
{
    _cleanup_buf_ struct buf wrapped = BUF_INIT;
    struct run_request copy = *req;
    struct run_file *files;
    int r;

    if (wrap_program(req, &wrapped, err) < 0)
        return -1;
    if (wrapped.len == 0)
        return agent_encode_run(req, prepared, ret, err);
    files = calloc(req->file_count, sizeof(*files));
    if (files == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    memcpy(files, req->files, req->file_count * sizeof(*files));
    files[0].data = wrapped.data;
    files[0].len = wrapped.len;
    copy.files = files;
    r = agent_encode_run(&copy, prepared, ret, err);
    free(files);
    return r;
}

static void set_bounds(struct run *r, const struct run_request *req)
{
    uint64_t ms = req->limits.wall_ms + GRACE_MS;

    if (req->runtime->compile.argc > 0)
        ms += req->runtime->compile_wall_ms;
    r->deadline_ns = clock_deadline_ms(ms);
    r->patience_ns = ms * NS_PER_MS;
    r->output_room = req->limits.output_bytes + ROOM_SLACK;
    r->compile_room = RUN_COMPILE_OUTPUT_BYTES + ROOM_SLACK;
}

// Takes a sandbox and sends the program to it. On failure nothing was sent and no sandbox is held.
static int send_program(struct run *r, const struct run_request *req, struct err *err)
{
    struct pool_wait wait = {.gone = req->gone, .arg = req->gone_arg};
    struct pool *pool = r->engine->pool;
    _cleanup_buf_ struct buf body = BUF_INIT;
    uint64_t start = clock_mono_ns();
    struct sandbox *s;
    bool prepared;

    if (pool_acquire(pool, req->runtime, &wait, &s, err) < 0)
        return -1;
    r->sent_ns = clock_mono_ns();
    r->result.queue_ns += r->sent_ns - start;
    prepared = s->prepared == req->runtime && !needs_cold_start(req);
    if (encode(req, prepared, &body, err) == 0 &&
        channel_send(s->channel,
                     &(struct channel_request){
                         .method = "POST", .path = "/run", .body = body.data, .body_len = body.len},
                     &r->stream, err) == 0) {
        r->sandbox = s;
        return 0;
    }
    pool_release(pool, s);
    return -1;
}

static bool is_gone(struct run *r)
{
    return r->gone != NULL && r->gone(r->gone_arg);
}

static int too_late(struct err *err)
{
    return err_set(err, ERR_TIMEOUT, "the sandbox did not answer in time");
}

static int check_cut(const struct run *r, struct err *err)
{
    if (r->engine->cut_runs)
        return err_set(err, ERR_CANCELLED, "the service is shutting down");
    return 0;
}

// What ends a wait early: the caller left, the service stops, the whole run took too long.
static int check_patience(struct run *r, struct err *err)
{
    if (is_gone(r))
        return err_set(err, ERR_CANCELLED, "the client went away");
    if (check_cut(r, err) < 0)
        return -1;
    return clock_mono_ns() >= r->deadline_ns ? too_late(err) : 0;
}

// Notes a wait that began at `since` and ended with something to read. The agent may go on so for
// longer than the run may take only as long as it does not make us wait.
static int count_wait(struct run *r, uint64_t since, struct err *err)
{
    uint64_t waited = clock_mono_ns() - since;

    if (waited >= r->patience_ns)
        return too_late(err);
    r->patience_ns -= waited;
    return check_cut(r, err);
}

static int await_status(struct run *r, int *ret_status, struct err *err)
{
    for (;;) {
        struct err wait_err = ERR_INIT;

        if (channel_status(r->stream, clock_deadline_ms(SLICE_MS), ret_status, &wait_err) == 0)
            break;
        if (wait_err.code != ERR_TIMEOUT) {
            *err = wait_err;
            return -1;
        }
        if (check_patience(r, err) < 0)
            return -1;
    }
    r->result.sandbox_ns = clock_mono_ns() - r->sent_ns;
    return 0;
}

// The program is not with an agent any more: the sandbox goes, the run may be tried in another.
static void take_back(struct run *r)
{
    channel_stream_close(r->stream);
    r->stream = NULL;
    if (r->sandbox != NULL)
        pool_release(r->engine->pool, r->sandbox);
    r->sandbox = NULL;
}

// What killed one sandbox may be killing others this moment: a retry waits 50, 100, 200 ms...
static void pause_before_retry(int tries)
{
    struct timespec ts = clock_to_timespec((25ull << tries) * NS_PER_MS);

    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

// Hands the program over. A sandbox that dies before the agent's first word, or whose interpreter
// did not live to see the program (AGENT_STATUS_GONE), is replaced and the program handed over
// again: it reaches nothing outside its sandbox, so a start that died with it left no trace. Once
// the agent answered, the run is not repeated.
static int hand_over(struct run *r, const struct run_request *req, bool *ret_may_have_run,
                     struct err *err)
{
    for (int tries = 1;; tries++) {
        int status;

        if (send_program(r, req, err) < 0) {
            if (err->code != ERR_GONE || tries == SEND_TRIES)
                return -1;
            continue;
        }
        set_bounds(r, req);
        if (await_status(r, &status, err) < 0) {
            *ret_may_have_run = true;
            if (err->code != ERR_GONE || tries == SEND_TRIES)
                return -1;
            take_back(r);
            *ret_may_have_run = false;
            pause_before_retry(tries);
            continue;
        }
        if (status == 200)
            return 0;
        take_back(r);
        if (status != AGENT_STATUS_GONE || tries == SEND_TRIES)
            return err_set(err, ERR_PROTOCOL, "the agent refused the run with status %d", status);
    }
}

int run_open(struct engine *e, const struct run_request *req, struct run **ret,
             bool *ret_may_have_run, struct err *err)
{
    struct run *r = calloc(1, sizeof(*r));

    *ret_may_have_run = false;
    if (r == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    r->engine = e;
    r->gone = req->gone;
    r->gone_arg = req->gone_arg;
    frames_init(&r->frames);
    memcpy(r->result.isolation, e->probe.isolation, sizeof(r->result.isolation));
    memcpy(r->result.accel, e->probe.accel, sizeof(r->result.accel));
    engine_run_begin(e);
    if (hand_over(r, req, ret_may_have_run, err) < 0) {
        run_close(r);
        return -1;
    }
    e->runs_total++;
    *ret = r;
    return 0;
}

static int finish(struct run *r, const struct frame *frame, struct err *err)
{
    struct run_result decoded;

    if (agent_decode_result(frame->data, frame->len, &decoded, err) < 0)
        return -1;
    decoded.queue_ns = r->result.queue_ns;
    decoded.sandbox_ns = r->result.sandbox_ns;
    decoded.run_ns = clock_mono_ns() - r->sent_ns;
    memcpy(decoded.isolation, r->result.isolation, sizeof(decoded.isolation));
    memcpy(decoded.accel, r->result.accel, sizeof(decoded.accel));
    r->result = decoded;
    return 0;
}

// An empty frame costs as well: without end they would be a run without end.
static int take_room(uint64_t *room, size_t len)
{
    size_t cost = len > 0 ? len : 1;

    if (cost > *room)
        return -1;
    *room -= cost;
    return 0;
}

static int deliver(struct run *r, const struct frame *frame, struct run_event *ret, struct err *err)
{
    static const enum run_event_kind kinds[] = {
        [AGENT_FRAME_STDOUT] = RUN_EVENT_STDOUT,
        [AGENT_FRAME_STDERR] = RUN_EVENT_STDERR,
        [AGENT_FRAME_COMPILE_OUT] = RUN_EVENT_COMPILE_OUT,
    };

    if (frame->type == AGENT_FRAME_RESULT) {
        if (finish(r, frame, err) < 0)
            return -1;
        *ret = (struct run_event){.kind = RUN_EVENT_RESULT, .result = &r->result};
        return 0;
    }
    if (take_room(frame->type == AGENT_FRAME_COMPILE_OUT ? &r->compile_room : &r->output_room,
                  frame->len) < 0)
        return err_set(err, ERR_PROTOCOL, "the sandbox sent more output than the run may have");
    *ret = (struct run_event){.kind = kinds[frame->type], .data = frame->data, .len = frame->len};
    return 0;
}

static int read_more(struct run *r, struct err *err)
{
    for (;;) {
        struct err wait_err = ERR_INIT;
        uint64_t since = clock_mono_ns();
        ssize_t n = channel_read(r->stream, r->chunk, sizeof(r->chunk), clock_deadline_ms(SLICE_MS),
                                 &wait_err);

        if (n > 0) {
            r->data = r->chunk;
            r->len = (size_t)n;
            return count_wait(r, since, err);
        }
        if (n == 0)
            return err_set(err, ERR_PROTOCOL, "the sandbox ended its answer without a result");
        if (wait_err.code != ERR_TIMEOUT) {
            *err = wait_err;
            return -1;
        }
        if (check_patience(r, err) < 0)
            return -1;
    }
}

int run_next(struct run *r, struct run_event *ret, struct err *err)
{
    for (;;) {
        struct frame frame;

        if (frames_next(&r->frames, &r->data, &r->len, &frame) < 0)
            return err_set(err, ERR_PROTOCOL, "the sandbox sent a malformed answer");
        if (frame.data != NULL)
            return deliver(r, &frame, ret, err);
        if (read_more(r, err) < 0)
            return -1;
    }
}

void run_close(struct run *r)
{
    struct engine *e;

    if (r == NULL)
        return;
    e = r->engine;
    take_back(r);
    frames_release(&r->frames);
    free(r);
    engine_run_end(e);
}
