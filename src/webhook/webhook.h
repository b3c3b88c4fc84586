// SPDX-License-Identifier: Apache-2.0
//
// Telling a URL that a client named: one signed POST, to public addresses only.
//
// The name is resolved once, every address it has is checked, and the connection is made to one of
// those that were checked and to no other; the socket's address is checked once more when it is
// made. Redirects are not followed, proxies of the environment not used, what is answered beyond
// the status is not kept.
#ifndef CSB_WEBHOOK_WEBHOOK_H
#define CSB_WEBHOOK_WEBHOOK_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct address_rules;

#define WEBHOOK_URL_MAX 1024 // bytes

struct webhook {
    const char *url;
    const char *id; // of what it is about; letters and digits
    uint32_t attempt;
    const char *trace; // a traceparent to send along, or ""
    const void *body;  // JSON
    size_t body_len;
    const char *secret;  // of whom it is for: webhook/sign.h
    const char *ca_file; // or ""
    uint64_t timeout_ms;
    const struct address_rules *rules; // beyond public addresses; or NULL
    const atomic_bool *stop;           // ends the call early; or NULL
};

// What can be said of a URL without asking anybody: http or https, no user or password, no address
// that is refused in any spelling. ERR_INVALID.
int webhook_check_url(const char *url, const struct address_rules *rules, struct err *err);

// Blocks for `timeout_ms` at most, and for the resolver before that; in all little longer than
// until `stop`. 0: answered with 2xx. Errors: ERR_INVALID (the URL or its addresses are refused:
// trying again does not help), ERR_GONE (no such name, no connection, or the wrong certificate),
// ERR_TIMEOUT, ERR_PROTOCOL (answered with another status), ERR_CANCELLED (`stop`), ERR_INTERNAL.
// Any thread.
int webhook_send(const struct webhook *w, struct err *err);

#endif
