// SPDX-License-Identifier: Apache-2.0
#include "driver/fake_run.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/agent_wire.h"
#include "channel/frames.h"
#include "channel/server.h"
#include "driver/fake_program.h"
#include "json/read.h"
#include "json/write.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 8192u

struct fake_run {
    struct server_stream *stream;
    struct buf body;
    json_t *head;
    const char *program; // the rest of it, in body
    size_t program_len;
    const char *input;
    size_t input_len;
    uint64_t wall_ns, output_bytes; // limits
    bool compiles;
    char hit[16]; // the limit it ran into, "" for none
    struct {
        bool wanted, sent; // by the peer, to it
        const char *data;  // NULL: filler
        uint64_t len, max;
    } artifact;
    bool rejecting;             // the compiler fails once its words are out
    struct fake_statement held; // done when the artifact is out; FAKE_OP_END: none

    uint64_t start_ns, wake_ns; // start 0: not started
    struct {
        enum agent_frame type;
        const char *data; // NULL: filler
        uint64_t left;
    } pending;           // what the current statement still has to write
    uint64_t written[2]; // to stdout, stderr
    uint64_t said;       // by the compiler
};

static int read_sizes(struct fake_run *r, size_t head_len, struct err *err)
{
    const json_t *files = json_object_get(r->head, "files");
    size_t at = 4 + head_len;

    for (size_t i = 0; i < json_array_size(files); i++) {
        json_int_t size = json_integer_value(json_object_get(json_array_get(files, i), "size"));

        if (size < 0 || (size_t)size > r->body.len - at)
            return err_set(err, ERR_INVALID, "file %zu does not fit in the body", i);
        if (i == 0 || json_is_true(json_object_get(json_array_get(files, i), "executable"))) {
            r->program = (const char *)r->body.data + at;
            r->program_len = (size_t)size;
        }
        at += (size_t)size;
    }
    r->input = (const char *)r->body.data + at;
    r->input_len = r->body.len - at;
    if (r->program == NULL)
        return err_set(err, ERR_INVALID, "there is no program");
    if (json_integer_value(json_object_get(r->head, "stdin_size")) != (json_int_t)r->input_len)
        return err_set(err, ERR_INVALID, "the body's length is not the sum of its parts");
    return 0;
}

static int read_limits(struct fake_run *r, struct err *err)
{
    const json_t *limits = json_object_get(json_object_get(r->head, "run"), "limits");
    json_int_t wall = json_integer_value(json_object_get(limits, "wall_ms"));
    json_int_t output = json_integer_value(json_object_get(limits, "output_bytes"));

    if (wall <= 0 || wall > UINT32_MAX || output <= 0)
        return err_set(err, ERR_INVALID, "run.limits is incomplete");
    r->wall_ns = (uint64_t)wall * NS_PER_MS;
    r->output_bytes = (uint64_t)output;
    r->compiles = json_is_object(json_object_get(r->head, "compile"));
    limits = json_object_get(r->head, "artifact");
    r->artifact.wanted = r->compiles && json_is_object(limits);
    r->artifact.max = (uint64_t)json_integer_value(json_object_get(limits, "max_bytes"));
    r->artifact.data = r->program;
    r->artifact.len = r->program_len;
    return 0;
}

static int read_body(struct fake_run *r, struct err *err)
{
    const uint8_t *b = r->body.data;
    size_t head_len;

    if (r->body.len < 4)
        return err_set(err, ERR_INVALID, "the body is shorter than its length field");
    head_len = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
    if (head_len > AGENT_HEAD_MAX || head_len > r->body.len - 4)
        return err_set(err, ERR_INVALID, "HEAD is longer than the body");
    if (json_read("head", b + 4, head_len, &r->head, err) < 0)
        return -1;
    if (read_sizes(r, head_len, err) < 0)
        return -1;
    return read_limits(r, err);
}

