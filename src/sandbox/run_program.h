// SPDX-License-Identifier: Apache-2.0
//
// The program of a run as the agent gets it.
#ifndef CSB_SANDBOX_RUN_PROGRAM_H
#define CSB_SANDBOX_RUN_PROGRAM_H

#include "base/buf.h"
#include "sandbox/engine.h"

#include <stdbool.h>

struct program {
    struct run_request req; // as it is sent: the program wrapped where its runtime asks for it
    bool cold;              // something of it could only take effect at an interpreter's start
    struct run_file *files; // req.files when they are not the caller's
    struct buf wrapped;
};

// What `req` points to is borrowed until program_release().
int program_init(const struct run_request *req, struct program *ret, struct err *err);
void program_release(struct program *p);

// Whether what the compile step makes may be kept and used again: the runtime names it, and no file
// of the request is in its way.
bool program_has_artifact(const struct program *p);

// Whether files and artifact have room on the run's disk together.
bool program_has_room(const struct program *p, size_t artifact_len);

#endif
