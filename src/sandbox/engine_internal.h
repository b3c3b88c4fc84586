// SPDX-License-Identifier: Apache-2.0
//
// What engine.c and run.c share.
#ifndef CSB_SANDBOX_ENGINE_INTERNAL_H
#define CSB_SANDBOX_ENGINE_INTERNAL_H

#include "sandbox/compile_cache.h"
#include "sandbox/engine.h"
#include "sandbox/pool.h"
#include "sandbox/template.h"
#include "sandbox/template_machines.h"

#include <pthread.h>
#include <stdatomic.h>

struct stock;

struct engine {
    struct engine_config config; // fixed
    struct driver_probe probe;   // fixed
    struct driver *driver;
    struct channel_loop *loop;
    struct pool *pool;
    struct compile_cache *compile_cache;
    struct template_warm warm;
    struct template_machines *machines;
    struct stock *stock; // NULL where clones are machines
    pthread_t builder;
    atomic_uint_fast64_t runs_total;
    atomic_bool cut_runs; // the drain time is over: every run ends at its next look

    pthread_mutex_t lock; // guards what follows
    pthread_cond_t changed;
    struct driver_template *template;
    bool stopping;
    uint32_t runs_open;
    char build_note[256]; // what the builder does or failed at
};

// A run begins and ends; engine_free waits for the count to fall to zero.
void engine_run_begin(struct engine *e);
void engine_run_end(struct engine *e);

// The template's key, or NULL while there is none. Lives as long as the engine.
const char *engine_template_key(struct engine *e);

#endif
