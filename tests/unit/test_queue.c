// SPDX-License-Identifier: Apache-2.0
//
// The embedded queue, by its contract (queue/queue.h). A process that died is one that closed the
// queue without a word.
#include "base/clock.h"
#include "base/fd.h"
#include "queue_harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define MEANWHILE_ROUNDS 50

static void test_life(void)
{
    struct queue *q = open_fresh();
    struct queue_lease lease, none;
    struct queue_job job = a_job("me", "work");
    struct queue_put put = {0};
    struct queue_record r;
    char id[QUEUE_ID_MAX];

    CHECK(q->ops->put(q, &job, 1, &put, &err) == 0 && put.kind == QUEUE_PUT_NEW);
    memcpy(id, put.id, sizeof(id));
    CHECK(id[0] == 'j' && strlen(id) == 25);
    CHECK_INT(state_of(q, "me", id), QUEUE_QUEUED);
    CHECK_INT(state_of(q, "you", id), QUEUE_STATE_COUNT);
    CHECK_INT(err.code, ERR_GONE);
    CHECK_STR(take(q, &lease), "work");
    CHECK_STR(take(q, &none), "");
    CHECK(strcmp(lease.id, id) == 0 && strcmp(lease.owner, "me") == 0 && lease.attempts == 0);
    CHECK_INT(state_of(q, "me", id), QUEUE_QUEUED);
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    CHECK_INT(lease.attempts, 1);
    CHECK_INT(state_of(q, "me", id), QUEUE_RUNNING);
    CHECK_INT(finish(q, &lease, QUEUE_SUCCEEDED, "{\"status\":\"ok\"}"), 0);
    CHECK_INT(q->ops->get(q, "me", id, &r, &err), 0);
    CHECK_STR(buf_cstr(&r.result), "{\"status\":\"ok\"}");
    CHECK_INT(r.created_ms, put.created_ms);
    CHECK(r.state == QUEUE_SUCCEEDED && r.attempts == 1 && r.started_ms >= r.created_ms &&
          r.finished_ms >= r.started_ms && r.expires_ms == r.finished_ms + 3600000);
    buf_release(&r.result);
    CHECK_STR(take(q, &none), "");
    CHECK_INT(finish(q, &lease, QUEUE_FAILED, "x"), -1);
    CHECK_INT(err.code, ERR_CANCELLED);
    q = reopen(q);
    CHECK_INT(state_of(q, "me", id), QUEUE_SUCCEEDED);
    q->ops->close(q);
}

static void test_idempotency(void)
{
    struct queue *q = open_fresh();
    struct queue_job job = a_job("me", "once");
    struct queue_job pair[2];
    struct queue_put put[2];
    char first[QUEUE_ID_MAX], again[QUEUE_ID_MAX];

    job.idempotency_key = "key";
    CHECK_INT(put_job(q, &job, first), QUEUE_PUT_NEW);
    CHECK_INT(put_job(q, &job, again), QUEUE_PUT_KNOWN);
    CHECK_STR(again, first);
    q = reopen(q);
    CHECK_INT(put_job(q, &job, again), QUEUE_PUT_KNOWN);
    CHECK_STR(again, first);
    job.owner = "you";
    CHECK_INT(put_job(q, &job, again), QUEUE_PUT_NEW);
    job.owner = "me";
    job.digest[0] = 1;
    CHECK_INT(put_job(q, &job, again), -1);
    CHECK_INT(err.code, ERR_INVALID);
    pair[0] = a_job("me", "new");
    pair[1] = job;
    CHECK_INT(q->ops->put(q, pair, 2, put, &err), -1);
    CHECK(put[1].kind == QUEUE_PUT_OTHER && strcmp(put[1].id, first) == 0);
    CHECK_INT(state_of(q, "me", put[0].id), QUEUE_STATE_COUNT);
    q->ops->close(q);
}

