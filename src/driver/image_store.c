// SPDX-License-Identifier: Apache-2.0
#include "driver/image_store.h"

#include "base/fd.h"
#include "base/ini.h"
#include "base/parse.h"
#include "driver/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define STORE_VERSION 1
#define PIECE_BYTES   (1u << 20)
#define STREAM_MAX    (17ull << 30) // the largest machine, and what a stream adds to it
#define NAME_BYTES    (DRIVER_IMAGE_ID_MAX + 1)

enum { FILE_STREAM, FILE_MANIFEST, FILE_COUNT };
static const char *const file_names[FILE_COUNT] = {"stream.zst", "manifest"};
static const struct store_kind kind = {
    .name = "images", .what = "images", .files = file_names, .file_count = FILE_COUNT};

bool image_id_is_valid(const char *id)
{
    size_t len = strnlen(id, DRIVER_IMAGE_ID_MAX + 1);

    return len > 0 && len <= DRIVER_IMAGE_ID_MAX && id[0] != '-' &&
           strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

int image_store_open(int state_dir_fd, int *ret_fd, struct err *err)
{
    return store_dir_open(&kind, state_dir_fd, ret_fd, err);
}

// One direction of one stream: from a file through zstd to a file.
struct pipe {
    int from, to;
    uint8_t *in, *out; // PIECE_BYTES each
    uint64_t total;    // bytes written
};

static int pipe_open(struct pipe *p, int from, int to)
{
    *p = (struct pipe){.from = from, .to = to, .in = malloc(PIECE_BYTES)};
    p->out = malloc(PIECE_BYTES);
    return p->in == NULL || p->out == NULL ? -ENOMEM : 0;
}

static void pipe_release(struct pipe *p)
{
    free(p->in);
    free(p->out);
}

static int pipe_write(struct pipe *p, size_t len)
{
    p->total += len;
    return fd_write_all(p->to, p->out, len);
}

static int compress_piece(struct pipe *p, ZSTD_CCtx *zstd, size_t len, ZSTD_EndDirective how)
{
    ZSTD_inBuffer in = {.src = p->in, .size = len};
    size_t left;

    do {
        ZSTD_outBuffer out = {.dst = p->out, .size = PIECE_BYTES};
        int r;

        left = ZSTD_compressStream2(zstd, &out, &in, how);
        if (ZSTD_isError(left))
            return -ENOMEM;
        r = pipe_write(p, out.pos);
        if (r < 0)
            return r;
    } while (how == ZSTD_e_end ? left > 0 : in.pos < in.size);
    return 0;
}

// Reads `len` bytes from offset 0 on.
static int compress(struct pipe *p, ZSTD_CCtx *zstd, uint64_t len)
{
    int r = 0;

    for (uint64_t at = 0; r == 0 && at < len;) {
        ssize_t n = pread(p->from, p->in, PIECE_BYTES, (off_t)at);

        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += (uint64_t)n;
        r = compress_piece(p, zstd, (size_t)n, ZSTD_e_continue);
    }
    return r == 0 ? compress_piece(p, zstd, 0, ZSTD_e_end) : r;
}

static int write_stream(int dir, int stream_fd, struct image_facts *facts)
{
    _cleanup_fd_ int fd = -1;
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    struct pipe p = {0};
    int r = zstd == NULL ? -ENOMEM : store_dir_new_file(dir, file_names[FILE_STREAM], &fd);

    if (r == 0)
        r = pipe_open(&p, stream_fd, fd);
    // Level 1: a page of RAM is a third of its size then, and hardly less with more effort.
    if (r == 0 && (ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, 1)) ||
                   ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1))))
        r = -ENOMEM;
    if (r == 0)
        r = compress(&p, zstd, facts->stream_bytes);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    facts->stored_bytes = p.total;
    pipe_release(&p);
    (void)ZSTD_freeCCtx(zstd); // cannot fail
    return r;
}

struct to_save {
    const char *id;
    int stream_fd;
    struct image_facts facts;
};

