// SPDX-License-Identifier: Apache-2.0
//
// A changed configuration, from the supervisor, which may read the file, to the server, which may
// not: as text, "key = value" lines of what changed and may change while the service runs.
#ifndef CSB_DAEMON_RELOAD_H
#define CSB_DAEMON_RELOAD_H

#include "base/err.h"
#include "base/log.h"

#include <stddef.h>

struct config;
struct config_sources;

#define RELOAD_TEXT_MAX 16384

// Reads the sources anew against `now`. What changed but cannot be reloaded is named in the log.
// *ret gets `now` with what can be; `text` what differs, "" for nothing. -1 when the configuration
// has mistakes, which are logged.
int reload_read(const struct config *now, const struct config_sources *sources, struct config *ret,
                char text[RELOAD_TEXT_MAX]);

// *ret gets `now` with the text's settings. Errors as config_set() and config_finish().
int reload_take(const struct config *now, const char *text, struct config *ret, struct err *err);

enum log_level reload_log_level(const struct config *c);

#endif
