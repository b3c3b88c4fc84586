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

// The text in that colour, where colours may be used; padded to `width` (0: not) without counting
// the colour.
void out_put(FILE *file, enum out_color color, int width, const char *text);

// These bytes as a JSON string, of which there may be none (`data` is NULL then); NULL for what is
// not UTF-8.
json_t *out_string(const void *data, size_t len);

// The value, on a line.
void out_json(const json_t *value);

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
