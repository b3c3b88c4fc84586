// SPDX-License-Identifier: Apache-2.0
//
// What the daemon asks an agent (src/channel/agent_wire.h), as C calls. The answers are hostile and
// are checked field by field here; nothing above sees them raw. Any thread; calls block until their
// deadline.
#ifndef CSB_SANDBOX_AGENT_CLIENT_H
#define CSB_SANDBOX_AGENT_CLIENT_H

#include "base/buf.h"
#include "base/err.h"
#include "sandbox/engine.h"

#include <stdbool.h>
#include <stdint.h>

struct channel;

// Waits until the agent answers /health with our protocol version.
int agent_wait_healthy(struct channel *ch, uint64_t deadline_ns, struct err *err);

// Gives the guest the host's time, 64 fresh random bytes, and an identity. `hostname` is borrowed.
int agent_sync(struct channel *ch, const char *hostname, uint64_t deadline_ns, struct err *err);

// Starts a prepared interpreter for the runtime, or compiler when it has a compile step, under
// `limits` of a run: one with the same ones starts soonest. 0 also when the runtime has none.
int agent_prepare(struct channel *ch, const struct runtime *rt, const struct run_limits *limits,
                  uint64_t deadline_ns, struct err *err);

// The /stats answer, checked to be a JSON object of at most 64 KiB; the caller frees it.
int agent_stats(struct channel *ch, uint64_t deadline_ns, char **ret_json, struct err *err);

struct agent_run {
    const struct run_request *req;
    bool prepared; // the sandbox has an interpreter prepared for req->runtime and may use it
    // What the compile step made once: sent as a file instead of compiling. NULL: none.
    const uint8_t *artifact;
    size_t artifact_len;
    size_t artifact_max; // else the largest that is wanted back, 0: none
};

// Encodes a /run body into `ret`.
int agent_encode_run(const struct agent_run *run, struct buf *ret, struct err *err);

// Decodes a RESULT payload. `ret` gets compiled/ran/compile/run/artifact_bytes/message.
int agent_decode_result(const uint8_t *data, size_t len, struct run_result *ret, struct err *err);

#endif
