// SPDX-License-Identifier: Apache-2.0
//
// The fake driver's language and limits, as seen through the channel. What it shares with every
// driver is in tests/vm/test_driver.c.
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/channel.h"
#include "channel/frames.h"
#include "driver/driver.h"
#include "tap.h"

#include <jansson.h>
#include <poll.h>

static struct driver *driver;
static struct driver_template *template;
static struct channel_loop *loop;

struct sandbox {
    struct driver_sandbox *s;
    struct channel *ch;
};

struct outcome {
    int status;
    struct buf out, err, compile_out;
    json_t *result; // NULL when the answer was cut off
    struct err error;
};

static void outcome_release(struct outcome *o)
{
    buf_release(&o->out);
    buf_release(&o->err);
    buf_release(&o->compile_out);
    json_decref(o->result);
}

static int post(struct channel *ch, const char *path, const char *text)
{
    struct err err = ERR_INIT;
    char *body = NULL;
    size_t len;
    int status = -1;

    if (channel_call(ch,
                     &(struct channel_request){.method = "POST",
                                               .path = path,
                                               .body = (const uint8_t *)text,
                                               .body_len = strlen(text)},
                     65536, clock_deadline_ms(60000), &status, &body, &len, &err) < 0)
        printf("# %s: %s\n", path, err.message);
    free(body);
    return status;
}

#define ZEROS_64 "0000000000000000000000000000000000000000000000000000000000000000"
#define SYNC     "{\"time_ns\":1,\"entropy\":\"" ZEROS_64 ZEROS_64 "\"}"

static struct sandbox start(void)
{
    struct sandbox sb = {0};
    struct err err = ERR_INIT;
    int fd = -1;

