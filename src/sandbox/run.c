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
#include "sandbox/run_program.h"
#include "sandbox/runtime.h"
#include "sandbox/tenant.h"

#include <stdlib.h>
#include <string.h>

#define GRACE_MS    15000
#define SLICE_MS    200
#define SEND_TRIES  5
#define CHUNK_BYTES 16384
#define ROOM_SLACK  65536u // bytes beyond the limits, which the agent keeps to the byte
#define LOG_MAX     65536u // of a compiler, that is kept with what it made

struct run {
    struct engine *engine;
    struct sandbox *sandbox;
    struct channel_stream *stream;
    bool (*gone)(void *arg);
    void *gone_arg;
    struct tenant *tenant;
    bool finished;  // the result is there
    bool announced; // on_handover() allowed it
    uint64_t deadline_ns;
    uint64_t sent_ns;
    uint64_t patience_ns; // how long the agent may make us wait in all
    uint64_t output_room; // bytes of the program, and of the compiler, that may still come
    uint64_t compile_room;
    bool has_compile; // the agent was asked to compile
    // The compile cache's part.
    const struct compile_artifact *artifact; // what is sent instead of compiling, or NULL
    bool log_told;                           // what its compiler said was an event
    size_t artifact_max;                     // what the agent may send of its compile step, or 0
    struct compile_key key;
    struct buf made; // what it sent
    struct buf log;  // what its compiler said
    struct frames frames;
    uint8_t chunk[CHUNK_BYTES];
    const uint8_t *data; // what of the chunk is not decoded yet
    size_t len;
    struct run_result result;
};

// Finds what the compile step would make, or arranges to keep it.
static void ask_cache(struct run *r, const struct program *p)
{
    struct compile_cache *cache = r->engine->compile_cache;
    const char *template_key = engine_template_key(r->engine);
    size_t max = compile_cache_artifact_max(cache);

    if (max == 0 || template_key == NULL || !program_has_artifact(p))
        return;
    compile_cache_key(&p->req, template_key, &r->key);
    r->artifact = compile_cache_get(cache, &r->key);
    if (r->artifact != NULL && !program_has_room(p, r->artifact->len)) {
        // Let it fail as it would.
        compile_artifact_unref(r->artifact);
        r->artifact = NULL;
    }
    r->artifact_max = r->artifact == NULL ? max : 0;
}

static bool compiles(const struct run *r, const struct run_request *req)
{
    return req->runtime->compile.argc > 0 && r->artifact == NULL;
}

static void set_bounds(struct run *r, const struct run_request *req)
{
    uint64_t ms = req->limits.wall_ms + GRACE_MS;

    if (compiles(r, req))
        ms += req->runtime->compile_wall_ms;
    r->deadline_ns = clock_deadline_ms(ms);
    r->patience_ns = ms * NS_PER_MS;
    r->output_room = req->limits.output_bytes + ROOM_SLACK;
    r->compile_room = RUN_COMPILE_OUTPUT_BYTES + ROOM_SLACK;
    buf_clear(&r->made);
    buf_clear(&r->log);
}

static int encode(const struct run *r, const struct program *p, const struct sandbox *s,
                  struct buf *ret, struct err *err)
{
    struct agent_run how = {
        .req = &p->req,
        .prepared = r->artifact == NULL && s->prepared == p->req.runtime && !p->cold,
        .artifact_max = r->artifact_max,
    };

    if (r->artifact != NULL) {
        how.artifact = r->artifact->data;
        how.artifact_len = r->artifact->len;
    }
    return agent_encode_run(&how, ret, err);
}

// Before the first sandbox that gets the program; others are of the same run.
static int announce(struct run *r, const struct program *p, struct err *err)
{
    if (p->req.on_handover == NULL || r->announced)
        return 0;
    if (p->req.on_handover(p->req.handover_arg, err) < 0)
        return -1;
    r->announced = true;
    return 0;
}

