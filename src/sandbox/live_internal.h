// SPDX-License-Identifier: Apache-2.0
//
// What the files of live.h share.
#ifndef CSB_SANDBOX_LIVE_INTERNAL_H
#define CSB_SANDBOX_LIVE_INTERNAL_H

#include "sandbox/engine.h"
#include "sandbox/live.h"
#include "sandbox/sandbox.h"

#include <pthread.h>
#include <stdatomic.h>

#define LIVE_SLOTS     256
#define LIVE_FREEZE_MS 60000
#define LIVE_INIT_MS   10000
#define LIVE_ENV_MAX   320 // variables of one that began as a snapshot
#define LIVE_THREADS   4   // keepers; half as many bring back what they stored

// The state of a row, in words. A row of neither is lost when a service finds it.
#define LIVE_ROW_RUNNING   "running"
#define LIVE_ROW_PAUSED    "paused"
#define LIVE_ROW_RETURNING "returning"

// Name and value are one allocation each.
struct live_pairs {
    struct live_pair *list;
    size_t count;
};

struct live {
    atomic_uint refs;

    // Fixed once others see it.
    char id[LIVE_ID_LEN + 1];
    char key[LIVE_KEY_MAX];
    char template[LIVE_KEY_MAX];
    char token[LIVE_TOKEN_LEN + 1];         // "" for none
    char traffic_token[LIVE_TOKEN_LEN + 1]; // "" for none
    struct live_pairs metadata;
    struct live_pairs env;
    enum live_on_timeout on_timeout;
    uint64_t auto_resume_ms; // its time after a request woke it; 0: none does
    uint64_t started_ms;
    uint32_t cpus, memory_mib, disk_mib;
    struct sandbox *machine; // its driver's part is ended by the table's thread; NULL when paused
    struct driver_image *image; // of a paused one, where images cannot be stored; owned

    atomic_int state;    // enum live_state; written under the table's lock
    atomic_bool stopped; // the service ends, and its streams with it
    atomic_bool
        returning; // paused since a service ended, it is to run on; not for its owner to see
    // Of live_count_cpu(): the table's thread's that ends machines, before that of who makes it.
    uint64_t cpu_ns;      // what its machine had used of the processors at the last look
    uint64_t cpu_look_ns; // CLOCK_MONOTONIC; when that was
    bool cpu_unseen;      // it was not looked at, as its tenant had no limit
    // Guarded by the table's lock.
    uint64_t end_ms;        // CLOCK_REALTIME
    uint64_t end_ns;        // the same, CLOCK_MONOTONIC
    uint64_t last_ns;       // CLOCK_MONOTONIC; when its longest life ends: since made, or resumed
    bool busy;              // it is being paused or resumed: who wants to change it waits
    bool pausing;           // busy, being paused: whom it wakes for waits, too
    bool replaced;          // it ended because another of its id goes on: its row stays
    bool in_hand;           // a thread stores it, as the service ends, or brings it back
    bool has_image;         // one was found when the service started
    uint32_t failures;      // to bring it back, or to pause it when its time was over
    uint64_t retry_ns;      // CLOCK_MONOTONIC; when to try again
    struct live *next;      // of its slot
    struct live *next_dead; // of table->dead
};

struct live_threads {
    pthread_t list[LIVE_THREADS];
    size_t count;
};

// One that is being made: it counts.
struct live_pending {
    const char *key;
    struct live_pending *next;
};

struct live_table {
    struct live_config config;     // fixed
    pthread_mutex_t snapshot_lock; // held while one is made or removed; taken before `lock`
    pthread_mutex_t lock;          // guards what follows
    pthread_cond_t changed;
    pthread_cond_t due; // for the keepers: there is one to be paused, or the service ends
    struct live *slots[LIVE_SLOTS];
    struct live_pending *pending;
    struct live *dead; // ended, their machines not yet
    bool closed;       // no more are begun
    bool stopping;     // its own threads end
    struct live_status status;
    uint64_t keep_until_ns; // of those that run when the service ends; 0: no more are stored
    size_t keepers_done;    // that have nothing to store any more

    struct live_threads own;       // caller's: the one that looks and the one that ends machines
    struct live_threads keepers;   // caller's
    struct live_threads returners; // caller's
};

// 20 random characters of [a-z0-9] after `first`.
void live_make_id(char first, char ret[LIVE_ID_LEN + 1]);

// Pairs as a JSON object, and back: 0 or -1, with what was read so far to be freed. Joining moves
// those of `from` that `to` has none of the name of, to its front; -1 when memory is out.
struct buf;
void live_put_pairs(struct buf *out, const struct live_pairs *p);
int live_read_pairs(const char *text, struct live_pairs *ret);
int live_join_pairs(struct live_pairs *from, struct live_pairs *to);
void live_free_pairs(struct live_pairs *p);

// Gives `l` a machine of the image, told of its variables.
int live_bring_up(struct live_table *t, struct live *l, struct driver_image *image,
                  struct err *err);

// Gives `l` a machine of its key's snapshot of that id, and the snapshot's variables. ERR_GONE:
// there is none.
int live_thaw_snapshot(struct live_table *t, struct live *l, const char *id, struct err *err);

// Whether an image is a snapshot's; also where that cannot be found out.
bool live_snapshot_is_known(struct live_table *t, const char *id);

