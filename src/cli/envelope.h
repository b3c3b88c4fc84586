// SPDX-License-Identifier: Apache-2.0
//
// Incremental reader of the Connect protocol's streams: envelopes of a flag byte, a big-endian
// length of four bytes and a message (https://connectrpc.com/docs/protocol). Pure.
#ifndef CSB_CLI_ENVELOPE_H
#define CSB_CLI_ENVELOPE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define ENVELOPE_MAX  (4u << 20) // bytes of a message
#define ENVELOPE_HEAD 5

// One message, borrowed for the call; `last`: the one that ends the stream. A value other than 0
// stops the reader.
typedef int (*envelope_fn)(void *arg, const char *message, size_t len, bool last);

struct envelopes {
    struct buf data;
    envelope_fn on_message;
    void *arg;
};

void envelopes_init(struct envelopes *e, envelope_fn on_message, void *arg);
void envelopes_release(struct envelopes *e);

// Takes a piece of the stream. 0, -EPROTO (compressed, or too long), -ENOMEM, or what on_message
// returned.
int envelopes_feed(struct envelopes *e, const void *bytes, size_t len);

// Appends a message as the one envelope of a request. 0 or -ENOMEM.
int envelope_write(struct buf *out, const char *message, size_t len);

#endif
