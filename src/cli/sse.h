// SPDX-License-Identifier: Apache-2.0
//
// Incremental reader of server-sent events (WHATWG HTML, section 9.2.6), as far as the service uses
// them: `event:` and `data:` lines, comments, LF line ends. Pure.
#ifndef CSB_CLI_SSE_H
#define CSB_CLI_SSE_H

#include "base/buf.h"

#include <stddef.h>

#define SSE_EVENT_MAX (4u << 20)

// One event; both strings are borrowed for the call. A value other than 0 stops the reader.
typedef int (*sse_event_fn)(void *arg, const char *event, const char *data);

struct sse {
    struct buf line;
    struct buf data;
    char event[32];
    sse_event_fn on_event;
    void *arg;
};

void sse_init(struct sse *s, sse_event_fn on_event, void *arg);
void sse_release(struct sse *s);

// Takes a piece of the stream. 0, -EFBIG, -ENOMEM, or what on_event returned.
int sse_feed(struct sse *s, const char *bytes, size_t len);

#endif
