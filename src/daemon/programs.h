// SPDX-License-Identifier: Apache-2.0
//
// Where the service's other programs are.
#ifndef CSB_DAEMON_PROGRAMS_H
#define CSB_DAEMON_PROGRAMS_H

#include <limits.h>

struct config;

// csb-launch and csb-agent: what the configuration names, else beside this program, else in
// PREFIX/libexec/codesandbox where that is installed, else where the build puts them. That they are
// there is not checked.
void programs_find_launch(const struct config *config, char ret[PATH_MAX]);
void programs_find_agent(const struct config *config, char ret[PATH_MAX]);

#endif
