// SPDX-License-Identifier: Apache-2.0
//
// Building JSON text in order, straight into a buffer: no tree, one pass. Commas are put by the
// writer. A failed append (memory, the buffer's cap) sticks in `failed`; the caller looks once, at
// the end. Not thread-safe per object.
//
//     struct json_out out = {.buf = &b};
//     json_open(&out, NULL, '{');
//     json_put_str(&out, "status", "ok");
//     json_close(&out, '}');
#ifndef CSB_JSON_WRITE_H
#define CSB_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

struct json_out {
    struct buf *buf; // borrowed
    bool comma;      // the next value needs a comma before it
    bool failed;
};

// `key` is NULL inside arrays and at the top; else valid UTF-8. `bracket` is '{' or '[', closed by
// '}' or ']'.
void json_open(struct json_out *out, const char *key, char bracket);
void json_close(struct json_out *out, char bracket);

// Bytes become a JSON string. Text that is not UTF-8 is repaired (json/utf8.h); a NULL `text` is
// written as null. Returns whether anything was replaced.
bool json_put_text(struct json_out *out, const char *key, const void *text, size_t len);
bool json_put_str(struct json_out *out, const char *key, const char *text);

void json_put_null(struct json_out *out, const char *key);
void json_put_bool(struct json_out *out, const char *key, bool value);
void json_put_u64(struct json_out *out, const char *key, uint64_t value);
void json_put_i64(struct json_out *out, const char *key, int64_t value);
// With at most six digits after the point, never an exponent. Not finite: null.
void json_put_double(struct json_out *out, const char *key, double value);
// A value that is JSON already.
void json_put_raw(struct json_out *out, const char *key, const char *json);

#endif
