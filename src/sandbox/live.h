// SPDX-License-Identifier: Apache-2.0
//
// The sandboxes that clients own: made from a template, found by id, ended by their owner or when
// their time is over. How it works is told in live.c.
//
// A `struct live` is one running (or paused) sandbox, held by counted references. What it is
// connected to never changes: a sandbox that is resumed is a new `struct live` under the same id.
// Any thread may call any function; only those that say so block.
#ifndef CSB_SANDBOX_LIVE_H
#define CSB_SANDBOX_LIVE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;
struct engine;
struct live;
struct live_table;
struct store;
struct tenant_table;

#define LIVE_ID_LEN    21 // 'i' and 20 of [a-z0-9]
#define LIVE_TOKEN_LEN 40 // of an access token: lower-case hex digits
#define LIVE_KEY_MAX   64 // bytes of a key's id, its NUL among them

// Finding one.

// A reference to the sandbox of that id, or NULL when there is none. Give it back.
struct live *live_find(struct live_table *t, const char *id);

// Gives a reference back; with the last one of an ended sandbox its channel is closed. NULL is
// allowed.
void live_unref(struct live *l);

// One more reference to the same; returns `l`.
struct live *live_ref(struct live *l);

// The channel to its agent, valid as long as a reference is held; NULL when it does not run. When
// it is killed meanwhile the session is shut: streams end with ERR_GONE.
struct channel *live_channel(struct live *l);

// All three are borrowed from the reference and never change. live_token() is what X-Access-Token
// must be, NULL when none is needed. live_traffic_token() is what e2b-traffic-access-token must be
// on ports other than the agent's, NULL when none is needed.
const char *live_id(const struct live *l);
const char *live_token(const struct live *l);
const char *live_traffic_token(const struct live *l);

// A reference to the first sandbox for which `matches` says true, or NULL. `matches` is called
// under the table's lock: it computes, and neither blocks nor calls back into this module. Paused
// sandboxes that requests do not wake and those without a token are not asked.
typedef bool (*live_match_fn)(void *arg, const char *id, const char *token);
struct live *live_match_signature(struct live_table *t, live_match_fn matches, void *arg);

// Owning one.

enum live_state { LIVE_RUNNING, LIVE_PAUSED, LIVE_ENDED };
enum live_on_timeout { LIVE_KILL, LIVE_PAUSE };

struct live_pair {
    const char *name;
    const char *value;
};

// All of it is borrowed for the call.
struct live_spec {
    const char *key;      // id of the key that owns it; "" where there are no keys
    const char *template; // its public name: "base", or a snapshot's reference
    const char *snapshot; // id of the key's snapshot that it begins as, or NULL
    const struct live_pair *metadata;
    size_t metadata_count;
    const struct live_pair *env; // of all its processes
    size_t env_count;
    uint64_t timeout_ms; // its life, at most live_config.life_max_ms
    enum live_on_timeout on_timeout;
    bool auto_resume;        // requests to it wake it while it is paused
    bool secure;             // it gets an access token
    bool private_traffic;    // it gets a traffic token
    bool (*gone)(void *arg); // polled every 250 ms while waiting for a machine; may be NULL
    void *gone_arg;
};

// What is told of one. Strings are borrowed from the reference.
struct live_info {
    const char *id;
    const char *key;
    const char *template;
    const struct live_pair *metadata;
    size_t metadata_count;
    enum live_state state;
    enum live_on_timeout on_timeout;
    bool auto_resume;
    uint64_t started_ms; // since the epoch, as all of CLOCK_REALTIME
    uint64_t end_ms;
    uint32_t cpus;
    uint32_t memory_mib;
    uint32_t disk_mib;
};

// What is told of one that is made now.
void live_shape(const struct live_table *t, uint32_t *ret_cpus, uint32_t *ret_memory_mib,
                uint32_t *ret_disk_mib);

struct live_config {
    struct engine *engine;        // borrowed; outlives the table
    struct store *store;          // borrowed; outlives the table
    uint32_t max;                 // SANDBOX_MAX
    struct tenant_table *tenants; // borrowed; says how many each may have, and counts their use
    uint64_t life_max_ms;         // SANDBOX_MAX_LIFE, from creation
    uint32_t snapshots_per_key;   // SNAPSHOT_MAX_PER_KEY
    uint64_t snapshot_bytes;      // SNAPSHOT_MAX_BYTES: on disk, of all together
    uint32_t cpus;                // told of each
    uint32_t memory_mib;
};

