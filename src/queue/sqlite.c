// SPDX-License-Identifier: Apache-2.0
//
// How it works: one database in write-ahead mode with a connection that writes and one that reads.
//
// Every change is waited for until the disk has it (synchronous = FULL), and that is most of what
// it costs. So changes that come while one is being written are written together (sq_commit):
// whoever finds nobody writing leads, takes all that wait, and makes of each a part of one
// transaction. With one client nothing is delayed; with many the disk is synced once for all of
// them.
//
// Times in the database are of the wall clock, since the next process is to understand them, but of
// one that nobody sets (sq_now_ms): a clock that jumps neither makes a wait end nor makes it
// longer.
//
// Leases are in memory alone: a process that died holds none. What was begun is in the database, so
// the next process knows which jobs may have run (recover).
//
// Jobs that are over tell their hooks by a trigger: no way to end a job can forget it.
#include "base/clock.h"
#include "queue/sqlite_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_FILE       "jobs.db"
#define HOOK_WAIT_MAX_MS 4000000 // an hour, and some
// Less is a clock that is being corrected, not set.
#define CLOCK_STEP_MIN_MS 1000

// What a job counts for of its owner's bytes. Part of the schema: never changed.
#define ROW_BYTES "512 + ifnull(length(body), 0) + ifnull(length(result), 0)"

// What brings a queue from each version to the next. Only appended to.
static const char *const steps[] = {
    "CREATE TABLE jobs("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,"
    " label TEXT NOT NULL, idempotency_key TEXT, digest BLOB NOT NULL, priority INTEGER NOT NULL,"
    " state INTEGER NOT NULL DEFAULT 0, cancel INTEGER NOT NULL DEFAULT 0,"
    " attempts INTEGER NOT NULL DEFAULT 0, max_attempts INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, not_before_ms INTEGER NOT NULL DEFAULT 0,"
    " started_ms INTEGER NOT NULL DEFAULT 0, finished_ms INTEGER NOT NULL DEFAULT 0,"
    " expires_ms INTEGER NOT NULL DEFAULT 0, hook_url TEXT, body BLOB, result BLOB) STRICT;"
    "CREATE UNIQUE INDEX jobs_key ON jobs(owner, idempotency_key)"
    " WHERE idempotency_key IS NOT NULL;"
    "CREATE INDEX jobs_ready ON jobs(priority, owner, number) WHERE state = 0;"
    "CREATE INDEX jobs_open ON jobs(owner) WHERE state <= 1;"
    "CREATE INDEX jobs_owner ON jobs(owner, number);"
    "CREATE INDEX jobs_over ON jobs(expires_ms) WHERE state > 1;"
    "CREATE TABLE hooks("
    " number INTEGER PRIMARY KEY REFERENCES jobs(number), state INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0, next_ms INTEGER NOT NULL,"
    " note TEXT NOT NULL DEFAULT '') STRICT;"
    "CREATE INDEX hooks_due ON hooks(next_ms) WHERE state = 1;"
    "CREATE TRIGGER job_over AFTER UPDATE OF state ON jobs"
    " WHEN NEW.state > 1 AND OLD.state <= 1 AND NEW.hook_url IS NOT NULL BEGIN"
    " INSERT OR IGNORE INTO hooks(number, state, next_ms) VALUES(NEW.number, 1, NEW.finished_ms);"
    " END;",
    "ALTER TABLE jobs ADD COLUMN trace TEXT;",
    "ALTER TABLE hooks ADD COLUMN owner TEXT NOT NULL DEFAULT '';"
    "UPDATE hooks SET owner ="
    " coalesce((SELECT owner FROM jobs WHERE jobs.number = hooks.number), '');"
    "CREATE INDEX hooks_turns ON hooks(owner, next_ms) WHERE state = 1;"
    "DROP TRIGGER job_over;"
    "CREATE TRIGGER job_over AFTER UPDATE OF state ON jobs"
    " WHEN NEW.state > 1 AND OLD.state <= 1 AND NEW.hook_url IS NOT NULL BEGIN"
    " INSERT OR IGNORE INTO hooks(number, owner, state, next_ms)"
    " VALUES(NEW.number, NEW.owner, 1, NEW.finished_ms);"
    " END;",
    "CREATE INDEX jobs_turns ON jobs(owner, priority DESC, number) WHERE state = 0;"
    "DROP INDEX jobs_ready;",
    "CREATE INDEX jobs_states ON jobs(owner, state, number);",
    "CREATE TABLE owners(owner TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "INSERT INTO owners SELECT owner, sum(" ROW_BYTES ") FROM jobs GROUP BY owner;"
    "CREATE TRIGGER job_put AFTER INSERT ON jobs BEGIN"
    " INSERT INTO owners SELECT NEW.owner, " ROW_BYTES " FROM jobs WHERE number = NEW.number"
    " ON CONFLICT(owner) DO UPDATE SET bytes = bytes + excluded.bytes; END;"
    "CREATE TRIGGER job_bytes AFTER UPDATE OF body, result ON jobs BEGIN"
    " UPDATE owners SET bytes = bytes"
    " + ifnull(length(NEW.body), 0) + ifnull(length(NEW.result), 0)"
    " - ifnull(length(OLD.body), 0) - ifnull(length(OLD.result), 0) WHERE owner = NEW.owner; END;"
    "CREATE TRIGGER job_removed BEFORE DELETE ON jobs BEGIN"
    " UPDATE owners SET bytes = bytes - (SELECT " ROW_BYTES " FROM jobs WHERE number = OLD.number)"
    " WHERE owner = OLD.owner; DELETE FROM owners WHERE owner = OLD.owner AND bytes <= 0; END;",
};
static_assert(QUEUE_QUEUED == 0 && QUEUE_RUNNING == 1 && QUEUE_SUCCEEDED == 2 &&
                  QUEUE_HOOK_PENDING == 1,
              "the numbers of the schema");

