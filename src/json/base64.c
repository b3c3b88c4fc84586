// SPDX-License-Identifier: Apache-2.0
#include "json/base64.h"

#include "base/buf.h"

#include <errno.h>
#include <stdbool.h>
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
    size_t size = (len + 2) / 3 * 4;
    uint8_t *to = buf_reserve(out, size);
    size_t i = 0;

    if (to == NULL)
        return out->cap != 0 && out->cap - out->len < size ? -EFBIG : -ENOMEM;
    for (; len - i >= 3; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];

        *to++ = (uint8_t)digits[v >> 18];
        *to++ = (uint8_t)digits[v >> 12 & 63];
        *to++ = (uint8_t)digits[v >> 6 & 63];
        *to++ = (uint8_t)digits[v & 63];
    }
    if (i < len) {
        bool two = len - i == 2;
        uint32_t v = (uint32_t)in[i] << 16 | (two ? (uint32_t)in[i + 1] << 8 : 0);

        *to++ = (uint8_t)digits[v >> 18];
        *to++ = (uint8_t)digits[v >> 12 & 63];
        *to++ = two ? (uint8_t)digits[v >> 6 & 63] : '=';
        *to++ = '=';
    }
    out->len += size;
    return 0;
}

// One more than the value of a digit of either alphabet; 0 for what is none.
static const uint8_t digits_any[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
    ['-'] = 63, ['_'] = 64,
};

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
        uint32_t d = digits_any[(uint8_t)text[i]];

        if (d == 0)
            return -EINVAL;
        bits = bits << 6 | (d - 1);
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[n++] = (uint8_t)(bits >> have);
        }
    }
    out->len += n;
    return 0;
}