int fake_run_new(struct server_stream *stream, struct buf *body, struct fake_run **ret,
                 const char **ret_prepared, struct err *err)
{
    struct fake_run *r = calloc(1, sizeof(*r));
    const char *prepared;

    if (r == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    r->stream = stream;
    r->body = *body;
    *body = (struct buf)BUF_INIT;
    if (read_body(r, err) < 0) {
        fake_run_free(r);
        return -1;
    }
    prepared = json_string_value(json_object_get(r->head, "prepared"));
    *ret_prepared = prepared == NULL ? "" : prepared;
    *ret = r;
    return 0;
}

void fake_run_free(struct fake_run *r)
{
    if (r == NULL)
        return;
    json_free(&r->head);
    buf_release(&r->body);
    free(r);
}

uint64_t fake_run_wake_ns(const struct fake_run *r)
{
    uint64_t end = r->start_ns + r->wall_ns;

    return r->wake_ns != 0 && r->wake_ns < end ? r->wake_ns : end;
}

static bool put_frame(struct fake_run *r, enum agent_frame type, const void *data, size_t len)
{
    uint8_t frame[FRAME_HEADER_BYTES + CHUNK_BYTES];

    if (server_room(r->stream) < FRAME_HEADER_BYTES + len)
        return false;
    frame_encode_header(frame, type, (uint32_t)len);
    if (data == NULL)
        memset(frame + FRAME_HEADER_BYTES, 'x', len);
    else
        memcpy(frame + FRAME_HEADER_BYTES, data, len);
    return server_write(r->stream, frame, FRAME_HEADER_BYTES + len) == 0;
}

// How a step ended, as agent_wire.h has it: a failing program that ran into a limit failed for it.
struct ending {
    const char *reason;
    int exit_code, signal;
    uint64_t written[2];
};

static struct ending ending_of(const struct fake_run *r, const char *reason, int number)
{
    struct ending e = {
        .reason = reason, .exit_code = -1, .written = {r->written[0], r->written[1]}};
    bool exits = strcmp(reason, "exit") == 0;

    if (exits)
        e.exit_code = number;
    else if (strcmp(reason, "signal") == 0)
        e.signal = number;
    if (r->hit[0] != '\0' && (e.exit_code > 0 || e.signal > 0))
        e.reason = r->hit;
    return e;
}

static void put_limits_hit(struct json_out *out, const struct fake_run *r, const char *reason)
{
    json_open(out, "limits_hit", '[');
    if (r->hit[0] != '\0')
        json_put_str(out, NULL, r->hit);
    if (strcmp(reason, r->hit) != 0 && strcmp(reason, "exit") != 0 && strcmp(reason, "signal") != 0)
        json_put_str(out, NULL, reason);
    json_close(out, ']');
}

static void put_step(struct json_out *out, const struct fake_run *r, const struct ending *e)
{
    json_put_str(out, "reason", e->reason);
    json_put_i64(out, "exit_code", e->exit_code);
    json_put_i64(out, "signal", e->signal);
    put_limits_hit(out, r, e->reason);
    json_put_u64(out, "stdout_bytes", e->written[0]);
    json_put_u64(out, "stderr_bytes", e->written[1]);
    json_put_bool(out, "truncated", strcmp(e->reason, "output_limit") == 0);
    json_open(out, "usage", '{');
    json_put_u64(out, "wall_ns", clock_mono_ns() - r->start_ns);
    json_put_u64(out, "cpu_user_ns", 1000);
    json_put_u64(out, "cpu_system_ns", 1000);
    json_put_u64(out, "memory_peak_bytes", 1 << 20);
    json_put_u64(out, "processes_peak", 1);
    json_close(out, '}');
}

// Writes the RESULT frame and ends the answer. `phase` is "run", or "compile" when that failed.
static void finish(struct fake_run *r, const char *phase, const char *reason, int number)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    bool failed = strcmp(phase, "compile") == 0;
    struct ending last = ending_of(r, reason, number);
    struct ending compile = {.reason = "exit", .exit_code = failed ? 1 : 0};

    compile.written[0] = r->said;
    if (failed)
        last.written[0] = r->said;
    json_open(&out, NULL, '{');
    json_put_str(&out, "phase", phase);
    put_step(&out, r, &last);
    json_put_str(&out, "message", "");
    json_put_u64(&out, "artifact_bytes", r->artifact.sent ? r->artifact.len : 0);
    if (r->compiles) {
        json_open(&out, "compile", '{');
        put_step(&out, r, &compile);
        json_close(&out, '}');
    } else {
        json_put_null(&out, "compile");
    }
    json_close(&out, '}');
    // The queue holds at most one chunk below its end here: put_pending() leaves that much room.
    if (!out.failed)
        (void)put_frame(r, AGENT_FRAME_RESULT, text.data, text.len);
    server_finish(r->stream);
}

static bool is_output(enum agent_frame type)
{
    return type == AGENT_FRAME_STDOUT || type == AGENT_FRAME_STDERR;
}

// Writes what the statement left over. False when the queue is full. *ret_cut: the limit was hit.
static bool put_pending(struct fake_run *r, bool *ret_cut)
{
    *ret_cut = false;
    while (r->pending.left > 0) {
        uint64_t used = r->written[0] + r->written[1];
        size_t n = r->pending.left < CHUNK_BYTES ? (size_t)r->pending.left : CHUNK_BYTES;

        if (is_output(r->pending.type) && n > r->output_bytes - used) {
            n = (size_t)(r->output_bytes - used);
            *ret_cut = true;
        }
        if (server_room(r->stream) < 2 * (FRAME_HEADER_BYTES + CHUNK_BYTES))
            return false;
        if (n > 0 && !put_frame(r, r->pending.type, r->pending.data, n))
            return false;
        if (r->pending.type == AGENT_FRAME_COMPILE_OUT)
            r->said += n;
        else if (is_output(r->pending.type))
            r->written[r->pending.type == AGENT_FRAME_STDERR] += n;
        if (*ret_cut)
            return true;
        if (r->pending.data != NULL)
            r->pending.data += n;
        r->pending.left -= n;
    }
    return true;
}

static void put(struct fake_run *r, enum agent_frame type, const char *data, uint64_t len)
{
    r->pending.type = type;
    r->pending.data = data;
    r->pending.left = len;
}

