// SPDX-License-Identifier: Apache-2.0
//
// The contract of a durable queue of jobs. Its back ends are tables of functions; queue_sqlite
// keeps jobs in a database of its own. A back end knows nothing of programs: bodies and results are
// bytes.
//
// How a job moves, and by which function:
//
//     put ──▶ QUEUED ──take──▶ leased ──begin──▶ RUNNING ──finish──▶ SUCCEEDED, FAILED, ...
//               ▲                │ release,         │ release, or the process died and the
//               │                │ lease over,      │ job has attempts left
//               └────────────────┴─ process died ───┘
//               └─cancel──▶ CANCELLED        RUNNING ──process died──▶ MAY_HAVE_RUN
//
// - put() that returned 0 outlives the end of the process and a power cut.
// - Delivery is at least once: a job that was taken and neither begun, released nor finished within
//   its lease (the visibility timeout) is delivered again, its first lease being void.
// - begin() is written to the disk before it returns and counts an attempt. Whoever has begun a job
//   may do what cannot be undone. A job that was begun is delivered again only when it has attempts
//   left; else it ends as MAY_HAVE_RUN. With max_attempts 1 it so runs at most once.
// - finish() is the acknowledgement: once it returned the job is never delivered again.
// - A job is its owner's: others get nothing by its id.
//
// Any thread may call any function, but open and close. All block for the disk, or up to
// QUEUE_BUSY_MS while another process writes. Errors: ERR_SYSTEM (the disk; `sys` ENOSPC: it, or
// store_max_bytes, is full; EBUSY) and what is said below.
#ifndef CSB_QUEUE_QUEUE_H
#define CSB_QUEUE_QUEUE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_BUSY_MS       2000
#define QUEUE_ID_MAX        32 // bytes, the NUL among them, as all below
#define QUEUE_OWNER_MAX     64
#define QUEUE_LABEL_MAX     32
#define QUEUE_KEY_MAX       129
#define QUEUE_URL_MAX       1025
#define QUEUE_NOTE_MAX      161
#define QUEUE_DIGEST_BYTES  32
#define QUEUE_PRIORITY_MAX  9
#define QUEUE_ATTEMPTS_MAX  10
#define QUEUE_LEASES_MAX    128 // jobs taken or running at once
#define QUEUE_PUT_COUNT_MAX 100
#define QUEUE_HOOKS_MAX     8 // hooks under way at once
#define QUEUE_SHARE         3 // of room and of places: so many times what stays free
#define QUEUE_RESULT_SMALL  4096u

// Stored as numbers: new ones go to the end. All from QUEUE_SUCCEEDED on are final.
enum queue_state {
    QUEUE_QUEUED,
    QUEUE_RUNNING,
    QUEUE_SUCCEEDED,
    QUEUE_FAILED,
    QUEUE_CANCELLED,
    QUEUE_MAY_HAVE_RUN,
    QUEUE_STATE_COUNT
};

// "queued", "running", ...; NULL beyond the last.
const char *queue_state_name(enum queue_state state);

struct queue {
    const struct queue_ops *ops;
};

struct queue_config {
    int dir_fd;               // borrowed for the queue's life
    uint64_t jobs_max;        // that are not over
    uint64_t retention_ms;    // how long a job that is over is kept
    uint64_t store_max_bytes; // on disk, results among them
};

#define QUEUE_TRACE_MAX 56

// A job to be put; all is borrowed for the call.
struct queue_job {
    const char *owner;
    uint64_t owner_jobs_max; // of its owner, that are not over; a put's first job says it for all
    const char *label;       // for people; not read
    const char *idempotency_key;        // or NULL
    uint8_t digest[QUEUE_DIGEST_BYTES]; // of what the job is: tells a repeated put from another job
    uint32_t priority;                  // 0..QUEUE_PRIORITY_MAX, the owner's higher ones go first
    uint32_t max_attempts;              // 1..QUEUE_ATTEMPTS_MAX
    const void *body;
    size_t body_len;
    const char *hook_url; // told when the job is over; or NULL
    const char *trace;    // W3C traceparent of who put it, for the hook; or NULL
};

enum queue_put_kind {
    QUEUE_PUT_NEW,
    QUEUE_PUT_KNOWN, // the owner put the same under the same idempotency key before
    QUEUE_PUT_OTHER, // the owner put something else under it
};

struct queue_put {
    enum queue_put_kind kind;
    char id[QUEUE_ID_MAX];
    uint64_t created_ms; // of a new one; wall clock
};

struct queue_take {
    uint64_t wait_ms;
    uint64_t lease_ms; // until then it must be begun, released or finished
    // How many there are who take jobs, where they are to be shared: an owner who has some gets one
    // more only if he then has at most QUEUE_SHARE times as many as stay free. So whoever has none
    // finds one free, but where that many others are. 0: an owner may have all. Asked whenever jobs
    // are looked at; it may not block, or call back. NULL: 0.
    uint32_t (*places)(void *arg);
    void *places_arg;
};

// A job that was taken. `body` is the caller's.
struct queue_lease {
    uint64_t number; // the back end's
    uint64_t token;
    char id[QUEUE_ID_MAX];
    char owner[QUEUE_OWNER_MAX];
    char label[QUEUE_LABEL_MAX];
    uint32_t attempts; // begun so far
    uint32_t max_attempts;
    struct buf body;
};

struct queue_outcome {
    enum queue_state state; // a final one
    const void *result;
    size_t result_len;
};

enum queue_hook_state { QUEUE_HOOK_NONE, QUEUE_HOOK_PENDING, QUEUE_HOOK_DONE, QUEUE_HOOK_FAILED };

