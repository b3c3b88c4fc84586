// SPDX-License-Identifier: Apache-2.0
//
// The agent's event loop: epoll over descriptors, and a short list of deadlines that bounds
// epoll_wait(2). Single-threaded. A callback may add, change and delete any source or timer,
// its own included, and free the memory of those it deleted.
#ifndef CSB_AGENT_LOOP_H
#define CSB_AGENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_BATCH 16

struct loop_source {
    int fd; // borrowed; -1 when the source is not in a loop
    uint32_t events;
    void (*ready)(void *arg, uint32_t events);
    void *arg;
};

struct loop_timer {
    uint64_t deadline_ns; // CLOCK_MONOTONIC
    void (*fire)(void *arg);
    void *arg;
    struct loop_timer *next;
    bool armed;
};

struct loop {
    int epoll_fd;
    bool stop;
    void (*after)(void *arg); // called when a batch of events was handled; may be NULL
    void *after_arg;
    struct loop_timer *timers; // not sorted: there are a handful
    struct epoll_event batch[LOOP_BATCH];
    int batch_len;
};

// 0 or -errno.
int loop_init(struct loop *loop);
void loop_release(struct loop *loop);

// Watches `fd` for epoll(7) `events`. `src` is zero-initialised or was deleted before; it must stay
// in place until loop_del(). 0 or -errno.
int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events,
             void (*ready)(void *arg, uint32_t events), void *arg);
// Changes what is watched; does nothing when it is so already and not edge-triggered.
void loop_mod(struct loop *loop, struct loop_source *src, uint32_t events);
// Stops watching; call before the descriptor is closed. Safe on a source that is not watched.
void loop_del(struct loop *loop, struct loop_source *src);

// Calls `fire` once at the deadline. Replaces an armed deadline.
void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline_ns,
                    void (*fire)(void *arg), void *arg);
void loop_timer_clear(struct loop *loop, struct loop_timer *t);

// Runs until loop->stop. 0 or -errno.
int loop_run(struct loop *loop);

#endif
