// SPDX-License-Identifier: Apache-2.0
//
// /jobs: what clients put into the queue, and what they are told of it. A job is its owner's; of
// another's it is said that there is none.
#include "api/jobs.h"

#include "api/api.h"
#include "api/api_internal.h"
#include "api/auth.h"
#include "api/jobs_internal.h"
#include "api/jobs_parse.h"
#include "api/list_place.h"
#include "base/fd.h"
#include "base/parse.h"
#include "config/config.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "sandbox/tenant.h"
#include "webhook/sign.h"
#include "json/read.h"
#include "json/write.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_DEFAULT 50
#define LIST_MAX     100

static const char *owner_of(const struct http_request *req)
{
    return tenant_name(api_caller(req)->tenant);
}

static void fail_queue(const struct http_request *req, struct http_response *res,
                       const struct err *err)
{
    if (err->code == ERR_GONE) {
        http_fail(req, res, 404, "not_found", NULL, "There is no such job.");
    } else if (err->code == ERR_BUSY) {
        const char *own = strcmp(err->field, "owner") == 0  ? "JOB_MAX_PER_KEY"
                          : strcmp(err->field, "room") == 0 ? "JOB_STORE_MAX_BYTES"
                                                            : NULL;

        http_fail(req, res, 429, own != NULL ? "limit" : "busy", own, err->message);
        http_set_header(res, "Retry-After", "5");
    } else if (err->code == ERR_SYSTEM) {
        http_fail(req, res, 503, "queue_failed", NULL, err->message);
        http_set_header(res, "Retry-After", "1");
    } else {
        api_fail(req, res, err);
    }
}

static struct jobs_parse parse_for(const struct api *api, const struct http_request *req,
                                   const char *owner)
{
    struct jobs_parse p = {.config = api->config,
                           .runtimes = engine_runtimes(api->engine),
                           .rules = &api->jobs->rules,
                           .owner = owner,
                           .owner_jobs_max = tenant_limit(api->tenants, owner, STORE_LIMIT_JOBS)};

    static_assert(sizeof(p.trace) == TRACE_PARENT_LEN + 1, "room for a traceparent");
    if (req->trace.trace_id[0] != '\0')
        trace_write(&req->trace, p.trace);
    return p;
}

// The answer is the job as it is now.
static void answer_job(const struct api *api, const struct http_request *req,
                       struct http_response *res, const char *owner, const char *id,
                       unsigned status)
{
    struct queue *q = api->jobs->queue;
    struct json_out out = {.buf = &res->body};
    struct queue_record record;
    struct err err = ERR_INIT;

    if (q->ops->get(q, owner, id, &record, &err) < 0) {
        fail_queue(req, res, &err);
        return;
    }
    res->status = status;
    jobs_put_record(&out, NULL, &record, true);
    buf_release(&record.result);
    if (out.failed)
        http_fail(req, res, 500, "internal", NULL, "out of memory for the answer");
}

static void copy_text(char *ret, size_t size, const char *text)
{
    (void)snprintf(ret, size, "%s", text == NULL ? "" : text);
}

// A new one, as it was put. It is not read for this: it is taken whether it can be read or not.
static void answer_new(const struct http_request *req, struct http_response *res,
                       const struct queue_job *job, const struct queue_put *put)
{
    struct json_out out = {.buf = &res->body};
    struct queue_record record = {.state = QUEUE_QUEUED,
                                  .priority = job->priority,
                                  .max_attempts = job->max_attempts,
                                  .created_ms = put->created_ms};

    copy_text(record.id, sizeof(record.id), put->id);
    copy_text(record.label, sizeof(record.label), job->label);
    copy_text(record.idempotency_key, sizeof(record.idempotency_key), job->idempotency_key);
    copy_text(record.hook_url, sizeof(record.hook_url), job->hook_url);
    res->status = 202;
    jobs_put_record(&out, NULL, &record, true);
    if (out.failed)
        http_fail(req, res, 500, "internal", NULL, "out of memory for the answer");
}

static void fail_key(const struct http_request *req, struct http_response *res, const char *field)
{
    http_fail(req, res, 409, "conflict", field,
              "The idempotency key stands for another job: use a new one.");
}

void api_jobs_create(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    const char *owner = owner_of(req);
    struct queue *q = api->jobs->queue;
    _cleanup_json_ struct json_t *tree = NULL;
    struct jobs_request r;
    struct queue_put put = {0};
    struct err err = ERR_INIT;
    struct jobs_parse p;
    struct json_in in;
    char location[64];
    int rc;

    p = parse_for(api, req, owner);
    if (json_read("body", req->body, req->body_len, &tree, &err) < 0) {
        api_fail(req, res, &err);
        return;
    }
    in = json_top(tree);
    if (jobs_parse_one(&p, &in, &r, &err) < 0) {
        api_fail(req, res, &err);
        return;
    }
    rc = q->ops->put(q, &r.job, 1, &put, &err);
    if (rc < 0 && err.code == ERR_INVALID) {
        fail_key(req, res, "idempotency_key");
    } else if (rc < 0) {
        fail_queue(req, res, &err);
    } else {
        (void)snprintf(location, sizeof(location), "/jobs/%s", put.id);
        http_set_header(res, "Location", location);
        if (put.kind == QUEUE_PUT_NEW)
            answer_new(req, res, &r.job, &put);
        else
            answer_job(api, req, res, owner, put.id, 200);
    }
    jobs_request_release(&r);
}

