// SPDX-License-Identifier: Apache-2.0
//
// A job as JSON.
#include "api/jobs_internal.h"
#include "base/clock.h"
#include "json/write.h"

static void put_time(struct json_out *out, const char *key, uint64_t ms)
{
    char text[CLOCK_UTC_BYTES];

    if (ms == 0) {
        json_put_null(out, key);
        return;
    }
    clock_format_utc(ms * NS_PER_MS, text);
    json_put_str(out, key, text);
}

static void put_callback(struct json_out *out, const struct queue_record *r)
{
    static const char *const states[] = {
        [QUEUE_HOOK_NONE] = "waiting",
        [QUEUE_HOOK_PENDING] = "pending",
        [QUEUE_HOOK_DONE] = "delivered",
        [QUEUE_HOOK_FAILED] = "failed",
    };

    if (r->hook_url[0] == '\0') {
        json_put_null(out, "callback");
        return;
    }
    json_open(out, "callback", '{');
    json_put_str(out, "url", r->hook_url);
    json_put_str(out, "state", states[r->hook_state <= QUEUE_HOOK_FAILED ? r->hook_state : 0]);
    json_put_u64(out, "attempts", r->hook_attempts);
    put_time(out, "next_at", r->hook_state == QUEUE_HOOK_PENDING ? r->hook_next_ms : 0);
    json_put_str(out, "last_error", r->hook_note[0] == '\0' ? NULL : r->hook_note);
    json_close(out, '}');
}

static void put_result(struct json_out *out, struct queue_record *r)
{
    const char *text = r->result.len > 1 ? buf_cstr(&r->result) : NULL;
    bool is_error = text != NULL && text[0] == JOBS_ERROR;

    if (text == NULL || is_error)
        json_put_null(out, "result");
    else
        json_put_raw(out, "result", text + 1);
    if (is_error)
        json_put_raw(out, "error", text + 1);
    else
        json_put_null(out, "error");
}

void jobs_put_record(struct json_out *out, const char *key, struct queue_record *r, bool in_full)
{
    json_open(out, key, '{');
    json_put_str(out, "id", r->id);
    json_put_str(out, "state", queue_state_name(r->state));
    json_put_str(out, "language", r->label);
    json_put_u64(out, "priority", r->priority);
    json_put_u64(out, "attempts", r->attempts);
    json_put_u64(out, "max_attempts", r->max_attempts);
    json_put_bool(out, "cancel_requested", r->cancel_asked);
    json_put_str(out, "idempotency_key", r->idempotency_key[0] == '\0' ? NULL : r->idempotency_key);
    put_time(out, "created_at", r->created_ms);
    put_time(out, "started_at", r->started_ms);
    put_time(out, "finished_at", r->finished_ms);
    put_time(out, "expires_at", r->expires_ms);
    put_callback(out, r);
    if (in_full)
        put_result(out, r);
    json_close(out, '}');
}
