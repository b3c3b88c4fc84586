// SPDX-License-Identifier: Apache-2.0
//
// What the two sides of a zygote's socket say. Each request is one message: the text of a plan
// (plan_text.h) with its descriptors. Each is answered by one reply, in order. Both ends are of one
// build on one machine, so the reply is a struct.
#ifndef CSB_JAIL_ZYGOTE_INTERNAL_H
#define CSB_JAIL_ZYGOTE_INTERNAL_H

#include "jail/zygote.h"

enum zygote_reply_flags {
    ZYGOTE_REPLY_FAILED = 1 << 0, // see error; with a descriptor, the pidfd of a jail to reap
    ZYGOTE_REPLY_PIDFD = 1 << 1,  // the descriptors that came along, in this order
    ZYGOTE_REPLY_STATUS = 1 << 2,
    ZYGOTE_REPLY_SCRATCH = 1 << 3,
    ZYGOTE_REPLY_REPORT = 1 << 4,
};

#define ZYGOTE_REPLY_FDS 4

// Zygote's side: ends what csb_zygote_learn() began; in a program, copies the pages.
void zygote_pages_learned(void);
void zygote_pages_copy(void);

struct zygote_reply {
    uint32_t flags;
    int32_t pid;
    struct err error;
};

#endif
