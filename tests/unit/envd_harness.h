// SPDX-License-Identifier: Apache-2.0
//
// The agent's data plane in a process of its own, driven through the channel's client. Needs no
// privileges; programs run as the user who runs the test.
#ifndef CSB_TESTS_ENVD_HARNESS_H
#define CSB_TESTS_ENVD_HARNESS_H

#include "base/buf.h"
#include "channel/channel.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define DEADLINE_MS 60000

// Starts it in a new directory below /tmp, whose path is envd_dir; /init has made it the default
// working directory and the caller the default user.
void envd_begin(void);
// Ends it; false when it did not end well (a leak, an error a sanitizer found).
bool envd_finish(void);
// To it. Borrowed.
struct channel *envd_channel(void);
extern char envd_dir[64];
extern char envd_user[64];

struct reply {
    int status; // -1: no answer; -2: the answer was broken off
    struct buf body;
    json_t *json; // of the body, or NULL
};

void reply_release(struct reply *r);
#define _cleanup_reply_ __attribute__((cleanup(reply_release)))

// One exchange. `headers` ends with a NULL name, and may be NULL.
struct reply envd_call(const char *method, const char *path, const struct channel_header *headers,
                       const void *body, size_t len);

// A unary method of "process.Process/List" form. `format` is of printf.
struct reply envd_rpc(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// The word of a Connect error, or "ok".
const char *reply_code(const struct reply *r);

struct envd_stream {
    struct channel_stream *stream;
    struct buf in;
    bool ended;    // the end-of-stream envelope came
    bool broken;   // the stream ended without it
    char code[32]; // its error, "" when there is none
    json_t *last;  // owned by the stream
};

// A streaming method. `timeout_ms` 0: no header; `extra` as above.
void envd_open_stream(struct envd_stream *s, const char *name, int timeout_ms,
                      const struct channel_header *extra, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
// The next message, borrowed until the next call; NULL at the end or after `wait_ms`.
json_t *envd_next(struct envd_stream *s, int wait_ms);
void envd_close_stream(struct envd_stream *s);

// A process by /bin/sh -c, as Start is asked for. Returns its pid.
int envd_start(struct envd_stream *s, int timeout_ms, const char *script, const char *more);

// What a process said until its end.
struct outcome {
    struct buf out, err, pty;
    int exit_code;
    bool exited;
    bool has_end;
    char status[64];
};
void outcome_release(struct outcome *o);
#define _cleanup_outcome_ __attribute__((cleanup(outcome_release)))
// Reads to the end of the stream.
struct outcome envd_wait(struct envd_stream *s);

// Text of a buffer; "" when empty.
const char *text_of(struct buf *b);

void sleep_ms(int ms);

#endif
