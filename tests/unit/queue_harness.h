// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the embedded queue share: a queue in a directory of its own, and calls that
// check what they do.
#ifndef CSB_TESTS_QUEUE_HARNESS_H
#define CSB_TESTS_QUEUE_HARNESS_H

#include "queue/queue.h"
#include "tap.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

// A test may leave some of it unused.
#define HARNESS  __attribute__((unused)) static

#define LEASE_MS 60000

static char dir[] = "/tmp/csb-queue-XXXXXX";
static int dir_fd = -1;
static struct err err;

HARNESS struct queue_config limits(void)
{
    return (struct queue_config){
        .dir_fd = dir_fd, .jobs_max = 100, .retention_ms = 3600000, .store_max_bytes = 64 << 20};
}

HARNESS struct queue *open_with(const struct queue_config *config)
{
    struct queue *q = NULL;

    err = (struct err)ERR_INIT;
    if (!CHECK(queue_sqlite.open(config, &q, &err) == 0))
        printf("# %s\n", err.message);
    return q;
}

HARNESS void remove_files(void)
{
    (void)unlinkat(dir_fd, "jobs.db", 0);
    (void)unlinkat(dir_fd, "jobs.db-wal", 0);
    (void)unlinkat(dir_fd, "jobs.db-shm", 0);
}

HARNESS struct queue *open_fresh(void)
{
    struct queue_config config = limits();

    remove_files();
    return open_with(&config);
}

// To the closed queue's file.
HARNESS void change_file(const char *sql)
{
    char path[64];
    sqlite3 *other = NULL;

    (void)snprintf(path, sizeof(path), "%s/jobs.db", dir);
    CHECK_INT(sqlite3_open(path, &other), SQLITE_OK);
    CHECK_INT(sqlite3_exec(other, sql, NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
}

HARNESS struct queue *reopen(struct queue *q)
{
    struct queue_config config = limits();

    q->ops->close(q);
    return open_with(&config);
}

HARNESS struct queue_job a_job(const char *owner, const char *body)
{
    return (struct queue_job){.owner = owner,
                              .owner_jobs_max = 60,
                              .label = "python",
                              .priority = 5,
                              .max_attempts = 1,
                              .body = body,
                              .body_len = strlen(body)};
}

HARNESS int put_job(struct queue *q, const struct queue_job *job, char id[QUEUE_ID_MAX])
{
    struct queue_put put = {0};
    int r = q->ops->put(q, job, 1, &put, &err);

    if (id != NULL)
        memcpy(id, put.id, QUEUE_ID_MAX);
    return r == 0 ? (int)put.kind : -1;
}

HARNESS int put_one(struct queue *q, const char *owner, const char *body, char id[QUEUE_ID_MAX])
{
    struct queue_job job = a_job(owner, body);

    return put_job(q, &job, id);
}

// The body of the next job, "" for none; the lease is kept in *ret.
HARNESS const char *take(struct queue *q, struct queue_lease *ret)
{
    bool found = false;
    const char *text;

    if (q->ops->take(q, &(struct queue_take){.wait_ms = 0, .lease_ms = LEASE_MS}, ret, &found,
                     &err) < 0) {
        printf("# %s\n", err.message);
        return "failed";
    }
    text = found ? buf_cstr(&ret->body) : "";
    return text == NULL ? "no memory" : text;
}

HARNESS enum queue_state state_of(struct queue *q, const char *owner, const char *id)
{
    struct queue_record r;

    if (q->ops->get(q, owner, id, &r, &err) < 0)
        return QUEUE_STATE_COUNT;
    buf_release(&r.result);
    return r.state;
}

HARNESS int finish(struct queue *q, struct queue_lease *lease, enum queue_state state,
                   const char *result)
{
    struct queue_outcome o = {state, result, strlen(result)};
    int r = q->ops->finish(q, lease, &o, &err);

    buf_release(&lease->body);
    return r;
}

// A job of the owner's that is over and has a hook.
HARNESS void put_hook(struct queue *q, const char *owner)
{
    struct queue_job job = a_job(owner, "work");
    char id[QUEUE_ID_MAX];
    enum queue_state state;

    job.hook_url = "http://example.org/hook";
    CHECK_INT(put_job(q, &job, id), QUEUE_PUT_NEW);
    CHECK_INT(q->ops->cancel(q, owner, id, &state, &err), 0);
}

// Whose hook is next, "" for none.
HARNESS const char *take_hook(struct queue *q, struct queue_hook *ret)
{
    bool found = false;

    CHECK_INT(q->ops->take_hook(q, 0, LEASE_MS, ret, &found, &err), 0);
    return found ? ret->owner : "";
}

// The directory; false where there is none. harness_end() removes it.
HARNESS bool harness_begin(void)
{
    if (mkdtemp(dir) == NULL)
        return false;
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir_fd >= 0;
}

HARNESS void harness_end(void)
{
    remove_files();
    (void)close(dir_fd);
    (void)rmdir(dir);
}

#endif
