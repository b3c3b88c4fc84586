// SPDX-License-Identifier: Apache-2.0
//
// The agent's control socket (SOCK_SEQPACKET), where it serves a host and not a virtual machine.
// Each message is the byte AGENT_CONTROL_SESSION with the descriptor of a stream socket: a session
// to serve on it. The end of the socket is the end of the agent.
#ifndef CSB_AGENT_CONTROL_H
#define CSB_AGENT_CONTROL_H

#include "agent/agent.h"

struct control {
    struct agent *agent;
    int fd;
    struct loop_source source;
};

// Serves `fd`, which stays the caller's, until it ends: then the loop stops. Made non-blocking.
// 0 or -errno.
int control_init(struct control *c, struct agent *agent, int fd);
void control_release(struct control *c);

#endif
