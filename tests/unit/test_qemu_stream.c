// SPDX-License-Identifier: Apache-2.0
//
// Composing the stream of an image from a template's: what QEMU is to read is there, in order; and
// streams that are cut or changed are refused or at least read within their bounds (ASan watches).
#include "base/buf.h"
#include "base/fd.h"
#include "driver/qemu_memory.h"
#include "driver/qemu_stream.h"

#include "tap.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY (16u << 20)

static void put_u64(struct buf *b, uint64_t v)
{
    (void)buf_append_be32(b, (uint32_t)(v >> 32));
    (void)buf_append_be32(b, (uint32_t)v);
}

static void put_name(struct buf *b, const char *name)
{
    (void)buf_append_u8(b, (uint8_t)strlen(name));
    (void)buf_append(b, name, strlen(name));
}

static void put_footer(struct buf *b)
{
    (void)buf_append_u8(b, 0x7e);
    (void)buf_append_be32(b, 2);
}

static void put_device(struct buf *b, uint32_t value)
{
    (void)buf_append_u8(b, 4);
    (void)buf_append_be32(b, 0);
    put_name(b, "timer");
    (void)buf_append_be32(b, 0);
    (void)buf_append_be32(b, 2);
    (void)buf_append_be32(b, value);
    (void)buf_append_u8(b, 0x7e);
    (void)buf_append_be32(b, 0);
}

// As QEMU writes it: a configuration, blocks of which one is the machine's RAM, the contents of the
// other one in two parts, a device.
static void make_template(struct buf *b)
{
    static const uint8_t page[QEMU_PAGE_BYTES] = {7};

    (void)buf_append(b, "QEVM\0\0\0\3\7\0\0\0\7microvm", 20);
    (void)buf_append_u8(b, 1);
    (void)buf_append_be32(b, 2);
    put_name(b, "ram");
    (void)buf_append_be32(b, 0);
    (void)buf_append_be32(b, 4);
    put_u64(b, (MEMORY + 8192u) | 4);
    put_name(b, "mem");
    put_u64(b, MEMORY);
    put_u64(b, 0);
    put_name(b, "pc.bios");
    put_u64(b, 8192);
    put_u64(b, 0xffff0000u);
    put_u64(b, 0x10);
    put_footer(b);
    (void)buf_append_u8(b, 2);
    (void)buf_append_be32(b, 2);
    put_u64(b, 0 | 8);
    put_name(b, "pc.bios");
    (void)buf_append(b, page, sizeof(page));
    put_u64(b, 0x10);
    put_footer(b);
    (void)buf_append_u8(b, 3);
    (void)buf_append_be32(b, 2);
    put_u64(b, 4096 | 2 | 0x20);
    (void)buf_append_u8(b, 0);
    put_u64(b, 0x10);
    put_footer(b);
    put_device(b, 1);
    (void)buf_append_u8(b, 0);
}

static void make_devices(struct buf *b)
{
    (void)buf_append(b, "QEVM\0\0\0\3", 8);
    put_device(b, 0xabcdef01u);
    (void)buf_append_u8(b, 0);
}

static void test_compose(void)
{
    static const uint8_t zero[QEMU_PAGE_BYTES];
    uint8_t page[QEMU_PAGE_BYTES];
    _cleanup_buf_ struct buf t = BUF_INIT, devices = BUF_INIT, out = BUF_INIT;
    _cleanup_fd_ int fd = memfd_create("stream", MFD_CLOEXEC);
    struct qemu_stream_parts parts, again;
    struct qemu_stream_writer w;
    struct err err = ERR_INIT;

    make_template(&t);
    make_devices(&devices);
    memset(page, 0x5a, sizeof(page));
    if (!CHECK_MSG(qemu_stream_parse(t.data, t.len, MEMORY, &parts, &err) == 0, "parse %s",
                   err.message))
        return;
    CHECK(parts.block[0] == 3 && memcmp(parts.block + 1, "mem", 3) == 0);
    CHECK_INT(t.data[parts.ram_end], 4);
    CHECK_INT(qemu_stream_begin(&w, &parts, fd), 0);
    CHECK_INT(qemu_stream_page(&w, 8192, page), 0);
    CHECK_INT(qemu_stream_page(&w, 4096 * 5, zero), 0);
    CHECK_INT(qemu_stream_page(&w, 4096 * 900, page), 0);
    CHECK_INT(qemu_stream_end(&w, devices.data, devices.len), 0);
    qemu_stream_release(&w);
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && fd_read_to_buf(fd, &out) == 0);
    CHECK_INT((long long)out.len, (long long)w.total);
    // It is a stream itself, with the template's head, one part more, and the other device.
    CHECK(qemu_stream_parse(out.data, out.len, MEMORY, &again, &err) == 0);
    CHECK(again.head_len == parts.head_len && memcmp(out.data, t.data, parts.head_len) == 0);
    CHECK_INT((long long)(again.ram_end - parts.ram_end),
              5 + (8 + 4 + 4096) + (8 + 1) + (8 + 4096) + 8 + 5);
    CHECK(memcmp(out.data + again.ram_end, devices.data + 8, devices.len - 8) == 0);
    CHECK(memmem(out.data, out.len, page, sizeof(page)) != NULL);
}

static void test_bad_devices(void)
{
    static const uint8_t bad[][10] = {"", "QEVM", "QEVM\0\0\0\3", "QEVM\0\0\0\4\4",
                                      "QEVX\0\0\0\3\4"};
    _cleanup_buf_ struct buf t = BUF_INIT;
    _cleanup_fd_ int fd = memfd_create("stream", MFD_CLOEXEC);
    struct qemu_stream_parts parts;
    struct qemu_stream_writer w;
    struct err err = ERR_INIT;

    make_template(&t);
    if (!CHECK(qemu_stream_parse(t.data, t.len, MEMORY, &parts, &err) == 0))
        return;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_INT(qemu_stream_begin(&w, &parts, fd), 0);
        CHECK_INT(qemu_stream_end(&w, bad[i], i == 0 ? 0 : sizeof(bad[i])), -EPROTO);
        qemu_stream_release(&w);
    }
}

// A copy of its own for each, so that reading beyond its end is found.
static bool parses(const uint8_t *data, size_t len, uint64_t memory)
{
    uint8_t *copy = malloc(len == 0 ? 1 : len);
    struct qemu_stream_parts parts;
    struct err err = ERR_INIT;
    bool ok;

    if (len > 0)
        memcpy(copy, data, len);
    ok = qemu_stream_parse(copy, len, memory, &parts, &err) == 0 && parts.ram_end <= len;
    free(copy);
    return ok;
}

static void test_hostile(void)
{
    _cleanup_buf_ struct buf t = BUF_INIT;
    struct qemu_stream_parts parts;
    struct err err = ERR_INIT;
    int accepted = 0;

    make_template(&t);
    CHECK(qemu_stream_parse(t.data, t.len, MEMORY, &parts, &err) == 0);
    CHECK(!parses(t.data, t.len, MEMORY * 2)); // no such block
    for (size_t len = 0; len < parts.ram_end; len++)
        accepted += parses(t.data, len, MEMORY);
    CHECK_INT(accepted, 0);
    for (size_t at = 0; at < t.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            t.data[at] ^= (uint8_t)(1 << bit);
            (void)parses(t.data, t.len, MEMORY);
            t.data[at] ^= (uint8_t)(1 << bit);
        }
    }
    CHECK(parses(t.data, t.len, MEMORY));
}

int main(void)
{
    test_compose();
    test_bad_devices();
    test_hostile();
    return tap_done();
}