static int write_all(void *arg, int dir)
{
    struct to_save *s = arg;
    const struct image_facts *f = &s->facts;
    char text[1024];
    int n, r = write_stream(dir, s->stream_fd, &s->facts);

    if (r < 0)
        return r;
    n = snprintf(text, sizeof(text),
                 "version = %d\nid = %s\ntemplate = %s\nbuild = %s\nmachine = %s\n"
                 "memory_mib = %u\ncpus = %u\nstream_bytes = %llu\nstored_bytes = %llu\n",
                 STORE_VERSION, s->id, f->template_key, f->build_key, f->machine_key,
                 f->shape.memory_mib, f->shape.cpus, (unsigned long long)f->stream_bytes,
                 (unsigned long long)f->stored_bytes);
    return store_dir_write_file(dir, file_names[FILE_MANIFEST], text, (size_t)n);
}

int image_store_save(int store_fd, const char *id, int stream_fd, struct image_facts *facts,
                     struct err *err)
{
    struct to_save s = {.id = id, .stream_fd = stream_fd, .facts = *facts};
    int r = store_dir_save(&kind, store_fd, id, write_all, &s);

    if (r < 0)
        return err_sys(err, r, "cannot store the image");
    facts->stored_bytes = s.facts.stored_bytes;
    return 0;
}

struct manifest {
    uint64_t version, memory_mib, cpus;
    char id[NAME_BYTES];
    struct image_facts facts;
};

static int manifest_entry(void *arg, unsigned line, const char *key, const char *value,
                          struct err *err)
{
    struct manifest *m = arg;
    const struct {
        const char *key;
        uint64_t *number;
        char *text; // of NAME_BYTES
    } fields[] = {
        {"version", &m->version, NULL},
        {"id", NULL, m->id},
        {"template", NULL, m->facts.template_key},
        {"build", NULL, m->facts.build_key},
        {"machine", NULL, m->facts.machine_key},
        {"memory_mib", &m->memory_mib, NULL},
        {"cpus", &m->cpus, NULL},
        {"stream_bytes", &m->facts.stream_bytes, NULL},
        {"stored_bytes", &m->facts.stored_bytes, NULL},
    };

    (void)line;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].key, key) != 0)
            continue;
        if (fields[i].text != NULL)
            (void)snprintf(fields[i].text, NAME_BYTES, "%s", value);
        else if (parse_u64(value, 0, UINT64_MAX, fields[i].number) < 0)
            return err_set(err, ERR_PROTOCOL, "%s is no number", key);
        return 0;
    }
    return err_set(err, ERR_PROTOCOL, "there is an unknown entry");
}
_Static_assert(NAME_BYTES == TEMPLATE_KEY_LEN + 1, "all texts of a manifest have one size");

static int open_image(int store_fd, const char *id, int *ret_dir, struct err *err)
{
    int dir = openat(store_fd, id, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);

    if (dir < 0 && errno == ENOENT)
        return err_set(err, ERR_GONE, "there is no image of this id");
    if (dir < 0)
        return err_sys(err, errno, "cannot open the image");
    *ret_dir = dir;
    return 0;
}

static bool makes_sense(const struct manifest *m, const char *id)
{
    const struct image_facts *f = &m->facts;

    return m->version == STORE_VERSION && strcmp(m->id, id) == 0 &&
           strlen(f->template_key) == TEMPLATE_KEY_LEN &&
           strspn(f->template_key, "0123456789abcdef") == TEMPLATE_KEY_LEN && m->memory_mib >= 1 &&
           m->memory_mib <= UINT32_MAX && m->cpus >= 1 && m->cpus <= UINT32_MAX &&
           f->stream_bytes >= 1 && f->stream_bytes <= STREAM_MAX;
}

