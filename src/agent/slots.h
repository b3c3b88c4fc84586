// SPDX-License-Identifier: Apache-2.0
//
// User ids for runs. Outside a virtual machine runs are at work side by side on one kernel, and
// what the kernel counts or allows by user (signals, process limits, keyrings) must not cross from
// one to the next: each run has an id of its own, given out again only when its last jail is gone.
// Where no range of ids is there to give (a virtual machine, whose runs share one user; an agent
// whose user namespace maps a single id) all have the same.
#ifndef CSB_AGENT_SLOTS_H
#define CSB_AGENT_SLOTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SLOTS_MAX      1024
#define SLOTS_UID_BASE 10000
#define SLOTS_NO_UID   ((uid_t) - 1) // held and dropped to no effect

struct slots {
    bool shared;      // one id for all
    uid_t shared_uid; // that one
    unsigned next;    // where the search goes on: an id just freed is used last
    uint8_t holders[SLOTS_MAX];
};

// In a virtual machine all runs are `vm_uid`. Else the ids from SLOTS_UID_BASE on when the user
// namespace of this process has them, else 0.
void slots_init(struct slots *s, bool vm, uid_t vm_uid);

// An id with one holder. 0, or -EAGAIN when all are taken.
int slots_take(struct slots *s, uid_t *ret);

// One more holder, one less. The last frees the id. At most 255 holders.
void slots_hold(struct slots *s, uid_t uid);
void slots_drop(struct slots *s, uid_t uid);

#endif
