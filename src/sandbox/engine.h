// SPDX-License-Identifier: Apache-2.0
//
// The core between the HTTP surface and the drivers: runtimes, the template, the pool of ready
// sandboxes, admission, and one-shot runs.
//
// A request's way: API validates -> run_open() (admission, a ready sandbox, the program is sent) ->
// run_next() until RUN_EVENT_RESULT -> run_close() (the sandbox is destroyed in the background).
#ifndef CSB_SANDBOX_ENGINE_H
#define CSB_SANDBOX_ENGINE_H

#include "base/err.h"
#include "driver/driver.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct run;
struct runtime;
struct runtime_table;
struct tenant;

struct run_limits {
    uint64_t wall_ms, cpu_ms, memory_bytes, processes, output_bytes, disk_bytes;
};

struct engine_config {
    const struct driver_ops *driver;
    struct driver_config driver_config; // its pointers are borrowed for the engine's life
    struct runtime_table *runtimes;     // borrowed
    int templates_fd;                   // TEMPLATES_DIR, or -1; borrowed
    struct driver_shape shape;
    uint32_t pool_ready;          // ready sandboxes to keep per warm runtime, default 3
    uint32_t pool_plain;          // ready ones to keep for sandboxes to come
    uint32_t pool_max;            // sandboxes alive at once, ready and running
    uint32_t queue_max;           // requests that may wait for a sandbox
    uint64_t queue_wait_ms;       // longest wait before ERR_BUSY
    struct run_limits limits;     // the defaults of a run: sandboxes are prepared for them
    uint64_t compile_cache_bytes; // for what compile steps made; 0: nothing is kept
};

struct engine_cache_status {
    uint64_t max_bytes;
    uint64_t bytes;
    uint64_t entries;
    uint64_t hits, misses; // requests that could have been served
};

struct engine_status {
    bool ready; // template built and at least one sandbox was ready
    char isolation[16];
    char accel[16];
    char note[240];      // what the probe found
    char state[256];     // "ready", or what it is doing or failing at
    uint32_t pool_ready; // now
    uint32_t pool_target;
    uint32_t running;
    uint32_t queued;
    uint64_t runs_total;
    uint64_t sandboxes_created;
    uint64_t sandboxes_failed;
    uint64_t clone_ns, sync_ns, warm_ns, prepare_ns; // medians over the last 64 sandboxes made
    char template_key[65];
    struct engine_cache_status compile_cache;
};

// Starts the engine; returns at once while the template is built and the pool is filled by
// background threads. Errors: ERR_UNSUPPORTED when the driver cannot work on this host.
int engine_new(const struct engine_config *config, struct engine **ret, struct err *err);
// Stops taking runs and, where it is not built yet, trying to build the template. What is lost from
// now on is no failure and is not logged. NULL allowed.
void engine_stop(struct engine *e);
// engine_stop(); waits up to `drain_ms` for those under way, then cuts them; frees all.
void engine_free(struct engine *e, uint64_t drain_ms);
void engine_status(struct engine *e, struct engine_status *ret);

// What waits for sandboxes to come; all zero where that is the pool's.
struct stock_status;
void engine_stock(struct engine *e, struct stock_status *ret);

// Changes the sizes of the pool and its queue; see pool_tune().
struct pool_sizes;
void engine_tune(struct engine *e, const struct pool_sizes *sizes);

const struct runtime_table *engine_runtimes(const struct engine *e);

// The agent's /stats of a ready sandbox, as JSON text (freed by the caller). The sandbox goes back
// to the pool. Waits for one as a run does; errors as run_open.
int engine_guest_stats(struct engine *e, uint64_t deadline_ns, char **ret_json, struct err *err);

// The templates on offer, see templates.h. Any thread.
struct template;
bool engine_find_template(const struct engine *e, const char *name, struct template *ret);
size_t engine_list_templates(const struct engine *e, struct template *ret, size_t max);
struct template_part;
void engine_each_template_part(const struct engine *e, const char *name,
                               void (*fn)(void *arg, const struct template_part *part), void *arg);

// A machine of that template for good, from the pool or made for it, that is ended with
// sandbox_free() before engine_free(). Waits for one as a run does, or as template_machines_take(),
// asking `gone` (or NULL) every 250 ms. Errors as theirs; ERR_UNSUPPORTED where a machine cannot be
// one owner's.
struct sandbox;
int engine_take(struct engine *e, const struct template *is, bool (*gone)(void *arg),
                void *gone_arg, struct sandbox **ret, struct err *err);

