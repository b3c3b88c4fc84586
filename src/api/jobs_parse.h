// SPDX-License-Identifier: Apache-2.0
//
// The body of POST /jobs: that of POST /execute and some members more. Pure but for memory.
#ifndef CSB_API_JOBS_PARSE_H
#define CSB_API_JOBS_PARSE_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/queue.h"

#include <stddef.h>

struct address_rules;
struct config;
struct json_in;
struct runtime_table;

#define JOBS_PRIORITY_DEFAULT 5
#define JOBS_KEY_BYTES_MAX    (QUEUE_KEY_MAX - 1)

// Members that are a job's and not its program's; NULL-terminated.
extern const char *const jobs_fields[];
extern const char *const jobs_batch_fields[];

struct jobs_parse {
    const struct config *config;
    const struct runtime_table *runtimes;
    const struct address_rules *rules;
    const char *owner;           // borrowed by the jobs
    uint64_t owner_jobs_max;     // JOB_MAX_PER_KEY, or the owner's own
    char trace[QUEUE_TRACE_MAX]; // "" for none; borrowed by the jobs
};

struct jobs_request {
    struct queue_job job; // points into the rest, and into the tree
    struct buf body;      // the program's request, as it is stored
    char label[QUEUE_LABEL_MAX];
};

// Checks everything. The tree must outlive *ret. On failure *ret is empty. ERR_INVALID and
// ERR_TOO_LARGE, the field named.
int jobs_parse_one(const struct jobs_parse *p, const struct json_in *in, struct jobs_request *ret,
                   struct err *err);
void jobs_request_release(struct jobs_request *r);

#endif
