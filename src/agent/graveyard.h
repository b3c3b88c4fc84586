// SPDX-License-Identifier: Apache-2.0
//
// Where jails end without anybody waiting for them. The kernel takes its time to undo a jail, and a
// control group can be removed only after that; the loop goes on meanwhile.
//
// States of a grave: made, with all that its jail holds -> buried: the jail was killed -> reaped:
// its first process is gone, and with it, as the kernel ends a PID namespace from the inside, every
// process of the jail -> emptied: the control group is removed too. Only then go the network
// namespace and the user id back to where they came from.
#ifndef CSB_AGENT_GRAVEYARD_H
#define CSB_AGENT_GRAVEYARD_H

#include "agent/loop.h"
#include "agent/netns.h"
#include "agent/slots.h"
#include "cgroup/cgroup.h"
#include "jail/jail.h"

#include <stddef.h>

struct graveyard {
    struct loop *loop;
    struct slots *slots;
    struct netns_pool *netns;
    size_t count;            // graves made and not yet gone
    struct grave *lingering; // reaped, but their control groups are not empty yet
    struct loop_timer again; // when those are tried next
    uint64_t again_ns;       // the pause before that
    bool draining;           // the loop stops when count is 0
};

struct grave {
    struct graveyard *yard;
    struct jail_child child;
    struct cgroup *cgroup; // or NULL
    struct netns *netns;   // or NULL
    uid_t uid;             // held
    struct loop_source gone;
    struct grave *next;
};

// The pointers are borrowed for the life of the yard.
void graveyard_init(struct graveyard *yard, struct loop *loop, struct slots *slots,
                    struct netns_pool *netns);

// Made before its jail, so that burying cannot fail; holds `uid`. NULL when memory is out.
struct grave *grave_new(struct graveyard *yard, uid_t uid);

// Takes the grave with what was put into it; the child may be none, or not started.
void grave_bury(struct grave *g);

// Runs the loop until all graves are gone, for at most `ms`. True when they are.
bool graveyard_drain(struct graveyard *yard, uint64_t ms);

#endif
