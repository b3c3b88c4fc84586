// SPDX-License-Identifier: Apache-2.0
//
// The life of what runs jobs, and what is told of it.
#include "api/jobs.h"

#include "api/api.h"
#include "api/jobs_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "http/http.h"
#include "metrics/exposition.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

static int open_queue(struct jobs *j, int dir_fd, struct err *err)
{
    const struct config *c = j->api->config;
    struct queue_config config = {
        .dir_fd = dir_fd,
        .jobs_max = c->job_max,
        .retention_ms = c->job_retention_s * 1000,
        .store_max_bytes = c->job_store_max_bytes,
    };
    struct queue_status status;

    if (address_rules_parse(c->webhook_allow, &j->rules, err) < 0)
        return err_wrap(err, "WEBHOOK_ALLOW");
    if (queue_sqlite.open(&config, &j->queue, err) < 0 ||
        j->queue->ops->status(j->queue, &status, err) < 0)
        return -1;
    if (status.found_queued > 0 || status.found_may_have_run > 0)
        log_info("jobs of the last service: %llu are queued, %llu may have run",
                 (unsigned long long)status.found_queued,
                 (unsigned long long)status.found_may_have_run);
    return 0;
}

int jobs_new(const struct api *api, int dir_fd, struct jobs **ret, struct err *err)
{
    struct jobs *j = calloc(1, sizeof(*j));

    if (j == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    (void)curl_global_init(CURL_GLOBAL_DEFAULT); // a failure shows when a callback is told
    j->api = api;
    (void)pthread_mutex_init(&j->lock, NULL);
    clock_cond_init(&j->changed);
    if (open_queue(j, dir_fd, err) < 0) {
        jobs_free(j);
        return -1;
    }
    *ret = j;
    return 0;
}

static int start_workers(struct jobs *j, struct err *err)
{
    pthread_attr_t attr;
    int r = 0;

    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, HTTP_STACK_BYTES);
    for (uint32_t i = 0; i < j->worker_max && r == 0; i++) {
        j->workers[i].jobs = j;
        r = pthread_create(&j->workers[i].thread, &attr, jobs_worker_main, &j->workers[i]);
        if (r == 0)
            j->worker_count++;
    }
    (void)pthread_attr_destroy(&attr);
    return r == 0 ? 0 : err_sys(err, r, "cannot start a thread");
}

int jobs_start(struct jobs *j, struct err *err)
{
    const struct config *c = j->api->config;
    uint64_t half = c->pool_max / 2 > 0 ? c->pool_max / 2 : 1;
    uint64_t count = c->job_workers < half ? c->job_workers : half;
    int r;

    (void)pthread_mutex_lock(&j->lock); // the threads' own names are read by them
    j->worker_max = (uint32_t)(count < JOBS_WORKERS_MAX ? count : JOBS_WORKERS_MAX);
    r = start_workers(j, err);
    while (r == 0 && j->hook_count < JOBS_HOOK_THREADS) {
        r = pthread_create(&j->hooks[j->hook_count], NULL, jobs_hook_main, j);
        if (r != 0)
            r = err_sys(err, r, "cannot start a thread");
        else
            j->hook_count++;
    }
    (void)pthread_mutex_unlock(&j->lock);
    return r;
}

static bool is_idle(const struct jobs *j)
{
    for (uint32_t i = 0; i < j->worker_count; i++)
        if (j->workers[i].id[0] != '\0')
            return false;
    return true;
}

void jobs_quiesce(struct jobs *j)
{
    (void)pthread_mutex_lock(&j->lock);
    j->stopping = true;
    (void)pthread_cond_broadcast(&j->changed);
    (void)pthread_mutex_unlock(&j->lock);
    j->queue->ops->wake(j->queue);
}

void jobs_stop(struct jobs *j, uint64_t deadline_ns)
{
    struct timespec until = clock_to_timespec(deadline_ns);
    int r = 0;

    jobs_quiesce(j);
    (void)pthread_mutex_lock(&j->lock);
    while (!is_idle(j) && r == 0)
        r = pthread_cond_timedwait(&j->changed, &j->lock, &until);
    (void)pthread_mutex_unlock(&j->lock);
    j->cutting = true;
    for (uint32_t i = 0; i < j->worker_count; i++)
        (void)pthread_join(j->workers[i].thread, NULL);
    for (uint32_t i = 0; i < j->hook_count; i++)
        (void)pthread_join(j->hooks[i], NULL);
    j->worker_count = j->hook_count = 0;
}

void jobs_free(struct jobs *j)
{
    if (j == NULL)
        return;
    if (j->worker_count + j->hook_count > 0)
        jobs_stop(j, clock_mono_ns());
    queue_sqlite.close(j->queue);
    (void)pthread_cond_destroy(&j->changed);
    (void)pthread_mutex_destroy(&j->lock);
    free(j);
}

static void put_number(struct exposition *x, const char *name, const char *type, const char *help,
                       uint64_t value)
{
    exposition_metric(x, name, type, help);
    exposition_u64(x, NULL, value);
}

void jobs_put_metrics(struct jobs *j, struct exposition *x)
{
    struct queue_status s;

    if (j == NULL || j->queue->ops->status(j->queue, &s, NULL) < 0)
        return;
    exposition_metric(x, "codesandbox_jobs", "gauge", "Jobs in the queue.");
    exposition_u64(x, (struct exposition_label[]){{"state", "queued"}, {0}}, s.queued);
    exposition_u64(x, (struct exposition_label[]){{"state", "running"}, {0}}, s.running);
    exposition_u64(x, (struct exposition_label[]){{"state", "over"}, {0}}, s.over);
    put_number(x, "codesandbox_jobs_put_total", "counter", "Jobs taken in.", s.put);
    put_number(x, "codesandbox_jobs_finished_total", "counter", "Jobs that came to an end.",
               s.finished);
    put_number(x, "codesandbox_job_callbacks_pending", "gauge", "Callbacks still to be told.",
               s.hooks_pending);
    put_number(x, "codesandbox_job_store_bytes", "gauge", "Size of the queue on disk.",
               s.store_bytes);
}
