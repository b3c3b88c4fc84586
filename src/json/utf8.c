// SPDX-License-Identifier: Apache-2.0
#include "json/utf8.h"

#include "base/buf.h"

#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD";

// How many bytes a character with this first byte has; 0 when none starts so.
static unsigned sequence_len(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 2;
    if (lead >= 0xE0 && lead <= 0xEF)
        return 3;
    if (lead >= 0xF0 && lead <= 0xF4)
        return 4;
    return 0;
}

// May `next` follow `lead` as second byte? The odd ranges exclude overlong forms, surrogates and
// values above U+10FFFF.
static bool second_ok(uint8_t lead, uint8_t next)
{
    uint8_t low = 0x80;
    uint8_t high = 0xBF;

    if (lead == 0xE0)
        low = 0xA0;
    else if (lead == 0xED)
        high = 0x9F;
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F;
    return next >= low && next <= high;
}

static bool continues(const struct utf8_fix *fix, uint8_t next)
{
    if (fix->pending_len == 1)
        return second_ok(fix->pending[0], next);
    return next >= 0x80 && next <= 0xBF;
}

static int replace(struct utf8_fix *fix, struct buf *out)
{
    fix->pending_len = 0;
    fix->lossy = true;
    return buf_append(out, replacement, 3);
}

// A byte >= 0x80, or any byte while a character is unfinished.
static int feed_byte(struct utf8_fix *fix, uint8_t c, struct buf *out)
{
    int r = 0;

    if (fix->pending_len > 0 && !continues(fix, c)) {
        r = replace(fix, out);
        if (r < 0)
            return r;
    }
    if (fix->pending_len == 0 && sequence_len(c) == 0)
        return replace(fix, out);
    fix->pending[fix->pending_len++] = c;
    if (fix->pending_len == sequence_len(fix->pending[0])) {
        r = buf_append(out, fix->pending, fix->pending_len);
        fix->pending_len = 0;
    }
    return r;
}

int utf8_fix_feed(struct utf8_fix *fix, const void *data, size_t len, struct buf *out)
{
    const uint8_t *bytes = data;
    size_t i = 0;

    while (i < len) {
        size_t start = i;
        int r;

        while (fix->pending_len == 0 && i < len && bytes[i] < 0x80)
            i++;
        r = buf_append(out, bytes + start, i - start);
        if (r == 0 && i < len)
            r = feed_byte(fix, bytes[i++], out);
        if (r < 0)
            return r;
    }
    return 0;
}

int utf8_fix_end(struct utf8_fix *fix, struct buf *out)
{
    if (fix->pending_len == 0)
        return 0;
    return replace(fix, out);
}

bool utf8_is_valid(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    size_t i = 0;

    while (i < len) {
        unsigned n = sequence_len(bytes[i]);

        if (n == 0 || n > len - i || (n > 1 && !second_ok(bytes[i], bytes[i + 1])))
            return false;
        for (unsigned k = 2; k < n; k++)
            if ((bytes[i + k] & 0xC0) != 0x80)
                return false;
        i += n;
    }
    return true;
}
