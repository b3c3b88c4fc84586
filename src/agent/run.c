// SPDX-License-Identifier: Apache-2.0
//
// Running one program: compile step, run step, result.
#include "agent/run.h"

#include "agent/prepared.h"
#include "agent/space.h"
#include "agent/spec.h"
#include "agent/step.h"
#include "agent/verdict.h"
#include "base/fd.h"
#include "channel/frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARTIFACT_PIECE AGENT_FRAME_MAX
#define RESULT_MAX     4096

enum { PHASE_COMPILE, PHASE_RUN, PHASE_COUNT };

struct run {
    struct agent *agent;
    struct prepared_set *prepared;
    struct server_stream *stream;
    struct buf body; // files and standard input are read out of it until the end
    struct run_spec spec;
    const uint8_t *input;
    struct space space;
    int phase;
    struct step *steps[PHASE_COUNT];
    struct buf pending;   // a frame the stream had no room for
    struct buf artifact;  // room for a frame's header, then what the compile step made
    size_t artifact_sent; // bytes of it
    struct buf result;    // the last frame, which waits for all others
};

static int start_step(struct run *r, int phase, struct err *err);

// Sends a frame whose payload follows FRAME_HEADER_BYTES bytes of room. False when it waits now.
static bool send_frame(struct run *r, enum agent_frame type, uint8_t *frame, size_t len)
{
    frame_encode_header(frame, type, (uint32_t)len);
    int rc =
        r->pending.len > 0 ? -EAGAIN : server_write(r->stream, frame, FRAME_HEADER_BYTES + len);
    if (rc != -EAGAIN)
        return true; // sent, or the stream is gone and its on_close comes
    (void)buf_append(&r->pending, frame, FRAME_HEADER_BYTES + len);
    return false;
}

static size_t artifact_size(const struct run *r)
{
    return r->artifact.len > FRAME_HEADER_BYTES ? r->artifact.len - FRAME_HEADER_BYTES : 0;
}

// Sends of the artifact what the stream takes. A piece's header is put over the end of the piece
// before, which is sent.
static void send_artifact(struct run *r)
{
    while (r->pending.len == 0 && r->artifact_sent < artifact_size(r)) {
        size_t n = artifact_size(r) - r->artifact_sent;
        uint8_t *frame = r->artifact.data + r->artifact_sent;

        if (n > ARTIFACT_PIECE)
            n = ARTIFACT_PIECE;
        frame_encode_header(frame, AGENT_FRAME_ARTIFACT, (uint32_t)n);
        if (server_write(r->stream, frame, FRAME_HEADER_BYTES + n) == -EAGAIN)
            return;
        r->artifact_sent += n; // also when the stream is gone: its on_close comes
    }
}

static void send_result(struct run *r)
{
    if (r->pending.len > 0 || r->artifact_sent < artifact_size(r))
        return; // run_drain() comes
    if (server_write(r->stream, r->result.data, r->result.len) != -EAGAIN)
        server_finish(r->stream);
}

// What the daemon wants to have of the compile step, before anything of the program has run. It
// may be absent or too large: then it is not sent.
static void take_artifact(struct run *r)
{
    static const uint8_t room[FRAME_HEADER_BYTES];

    if (r->spec.artifact == NULL || buf_append(&r->artifact, room, sizeof(room)) < 0)
        return;
    if (space_read(&r->space, r->spec.artifact, r->spec.artifact_max, &r->artifact) < 0)
        buf_release(&r->artifact);
}

static bool on_output(void *arg, int stream, uint8_t *data, size_t len)
{
    struct run *r = arg;
    enum agent_frame type = r->phase == PHASE_COMPILE ? AGENT_FRAME_COMPILE_OUT
                            : stream == 0             ? AGENT_FRAME_STDOUT
                                                      : AGENT_FRAME_STDERR;

    return send_frame(r, type, data - FRAME_HEADER_BYTES, len);
}

static json_t *usage_json(const struct step_result *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:o}", "wall_ns", (json_int_t)s->wall_ns, "cpu_user_ns",
                     (json_int_t)s->cpu_user_ns, "cpu_system_ns", (json_int_t)s->cpu_system_ns,
                     "memory_peak_bytes", (json_int_t)s->memory_peak_bytes, "processes_peak",
                     s->processes_peak > 0 ? json_integer((json_int_t)s->processes_peak)
                                           : json_null());
}

