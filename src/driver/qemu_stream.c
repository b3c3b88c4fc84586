// SPDX-License-Identifier: Apache-2.0
//
// The format, as far as it is needed here (all numbers big-endian):
//
//   stream   = "QEVM" u32:version [configuration] section... 0x00 [0x06 u32:len description]
//   section  = u8:type u32:id (u8:len name u32:instance u32:version, in types 1 and 4) data
//              0x7e u32:id
//   types    = 1 start, 2 part, 3 end (of the section "ram", in this order), 4 whole (a device)
//   ram data = start: u64:total|4, then until the sizes of blocks are the total: u8:len name
//              u64:size u64:address; then u64:0x10
//              part, end: records until u64:0x10: u64:offset|flags (u8:len block, unless the flag
//              0x20 says "the same again"), then with 0x08 a page, with 0x02 a byte that fills it
#include "driver/qemu_stream.h"

#include "base/fd.h"
#include "driver/qemu_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES (1u << 20)
#define BLOCKS_MAX   64
#define HEADER_BYTES 8u

enum section_type { SECTION_START = 1, SECTION_PART = 2, SECTION_END = 3, SECTION_WHOLE = 4 };

enum ram_flag {
    RAM_FILL = 0x02,
    RAM_TOTAL = 0x04,
    RAM_PAGE = 0x08,
    RAM_DONE = 0x10,
    RAM_SAME_BLOCK = 0x20,
    RAM_FLAGS = 0xfff,
};

#define SECTION_FOOTER 0x7e
#define DESCRIPTION    0x06

struct reader {
    const uint8_t *data;
    size_t len, at;
    bool failed; // beyond the end; what was read is 0
};

static const uint8_t *get(struct reader *r, size_t len)
{
    static const uint8_t nothing[256];
    const uint8_t *p = r->data + r->at;

    if (r->failed || len > r->len - r->at) {
        r->failed = true;
        return nothing;
    }
    r->at += len;
    return p;
}

static uint64_t get_number(struct reader *r, size_t len)
{
    const uint8_t *p = get(r, len);
    uint64_t v = 0;

    for (size_t i = 0; i < len; i++)
        v = v << 8 | p[i];
    return v;
}

static bool get_footer(struct reader *r, const uint8_t section[4])
{
    return get_number(r, 1) == SECTION_FOOTER && memcmp(get(r, 4), section, 4) == 0 && !r->failed;
}

// The configuration before it has no length; the section's name and version are unmistakable.
static bool find_ram(struct reader *r)
{
    static const uint8_t name[] = {3, 'r', 'a', 'm', 0, 0, 0, 0, 0, 0, 0, 4};
    const uint8_t *p = memmem(r->data, r->len, name, sizeof(name));

    if (p == NULL || (size_t)(p - r->data) < HEADER_BYTES + 5 || memcmp(r->data, "QEVM", 4) != 0 ||
        p[-5] != SECTION_START)
        return false;
    r->at = (size_t)(p - r->data) + sizeof(name);
    return true;
}

static bool read_blocks(struct reader *r, uint64_t memory_bytes, struct qemu_stream_parts *parts)
{
    uint64_t total = get_number(r, 8);
    uint64_t left = total & ~(uint64_t)RAM_FLAGS;

    if ((total & RAM_FLAGS) != RAM_TOTAL)
        return false;
    for (int i = 0; left > 0; i++) {
        const uint8_t *name = r->data + r->at;
        uint64_t size;

        (void)get(r, (size_t)get_number(r, 1));
        size = get_number(r, 8);
        (void)get(r, 8);
        if (r->failed || i == BLOCKS_MAX || size > left)
            return false;
        if (size == memory_bytes && parts->block == NULL)
            parts->block = name;
        left -= size;
    }
    return get_number(r, 8) == RAM_DONE && parts->block != NULL;
}

static bool skip_records(struct reader *r)
{
    while (!r->failed) {
        uint64_t head = get_number(r, 8) & RAM_FLAGS;

        if (head == RAM_DONE)
            return true;
        if ((head & RAM_SAME_BLOCK) == 0)
            (void)get(r, (size_t)get_number(r, 1));
        if ((head & ~(uint64_t)RAM_SAME_BLOCK) == RAM_PAGE)
            (void)get(r, QEMU_PAGE_BYTES);
        else if ((head & ~(uint64_t)RAM_SAME_BLOCK) == RAM_FILL)
            (void)get(r, 1);
        else
            return false;
    }
    return false;
}