// Takes a sandbox and sends the program to it. On failure nothing was sent and no sandbox is held.
static int send_program(struct run *r, const struct program *p, struct err *err)
{
    struct pool_wait wait = {
        .gone = r->gone, .arg = r->gone_arg, .background = p->req.background, .tenant = r->tenant};
    struct pool *pool = r->engine->pool;
    _cleanup_buf_ struct buf body = BUF_INIT;
    uint64_t start = clock_mono_ns();
    struct sandbox *s;

    // What needs no compiler leaves the prepared ones to those that do.
    if (pool_acquire(pool, r->artifact == NULL ? p->req.runtime : NULL, &wait, &s, err) < 0)
        return -1;
    r->sent_ns = clock_mono_ns();
    r->result.queue_ns += r->sent_ns - start;
    if (encode(r, p, s, &body, err) == 0 && announce(r, p, err) == 0 &&
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
// the agent answered, the run is not repeated; nor is one that was announced and may have started,
// since whoever counts how often it may run has counted one.
static int hand_over(struct run *r, const struct program *p, bool *ret_may_have_run,
                     struct err *err)
{
    for (int tries = 1;; tries++) {
        int status;

        if (send_program(r, p, err) < 0) {
            if (err->code != ERR_GONE || tries == SEND_TRIES)
                return -1;
            continue;
        }
        set_bounds(r, &p->req);
        if (await_status(r, &status, err) < 0) {
            *ret_may_have_run = true;
            if (err->code != ERR_GONE || tries == SEND_TRIES || r->announced)
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
    struct program program;
    int rc;

    *ret_may_have_run = false;
    if (r == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if ((req->tenant != NULL && tenant_check_cpu(req->tenant, clock_mono_ns(), err) < 0) ||
        program_init(req, &program, err) < 0) {
        free(r);
        return -1;
    }
    r->engine = e;
    r->gone = req->gone;
    r->gone_arg = req->gone_arg;
    r->tenant = req->tenant;
    frames_init(&r->frames);
    memcpy(r->result.isolation, e->probe.isolation, sizeof(r->result.isolation));
    memcpy(r->result.accel, e->probe.accel, sizeof(r->result.accel));
    r->log = (struct buf)BUF_CAPPED(LOG_MAX);
    engine_run_begin(e);
    ask_cache(r, &program);
    r->has_compile = compiles(r, req);
    rc = hand_over(r, &program, ret_may_have_run, err);
    program_release(&program);
    if (rc < 0) {
        run_close(r);
        return -1;
    }
    e->runs_total++;
    *ret = r;
    return 0;
}

// What a compile step made that went well, and is all here.
static void keep_artifact(struct run *r, const struct run_result *result)
{
    if (r->artifact_max == 0 || !result->ran || result->compile.reason != RUN_EXIT ||
        result->compile.exit_code != 0 || result->artifact_bytes == 0 ||
        result->artifact_bytes != r->made.len)
        return;
    // A hit says all that the compiler said, or there is none.
    if (result->compile.stdout_bytes + result->compile.stderr_bytes == r->log.len)
        compile_cache_put(r->engine->compile_cache, &r->key, &r->made, &r->log);
}

static int finish(struct run *r, const struct frame *frame, struct err *err)
{
    struct run_result decoded;

    if (agent_decode_result(frame->data, frame->len, &decoded, err) < 0)
        return -1;
    if (decoded.compiled != r->has_compile)
        return err_set(err, ERR_PROTOCOL, "the agent's result is not that of this run");
    keep_artifact(r, &decoded);
    decoded.queue_ns = r->result.queue_ns;
    decoded.sandbox_ns = r->result.sandbox_ns;
    decoded.run_ns = clock_mono_ns() - r->sent_ns;
    memcpy(decoded.isolation, r->result.isolation, sizeof(decoded.isolation));
    memcpy(decoded.accel, r->result.accel, sizeof(decoded.accel));
    if (r->artifact != NULL) {
        decoded.compiled = decoded.compile_cached = true;
        decoded.compile = (struct run_step){.reason = RUN_EXIT};
        decoded.compile.stdout_bytes = r->artifact->log_len;
    }
    r->result = decoded;
    r->finished = true;
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

static int too_much(struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "the sandbox sent more output than the run may have");
}

// What the compile step made goes nowhere but into the cache.
static int take_artifact(struct run *r, const struct frame *frame, struct err *err)
{
    if (frame->len == 0 || frame->len > r->artifact_max - r->made.len)
        return too_much(err);
    if (buf_append(&r->made, frame->data, frame->len) < 0)
        return err_set(err, ERR_INTERNAL, "out of memory");
    return 0;
}

static int deliver(struct run *r, const struct frame *frame, struct run_event *ret, struct err *err)
{
    static const enum run_event_kind kinds[] = {
        [AGENT_FRAME_STDOUT] = RUN_EVENT_STDOUT,
        [AGENT_FRAME_STDERR] = RUN_EVENT_STDERR,
        [AGENT_FRAME_COMPILE_OUT] = RUN_EVENT_COMPILE_OUT,
    };
    bool of_compiler = frame->type == AGENT_FRAME_COMPILE_OUT;

    if (frame->type == AGENT_FRAME_RESULT) {
        if (finish(r, frame, err) < 0)
            return -1;
        *ret = (struct run_event){.kind = RUN_EVENT_RESULT, .result = &r->result};
        return 0;
    }
    if (take_room(of_compiler ? &r->compile_room : &r->output_room, frame->len) < 0)
        return too_much(err);
    // More than the log holds: keep_artifact() sees that it is short.
    if (of_compiler && r->artifact_max > 0)
        (void)buf_append(&r->log, frame->data, frame->len);
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
    if (r->artifact != NULL && r->artifact->log_len > 0 && !r->log_told) {
        r->log_told = true;
        *ret = (struct run_event){
            .kind = RUN_EVENT_COMPILE_OUT, .data = r->artifact->log, .len = r->artifact->log_len};
        return 0;
    }
    for (;;) {
        struct frame frame;

        if (frames_next(&r->frames, &r->data, &r->len, &frame) < 0)
            return err_set(err, ERR_PROTOCOL, "the sandbox sent a malformed answer");
        if (frame.data == NULL) {
            if (read_more(r, err) < 0)
                return -1;
        } else if (frame.type == AGENT_FRAME_ARTIFACT) {
            if (take_artifact(r, &frame, err) < 0)
                return -1;
        } else {
            return deliver(r, &frame, ret, err);
        }
    }
}

static uint64_t step_cpu_ns(const struct run_step *step)
{
    return step->cpu_user_ns + step->cpu_system_ns;
}

// What no result tells is counted as if it had run all the time.
static void charge(const struct run *r)
{
    uint64_t now = clock_mono_ns();
    uint64_t used_ns = step_cpu_ns(&r->result.compile) + step_cpu_ns(&r->result.run);

    if (r->tenant == NULL || r->sent_ns == 0)
        return;
    tenant_use_cpu(r->tenant, now, r->finished ? used_ns : now - r->sent_ns);
}

void run_close(struct run *r)
{
    struct engine *e;

    if (r == NULL)
        return;
    e = r->engine;
    charge(r);
    take_back(r);
    frames_release(&r->frames);
    compile_artifact_unref(r->artifact);
    buf_release(&r->made);
    buf_release(&r->log);
    free(r);
    engine_run_end(e);
}
