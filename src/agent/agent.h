// SPDX-License-Identifier: Apache-2.0
//
// What the parts of csb-agent share: the loop, the configuration and the prepared interpreters.
//
// How it works
//
//   main    parses the command line; as PID 1 of a virtual machine init makes the machine first
//   session one HTTP/2 server session on the port or socket; a new one per connection of the host
//   api     a request's body is gathered, then the endpoint answers it
//   run     one /run: files into a space, the compile step, the run step, frames, the result
//   step    one program in a jail and a cgroup: pipes, limits, exit
//   prepared interpreters that wait for their program
//   envd    the data plane of a long-lived sandbox
//
// Everything runs on one thread, out of the loop's callbacks. What a callback makes the session
// want to send is flushed when the loop's batch is done, so that no stream goes away while the code
// of its run is on the stack.
#ifndef CSB_AGENT_AGENT_H
#define CSB_AGENT_AGENT_H

#include "agent/loop.h"
#include "cgroup/cgroup.h"
#include "channel/agent_wire.h"
#include "channel/frames.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENT_UID 1000
#define AGENT_GID 1000

struct envd;
struct prepared;

struct agent_config {
    bool vm;            // PID 1 of a virtual machine
    const char *root;   // what becomes the programs' root; NULL: made of the host's /usr and /etc
    const char *shims;  // what becomes /csb when root is NULL; or NULL
    const char *spaces; // directory for the runs' spaces, root's alone
};

struct agent {
    struct loop loop;
    struct agent_config config;
    struct cgroup_root *cgroups;
    uint64_t groups_made; // for their names
    struct prepared *prepared[AGENT_PREPARED_MAX];
    struct envd *envd; // NULL until something is asked of it
    // Where output is read to: room for a frame's header, then its payload.
    uint8_t frame[FRAME_HEADER_BYTES + AGENT_FRAME_MAX];
};

#endif