static void test_order(void)
{
    struct queue *q = open_fresh();
    struct queue_job high = a_job("a", "high");
    const char *const want[] = {"high", "a1", "b1", "a2", "b2", "a3"};
    struct queue_lease lease;

    high.priority = 9;
    for (int i = 1; i <= 3; i++) {
        char text[3] = {'a', (char)('0' + i), '\0'};

        (void)put_one(q, "a", text, NULL);
    }
    (void)put_one(q, "b", "b1", NULL);
    (void)put_one(q, "b", "b2", NULL);
    (void)put_job(q, &high, NULL);
    // The last turn was a's, but for the first round it is nobody's.
    CHECK_STR(take(q, &lease), want[0]);
    CHECK_INT(finish(q, &lease, QUEUE_SUCCEEDED, ""), 0);
    CHECK_STR(take(q, &lease), "b1");
    CHECK_INT(q->ops->release(q, &lease, 0, &err), 0);
    buf_release(&lease.body);
    for (size_t i = 1; i < sizeof(want) / sizeof(want[0]); i++) {
        CHECK_STR(take(q, &lease), want[i]);
        buf_release(&lease.body);
    }
    q->ops->close(q);
}

static void test_leases(void)
{
    struct queue *q = open_fresh();
    struct queue_lease first, second;
    char id[QUEUE_ID_MAX];
    bool found = false;

    (void)put_one(q, "me", "work", id);
    CHECK(q->ops->take(q, &(struct queue_take){.wait_ms = 0, .lease_ms = 1}, &first, &found,
                       &err) == 0 &&
          found);
    CHECK(q->ops->take(q, &(struct queue_take){.wait_ms = 20, .lease_ms = LEASE_MS}, &second,
                       &found, &err) == 0);
    if (!found) { // nothing happened that would end the wait: the lease is over all the same
        CHECK(q->ops->take(q, &(struct queue_take){.wait_ms = 0, .lease_ms = LEASE_MS}, &second,
                           &found, &err) == 0);
    }
    CHECK_MSG(found && strcmp(second.id, id) == 0, "a lease that is over is given to another");
    CHECK_INT(q->ops->begin(q, &first, &err), -1);
    CHECK_INT(err.code, ERR_CANCELLED);
    CHECK_INT(q->ops->begin(q, &second, &err), 0);
    CHECK_INT(finish(q, &first, QUEUE_SUCCEEDED, "wrong"), -1);
    CHECK_INT(q->ops->release(q, &second, 3600000, &err), 0);
    buf_release(&second.body);
    CHECK_STR(take(q, &first), "");
    CHECK_INT(state_of(q, "me", id), QUEUE_QUEUED);
    q = reopen(q);
    CHECK_STR(take(q, &first), "work");
    CHECK_INT(first.attempts, 1);
    buf_release(&first.body);
    q->ops->close(q);
}

// A lease that ends while its job is being taken again leaves one lease, that of the second taker.
static void test_lease_ends_meanwhile(void)
{
    struct queue *q = open_fresh();
    struct queue_lease first, second;
    int good = 0;

    for (int i = 0; i < MEANWHILE_ROUNDS; i++) {
        bool found = false;

        (void)put_one(q, "me", "work", NULL);
        if (!CHECK(q->ops->take(q, &(struct queue_take){.wait_ms = 0, .lease_ms = 1}, &first,
                                &found, &err) == 0 &&
                   found))
            break;
        buf_release(&first.body);
        for (found = false; !found;)
            if (!CHECK(q->ops->take(q, &(struct queue_take){.wait_ms = 0, .lease_ms = LEASE_MS},
                                    &second, &found, &err) == 0))
                break;
        good += found && q->ops->begin(q, &second, &err) == 0 &&
                finish(q, &second, QUEUE_SUCCEEDED, "") == 0;
        buf_release(&second.body);
    }
    CHECK_INT(good, MEANWHILE_ROUNDS);
    q->ops->close(q);
}