// What one is filled with; borrowed, none NULL.
struct live_fields {
    enum live_state state;
    const char *id, *key, *template, *token, *traffic_token;
    struct live_pairs metadata, env;
    enum live_on_timeout on_timeout;
    uint64_t auto_resume_ms, started_ms, end_ms;
    uint32_t cpus, memory_mib, disk_mib;
};

// One without a machine, with one reference, of copies. NULL when memory is out.
struct live *live_make(const struct live_fields *f);

// A new one as asked for, likewise.
struct live *live_new(const struct live_table *t, const struct live_spec *spec);

// Writes its row and makes it known; takes over the reference then. `p` is out of the list in
// either case. Errors as live_remember(); ERR_CANCELLED: the service ends.
int live_insert(struct live_table *t, struct live *l, struct live_pending *p, struct err *err);

// Counts one more against the limits, until live_insert() or live_withdraw(). ERR_BUSY with the
// limit's name.
int live_admit(struct live_table *t, struct live_pending *p, struct err *err);
void live_withdraw(struct live_table *t, struct live_pending *p);

// Another without a machine that is the same to its owner, but for its time; paused. NULL when
// memory is out.
struct live *live_copy(const struct live *l);

// Gives a copy an id and tokens of its own. -1 when memory is out.
int live_rename(struct live *l);

// Writes its row to the store; the other one, in another state than it is in.
int live_remember(struct live_table *t, const struct live *l, struct err *err);
int live_remember_as(struct live_table *t, const struct live *l, const char *state,
                     struct err *err);

// Puts `next` in the place of `l`, which ends. Takes over the reference to `next`. Under the lock.
void live_replace(struct live_table *t, struct live *l, struct live *next);

// The one in the table that has the id of `l`, or NULL. Under the lock; no reference.
struct live *live_current(struct live_table *t, const struct live *l);

// The one that may be changed by the caller alone, until live_let_go() or live_replace(), with a
// reference: waits while another changes it. NULL when it ended. live_seize_running() brings one
// back that is to return; it fails with ERR_GONE, with ERR_INVALID for one that is paused, or as
// live_resume().
struct live *live_seize(struct live_table *t, struct live *l);
void live_seize_to_pause(struct live *l); // one that nobody has; under the lock
int live_seize_running(struct live_table *t, struct live *l, struct live **ret, struct err *err);
void live_let_go(struct live_table *t, struct live *l);

// As live_pause(), of one that runs or is to return and that the caller seized, which it lets go.
// `returning`: the next service is to resume it.
int live_pause_seized(struct live_table *t, struct live *now, bool returning, uint64_t deadline_ns,
                      struct err *err);

// An image of one that runs and that the caller seized; `leave_paused` as the driver's snapshot().
// One that cannot go on after a failure has ended, which is ERR_GONE.
int live_freeze(struct live_table *t, struct live *l, bool leave_paused, uint64_t deadline_ns,
                struct driver_image **ret, struct err *err);

// One that was to return, and that the caller seized, is paused from now on, for this service and
// the next; or neither, when the row cannot be written.
int live_stay_paused(struct live_table *t, struct live *l, struct err *err);

// Such a one could not be resumed, seized likewise: it is tried again, or stays paused.
void live_note_failure(struct live_table *t, struct live *l, const struct err *why);

// Takes one out of the table, whose machine and row the table's thread ends. Under the lock.
void live_end(struct live_table *t, struct live *l);

// Counts against its tenant what it used of the processors since the last time; where that cannot
// be told any more, all the time that passed. For one that is not in the table yet, or whose
// machine cannot be ended meanwhile. Blocks as the driver's usage(): with no lock held.
void live_count_cpu(struct live_table *t, struct live *l);

// Whether the tenant may use the processors for more than what already runs. ERR_BUSY naming the
// limit.
int live_check_cpu(struct live_table *t, const char *key, struct err *err);

// Whether images outlive the service.
bool live_stores_images(const struct live_table *t);

// Whether its time is over and it is to be paused, and nobody is at it. Under the lock.
bool live_is_due(const struct live *l, uint64_t now_ns);

// Starts the threads that pause those, and that store what runs as the service ends.
int live_keepers_start(struct live_table *t, struct err *err);

// Threads: starts as many as can be had, at most `count`, and waits for all of them.
void live_threads_start(struct live_threads *threads, size_t count, void *(*fn)(void *),
                        struct live_table *t);
void live_threads_join(struct live_threads *threads);

// Makes one known that was before this service. Takes over the reference.
void live_add(struct live_table *t, struct live *l);

// Removes what a paused one is kept in; its row, which is on disk, must not tell of it any more.
void live_drop_image(struct live_table *t, struct live *l);

// Makes the paused ones of a former run known again, and those that are to return, and forgets the
// others.
int live_recover(struct live_table *t, struct err *err);

// Begins to bring back those that are to return, once the engine is ready.
void live_begin_return(struct live_table *t);

// Its time ends `ms` from now, or after the longest life there is, which begins with the first
// call. Under the table's lock, or before it is known.
void live_put_end(const struct live_table *t, struct live *l, uint64_t ms);

// What is told of its machine: all have the template's.
void live_put_shape(const struct live_table *t, struct live_fields *f);

#endif