// Starts the threads. Of what the store holds of a former run paused ones are there again, and
// those that live_table_stop() stored: they are resumed by the first request to them, or in the
// background once the engine is ready, and are told to be running until then. One that cannot be
// resumed stays paused. The others are gone, as is one without its image: they are removed and
// logged.
int live_table_new(const struct live_config *config, struct live_table **ret, struct err *err);

// Begins no more, and has those that run stored for the next service, with what is left of their
// time, where the driver can; ends the others. Who streams through one is to end that now, which
// live_was_stopped() tells; machines go as soon as they are stored. Storing goes on in the
// background for at most `keep_ms` (0: none is stored), or until live_table_cut(); what is not
// stored by then ends. live_table_wait() is true when it is done, which it waits for until the
// deadline. Once.
void live_table_stop(struct live_table *t, uint64_t keep_ms);
void live_table_cut(struct live_table *t);
bool live_table_wait(struct live_table *t, uint64_t deadline_ns);
bool live_was_stopped(const struct live *l);

// live_table_cut(), and ends every sandbox that runs; references may be held on. Before
// engine_free(). NULL is allowed.
void live_table_free(struct live_table *t);

// Takes a ready machine, makes it a sandbox and returns it with a reference. Blocks until then, at
// most as long as a run waits. Errors: ERR_BUSY (limits, no machine came in time; `field` is "" or
// the limit's setting: TENANT_CPU_SECONDS_PER_HOUR among them, as live_cpu_wait_ms()),
// ERR_UNSUPPORTED (this isolation, auto-pause), ERR_CANCELLED, ERR_GONE, ERR_PROTOCOL, ERR_TIMEOUT,
// ERR_SYSTEM.
int live_create(struct live_table *t, const struct live_spec *spec, struct live **ret,
                struct err *err);

// How long until its tenant, who has used up his time of the processors, may begin more with it; 0:
// he may now. What runs goes on.
uint64_t live_cpu_wait_ms(struct live_table *t, const struct live *l);

void live_describe(struct live_table *t, struct live *l, struct live_info *ret);

// References to those of one key, oldest first; give each back and free() *ret. NULL when memory is
// out.
struct live **live_list(struct live_table *t, const char *key, size_t *ret_count);

// Its time ends `ms` from now; `extend_only`: unless it ends later anyway. Cut to life_max_ms from
// its creation, or when it was last resumed. Waits while it is being paused. False when it does not
// run.
bool live_set_timeout(struct live_table *t, struct live *l, uint64_t ms, bool extend_only);

// Ends it, paused or not; waits while it is being paused or resumed. Its channel is shut when this
// returns, its machine goes in the background. False when it had ended before.
bool live_kill(struct live_table *t, struct live *l);

// Freezes it: its memory and processes wait, on disk where the driver can store them, and it is
// found as a paused sandbox. Blocks some 100 ms, and for the disk. ERR_INVALID when it is paused
// already, ERR_GONE when it ended, be it because its machine could not go on, ERR_UNSUPPORTED,
// ERR_SYSTEM; on failure it runs on unless it is ERR_GONE.
int live_pause(struct live_table *t, struct live *l, struct err *err);

// Lets a paused one run on, with `timeout_ms` from now; one that runs is left as it is but for its
// time, which is extended. *ret gets a reference to the one that runs and *ret_resumed whether it
// was paused. Blocks some 100 ms, and for the disk. Errors as live_create(), after which it stays
// paused, ERR_GONE when it ended.
int live_resume(struct live_table *t, struct live *l, uint64_t timeout_ms, struct live **ret,
                bool *ret_resumed, struct err *err);

// Whether requests to it wake it while it is paused, as its owner wishes; live_wakes() also for one
// that is to return.
bool live_auto_resumes(const struct live *l);
bool live_wakes(const struct live *l);

