// SPDX-License-Identifier: Apache-2.0
//
// The endpoints of channel/agent_wire.h. The callbacks' `arg` is the struct session.
#ifndef CSB_AGENT_API_H
#define CSB_AGENT_API_H

#include "channel/server.h"

extern const struct server_callbacks api_callbacks;

#endif