static void test_death(void)
{
    struct queue *q = open_fresh();
    struct queue_job twice = a_job("me", "twice");
    char taken[QUEUE_ID_MAX], begun[QUEUE_ID_MAX], again[QUEUE_ID_MAX], ending[QUEUE_ID_MAX];
    struct queue_lease lease;
    struct queue_status status;
    enum queue_state state;

    twice.max_attempts = 2;
    (void)put_one(q, "me", "begun", begun);
    CHECK_STR(take(q, &lease), "begun");
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    buf_release(&lease.body);
    (void)put_one(q, "me", "ending", ending);
    CHECK_STR(take(q, &lease), "ending");
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    CHECK(q->ops->cancel(q, "me", ending, &state, &err) == 0 && state == QUEUE_RUNNING);
    buf_release(&lease.body);
    (void)put_job(q, &twice, again);
    CHECK_STR(take(q, &lease), "twice");
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    buf_release(&lease.body);
    (void)put_one(q, "me", "taken", taken);
    CHECK_STR(take(q, &lease), "taken");
    buf_release(&lease.body);
    q = reopen(q);
    CHECK_INT(state_of(q, "me", begun), QUEUE_MAY_HAVE_RUN);
    CHECK_INT(state_of(q, "me", ending), QUEUE_CANCELLED);
    CHECK_INT(q->ops->status(q, &status, &err), 0);
    CHECK(status.found_queued == 2 && status.found_may_have_run == 1 && status.over == 2);
    CHECK_STR(take(q, &lease), "twice");
    CHECK_INT(lease.attempts, 1);
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    buf_release(&lease.body);
    CHECK_STR(take(q, &lease), "taken");
    buf_release(&lease.body);
    q = reopen(q);
    CHECK_INT(state_of(q, "me", again), QUEUE_MAY_HAVE_RUN);
    CHECK_INT(state_of(q, "me", taken), QUEUE_QUEUED);
    q->ops->close(q);
}

static void test_cancel(void)
{
    struct queue *q = open_fresh();
    char id[QUEUE_ID_MAX];
    struct queue_lease lease;
    enum queue_state state;

    (void)put_one(q, "me", "work", id);
    CHECK(q->ops->cancel(q, "you", id, &state, &err) < 0 && err.code == ERR_GONE);
    CHECK_STR(take(q, &lease), "work");
    CHECK(q->ops->cancel(q, "me", id, &state, &err) == 0 && state == QUEUE_CANCELLED);
    CHECK_INT(q->ops->begin(q, &lease, &err), -1);
    CHECK_INT(err.code, ERR_CANCELLED);
    q->ops->drop(q, &lease);
    buf_release(&lease.body);
    CHECK(q->ops->cancel(q, "me", id, &state, &err) == 0 && state == QUEUE_CANCELLED);
    CHECK_STR(take(q, &lease), "");
    (void)put_one(q, "me", "more", id);
    CHECK_STR(take(q, &lease), "more");
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    CHECK(q->ops->cancel(q, "me", id, &state, &err) == 0 && state == QUEUE_RUNNING);
    CHECK_INT(q->ops->release(q, &lease, 0, &err), 0);
    buf_release(&lease.body);
    CHECK_INT(state_of(q, "me", id), QUEUE_CANCELLED);
    q->ops->close(q);
}

// The end of a job that its owner cancelled first leaves no lease behind.
static void test_cancelled_first(void)
{
    enum { HALF = QUEUE_LEASES_MAX / 2 };
    struct queue_config config = limits();
    struct queue_job jobs[HALF];
    struct queue_put put[HALF];
    struct queue_lease lease;
    enum queue_state state;
    struct queue *q;
    int taken = 0;

    config.jobs_max = QUEUE_LEASES_MAX + 1;
    remove_files();
    q = open_with(&config);
    for (int i = 0; i < HALF; i++) {
        jobs[i] = a_job("me", "work");
        jobs[i].owner_jobs_max = QUEUE_LEASES_MAX + 1;
    }
    CHECK(q->ops->put(q, jobs, HALF, put, &err) == 0 && q->ops->put(q, jobs, HALF, put, &err) == 0);
    for (int i = 0; i < QUEUE_LEASES_MAX; i++) {
        taken += strcmp(take(q, &lease), "work") == 0;
        buf_release(&lease.body);
    }
    CHECK_INT(taken, QUEUE_LEASES_MAX);
    CHECK(q->ops->cancel(q, "me", lease.id, &state, &err) == 0 && state == QUEUE_CANCELLED);
    CHECK_INT(finish(q, &lease, QUEUE_FAILED, ""), -1);
    CHECK_INT(err.code, ERR_CANCELLED);
    jobs[0].body = "more";
    jobs[0].body_len = strlen("more");
    CHECK_INT(put_job(q, &jobs[0], NULL), QUEUE_PUT_NEW);
    CHECK_STR(take(q, &lease), "more");
    buf_release(&lease.body);
    q->ops->close(q);
}

struct listed {
    char text[256]; // what differs of the ids
    uint64_t last;  // the place of the last one
};

