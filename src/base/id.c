// SPDX-License-Identifier: Apache-2.0
#include "base/id.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

void id_random(void *data, size_t len)
{
    uint8_t *p = data;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort();
        p += n;
        len -= (size_t)n;
    }
}

static void put_hex(char *out, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
}

void id_hex(char *ret, size_t bytes)
{
    for (size_t done = 0; done < bytes; done++) {
        uint8_t b;

        id_random(&b, 1);
        put_hex(ret + 2 * done, &b, 1);
    }
    ret[2 * bytes] = '\0';
}

void id_uuid4(char ret[ID_UUID_LEN + 1])
{
    static const uint8_t group_bytes[] = {4, 2, 2, 2, 6};
    uint8_t raw[16];
    size_t in = 0;
    char *out = ret;

    id_random(raw, sizeof(raw));
    raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40);
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
    for (size_t g = 0; g < sizeof(group_bytes); g++) {
        if (g > 0)
            *out++ = '-';
        put_hex(out, raw + in, group_bytes[g]);
        out += 2 * group_bytes[g];
        in += group_bytes[g];
    }
    *out = '\0';
}
