// SPDX-License-Identifier: Apache-2.0
//
// One /run inside the fake agent: reads the request's body, interprets the program and writes the
// frames of the answer. Driven by the agent's thread; nothing here blocks.
#ifndef CSB_DRIVER_FAKE_RUN_H
#define CSB_DRIVER_FAKE_RUN_H

#include "base/err.h"

#include <stdint.h>

struct buf;
struct fake_run;
struct server_stream;

enum fake_run_wish {
    FAKE_RUN_WAIT,    // call again at fake_run_wake_ns(), or when the stream's queue drained
    FAKE_RUN_DONE,    // the answer is complete
    FAKE_RUN_DIE,     // the program wants the sandbox dead
    FAKE_RUN_GARBAGE, // the program wants junk on the wire
};

// `body` is taken over and left empty. *ret_prepared is the interpreter asked for, "" for none,
// borrowed from the run. ERR_INVALID when the body breaks the rules of agent_wire.h.
int fake_run_new(struct server_stream *stream, struct buf *body, struct fake_run **ret,
                 const char **ret_prepared, struct err *err);
void fake_run_free(struct fake_run *r); // NULL allowed

// Goes on until the run has to wait. The first call starts the answer and the clock.
enum fake_run_wish fake_run_go(struct fake_run *r);
uint64_t fake_run_wake_ns(const struct fake_run *r);

#endif
