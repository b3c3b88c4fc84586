// SPDX-License-Identifier: Apache-2.0
//
// The two halves of codesandboxd. The supervisor is small, keeps the privileges it was started
// with, and parses nothing a stranger wrote; the server has none and does the work.
#ifndef CSB_DAEMON_DAEMON_H
#define CSB_DAEMON_DAEMON_H

struct config;
struct config_sources;

// Descriptors the server is started with.
#define DAEMON_LAUNCH_FD  3 // socket to csb-launch; not open when the isolation needs none
#define DAEMON_CONTROL_FD 4

// The first byte of a message on the control socket.
#define DAEMON_LAUNCHER     'L' // from the supervisor: the socket of a fresh launcher comes with it
#define DAEMON_SETTINGS     'C' // from the supervisor: reload.h's text follows; back: it is in force
#define DAEMON_PING         'P' // from the supervisor; back, unless the server hangs
#define DAEMON_READY        'R' // from the server: it listens
#define DAEMON_STUCK        'K' // from the server: the launcher does not answer and should be killed

#define DAEMON_SERVE_OPTION "--serve"

// Runs csb-launch and the server until the server ended. `config` is what `sources` give, and
// follows them when they are read again. `argv` is the program's own command line, given on to the
// server. Returns the exit code.
int supervise(struct config *config, const struct config_sources *sources, char *const *argv);

// Serves until SIGTERM. Returns the exit code.
int serve(const struct config *config);

#endif
