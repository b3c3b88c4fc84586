// SPDX-License-Identifier: Apache-2.0
//
// How it works: each worker takes a job under a lease, checks it again (limits may be others by
// now), waits for a sandbox behind everybody who is not a job, writes to the disk that the job is
// begun, hands the program over, and finishes the job with what came of it.
//
// A tenant's jobs may take as long as they may: where there are others, some worker is left to
// them.
//
// What fails before a job is begun left no trace: the job goes back. What fails after may have run:
// the job goes back only while it has attempts left, else it ends and says so. A result that the
// disk does not take is kept in hand, and the worker with it, until it does.
#include "api/api.h"
#include "api/api_internal.h"
#include "api/auth.h"
#include "api/execute_parse.h"
#include "api/execute_result.h"
#include "api/jobs_internal.h"
#include "api/metrics.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "config/config.h"
#include "sandbox/engine.h"
#include "sandbox/runtime.h"
#include "sandbox/tenant.h"
#include "json/write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TAKE_WAIT_MS  1000
#define LEASE_MS      (10ull * 60 * 1000)
#define AGAIN_MS      1000 // after what failed before the job was begun, or after begin
#define BUSY_MS       5000 // after what found no room
#define BUSY_PAUSE_MS 100  // of the worker
#define DISK_MS       1000 // between two tries to write
#define FULL_TRIES    5    // then a result is given up

struct attempt {
    struct jobs_worker *worker;
    struct queue_lease *lease;
    const struct runtime *runtime;
    char run_id[ID_UUID_LEN + 1]; // where an answer has its request's
    bool begun;
    bool may_have_run;
    struct err err;
    struct buf result; // as it is stored
};

static struct queue *queue_of(const struct attempt *a)
{
    return a->worker->jobs->queue;
}

void jobs_pause(struct jobs *j, uint64_t ms)
{
    struct timespec until = clock_to_timespec(clock_deadline_ms(ms));
    int r = 0;

    (void)pthread_mutex_lock(&j->lock);
    while (!j->stopping && r == 0)
        r = pthread_cond_timedwait(&j->changed, &j->lock, &until);
    (void)pthread_mutex_unlock(&j->lock);
}

void jobs_cancel_running(struct jobs *j, const char *id)
{
    (void)pthread_mutex_lock(&j->lock);
    for (uint32_t i = 0; i < j->worker_count; i++)
        if (strcmp(j->workers[i].id, id) == 0)
            j->workers[i].cancelled = true;
    (void)pthread_mutex_unlock(&j->lock);
}

static void set_id(struct jobs_worker *w, const char *id)
{
    (void)pthread_mutex_lock(&w->jobs->lock);
    w->cancelled = false;
    (void)snprintf(w->id, sizeof(w->id), "%s", id);
    (void)pthread_cond_broadcast(&w->jobs->changed);
    (void)pthread_mutex_unlock(&w->jobs->lock);
}

// What ends the wait for a sandbox, and the run.
static bool is_over(void *arg)
{
    const struct attempt *a = arg;
    const struct jobs *j = a->worker->jobs;

    return a->worker->cancelled || j->cutting || (j->stopping && !a->begun);
}

static int begin(void *arg, struct err *err)
{
    struct attempt *a = arg;
    struct queue *q = queue_of(a);

    if (q->ops->begin(q, a->lease, err) < 0)
        return -1;
    a->begun = true;
    return 0;
}

static void write_error(struct attempt *a)
{
    buf_clear(&a->result);
    (void)buf_append_u8(&a->result, JOBS_ERROR);
    api_write_run_error(&a->result, a->run_id, &a->err, a->may_have_run);
}

static int write_answer(struct attempt *a, struct execute_text *text,
                        const struct run_result *result)
{
    struct json_out out = {.buf = &a->result};
    struct execute_answer answer = {
        .request_id = a->run_id,
        .runtime = a->runtime,
        .result = result,
        .text = text,
        .truncated = text->cut,
    };

    execute_text_end(text);
    answer.lossy = execute_text_lossy(text);
    (void)buf_append_u8(&a->result, JOBS_RESULT);
    execute_write_answer(&out, &answer);
    return out.failed ? err_set(&a->err, ERR_INTERNAL, "out of memory for the result") : 0;
}

// The state that the program's end makes of the job, or -1 with a->err.
static int run_program(struct attempt *a, struct execute_request *x)
{
    const struct jobs *j = a->worker->jobs;
    const struct config *config = j->api->config;
    const struct run_result *result = NULL;
    struct execute_text text;
    struct run *run = NULL;
    int state = -1;

    x->run.gone = is_over;
    x->run.gone_arg = a;
    x->run.background = true;
    x->run.tenant = tenant_get(j->api->tenants, a->lease->owner);
    x->run.on_handover = begin;
    x->run.handover_arg = a;
    if (run_open(j->api->engine, &x->run, &run, &a->may_have_run, &a->err) < 0)
        return -1;
    a->may_have_run = true;
    execute_text_init(&text, x->run.limits.output_bytes);
    if (text.room_bytes > config->job_output_max_bytes)
        text.room_bytes = config->job_output_max_bytes;
    if (api_collect(run, &text, &result, &a->err) == 0 && write_answer(a, &text, result) == 0) {
        api_metrics_result(j->api->metrics, a->runtime, result);
        state = strcmp(execute_status(result), "ok") == 0 ? QUEUE_SUCCEEDED : QUEUE_FAILED;
    }
    execute_text_release(&text);
    run_close(run);
    return state;
}

