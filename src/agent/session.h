// SPDX-License-Identifier: Apache-2.0
//
// One HTTP/2 session on a byte stream, with the interpreters prepared for it. Its end kills all
// that runs for it and gives up all that is prepared. A virtio port stays while the host behind it
// comes and goes: there each connection of the host is a session anew.
#ifndef CSB_AGENT_SESSION_H
#define CSB_AGENT_SESSION_H

#include "agent/agent.h"
#include "agent/prepared.h"

#include <stdbool.h>

struct server;

enum session_end {
    SESSION_WAITS, // a virtio port: for the next connection
    SESSION_STOPS, // ends the agent's loop: it was started for this session
    SESSION_GOES,  // one of many
};

struct session {
    struct agent *agent;
    int fd;
    enum session_end end;
    struct loop_source source;
    struct server *server;
    struct prepared_set prepared;
    struct session *next;
};

// Serves on `fd` (taken, also on failure; made non-blocking) until the peer closes it, then does
// what `end` says. 0 or -errno, -EAGAIN when there are AGENT_SESSIONS_MAX.
int session_open(struct agent *agent, int fd, enum session_end end);

// Sends what the sessions' callbacks queued: the loop's `after`, with the struct agent.
void sessions_flush(void *agent);

// Ends them all.
void sessions_close(struct agent *agent);

#endif
