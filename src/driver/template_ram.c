// SPDX-License-Identifier: Apache-2.0
#include "driver/template_ram.h"

#include "base/fd.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define PAGE_BYTES  4096u
#define PIECE_BYTES (1u << 20) // read or written at once; a multiple of PAGE_BYTES
#define IO_BYTES    (256u << 10)

struct record {
    uint64_t offset, len; // bytes
};

static void put_le64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le64(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

struct writer {
    int fd;
    ZSTD_CCtx *zstd;
    uint8_t *out;   // IO_BYTES
    uint8_t *piece; // PIECE_BYTES
};

static int compress(struct writer *w, const void *data, size_t len, ZSTD_EndDirective how)
{
    ZSTD_inBuffer in = {.src = data, .size = len};
    size_t left;

    do {
        ZSTD_outBuffer out = {.dst = w->out, .size = IO_BYTES};
        int r;

        left = ZSTD_compressStream2(w->zstd, &out, &in, how);
        if (ZSTD_isError(left))
            return -ENOMEM;
        r = fd_write_all(w->fd, w->out, out.pos);
        if (r < 0)
            return r;
    } while (how == ZSTD_e_end ? left > 0 : in.pos < in.size);
    return 0;
}

static int save_record(struct writer *w, int ram_fd, struct record rec)
{
    uint8_t head[16];
    int r;

    put_le64(head, rec.offset);
    put_le64(head + 8, rec.len);
    r = compress(w, head, sizeof(head), ZSTD_e_continue);
    while (r == 0 && rec.len > 0) {
        size_t n = rec.len < PIECE_BYTES ? (size_t)rec.len : PIECE_BYTES;
        ssize_t got = pread(ram_fd, w->piece, n, (off_t)rec.offset);

        if (got != (ssize_t)n)
            return got < 0 ? -errno : -EIO;
        r = compress(w, w->piece, n, ZSTD_e_continue);
        rec.offset += n;
        rec.len -= n;
    }
    return r;
}

// Holes of the memfd are pages the machine never touched.
static int save_extents(struct writer *w, int ram_fd, uint64_t memory_bytes)
{
    off_t at = 0;
    int r = 0;

    while (r == 0 && (uint64_t)at < memory_bytes) {
        off_t data = lseek(ram_fd, at, SEEK_DATA);
        struct record rec;

        if (data < 0 && errno == ENXIO)
            break;
        at = data < 0 ? -1 : lseek(ram_fd, data, SEEK_HOLE);
        if (at < 0)
            return -errno;
        rec = (struct record){.offset = (uint64_t)data, .len = (uint64_t)(at - data)};
        r = save_record(w, ram_fd, rec);
    }
    if (r == 0)
        r = save_record(w, ram_fd, (struct record){.offset = memory_bytes});
    return r == 0 ? compress(w, NULL, 0, ZSTD_e_end) : r;
}

int template_ram_save(int ram_fd, uint64_t memory_bytes, int file_fd)
{
    struct writer w = {.fd = file_fd, .zstd = ZSTD_createCCtx()};
    int r = -ENOMEM;

    w.out = malloc(IO_BYTES);
    w.piece = malloc(PIECE_BYTES);
    if (w.zstd != NULL && w.out != NULL && w.piece != NULL &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(w.zstd, ZSTD_c_compressionLevel, 1)) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(w.zstd, ZSTD_c_checksumFlag, 1)))
        r = save_extents(&w, ram_fd, memory_bytes);
    (void)ZSTD_freeCCtx(w.zstd); // cannot fail
    free(w.out);
    free(w.piece);
    return r;
}

struct reader {
    int fd;
    ZSTD_DCtx *zstd;
    uint8_t *in; // IO_BYTES
    ZSTD_inBuffer buffered;
    bool ended; // the frame's checksum was right
    uint8_t *piece;
};

// Decompresses exactly `len` bytes; with len 0, what follows until the end of the frame, which must
// be nothing.
static int decompress(struct reader *rd, void *data, size_t len)
{
    uint8_t spare;
    ZSTD_outBuffer out = {.dst = len == 0 ? &spare : data, .size = len == 0 ? 1 : len};

    while (len == 0 ? !rd->ended : out.pos < len) {
        size_t left;

        if (rd->ended)
            return -EBADMSG;
        if (rd->buffered.pos == rd->buffered.size) {
            ssize_t n = read(rd->fd, rd->in, IO_BYTES);

            if (n <= 0)
                return n < 0 ? -errno : -EBADMSG;
            rd->buffered = (ZSTD_inBuffer){.src = rd->in, .size = (size_t)n};
        }
        left = ZSTD_decompressStream(rd->zstd, &out, &rd->buffered);
        if (ZSTD_isError(left) || (len == 0 && out.pos > 0))
            return -EBADMSG;
        rd->ended = left == 0;
    }
    return 0;
}

static bool page_is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

// Leaves zero pages out, so that the memfd does not get memory for them.
static int write_pages(int ram_fd, const uint8_t *data, size_t len, uint64_t offset)
{
    size_t at = 0;

    while (at < len) {
        size_t start;

        while (at < len && page_is_zero(data + at))
            at += PAGE_BYTES;
        start = at;
        while (at < len && !page_is_zero(data + at))
            at += PAGE_BYTES;
        if (at > start) {
            ssize_t n = pwrite(ram_fd, data + start, at - start, (off_t)(offset + start));

            if (n != (ssize_t)(at - start))
                return n < 0 ? -errno : -ENOSPC;
        }
    }
    return 0;
}

static int load_records(struct reader *rd, int ram_fd, uint64_t memory_bytes)
{
    uint64_t end = 0; // of the last record

    for (;;) {
        uint8_t head[16];
        struct record rec;
        int r = decompress(rd, head, sizeof(head));

        if (r < 0)
            return r;
        rec = (struct record){.offset = get_le64(head), .len = get_le64(head + 8)};
        if (rec.len == 0)
            return rec.offset == memory_bytes ? decompress(rd, NULL, 0) : -EBADMSG;
        if (rec.offset < end || rec.offset > memory_bytes || rec.len > memory_bytes - rec.offset ||
            rec.offset % PAGE_BYTES != 0 || rec.len % PAGE_BYTES != 0)
            return -EBADMSG;
        end = rec.offset + rec.len;
        while (rec.offset < end) {
            size_t n = end - rec.offset < PIECE_BYTES ? (size_t)(end - rec.offset) : PIECE_BYTES;

            r = decompress(rd, rd->piece, n);
            if (r == 0)
                r = write_pages(ram_fd, rd->piece, n, rec.offset);
            if (r < 0)
                return r;
            rec.offset += n;
        }
    }
}

int template_ram_load(int file_fd, int ram_fd, uint64_t memory_bytes)
{
    struct reader rd = {.fd = file_fd, .zstd = ZSTD_createDCtx()};
    int r = -ENOMEM;

    rd.in = malloc(IO_BYTES);
    rd.piece = malloc(PIECE_BYTES);
    if (rd.zstd != NULL && rd.in != NULL && rd.piece != NULL)
        r = load_records(&rd, ram_fd, memory_bytes);
    (void)ZSTD_freeDCtx(rd.zstd); // cannot fail
    free(rd.in);
    free(rd.piece);
    return r;
}
