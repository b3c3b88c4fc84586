// SPDX-License-Identifier: Apache-2.0
//
// Jobs on their way through the embedded queue.
#include "base/clock.h"
#include "base/id.h"
#include "queue/sqlite_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ID_BYTES 12

// Putting.

struct put {
    const struct queue_job *jobs;
    size_t count;
    struct queue_put *ret;
};

// Whether the owner used this key before.
static int find_known(struct sq *q, const struct queue_job *job, struct queue_put *ret,
                      struct err *err)
{
    struct sql_statement st;

    ret->kind = QUEUE_PUT_NEW;
    if (job->idempotency_key == NULL)
        return 0;
    st =
        sql_begin(q->writer, "SELECT id, digest FROM jobs WHERE owner = ? AND idempotency_key = ?");
    sql_bind_text(&st, job->owner);
    sql_bind_text(&st, job->idempotency_key);
    if (sql_step(&st)) {
        size_t len;
        const void *digest = sql_blob(&st, 1, &len);
        bool same = len == sizeof(job->digest) && memcmp(digest, job->digest, len) == 0;

        ret->kind = same ? QUEUE_PUT_KNOWN : QUEUE_PUT_OTHER;
        (void)snprintf(ret->id, sizeof(ret->id), "%s", sql_text(&st, 0));
    }
    return sql_end(&st, NULL, err);
}

