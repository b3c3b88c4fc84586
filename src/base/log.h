// SPDX-License-Identifier: Apache-2.0
//
// One line per event on standard error, for journald or a terminal: text, or a JSON object with
// `time`, `level`, `program`, `message` and what the thread is about. Programs log, libraries do
// not: the layer that turns an error into an answer logs it once. Never give it user code or
// secrets. Thread-safe: one write(2) per line.
#ifndef CSB_BASE_LOG_H
#define CSB_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

// Set once at start, before threads. `program` is borrowed for the life of the process.
void log_init(const char *program, enum log_level level);

// From any thread, at any time.
void log_set_level(enum log_level level);

// Set once at start, before threads. At first it is text.
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
void log_set_format(enum log_format format);

// What the lines of the calling thread are about from now on; both are copied, "" is nothing. A new
// request is about no sandbox at first.
void log_set_request(const char *request_id, const char *trace_id);
void log_set_sandbox(const char *id);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
