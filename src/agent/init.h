// SPDX-License-Identifier: Apache-2.0
//
// The duties of PID 1 in a virtual machine, from an initramfs that holds the agent, the kernel
// modules and the runtimes' shims (image/initrd.sh) to a running system.
#ifndef CSB_AGENT_INIT_H
#define CSB_AGENT_INIT_H

#include "base/err.h"

// Makes the standard descriptors usable: nothing is open when the kernel starts an initramfs that
// has no /dev/console. Mounts /dev, /proc and /sys.
int init_early(struct err *err);

// Inserts the modules, puts the root image with a writable layer in place of the initramfs, mounts
// control groups, brings the loopback up.
int init_machine(struct err *err);

// Goes on as another process than PID 1, which stays to reap the orphans of programs that run
// outside of jails (agent/envd). Fails, in PID 1, when the agent ended.
int init_leave(struct err *err);

// Opens the virtio port the daemon talks on; waits some seconds for it to appear.
int init_open_port(int *ret_fd, struct err *err);

// Says why on the console and powers the machine off. Does not return.
_Noreturn void init_fatal(const struct err *err);

#endif
