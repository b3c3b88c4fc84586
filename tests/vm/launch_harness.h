// SPDX-License-Identifier: Apache-2.0
//
// A csb-launch of the test's own, with the built image: for tests that start VMs or agents. Paths
// come from the environment: CSB_LAUNCH (default: beside the test), CSB_IMAGE_DIR (with vmlinuz,
// initrd.img and rootfs.erofs; for agents with the directory rootfs) and CSB_QEMU (default:
// Debian's); for agents CSB_AGENT and CSB_RUNTIMES.
#ifndef CSB_TESTS_VM_LAUNCH_HARNESS_H
#define CSB_TESTS_VM_LAUNCH_HARNESS_H

#include "base/err.h"
#include "driver/driver.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct launch_client;

struct launch_harness {
    pid_t pid; // of csb-launch
    struct launch_client *client;
    bool agents;  // else VMs
    char dir[64]; // temporary: "run" for csb-launch, "state" for the driver
    int state_fd; // of "state"
    char kernel[PATH_MAX], initrd[PATH_MAX], rootfs[PATH_MAX]; // for VMs
    char tree[PATH_MAX], agent[PATH_MAX], runtimes[PATH_MAX];  // for agents
};

// For VMs, or for agents. ERR_UNSUPPORTED when the environment names no image or no launcher: a
// reason to skip.
int launch_harness_start(struct launch_harness *h, bool agents, struct err *err);
// Another csb-launch with the same directory, in place of this one. Needs a single-threaded process
// or one whose other threads hold no locks.
int launch_harness_restart(struct launch_harness *h, struct err *err);
// Ends csb-launch and removes the directory. Returns csb-launch's wait status.
int launch_harness_stop(struct launch_harness *h);

// For a driver on it; ACCEL in the environment is the accelerator, default "tcg". Borrows from `h`.
struct driver_config launch_harness_config(const struct launch_harness *h);

// Becomes nobody, for good and for all that is started, unless the caller is an ordinary user
// already. Before the launcher starts.
bool launch_harness_be_ordinary(void);

// The number of processes below csb-launch.
int launch_harness_processes(const struct launch_harness *h);

#endif
