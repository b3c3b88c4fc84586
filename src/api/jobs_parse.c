// SPDX-License-Identifier: Apache-2.0
#include "api/jobs_parse.h"

#include "api/execute_parse.h"
#include "config/config.h"
#include "sandbox/runtime.h"
#include "webhook/webhook.h"
#include "json/read.h"

#include <nettle/sha2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *const jobs_fields[] = {"priority", "max_attempts", "idempotency_key", "callback_url",
                                   NULL};
const char *const jobs_batch_fields[] = {"jobs", NULL};

static int parse_key(const struct json_in *in, struct queue_job *job, struct err *err)
{
    struct json_str key = {NULL, 0};

    if (json_get_text(in, "idempotency_key", &key, err) < 0)
        return -1;
    if (key.data == NULL)
        return 0;
    if (key.len == 0 || key.len > JOBS_KEY_BYTES_MAX)
        return json_fail(in, "idempotency_key", err, "must have 1 to %d bytes", JOBS_KEY_BYTES_MAX);
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] <= ' ' || key.data[i] > '~')
            return json_fail(in, "idempotency_key", err, "may have printable ASCII only, no space");
    job->idempotency_key = key.data;
    return 0;
}

static int parse_callback(const struct jobs_parse *p, const struct json_in *in,
                          struct queue_job *job, struct err *err)
{
    struct json_str url = {NULL, 0};
    struct err why = ERR_INIT;

    if (json_get_text(in, "callback_url", &url, err) < 0)
        return -1;
    if (url.data == NULL)
        return 0;
    if (p->config->webhook_secret[0] == '\0')
        return json_fail(in, "callback_url", err,
                         "is not available: this service has no WEBHOOK_SECRET to sign with");
    if (webhook_check_url(url.data, p->rules, &why) < 0)
        return json_fail(in, "callback_url", err, "%s", why.message);
    job->hook_url = url.data;
    return 0;
}

static int parse_fields(const struct jobs_parse *p, const struct json_in *in, struct queue_job *job,
                        struct err *err)
{
    uint64_t priority = JOBS_PRIORITY_DEFAULT;
    uint64_t attempts = 1;

    if (json_get_u64(in, "priority", 0, QUEUE_PRIORITY_MAX, &priority, err) < 0 ||
        json_get_u64(in, "max_attempts", 1, QUEUE_ATTEMPTS_MAX, &attempts, err) < 0)
        return -1;
    job->owner = p->owner;
    job->owner_jobs_max = p->owner_jobs_max;
    job->trace = p->trace[0] == '\0' ? NULL : p->trace;
    job->priority = (uint32_t)priority;
    job->max_attempts = (uint32_t)attempts;
    return parse_key(in, job, err) < 0 || parse_callback(p, in, job, err) < 0 ? -1 : 0;
}

static void digest(struct queue_job *job)
{
    struct sha256_ctx hash;
    char numbers[32];
    const char *url = job->hook_url == NULL ? "" : job->hook_url;
    int len = snprintf(numbers, sizeof(numbers), "%u %u ", job->priority, job->max_attempts);

    sha256_init(&hash);
    sha256_update(&hash, (size_t)len, (const uint8_t *)numbers);
    sha256_update(&hash, strlen(url) + 1, (const uint8_t *)url);
    sha256_update(&hash, job->body_len, job->body);
    sha256_digest(&hash, sizeof(job->digest), job->digest);
}

// An error of the program's own request, which knows nothing of where it stood.
static int in_place(const struct json_in *in, struct err *err)
{
    const struct err e = *err;
    char field[sizeof(e.field)];

    if (in->path[0] == '\0' || e.field[0] == '\0')
        return -1;
    json_path(in, e.field, field, sizeof(field));
    return err_field(err, e.code, field, "%s.%.180s", in->path, e.message);
}

// Whether it is a program that may be run; it is read again when it is.
static int check_program(const struct jobs_parse *p, const struct json_in *in,
                         struct jobs_request *ret, struct err *err)
{
    struct execute_request x;
    bool stream;

    if (execute_parse(p->config, p->runtimes, ret->body.data, ret->body.len, &x, err) < 0)
        return in_place(in, err);
    stream = x.stream;
    (void)snprintf(ret->label, sizeof(ret->label), "%s", x.run.runtime->id);
    execute_request_release(&x);
    return stream ? json_fail(in, "stream", err, "is not for jobs; leave it out") : 0;
}

static int parse(const struct jobs_parse *p, const struct json_in *in, struct jobs_request *ret,
                 struct err *err)
{
    if (parse_fields(p, in, &ret->job, err) < 0)
        return -1;
    ret->body.cap = p->config->job_body_max_bytes;
    if (json_text_without(in, jobs_fields, &ret->body, err) < 0)
        return err_field(err, ERR_TOO_LARGE, in->path[0] == '\0' ? "body" : in->path,
                         "a job may have at most %llu bytes",
                         (unsigned long long)p->config->job_body_max_bytes);
    if (check_program(p, in, ret, err) < 0)
        return -1;
    ret->job.label = ret->label;
    ret->job.body = ret->body.data;
    ret->job.body_len = ret->body.len;
    digest(&ret->job);
    return 0;
}

int jobs_parse_one(const struct jobs_parse *p, const struct json_in *in, struct jobs_request *ret,
                   struct err *err)
{
    memset(ret, 0, sizeof(*ret));
    if (parse(p, in, ret, err) == 0)
        return 0;
    jobs_request_release(ret);
    return -1;
}

void jobs_request_release(struct jobs_request *r)
{
    buf_release(&r->body);
    memset(r, 0, sizeof(*r));
}
