// SPDX-License-Identifier: Apache-2.0
//
// The state directory:
//   STATE_DIR/lock        held (flock) by the supervisor; one service per directory
//   STATE_DIR/templates/  the server's: templates, kept between runs
//   STATE_DIR/store/      the server's: keys and sandboxes; `csb key` writes there too
//   STATE_DIR/launch/     csb-launch's
#ifndef CSB_DAEMON_STATE_H
#define CSB_DAEMON_STATE_H

#include "base/err.h"

#include <stdint.h>

// Makes the directory and what is in it, and takes the lock; as root the server's part is given to
// `uid`. *ret_lock holds the lock while open. Errors: ERR_BUSY when another service has it.
int state_prepare(const char *dir, uint32_t uid, int *ret_lock, struct err *err);

// Opens STATE_DIR/NAME.
int state_open(const char *dir, const char *name, int *ret_fd, struct err *err);

#endif
