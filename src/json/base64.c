// SPDX-License-Identifier: Apache-2.0
#include "json/base64.h"

#include "base/buf.h"

#include <errno.h>
#include <stdint.h>

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    if (c == '/')
        return 63;
    return -1;
}

// Four characters to 1..3 bytes; only the last group may be padded. Returns the byte count,
// -EINVAL.
static int decode_group(const char *text, int last, uint8_t ret[3])
{
    int pad = 0;
    uint32_t bits = 0;

    if (last && text[3] == '=')
        pad = text[2] == '=' ? 2 : 1;
    for (int i = 0; i < 4; i++) {
        int d = i < 4 - pad ? digit(text[i]) : 0;

        if (d < 0)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)d;
    }
    if ((pad == 1 && (bits & 0xFF) != 0) || (pad == 2 && (bits & 0xFFFF) != 0))
        return -EINVAL;
    ret[0] = (uint8_t)(bits >> 16);
    ret[1] = (uint8_t)(bits >> 8);
    ret[2] = (uint8_t)bits;
    return 3 - pad;
}

int base64_decode(const char *text, size_t len, struct buf *out)
{
    if (len % 4 != 0)
        return -EINVAL;
    for (size_t i = 0; i < len; i += 4) {
        uint8_t bytes[3];
        int n = decode_group(text + i, i + 4 == len, bytes);
        int r;

        if (n < 0)
            return n;
        r = buf_append(out, bytes, (size_t)n);
        if (r < 0)
            return r;
    }
    return 0;
}

int base64_encode(const void *data, size_t len, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = data;
    int r = 0;

    for (size_t i = 0; r == 0 && i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t v = 0;
        char group[4] = {'=', '=', '=', '='};

        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < n ? in[i + k] : 0);
        for (size_t k = 0; k <= n; k++)
            group[k] = digits[(v >> (18 - 6 * k)) & 63];
        r = buf_append(out, group, sizeof(group));
    }
    return r;
}

// As digit(), and the two of the URL-safe alphabet.
static int digit_any(char c)
{
    return c == '-' ? 62 : c == '_' ? 63 : digit(c);
}

int base64_decode_any(const char *text, size_t len, struct buf *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    uint8_t *to;
    size_t n = 0;

    for (int i = 0; i < 2 && len > 0 && text[len - 1] == '='; i++)
        len--;
    if (len % 4 == 1)
        return -EINVAL;
    to = buf_reserve(out, len / 4 * 3 + 3);
    if (to == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < len; i++) {
        int d = digit_any(text[i]);

        if (d < 0)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[n++] = (uint8_t)(bits >> have);
        }
    }
    out->len += n;
    return 0;
}
