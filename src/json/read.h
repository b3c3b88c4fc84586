// SPDX-License-Identifier: Apache-2.0
//
// Strict reading of JSON from hostile peers, over jansson: duplicate keys, invalid UTF-8, trailing
// text and deep nesting are refused; every error names the field by its path ("limits.wall_ms",
// "files.lib/util.py", "args[3]"). Thread-safe: nothing is shared.
//
// How it works: json_read() makes a tree; a `struct json_in` is one object of it with the path that
// leads there; json_known() refuses fields nobody asked for; the json_get_* functions take single
// fields. In all of them a field that is absent or null leaves *ret untouched, so the caller puts
// the default there first; wrong type or range is ERR_INVALID with err->field set.
#ifndef CSB_JSON_READ_H
#define CSB_JSON_READ_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t; // jansson's value

#define JSON_DEPTH_MAX 64    // levels of nesting
#define JSON_COUNT_MAX 20000 // values of one text: each takes much more memory than its two bytes
#define JSON_PATH_MAX  48    // bytes of an object's path; longer ones are cut in messages

struct json_in {
    const struct json_t *object; // borrowed from the tree
    char path[JSON_PATH_MAX];    // "" at the top
};

// A string of the tree: borrowed, NUL-terminated, and `len` counts NULs inside. data NULL: absent.
struct json_str {
    const char *data;
    size_t len;
};

// Parses exactly one JSON object. `what` is the field name used for errors of the text as a whole
// ("body"). The result is freed with json_free(). 0, or -1 with ERR_INVALID.
int json_read(const char *what, const void *text, size_t len, struct json_t **ret, struct err *err);
void json_free(struct json_t **value); // *value may be NULL
#define _cleanup_json_ __attribute__((cleanup(json_free)))

// The top object of a tree.
struct json_in json_top(const struct json_t *tree);

// 0 when every key of the object is in the NULL-terminated list `known`.
int json_known(const struct json_in *in, const char *const *known, struct err *err);

// Writes the path of a field of `in` to `ret`, cut to `size`.
void json_path(const struct json_in *in, const char *key, char *ret, size_t size);

// Sets ERR_INVALID on the field `key` of `in`. Returns -1.
int json_fail(const struct json_in *in, const char *key, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

int json_get_str(const struct json_in *in, const char *key, struct json_str *ret, struct err *err);
// As above, and refuses NUL characters.
int json_get_text(const struct json_in *in, const char *key, struct json_str *ret, struct err *err);
// An integer (not 1.0, not "1") in [min, max].
int json_get_u64(const struct json_in *in, const char *key, uint64_t min, uint64_t max,
                 uint64_t *ret, struct err *err);
int json_get_i64(const struct json_in *in, const char *key, int64_t min, int64_t max, int64_t *ret,
                 struct err *err);
// A number above 0 and at most `max`.
int json_get_positive(const struct json_in *in, const char *key, double max, double *ret,
                      struct err *err);
int json_get_bool(const struct json_in *in, const char *key, bool *ret, struct err *err);
// A nested object; ret->object is NULL when absent.
int json_get_object(const struct json_in *in, const char *key, struct json_in *ret,
                    struct err *err);

enum json_kind {
    JSON_KIND_NONE, // absent or null
    JSON_KIND_STRING,
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY,
    JSON_KIND_BOOL,
    JSON_KIND_NUMBER,
};
enum json_kind json_kind(const struct json_in *in, const char *key);
const char *json_kind_name(enum json_kind kind); // "a string", "an object", ...

// Elements of an array or members of an object; 0 when absent or of another type.
size_t json_count(const struct json_in *in, const char *key);

// A string element of the array `key`, without NUL.
int json_item_text(const struct json_in *in, const char *key, size_t index, struct json_str *ret,
                   struct err *err);

// An element of the array `key`, which must be an object.
int json_item_object(const struct json_in *in, const char *key, size_t index, struct json_in *ret,
                     struct err *err);

// Appends the object as JSON text, its members in the order of their names, without those of the
// NULL-terminated list `without`. ERR_TOO_LARGE when the buffer's cap would be passed.
struct buf;
int json_text_without(const struct json_in *in, const char *const *without, struct buf *ret,
                      struct err *err);

// Calls `each` for every member of the object in its order; stops at the first that returns -1.
typedef int (*json_member_fn)(void *arg, const struct json_in *in, const char *key,
                              struct err *err);
int json_each(const struct json_in *in, json_member_fn each, void *arg, struct err *err);

#endif
