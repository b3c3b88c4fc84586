// SPDX-License-Identifier: Apache-2.0
//
// Composes the stream from which QEMU restores an image. It is a migration stream: that of the
// template, whose RAM QEMU has mapped already, with the pages that the VM changed since, and with
// the device state of the VM in place of the template's.
#ifndef CSB_DRIVER_QEMU_STREAM_H
#define CSB_DRIVER_QEMU_STREAM_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Where the parts of a template's stream are; points into it.
struct qemu_stream_parts {
    const uint8_t *stream;
    size_t head_len; // header, and the list of memory blocks
    size_t ram_end;  // after it the blocks' contents (but for the RAM), up to here
    uint8_t section[4];
    const uint8_t *block; // the name of the RAM's block, its length before it
};

// Reads a template's stream of `len` bytes. ERR_PROTOCOL when it is not what QEMU writes.
int qemu_stream_parse(const uint8_t *stream, size_t len, uint64_t memory_bytes,
                      struct qemu_stream_parts *ret, struct err *err);

// Writes a stream in order: begin, pages, end. All return 0 or -errno.
struct qemu_stream_writer {
    const struct qemu_stream_parts *parts;
    int fd; // borrowed
    uint8_t *buffer;
    size_t used;
    uint64_t total; // bytes
    bool named;     // the block was named
};

int qemu_stream_begin(struct qemu_stream_writer *w, const struct qemu_stream_parts *parts, int fd);
int qemu_stream_page(struct qemu_stream_writer *w, uint64_t offset, const uint8_t *page);
// `devices` is what QEMU wrote as device state. -EPROTO when it is none.
int qemu_stream_end(struct qemu_stream_writer *w, const uint8_t *devices, size_t len);
void qemu_stream_release(struct qemu_stream_writer *w);

#endif