// What a request to such a sandbox does: gives a reference to the one that runs. One that is paused
// is resumed first, once for all who ask at the same time, for the time that it was made with and
// at least LIVE_AUTO_RESUME_MS, or where it is to return for what is left of its time, if any is.
// Blocks as live_resume(); errors as it.
#define LIVE_AUTO_RESUME_MS 300000
int live_wake(struct live_table *t, struct live *l, struct live **ret, struct err *err);

#define LIVE_FORK_MAX 100

// What became of one copy: a reference, or NULL and why.
struct live_forked {
    struct live *live;
    struct err err;
};

// Makes `count` (1..LIVE_FORK_MAX) copies of a running sandbox, which runs on: their memory,
// processes and files are its own of one moment, their ids, tokens and randomness are not. `ret`
// has room for `count`; each copy may fail by itself. They are made several at a time. Blocks some
// 100 ms, and as much again for every few.
// Errors as live_pause(), and ERR_BUSY with the limit's setting.
int live_fork(struct live_table *t, struct live *l, uint32_t count, uint64_t timeout_ms,
              struct live_forked *ret, struct err *err);

// Snapshots: a key's own images of its sandboxes, which outlive them and the service. How they are
// kept is told in live_snapshot.c.

#define LIVE_REFERENCE_MAX 96

struct live_snapshot {
    char id[LIVE_ID_LEN + 1]; // 's' and 20 of [a-z0-9]
    char name[LIVE_KEY_MAX];  // "" for none
    char sandbox[LIVE_ID_LEN + 1];
    uint64_t created_ms;
    uint64_t stored_bytes;
};

// Keeps what a running sandbox is at this moment, memory and processes among it; the sandbox runs
// on. `name` (of fewer than LIVE_KEY_MAX bytes) is "" or the key's own name for it: the snapshot
// that had it is deleted. Blocks some 100 ms, for the disk, and for other snapshots being made.
// Errors: ERR_BUSY with the limit's setting, ERR_INVALID (it is paused; or `field` "name"),
// ERR_GONE, ERR_UNSUPPORTED, ERR_SYSTEM.
int live_snapshot(struct live_table *t, struct live *l, const char *name, struct live_snapshot *ret,
                  struct err *err);

// The key's snapshot of that id or name, with ":default" behind it or without.
int live_snapshot_find(struct live_table *t, const char *key, const char *reference,
                       struct live_snapshot *ret, bool *ret_found, struct err *err);
// Deletes it. Sandboxes that began as it live on.
int live_snapshot_remove(struct live_table *t, const char *key, const char *reference,
                         bool *ret_found, struct err *err);

// Those of one key, newest first. A value other than 0 stops it; `fn` may not call back.
typedef int (*live_snapshot_fn)(void *arg, const struct live_snapshot *s);
int live_snapshot_each(struct live_table *t, const char *key, live_snapshot_fn fn, void *arg,
                       struct err *err);

// What clients are told, and name it by.
void live_snapshot_reference(const struct live_snapshot *s, char ret[LIVE_REFERENCE_MAX]);

// What the sandbox itself says it uses, now.
struct live_metrics {
    uint64_t cpu_count;
    double cpu_used_percent; // since the question before, of all its processors
    uint64_t memory_total_bytes, memory_used_bytes, memory_cache_bytes;
    uint64_t disk_total_bytes, disk_used_bytes;
};

// Blocks until the deadline. Errors as channel_call(); ERR_GONE when it does not run.
int live_metrics(struct live *l, uint64_t deadline_ns, struct live_metrics *ret, struct err *err);

struct live_status {
    uint32_t running;
    uint64_t created;
    uint64_t killed;  // by their owners
    uint64_t expired; // at the end of their time
    uint64_t lost;    // died by themselves, or were a former service's and could not be kept
    uint64_t paused_total, resumed_total;
    uint64_t ended;              // of all these, and paused ones that were killed
    uint64_t life_ms;            // of those that ended, since they were made, in sum
    uint32_t paused, returning;  // returning: that are to be resumed after a restart of the service
    uint64_t returned_total;     // of those, that were
    uint64_t not_returned_total; // that could not be and stay paused
};
void live_status(struct live_table *t, struct live_status *ret);

#endif
