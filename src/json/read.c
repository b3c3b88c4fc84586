// SPDX-License-Identifier: Apache-2.0
#include "json/read.h"

#include "base/buf.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct shape {
    bool too_deep;
    bool too_many;
};

// jansson parses and frees recursively; with our own small limit a thread's small stack is enough.
// And it makes an object of some 50 bytes of "0," or "[],".
static struct shape measure(const char *text, size_t len)
{
    struct shape shape = {false, false};
    size_t depth = 0;
    size_t count = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            shape.too_deep = shape.too_deep || ++depth > JSON_DEPTH_MAX;
            count++;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        } else if (c == ',') {
            count++;
        }
    }
    shape.too_many = count > JSON_COUNT_MAX;
    return shape;
}

int json_read(const char *what, const void *text, size_t len, struct json_t **ret, struct err *err)
{
    struct shape shape = measure(text, len);
    json_error_t error;
    json_t *value;

    if (len == 0)
        return err_field(err, ERR_INVALID, what, "%s is empty; a JSON object is expected", what);
    if (shape.too_deep)
        return err_field(err, ERR_INVALID, what, "%s is nested deeper than %d levels", what,
                         JSON_DEPTH_MAX);
    if (shape.too_many)
        return err_field(err, ERR_INVALID, what, "%s has more than %d values", what,
                         JSON_COUNT_MAX);
    value =
        json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (value == NULL)
        return err_field(err, ERR_INVALID, what, "%s is not valid JSON: line %d column %d: %s",
                         what, error.line, error.column, error.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return err_field(err, ERR_INVALID, what, "%s must be a JSON object", what);
    }
    *ret = value;
    return 0;
}

void json_free(struct json_t **value)
{
    json_decref(*value);
    *value = NULL;
}

struct json_in json_top(const struct json_t *tree)
{
    struct json_in in = {.object = tree};

    return in;
}

void json_path(const struct json_in *in, const char *key, char *ret, size_t size)
{
    if (in->path[0] == '\0')
        (void)snprintf(ret, size, "%s", key[0] != '\0' ? key : "\"\""); // a field is never ""
    else
        (void)snprintf(ret, size, "%s.%s", in->path, key);
}

int json_fail(const struct json_in *in, const char *key, struct err *err, const char *fmt, ...)
{
    char path[sizeof(err->field)];
    char message[sizeof(err->message)];
    va_list ap;

    json_path(in, key, path, sizeof(path));
    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    return err_field(err, ERR_INVALID, path, "%s %s", path, message);
}

static const json_t *field(const struct json_in *in, const char *key)
{
    const json_t *value = json_object_get(in->object, key);

    return json_is_null(value) ? NULL : value;
}

int json_known(const struct json_in *in, const char *const *known, struct err *err)
{
    const char *key;
    json_t *value;

    // The macro wants a mutable object but does not change it.
    json_object_foreach((json_t *)(uintptr_t)in->object, key, value)
    {
        size_t i = 0;

        while (known[i] != NULL && strcmp(known[i], key) != 0)
            i++;
        if (known[i] == NULL)
            return json_fail(in, key, err, "is not a known field");
    }
    return 0;
}

int json_get_str(const struct json_in *in, const char *key, struct json_str *ret, struct err *err)
{
    const json_t *value = field(in, key);

    if (value == NULL)
        return 0;
    if (!json_is_string(value))
        return json_fail(in, key, err, "must be a string");
    ret->data = json_string_value(value);
    ret->len = json_string_length(value);
    return 0;
}

int json_get_text(const struct json_in *in, const char *key, struct json_str *ret, struct err *err)
{
    struct json_str str = {NULL, 0};

    if (json_get_str(in, key, &str, err) < 0)
        return -1;
    if (str.data == NULL)
        return 0;
    if (memchr(str.data, '\0', str.len) != NULL)
        return json_fail(in, key, err, "must not contain a NUL character");
    *ret = str;
    return 0;
}

// 1 with *ret, 0 when there is none.
static int get_integer(const struct json_in *in, const char *key, json_int_t *ret, struct err *err)
{
    const json_t *value = field(in, key);

    if (value == NULL)
        return 0;
    if (!json_is_integer(value))
        return json_fail(in, key, err, "must be an integer");
    *ret = json_integer_value(value);
    return 1;
}

int json_get_u64(const struct json_in *in, const char *key, uint64_t min, uint64_t max,
                 uint64_t *ret, struct err *err)
{
    json_int_t n;
    int r = get_integer(in, key, &n, err);

    if (r <= 0)
        return r;
    if (n < 0 || (uint64_t)n < min || (uint64_t)n > max)
        return json_fail(in, key, err, "must be between %llu and %llu", (unsigned long long)min,
                         (unsigned long long)max);
    *ret = (uint64_t)n;
    return 0;
}

