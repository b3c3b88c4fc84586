// SPDX-License-Identifier: Apache-2.0
//
// Tells callbacks of jobs that are over, and removes what was kept for long enough. A try is
// counted in the queue before it is made: one that brings the service down is not made for ever.
#include "api/api.h"
#include "api/jobs_internal.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "config/config.h"
#include "webhook/sign.h"
#include "webhook/webhook.h"
#include "json/write.h"

#define WAIT_MS        1000
#define LEASE_EXTRA_MS 60000 // beyond the receiver's time: the resolver's, the disk's
#define SWEEP_MS       10000
#define BACKOFF_MAX_MS 3600000ull

// Doubles with each try; a tenth more or less, so that what failed together is not tried together.
static uint64_t backoff_ms(const struct config *config, uint32_t attempt)
{
    uint64_t ms = config->webhook_backoff_ms;
    uint8_t random;

    for (uint32_t i = 1; i < attempt && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    id_random(&random, sizeof(random));
    return ms - ms / 10 + ms / 5 * random / 255;
}

static int send_it(struct jobs *j, const struct queue_hook *hook, struct err *err)
{
    const struct config *config = j->api->config;
    _cleanup_buf_ struct buf body = BUF_INIT;
    struct json_out out = {.buf = &body};
    char secret[WEBHOOK_SECRET_LEN + 1];
    struct queue_record record;

    if (j->queue->ops->get(j->queue, hook->owner, hook->id, &record, err) < 0)
        return -1;
    jobs_put_record(&out, NULL, &record, true);
    buf_release(&record.result);
    if (out.failed)
        return err_set(err, ERR_INTERNAL, "out of memory");
    webhook_secret_of(config->webhook_secret, hook->owner, secret);
    return webhook_send(&(struct webhook){.url = hook->url,
                                          .id = hook->id,
                                          .attempt = hook->attempt,
                                          .trace = hook->trace,
                                          .body = body.data,
                                          .body_len = body.len,
                                          .secret = secret,
                                          .ca_file = config->webhook_ca_file,
                                          .timeout_ms = config->webhook_timeout_ms,
                                          .rules = &j->rules,
                                          .stop = &j->stopping},
                        err);
}

static void deliver(struct jobs *j, const struct queue_hook *hook)
{
    const struct config *config = j->api->config;
    enum queue_hook_state state = QUEUE_HOOK_DONE;
    struct err err = ERR_INIT, write_err = ERR_INIT;

    if (send_it(j, hook, &err) < 0) {
        bool last = err.code == ERR_INVALID || hook->attempt >= config->webhook_tries;

        state = last && err.code != ERR_CANCELLED ? QUEUE_HOOK_FAILED : QUEUE_HOOK_PENDING;
        log_info("callback of job %s, try %u: %s", hook->id, hook->attempt, err.message);
    }
    // Where this cannot be written the try is made once more: at least once.
    if (j->queue->ops->end_hook(j->queue, hook, state,
                                state == QUEUE_HOOK_PENDING ? backoff_ms(config, hook->attempt) : 0,
                                err.message, &write_err) < 0)
        log_error("callback of job %s: %s", hook->id, write_err.message);
}

// One thread of them does this.
static void sweep(struct jobs *j, uint64_t *next_ns)
{
    uint64_t kept_s = ((const struct config *)j->api->config)->job_retention_s;
    struct err err = ERR_INIT;

    if (clock_mono_ns() < *next_ns)
        return;
    *next_ns = clock_deadline_ms(kept_s * 1000 < SWEEP_MS ? kept_s * 1000 : SWEEP_MS);
    if (j->queue->ops->sweep(j->queue, &err) < 0)
        log_error("old jobs cannot be removed: %s", err.message);
}

void *jobs_hook_main(void *arg)
{
    struct jobs *j = arg;
    bool sweeps = pthread_equal(pthread_self(), j->hooks[0]) != 0;
    uint64_t sweep_ns = 0;

    while (!j->stopping) {
        uint64_t lease_ms = ((const struct config *)j->api->config)->webhook_timeout_ms;
        struct queue_hook hook;
        struct err err = ERR_INIT;
        bool found = false;

        if (sweeps)
            sweep(j, &sweep_ns);
        if (j->queue->ops->take_hook(j->queue, WAIT_MS, lease_ms + LEASE_EXTRA_MS, &hook, &found,
                                     &err) < 0) {
            log_error("no callback can be taken: %s", err.message);
            jobs_pause(j, WAIT_MS);
        } else if (found) {
            deliver(j, &hook);
        }
    }
    return NULL;
}
