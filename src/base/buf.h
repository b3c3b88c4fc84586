// SPDX-License-Identifier: Apache-2.0
//
// A growable byte buffer with a hard cap. `data` is never NULL after the first append and is not
// NUL-terminated unless buf_cstr() was called. BUF_INIT with cap 0 means "no cap"; give one
// wherever a peer decides the size.
#ifndef CSB_BASE_BUF_H
#define CSB_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len;
    size_t alloc;
    size_t cap; // largest len allowed, 0 for none
};

#define BUF_INIT      {0}
#define BUF_CAPPED(n) {.cap = (n)}

// Appends; returns 0, or -EFBIG when the cap would be passed, -ENOMEM. On failure the buffer is as
// it was.
int buf_append(struct buf *b, const void *data, size_t len);
int buf_appendf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_append_u8(struct buf *b, uint8_t v);
int buf_append_be32(struct buf *b, uint32_t v);

// Makes room for `len` more bytes and returns where they go (commit with b->len += n), or NULL.
uint8_t *buf_reserve(struct buf *b, size_t len);

// Drops the first `len` bytes (len <= b->len).
void buf_consume(struct buf *b, size_t len);

// The content as a C string (adds a NUL that is not counted), or NULL when memory is out. Borrowed.
const char *buf_cstr(struct buf *b);

void buf_clear(struct buf *b);   // len = 0, memory and cap kept
void buf_release(struct buf *b); // frees; the buffer is empty and usable again

#define _cleanup_buf_ __attribute__((cleanup(buf_release)))

#endif
