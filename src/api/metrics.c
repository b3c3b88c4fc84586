// SPDX-License-Identifier: Apache-2.0
//
// How it works: a row of counters per runtime, found by its place in the table, which is fixed
// while the service runs; so labels have as many values as there are files in RUNTIMES_DIR,
// whatever clients send. A scrape reads them as they are, then asks the engine and the kernel.
#include "api/metrics.h"

#include "api/api.h"
#include "api/api_internal.h"
#include "api/execute_result.h"
#include "api/jobs.h"
#include "api/metrics_internal.h"
#include "api/observe.h"
#include "base/clock.h"
#include "base/fd.h"
#include "http/http.h"
#include "metrics/exposition.h"
#include "metrics/histogram.h"
#include "sandbox/engine.h"
#include "sandbox/runtime.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The words of execute_status().
static const char *const statuses[] = {"ok",           "error",         "timeout", "memory",
                                       "output_limit", "compile_error", "killed"};
#define STATUS_COUNT (sizeof(statuses) / sizeof(statuses[0]))

enum phase { PHASE_QUEUE, PHASE_SANDBOX, PHASE_RUN, PHASE_COUNT };
static const char *const phases[PHASE_COUNT] = {"queue", "sandbox", "run"};

// Whose fault an error is.
static const char *const faults[ERR_CODE_COUNT] = {
    [ERR_INVALID] = "client",     [ERR_TOO_LARGE] = "client", [ERR_BUSY] = "load",
    [ERR_CANCELLED] = "client",   [ERR_TIMEOUT] = "sandbox",  [ERR_GONE] = "sandbox",
    [ERR_PROTOCOL] = "sandbox",   [ERR_SYSTEM] = "sandbox",   [ERR_INTERNAL] = "service",
    [ERR_UNSUPPORTED] = "client", [ERR_NONE] = "service",
};

struct row {
    atomic_uint_fast64_t runs[STATUS_COUNT];
    atomic_uint_fast64_t errors[ERR_CODE_COUNT];
    atomic_uint_fast64_t cut; // more of ERR_CANCELLED, but by the service
    atomic_uint_fast64_t cpu_ns;
    struct histogram phases[PHASE_COUNT];
};

struct api_metrics {
    const struct runtime_table *table;
    uint64_t started_ns; // wall clock
    struct row rows[];   // one per runtime
};