static int add_body(void *arg, const struct queue_record *r)
{
    struct listed *l = arg;

    (void)snprintf(l->text + strlen(l->text), sizeof(l->text) - strlen(l->text), "%s,", r->id + 20);
    l->last = r->place;
    return 0;
}

static void check_list(struct queue *q, const struct queue_list *list, struct listed *ret,
                       const char *want)
{
    *ret = (struct listed){.last = 0};
    CHECK_INT(q->ops->list(q, list, add_body, ret, &err), 0);
    CHECK_STR(ret->text, want);
}

static void test_list(void)
{
    struct queue_config config = limits();
    struct queue_list list = {.owner = "me", .any_state = true, .limit = 2};
    struct queue *q = open_fresh();
    char ids[4][QUEUE_ID_MAX], want[256];
    struct listed got;
    enum queue_state state;

    for (int i = 0; i < 4; i++)
        (void)put_one(q, i == 1 ? "you" : "me", "x", ids[i]);
    (void)snprintf(want, sizeof(want), "%s,%s,", ids[3] + 20, ids[2] + 20);
    check_list(q, &list, &got, want);
    CHECK_MSG(got.last > 1 && clock_real_ns() / NS_PER_S - got.last / 1000000 < 60,
              "a place tells when, not how many there were");
    list.before = got.last;
    (void)snprintf(want, sizeof(want), "%s,", ids[0] + 20);
    check_list(q, &list, &got, want);

    // The place outlives what stood there.
    (void)q->ops->cancel(q, "me", ids[2], &state, &err);
    q->ops->close(q);
    config.retention_ms = 0;
    change_file("UPDATE jobs SET expires_ms = 1 WHERE state > 1");
    q = open_with(&config);
    CHECK_INT(q->ops->sweep(q, &err), 0);
    CHECK_INT(state_of(q, "me", ids[2]), QUEUE_STATE_COUNT);
    check_list(q, &list, &got, want);

    (void)q->ops->cancel(q, "me", ids[0], &state, &err);
    list = (struct queue_list){.owner = "me", .state = QUEUE_CANCELLED, .limit = 10};
    check_list(q, &list, &got, want);
    q->ops->close(q);
}

static void test_hooks(void)
{
    struct queue *q = open_fresh();
    struct queue_job job = a_job("me", "work");
    struct queue_hook hook;
    struct queue_record r;
    struct queue_lease lease;
    char id[QUEUE_ID_MAX];
    enum queue_state state;
    bool found = true;

    job.hook_url = "http://example.org/hook";
    (void)put_job(q, &job, id);
    CHECK(q->ops->take_hook(q, 0, 0, &hook, &found, &err) == 0 && !found);
    CHECK_STR(take(q, &lease), "work");
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    buf_release(&lease.body);
    q = reopen(q); // it may have run, and that is told, too
    CHECK(q->ops->take_hook(q, 0, 0, &hook, &found, &err) == 0 && found);
    CHECK(hook.attempt == 1 && strcmp(hook.id, id) == 0 && strcmp(hook.url, job.hook_url) == 0);
    q = reopen(q); // nobody said how that went: once more
    CHECK(q->ops->take_hook(q, 1000, 3600000, &hook, &found, &err) == 0 && found);
    CHECK_INT(hook.attempt, 2);
    CHECK(q->ops->take_hook(q, 0, 0, &hook, &found, &err) == 0 && !found);
    CHECK_INT(q->ops->end_hook(q, &hook, QUEUE_HOOK_PENDING, 0, "refused", &err), 0);
    CHECK(q->ops->get(q, "me", id, &r, &err) == 0 && r.hook_state == QUEUE_HOOK_PENDING);
    CHECK_STR(r.hook_note, "refused");
    CHECK(q->ops->take_hook(q, 1000, 3600000, &hook, &found, &err) == 0 && found);
    CHECK_INT(q->ops->end_hook(q, &hook, QUEUE_HOOK_DONE, 0, "", &err), 0);
    CHECK(q->ops->take_hook(q, 0, 0, &hook, &found, &err) == 0 && !found);
    CHECK(q->ops->get(q, "me", id, &r, &err) == 0 && r.hook_state == QUEUE_HOOK_DONE &&
          r.hook_attempts == 3);
    (void)put_job(q, &job, id);
    (void)q->ops->cancel(q, "me", id, &state, &err);
    CHECK(q->ops->take_hook(q, 0, 0, &hook, &found, &err) == 0 && found);
    q->ops->close(q);
}

