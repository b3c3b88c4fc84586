// SPDX-License-Identifier: Apache-2.0
#include "json/write.h"

#include "base/buf.h"
#include "json/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void add(struct json_out *out, const void *data, size_t len)
{
    if (!out->failed && buf_append(out->buf, data, len) < 0)
        out->failed = true;
}

static void add_str(struct json_out *out, const char *s)
{
    add(out, s, strlen(s));
}

static void escape_byte(struct json_out *out, uint8_t c)
{
    static const char short_forms[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char text[8];

    if (c == '"' || c == '\\')
        (void)snprintf(text, sizeof(text), "\\%c", c);
    else if (c < sizeof(short_forms) && short_forms[c] != 0)
        (void)snprintf(text, sizeof(text), "\\%c", short_forms[c]);
    else
        (void)snprintf(text, sizeof(text), "\\u%04x", c);
    add_str(out, text);
}

// `text` is valid UTF-8.
static void add_quoted(struct json_out *out, const uint8_t *text, size_t len)
{
    size_t start = 0;

    add(out, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        if (text[i] >= 0x20 && text[i] != '"' && text[i] != '\\')
            continue;
        add(out, text + start, i - start);
        escape_byte(out, text[i]);
        start = i + 1;
    }
    add(out, text + start, len - start);
    add(out, "\"", 1);
}

static void begin(struct json_out *out, const char *key)
{
    if (out->comma)
        add(out, ",", 1);
    out->comma = true;
    if (key == NULL)
        return;
    add_quoted(out, (const uint8_t *)key, strlen(key));
    add(out, ":", 1);
}

void json_open(struct json_out *out, const char *key, char bracket)
{
    begin(out, key);
    add(out, &bracket, 1);
    out->comma = false;
}

void json_close(struct json_out *out, char bracket)
{
    add(out, &bracket, 1);
    out->comma = true;
}

bool json_put_text(struct json_out *out, const char *key, const void *text, size_t len)
{
    struct utf8_fix fix = UTF8_FIX_INIT;
    _cleanup_buf_ struct buf clean = BUF_INIT;

    if (text == NULL) {
        json_put_null(out, key);
        return false;
    }
    begin(out, key);
    if (utf8_is_valid(text, len)) {
        add_quoted(out, text, len);
        return false;
    }
    if (utf8_fix_feed(&fix, text, len, &clean) < 0 || utf8_fix_end(&fix, &clean) < 0)
        out->failed = true;
    add_quoted(out, clean.data, clean.len);
    return true;
}

bool json_put_str(struct json_out *out, const char *key, const char *text)
{
    return json_put_text(out, key, text, text == NULL ? 0 : strlen(text));
}

void json_put_raw(struct json_out *out, const char *key, const char *json)
{
    begin(out, key);
    add_str(out, json);
}

void json_put_null(struct json_out *out, const char *key)
{
    json_put_raw(out, key, "null");
}

void json_put_bool(struct json_out *out, const char *key, bool value)
{
    json_put_raw(out, key, value ? "true" : "false");
}

void json_put_u64(struct json_out *out, const char *key, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    json_put_raw(out, key, text);
}

void json_put_i64(struct json_out *out, const char *key, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    json_put_raw(out, key, text);
}

void json_put_double(struct json_out *out, const char *key, double value)
{
    char text[340]; // the largest double without exponent has 309 digits
    size_t len;

    if (!isfinite(value)) {
        json_put_null(out, key);
        return;
    }
    (void)snprintf(text, sizeof(text), "%.6f", value);
    len = strlen(text);
    while (text[len - 1] == '0' && text[len - 2] != '.')
        text[--len] = '\0';
    json_put_raw(out, key, text);
}