static const char *const names[QUEUE_STATE_COUNT] = {
    [QUEUE_QUEUED] = "queued",       [QUEUE_RUNNING] = "running",
    [QUEUE_SUCCEEDED] = "succeeded", [QUEUE_FAILED] = "failed",
    [QUEUE_CANCELLED] = "cancelled", [QUEUE_MAY_HAVE_RUN] = "may_have_run",
};

const char *queue_state_name(enum queue_state state)
{
    return (unsigned)state < QUEUE_STATE_COUNT ? names[state] : NULL;
}

// The clock.

// What the system's clocks say sq_now_ms() should add. Unsigned: it may wrap, and back again.
static uint64_t system_clock_ms(void)
{
    return clock_real_ns() / NS_PER_MS - clock_mono_ns() / NS_PER_MS;
}

uint64_t sq_now_ms(const struct sq *q)
{
    return clock_mono_ns() / NS_PER_MS + q->clock_ms;
}

// Moves a time in all rows where there is one to wait for.
static int move(struct sq *q, const char *text, uint64_t forwards, uint64_t backwards,
                struct err *err)
{
    struct sql_statement st = sql_begin(q->writer, text);

    sql_bind_u64(&st, forwards);
    sql_bind_u64(&st, backwards);
    return sql_end(&st, NULL, err);
}

// Follows a system clock that was set: what is waited for moves with it, so that every wait is as
// long as it was. Part of a transaction; on its failure the caller puts clock_ms back.
static int follow_clock(struct sq *q, struct err *err)
{
    static const char *const texts[] = {
        "UPDATE jobs SET not_before_ms = max(not_before_ms + ?1 - ?2, 1)"
        " WHERE state = 0 AND not_before_ms > 0",
        "UPDATE jobs SET expires_ms = max(expires_ms + ?1 - ?2, 1) WHERE state > 1",
        "UPDATE hooks SET next_ms = max(next_ms + ?1 - ?2, 1) WHERE state = 1",
    };
    uint64_t now = system_clock_ms();
    uint64_t by = now - q->clock_ms;
    uint64_t back = 0 - by;
    bool backwards = by > UINT64_MAX / 2;

    if ((backwards ? back : by) < CLOCK_STEP_MIN_MS)
        return 0;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (move(q, texts[i], backwards ? 0 : by, backwards ? back : 0, err) < 0)
            return -1;
    q->clock_ms = now;
    return 0;
}

// Waiting.

uint64_t sq_changes(struct sq *q)
{
    uint64_t n;

    (void)pthread_mutex_lock(&q->wait_lock);
    n = q->changes;
    (void)pthread_mutex_unlock(&q->wait_lock);
    return n;
}

void sq_wait(struct sq *q, uint64_t seen, uint64_t deadline_ns)
{
    struct timespec until = clock_to_timespec(deadline_ns);
    int r = 0;

    (void)pthread_mutex_lock(&q->wait_lock);
    while (!q->awake && q->changes == seen && r == 0)
        r = pthread_cond_timedwait(&q->changed, &q->wait_lock, &until);
    (void)pthread_mutex_unlock(&q->wait_lock);
}

