// SPDX-License-Identifier: Apache-2.0
#include "api/execute_result.h"

#include "base/clock.h"
#include "sandbox/runtime.h"
#include "json/write.h"

#include <stdio.h>
#include <string.h>

#define ROOM_SLACK ((uint64_t)64 << 10)

void execute_text_init(struct execute_text *t, uint64_t output_bytes)
{
    memset(t, 0, sizeof(*t));
    t->room_bytes = output_bytes + ROOM_SLACK;
    t->compile_room_bytes = RUN_COMPILE_OUTPUT_BYTES + ROOM_SLACK;
}

static void add(struct utf8_fix *fix, struct buf *own, struct buf *mixed, const void *data,
                size_t len, bool end)
{
    size_t before = own->len;
    int r = end ? utf8_fix_end(fix, own) : utf8_fix_feed(fix, data, len, own);

    // Out of memory: what fits is kept. The sizes are bounded by room_bytes.
    if (r == 0 && mixed != NULL && own->len > before)
        (void)buf_append(mixed, own->data + before, own->len - before);
}

void execute_text_add(struct execute_text *t, const struct run_event *event)
{
    uint64_t *room = event->kind == RUN_EVENT_COMPILE_OUT ? &t->compile_room_bytes : &t->room_bytes;
    size_t len = event->len;

    if (len > *room) {
        len = (size_t)*room;
        t->cut = true;
    }
    *room -= len;
    if (event->kind == RUN_EVENT_STDOUT)
        add(&t->fix_out, &t->out, &t->output, event->data, len, false);
    else if (event->kind == RUN_EVENT_STDERR)
        add(&t->fix_err, &t->err, &t->output, event->data, len, false);
    else if (event->kind == RUN_EVENT_COMPILE_OUT)
        add(&t->fix_compile, &t->compile, NULL, event->data, len, false);
}

void execute_text_end(struct execute_text *t)
{
    add(&t->fix_out, &t->out, &t->output, NULL, 0, true);
    add(&t->fix_err, &t->err, &t->output, NULL, 0, true);
    add(&t->fix_compile, &t->compile, NULL, NULL, 0, true);
}

bool execute_text_lossy(const struct execute_text *t)
{
    return t->fix_out.lossy || t->fix_err.lossy || t->fix_compile.lossy;
}

void execute_text_release(struct execute_text *t)
{
    buf_release(&t->output);
    buf_release(&t->out);
    buf_release(&t->err);
    buf_release(&t->compile);
}

// How it ended by itself.
static const char *end_status(const struct run_step *step, const char *failed)
{
    if (step->signal > 0 && strcmp(failed, "error") == 0)
        return "killed";
    return step->exit_code == 0 && step->signal == 0 ? "ok" : failed;
}

static const char *step_status(const struct run_step *step, const char *failed)
{
    switch (step->reason) {
    case RUN_EXIT:
    case RUN_SIGNAL:
    case RUN_DISK:
    case RUN_PROCESSES:
        return end_status(step, failed);
    case RUN_TIMEOUT:
    case RUN_CPU:
        return "timeout";
    case RUN_MEMORY:
        return "memory";
    case RUN_OUTPUT_LIMIT:
        return "output_limit";
    case RUN_INTERNAL:
    case RUN_REASON_COUNT:
        break;
    }
    return "internal";
}

const char *execute_status(const struct run_result *result)
{
    return result->ran ? step_status(&result->run, "error")
                       : step_status(&result->compile, "compile_error");
}

static void put_ms(struct json_out *out, const char *key, uint64_t ns)
{
    json_put_double(out, key, (double)ns / (double)NS_PER_MS);
}

static void put_usage(struct json_out *out, const struct run_step *step)
{
    json_open(out, "usage", '{');
    put_ms(out, "wall_ms", step->wall_ns);
    put_ms(out, "cpu_ms", step->cpu_user_ns + step->cpu_system_ns);
    put_ms(out, "cpu_user_ms", step->cpu_user_ns);
    put_ms(out, "cpu_system_ms", step->cpu_system_ns);
    json_put_u64(out, "memory_peak_bytes", step->memory_peak_bytes);
    if (step->processes_peak > 0)
        json_put_u64(out, "processes_peak", step->processes_peak);
    else
        json_put_null(out, "processes_peak");
    json_put_u64(out, "output_bytes", step->stdout_bytes + step->stderr_bytes);
    json_close(out, '}');
}

