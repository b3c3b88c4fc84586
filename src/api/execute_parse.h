// SPDX-License-Identifier: Apache-2.0
//
// The body of POST /execute: from hostile bytes to a checked run_request. Pure but for memory.
#ifndef CSB_API_EXECUTE_PARSE_H
#define CSB_API_EXECUTE_PARSE_H

#include "base/err.h"
#include "sandbox/engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXECUTE_ARGS_MAX       256
#define EXECUTE_ENV_MAX        128
#define EXECUTE_ARGS_ENV_BYTES ((size_t)128 << 10) // args and env together
#define EXECUTE_FILES_MAX      255                 // beside the program

struct buf;
struct config;
struct json_t;

// The members that the body, a file or stdin written as an object, and "limits" may have; NULL
// ends each. src/api/openapi.yaml says the same, and a test compares them.
extern const char *const execute_fields[];
extern const char *const execute_content_fields[];
extern const char *const execute_limit_fields[];

struct execute_request {
    struct run_request run; // points into the rest; `gone` is not set
    bool stream;            // "stream": true
    struct json_t *tree;
    struct run_file *files;
    struct buf *decoded; // decoded base64: one per file, and one for stdin
    size_t decoded_count;
    const char **args;
    char **env;
    size_t env_count;
};

// Checks everything; the request's text need not outlive the call. On failure *ret is empty.
// Errors: ERR_INVALID with the field named.
int execute_parse(const struct config *config, const struct runtime_table *runtimes,
                  const void *body, size_t len, struct execute_request *ret, struct err *err);

void execute_request_release(struct execute_request *r);

#endif
