// SPDX-License-Identifier: Apache-2.0
//
// One running clone with its agent's channel, made ready for a first run. Owned by one holder at a
// time (the pool, then a run); calls are not thread-safe per sandbox.
#ifndef CSB_SANDBOX_SANDBOX_H
#define CSB_SANDBOX_SANDBOX_H

#include "base/err.h"
#include "driver/driver.h"
#include "sandbox/engine.h"

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct channel_loop;
struct line;
struct runtime;

enum sandbox_phase {
    SANDBOX_PHASE_CLONE,   // VMM started, snapshot restored
    SANDBOX_PHASE_SYNC,    // until the agent's first answer
    SANDBOX_PHASE_WARM,    // for its throw-away program
    SANDBOX_PHASE_PREPARE, // until the interpreter waits for its program
    SANDBOX_PHASE_COUNT
};

struct sandbox {
    const struct driver_ops *ops;
    struct driver_sandbox *driver;
    struct channel *channel;
    const struct runtime *prepared;         // the runtime whose interpreter waits in it, or NULL
    uint64_t born_ns;                       // when its machine was there; 0: not yet
    uint64_t synced_ns;                     // when /sync was last confirmed
    uint64_t start_ns[SANDBOX_PHASE_COUNT]; // how long each phase of sandbox_start took
    char name[32];                          // host name of the guest
    struct sandbox *next;                   // for the holder's list
    // The pool's, while it is held:
    struct line *line;          // whose it is
    uint64_t held_ns;           // since when
    bool young;                 // it is among the pool's young ones
    struct sandbox *next_young; // the one that was taken after it
};

struct sandbox_origin {
    const struct driver_ops *ops;
    struct driver *driver;
    struct driver_template *template;
    struct channel_loop *loop;
    struct run_limits limits; // what most runs will have
    bool warm;                // run a `warm_clone` runtime's program in each clone first
};

// Clones, syncs, warms and prepares `rt` (NULL or without a prepare step: neither). A sandbox that
// did not confirm /sync is never returned, unless it shares the host's kernel, where there is
// nothing to sync. Blocks until ready or the deadline.
int sandbox_start(const struct sandbox_origin *origin, const struct runtime *rt,
                  uint64_t deadline_ns, struct sandbox **ret, struct err *err);

// Fresh time and entropy again, for one that waited.
int sandbox_resync(struct sandbox *s, uint64_t deadline_ns, struct err *err);

bool sandbox_is_alive(struct sandbox *s);

// How long to wait before the next try to make one, after so many that failed in a row before the
// last: 100 ms, doubled each time, at most 5 s.
uint64_t sandbox_retry_ms(uint32_t failures);

// Of all machines since the process began. Any thread.
struct sandbox_totals {
    uint64_t restored, ended;
    uint64_t life_ns; // of those that ended, in sum
};
void sandbox_totals(struct sandbox_totals *ret);

// Notes that its machine is there from now on.
void sandbox_born(struct sandbox *s);

// Ends its machine, but not the channel to it, which others may still use. Blocks some 10 ms. Once
// is enough.
void sandbox_end(struct sandbox *s);

// Destroys it. Blocks some 10 ms. NULL allowed.
void sandbox_free(struct sandbox *s);

#endif
