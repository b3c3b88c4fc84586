// SPDX-License-Identifier: Apache-2.0
//
// What tests ask of the agent in a sandbox: its own calls and those of its data plane. What goes
// wrong is printed.
#ifndef CSB_TESTS_VM_AGENT_CALLS_H
#define CSB_TESTS_VM_AGENT_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;
struct channel_stream;

struct agent_body {
    const char *type; // NULL: none is told
    const void *data;
    size_t len;
};

// The status of the answer, 0 when there is none. `body` and `ret_text` (with its length) may be
// NULL; *ret_text is freed by the caller.
int agent_call(struct channel *ch, const char *method, const char *path,
               const struct agent_body *body, uint64_t deadline_ns, char **ret_text,
               size_t *ret_len);

// Whether it confirmed the time, entropy and names it was given.
bool agent_synced(struct channel *ch, uint64_t deadline_ns);

// Runs a shell script (without quotes or backslashes) as a process of the sandbox. Its output
// streams until the stream is closed. NULL when it could not be asked for.
struct channel_stream *agent_run(struct channel *ch, const char *user, const char *script,
                                 uint64_t deadline_ns);

// The same until the script has ended; *ret is what it wrote to its output, NULL when it could not
// be run. Freed by the caller.
char *agent_output(struct channel *ch, const char *user, const char *script, uint64_t deadline_ns);

#endif