static void put_exit(struct json_out *out, const struct run_step *step)
{
    const char *abbrev = step->signal > 0 ? sigabbrev_np(step->signal) : NULL;
    char name[32];

    if (step->exit_code >= 0)
        json_put_i64(out, "exit_code", step->exit_code);
    else
        json_put_null(out, "exit_code");
    if (abbrev != NULL)
        (void)snprintf(name, sizeof(name), "SIG%s", abbrev);
    else
        (void)snprintf(name, sizeof(name), "SIG%d", step->signal);
    json_put_str(out, "signal", step->signal > 0 ? name : NULL);
    json_put_str(out, "reason", run_reason_name(step->reason));
    json_open(out, "limits_hit", '[');
    for (int i = 0; i < RUN_REASON_COUNT; i++)
        if ((step->limits_hit & RUN_BIT(i)) != 0)
            json_put_str(out, NULL, run_reason_name((enum run_reason)i));
    json_close(out, ']');
}

static void put_buf(struct json_out *out, const char *key, const struct buf *b)
{
    json_put_text(out, key, b->len > 0 ? (const char *)b->data : "", b->len);
}

static void put_compile(struct json_out *out, const struct execute_answer *a)
{
    const struct run_step *step = &a->result->compile;

    if (!a->result->compiled) {
        json_put_null(out, "compile");
        return;
    }
    json_open(out, "compile", '{');
    json_put_bool(out, "success", step->reason == RUN_EXIT && step->exit_code == 0);
    put_exit(out, step);
    if (a->text != NULL)
        put_buf(out, "output", &a->text->compile);
    json_put_bool(out, "truncated", step->truncated);
    json_put_bool(out, "cached", a->result->compile_cached);
    put_ms(out, "wall_ms", step->wall_ns);
    put_usage(out, step);
    json_close(out, '}');
}

static void put_timing(struct json_out *out, const struct run_result *r)
{
    json_open(out, "timing", '{');
    put_ms(out, "queue_ms", r->queue_ns);
    put_ms(out, "sandbox_ms", r->sandbox_ns);
    put_ms(out, "run_ms", r->run_ns);
    json_close(out, '}');
}

void execute_write_answer(struct json_out *out, const struct execute_answer *a)
{
    const struct run_result *r = a->result;
    const struct run_step *last = r->ran ? &r->run : &r->compile;
    const char *status = execute_status(r);

    json_open(out, NULL, '{');
    json_put_str(out, "request_id", a->request_id);
    json_put_bool(out, "success", strcmp(status, "ok") == 0);
    if (a->text != NULL)
        put_buf(out, "output", r->ran ? &a->text->output : &a->text->compile);
    json_put_double(out, "execution_time", (double)r->run_ns / (double)NS_PER_S);
    json_put_str(out, "language", a->runtime->id);
    json_put_str(out, "version", a->runtime->version);
    json_put_str(out, "status", status);
    json_put_str(out, "phase", r->ran ? "run" : "compile");
    if (a->text != NULL) {
        put_buf(out, "stdout", &a->text->out);
        put_buf(out, "stderr", &a->text->err);
    }
    put_exit(out, last);
    json_put_bool(out, "truncated", last->truncated || a->truncated);
    json_put_bool(out, "lossy", a->lossy);
    json_put_u64(out, "stdout_bytes", r->run.stdout_bytes);
    json_put_u64(out, "stderr_bytes", r->run.stderr_bytes);
    put_compile(out, a);
    put_usage(out, last);
    put_timing(out, r);
    json_put_str(out, "isolation", r->isolation);
    json_put_str(out, "accel", r->accel);
    json_close(out, '}');
}
