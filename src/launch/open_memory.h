// SPDX-License-Identifier: Apache-2.0
//
// The memory of a process that the launcher started, as descriptors for the daemon to read.
#ifndef CSB_LAUNCH_OPEN_MEMORY_H
#define CSB_LAUNCH_OPEN_MEMORY_H

#include "launch/launch.h"

// Opens the files of /proc of the child `pid`, which must not have been reaped. 0 or -errno.
int open_memory(pid_t pid, int ret_fds[LAUNCH_MEMORY_FD_COUNT]);

#endif
