// SPDX-License-Identifier: Apache-2.0
//
// What is stored of frozen sandboxes, read back after it may have been damaged. First byte:
//
//   s   the rest is a template's device state; what can be composed from it reads as one again
//   r   records of RAM, which are compressed here: the checksum would keep others out
//   i   an image: its manifest up to the first NUL, then stream.zst
//   t   a template: its manifest and its state, each up to a NUL, then ram.zst
#include "base/fd.h"
#include "driver/image_store.h"
#include "driver/qemu_memory.h"
#include "driver/qemu_stream.h"
#include "driver/template_ram.h"
#include "driver/template_store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define MEMORY   (1u << 20)
#define LOAD_MAX (4u << 20) // a stream may say that it is gigabytes of zeros
#define ID       "ifuzz"
#define KEY      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool good)
{
    if (!good)
        abort();
}

static int new_memfd(void)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    require(fd >= 0);
    return fd;
}

// All of a file, to be freed.
static uint8_t *content(int fd, size_t *ret_len)
{
    struct stat st;
    uint8_t *data;

    require(fstat(fd, &st) == 0);
    *ret_len = (size_t)st.st_size;
    data = malloc(*ret_len + 1);
    require(data != NULL && pread(fd, data, *ret_len, 0) == (ssize_t)*ret_len);
    return data;
}

// ---- a template's device state ----

static void compose(const struct qemu_stream_parts *parts)
{
    static const uint8_t page[QEMU_PAGE_BYTES] = {1};
    static const uint8_t zeros[QEMU_PAGE_BYTES];
    _cleanup_fd_ int fd = new_memfd();
    uint8_t devices[10] = {0};
    struct qemu_stream_writer w;
    struct qemu_stream_parts again;
    struct err err = ERR_INIT;
    uint8_t *whole;
    size_t len;

    memcpy(devices, parts->stream, 8);
    devices[8] = 4; // a device begins
    require(qemu_stream_begin(&w, parts, fd) == 0 && qemu_stream_page(&w, 0, page) == 0 &&
            qemu_stream_page(&w, QEMU_PAGE_BYTES, zeros) == 0 &&
            qemu_stream_end(&w, devices, sizeof(devices)) == 0);
    whole = content(fd, &len);
    require(len == w.total && qemu_stream_parse(whole, len, MEMORY, &again, &err) == 0 &&
            again.head_len == parts->head_len && again.ram_end > parts->ram_end);
    qemu_stream_release(&w);
    free(whole);
}

static void stream(const uint8_t *data, size_t len)
{
    struct qemu_stream_parts parts;
    struct err err = ERR_INIT;

    if (qemu_stream_parse(data, len, MEMORY, &parts, &err) < 0) {
        require(err.code == ERR_PROTOCOL);
        return;
    }
    require(parts.stream == data && parts.head_len < parts.ram_end && parts.ram_end <= len &&
            parts.block > data && parts.block + 1 + parts.block[0] <= data + parts.head_len);
    compose(&parts);
}

// ---- records of RAM ----

static void records(const uint8_t *data, size_t len)
{
    _cleanup_fd_ int file = new_memfd();
    _cleanup_fd_ int ram = new_memfd();
    _cleanup_fd_ int saved = new_memfd();
    _cleanup_fd_ int again = new_memfd();
    size_t room = ZSTD_compressBound(len);
    uint8_t *packed = malloc(room);
    size_t n = ZSTD_compress(packed, room, data, len, 1);
    uint8_t *a, *b;
    size_t a_len, b_len;

    require(packed != NULL && !ZSTD_isError(n) && fd_write_all(file, packed, n) == 0 &&
            lseek(file, 0, SEEK_SET) == 0 && ftruncate(ram, MEMORY) == 0 &&
            ftruncate(again, MEMORY) == 0);
    free(packed);
    if (template_ram_load(file, ram, MEMORY) < 0)
        return;
    require(template_ram_save(ram, MEMORY, saved) == 0 && lseek(saved, 0, SEEK_SET) == 0 &&
            template_ram_load(saved, again, MEMORY) == 0);
    a = content(ram, &a_len);
    b = content(again, &b_len);
    require(a_len == MEMORY && b_len == MEMORY && memcmp(a, b, MEMORY) == 0);
    free(a);
    free(b);
}

