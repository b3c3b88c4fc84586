// SPDX-License-Identifier: Apache-2.0
//
// Whether a program can be started in new namespaces.
#ifndef CSB_LAUNCH_NAMESPACE_PROBE_H
#define CSB_LAUNCH_NAMESPACE_PROBE_H

#include "base/err.h"

// Starts one in a user namespace and others below it: a container may forbid what sysctls allow. 0,
// or -1 with the reason. Blocks for some milliseconds. Only for single-threaded programs.
int namespace_probe(struct err *err);

#endif