// What the compiler does, as far as there is one. False: the statement is not for it.
static bool compile_statement(struct fake_run *r, const struct fake_statement *s)
{
    switch (s->op) {
    case FAKE_OP_WARN:
    case FAKE_OP_REJECT:
        if (r->compiles) {
            put(r, AGENT_FRAME_COMPILE_OUT, s->text, s->len);
            r->rejecting = s->op == FAKE_OP_REJECT;
        }
        return true;
    case FAKE_OP_CHATTER:
        if (r->compiles)
            put(r, AGENT_FRAME_COMPILE_OUT, NULL, s->number);
        return true;
    case FAKE_OP_MAKE:
        r->artifact.data = NULL;
        r->artifact.len = s->number;
        return true;
    case FAKE_OP_LEAK:
        put(r, AGENT_FRAME_ARTIFACT, NULL, s->number);
        return true;
    default:
        return false;
    }
}

// The compile step is over: what it made goes out first. False when there is nothing to send.
static bool send_artifact(struct fake_run *r, const struct fake_statement *next)
{
    if (!r->artifact.wanted || r->artifact.sent || r->artifact.len > r->artifact.max)
        return false;
    r->artifact.sent = true;
    r->held = *next;
    put(r, AGENT_FRAME_ARTIFACT, r->artifact.data, r->artifact.len);
    return true;
}

// What outlives the service, and so tells what was run.
static void note(const struct fake_statement *s)
{
    const char *path = getenv("CSB_FAKE_NOTES");
    _cleanup_fd_ int fd =
        path == NULL ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0)
        (void)fd_write_all(fd, s->text, s->len); // a test misses what could not be written
}

static enum fake_run_wish do_statement(struct fake_run *r, const struct fake_statement *s)
{
    switch (s->op) {
    case FAKE_OP_OUT:
        put(r, AGENT_FRAME_STDOUT, s->text, s->len);
        return FAKE_RUN_WAIT;
    case FAKE_OP_ERR:
        put(r, AGENT_FRAME_STDERR, s->text, s->len);
        return FAKE_RUN_WAIT;
    case FAKE_OP_STDIN:
        put(r, AGENT_FRAME_STDOUT, r->input, r->input_len);
        return FAKE_RUN_WAIT;
    case FAKE_OP_FLOOD:
        put(r, AGENT_FRAME_STDOUT, NULL, s->number);
        return FAKE_RUN_WAIT;
    case FAKE_OP_SPILL:
        r->output_bytes = UINT64_MAX;
        put(r, AGENT_FRAME_STDOUT, NULL, s->number);
        return FAKE_RUN_WAIT;
    case FAKE_OP_SLEEP:
        r->wake_ns = clock_deadline_ms(s->number);
        return FAKE_RUN_WAIT;
    case FAKE_OP_NOTE:
        note(s);
        return FAKE_RUN_WAIT;
    case FAKE_OP_HIT:
        (void)snprintf(r->hit, sizeof(r->hit), "%.*s", (int)(s->len > 0 ? s->len - 1 : 0), s->text);
        return FAKE_RUN_WAIT;
    case FAKE_OP_SIGNAL:
        finish(r, "run", "signal", (int)(s->number & 63));
        return FAKE_RUN_DONE;
    case FAKE_OP_OOM:
        finish(r, "run", "memory", 0);
        return FAKE_RUN_DONE;
    case FAKE_OP_SPIN:
        finish(r, "run", "cpu_timeout", 0);
        return FAKE_RUN_DONE;
    case FAKE_OP_DIE:
        return FAKE_RUN_DIE;
    case FAKE_OP_GARBAGE:
        return FAKE_RUN_GARBAGE;
    case FAKE_OP_END:
    case FAKE_OP_EXIT:
    default:
        finish(r, "run", "exit", (int)(s->number & 255));
        return FAKE_RUN_DONE;
    }
}

static void next_statement(struct fake_run *r, struct fake_statement *ret)
{
    bool held = r->held.op != FAKE_OP_END;

    if (held)
        *ret = r->held;
    else
        fake_program_next(&r->program, &r->program_len, ret);
    r->held.op = FAKE_OP_END;
}

enum fake_run_wish fake_run_go(struct fake_run *r)
{
    enum fake_run_wish wish = FAKE_RUN_WAIT;

    if (r->start_ns == 0) {
        r->start_ns = clock_mono_ns();
        (void)server_respond(r->stream, 200, "application/octet-stream", NULL, 0, true);
    }
    while (wish == FAKE_RUN_WAIT) {
        struct fake_statement s;
        bool cut;

        if (clock_mono_ns() >= r->start_ns + r->wall_ns) {
            finish(r, "run", "timeout", 0);
            return FAKE_RUN_DONE;
        }
        if (r->wake_ns > clock_mono_ns() || !put_pending(r, &cut))
            return FAKE_RUN_WAIT;
        r->wake_ns = 0;
        if (cut || r->rejecting) {
            finish(r, cut ? "run" : "compile", cut ? "output_limit" : "exit", 1);
            return FAKE_RUN_DONE;
        }
        next_statement(r, &s);
        if (!compile_statement(r, &s) && !send_artifact(r, &s))
            wish = do_statement(r, &s);
    }
    return wish;
}
