// SPDX-License-Identifier: Apache-2.0
//
// What csb shows: colours and progress where a terminal is, JSON where it was asked for.
#ifndef CSB_CLI_OUT_H
#define CSB_CLI_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

void out_free_json(json_t **j);
#define _cleanup_json_ __attribute__((cleanup(out_free_json)))

// Whether colours may be used: a terminal that is not "dumb", and NO_COLOR is not set.
bool out_colored(FILE *file);

enum out_color { OUT_PLAIN, OUT_GREEN, OUT_YELLOW, OUT_RED, OUT_BOLD };

// What others wrote, for a terminal: control characters (line ends among them) and bytes that are
// no UTF-8 become \\xNN, so that none of it moves the cursor, and a name stays on its line. Freed
// with free(); NULL when memory is out.
char *out_escape(const char *text);

// The same of all strings and keys in it; a new value.
json_t *out_plain(const json_t *value);

// The text in that colour, where colours may be used; padded to `width` (0: not) without counting
// the colour.
void out_put(FILE *file, enum out_color color, int width, const char *text);

// These bytes as a JSON string, of which there may be none (`data` is NULL then); NULL for what is
// not UTF-8.
json_t *out_string(const void *data, size_t len);

// The value, on a line.
void out_json(const json_t *value);

// From here on an error is told on standard output, too: {"error": {"message": ...}}, on a line.
// Said once, by who found --json among the options.
void out_json_errors(void);

// "csb WHO: ..." on standard error, on a line, as out_escape() has it.
void out_error(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The same of a service's refusal, whose "message" it is; as JSON all of it. `otherwise`: for one
// that has none.
void out_refusal(const char *who, const json_t *refusal, const char *otherwise);

// At the end of the program: the exit code, which is another where standard output could not be
// written, or where an error was not told yet that should have been.
int out_finish(int exit_code);

// "12.3 MiB"; `ret` has room for 24 bytes.
void out_bytes(uint64_t bytes, char ret[24]);

// A line on standard error, if that is a terminal, that the next one replaces; at most ten a
// second. `total` 0: not known. out_progress_end() removes it.
struct out_progress {
    const char *what;
    uint64_t next_ns;
    bool shown;
};
void out_progress(struct out_progress *p, uint64_t done, uint64_t total);
void out_progress_end(struct out_progress *p);

#endif
