// SPDX-License-Identifier: Apache-2.0
//
// What a service manager is told (the protocol of sd_notify(3)): one datagram per message to the
// socket in $NOTIFY_SOCKET. Without that variable nothing is sent.
#ifndef CSB_DAEMON_NOTIFY_H
#define CSB_DAEMON_NOTIFY_H

#include <stdint.h>

struct notify {
    int fd;               // -1: nobody listens
    uint64_t beat_ns;     // how often WATCHDOG=1 is expected, halved; 0: never
    char address[108];    // as in sockaddr_un
    uint32_t address_len; // of the whole sockaddr_un
};

// Reads the variables and takes them out of the environment, so that no child speaks for this
// process. Single-threaded programs only. A socket that cannot be had is as none.
void notify_open(struct notify *n);
void notify_close(struct notify *n);

// Sends e.g. "READY=1". A manager that does not listen misses it: "WATCHDOG=1" at once, any other
// state after a second.
void notify_send(const struct notify *n, const char *state);

#endif
