// SPDX-License-Identifier: Apache-2.0
//
// JSON text of a peer, read and looked at through every getter; and the same bytes as text to be
// repaired, where the result must be valid UTF-8, the same in pieces, and come through the writer
// and the reader unchanged.
#include "base/buf.h"
#include "json/base64.h"
#include "json/read.h"
#include "json/utf8.h"
#include "json/write.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int look(void *arg, const struct json_in *in, const char *key, struct err *err)
{
    int *depth = arg;
    struct json_in inner;
    struct json_str s = {NULL, 0};
    uint64_t n;
    double d;
    bool b;

    if (json_get_str(in, key, &s, err) == 0 && s.data != NULL && !utf8_is_valid(s.data, s.len))
        abort();
    (void)json_get_u64(in, key, 1, 1000, &n, err);
    (void)json_get_positive(in, key, 1e6, &d, err);
    (void)json_get_bool(in, key, &b, err);
    for (size_t i = 0; json_kind(in, key) == JSON_KIND_ARRAY && i < json_count(in, key); i++)
        (void)json_item_text(in, key, i, &s, err);
    if (json_get_object(in, key, &inner, err) < 0 || inner.object == NULL)
        return 0;
    if (++*depth > JSON_DEPTH_MAX)
        abort();
    (void)json_each(&inner, look, depth, err);
    --*depth;
    return 0;
}

static void read_it(const uint8_t *data, size_t len)
{
    _cleanup_json_ struct json_t *tree = NULL;
    struct err err = ERR_INIT;
    struct json_in top;
    int depth = 0;

    if (json_read("body", data, len, &tree, &err) < 0) {
        if (err.code != ERR_INVALID || strcmp(err.field, "body") != 0)
            abort();
        return;
    }
    top = json_top(tree);
    (void)json_each(&top, look, &depth, &err);
}

static void repair(const uint8_t *data, size_t len, size_t piece, struct buf *out, bool *ret_lossy)
{
    struct utf8_fix fix = UTF8_FIX_INIT;

    for (size_t at = 0; at < len; at += piece)
        if (utf8_fix_feed(&fix, data + at, len - at < piece ? len - at : piece, out) < 0)
            abort();
    if (utf8_fix_end(&fix, out) < 0)
        abort();
    *ret_lossy = fix.lossy;
}

static void repair_it(const uint8_t *data, size_t len)
{
    _cleanup_buf_ struct buf whole = BUF_INIT;
    _cleanup_buf_ struct buf pieces = BUF_INIT;
    bool lossy;
    bool lossy_pieces;

    repair(data, len, len, &whole, &lossy);
    repair(data, len, 1 + data[0] % 7, &pieces, &lossy_pieces);
    if (whole.len != pieces.len || memcmp(whole.data, pieces.data, whole.len) != 0 ||
        lossy != lossy_pieces || lossy == utf8_is_valid(data, len) ||
        !utf8_is_valid(whole.data, whole.len))
        abort();
}

static void round_trip(const uint8_t *data, size_t len)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_json_ struct json_t *tree = NULL;
    struct json_out out = {.buf = &text};
    struct json_str s = {NULL, 0};
    struct err err = ERR_INIT;
    struct json_in top;
    bool lossy;

    json_open(&out, NULL, '{');
    lossy = json_put_text(&out, "t", data, len);
    json_close(&out, '}');
    if (out.failed || json_read("text", text.data, text.len, &tree, &err) < 0)
        abort();
    top = json_top(tree);
    if (json_get_str(&top, "t", &s, &err) < 0 ||
        (!lossy && (s.len != len || memcmp(s.data, data, len) != 0)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_buf_ struct buf decoded = BUF_INIT;

    read_it(data, len);
    if (len == 0)
        return 0;
    repair_it(data, len);
    round_trip(data, len);
    if (base64_decode((const char *)data, len, &decoded) == 0 && decoded.len > len)
        abort();
    return 0;
}