// As after a week in which no service ran: who is to be told is, and then the job goes.
static void test_hook_outlives(void)
{
    struct queue_config config = limits();
    struct queue *q = open_fresh();
    struct queue_hook hook;

    put_hook(q, "me");
    q->ops->close(q);
    change_file("UPDATE jobs SET expires_ms = 1");
    q = open_with(&config);
    CHECK_INT(q->ops->sweep(q, &err), 0);
    CHECK_STR(take_hook(q, &hook), "me");
    CHECK_INT(q->ops->sweep(q, &err), 0);
    CHECK_INT(state_of(q, "me", hook.id), QUEUE_CANCELLED);
    CHECK_INT(q->ops->end_hook(q, &hook, QUEUE_HOOK_FAILED, 0, "refused", &err), 0);
    CHECK_INT(q->ops->sweep(q, &err), 0);
    CHECK_INT(state_of(q, "me", hook.id), QUEUE_STATE_COUNT);
    q->ops->close(q);
}

static void test_limits(void)
{
    struct queue_config config = limits();
    struct queue_job jobs[QUEUE_PUT_COUNT_MAX];
    struct queue_put put[QUEUE_PUT_COUNT_MAX];
    struct queue_status status;
    struct queue_lease lease;
    struct queue *q = open_fresh();
    static char large[1 << 20];
    char id[QUEUE_ID_MAX];
    int count = 0;

    for (int i = 0; i < QUEUE_PUT_COUNT_MAX; i++)
        jobs[i] = a_job("me", "x");
    CHECK(q->ops->put(q, jobs, 61, put, &err) < 0 && err.code == ERR_BUSY);
    CHECK_STR(err.field, "owner");
    CHECK(q->ops->status(q, &status, &err) == 0 && status.queued == 0);
    CHECK_INT(q->ops->put(q, jobs, 60, put, &err), 0);
    jobs[0].owner_jobs_max = 61; // the next put may say another
    CHECK_INT(q->ops->put(q, jobs, 2, put, &err), -1);
    CHECK_INT(q->ops->put(q, jobs, 1, put, &err), 0);
    for (int i = 0; i < 40; i++)
        jobs[i].owner = "you";
    CHECK_INT(q->ops->put(q, jobs, 39, put, &err), 0);
    jobs[0].owner = "third";
    CHECK(q->ops->put(q, jobs, 1, put, &err) < 0 && err.code == ERR_BUSY);
    CHECK_STR(err.field, "queue");
    q->ops->close(q);

    remove_files();
    config.store_max_bytes = 8 << 20;
    config.retention_ms = 0;
    q = open_with(&config);
    memset(large, 'x', sizeof(large) - 1);
    while (count < 20 && put_one(q, "me", large, id) == QUEUE_PUT_NEW)
        count++;
    CHECK_MSG(count >= 4 && count <= 8, "the disk's limit holds: %d", count);
    CHECK_INT(err.code, ERR_BUSY);
    CHECK(take(q, &lease)[0] == 'x');
    CHECK_INT(finish(q, &lease, QUEUE_SUCCEEDED, large), 0);
    CHECK_INT(q->ops->sweep(q, &err), 0);
    CHECK_INT(state_of(q, "me", lease.id), QUEUE_STATE_COUNT);
    CHECK_INT(put_one(q, "me", "small", id), QUEUE_PUT_NEW);
    q->ops->close(q);
}