// What a compiler may write: no limit of a request's.
#define RUN_COMPILE_OUTPUT_BYTES (1u << 20)

struct run_file {
    const char *path; // relative, validated by the API layer: see run_path_check()
    const uint8_t *data;
    size_t len;
};

struct run_request {
    const struct runtime *runtime;
    const struct run_file *files; // files[0] is the program, its path the runtime's source name
    size_t file_count;
    const uint8_t *stdin_data;
    size_t stdin_len;
    const char *const *args; // NULL-terminated or NULL
    const char *const *env;  // "KEY=VALUE", NULL-terminated or NULL
    struct run_limits limits;
    // Polled at least every 250 ms while a call blocks: true cancels with ERR_CANCELLED. May be
    // NULL.
    bool (*gone)(void *arg);
    void *gone_arg;
    bool background;       // waits for a sandbox behind every run that is not
    struct tenant *tenant; // whose run it is, NULL: nobody's; outlives the run
    // Called by run_open() when a sandbox is at hand and nothing was sent to any yet: at -1 with
    // *err filled (not ERR_GONE) the program goes nowhere. May block. May be NULL.
    int (*on_handover)(void *arg, struct err *err);
    void *handover_arg;
};

enum run_reason {
    RUN_EXIT,
    RUN_SIGNAL,
    RUN_TIMEOUT,
    RUN_CPU,
    RUN_MEMORY,
    RUN_OUTPUT_LIMIT,
    RUN_DISK,
    RUN_PROCESSES,
    RUN_INTERNAL,
    RUN_REASON_COUNT
};
// "exit", "signal", "timeout", "cpu_timeout", ... as in agent_wire.h and docs/API.md, which say
// what each means.
const char *run_reason_name(enum run_reason reason);

#define RUN_BIT(reason) (1u << (reason))

struct run_step {
    enum run_reason reason;
    int exit_code;       // -1 unless it exited by itself
    int signal;          // 0 unless a signal ended it that no limit sent
    unsigned limits_hit; // RUN_BIT() of each limit it ran into
    bool truncated;
    uint64_t stdout_bytes, stderr_bytes;
    uint64_t wall_ns, cpu_user_ns, cpu_system_ns, memory_peak_bytes;
    uint64_t processes_peak; // 0: not known
};

struct run_result {
    bool compiled; // `compile` is filled
    bool ran;      // `run` is filled; false when compiling failed
    struct run_step compile;
    struct run_step run;
    bool compile_cached;     // the compile step was not run: its artifact was at hand
    uint64_t artifact_bytes; // of what the agent sent of the compile step, 0: none
    char message[256];       // for RUN_INTERNAL
    uint64_t queue_ns;       // waiting for a sandbox
    uint64_t sandbox_ns;     // handing the program over
    uint64_t run_ns;         // until the result
    char isolation[16], accel[16];
};

enum run_event_kind { RUN_EVENT_STDOUT, RUN_EVENT_STDERR, RUN_EVENT_COMPILE_OUT, RUN_EVENT_RESULT };

struct run_event {
    enum run_event_kind kind;
    const uint8_t *data; // borrowed until the next call on the run
    size_t len;
    const struct run_result *result; // RUN_EVENT_RESULT; borrowed until run_close
};

// Blocks for a ready sandbox and hands the program over. All of `req` is borrowed for the call, but
// gone/gone_arg until run_close. Errors: ERR_BUSY (queue full or waited queue_wait_ms; the code did
// not run; `field` is "" or the tenant's limit), ERR_GONE / ERR_PROTOCOL / ERR_TIMEOUT / ERR_SYSTEM
// (ours; run_may_have_run() tells), ERR_CANCELLED.
int run_open(struct engine *e, const struct run_request *req, struct run **ret,
             bool *ret_may_have_run, struct err *err);

// Blocks for the next event. The engine itself bounds the whole run by its limits plus a grace, so
// this always ends. After RUN_EVENT_RESULT do not call it again. Errors as run_open (the code may
// have run).
int run_next(struct run *r, struct run_event *ret, struct err *err);

// Ends the run, killing what still runs; the sandbox is destroyed in the background. NULL allowed.
void run_close(struct run *r);

// 0, or -1 with the reason: empty, absolute, "..", ".", NUL or control characters, longer than 255
// bytes, more than 16 components, a trailing slash.
int run_path_check(const char *path, struct err *err);

#endif