// Several jobs of one request.
struct batch {
    size_t count;
    struct jobs_request requests[QUEUE_PUT_COUNT_MAX];
    struct queue_job jobs[QUEUE_PUT_COUNT_MAX];
    struct queue_put put[QUEUE_PUT_COUNT_MAX];
};

static void batch_free(struct batch *b)
{
    for (size_t i = 0; b != NULL && i < b->count; i++)
        jobs_request_release(&b->requests[i]);
    free(b);
}

static int parse_batch(const struct jobs_parse *p, const struct json_in *top, struct batch *b,
                       struct err *err)
{
    size_t count = json_count(top, "jobs");

    if (json_known(top, jobs_batch_fields, err) < 0)
        return -1;
    if (json_kind(top, "jobs") != JSON_KIND_ARRAY || count == 0)
        return json_fail(top, "jobs", err, "must be an array of at least one job");
    if (count > QUEUE_PUT_COUNT_MAX)
        return json_fail(top, "jobs", err, "may have at most %d entries", QUEUE_PUT_COUNT_MAX);
    for (size_t i = 0; i < count; i++) {
        struct json_in in;

        if (json_item_object(top, "jobs", i, &in, err) < 0 ||
            jobs_parse_one(p, &in, &b->requests[i], err) < 0)
            return -1;
        b->count++;
        b->jobs[i] = b->requests[i].job;
    }
    return 0;
}

static void answer_batch(struct http_response *res, const struct batch *b)
{
    struct json_out out = {.buf = &res->body};

    res->status = 202;
    json_open(&out, NULL, '{');
    json_open(&out, "jobs", '[');
    for (size_t i = 0; i < b->count; i++) {
        json_open(&out, NULL, '{');
        json_put_str(&out, "id", b->put[i].id);
        json_put_bool(&out, "known", b->put[i].kind == QUEUE_PUT_KNOWN);
        json_close(&out, '}');
    }
    json_close(&out, ']');
    json_close(&out, '}');
}

static void put_batch(const struct api *api, const struct http_request *req,
                      struct http_response *res, struct batch *b)
{
    struct queue *q = api->jobs->queue;
    struct err err = ERR_INIT;
    char field[48];

    if (q->ops->put(q, b->jobs, b->count, b->put, &err) == 0) {
        answer_batch(res, b);
        return;
    }
    for (size_t i = 0; i < b->count; i++)
        if (err.code == ERR_INVALID && b->put[i].kind == QUEUE_PUT_OTHER) {
            (void)snprintf(field, sizeof(field), "jobs[%zu].idempotency_key", i);
            fail_key(req, res, field);
            return;
        }
    fail_queue(req, res, &err);
}

void api_jobs_create_batch(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    const char *owner = owner_of(req);
    _cleanup_json_ struct json_t *tree = NULL;
    struct batch *b = calloc(1, sizeof(*b));
    struct err err = ERR_INIT;
    struct jobs_parse p;
    struct json_in top;

    p = parse_for(api, req, owner);
    if (b == NULL) {
        http_fail(req, res, 500, "internal", NULL, "out of memory");
        return;
    }
    if (json_read("body", req->body, req->body_len, &tree, &err) < 0) {
        api_fail(req, res, &err);
    } else {
        top = json_top(tree);
        if (parse_batch(&p, &top, b, &err) < 0)
            api_fail(req, res, &err);
        else
            put_batch(api, req, res, b);
    }
    batch_free(b);
}

// One job by its id.

static bool get_id(const struct http_request *req, struct http_response *res, char id[QUEUE_ID_MAX])
{
    if (http_segment(req, 1, id, QUEUE_ID_MAX))
        return true;
    http_fail(req, res, 404, "not_found", NULL, "There is no such job.");
    return false;
}

void api_jobs_get(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    const char *owner = owner_of(req);
    char id[QUEUE_ID_MAX];

    if (get_id(req, res, id))
        answer_job(api, req, res, owner, id, 200);
}

void api_jobs_cancel(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    const char *owner = owner_of(req);
    struct queue *q = api->jobs->queue;
    struct err err = ERR_INIT;
    enum queue_state state;
    char id[QUEUE_ID_MAX];

    if (!get_id(req, res, id))
        return;
    if (q->ops->cancel(q, owner, id, &state, &err) < 0) {
        fail_queue(req, res, &err);
    } else if (state == QUEUE_RUNNING) {
        jobs_cancel_running(api->jobs, id);
        answer_job(api, req, res, owner, id, 202);
    } else if (state == QUEUE_CANCELLED) {
        answer_job(api, req, res, owner, id, 200);
    } else {
        http_fail(req, res, 409, "conflict", NULL, "The job is over.");
    }
}