int image_store_facts(int store_fd, const char *id, struct image_facts *ret, struct err *err)
{
    _cleanup_fd_ int dir = -1;
    struct manifest m = {0};
    struct err why = ERR_INIT;

    if (open_image(store_fd, id, &dir, err) < 0)
        return -1;
    if (ini_parse_file(dir, file_names[FILE_MANIFEST], manifest_entry, &m, &why) < 0)
        return err_set(err, ERR_PROTOCOL, "the image is damaged: manifest: %.150s", why.message);
    if (!makes_sense(&m, id))
        return err_set(err, ERR_PROTOCOL, "the image is damaged: its manifest makes no sense");
    m.facts.shape =
        (struct driver_shape){.memory_mib = (uint32_t)m.memory_mib, .cpus = (uint32_t)m.cpus};
    *ret = m.facts;
    return 0;
}

// Writes exactly `len` bytes, from one whole frame with a right checksum and nothing after it; all
// else is -EBADMSG.
static int decompress(struct pipe *p, ZSTD_DCtx *zstd, uint64_t len)
{
    size_t left = 1;

    for (;;) {
        ssize_t n = read(p->from, p->in, PIECE_BYTES);
        ZSTD_inBuffer in = {.src = p->in, .size = n > 0 ? (size_t)n : 0};

        if (n < 0)
            return -errno;
        if (n == 0)
            return left == 0 && p->total == len ? 0 : -EBADMSG;
        while (in.pos < in.size) {
            ZSTD_outBuffer out = {.dst = p->out, .size = PIECE_BYTES};
            int r;

            if (left == 0)
                return -EBADMSG;
            left = ZSTD_decompressStream(zstd, &out, &in);
            if (ZSTD_isError(left) || out.pos > len - p->total)
                return -EBADMSG;
            r = pipe_write(p, out.pos);
            if (r < 0)
                return r;
        }
    }
}

int image_store_load(int store_fd, const char *id, const struct image_facts *facts, int stream_fd,
                     struct err *err)
{
    _cleanup_fd_ int dir = -1;
    _cleanup_fd_ int fd = -1;
    ZSTD_DCtx *zstd;
    struct pipe p;
    struct stat st;
    int r;

    if (open_image(store_fd, id, &dir, err) < 0)
        return -1;
    fd = openat(dir, file_names[FILE_STREAM], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_PROTOCOL, "the image is damaged: %s cannot be opened: %s",
                       file_names[FILE_STREAM], strerror(errno));
    if ((uint64_t)st.st_size != facts->stored_bytes)
        return err_set(err, ERR_PROTOCOL, "the image is damaged: %s has the wrong size",
                       file_names[FILE_STREAM]);
    zstd = ZSTD_createDCtx();
    r = pipe_open(&p, fd, stream_fd);
    if (r == 0)
        r = zstd == NULL ? -ENOMEM : decompress(&p, zstd, facts->stream_bytes);
    pipe_release(&p);
    (void)ZSTD_freeDCtx(zstd); // cannot fail
    if (r == -EBADMSG)
        return err_set(err, ERR_PROTOCOL, "the image is damaged: %s has the wrong contents",
                       file_names[FILE_STREAM]);
    return r < 0 ? err_sys(err, r, "cannot load the image") : 0;
}

int image_store_remove(int store_fd, const char *id, struct err *err)
{
    store_dir_remove(&kind, store_fd, id);
    if (faccessat(store_fd, id, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
        return err_set(err, ERR_SYSTEM, "cannot remove the image");
    return fsync(store_fd) < 0 ? err_sys(err, errno, "cannot remove the image") : 0;
}

struct each {
    void (*fn)(void *arg, const char *id, const struct image_facts *facts);
    void *arg;
};

static void one(int store_fd, const char *name, void *arg)
{
    const struct each *each = arg;
    struct image_facts facts;

    if (!image_id_is_valid(name))
        return;
    each->fn(each->arg, name, image_store_facts(store_fd, name, &facts, NULL) == 0 ? &facts : NULL);
}

void image_store_each(int store_fd,
                      void (*each)(void *arg, const char *id, const struct image_facts *facts),
                      void *arg)
{
    struct each e = {.fn = each, .arg = arg};

    store_dir_each(store_fd, one, &e);
}