// Numbers rise with each job, as places in a list must, also when the clock was set back. Clients
// are told them: so they are of the clock, in microseconds, and do not count what others put.
static int insert(struct sq *q, const struct queue_job *job, struct queue_put *ret, struct err *err)
{
    struct sql_statement st;

    ret->id[0] = 'j';
    id_hex(ret->id + 1, ID_BYTES);
    ret->created_ms = sq_now_ms(q);
    st = sql_begin(q->writer,
                   "INSERT INTO jobs(number, id, owner, label, idempotency_key, digest, priority,"
                   " max_attempts, created_ms, hook_url, trace, body) VALUES(max(? * 1000, 1 +"
                   " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0)),"
                   " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    sql_bind_u64(&st, ret->created_ms);
    sql_bind_text(&st, ret->id);
    sql_bind_text(&st, job->owner);
    sql_bind_text(&st, job->label);
    sql_bind_text(&st, job->idempotency_key);
    sql_bind_blob(&st, job->digest, sizeof(job->digest));
    sql_bind_u64(&st, job->priority);
    sql_bind_u64(&st, job->max_attempts);
    sql_bind_u64(&st, ret->created_ms);
    sql_bind_text(&st, job->hook_url);
    sql_bind_text(&st, job->trace);
    sql_bind_blob(&st, job->body, job->body_len);
    return sql_end(&st, NULL, err);
}

static int pragma(struct sq *q, const char *text, uint64_t *ret, struct err *err)
{
    struct sql_statement st = sql_begin(q->writer, text);

    *ret = sql_step(&st) ? sql_u64(&st, 0) : 0;
    return sql_end(&st, NULL, err);
}

// Pages of the database that are used, and that may be.
static int count_pages(struct sq *q, uint64_t *ret_used, uint64_t *ret_max, struct err *err)
{
    uint64_t pages, unused;

    if (pragma(q, "PRAGMA page_count", &pages, err) < 0 ||
        pragma(q, "PRAGMA freelist_count", &unused, err) < 0 ||
        pragma(q, "PRAGMA max_page_count", ret_max, err) < 0)
        return -1;
    *ret_used = pages - unused;
    return 0;
}

// However many results one owner lets pile up, there is room left for others.
static int check_share(struct sq *q, const char *owner, uint64_t more, uint64_t left,
                       struct err *err)
{
    struct sql_statement st = sql_begin(q->writer, "SELECT bytes FROM owners WHERE owner = ?");
    uint64_t own;

    sql_bind_text(&st, owner);
    own = sql_step(&st) ? sql_u64(&st, 0) : 0;
    if (sql_end(&st, NULL, err) < 0)
        return -1;
    if (own + more <= QUEUE_SHARE * left)
        return 0;
    return err_field(err, ERR_BUSY, "room",
                     "the jobs of these keys and their results have %" PRIu64
                     " bytes, and what room is left is for others",
                     own);
}

// An eighth is kept for the results of what was taken in.
static int check_room(struct sq *q, const struct put *put, struct err *err)
{
    uint64_t used, max, need = 0;

    for (size_t i = 0; i < put->count; i++)
        need += put->jobs[i].body_len / SQ_PAGE_BYTES + 1;
    if (count_pages(q, &used, &max, err) < 0)
        return -1;
    max -= max / 8;
    if (used + need >= max)
        return err_field(err, ERR_BUSY, "queue", "the queue's room on disk is used up");
    return check_share(q, put->jobs[0].owner, need * SQ_PAGE_BYTES, (max - used) * SQ_PAGE_BYTES,
                       err);
}

static int check_result(struct sq *q, const char *owner, size_t len, struct err *err)
{
    uint64_t used, max;

    if (len <= QUEUE_RESULT_SMALL)
        return 0;
    if (count_pages(q, &used, &max, err) < 0)
        return -1;
    return check_share(q, owner, len, used < max ? (max - used) * SQ_PAGE_BYTES : 0, err);
}

// The limits hold at the end of the transaction's part, which else is undone.
static int check_counts(struct sq *q, const struct queue_job *job, struct err *err)
{
    struct sql_statement st =
        sql_begin(q->writer, "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state <= 1 LIMIT ?)");
    uint64_t all, own;

    sql_bind_u64(&st, q->config.jobs_max + 1);
    all = sql_step(&st) ? sql_u64(&st, 0) : 0;
    if (sql_end(&st, NULL, err) < 0)
        return -1;
    if (all > q->config.jobs_max)
        return err_field(err, ERR_BUSY, "queue", "the queue is full: %" PRIu64 " jobs are waiting",
                         q->config.jobs_max);
    st = sql_begin(q->writer, "SELECT count(*) FROM"
                              " (SELECT 1 FROM jobs WHERE owner = ? AND state <= 1 LIMIT ?)");
    sql_bind_text(&st, job->owner);
    sql_bind_u64(&st, job->owner_jobs_max + 1);
    own = sql_step(&st) ? sql_u64(&st, 0) : 0;
    if (sql_end(&st, NULL, err) < 0)
        return -1;
    if (own > job->owner_jobs_max)
        return err_field(err, ERR_BUSY, "owner",
                         "these keys may have %" PRIu64 " jobs that are not over",
                         job->owner_jobs_max);
    return 0;
}

static int apply_put(struct sq *q, void *arg, struct err *err)
{
    struct put *put = arg;
    bool other = false;
    bool any = false;

    for (size_t i = 0; i < put->count; i++) {
        if (find_known(q, &put->jobs[i], &put->ret[i], err) < 0)
            return -1;
        other = other || put->ret[i].kind == QUEUE_PUT_OTHER;
        if (put->ret[i].kind != QUEUE_PUT_NEW)
            continue;
        if (!any && check_room(q, put, err) < 0)
            return -1;
        any = true;
        if (insert(q, &put->jobs[i], &put->ret[i], err) < 0)
            return -1;
    }
    if (other)
        return err_set(err, ERR_INVALID, "the idempotency key stands for another job");
    return any ? check_counts(q, &put->jobs[0], err) : 0;
}

int sq_put(struct queue *queue, const struct queue_job *jobs, size_t count, struct queue_put *ret,
           struct err *err)
{
    struct sq *q = (struct sq *)queue;
    struct put put = {jobs, count, ret};

    if (sq_commit(q, apply_put, &put, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (ret[i].kind == QUEUE_PUT_NEW)
            atomic_fetch_add(&q->put, 1);
    sq_tell(q);
    return 0;
}

// Leases. All with lease_lock held.

static struct sq_lease *find_lease(struct sq *q, uint64_t number)
{
    for (size_t i = 0; i < QUEUE_LEASES_MAX; i++)
        if (q->leases[i].number == number)
            return &q->leases[i];
    return NULL;
}

static bool is_leased(struct sq *q, uint64_t number)
{
    const struct sq_lease *l = find_lease(q, number);

    return l != NULL && l->until_ns > clock_mono_ns();
}

// The place of a lease that still is one.
static struct sq_lease *own_lease(struct sq *q, const struct queue_lease *lease)
{
    struct sq_lease *l = find_lease(q, lease->number);

    return l != NULL && l->token == lease->token && l->until_ns > clock_mono_ns() ? l : NULL;
}

// A job has one place: that of its own lease that is over goes before any other that is free.
static struct sq_lease *place_for(struct sq *q, uint64_t number)
{
    uint64_t now = clock_mono_ns();
    struct sq_lease *l = find_lease(q, number);

    for (size_t i = 0; l == NULL && i < QUEUE_LEASES_MAX; i++)
        if (q->leases[i].number == 0 || q->leases[i].until_ns <= now)
            l = &q->leases[i];
    return l;
}

// Whether the owner may have one more of so many places. A lease that is over counts until it is
// dropped or its job is taken again: whoever had it may be at it still.
static bool may_take(const struct sq *q, const char *owner, uint32_t places)
{
    uint64_t taken = 1, own = 1; // with the one he is to get

    for (size_t i = 0; i < QUEUE_LEASES_MAX; i++) {
        taken += q->leases[i].number != 0;
        own += q->leases[i].number != 0 && strcmp(q->leases[i].owner, owner) == 0;
    }
    return places == 0 || own == 1 || (taken < places && own <= QUEUE_SHARE * (places - taken));
}

void sq_drop(struct queue *queue, const struct queue_lease *lease)
{
    struct sq *q = (struct sq *)queue;
    struct sq_lease *l;

    (void)pthread_mutex_lock(&q->lease_lock);
    l = find_lease(q, lease->number);
    if (l != NULL && l->token == lease->token)
        l->number = 0;
    (void)pthread_mutex_unlock(&q->lease_lock);
    sq_tell(q);
}

// Taking.

static int fill_lease(struct sql_statement *st, struct queue_lease *ret, struct err *err)
{
    size_t len;
    const void *body = sql_blob(st, 6, &len);

    ret->number = sql_u64(st, 0);
    (void)snprintf(ret->id, sizeof(ret->id), "%s", sql_text(st, 1));
    (void)snprintf(ret->owner, sizeof(ret->owner), "%s", sql_text(st, 2));
    (void)snprintf(ret->label, sizeof(ret->label), "%s", sql_text(st, 3));
    ret->attempts = (uint32_t)sql_u64(st, 4);
    ret->max_attempts = (uint32_t)sql_u64(st, 5);
    if (len > 0 && buf_append(&ret->body, body, len) < 0)
        return err_set(err, ERR_INTERNAL, "out of memory for a job");
    return 0;
}

// The next owner of a queued job after this one; NULL: the first one.
static int next_owner(struct sq *q, const char *after, char ret[QUEUE_OWNER_MAX], bool *ret_any,
                      struct err *err)
{
    struct sql_statement st = sql_begin(
        q->reader, after == NULL
                       ? "SELECT owner FROM jobs WHERE state = 0 ORDER BY owner LIMIT 1"
                       : "SELECT owner FROM jobs WHERE state = 0 AND owner > ? ORDER BY owner"
                         " LIMIT 1");

    if (after != NULL)
        sql_bind_text(&st, after);
    *ret_any = sql_step(&st);
    if (*ret_any)
        (void)snprintf(ret, QUEUE_OWNER_MAX, "%s", sql_text(&st, 0));
    return sql_end(&st, NULL, err);
}

// The owner's first free job.
static int find_ready(struct sq *q, const char *owner, struct queue_lease *ret, bool *ret_found,
                      struct err *err)
{
    struct sql_statement st =
        sql_begin(q->reader, "SELECT number, id, owner, label, attempts, max_attempts, body"
                             " FROM jobs WHERE state = 0 AND owner = ? AND not_before_ms <= ?"
                             " ORDER BY priority DESC, number");
    int r = 0;

    sql_bind_text(&st, owner);
    sql_bind_u64(&st, sq_now_ms(q));
    while (!*ret_found && r == 0 && sql_step(&st))
        if (!is_leased(q, sql_u64(&st, 0))) {
            r = fill_lease(&st, ret, err);
            *ret_found = r == 0;
        }
    return sql_end(&st, NULL, r == 0 ? err : NULL) < 0 ? -1 : r;
}

// Of the owners after the one who had the last turn, then from the first one up to him.
static int find_next(struct sq *q, uint32_t places, struct queue_lease *ret, bool *ret_found,
                     struct err *err)
{
    char owner[QUEUE_OWNER_MAX];
    const char *after = q->last_owner;
    bool again = false, any;

    for (;;) {
        if (next_owner(q, after, owner, &any, err) < 0)
            return -1;
        if (again && (!any || strcmp(owner, q->last_owner) > 0))
            return 0;
        after = any ? owner : NULL;
        again = again || !any;
        if (any && may_take(q, owner, places) && find_ready(q, owner, ret, ret_found, err) < 0)
            return -1;
        if (*ret_found)
            return 0;
    }
}

// The lease of a job that was found free.
static int give(struct sq *q, uint64_t lease_ms, struct queue_lease *lease, struct err *err)
{
    struct sq_lease *place = place_for(q, lease->number);

    if (place == NULL)
        return err_set(err, ERR_BUSY, "too many jobs are taken");
    lease->token = ++q->last_token;
    *place = (struct sq_lease){
        .number = lease->number, .token = lease->token, .until_ns = clock_deadline_ms(lease_ms)};
    memcpy(place->owner, lease->owner, sizeof(place->owner));
    memcpy(q->last_owner, lease->owner, sizeof(q->last_owner));
    return 0;
}

static int try_take(struct sq *q, const struct queue_take *take, struct queue_lease *ret,
                    bool *ret_found, struct err *err)
{
    int r;

    *ret_found = false;
    (void)pthread_mutex_lock(&q->lease_lock);
    (void)pthread_mutex_lock(&q->read_lock);
    r = find_next(q, take->places == NULL ? 0 : take->places(take->places_arg), ret, ret_found,
                  err);
    (void)pthread_mutex_unlock(&q->read_lock);
    if (r == 0 && *ret_found)
        r = give(q, take->lease_ms, ret, err);
    (void)pthread_mutex_unlock(&q->lease_lock);
    return r;
}

int sq_take(struct queue *queue, const struct queue_take *take, struct queue_lease *ret,
            bool *ret_found, struct err *err)
{
    struct sq *q = (struct sq *)queue;
    uint64_t deadline = clock_deadline_ms(take->wait_ms);

    memset(ret, 0, sizeof(*ret));
    for (;;) {
        uint64_t seen = sq_changes(q);

        if (try_take(q, take, ret, ret_found, err) < 0) {
            buf_release(&ret->body);
            return -1;
        }
        if (*ret_found || clock_mono_ns() >= deadline || q->awake)
            return 0;
        sq_wait(q, seen, deadline);
    }
}

// A job that is leased.

struct step {
    const struct queue_lease *lease;
    const struct queue_outcome *outcome;
    uint64_t delay_ms;
    enum queue_state state;
};

static int apply_begin(struct sq *q, void *arg, struct err *err)
{
    const struct step *step = arg;
    struct sql_statement st =
        sql_begin(q->writer, "UPDATE jobs SET state = 1, attempts = attempts + 1, started_ms = ?"
                             " WHERE number = ? AND state = 0");
    int changed = 0;

    sql_bind_u64(&st, sq_now_ms(q));
    sql_bind_u64(&st, step->lease->number);
    if (sql_end(&st, &changed, err) < 0)
        return -1;
    return changed == 1 ? 0 : err_set(err, ERR_CANCELLED, "the job was cancelled");
}

// Whether the lease still stands; from now on it has no end.
static bool hold(struct sq *q, const struct queue_lease *lease)
{
    struct sq_lease *l;

    (void)pthread_mutex_lock(&q->lease_lock);
    l = own_lease(q, lease);
    if (l != NULL)
        l->until_ns = CLOCK_NEVER;
    (void)pthread_mutex_unlock(&q->lease_lock);
    return l != NULL;
}

static int lost(struct err *err)
{
    return err_set(err, ERR_CANCELLED, "the lease of the job is over");
}

int sq_begin(struct queue *queue, struct queue_lease *lease, struct err *err)
{
    struct sq *q = (struct sq *)queue;
    struct step step = {.lease = lease};

    if (!hold(q, lease))
        return lost(err);
    if (sq_commit(q, apply_begin, &step, err) < 0)
        return -1;
    lease->attempts++;
    return 0;
}

static int apply_release(struct sq *q, void *arg, struct err *err)
{
    const struct step *step = arg;
    struct sql_statement st = sql_begin(
        q->writer, "UPDATE jobs SET state = iif(cancel = 1, 4, 0), not_before_ms = ?1,"
                   " finished_ms = iif(cancel = 1, ?2, 0), expires_ms = iif(cancel = 1, ?3, 0),"
                   " body = iif(cancel = 1, NULL, body)"
                   " WHERE number = ?4 AND state <= 1");

    sql_bind_u64(&st, sq_now_ms(q) + step->delay_ms);
    sql_bind_u64(&st, sq_now_ms(q));
    sql_bind_u64(&st, sq_now_ms(q) + q->config.retention_ms);
    sql_bind_u64(&st, step->lease->number);
    return sql_end(&st, NULL, err);
}

int sq_release(struct queue *queue, const struct queue_lease *lease, uint64_t delay_ms,
               struct err *err)
{
    struct sq *q = (struct sq *)queue;
    struct step step = {.lease = lease, .delay_ms = delay_ms};

    if (!hold(q, lease))
        return 0;
    if (sq_commit(q, apply_release, &step, err) < 0)
        return -1;
    sq_drop(queue, lease);
    return 0;
}

static int apply_finish(struct sq *q, void *arg, struct err *err)
{
    const struct step *step = arg;
    struct sql_statement st;
    int changed = 0;

    if (check_result(q, step->lease->owner, step->outcome->result_len, err) < 0)
        return -1;
    st = sql_begin(q->writer, "UPDATE jobs SET state = ?, finished_ms = ?, expires_ms = ?,"
                              " result = ?, body = NULL WHERE number = ? AND state <= 1");
    sql_bind_u64(&st, (uint64_t)step->outcome->state);
    sql_bind_u64(&st, sq_now_ms(q));
    sql_bind_u64(&st, sq_now_ms(q) + q->config.retention_ms);
    sql_bind_blob(&st, step->outcome->result, step->outcome->result_len);
    sql_bind_u64(&st, step->lease->number);
    if (sql_end(&st, &changed, err) < 0)
        return -1;
    return changed == 1 ? 0 : err_set(err, ERR_CANCELLED, "the job is over already");
}

int sq_finish(struct queue *queue, const struct queue_lease *lease,
              const struct queue_outcome *outcome, struct err *err)
{
    struct sq *q = (struct sq *)queue;
    struct step step = {.lease = lease, .outcome = outcome};
    int r;

    if (!hold(q, lease))
        return lost(err);
    r = sq_commit(q, apply_finish, &step, err);
    if (r == 0)
        atomic_fetch_add(&q->finished, 1);
    if (r == 0 || err->code == ERR_CANCELLED)
        sq_drop(queue, lease);
    return r;
}

// Cancelling.

struct cancel {
    const char *owner, *id;
    enum queue_state state;
};

static int apply_cancel(struct sq *q, void *arg, struct err *err)
{
    struct cancel *c = arg;
    struct sql_statement st = sql_begin(
        q->writer, "UPDATE jobs SET cancel = 1, state = iif(state = 0, 4, state),"
                   " finished_ms = iif(state = 0, ?1, finished_ms),"
                   " expires_ms = iif(state = 0, ?2, expires_ms), body = iif(state = 0, NULL, body)"
                   " WHERE owner = ?3 AND id = ?4 AND state <= 1");

    sql_bind_u64(&st, sq_now_ms(q));
    sql_bind_u64(&st, sq_now_ms(q) + q->config.retention_ms);
    sql_bind_text(&st, c->owner);
    sql_bind_text(&st, c->id);
    if (sql_end(&st, NULL, err) < 0)
        return -1;
    st = sql_begin(q->writer, "SELECT state FROM jobs WHERE owner = ? AND id = ?");
    sql_bind_text(&st, c->owner);
    sql_bind_text(&st, c->id);
    c->state = QUEUE_STATE_COUNT;
    if (sql_step(&st))
        c->state = (enum queue_state)sql_u64(&st, 0);
    if (sql_end(&st, NULL, err) < 0)
        return -1;
    return c->state < QUEUE_STATE_COUNT ? 0 : err_set(err, ERR_GONE, "no such job");
}

int sq_cancel(struct queue *queue, const char *owner, const char *id, enum queue_state *ret_state,
              struct err *err)
{
    struct sq *q = (struct sq *)queue;
    struct cancel c = {.owner = owner, .id = id};

    if (sq_commit(q, apply_cancel, &c, err) < 0)
        return -1;
    *ret_state = c.state;
    sq_tell(q); // its hook may be due
    return 0;
}