// What signs the callbacks of whoever asks.
void api_jobs_webhook_secret(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    const struct config *config = api->config;
    struct json_out out = {.buf = &res->body};
    char secret[WEBHOOK_SECRET_LEN + 1];

    if (config->webhook_secret[0] == '\0') {
        http_fail(req, res, 404, "not_found", NULL,
                  "This service has no WEBHOOK_SECRET, and so no callbacks.");
        return;
    }
    webhook_secret_of(config->webhook_secret, owner_of(req), secret);
    res->status = 200;
    json_open(&out, NULL, '{');
    json_put_str(&out, "secret", secret);
    json_close(&out, '}');
    if (out.failed)
        http_fail(req, res, 500, "internal", NULL, "out of memory for the answer");
}

// The list.

struct page {
    struct json_out out;
    uint32_t count, limit;
    char last[LIST_TOKEN_MAX]; // of the page after the one that ends with the last one so far
    bool more;
};

static int put_one(void *arg, const struct queue_record *record)
{
    struct page *page = arg;
    struct queue_record copy = *record;

    if (page->count == page->limit) {
        page->more = true;
        return 1;
    }
    page->count++;
    list_token(false, record->place, record->id, page->last);
    jobs_put_record(&page->out, NULL, &copy, false);
    return 0;
}

static int query_text(const struct http_request *req, const char *name, char **ret, struct err *err)
{
    int r = http_query(req, name, ret);

    if (r == -EEXIST)
        return err_field(err, ERR_INVALID, name, "%s is given twice", name);
    if (r < 0)
        return err_field(err, ERR_INVALID, name, "%s is not well encoded", name);
    return 0;
}

static int parse_state(const char *text, struct queue_list *list, struct err *err)
{
    list->any_state = text == NULL;
    if (text == NULL)
        return 0;
    for (int i = 0; i < QUEUE_STATE_COUNT; i++)
        if (strcmp(text, queue_state_name((enum queue_state)i)) == 0) {
            list->state = (enum queue_state)i;
            return 0;
        }
    return err_field(err, ERR_INVALID, "state",
                     "state must be queued, running, succeeded, failed, cancelled or may_have_run");
}

// `next` of the page before, or, as it once was, the id of its last job, which must be there then.
static int parse_after(const struct api *api, const char *text, struct queue_list *list,
                       struct err *err)
{
    struct queue *q = api->jobs->queue;
    struct queue_record record;
    struct list_place place;

    if (text != NULL && text[0] == 'j') {
        if (q->ops->get(q, list->owner, text, &record, err) < 0)
            return err->code != ERR_GONE
                       ? -1
                       : err_field(err, ERR_INVALID, "after", "after is not the id of a job");
        buf_release(&record.result);
        list->before = record.place;
        return 0;
    }
    if (list_place_parse("after", text, false, &place, err) < 0)
        return -1;
    list->before = place.at;
    return 0;
}

static int parse_list(const struct api *api, const struct http_request *req,
                      struct queue_list *list, struct err *err)
{
    _cleanup_free_ char *after = NULL;
    _cleanup_free_ char *state = NULL;
    _cleanup_free_ char *limit = NULL;
    uint64_t n = LIST_DEFAULT;

    if (query_text(req, "state", &state, err) < 0 || query_text(req, "limit", &limit, err) < 0 ||
        query_text(req, "after", &after, err) < 0 || parse_state(state, list, err) < 0 ||
        parse_after(api, after, list, err) < 0)
        return -1;
    if (limit != NULL && parse_u64(limit, 1, LIST_MAX, &n) < 0)
        return err_field(err, ERR_INVALID, "limit", "limit must be 1 to %d", LIST_MAX);
    list->limit = (uint32_t)n + 1; // one more tells whether there is a next page
    return 0;
}

void api_jobs_list(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct queue *q = api->jobs->queue;
    struct page page = {.out = {.buf = &res->body}};
    struct queue_list list = {.owner = owner_of(req)};
    struct err err = ERR_INIT;

    if (parse_list(api, req, &list, &err) < 0) {
        fail_queue(req, res, &err);
        return;
    }
    page.limit = list.limit - 1;
    json_open(&page.out, NULL, '{');
    json_open(&page.out, "jobs", '[');
    if (q->ops->list(q, &list, put_one, &page, &err) < 0) {
        fail_queue(req, res, &err);
        return;
    }
    json_close(&page.out, ']');
    json_put_str(&page.out, "next", page.more ? page.last : NULL);
    json_close(&page.out, '}');
    res->status = 200;
    if (page.out.failed)
        http_fail(req, res, 500, "internal", NULL, "out of memory for the answer");
}
