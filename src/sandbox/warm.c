// SPDX-License-Identifier: Apache-2.0
#include "sandbox/warm.h"

#include "base/buf.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"
#include "channel/frames.h"
#include "sandbox/agent_client.h"
#include "sandbox/runtime.h"

#include <stdio.h>
#include <string.h>

#define WARM_RUNS 2

static const struct run_limits warm_limits = {
    .wall_ms = 60000,
    .cpu_ms = 60000,
    .memory_bytes = 512ull << 20,
    .processes = 64,
    .output_bytes = 1 << 20,
    .disk_bytes = 64 << 20,
};

struct warm_output {
    char text[240]; // the first bytes the program or compiler wrote, for the error message
    size_t len;
};

static void keep_output(struct warm_output *out, const struct frame *frame)
{
    size_t room = sizeof(out->text) - 1 - out->len;
    size_t n = frame->len < room ? frame->len : room;

    memcpy(out->text + out->len, frame->data, n);
    out->len += n;
    out->text[out->len] = '\0';
}

static int take_frames(struct frames *frames, const uint8_t *data, size_t len,
                       struct run_result *result, struct warm_output *out, struct err *err)
{
    struct frame frame;

    for (;;) {
        if (frames_next(frames, &data, &len, &frame) < 0)
            return err_set(err, ERR_PROTOCOL, "the agent's answer is malformed");
        if (frame.data == NULL)
            return 0;
        if (frame.type != AGENT_FRAME_RESULT)
            keep_output(out, &frame);
        else if (agent_decode_result(frame.data, frame.len, result, err) < 0)
            return -1;
    }
}

static int read_result(struct channel_stream *s, uint64_t deadline_ns, struct run_result *result,
                       struct warm_output *out, struct err *err)
{
    struct frames frames = FRAMES_INIT;
    uint8_t chunk[4096];
    ssize_t n;
    int r = 0;

    while (r == 0 && (n = channel_read(s, chunk, sizeof(chunk), deadline_ns, err)) != 0)
        r = n < 0 ? -1 : take_frames(&frames, chunk, (size_t)n, result, out, err);
    if (r == 0 && !frames_finished(&frames))
        r = err_set(err, ERR_PROTOCOL, "the agent's answer was cut off");
    frames_release(&frames);
    return r;
}

// In the agent's own words, which are for the operator.
static int refused(struct channel_stream *s, int status, uint64_t deadline_ns, struct err *err)
{
    char text[121];
    struct err why = ERR_INIT;
    ssize_t n = channel_read(s, text, sizeof(text) - 1, deadline_ns, &why);

    text[n < 0 ? 0 : n] = '\0';
    return err_set(err, ERR_PROTOCOL, "the agent refused a run with status %d: %s", status, text);
}

static int run_once(struct channel *ch, const struct runtime *rt, bool prepared,
                    uint64_t deadline_ns, struct err *err)
{
    struct run_file file = {
        .path = rt->source,
        .data = (const uint8_t *)rt->warm_code,
        .len = strlen(rt->warm_code),
    };
    struct run_request req = {
        .runtime = rt,
        .files = &file,
        .file_count = 1,
        .limits = warm_limits,
    };
    _cleanup_buf_ struct buf body = BUF_INIT;
    struct channel_stream *stream = NULL;
    struct run_result result = {0};
    struct warm_output out = {0};
    int status;
    int r;

    if (agent_encode_run(&(struct agent_run){.req = &req, .prepared = prepared}, &body, err) < 0)
        return -1;
    r = channel_send(ch,
                     &(struct channel_request){
                         .method = "POST", .path = "/run", .body = body.data, .body_len = body.len},
                     &stream, err);
    if (r == 0)
        r = channel_status(stream, deadline_ns, &status, err);
    if (r == 0 && status != 200)
        r = refused(stream, status, deadline_ns, err);
    if (r == 0)
        r = read_result(stream, deadline_ns, &result, &out, err);
    channel_stream_close(stream);
    if (r == 0 && !(result.ran && result.run.reason == RUN_EXIT && result.run.exit_code == 0))
        r = err_set(err, ERR_INTERNAL, "the warm-up program failed: %.150s", out.text);
    return r;
}

int warm_cold(struct channel *ch, const struct runtime *rt, uint64_t deadline_ns, struct err *err)
{
    if (rt->warm_code == NULL)
        return 0;
    if (run_once(ch, rt, false, deadline_ns, err) < 0)
        return err_wrap(err, "runtime %s", rt->id);
    return 0;
}

int warm_prepared(struct channel *ch, const struct runtime *rt, uint64_t deadline_ns,
                  struct err *err)
{
    if (rt->warm_code == NULL || rt->prepare.argc == 0)
        return 0;
    for (int i = 0; i < WARM_RUNS; i++)
        if (agent_prepare(ch, rt, &warm_limits, deadline_ns, err) < 0 ||
            run_once(ch, rt, true, deadline_ns, err) < 0)
            return err_wrap(err, "runtime %s, prepared", rt->id);
    return 0;
}
