// SPDX-License-Identifier: Apache-2.0
//
// Starts the server of runtimes/contexts, the code interpreter, in a sandbox.
#ifndef CSB_SANDBOX_CONTEXTS_CLIENT_H
#define CSB_SANDBOX_CONTEXTS_CLIENT_H

#include "base/err.h"

#include <stdint.h>

struct channel;

// Which kernels were started and tried before.
enum contexts_warm { CONTEXTS_COLD, CONTEXTS_WARM, CONTEXTS_WARM_PYTHON };

// Blocks until its port is open; it then goes on by itself. To be warm takes seconds, or a minute
// where the processor is emulated. The agent must serve /envd. Errors: ERR_INTERNAL with what it
// said when it could not be started, ERR_TIMEOUT, ERR_GONE, ERR_PROTOCOL.
int contexts_start(struct channel *ch, enum contexts_warm warm, uint64_t deadline_ns,
                   struct err *err);

#endif
