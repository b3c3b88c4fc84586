// SPDX-License-Identifier: Apache-2.0
//
// The agent's HTTP/2 session on its byte stream, over and over: a virtio port stays while the host
// behind it comes and goes, and each connection of the host is a session of its own.
#ifndef CSB_AGENT_SESSION_H
#define CSB_AGENT_SESSION_H

#include "agent/agent.h"

struct session;

// Serves on `fd` (taken, also on failure; made non-blocking). With `port` the end of a connection
// makes it wait for the next; without, it stops the loop. 0 or -errno.
int session_new(struct agent *agent, int fd, bool port, struct session **ret);
void session_free(struct session *s);

#endif
