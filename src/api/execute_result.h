// SPDX-License-Identifier: Apache-2.0
//
// The answer of POST /execute: what the program wrote, as text, and its result as JSON.
#ifndef CSB_API_EXECUTE_RESULT_H
#define CSB_API_EXECUTE_RESULT_H

#include "base/buf.h"
#include "sandbox/engine.h"
#include "json/utf8.h"

#include <stdbool.h>

struct json_out;

// What was written, as valid UTF-8. A character that a program wrote in two pieces is one again;
// streams are repaired each by itself, so their mixing in `output` never breaks one.
struct execute_text {
    uint64_t room_bytes; // raw bytes still taken; the sandbox keeps the limit, this keeps it honest
    uint64_t compile_room_bytes; // the compiler has a limit of its own
    bool cut;                    // more came than there was room for
    struct buf output;           // stdout and stderr in the order they came
    struct buf out;
    struct buf err;
    struct buf compile;
    struct utf8_fix fix_out;
    struct utf8_fix fix_err;
    struct utf8_fix fix_compile;
};

// `output_bytes` is the limit of the run.
void execute_text_init(struct execute_text *t, uint64_t output_bytes);
void execute_text_add(struct execute_text *t, const struct run_event *event);
// Call before reading: closes characters that never were completed.
void execute_text_end(struct execute_text *t);
bool execute_text_lossy(const struct execute_text *t);
void execute_text_release(struct execute_text *t);

struct execute_answer {
    const char *request_id;
    const struct runtime *runtime;
    const struct run_result *result;
    const struct execute_text *text; // NULL: the texts were streamed and are left out
    bool lossy;
    bool truncated; // beyond what the result says
};

// One JSON object. The members and their order are in docs/API.md.
void execute_write_answer(struct json_out *out, const struct execute_answer *a);

// "ok", "error", "timeout", ...
const char *execute_status(const struct run_result *result);

#endif
