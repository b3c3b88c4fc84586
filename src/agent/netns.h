// SPDX-License-Identifier: Apache-2.0
//
// Network namespaces for jails, made ahead: making one takes longer than all the rest of a jail.
// Each holds a loopback that is up and nothing else.
//
// One is given out again only when nothing can be left in it. Its jail is gone then, and with it
// every process that could hold a socket of it; what could stay behind (connections in their last
// states, traffic counters) shows in the kernel's own statistics of the namespace. They were read
// when it was new and are read again: only one that is the same to the byte, in which so no packet
// was ever handled, is used again. Every other is dropped and a new one takes its place.
#ifndef CSB_AGENT_NETNS_H
#define CSB_AGENT_NETNS_H

#include "base/err.h"

#include <stddef.h>

#define NETNS_AHEAD 2  // made at the start
#define NETNS_KEPT  64 // unused ones kept at most

struct netns;

struct netns_pool {
    int own_fd; // the agent's own namespace
    struct netns *idle;
    size_t idle_count;
};

// Makes the first ones. On failure the pool stays empty and netns_take() fails too.
int netns_pool_init(struct netns_pool *pool, struct err *err);
void netns_pool_release(struct netns_pool *pool);

// One for the caller, made now when none is idle; or NULL. Errors are as of netns_pool_init().
struct netns *netns_take(struct netns_pool *pool, struct err *err);

// For setns(2). Borrowed.
int netns_fd(const struct netns *n);

// Back from a jail that is gone. NULL allowed.
void netns_give(struct netns_pool *pool, struct netns *n);

#endif
