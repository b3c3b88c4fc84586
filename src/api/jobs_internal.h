// SPDX-License-Identifier: Apache-2.0
//
// What the files of the jobs share.
#ifndef CSB_API_JOBS_INTERNAL_H
#define CSB_API_JOBS_INTERNAL_H

#include "api/jobs.h"
#include "base/buf.h"
#include "queue/queue.h"
#include "webhook/address.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define JOBS_WORKERS_MAX  64
#define JOBS_HOOK_THREADS QUEUE_HOOKS_MAX

struct config;
struct http_request;
struct http_response;
struct json_in;
struct json_out;
struct runtime_table;

// A worker and the job it has. `id` is guarded by jobs.lock; the flag may be read without.
struct jobs_worker {
    struct jobs *jobs;
    pthread_t thread;
    char id[QUEUE_ID_MAX]; // "" while it has none
    atomic_bool cancelled; // by its owner
};

struct jobs {
    const struct api *api;
    struct queue *queue;
    struct address_rules rules; // fixed
    struct jobs_worker workers[JOBS_WORKERS_MAX];
    uint32_t worker_max;   // threads that are to be; fixed before the first is
    uint32_t worker_count; // threads that were started
    pthread_t hooks[JOBS_HOOK_THREADS];
    uint32_t hook_count;
    atomic_bool stopping; // nothing more is begun
    atomic_bool cutting;  // what runs is ended

    pthread_mutex_t lock;
    pthread_cond_t changed; // a worker has no job any more, or `stopping`
};

void *jobs_worker_main(void *arg); // of a struct jobs_worker
void *jobs_hook_main(void *arg);   // of the struct jobs

// Ends a job that runs, if it does.
void jobs_cancel_running(struct jobs *j, const char *id);

// Waits, but for the end of the service.
void jobs_pause(struct jobs *j, uint64_t ms);

// A stored result: 'R' and the answer of the run, or 'E' and an error, as JSON.
#define JOBS_RESULT 'R'
#define JOBS_ERROR  'E'

// One object; its members are in docs/API.md. `in_full`: the result, too.
void jobs_put_record(struct json_out *out, const char *key, struct queue_record *r, bool in_full);

void api_jobs_create(void *app, const struct http_request *req, struct http_response *res);
void api_jobs_create_batch(void *app, const struct http_request *req, struct http_response *res);
void api_jobs_list(void *app, const struct http_request *req, struct http_response *res);
void api_jobs_webhook_secret(void *app, const struct http_request *req, struct http_response *res);
void api_jobs_get(void *app, const struct http_request *req, struct http_response *res);
void api_jobs_cancel(void *app, const struct http_request *req, struct http_response *res);

#endif
