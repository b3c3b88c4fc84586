// SPDX-License-Identifier: Apache-2.0
//
// Jobs: programs that are queued, run when there is room, and whose results are kept. The queue
// (queue/queue.h) holds them; here are the threads that run them and those that tell callbacks.
//
// A job runs as POST /execute does, but waits for its sandbox behind whoever does not come from the
// queue. It is begun in the queue, on the disk, between having a sandbox and giving it the program.
#ifndef CSB_API_JOBS_H
#define CSB_API_JOBS_H

#include "base/err.h"

#include <stdint.h>

struct api;
struct exposition;
struct jobs;

// Opens the queue in the directory `dir_fd` (borrowed) and settles what was under way when the last
// service died. Nothing runs yet. `api` is borrowed; its engine, config and metrics are set by now.
int jobs_new(const struct api *api, int dir_fd, struct jobs **ret, struct err *err);

// Starts the threads.
int jobs_start(struct jobs *j, struct err *err);

// No job is begun from now on; returns at once.
void jobs_quiesce(struct jobs *j);

// jobs_quiesce(). Those under way have until the deadline, then they are cut.
void jobs_stop(struct jobs *j, uint64_t deadline_ns);

// After jobs_stop(), or where jobs_start() was not called. NULL allowed.
void jobs_free(struct jobs *j);

// How many there are, for /metrics.
void jobs_put_metrics(struct jobs *j, struct exposition *x);

#endif
