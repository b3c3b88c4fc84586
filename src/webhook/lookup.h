// SPDX-License-Identifier: Apache-2.0
//
// Addresses of a name, unless the service stops. The C library's resolver takes as long as it
// takes, half a minute and more where a name's servers do not answer, and cannot be ended: so a
// thread asks it, and whoever waits may leave it behind. That is for a stop alone: threads that
// were left for any other reason would pile up.
#ifndef CSB_WEBHOOK_LOOKUP_H
#define CSB_WEBHOOK_LOOKUP_H

#include "base/err.h"

#include <netdb.h>
#include <stdatomic.h>

#define LOOKUP_HOST_MAX 256 // bytes, the NUL among them
#define LOOKUP_PORT_MAX 8

// *ret is freed with freeaddrinfo(). `stop` may be NULL. Blocks for as long as the resolver does,
// or little longer than until `stop`. Errors: ERR_GONE (there is no such name, or nobody says),
// ERR_CANCELLED (`stop`), ERR_SYSTEM (no thread), ERR_INTERNAL. Any thread.
int lookup_name(const char *host, const char *port, const atomic_bool *stop, struct addrinfo **ret,
                struct err *err);

#endif
