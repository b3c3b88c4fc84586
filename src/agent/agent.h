// SPDX-License-Identifier: Apache-2.0
//
// What the parts of csb-agent share.
//
// How it works
//
//   main      parses the command line; as PID 1 of a virtual machine init makes the machine first
//   control   outside of one: new sessions come as descriptors over a socket
//   session   one HTTP/2 server session on a port or socket, with what is prepared for it
//   api       a request's body is gathered, then the endpoint answers it
//   run       one /run: files into a space, the compile step, the run step, frames, the result
//   step      one program in a jail and a cgroup: pipes, limits, exit
//   prepared  interpreters that wait for their program
//   zygote    interpreters that fork prepared ones
//   slots, netns  user ids and network namespaces, of which each jail has one of its own
//   graveyard jails on their way out; what was theirs is given back there
//   envd      the data plane of a long-lived sandbox
//
// Everything runs on one thread, out of the loop's callbacks, and nothing in it waits for a program
// or for the end of one. What a callback makes a session want to send is flushed when the loop's
// batch is done, so that no stream goes away while the code of its run is on the stack.
#ifndef CSB_AGENT_AGENT_H
#define CSB_AGENT_AGENT_H

#include "agent/graveyard.h"
#include "agent/loop.h"
#include "agent/netns.h"
#include "agent/slots.h"
#include "cgroup/cgroup.h"
#include "channel/agent_wire.h"
#include "channel/frames.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// Who a program is, to itself; in a virtual machine also to the kernel.
#define AGENT_UID          1000
#define AGENT_GID          1000

#define AGENT_WORK_DIR     "/work" // where a program starts

#define AGENT_SESSIONS_MAX 1024
#define AGENT_JAILS_MAX    1024 // running, waiting and on their way out

struct envd;
struct session;
struct zygote;

struct agent_config {
    bool vm;            // PID 1 of a virtual machine
    bool envd;          // this machine is one sandbox, whose data plane is served
    bool jailed;        // and no machine but a jail: what runs in it is to be filtered
    const char *root;   // what becomes the programs' root; NULL: made of the host's /usr and /etc
    const char *shims;  // what becomes /csb; NULL: what root has there
    const char *spaces; // directory for the runs' spaces, root's alone
};

struct agent {
    struct loop loop;
    struct agent_config config;
    uint64_t cpus; // of the machine when the agent began: to ask costs a run more than to write it
    struct cgroup_root *cgroups;
    uint64_t groups_made; // for their names
    struct session *sessions;
    size_t session_count;
    struct slots slots;
    struct netns_pool netns;
    struct graveyard graveyard;
    bool can_zygote; // what the agent sees is what a jail does
    struct zygote *zygotes;
    struct envd *envd;   // NULL until something is asked of it
    size_t tunnel_count; // connections by CONNECT
    // Where output is read to: room for a frame's header, then its payload.
    uint8_t frame[FRAME_HEADER_BYTES + AGENT_FRAME_MAX];
};

#endif
