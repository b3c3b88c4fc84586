// SPDX-License-Identifier: Apache-2.0
//
// One /run: its files, its steps, its frames.
#ifndef CSB_AGENT_RUN_H
#define CSB_AGENT_RUN_H

#include "agent/prepared.h"
#include "base/buf.h"
#include "base/err.h"
#include "channel/server.h"

struct run;

// Starts what `body` asks for (its content is taken, also on failure), with one of `prepared` where
// it says so. On success the answer has begun and the run belongs to the stream: run_free() in its
// on_close. Errors: ERR_INVALID (body), ERR_GONE (no such prepared interpreter), ERR_BUSY,
// ERR_SYSTEM and ERR_INTERNAL; nothing was answered then.
int run_start(struct prepared_set *prepared, struct server_stream *stream, struct buf *body,
              struct run **ret, struct err *err);

// The stream takes bytes again.
void run_drain(struct run *r);

// Kills what still runs and frees all. NULL allowed.
void run_free(struct run *r);

#endif
