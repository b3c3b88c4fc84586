// SPDX-License-Identifier: Apache-2.0
//
// What the embedded queue tells of its jobs.
#include "queue/sqlite_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS                                                                                    \
    "SELECT j.id, j.label, j.idempotency_key, j.state, j.cancel, j.priority, j.attempts,"          \
    " j.max_attempts, j.created_ms, j.started_ms, j.finished_ms, j.expires_ms, j.hook_url,"        \
    " h.state, h.attempts, h.next_ms, h.note, j.number"
#define TABLES " FROM jobs j LEFT JOIN hooks h ON h.number = j.number"
#define RESULT 18 // the column after those

static void fill(struct sql_statement *st, struct queue_record *ret)
{
    memset(ret, 0, sizeof(*ret));
    (void)snprintf(ret->id, sizeof(ret->id), "%s", sql_text(st, 0));
    (void)snprintf(ret->label, sizeof(ret->label), "%s", sql_text(st, 1));
    (void)snprintf(ret->idempotency_key, sizeof(ret->idempotency_key), "%s", sql_text(st, 2));
    ret->state = (enum queue_state)sql_u64(st, 3);
    ret->cancel_asked = sql_u64(st, 4) != 0;
    ret->priority = (uint32_t)sql_u64(st, 5);
    ret->attempts = (uint32_t)sql_u64(st, 6);
    ret->max_attempts = (uint32_t)sql_u64(st, 7);
    ret->created_ms = sql_u64(st, 8);
    ret->started_ms = sql_u64(st, 9);
    ret->finished_ms = sql_u64(st, 10);
    ret->expires_ms = sql_u64(st, 11);
    (void)snprintf(ret->hook_url, sizeof(ret->hook_url), "%s", sql_text(st, 12));
    ret->hook_state = (enum queue_hook_state)sql_u64(st, 13); // 0 where there is none
    ret->hook_attempts = (uint32_t)sql_u64(st, 14);
    ret->hook_next_ms = sql_u64(st, 15);
    err_copy_text(ret->hook_note, sizeof(ret->hook_note), sql_text(st, 16));
    ret->place = sql_u64(st, 17);
}

int sq_get(struct queue *queue, const char *owner, const char *id, struct queue_record *ret,
           struct err *err)
{
    struct sq *q = (struct sq *)queue;
    struct queue_record record;
    struct sql_statement st;
    bool found = false;
    int r = 0;

    (void)pthread_mutex_lock(&q->read_lock);
    st = sql_begin(q->reader, COLUMNS ", j.result" TABLES " WHERE j.owner = ? AND j.id = ?");
    sql_bind_text(&st, owner);
    sql_bind_text(&st, id);
    if (sql_step(&st)) {
        size_t len;
        const void *result = sql_blob(&st, RESULT, &len);

        found = true;
        fill(&st, &record);
        if (len > 0 && buf_append(&record.result, result, len) < 0)
            r = err_set(err, ERR_INTERNAL, "out of memory for a result");
    }
    if (sql_end(&st, NULL, r == 0 ? err : NULL) < 0)
        r = -1;
    (void)pthread_mutex_unlock(&q->read_lock);
    if (r == 0 && !found)
        return err_set(err, ERR_GONE, "no such job");
    if (r < 0 && found)
        buf_release(&record.result);
    else if (r == 0)
        *ret = record;
    return r;
}

int sq_list(struct queue *queue, const struct queue_list *list, queue_each_fn each, void *arg,
            struct err *err)
{
    // Each has its index: nobody waits while the jobs of other states are passed over.
    static const char any_state[] =
        COLUMNS TABLES " WHERE j.owner = ?1 AND j.number < ?2 ORDER BY j.number DESC LIMIT ?3";
    static const char one_state[] = COLUMNS TABLES
        " WHERE j.owner = ?1 AND j.number < ?2 AND j.state = ?4 ORDER BY j.number DESC LIMIT ?3";
    struct sq *q = (struct sq *)queue;
    struct queue_record record;
    struct sql_statement st;
    int r;

    (void)pthread_mutex_lock(&q->read_lock);
    st = sql_begin(q->reader, list->any_state ? any_state : one_state);
    sql_bind_text(&st, list->owner);
    sql_bind_u64(&st, list->before == 0 ? INT64_MAX : list->before);
    sql_bind_u64(&st, list->limit);
    if (!list->any_state)
        sql_bind_u64(&st, (uint64_t)list->state);
    while (sql_step(&st)) {
        fill(&st, &record);
        if (each(arg, &record) != 0)
            break;
    }
    r = sql_end(&st, NULL, err);
    (void)pthread_mutex_unlock(&q->read_lock);
    return r;
}

static int count(struct sq *q, const char *text, uint64_t *ret, struct err *err)
{
    struct sql_statement st = sql_begin(q->reader, text);

    *ret = sql_step(&st) ? sql_u64(&st, 0) : 0;
    return sql_end(&st, NULL, err);
}

int sq_status(struct queue *queue, struct queue_status *ret, struct err *err)
{
    struct sq *q = (struct sq *)queue;
    struct queue_status s = {
        .found_queued = q->found_queued,
        .found_may_have_run = q->found_may_have_run,
        .put = q->put,
        .finished = q->finished,
        .commits = q->commits,
    };
    int r = 0;

    (void)pthread_mutex_lock(&q->read_lock);
    if (count(q, "SELECT count(*) FROM jobs WHERE state = 0", &s.queued, err) < 0 ||
        count(q, "SELECT count(*) FROM jobs WHERE state = 1", &s.running, err) < 0 ||
        count(q, "SELECT count(*) FROM jobs WHERE state > 1", &s.over, err) < 0 ||
        count(q, "SELECT count(*) FROM hooks WHERE state = 1", &s.hooks_pending, err) < 0 ||
        count(q, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
              &s.store_bytes, err) < 0)
        r = -1;
    (void)pthread_mutex_unlock(&q->read_lock);
    if (r == 0)
        *ret = s;
    return r;
}
