// SPDX-License-Identifier: Apache-2.0
//
// Giving up what the server was started with.
#ifndef CSB_DAEMON_PRIVILEGES_H
#define CSB_DAEMON_PRIVILEGES_H

#include "base/err.h"

#include <stdint.h>

// As root: becomes `id` (uid and gid, no groups), without any capability and without a way back,
// and checks that it is so. As another user: only shuts the way up (no_new_privs). Single-threaded
// programs only.
int privileges_drop(uint32_t id, struct err *err);

// Has the kernel kill this process when its parent ends. The setting is lost when ids change, so
// call it after privileges_drop(). `parent` is the parent's pid, read at the start.
int privileges_die_with(int parent, struct err *err);

// Lifts the soft limit of open descriptors to the hard one, and as root the hard one to `want`.
void privileges_raise_files(uint64_t want);

#endif
