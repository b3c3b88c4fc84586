// SPDX-License-Identifier: Apache-2.0
//
// The launcher's loop: requests from one socket, ends of VMMs and agents, nothing else.
#ifndef CSB_LAUNCH_LAUNCH_SERVER_H
#define CSB_LAUNCH_LAUNCH_SERVER_H

#include "base/err.h"

#include <sys/types.h>

struct launch_config {
    int sock; // SOCK_SEQPACKET; owned by the server
    // For VMMs; all NULL: none can be started.
    const char *qemu;
    const char *kernel;
    const char *initrd;
    const char *rootfs;
    // For agents; all NULL: none can be started.
    const char *agent;
    const char *runtimes;
    const char *tree;
    const char *templates; // directory of the templates' root file systems, or NULL
    const char *cgroup_name;
    const char *run_dir;
    const char *label;
    uid_t uid_base;
};

// Opens everything, removes what a killed launcher of the same label left, and serves until the
// peer closes the socket; then ends all it started. 0, or -1 with *err when it could not start.
int launch_serve(const struct launch_config *config, struct err *err);

#endif