void sq_tell(struct sq *q)
{
    (void)pthread_mutex_lock(&q->wait_lock);
    q->changes++;
    (void)pthread_cond_broadcast(&q->changed);
    (void)pthread_mutex_unlock(&q->wait_lock);
}

static void wake(struct queue *queue)
{
    struct sq *q = (struct sq *)queue;

    (void)pthread_mutex_lock(&q->wait_lock);
    q->awake = true;
    (void)pthread_cond_broadcast(&q->changed);
    (void)pthread_mutex_unlock(&q->wait_lock);
}

// Writing together.

struct sq_write {
    sq_apply_fn apply;
    void *arg;
    int rc;
    struct err err;
    bool done;
    struct sq_write *next;
};

static void fail_all(struct sq_write *list, const struct err *err)
{
    for (struct sq_write *w = list; w != NULL; w = w->next) {
        w->rc = -1;
        w->err = *err;
    }
}

// A part of the transaction. -1 when the transaction itself is broken.
static int apply_one(struct sq *q, struct sq_write *w, struct err *err)
{
    if (sql_run(q->writer, "SAVEPOINT part", err) < 0)
        return -1;
    w->rc = w->apply(q, w->arg, &w->err);
    if (sqlite3_get_autocommit(q->writer) != 0) { // the failure undid all of it
        *err = w->err;
        return -1;
    }
    if (w->rc < 0 && sql_run(q->writer, "ROLLBACK TO part", err) < 0)
        return -1;
    return sql_run(q->writer, "RELEASE part", err);
}

static void write_all(struct sq *q, struct sq_write *list)
{
    struct err err = ERR_INIT;
    uint64_t clock_ms = q->clock_ms;
    bool good = sql_run(q->writer, "BEGIN IMMEDIATE", &err) == 0 && follow_clock(q, &err) == 0;

    for (struct sq_write *w = list; w != NULL && good; w = w->next)
        good = apply_one(q, w, &err) == 0;
    if (good)
        good = sql_run(q->writer, "COMMIT", &err) == 0;
    if (good) {
        atomic_fetch_add(&q->commits, 1);
        return;
    }
    if (sqlite3_get_autocommit(q->writer) == 0)
        (void)sqlite3_exec(q->writer, "ROLLBACK", NULL, NULL, NULL);
    q->clock_ms = clock_ms;
    fail_all(list, &err);
}

int sq_commit(struct sq *q, sq_apply_fn apply, void *arg, struct err *err)
{
    struct sq_write w = {.apply = apply, .arg = arg, .err = ERR_INIT};

    (void)pthread_mutex_lock(&q->write_lock);
    *q->pending_end = &w;
    q->pending_end = &w.next;
    while (!w.done && q->leading)
        (void)pthread_cond_wait(&q->written, &q->write_lock);
    if (!w.done) {
        struct sq_write *list = q->pending;

        q->leading = true;
        q->pending = NULL;
        q->pending_end = &q->pending;
        (void)pthread_mutex_unlock(&q->write_lock);
        write_all(q, list);
        (void)pthread_mutex_lock(&q->write_lock);
        while (list != NULL) {
            struct sq_write *next = list->next; // its owner may be gone once it is done

            list->done = true;
            list = next;
        }
        q->leading = false;
        (void)pthread_cond_broadcast(&q->written);
    }
    (void)pthread_mutex_unlock(&q->write_lock);
    if (w.rc < 0 && err != NULL)
        *err = w.err;
    return w.rc;
}

// Opening.

static int settle(struct sq *q, const char *text, enum queue_state state, int *ret_changed,
                  struct err *err)
{
    struct sql_statement st = sql_begin(q->writer, text);

    sql_bind_u64(&st, (uint64_t)state);
    sql_bind_u64(&st, sq_now_ms(q));
    sql_bind_u64(&st, sq_now_ms(q) + q->config.retention_ms);
    return sql_end(&st, ret_changed, err);
}

// No hook waits longer than its longest wait, whatever the clock was.
static int soon(struct sq *q, struct err *err)
{
    struct sql_statement st =
        sql_begin(q->writer, "UPDATE hooks SET next_ms = ?1 WHERE state = 1 AND next_ms > ?1");

    sql_bind_u64(&st, sq_now_ms(q) + HOOK_WAIT_MAX_MS);
    return sql_end(&st, NULL, err);
}

