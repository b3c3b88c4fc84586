// SPDX-License-Identifier: Apache-2.0
//
// What the files of the embedded queue share.
#ifndef CSB_QUEUE_SQLITE_INTERNAL_H
#define CSB_QUEUE_SQLITE_INTERNAL_H

#include "queue/queue.h"
#include "sql/sql.h"

#include <pthread.h>
#include <stdatomic.h>

#define SQ_PAGE_BYTES 4096u // SQLite's default

struct sq_lease {
    uint64_t number; // 0: the place is free
    uint64_t token;
    uint64_t until_ns; // CLOCK_NEVER once begun
    char owner[QUEUE_OWNER_MAX];
};

// A hook that is under way.
struct sq_hook {
    uint64_t number; // 0: the place is free
    char owner[QUEUE_OWNER_MAX];
};

struct sq_write;

struct sq {
    struct queue queue; // first
    struct queue_config config;

    pthread_mutex_t write_lock; // guards what follows; not the writing connection: see sq_commit()
    pthread_cond_t written;
    struct sq_write *pending;
    struct sq_write **pending_end;
    bool leading;
    sqlite3 *writer; // of the thread that leads

    pthread_mutex_t read_lock;
    sqlite3 *reader;

    pthread_mutex_t lease_lock; // taken before read_lock
    struct sq_lease leases[QUEUE_LEASES_MAX];
    uint64_t last_token;
    char last_owner[QUEUE_OWNER_MAX]; // whose turn it was

    pthread_mutex_t hook_lock; // taken after read_lock
    struct sq_hook hooks[QUEUE_HOOKS_MAX];
    char last_hook_owner[QUEUE_OWNER_MAX]; // whose turn it was

    pthread_mutex_t wait_lock;
    pthread_cond_t changed;
    uint64_t changes;
    atomic_bool awake; // nobody waits any more

    atomic_uint_fast64_t clock_ms; // sq_now_ms() less CLOCK_MONOTONIC; written by who leads

    uint64_t found_queued, found_may_have_run; // fixed after open
    atomic_uint_fast64_t put, finished, commits;
};

// One change of the database. `apply` runs on any thread, within a transaction of which it is one
// part: on failure its part, and only that, is undone.
typedef int (*sq_apply_fn)(struct sq *q, void *arg, struct err *err);

// Applies the change and waits until the disk has it.
int sq_commit(struct sq *q, sq_apply_fn apply, void *arg, struct err *err);

// Waits until something changed since `seen` (of sq_changes()), or the deadline.
void sq_wait(struct sq *q, uint64_t seen, uint64_t deadline_ns);
uint64_t sq_changes(struct sq *q);
void sq_tell(struct sq *q);

// The wall clock as the queue takes it: it runs evenly whatever the system's clock does, which it
// follows with the next write that succeeds (sqlite.c). All times in the database are of it.
uint64_t sq_now_ms(const struct sq *q);

int sq_put(struct queue *queue, const struct queue_job *jobs, size_t count, struct queue_put *ret,
           struct err *err);
int sq_take(struct queue *queue, const struct queue_take *take, struct queue_lease *ret,
            bool *ret_found, struct err *err);
int sq_begin(struct queue *queue, struct queue_lease *lease, struct err *err);
int sq_release(struct queue *queue, const struct queue_lease *lease, uint64_t delay_ms,
               struct err *err);
int sq_finish(struct queue *queue, const struct queue_lease *lease,
              const struct queue_outcome *outcome, struct err *err);
void sq_drop(struct queue *queue, const struct queue_lease *lease);
int sq_cancel(struct queue *queue, const char *owner, const char *id, enum queue_state *ret_state,
              struct err *err);

int sq_get(struct queue *queue, const char *owner, const char *id, struct queue_record *ret,
           struct err *err);
int sq_list(struct queue *queue, const struct queue_list *list, queue_each_fn each, void *arg,
            struct err *err);
int sq_status(struct queue *queue, struct queue_status *ret, struct err *err);

int sq_sweep(struct queue *queue, struct err *err);
int sq_take_hook(struct queue *queue, uint64_t wait_ms, uint64_t lease_ms, struct queue_hook *ret,
                 bool *ret_found, struct err *err);
int sq_end_hook(struct queue *queue, const struct queue_hook *hook, enum queue_hook_state state,
                uint64_t delay_ms, const char *note, struct err *err);

#endif
