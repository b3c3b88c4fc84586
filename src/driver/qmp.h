// SPDX-License-Identifier: Apache-2.0
//
// A small client of QEMU's monitor protocol (QMP) on a connected stream socket. QEMU may have been
// taken over by its guest, so what it says is hostile: messages are capped at QMP_MESSAGE_MAX bytes
// and strictly parsed, and every wait has a deadline.
//
// Commands may be sent ahead: replies come in the order of the commands. Events between them are
// skipped, but the state of a migration is remembered.
//
// One thread at a time, except for qmp_cut().
#ifndef CSB_DRIVER_QMP_H
#define CSB_DRIVER_QMP_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define QMP_MESSAGE_MAX (64u << 10)

struct qmp;
struct json_t;

// Takes `fd`, also on failure.
int qmp_new(int fd, struct qmp **ret, struct err *err);
void qmp_free(struct qmp *q); // NULL allowed

// Makes a call that waits in another thread, and all later ones, fail with ERR_GONE.
void qmp_cut(struct qmp *q);

// Sends a command; `arguments` is a JSON object as text, or NULL. `pass_fd` goes with it, or is -1
// (borrowed). Does not wait. ERR_GONE, ERR_BUSY when QEMU takes no more.
int qmp_send(struct qmp *q, const char *command, const char *arguments, int pass_fd,
             struct err *err);

// Waits for the reply to the oldest command without one. ERR_TIMEOUT, ERR_GONE, ERR_PROTOCOL, and
// ERR_INTERNAL with QEMU's own words when it refused.
int qmp_reply(struct qmp *q, uint64_t deadline_ns, struct err *err);

// qmp_send() and qmp_reply().
int qmp_execute(struct qmp *q, const char *command, const char *arguments, uint64_t deadline_ns,
                struct err *err);

// Waits until the migration, in or out, completed. Needs the capability `events` to be set. Errors
// as in qmp_reply(); ERR_INTERNAL when it failed.
int qmp_wait_migration(struct qmp *q, uint64_t deadline_ns, struct err *err);

#endif