static json_t *limits_hit_json(const struct step_result *s)
{
    json_t *list = json_array();

    for (int i = 0; i < STEP_REASON_COUNT; i++)
        if ((s->limits_hit & STEP_BIT(i)) != 0)
            json_array_append_new(list, json_string(step_reason_name((enum step_reason)i)));
    return list;
}

// What the result of a run and that of its compile step have in common.
static json_t *step_json(const struct step_result *s)
{
    return json_pack("{s:s, s:i, s:i, s:o, s:I, s:I, s:b, s:o}", "reason",
                     step_reason_name(s->reason), "exit_code", s->exit_code, "signal", s->signal,
                     "limits_hit", limits_hit_json(s), "stdout_bytes", (json_int_t)s->stdout_bytes,
                     "stderr_bytes", (json_int_t)s->stderr_bytes, "truncated", s->truncated ? 1 : 0,
                     "usage", usage_json(s));
}

static json_t *result_json(const struct run *r, const struct step_result *s)
{
    const struct step *compile = r->steps[PHASE_COMPILE];
    json_t *doc = step_json(s);

    json_object_set_new(doc, "phase", json_string(r->phase == PHASE_COMPILE ? "compile" : "run"));
    json_object_set_new(doc, "message", json_string(s->message));
    json_object_set_new(doc, "artifact_bytes", json_integer((json_int_t)artifact_size(r)));
    json_object_set_new(doc, "compile",
                        compile == NULL ? json_null() : step_json(&compile->result));
    return doc;
}

// The last frame, and the end of the answer once it is sent.
static void finish(struct run *r, const struct step_result *s)
{
    json_t *doc = result_json(r, s);
    uint8_t frame[FRAME_HEADER_BYTES + RESULT_MAX];
    size_t len = doc == NULL ? 0
                             : json_dumpb(doc, (char *)frame + FRAME_HEADER_BYTES,
                                          sizeof(frame) - FRAME_HEADER_BYTES, JSON_COMPACT);

    json_decref(doc);
    if (len > sizeof(frame) - FRAME_HEADER_BYTES)
        len = 0;
    frame_encode_header(frame, AGENT_FRAME_RESULT, (uint32_t)len);
    (void)buf_append(&r->result, frame, FRAME_HEADER_BYTES + len);
    send_result(r);
}

static void finish_internal(struct run *r, const struct err *err)
{
    struct step_result s = {.reason = STEP_INTERNAL, .exit_code = -1};

    err_copy_text(s.message, sizeof(s.message), err->message);
    finish(r, &s);
}

static void on_done(void *arg)
{
    struct run *r = arg;
    struct step_result *s = &r->steps[r->phase]->result;
    struct err err = ERR_INIT;

    verdict_settle(s, space_is_full(&r->space));
    if (r->phase == PHASE_RUN || s->reason != STEP_EXIT || s->exit_code != 0) {
        finish(r, s);
        return;
    }
    r->phase = PHASE_RUN;
    take_artifact(r);
    if (start_step(r, PHASE_RUN, &err) < 0) {
        finish_internal(r, &err);
        return;
    }
    send_artifact(r);
}

static const struct spec_command *command_of(const struct run *r, int phase)
{
    return phase == PHASE_COMPILE ? &r->spec.compile : &r->spec.run;
}

static int arm(struct run *r, int phase, struct err *err)
{
    const struct spec_command *c = command_of(r, phase);
    struct step_sink sink = {.output = on_output, .done = on_done, .arg = r};

    return step_arm(r->steps[phase], &c->limits, r->input,
                    phase == PHASE_RUN ? r->spec.stdin_size : 0, &sink, err);
}

static int start_step(struct run *r, int phase, struct err *err)
{
    const struct spec_command *c = command_of(r, phase);
    struct step_spawn how = {.argv = c->argv,
                             .envp = (const char *const *)c->envp,
                             .limits = step_cgroup_limits(&c->limits),
                             .space = &r->space,
                             .control_fd = -1};

    // What the compiler left may be more than the run may have: then the space stays as it is.
    if (r->space.bytes != c->limits.disk_bytes)
        (void)space_resize(&r->space, c->limits.disk_bytes, NULL);
    if (step_spawn(r->agent, &how, &r->steps[phase], err) < 0)
        return -1;
    return arm(r, phase, err);
}

