// SPDX-License-Identifier: Apache-2.0
//
// What compile steps made, kept in the service's memory, so that the same sources need not be
// compiled again. No run can reach it: content is what an agent sent of a compile step before
// anything of the program ran, and leaves it only as a copy in another sandbox. An entry serves
// nothing but the very same sources under the very same compiler, so whoever could spoil one
// spoils their own program. Any thread.
#ifndef CSB_SANDBOX_COMPILE_CACHE_H
#define CSB_SANDBOX_COMPILE_CACHE_H

#include "sandbox/engine.h"

#include <stddef.h>
#include <stdint.h>

struct buf;
struct compile_cache;

#define COMPILE_KEY_BYTES 32

struct compile_key {
    uint8_t digest[COMPILE_KEY_BYTES];
};

// Counted: compile_artifact_unref() what compile_cache_get() returned.
struct compile_artifact {
    const uint8_t *data;
    size_t len;
    const uint8_t *log; // what the compiler said: its warnings come again with a hit
    size_t log_len;
};

// `max_bytes` bounds all entries with what they cost beside their content; 0: nothing is kept. An
// entry may take an eighth of it. ERR_INTERNAL when memory is out.
int compile_cache_new(uint64_t max_bytes, struct compile_cache **ret, struct err *err);
void compile_cache_free(struct compile_cache *c); // NULL allowed

// The largest artifact that would be kept, bytes; at most AGENT_ARTIFACT_MAX.
size_t compile_cache_artifact_max(const struct compile_cache *c);

// The key of what a request's compile step makes: of the template (image and compiler), the
// runtime's id, version, commands and environment, and every file's path and content. The request's
// arguments, environment, input and limits do not reach the compiler or change what it makes.
// `files` are those that are sent, the program wrapped if it is to be.
void compile_cache_key(const struct run_request *req, const char *template_key,
                       struct compile_key *ret);

// NULL when there is none.
const struct compile_artifact *compile_cache_get(struct compile_cache *c,
                                                 const struct compile_key *key);
void compile_artifact_unref(const struct compile_artifact *a); // NULL allowed

// Takes the contents of both buffers, which are empty afterwards, also when nothing is kept: too
// large, or out of memory. What was there under the key is replaced; the entries that were not
// asked for the longest time make room.
void compile_cache_put(struct compile_cache *c, const struct compile_key *key, struct buf *artifact,
                       struct buf *log);

void compile_cache_status(struct compile_cache *c, struct engine_cache_status *ret);

#endif
