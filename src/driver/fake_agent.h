// SPDX-License-Identifier: Apache-2.0
//
// The agent of the fake driver: a thread that serves the protocol of channel/agent_wire.h on one
// end of a socket pair and "runs" programs of fake_program.h. It honours the limits wall_ms and
// output_bytes of a run, and refuses a run before /sync, as the real agent does.
#ifndef CSB_DRIVER_FAKE_AGENT_H
#define CSB_DRIVER_FAKE_AGENT_H

#include "base/err.h"

#include <stdbool.h>

struct fake_agent;

// Takes `fd`, a connected non-blocking stream.
int fake_agent_start(int fd, struct fake_agent **ret, struct err *err);

// Becomes readable when the agent ended by itself: the peer hung up or the program said `die`.
// Borrowed.
int fake_agent_death_fd(const struct fake_agent *a);

// While paused it neither reads, runs nor answers.
void fake_agent_pause(struct fake_agent *a, bool paused);

// Ends the thread, runs under way included. NULL allowed. Blocks for less than a millisecond.
void fake_agent_stop(struct fake_agent *a);

#endif