// A result for which there is no room is given up for the word that there was one.
static enum queue_state give_up_result(struct attempt *a)
{
    (void)err_set(&a->err, ERR_SYSTEM, "there was no room on disk for the result");
    a->may_have_run = true;
    write_error(a);
    return QUEUE_MAY_HAVE_RUN;
}

// Writes the end of the job, however long the disk takes. On the service's end what is not written
// is found, as begun, by the next service.
static void finish(struct attempt *a, enum queue_state state)
{
    struct queue *q = queue_of(a);
    struct jobs *j = a->worker->jobs;
    int full = 0;

    for (;;) {
        struct queue_outcome outcome = {state, a->result.data, a->result.len};
        struct err err = ERR_INIT;

        if (q->ops->finish(q, a->lease, &outcome, &err) == 0 || err.code == ERR_CANCELLED)
            return;
        if (err.code == ERR_BUSY) { // its owner's room is used up
            log_info("job %s: %s", a->lease->id, err.message);
            state = give_up_result(a);
            continue;
        }
        log_error("job %s: its end cannot be written: %s", a->lease->id, err.message);
        if (j->stopping)
            break;
        if (err.sys == ENOSPC && ++full == FULL_TRIES)
            state = give_up_result(a);
        jobs_pause(j, DISK_MS);
    }
    q->ops->drop(q, a->lease);
}

static void release(struct attempt *a, uint64_t delay_ms)
{
    struct queue *q = queue_of(a);
    struct jobs *j = a->worker->jobs;
    struct err err = ERR_INIT;

    while (q->ops->release(q, a->lease, delay_ms, &err) < 0) {
        log_error("job %s cannot be put back: %s", a->lease->id, err.message);
        if (!a->begun || j->stopping)
            break; // it is where it was, or found as begun
        jobs_pause(j, DISK_MS);
    }
    q->ops->drop(q, a->lease);
}

// Nothing of it ran. Where its owner is at a limit so are all his jobs: they must not keep the
// workers and the disk busy by turns.
static void put_off(struct attempt *a)
{
    bool busy = a->err.code == ERR_BUSY;

    release(a, busy ? BUSY_MS : AGAIN_MS);
    if (busy)
        jobs_pause(a->worker->jobs, BUSY_PAUSE_MS);
}

// Whether the same may go well another time.
static bool is_passing(const struct err *err)
{
    return err->code == ERR_BUSY || err->code == ERR_TIMEOUT || err->code == ERR_GONE ||
           err->code == ERR_PROTOCOL || err->code == ERR_SYSTEM || err->code == ERR_CANCELLED;
}

static void settle_failure(struct attempt *a)
{
    const struct jobs *j = a->worker->jobs;
    struct queue *q = queue_of(a);

    write_error(a);
    if (a->worker->cancelled && a->begun) {
        buf_clear(&a->result);
        finish(a, QUEUE_CANCELLED);
    } else if (!a->begun && is_passing(&a->err)) {
        // Cancelled by its owner, or the service ends: nothing is to be written.
        if (a->err.code == ERR_CANCELLED || j->stopping)
            q->ops->drop(q, a->lease);
        else
            put_off(a);
    } else if (a->begun && is_passing(&a->err) && a->lease->attempts < a->lease->max_attempts) {
        release(a, (uint64_t)AGAIN_MS << a->lease->attempts);
    } else {
        finish(a, a->may_have_run ? QUEUE_MAY_HAVE_RUN : QUEUE_FAILED);
    }
}

static void run_job(struct jobs_worker *w, struct queue_lease *lease)
{
    const struct api *api = w->jobs->api;
    struct attempt a = {.worker = w, .lease = lease};
    struct execute_request x;
    int state = -1;

    id_uuid4(a.run_id);
    if (execute_parse(api->config, engine_runtimes(api->engine), lease->body.data, lease->body.len,
                      &x, &a.err) == 0) {
        a.runtime = x.run.runtime;
        state = run_program(&a, &x);
        if (state < 0)
            api_run_failed(api->metrics, a.runtime, w->jobs->stopping && !w->cancelled, &a.err);
        execute_request_release(&x);
    }
    if (state < 0)
        settle_failure(&a);
    else
        finish(&a, (enum queue_state)state);
    buf_release(&a.result);
}

static uint32_t shared_places(void *arg)
{
    const struct jobs *j = arg;

    return api_auth_is_shared(j->api->auth) ? j->worker_max : 0;
}

void *jobs_worker_main(void *arg)
{
    struct jobs_worker *w = arg;
    struct jobs *j = w->jobs;
    struct queue *q = j->queue;

    while (!j->stopping) {
        const struct queue_take take = {
            .wait_ms = TAKE_WAIT_MS,
            .lease_ms = LEASE_MS,
            .places = shared_places,
            .places_arg = j,
        };
        struct queue_lease lease;
        struct err err = ERR_INIT;
        bool found = false;

        if (q->ops->take(q, &take, &lease, &found, &err) < 0) {
            log_error("no job can be taken: %s", err.message);
            jobs_pause(j, DISK_MS);
        }
        if (!found)
            continue;
        set_id(w, lease.id);
        run_job(w, &lease);
        set_id(w, "");
        buf_release(&lease.body);
    }
    return NULL;
}
