// SPDX-License-Identifier: Apache-2.0
//
// The directory that an agent sees as /csb: its program, what is loaded into interpreters and
// compilers, and the runtimes' shims.
#ifndef CSB_LAUNCH_AGENT_FILES_H
#define CSB_LAUNCH_AGENT_FILES_H

#include "launch/agent_jail.h"

// Copies it afresh to config->run_dir and writes its absolute path to `ret` (PATH_MAX bytes).
int agent_files_copy(const struct agent_host_config *config, char *ret, struct err *err);

#endif
