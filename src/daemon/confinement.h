// SPDX-License-Identifier: Apache-2.0
//
// What holds the programs on this host, as the launcher says it at the time.
#ifndef CSB_DAEMON_CONFINEMENT_H
#define CSB_DAEMON_CONFINEMENT_H

#include "api/api.h"
#include "base/err.h"

struct config;
struct confinement;
struct launch_client;

// Asks the launcher for the first time; an error when it does not answer. `launch` and `config` are
// borrowed for the object's life.
int confinement_new(struct launch_client *launch, const struct config *config,
                    struct confinement **ret, struct err *err);
void confinement_free(struct confinement *c); // NULL allowed

// For api.confinement; `arg` is the object. Any thread. An answer is good for a second; a launcher
// that is busy for half a second leaves the last one in force, one that is gone leaves none.
void confinement_get(void *arg, struct api_confinement *ret);

// One line of log: the boundary, and what is missing on this host.
void confinement_log(struct confinement *c);

#endif