static bool parse(struct reader *r, uint64_t memory_bytes, struct qemu_stream_parts *parts)
{
    uint64_t type;

    if (!find_ram(r))
        return false;
    memcpy(parts->section, r->data + r->at - 12 - 4, sizeof(parts->section));
    if (!read_blocks(r, memory_bytes, parts) || !get_footer(r, parts->section))
        return false;
    parts->head_len = r->at;
    do {
        type = get_number(r, 1);
        if ((type != SECTION_PART && type != SECTION_END) ||
            memcmp(get(r, 4), parts->section, 4) != 0 || !skip_records(r) ||
            !get_footer(r, parts->section))
            return false;
    } while (type != SECTION_END);
    parts->ram_end = r->at;
    return !r->failed;
}

int qemu_stream_parse(const uint8_t *stream, size_t len, uint64_t memory_bytes,
                      struct qemu_stream_parts *ret, struct err *err)
{
    struct reader r = {.data = stream, .len = len};
    struct qemu_stream_parts parts = {.stream = stream};

    if (!parse(&r, memory_bytes, &parts))
        return err_set(err, ERR_PROTOCOL, "the template's device state has an unknown format");
    *ret = parts;
    return 0;
}

static int flush(struct qemu_stream_writer *w)
{
    int r = fd_write_all(w->fd, w->buffer, w->used);

    w->used = 0;
    return r;
}

static int put(struct qemu_stream_writer *w, const void *data, size_t len)
{
    const uint8_t *p = data;
    int r = 0;

    w->total += len;
    while (r == 0 && len > 0) {
        size_t n = BUFFER_BYTES - w->used < len ? BUFFER_BYTES - w->used : len;

        memcpy(w->buffer + w->used, p, n);
        w->used += n;
        p += n;
        len -= n;
        if (w->used == BUFFER_BYTES)
            r = flush(w);
    }
    return r;
}

static int put_u64(struct qemu_stream_writer *w, uint64_t v)
{
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (56 - 8 * i));
    return put(w, bytes, sizeof(bytes));
}

int qemu_stream_begin(struct qemu_stream_writer *w, const struct qemu_stream_parts *parts, int fd)
{
    const uint8_t type = SECTION_PART;
    int r;

    *w = (struct qemu_stream_writer){.parts = parts, .fd = fd, .buffer = malloc(BUFFER_BYTES)};
    if (w->buffer == NULL)
        return -ENOMEM;
    r = put(w, parts->stream, parts->head_len);
    if (r == 0)
        r = put(w, &type, 1);
    return r == 0 ? put(w, parts->section, sizeof(parts->section)) : r;
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, QEMU_PAGE_BYTES - 1) == 0;
}

int qemu_stream_page(struct qemu_stream_writer *w, uint64_t offset, const uint8_t *page)
{
    bool zero = is_zero(page);
    const uint8_t fill = 0;
    int r = put_u64(w, offset | (zero ? RAM_FILL : RAM_PAGE) | (w->named ? RAM_SAME_BLOCK : 0));

    if (r == 0 && !w->named)
        r = put(w, w->parts->block, 1u + w->parts->block[0]);
    w->named = true;
    if (r < 0)
        return r;
    return zero ? put(w, &fill, 1) : put(w, page, QEMU_PAGE_BYTES);
}

int qemu_stream_end(struct qemu_stream_writer *w, const uint8_t *devices, size_t len)
{
    // QEMU wants a description of the devices at the end, and does not look at what it says.
    static const uint8_t description[] = {DESCRIPTION, 0, 0, 0, 2, '{', '}'};
    const uint8_t footer = SECTION_FOOTER;
    const struct qemu_stream_parts *p = w->parts;
    int r;

    if (len < HEADER_BYTES + 2 || memcmp(devices, p->stream, HEADER_BYTES) != 0 ||
        devices[HEADER_BYTES] != SECTION_WHOLE || devices[len - 1] != 0)
        return -EPROTO;
    r = put_u64(w, RAM_DONE);
    if (r == 0)
        r = put(w, &footer, 1);
    if (r == 0)
        r = put(w, p->section, sizeof(p->section));
    if (r == 0)
        r = put(w, p->stream + p->head_len, p->ram_end - p->head_len);
    if (r == 0)
        r = put(w, devices + HEADER_BYTES, len - HEADER_BYTES);
    if (r == 0)
        r = put(w, description, sizeof(description));
    return r == 0 ? flush(w) : r;
}

void qemu_stream_release(struct qemu_stream_writer *w)
{
    free(w->buffer);
    w->buffer = NULL;
}