struct queue_record {
    uint64_t place; // in lists; not 0. It tells when the job was put, and nothing of others' jobs
    char id[QUEUE_ID_MAX];
    char label[QUEUE_LABEL_MAX];
    char idempotency_key[QUEUE_KEY_MAX]; // "" for none
    enum queue_state state;
    bool cancel_asked; // of a running one
    uint32_t priority, attempts, max_attempts;
    uint64_t created_ms, started_ms, finished_ms, expires_ms; // wall clock; 0: not yet
    char hook_url[QUEUE_URL_MAX];                             // "" for none
    enum queue_hook_state hook_state;                         // NONE until the job is over
    uint32_t hook_attempts;
    uint64_t hook_next_ms;
    char hook_note[QUEUE_NOTE_MAX]; // of the last failure
    struct buf result;              // get() only; empty until the job is over; the caller's
};

struct queue_list {
    const char *owner;
    bool any_state;
    enum queue_state state;
    uint32_t limit;  // at least 1
    uint64_t before; // the place of the last one of the page before, 0 for the first page
};

// 0 goes on, anything else stops. The record is borrowed; no function of the queue may be called.
typedef int (*queue_each_fn)(void *arg, const struct queue_record *record);

struct queue_status {
    uint64_t queued, running, over, hooks_pending;
    uint64_t store_bytes;
    // Of this process: what it found when it opened the queue, and what it did since.
    uint64_t found_queued, found_may_have_run, put, finished, commits;
};

// One delivery of one hook.
struct queue_hook {
    uint64_t number;
    char id[QUEUE_ID_MAX];
    char owner[QUEUE_OWNER_MAX];
    char url[QUEUE_URL_MAX];
    char trace[QUEUE_TRACE_MAX]; // "" for none
    uint32_t attempt;            // this one, from 1
};

struct queue_ops {
    const char *name;

    // Opens the queue, makes it when it is not there, and settles what a process that died left:
    // see above. One process at a time. ERR_UNSUPPORTED: it is of a later version.
    int (*open)(const struct queue_config *config, struct queue **ret, struct err *err);
    void (*close)(struct queue *q); // no call is under way any more; NULL allowed

    // Puts `count` (1..QUEUE_PUT_COUNT_MAX) jobs: all, or none. ERR_BUSY with `field` "queue" or
    // "owner": that limit is reached; "room": the owner has QUEUE_SHARE times the room on disk that
    // is left, and that is for others. ERR_INVALID: an idempotency key stands for another job;
    // ret[i].kind says of which, and only then is `ret` filled on failure.
    int (*put)(struct queue *q, const struct queue_job *jobs, size_t count, struct queue_put *ret,
               struct err *err);

    // The next job: owners take turns, whatever the priorities; of each the one of the highest
    // priority, oldest first. Waits up to `wait_ms` for one; *ret_found is false when there was
    // none. ERR_BUSY: QUEUE_LEASES_MAX.
    int (*take)(struct queue *q, const struct queue_take *take, struct queue_lease *ret,
                bool *ret_found, struct err *err);
    // ERR_CANCELLED: its owner cancelled it meanwhile, or the lease is over; let it go.
    int (*begin)(struct queue *q, struct queue_lease *lease, struct err *err);
    // Back to where it was, begun or not, not before `delay_ms`. One that is to be cancelled is.
    int (*release)(struct queue *q, const struct queue_lease *lease, uint64_t delay_ms,
                   struct err *err);
    // ERR_CANCELLED: the lease is over, nothing was written. ERR_BUSY: as put()'s "room"; nothing
    // was written, but a result of at most QUEUE_RESULT_SMALL would be.
    int (*finish)(struct queue *q, const struct queue_lease *lease,
                  const struct queue_outcome *outcome, struct err *err);
    // Forgets a lease without a word to the disk: for when the disk takes none.
    void (*drop)(struct queue *q, const struct queue_lease *lease);

    // A queued job is over; of a running one it is noted (record.cancel_asked), and whoever runs it
    // ends it. *ret_state is the job's state from now on. ERR_GONE: no such job of this owner.
    int (*cancel)(struct queue *q, const char *owner, const char *id, enum queue_state *ret_state,
                  struct err *err);
    // ERR_GONE as above. Free ret->result.
    int (*get)(struct queue *q, const char *owner, const char *id, struct queue_record *ret,
               struct err *err);
    // Newest first.
    int (*list)(struct queue *q, const struct queue_list *list, queue_each_fn each, void *arg,
                struct err *err);
    int (*status)(struct queue *q, struct queue_status *ret, struct err *err);

    // Removes what was kept for long enough, but what has a hook that is pending.
    int (*sweep)(struct queue *q, struct err *err);

    // The next hook that is due, owners taking turns, each one's longest due first; hidden from
    // others for `lease_ms`; the attempt is counted now. It is under way until end_hook(): at most
    // QUEUE_HOOKS_MAX are, and an owner gets one more only while more places are free than he has.
    // So however long his receivers take, there is one left for others.
    int (*take_hook)(struct queue *q, uint64_t wait_ms, uint64_t lease_ms, struct queue_hook *ret,
                     bool *ret_found, struct err *err);
    // For each hook that was taken. PENDING: again in `delay_ms`. `note` says what failed, or is
    // "".
    int (*end_hook)(struct queue *q, const struct queue_hook *hook, enum queue_hook_state state,
                    uint64_t delay_ms, const char *note, struct err *err);

    // Wakes whoever waits in take and take_hook; from now on these do not wait.
    void (*wake)(struct queue *q);
};

extern const struct queue_ops queue_sqlite;

#endif
