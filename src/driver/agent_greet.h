// SPDX-License-Identifier: Apache-2.0
//
// The first words to the agent of a restored image. Its port never closed: it still serves whoever
// was connected when the image was made, and may be in the middle of a frame to them.
#ifndef CSB_DRIVER_AGENT_GREET_H
#define CSB_DRIVER_AGENT_GREET_H

#include "base/err.h"

#include <stdint.h>

// Makes the agent end the session it had, and drops what was on its way to the former peer. Then
// the stream is as one that was just connected. `fd` is non-blocking. ERR_GONE, ERR_TIMEOUT.
int agent_greet(int fd, uint64_t deadline_ns, struct err *err);

#endif
