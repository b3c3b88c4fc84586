// SPDX-License-Identifier: Apache-2.0
//
// Which addresses the service may call because a client asked for it: public ones that are not this
// host's own, and those the operator named.
#ifndef CSB_WEBHOOK_ADDRESS_H
#define CSB_WEBHOOK_ADDRESS_H

#include "base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_RULES_MAX 32

// A network. IPv4 addresses are kept as IPv6's ::ffff:a.b.c.d.
struct address_rule {
    struct in6_addr network;
    uint32_t bits;
};

struct address_rules {
    size_t count;
    struct address_rule list[ADDRESS_RULES_MAX];
};

// Reads "10.1.0.0/16, ::1"; "" are no rules. ERR_INVALID.
int address_rules_parse(const char *text, struct address_rules *ret, struct err *err);

// True for a public unicast address that is not one of this host's, or one that a rule names. An
// IPv4 address inside of an IPv6 one is judged as what it is; translation and tunnel prefixes are
// not public. Other families are never allowed. `rules` may be NULL. Asks the kernel; does not
// block and sends nothing.
bool address_allowed(const struct sockaddr *address, const struct address_rules *rules);

#endif