static int write_files(struct run *r, const uint8_t *data, struct err *err)
{
    for (size_t i = 0; i < r->spec.file_count; i++) {
        const struct spec_file *f = &r->spec.files[i];
        struct space_file file = {
            .path = f->path, .data = data, .size = f->size, .executable = f->executable};
        if (space_write(&r->space, &file, err) < 0)
            return -1;
        data += f->size;
    }
    r->input = data;
    return 0;
}

// What is prepared is the first step: the compiler where there is one.
static int start_prepared(struct run *r, const uint8_t *data, struct err *err)
{
    _cleanup_fd_ int control = -1;
    int phase = r->spec.has_compile ? PHASE_COMPILE : PHASE_RUN;

    if (prepared_take(r->prepared, r->spec.prepared, &r->steps[phase], &r->space, &control, err) <
        0)
        return -1;
    r->phase = phase;
    // What the interpreter has written may be more than the run may have: see start_step.
    (void)space_resize(&r->space, command_of(r, phase)->limits.disk_bytes, NULL);
    if (write_files(r, data, err) < 0)
        return -1;
    step_rebase(r->steps[phase]);
    if (arm(r, phase, err) < 0)
        return -1;
    // Arguments and environment of the request are for the run.
    if (phase == PHASE_COMPILE)
        return prepared_go(control, NULL, NULL, err);
    return prepared_go(control, r->spec.args, r->spec.env, err);
}

static int start_cold(struct run *r, const uint8_t *data, struct err *err)
{
    const struct spec_limits *limits =
        r->spec.has_compile ? &r->spec.compile.limits : &r->spec.run.limits;

    r->phase = r->spec.has_compile ? PHASE_COMPILE : PHASE_RUN;
    if (space_new(r->agent->config.spaces, &r->agent->slots, limits->disk_bytes, &r->space, err) <
            0 ||
        write_files(r, data, err) < 0)
        return -1;
    return start_step(r, r->phase, err);
}

static int start(struct run *r, struct err *err)
{
    const uint8_t *b = r->body.data;

    if (r->body.len < 4)
        return err_set(err, ERR_INVALID, "the body has no head");
    size_t head = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
    if (head > AGENT_HEAD_MAX || head > r->body.len - 4)
        return err_set(err, ERR_INVALID, "the head is longer than it may be");
    if (run_spec_parse((const char *)b + 4, head, r->body.len - 4 - head, &r->spec, err) < 0)
        return -1;
    return r->spec.prepared != NULL ? start_prepared(r, b + 4 + head, err)
                                    : start_cold(r, b + 4 + head, err);
}

int run_start(struct prepared_set *prepared, struct server_stream *stream, struct buf *body,
              struct run **ret, struct err *err)
{
    struct run *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return err_sys(err, ENOMEM, "run");
    r->agent = prepared->agent;
    r->prepared = prepared;
    r->stream = stream;
    r->space = (struct space)SPACE_INIT;
    r->body = *body;
    *body = (struct buf)BUF_INIT;
    if (start(r, err) < 0) {
        run_free(r);
        return -1;
    }
    *ret = r;
    // A stream that is gone already has its on_close coming.
    (void)server_respond(stream, 200, "application/octet-stream", NULL, 0, true);
    return 0;
}

void run_drain(struct run *r)
{
    if (r->pending.len > 0) {
        if (server_write(r->stream, r->pending.data, r->pending.len) == -EAGAIN)
            return;
        buf_clear(&r->pending);
    }
    send_artifact(r);
    if (r->result.len > 0)
        send_result(r);
    else if (r->steps[r->phase] != NULL)
        step_resume(r->steps[r->phase]);
}

void run_free(struct run *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < PHASE_COUNT; i++)
        step_free(r->steps[i]);
    space_free(&r->space);
    run_spec_release(&r->spec);
    buf_release(&r->body);
    buf_release(&r->pending);
    buf_release(&r->artifact);
    buf_release(&r->result);
    free(r);
}