// What the last process left begun and not over. Waits that a clock may have made endless end.
static int recover(struct sq *q, void *arg, struct err *err)
{
    int found = 0;
    struct sql_statement st;

    (void)arg;
    if (settle(q,
               "UPDATE jobs SET state = ?1, finished_ms = ?2, expires_ms = ?3, body = NULL"
               " WHERE state = 1 AND cancel = 1",
               QUEUE_CANCELLED, NULL, err) < 0 ||
        settle(q,
               "UPDATE jobs SET state = ?1, finished_ms = ?2, expires_ms = ?3, body = NULL"
               " WHERE state = 1 AND attempts >= max_attempts",
               QUEUE_MAY_HAVE_RUN, &found, err) < 0 ||
        sql_run(q->writer, "UPDATE jobs SET state = 0 WHERE state = 1", err) < 0 ||
        sql_run(q->writer,
                "UPDATE jobs SET not_before_ms = 0 WHERE state = 0 AND not_before_ms > 0",
                err) < 0 ||
        soon(q, err) < 0)
        return -1;
    q->found_may_have_run = (uint64_t)found;
    st = sql_begin(q->writer, "SELECT count(*) FROM jobs WHERE state = 0");
    q->found_queued = sql_step(&st) ? sql_u64(&st, 0) : 0;
    return sql_end(&st, NULL, err);
}

static int open_database(struct sq *q, struct err *err)
{
    char limit[64];

    (void)snprintf(limit, sizeof(limit), "PRAGMA max_page_count = %" PRIu64,
                   q->config.store_max_bytes / SQ_PAGE_BYTES);
    if (sql_open(q->config.dir_fd, QUEUE_FILE, QUEUE_BUSY_MS, &q->writer, err) < 0 ||
        sql_run(q->writer, "PRAGMA synchronous = FULL", err) < 0 ||
        sql_run(q->writer, "PRAGMA secure_delete = FAST", err) < 0 ||
        sql_upgrade(q->writer, steps, sizeof(steps) / sizeof(steps[0]), err) < 0 ||
        sql_run(q->writer, limit, err) < 0 || sq_commit(q, recover, NULL, err) < 0 ||
        sql_open(q->config.dir_fd, QUEUE_FILE, QUEUE_BUSY_MS, &q->reader, err) < 0)
        return -1;
    return sql_run(q->reader, "PRAGMA query_only = ON", err);
}

static void sq_close(struct queue *queue)
{
    struct sq *q = (struct sq *)queue;

    if (q == NULL)
        return;
    sql_close(q->reader);
    sql_close(q->writer);
    (void)pthread_cond_destroy(&q->changed);
    (void)pthread_cond_destroy(&q->written);
    (void)pthread_mutex_destroy(&q->wait_lock);
    (void)pthread_mutex_destroy(&q->hook_lock);
    (void)pthread_mutex_destroy(&q->lease_lock);
    (void)pthread_mutex_destroy(&q->read_lock);
    (void)pthread_mutex_destroy(&q->write_lock);
    free(q);
}

static int sq_open(const struct queue_config *config, struct queue **ret, struct err *err)
{
    struct sq *q = calloc(1, sizeof(*q));

    if (q == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    q->queue.ops = &queue_sqlite;
    q->config = *config;
    q->clock_ms = system_clock_ms();
    q->pending_end = &q->pending;
    (void)pthread_mutex_init(&q->write_lock, NULL);
    (void)pthread_mutex_init(&q->read_lock, NULL);
    (void)pthread_mutex_init(&q->lease_lock, NULL);
    (void)pthread_mutex_init(&q->hook_lock, NULL);
    (void)pthread_mutex_init(&q->wait_lock, NULL);
    (void)pthread_cond_init(&q->written, NULL);
    clock_cond_init(&q->changed);
    if (open_database(q, err) < 0) {
        (void)err_wrap(err, "the queue of jobs");
        sq_close(&q->queue);
        return -1;
    }
    *ret = &q->queue;
    return 0;
}

const struct queue_ops queue_sqlite = {
    .name = "sqlite",
    .open = sq_open,
    .close = sq_close,
    .put = sq_put,
    .take = sq_take,
    .begin = sq_begin,
    .release = sq_release,
    .finish = sq_finish,
    .drop = sq_drop,
    .cancel = sq_cancel,
    .get = sq_get,
    .list = sq_list,
    .status = sq_status,
    .sweep = sq_sweep,
    .take_hook = sq_take_hook,
    .end_hook = sq_end_hook,
    .wake = wake,
};