    if (driver_fake.clone(driver, template, clock_deadline_ms(60000), &sb.s, &err) < 0 ||
        driver_fake.channel(sb.s, &fd, &err) < 0 || channel_open(loop, fd, &sb.ch, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    return sb;
}

static void stop(struct sandbox *sb)
{
    channel_close(sb->ch);
    driver_fake.destroy(sb->s);
}

struct plan {
    const char *program, *input, *prepared;
    unsigned wall_ms, output_bytes;
    bool compiles;
};

static void encode(const struct plan *p, struct buf *body)
{
    char limits[256];
    char head[1024];
    char prepared[80] = "null";

    if (p->prepared != NULL)
        (void)snprintf(prepared, sizeof(prepared), "\"%s\"", p->prepared);
    (void)snprintf(limits, sizeof(limits),
                   "{\"wall_ms\":%u,\"cpu_ms\":1000,\"memory_bytes\":1,\"processes\":1,"
                   "\"output_bytes\":%u,\"disk_bytes\":1}",
                   p->wall_ms == 0 ? 60000 : p->wall_ms,
                   p->output_bytes == 0 ? 1 << 20 : p->output_bytes);
    (void)snprintf(head, sizeof(head),
                   "{\"prepared\":%s,\"files\":[{\"path\":\"main\",\"size\":%zu}],"
                   "\"stdin_size\":%zu,\"compile\":%s,\"run\":{\"limits\":%s}}",
                   prepared, strlen(p->program), p->input == NULL ? 0 : strlen(p->input),
                   p->compiles ? "{}" : "null", limits);
    (void)buf_append_be32(body, (uint32_t)strlen(head));
    (void)buf_append(body, head, strlen(head));
    (void)buf_append(body, p->program, strlen(p->program));
    if (p->input != NULL)
        (void)buf_append(body, p->input, strlen(p->input));
}

static void take(struct outcome *o, const struct frame *frame)
{
    if (frame->type == AGENT_FRAME_STDOUT)
        (void)buf_append(&o->out, frame->data, frame->len);
    else if (frame->type == AGENT_FRAME_STDERR)
        (void)buf_append(&o->err, frame->data, frame->len);
    else if (frame->type == AGENT_FRAME_COMPILE_OUT)
        (void)buf_append(&o->compile_out, frame->data, frame->len);
    else
        o->result = json_loadb((const char *)frame->data, frame->len, 0, NULL);
}

static struct outcome run(struct channel *ch, struct plan plan)
{
    struct outcome o = {.status = -1};
    struct channel_stream *stream = NULL;
    struct frames frames = FRAMES_INIT;
    uint64_t deadline = clock_deadline_ms(60000);
    uint8_t piece[4096];
    _cleanup_buf_ struct buf body = BUF_INIT;
    ssize_t n = 0;

    encode(&plan, &body);
    if (channel_send(ch,
                     &(struct channel_request){
                         .method = "POST", .path = "/run", .body = body.data, .body_len = body.len},
                     &stream, &o.error) == 0 &&
        channel_status(stream, deadline, &o.status, &o.error) == 0 && o.status == 200)
        while ((n = channel_read(stream, piece, sizeof(piece), deadline, &o.error)) > 0) {
            const uint8_t *data = piece;
            size_t len = (size_t)n;
            struct frame frame;

            while (frames_next(&frames, &data, &len, &frame) == 0 && frame.data != NULL)
                take(&o, &frame);
        }
    frames_release(&frames);
    channel_stream_close(stream);
    return o;
}

static void check_result(const struct outcome *o, const char *reason, int exit_code)
{
    CHECK_STR(json_string_value(json_object_get(o->result, "reason")), reason);
    CHECK_INT(json_integer_value(json_object_get(o->result, "exit_code")), exit_code);
}

static void test_output_and_exit(void)
{
    struct sandbox sb = start();
    struct outcome o;

    CHECK_INT(post(sb.ch, "/sync", SYNC), 200);
    o = run(sb.ch, (struct plan){.program = "out hello\nerr oops\nprint('x')\nstdin\nexit 3\nout z",
                                 .input = "given"});
    CHECK_STR(buf_cstr(&o.out), "hello\ngiven");
    CHECK_STR(buf_cstr(&o.err), "oops\n");
    check_result(&o, "exit", 3);
    CHECK_INT(json_integer_value(json_object_get(o.result, "stdout_bytes")), 11);
    outcome_release(&o);
    o = run(sb.ch, (struct plan){.program = "flood 3000000\nout end", .output_bytes = 4000000});
    CHECK_INT(o.out.len, 3000003);
    check_result(&o, "exit", 0);
    outcome_release(&o);
    o = run(sb.ch, (struct plan){.program = ""});
    check_result(&o, "exit", 0);
    outcome_release(&o);
    stop(&sb);
}

static void test_limits(void)
{
    struct sandbox sb = start();
    uint64_t start_ns = clock_mono_ns();
    struct outcome o;

    CHECK_INT(post(sb.ch, "/sync", SYNC), 200);
    o = run(sb.ch, (struct plan){.program = "out a\nsleep 600000", .wall_ms = 50});
    CHECK_STR(buf_cstr(&o.out), "a\n");
    check_result(&o, "timeout", -1);
    CHECK(clock_mono_ns() - start_ns < 60 * NS_PER_S);
    outcome_release(&o);
    o = run(sb.ch, (struct plan){.program = "flood 1000000", .output_bytes = 1000});
    CHECK_INT(o.out.len, 1000);
    check_result(&o, "output_limit", -1);
    CHECK(json_is_true(json_object_get(o.result, "truncated")));
    outcome_release(&o);
    o = run(sb.ch, (struct plan){.program = "oom"});
    check_result(&o, "memory", -1);
    outcome_release(&o);
    o = run(sb.ch, (struct plan){.program = "signal 9"});
    check_result(&o, "signal", -1);
    CHECK_INT(json_integer_value(json_object_get(o.result, "signal")), 9);
    outcome_release(&o);
    stop(&sb);
}

static void test_compile(void)
{
    struct sandbox sb = start();
    struct outcome o;

    CHECK_INT(post(sb.ch, "/sync", SYNC), 200);
    o = run(sb.ch, (struct plan){.program = "reject bad\nout never", .compiles = true});
    CHECK_STR(buf_cstr(&o.compile_out), "bad\n");
    CHECK_INT(o.out.len, 0);
    CHECK_STR(json_string_value(json_object_get(o.result, "phase")), "compile");
    outcome_release(&o);
    o = run(sb.ch, (struct plan){.program = "out ok", .compiles = true});
    CHECK_STR(buf_cstr(&o.out), "ok");
    CHECK(json_is_object(json_object_get(o.result, "compile")));
    outcome_release(&o);
    stop(&sb);
}

static void test_order(void)
{
    struct sandbox sb = start();
    struct outcome o = run(sb.ch, (struct plan){.program = "out early"});

    CHECK_INT(o.status, 409);
    outcome_release(&o);
    CHECK_INT(post(sb.ch, "/sync", "{}"), 400);
    CHECK_INT(post(sb.ch, "/sync", SYNC), 200);
    o = run(sb.ch, (struct plan){.program = "out x", .prepared = "python"});
    CHECK_INT(o.status, 409);
    outcome_release(&o);
    CHECK_INT(post(sb.ch, "/prepare", "{\"id\":\"python\"}"), 200);
    o = run(sb.ch, (struct plan){.program = "out x", .prepared = "python"});
    CHECK_INT(o.status, 200);
    outcome_release(&o);
    o = run(sb.ch, (struct plan){.program = "out x", .prepared = "python"});
    CHECK_INT(o.status, 409);
    outcome_release(&o);
    for (int i = 0; i < AGENT_PREPARED_MAX; i++)
        CHECK_INT(post(sb.ch, "/prepare", "{\"id\":\"deno\"}"), 200);
    CHECK_INT(post(sb.ch, "/prepare", "{\"id\":\"deno\"}"), 429);
    CHECK_INT(post(sb.ch, "/nowhere", "{}"), 404);
    stop(&sb);
}

static void test_disasters(void)
{
    struct sandbox sb = start();
    struct outcome o;

    CHECK_INT(post(sb.ch, "/sync", SYNC), 200);
    o = run(sb.ch, (struct plan){.program = "out a\nsleep 20\ndie"});
    CHECK(o.result == NULL && o.error.code == ERR_GONE);
    CHECK(fd_wait(driver_fake.death_fd(sb.s), POLLIN, clock_deadline_ms(60000)) > 0);
    outcome_release(&o);
    stop(&sb);

    sb = start();
    CHECK_INT(post(sb.ch, "/sync", SYNC), 200);
    o = run(sb.ch, (struct plan){.program = "garbage"});
    CHECK(o.result == NULL && (o.error.code == ERR_GONE || o.error.code == ERR_PROTOCOL));
    outcome_release(&o);
    CHECK(fd_wait(driver_fake.death_fd(sb.s), POLLIN, 0) == 0);
    stop(&sb);
}

int main(void)
{
    struct driver_config config = {.state_dir_fd = -1};
    struct driver_template_spec spec = {.shape = {256, 1}, .seed = "test"};
    struct err err = ERR_INIT;
    bool built;

    if (channel_loop_new(&loop, &err) < 0 || driver_fake.open(&config, &driver, &err) < 0 ||
        driver_fake.build_template(driver, &spec, CLOCK_NEVER, &template, &built, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    test_output_and_exit();
    test_limits();
    test_compile();
    test_order();
    test_disasters();
    driver_fake.template_free(template);
    driver_fake.close(driver);
    channel_loop_free(loop);
    return tap_done();
}