int json_get_i64(const struct json_in *in, const char *key, int64_t min, int64_t max, int64_t *ret,
                 struct err *err)
{
    json_int_t n;
    int r = get_integer(in, key, &n, err);

    if (r <= 0)
        return r;
    if (n < min || n > max)
        return json_fail(in, key, err, "must be between %lld and %lld", (long long)min,
                         (long long)max);
    *ret = n;
    return 0;
}

int json_get_positive(const struct json_in *in, const char *key, double max, double *ret,
                      struct err *err)
{
    const json_t *value = field(in, key);
    double n;

    if (value == NULL)
        return 0;
    if (!json_is_number(value))
        return json_fail(in, key, err, "must be a number");
    n = json_number_value(value);
    if (!(n > 0 && n <= max))
        return json_fail(in, key, err, "must be above 0 and at most %g", max);
    *ret = n;
    return 0;
}

int json_get_bool(const struct json_in *in, const char *key, bool *ret, struct err *err)
{
    const json_t *value = field(in, key);

    if (value == NULL)
        return 0;
    if (!json_is_boolean(value))
        return json_fail(in, key, err, "must be true or false");
    *ret = json_is_true(value);
    return 0;
}

int json_get_object(const struct json_in *in, const char *key, struct json_in *ret, struct err *err)
{
    const json_t *value = field(in, key);

    ret->object = NULL;
    if (value == NULL)
        return 0;
    if (!json_is_object(value))
        return json_fail(in, key, err, "must be an object");
    json_path(in, key, ret->path, sizeof(ret->path));
    ret->object = value;
    return 0;
}

enum json_kind json_kind(const struct json_in *in, const char *key)
{
    const json_t *value = field(in, key);

    if (value == NULL)
        return JSON_KIND_NONE;
    switch (json_typeof(value)) {
    case JSON_STRING:
        return JSON_KIND_STRING;
    case JSON_OBJECT:
        return JSON_KIND_OBJECT;
    case JSON_ARRAY:
        return JSON_KIND_ARRAY;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_KIND_BOOL;
    case JSON_INTEGER:
    case JSON_REAL:
        return JSON_KIND_NUMBER;
    case JSON_NULL:
        break;
    }
    return JSON_KIND_NONE;
}

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = {
        [JSON_KIND_NONE] = "null",        [JSON_KIND_STRING] = "a string",
        [JSON_KIND_OBJECT] = "an object", [JSON_KIND_ARRAY] = "an array",
        [JSON_KIND_BOOL] = "a boolean",   [JSON_KIND_NUMBER] = "a number",
    };

    return names[kind];
}

size_t json_count(const struct json_in *in, const char *key)
{
    const json_t *value = field(in, key);

    return json_is_object(value) ? json_object_size(value) : json_array_size(value);
}

int json_item_text(const struct json_in *in, const char *key, size_t index, struct json_str *ret,
                   struct err *err)
{
    const json_t *value = json_array_get(field(in, key), index);
    char name[JSON_PATH_MAX];

    (void)snprintf(name, sizeof(name), "%.24s[%zu]", key, index);
    if (!json_is_string(value))
        return json_fail(in, name, err, "must be a string");
    ret->data = json_string_value(value);
    ret->len = json_string_length(value);
    if (memchr(ret->data, '\0', ret->len) != NULL)
        return json_fail(in, name, err, "must not contain a NUL character");
    return 0;
}

int json_each(const struct json_in *in, json_member_fn each, void *arg, struct err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)in->object, key, value)
    {
        if (each(arg, in, key, err) < 0)
            return -1;
    }
    return 0;
}

int json_item_object(const struct json_in *in, const char *key, size_t index, struct json_in *ret,
                     struct err *err)
{
    const json_t *value = json_array_get(field(in, key), index);
    char item[64];

    (void)snprintf(item, sizeof(item), "%.40s[%zu]", key, index);
    if (!json_is_object(value))
        return json_fail(in, item, err, "must be an object");
    ret->object = value;
    json_path(in, item, ret->path, sizeof(ret->path));
    return 0;
}

static int append_text(const char *data, size_t len, void *arg)
{
    return buf_append(arg, data, len) == 0 ? 0 : -1;
}

int json_text_without(const struct json_in *in, const char *const *without, struct buf *ret,
                      struct err *err)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)in->object); // shallow; not changed by it
    int r = copy == NULL ? -1 : 0;

    for (size_t i = 0; r == 0 && without[i] != NULL; i++)
        (void)json_object_del(copy, without[i]); // it need not be there
    if (r == 0)
        r = json_dump_callback(copy, append_text, ret, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(copy);
    return r == 0 ? 0 : err_set(err, ERR_TOO_LARGE, "the text is too large");
}
