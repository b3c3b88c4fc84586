// SPDX-License-Identifier: Apache-2.0
//
// One request, and what all handlers share. A call lives as long as its stream; a handler that
// stays with it (a download, a subscriber) hangs its state on it and is told by the call's
// operations. Answers are queued here as far as the channel does not take them, so that writing
// never fails; who produces without end stops while call_backlog() is not 0.
#ifndef CSB_AGENT_ENVD_CALL_H
#define CSB_AGENT_ENVD_CALL_H

#include "agent/agent.h"
#include "agent/envd/user.h"
#include "base/buf.h"
#include "channel/server.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENVD_BODY_MAX     (8u << 20)  // of a call that is gathered
#define ENVD_GATHERED_MAX (64u << 20) // of all calls together
#define ENVD_SLICE_BYTES  (1u << 20)  // of file content between two looks at the loop
#define ENVD_PIECE_BYTES  (64u << 10) // of one read or write; fits a stream that has drained

struct call;
struct proc;
struct watcher;
struct json_in;

struct envd {
    struct agent *agent;
    struct loop *loop;
    struct cgroup *cgroup; // of all processes; NULL where they are in the agent's
    char **env;            // NAME=VALUE of the sandbox, NULL-terminated; NULL: none
    char user[USER_NAME_MAX + 1];
    char *workdir; // NULL: the user's home
    size_t gathered;
    struct proc *procs;
    uint64_t serials;  // of processes
    size_t proc_count; // running
    size_t ended_count;
    size_t output_bytes; // queued for subscribers, of all processes
    struct watcher *watchers;
    size_t watcher_count;
    uint64_t cpu_busy, cpu_total;    // at the last /metrics
    uint8_t piece[ENVD_PIECE_BYTES]; // content on its way, within one callback
};

// What a handler wants to hear; any may be NULL.
struct call_ops {
    void (*body)(struct call *c, const uint8_t *data, size_t len); // else the body is gathered
    void (*end)(struct call *c);                                   // the request is complete
    void (*drain)(struct call *c); // what was written has gone out; may be called for nothing
    void (*close)(struct call *c); // the last call
};

struct call {
    struct envd *envd;
    struct server_stream *stream;
    const struct route *route;
    const char *query; // after the '?', undecoded; "" when there is none
    const struct call_ops *ops;
    void *state; // the handler's
    struct buf body;
    bool too_large; // the body was not gathered in full
    bool is_stream; // of the Connect protocol
    bool begun;     // the answer has begun
    bool finished;  // nothing is to be added to it
    struct buf out; // of the answer, from out_off on
    size_t out_off;
};

// Begins an answer that is continued by call_write(). Later calls do nothing.
void call_begin(struct call *c, const struct server_answer *answer);

// Appends to the answer.
void call_write(struct call *c, const void *data, size_t len);

// Ends the answer once all was sent.
void call_finish(struct call *c);

// A whole answer. `data` of any length is copied.
void call_answer(struct call *c, int status, const char *content_type, const void *data,
                 size_t len);

// Breaks the answer off.
void call_reset(struct call *c);

// Bytes that wait here, beyond what the stream's own queue holds.
size_t call_backlog(const struct call *c);

// Makes the stream take what it can; tells the handler when nothing is left.
void call_drained(struct call *c);

// An error of the plain endpoints: {"code": status, "message": ...}.
void call_fail(struct call *c, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// The value of a query parameter, decoded, or NULL without one. Freed by the caller. -1: it cannot
// be decoded, which was answered.
int call_query(struct call *c, const char *key, char **ret);

// Milliseconds of the header connect-timeout-ms; 0: none.
uint64_t call_timeout_ms(const struct call *c);

// Seconds between keepalives, in nanoseconds.
uint64_t call_keepalive_ns(const struct call *c);

#define CALL_TEXT_MAX 600 // of a message, NUL included; longer ones are cut

#endif
