// SPDX-License-Identifier: Apache-2.0
//
// CONNECT: a stream of the channel becomes a TCP connection to a service inside of the sandbox.
// Both directions are held back by whoever does not take what the other sends.
#ifndef CSB_AGENT_CONNECT_H
#define CSB_AGENT_CONNECT_H

struct agent;
struct server_stream;

// Takes over a stream of method CONNECT; to be called in on_request. `target` is "localhost:PORT":
// 127.0.0.1 is tried, then ::1. Answers 200 once connected, else 502 (nobody listens), 503 (too
// many connections) or 400.
void connect_open(struct agent *agent, struct server_stream *stream, const char *target);

#endif