static void test_busy(void)
{
    struct queue *q = open_fresh();
    struct queue_lease lease;
    char path[64], id[QUEUE_ID_MAX];
    sqlite3 *other = NULL;

    (void)put_one(q, "me", "work", id);
    (void)snprintf(path, sizeof(path), "%s/jobs.db", dir);
    CHECK_INT(sqlite3_open(path, &other), SQLITE_OK);
    CHECK_INT(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(put_one(q, "me", "more", id), -1);
    CHECK_MSG(err.code == ERR_SYSTEM && err.sys == EBUSY, "busy: %s", err.message);
    CHECK_STR(take(q, &lease), "work");
    CHECK_INT(q->ops->begin(q, &lease, &err), -1);
    q->ops->drop(q, &lease);
    buf_release(&lease.body);
    CHECK_INT(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
    CHECK_STR(take(q, &lease), "work");
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    CHECK_INT(finish(q, &lease, QUEUE_FAILED, "r"), 0);
    CHECK_INT(put_one(q, "me", "more", id), QUEUE_PUT_NEW);
    q->ops->close(q);
}

// Takes back what came after the first version. The trigger was one without hooks' owners.
static const char as_it_was[] =
    "DROP TRIGGER job_over; DROP INDEX hooks_turns; ALTER TABLE hooks DROP COLUMN owner;"
    "CREATE TRIGGER job_over AFTER UPDATE OF state ON jobs BEGIN SELECT 1; END;"
    "CREATE INDEX jobs_ready ON jobs(priority, owner, number) WHERE state = 0;"
    "DROP TRIGGER job_put; DROP TRIGGER job_bytes; DROP TRIGGER job_removed; DROP TABLE owners;"
    "DROP INDEX jobs_turns; DROP INDEX jobs_states; ALTER TABLE jobs DROP COLUMN trace; PRAGMA "
    "user_version = 1";

static void test_version(void)
{
    struct queue *q = open_fresh();
    struct queue_config config = limits();
    struct queue_lease lease;
    struct queue_hook hook;
    char id[QUEUE_ID_MAX];

    (void)put_one(q, "me", "old", id);
    put_hook(q, "me");
    q->ops->close(q);
    change_file(as_it_was);
    CHECK_INT(queue_sqlite.open(&config, &q, &err), 0);
    CHECK_STR(take_hook(q, &hook), "me");
    CHECK_INT(put_one(q, "me", "new", id), QUEUE_PUT_NEW);
    CHECK_STR(take(q, &lease), "old");
    CHECK_INT(q->ops->begin(q, &lease, &err), 0);
    CHECK_INT(finish(q, &lease, QUEUE_SUCCEEDED, "r"), 0);
    q->ops->close(q);
    change_file("PRAGMA user_version = 99");
    CHECK(queue_sqlite.open(&config, &q, &err) < 0 && err.code == ERR_UNSUPPORTED);
}

struct crowd {
    struct queue *queue;
    atomic_int put, taken;
};

static void *put_main(void *arg)
{
    struct crowd *c = arg;
    struct queue_put put;

    for (int i = 0; i < 5; i++) {
        struct queue_job job = a_job("me", "x");

        if (c->queue->ops->put(c->queue, &job, 1, &put, NULL) == 0)
            c->put++;
    }
    return NULL;
}

static void *take_main(void *arg)
{
    struct crowd *c = arg;
    struct queue *q = c->queue;

    for (;;) {
        struct queue_outcome o = {QUEUE_SUCCEEDED, "r", 1};
        struct queue_lease lease;
        bool found = false;

        if (q->ops->take(q, &(struct queue_take){.wait_ms = 2000, .lease_ms = LEASE_MS}, &lease,
                         &found, NULL) < 0 ||
            !found)
            return NULL;
        if (q->ops->begin(q, &lease, NULL) == 0 && q->ops->finish(q, &lease, &o, NULL) == 0)
            c->taken++;
        buf_release(&lease.body);
        if (c->taken == 50)
            q->ops->wake(q);
    }
}

static void test_crowd(void)
{
    struct crowd c = {.queue = open_fresh()};
    struct queue_status status;
    pthread_t threads[14];

    for (int i = 0; i < 14; i++)
        (void)pthread_create(&threads[i], NULL, i < 10 ? put_main : take_main, &c);
    for (int i = 0; i < 14; i++)
        (void)pthread_join(threads[i], NULL);
    CHECK_INT(c.queue->ops->status(c.queue, &status, &err), 0);
    CHECK(c.put == 50 && c.taken == 50 && status.over == 50 && status.finished == 50);
    CHECK_MSG(status.commits < 150, "changes that meet are written together: %d commits of 150",
              (int)status.commits);
    c.queue->ops->close(c.queue);
}

int main(void)
{
    if (!harness_begin())
        return 1;
    test_life();
    test_idempotency();
    test_order();
    test_leases();
    test_lease_ends_meanwhile();
    test_death();
    test_cancel();
    test_cancelled_first();
    test_list();
    test_hooks();
    test_hook_outlives();
    test_limits();
    test_busy();
    test_version();
    test_crowd();
    harness_end();
    return tap_done();
}