// ---- directories ----

static char place[] = "/tmp/csb-fuzz-XXXXXX";
static int place_fd = -1;

static void put_file(const char *path, const uint8_t *data, size_t len)
{
    _cleanup_fd_ int fd = openat(place_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    require(fd >= 0 && fd_write_all(fd, data, len) == 0);
}

static void leave(void)
{
    static const char *const files[] = {ID "/manifest", ID "/stream.zst", KEY "/manifest",
                                        KEY "/state", KEY "/ram.zst"};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        (void)unlinkat(place_fd, files[i], 0);
    (void)unlinkat(place_fd, ID, AT_REMOVEDIR);
    (void)unlinkat(place_fd, KEY, AT_REMOVEDIR);
    (void)rmdir(place);
}

static void open_place(void)
{
    if (place_fd >= 0)
        return;
    require(mkdtemp(place) != NULL);
    place_fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    require(place_fd >= 0 && mkdirat(place_fd, ID, 0700) == 0 &&
            mkdirat(place_fd, KEY, 0700) == 0 && atexit(leave) == 0);
}

// How many bytes there are before the next NUL; *rest is what follows it.
static size_t take(const uint8_t **rest, size_t *left)
{
    const uint8_t *end = *left > 0 ? memchr(*rest, '\0', *left) : NULL;
    size_t n = end == NULL ? *left : (size_t)(end - *rest);

    *rest += end == NULL ? n : n + 1;
    *left -= end == NULL ? n : n + 1;
    return n;
}

static void image(const uint8_t *data, size_t len)
{
    _cleanup_fd_ int out = new_memfd();
    const uint8_t *rest = data;
    struct image_facts facts;
    struct err err = ERR_INIT;
    struct stat st;

    open_place();
    put_file(ID "/manifest", data, take(&rest, &len));
    put_file(ID "/stream.zst", rest, len);
    if (image_store_facts(place_fd, ID, &facts, &err) < 0) {
        require(err.code == ERR_PROTOCOL);
        return;
    }
    require(strlen(facts.template_key) == TEMPLATE_KEY_LEN && facts.shape.memory_mib > 0 &&
            facts.shape.cpus > 0 && facts.stream_bytes > 0);
    if (facts.stream_bytes > LOAD_MAX || image_store_load(place_fd, ID, &facts, out, &err) < 0)
        return;
    require(fstat(out, &st) == 0 && (uint64_t)st.st_size == facts.stream_bytes &&
            facts.stored_bytes == len);
}

static void template(const uint8_t *data, size_t len)
{
    const uint8_t *rest = data;
    struct template_image loaded = TEMPLATE_IMAGE_INIT;
    struct err err = ERR_INIT;
    const uint8_t *state;

    open_place();
    put_file(KEY "/manifest", data, take(&rest, &len));
    state = rest;
    put_file(KEY "/state", state, take(&rest, &len));
    put_file(KEY "/ram.zst", rest, len);
    if (template_store_load(place_fd, KEY, MEMORY, &loaded, &err) < 0) {
        require(err.code != ERR_NONE && err.code != ERR_GONE);
        return;
    }
    require(loaded.memory_bytes == MEMORY && loaded.state_len > 0 &&
            memcmp(loaded.state, state, loaded.state_len) == 0);
    template_image_release(&loaded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    if (data[0] == 's')
        stream(data + 1, len - 1);
    else if (data[0] == 'r')
        records(data + 1, len - 1);
    else if (data[0] == 'i')
        image(data + 1, len - 1);
    else if (data[0] == 't')
        template(data + 1, len - 1);
    return 0;
}
