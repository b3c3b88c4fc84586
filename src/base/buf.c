// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int grow(struct buf *b, size_t more)
{
    size_t need;
    size_t want;
    uint8_t *data;

    if (__builtin_add_overflow(b->len, more, &need) || need > SIZE_MAX / 2)
        return -ENOMEM;
    if (b->cap != 0 && need > b->cap)
        return -EFBIG;
    if (need <= b->alloc)
        return 0;
    want = b->alloc == 0 ? 256 : b->alloc * 2;
    if (want < need)
        want = need;
    data = realloc(b->data, want);
    if (data == NULL)
        return -ENOMEM;
    b->data = data;
    b->alloc = want;
    return 0;
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
    if (grow(b, len) < 0)
        return NULL;
    return b->data + b->len;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
    int r = grow(b, len);

    if (r < 0)
        return r;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

int buf_append_u8(struct buf *b, uint8_t v)
{
    return buf_append(b, &v, 1);
}

int buf_append_be32(struct buf *b, uint32_t v)
{
    const uint8_t bytes[4] = {
        (uint8_t)(v >> 24),
        (uint8_t)(v >> 16),
        (uint8_t)(v >> 8),
        (uint8_t)v,
    };

    return buf_append(b, bytes, sizeof(bytes));
}

int buf_appendf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_list again;
    int n;
    int r;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    r = n < 0 ? -EINVAL : grow(b, (size_t)n + 1);
    if (r == 0) {
        (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return r;
}

void buf_consume(struct buf *b, size_t len)
{
    if (len < b->len)
        memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

const char *buf_cstr(struct buf *b)
{
    size_t cap = b->cap;
    int r;

    b->cap = 0;
    r = grow(b, 1);
    b->cap = cap;
    if (r < 0)
        return NULL;
    b->data[b->len] = '\0';
    return (const char *)b->data;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
}

void buf_release(struct buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = 0;
    b->alloc = 0;
}