int api_metrics_new(const struct runtime_table *table, struct api_metrics **ret, struct err *err)
{
    struct api_metrics *m = calloc(1, sizeof(*m) + runtime_count(table) * sizeof(struct row));

    if (m == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    m->table = table;
    m->started_ns = clock_real_ns();
    *ret = m;
    return 0;
}

void api_metrics_free(struct api_metrics *m)
{
    free(m);
}

static struct row *row_of(struct api_metrics *m, const struct runtime *rt)
{
    for (size_t i = 0; m != NULL && i < runtime_count(m->table); i++)
        if (runtime_at(m->table, i) == rt)
            return &m->rows[i];
    return NULL;
}

void api_metrics_result(struct api_metrics *m, const struct runtime *rt,
                        const struct run_result *result)
{
    const struct run_step *step = result->ran ? &result->run : &result->compile;
    const char *status = execute_status(result);
    struct row *row = row_of(m, rt);

    if (row == NULL)
        return;
    for (size_t i = 0; i < STATUS_COUNT; i++)
        if (strcmp(statuses[i], status) == 0)
            atomic_fetch_add(&row->runs[i], 1);
    atomic_fetch_add(&row->cpu_ns, step->cpu_user_ns + step->cpu_system_ns);
    histogram_add(&row->phases[PHASE_QUEUE], result->queue_ns);
    histogram_add(&row->phases[PHASE_SANDBOX], result->sandbox_ns);
    histogram_add(&row->phases[PHASE_RUN], result->run_ns);
}

void api_metrics_error(struct api_metrics *m, const struct runtime *rt, const struct err *err,
                       bool cut)
{
    struct row *row = row_of(m, rt);

    if (row != NULL && cut)
        atomic_fetch_add(&row->cut, 1);
    else if (row != NULL && (unsigned)err->code < ERR_CODE_COUNT)
        atomic_fetch_add(&row->errors[err->code], 1);
}

static void put_runs(struct exposition *x, const struct api_metrics *m)
{
    exposition_metric(x, "codesandbox_runs_total", "counter", "Runs that ended with a result.");
    for (size_t i = 0; i < runtime_count(m->table); i++)
        for (size_t k = 0; k < STATUS_COUNT; k++)
            exposition_u64(x,
                           (struct exposition_label[]){{"language", runtime_at(m->table, i)->id},
                                                       {"status", statuses[k]},
                                                       {0}},
                           m->rows[i].runs[k]);
}

static void put_error(struct exposition *x, const struct runtime *rt, enum err_code code,
                      const char *fault, uint64_t count)
{
    exposition_u64(x,
                   (struct exposition_label[]){
                       {"language", rt->id}, {"error", err_code_name(code)}, {"fault", fault}, {0}},
                   count);
}

void api_metrics_put_errors(struct exposition *x, const struct api_metrics *m)
{
    exposition_metric(x, "codesandbox_run_errors_total", "counter",
                      "Runs that ended without a result, by whose fault that was.");
    for (size_t i = 0; i < runtime_count(m->table); i++) {
        const struct runtime *rt = runtime_at(m->table, i);

        for (size_t k = ERR_NONE + 1; k < ERR_CODE_COUNT; k++)
            put_error(x, rt, (enum err_code)k, faults[k], m->rows[i].errors[k]);
        put_error(x, rt, ERR_CANCELLED, faults[ERR_INTERNAL], m->rows[i].cut);
    }
}

static void put_phases(struct exposition *x, const struct api_metrics *m)
{
    exposition_metric(x, "codesandbox_run_phase_seconds", "histogram",
                      "Time a run took: waiting for a sandbox, handing over, until the result.");
    for (size_t i = 0; i < runtime_count(m->table); i++)
        for (size_t k = 0; k < PHASE_COUNT; k++)
            exposition_histogram(
                x,
                (struct exposition_label[]){
                    {"language", runtime_at(m->table, i)->id}, {"phase", phases[k]}, {0}},
                &m->rows[i].phases[k]);
    exposition_metric(x, "codesandbox_run_cpu_seconds_total", "counter",
                      "CPU time of programs, of their last step.");
    for (size_t i = 0; i < runtime_count(m->table); i++)
        exposition_double(
            x, (struct exposition_label[]){{"language", runtime_at(m->table, i)->id}, {0}},
            (double)m->rows[i].cpu_ns / NS_PER_S);
}

static void put_engine(struct exposition *x, const struct engine_status *s)
{
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"codesandbox_ready", "gauge", "1 when programs can be run.", s->ready},
        {"codesandbox_pool_ready", "gauge", "Sandboxes that wait for a program.", s->pool_ready},
        {"codesandbox_pool_target", "gauge", "Sandboxes the pool keeps ready.", s->pool_target},
        {"codesandbox_runs_running", "gauge", "Sandboxes that have a program.", s->running},
        {"codesandbox_queue_length", "gauge", "Requests that wait for a sandbox.", s->queued},
        {"codesandbox_sandboxes_created_total", "counter", "Sandboxes made.", s->sandboxes_created},
        {"codesandbox_sandboxes_failed_total", "counter", "Sandboxes that could not be made.",
         s->sandboxes_failed},
        {"codesandbox_compile_cache_bytes", "gauge", "Size of the compile cache.",
         s->compile_cache.bytes},
        {"codesandbox_compile_cache_entries", "gauge", "Entries of the compile cache.",
         s->compile_cache.entries},
        {"codesandbox_compile_cache_hits_total", "counter", "Compile steps that were spared.",
         s->compile_cache.hits},
        {"codesandbox_compile_cache_misses_total", "counter", "Compile steps that were not.",
         s->compile_cache.misses},
    };
    const struct {
        const char *phase;
        uint64_t ns;
    } starts[] = {{"clone", s->clone_ns},
                  {"sync", s->sync_ns},
                  {"warm", s->warm_ns},
                  {"prepare", s->prepare_ns}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        exposition_metric(x, rows[i].name, rows[i].type, rows[i].help);
        exposition_u64(x, NULL, rows[i].value);
    }
    exposition_metric(x, "codesandbox_sandbox_start_seconds", "gauge",
                      "Median time of the last 64 sandboxes made, by phase.");
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
        exposition_double(x, (struct exposition_label[]){{"phase", starts[i].phase}, {0}},
                          (double)starts[i].ns / NS_PER_S);
    exposition_metric(x, "codesandbox_info", "gauge", "What runs, always 1.");
    exposition_u64(
        x,
        (struct exposition_label[]){
            {"version", CSB_VERSION}, {"isolation", s->isolation}, {"accel", s->accel}, {0}},
        1);
}

static uint64_t open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;

    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (dir != NULL)
        (void)closedir(dir);
    return count > 3 ? count - 3 : 0; // ".", ".." and this one
}

// proc(5): the second number of statm is the resident set in pages.
static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    char *text;
    size_t len;

    if (fd_read_file(AT_FDCWD, "/proc/self/statm", 256, &text, &len) < 0)
        return 0;
    (void)sscanf(text, "%*u %llu", &pages);
    free(text);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void put_process(struct exposition *x, const struct api_metrics *m)
{
    struct timespec cpu;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    exposition_metric(x, "process_cpu_seconds_total", "counter", "CPU time of the daemon.");
    exposition_double(x, NULL, (double)cpu.tv_sec + (double)cpu.tv_nsec / NS_PER_S);
    exposition_metric(x, "process_resident_memory_bytes", "gauge", "Memory of the daemon.");
    exposition_u64(x, NULL, resident_bytes());
    exposition_metric(x, "process_open_fds", "gauge", "Open file descriptors of the daemon.");
    exposition_u64(x, NULL, open_fds());
    exposition_metric(x, "process_start_time_seconds", "gauge",
                      "When the daemon started, seconds since 1970.");
    exposition_double(x, NULL, (double)m->started_ns / NS_PER_S);
}

void api_metrics(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct exposition x = {.buf = &res->body};
    struct engine_status status;

    engine_status(api->engine, &status);
    (void)buf_reserve(&res->body, (size_t)64 << 10);
    put_runs(&x, api->metrics);
    api_metrics_put_errors(&x, api->metrics);
    put_phases(&x, api->metrics);
    put_engine(&x, &status);
    api_metrics_put_machines(&x);
    api_metrics_put_live(&x, api);
    api_http_metrics_put(&x, api->http_metrics);
    jobs_put_metrics(api->jobs, &x);
    put_process(&x, api->metrics);
    if (x.failed) {
        http_fail(req, res, 500, "internal", NULL, "out of memory for the metrics");
        return;
    }
    res->status = 200;
    res->content_type = EXPOSITION_CONTENT_TYPE;
}
