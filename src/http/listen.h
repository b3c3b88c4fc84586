// SPDX-License-Identifier: Apache-2.0
//
// The listening TCP socket.
#ifndef CSB_HTTP_LISTEN_H
#define CSB_HTTP_LISTEN_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// True when `host` is a loopback address, or "localhost".
bool listen_is_loopback(const char *host);

// Binds and listens on a numeric address or "localhost" (no other name is looked up). `address`
// gets "host:port" with the real port. The socket is the caller's.
int listen_tcp(const char *host, uint16_t port, int *ret_fd, char *address, size_t size,
               struct err *err);

#endif
