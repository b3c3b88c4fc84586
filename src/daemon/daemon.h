// SPDX-License-Identifier: Apache-2.0
//
// The two halves of codesandboxd. The supervisor is small, keeps the privileges it was started
// with, and parses nothing a stranger wrote; the server has none and does the work.
#ifndef CSB_DAEMON_DAEMON_H
#define CSB_DAEMON_DAEMON_H

struct config;

// Descriptors the server is started with.
#define DAEMON_LAUNCH_FD 3 // socket to csb-launch; not open when the isolation needs none
// From the supervisor a fresh launcher socket per message; to it a byte DAEMON_STUCK when the
// launcher should be killed because it does not answer.
#define DAEMON_CONTROL_FD   4
#define DAEMON_STUCK        'K'

#define DAEMON_SERVE_OPTION "--serve"

// Runs csb-launch and the server until the server ended. `argv` is the program's own command line,
// given on to the server. Returns the exit code.
int supervise(const struct config *config, char *const *argv);

// Serves until SIGTERM. Returns the exit code.
int serve(const struct config *config);

#endif
