// SPDX-License-Identifier: Apache-2.0
//
// Compression costs a sandbox more than it saves on the way to its host, and clients list gzip out
// of habit: only who accepts nothing else is sent it.
#include "agent/envd/files.h"

#include "agent/envd/path.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define GZIP_LEVEL 1
#define GZIP_BITS  (15 + 16) // the largest window, and gzip's frame

struct download {
    struct call *call;
    int fd;
    bool sized;    // `left` was promised; else the file is read to its end
    uint64_t left; // bytes
    bool gzip;
    z_stream z;
    struct loop_timer slice;
};

int files_target(struct call *c, struct user *ret_user, char ret_path[PATH_MAX])
{
    _cleanup_free_ char *name = NULL;
    _cleanup_free_ char *path = NULL;
    const char *who;

    if (call_query(c, "username", &name) < 0 || call_query(c, "path", &path) < 0)
        return -1;
    who = name != NULL && name[0] != '\0' ? name : c->envd->user;
    if (user_find(who, ret_user) < 0) {
        call_fail(c, 401, "invalid username: '%s'", who);
        return -1;
    }
    ret_path[0] = '\0';
    if (path != NULL && path_resolve(ret_user, c->envd->workdir, path, ret_path) < 0) {
        call_fail(c, 400, "invalid path '%s'", path);
        return -1;
    }
    return 0;
}

static void download_free(struct download *d)
{
    loop_timer_clear(d->call->envd->loop, &d->slice);
    fd_close(&d->fd);
    if (d->gzip)
        (void)deflateEnd(&d->z);
    free(d);
}

// Compresses a piece. `in` NULL: the end.
static bool send_gzip(struct download *d, uint8_t *in, size_t len)
{
    uint8_t out[16384];
    int rc;

    d->z.next_in = in;
    d->z.avail_in = (uInt)len;
    do {
        d->z.next_out = out;
        d->z.avail_out = sizeof(out);
        rc = deflate(&d->z, in == NULL ? Z_FINISH : Z_NO_FLUSH);
        if (rc == Z_STREAM_ERROR)
            return false;
        call_write(d->call, out, sizeof(out) - d->z.avail_out);
    } while (d->z.avail_out == 0);
    return true;
}

// One read. 1: more may follow, 0: all was sent, -1: the file is not what was promised.
static int send_piece(struct download *d)
{
    uint8_t *piece = d->call->envd->piece;
    size_t want = ENVD_PIECE_BYTES;
    ssize_t n;

    if (d->sized && want > d->left)
        want = (size_t)d->left;
    do
        n = want == 0 ? 0 : read(d->fd, piece, want);
    while (n < 0 && errno == EINTR);
    if (n < 0 || (n == 0 && want > 0 && d->sized))
        return -1;
    if (n == 0)
        return d->gzip && !send_gzip(d, NULL, 0) ? -1 : 0;
    d->left -= d->sized ? (uint64_t)n : 0;
    if (!d->gzip)
        call_write(d->call, piece, (size_t)n);
    else if (!send_gzip(d, piece, (size_t)n))
        return -1;
    return 1;
}

// Goes on as far as the stream takes it, for one slice.
static void pump(void *arg)
{
    struct download *d = arg;
    struct call *c = d->call;
    int rc = 1;

    for (size_t done = 0; rc > 0 && done < ENVD_SLICE_BYTES && call_backlog(c) == 0;
         done += ENVD_PIECE_BYTES)
        rc = send_piece(d);
    if (rc < 0)
        call_reset(c);
    else if (rc == 0)
        call_finish(c);
    else if (call_backlog(c) == 0)
        loop_timer_set(c->envd->loop, &d->slice, clock_mono_ns(), pump, d);
}

static void on_drain(struct call *c)
{
    pump(c->state);
}

static void on_close(struct call *c)
{
    download_free(c->state);
}

static const struct call_ops ops = {.drain = on_drain, .close = on_close};

// Whether gzip is the one coding the client names.
static bool wants_gzip(const char *accept)
{
    bool gzip = false;

    while (accept != NULL && *accept != '\0') {
        size_t len;
        accept += strspn(accept, " \t,");
        len = strcspn(accept, " \t,;");
        if (len == 4 && strncasecmp(accept, "gzip", 4) == 0)
            gzip = strncmp(accept + len, ";q=0", 4) != 0 || accept[len + 4] == '.';
        else if (len > 0 && !(len == 8 && strncasecmp(accept, "identity", 8) == 0))
            return false;
        accept += strcspn(accept, ",");
    }
    return gzip;
}

// Reads "bytes=FIRST-LAST" with one of the two missing at most. 0: not a range we honour (then the
// whole is sent), 1, or -ERANGE when it lies outside.
static int parse_range(const char *text, uint64_t size, uint64_t *ret_first, uint64_t *ret_len)
{
    char numbers[48];
    char *dash;
    uint64_t first = 0;
    uint64_t last = size - 1;

    if (text == NULL || strncmp(text, "bytes=", 6) != 0 || strlen(text + 6) >= sizeof(numbers))
        return 0;
    memcpy(numbers, text + 6, strlen(text + 6) + 1);
    dash = strchr(numbers, '-');
    if (dash == NULL)
        return 0;
    *dash = '\0';
    if (dash[1] != '\0' && parse_u64(dash + 1, 0, UINT64_MAX, &last) < 0)
        return 0;
    if (numbers[0] == '\0') {
        if (dash[1] == '\0' || last == 0)
            return dash[1] == '\0' ? 0 : -ERANGE;
        first = last >= size ? 0 : size - last;
        last = size - 1;
    } else if (parse_u64(numbers, 0, UINT64_MAX, &first) < 0 || (dash[1] != '\0' && first > last)) {
        return 0;
    }
    if (first >= size)
        return -ERANGE;
    if (last >= size)
        last = size - 1;
    *ret_first = first;
    *ret_len = last - first + 1;
    return 1;
}

static void fail_range(struct call *c, uint64_t size)
{
    char text[40];
    const struct server_header headers[] = {{"content-range", text}};

    (void)snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)size);
    call_begin(c, &(struct server_answer){.status = 416, .headers = headers, .header_count = 1});
    call_finish(c);
}

// The size as far as it can be trusted: of a small file as much as can be read, since some of the
// kernel's say more than they hold, and nothing (0) of those that say nothing.
static uint64_t true_size(const struct download *d, const struct stat *st)
{
    uint8_t *piece = d->call->envd->piece;
    size_t have = 0;
    ssize_t n = 1;

    if (st->st_size <= 0)
        return 0;
    if (st->st_size >= ENVD_PIECE_BYTES)
        return (uint64_t)st->st_size;
    while (have < ENVD_PIECE_BYTES && n > 0) {
        n = pread(d->fd, piece + have, ENVD_PIECE_BYTES - have, (off_t)have);
        have += n > 0 ? (size_t)n : 0;
    }
    return have;
}

// The headers, by what is to be sent. False: answered otherwise.
static bool begin(struct download *d, const struct stat *st)
{
    struct call *c = d->call;
    uint64_t size = true_size(d, st);
    uint64_t first = 0;
    char length[24], range[72];
    struct server_header headers[4] = {{"vary", "Accept-Encoding"}};
    struct server_answer a = {.status = 200,
                              .content_type = "application/octet-stream",
                              .headers = headers,
                              .header_count = 1};
    int rc = 0;

    // What has no size (the kernel's files) is read to its end.
    d->sized = size > 0;
    d->left = size;
    if (d->sized)
        rc = parse_range(server_stream_header(c->stream, "range"), size, &first, &d->left);
    if (rc < 0) {
        fail_range(c, size);
        return false;
    }
    if (rc == 0 && wants_gzip(server_stream_header(c->stream, "accept-encoding"))) {
        d->gzip =
            deflateInit2(&d->z, GZIP_LEVEL, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY) == Z_OK;
        if (d->gzip)
            headers[a.header_count++] = (struct server_header){"content-encoding", "gzip"};
    }
    if (rc == 1) {
        a.status = 206;
        (void)lseek(d->fd, (off_t)first, SEEK_SET);
        (void)snprintf(range, sizeof(range), "bytes %llu-%llu/%llu", (unsigned long long)first,
                       (unsigned long long)(first + d->left - 1), (unsigned long long)size);
        headers[a.header_count++] = (struct server_header){"content-range", range};
    }
    if (d->sized && !d->gzip) {
        (void)snprintf(length, sizeof(length), "%llu", (unsigned long long)d->left);
        headers[a.header_count++] = (struct server_header){"content-length", length};
    }
    call_begin(c, &a);
    return true;
}

// Answers by an errno. Returns -1.
static int fail_sys(struct call *c, int error, const char *path)
{
    if (error == ENOENT || error == ENOTDIR)
        call_fail(c, 404, "path '%s' does not exist", path);
    else
        call_fail(c, error == ELOOP || error == ENAMETOOLONG ? 400 : 500, "path '%s': %s", path,
                  strerror(error));
    return -1;
}

// Looks before it opens: opening a device or a pipe has effects. Programs may move a directory of
// the path between the two.
static int open_file(struct call *c, const char *path, struct stat *ret)
{
    int fd;

    if (stat(path, ret) < 0)
        return fail_sys(c, errno, path);
    if (S_ISDIR(ret->st_mode)) {
        call_fail(c, 400, "path '%s' is a directory", path);
        return -1;
    }
    fd = !S_ISREG(ret->st_mode) ? -1 : open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (S_ISREG(ret->st_mode) && (fd < 0 || fstat(fd, ret) < 0)) {
        int error = errno;
        fd_close(&fd);
        return fail_sys(c, error, path);
    }
    if (!S_ISREG(ret->st_mode)) {
        fd_close(&fd);
        call_fail(c, 400, "path '%s' cannot be read", path);
    }
    return fd;
}

void files_download(struct call *c)
{
    struct user user;
    struct stat st;
    char path[PATH_MAX];
    struct download *d;
    int fd;

    if (files_target(c, &user, path) < 0)
        return;
    if (path[0] == '\0')
        (void)path_resolve(&user, c->envd->workdir, "", path);
    fd = open_file(c, path, &st);
    if (fd < 0)
        return;
    d = calloc(1, sizeof(*d));
    if (d == NULL) {
        fd_close(&fd);
        call_fail(c, 500, "out of memory");
        return;
    }
    d->call = c;
    d->fd = fd;
    c->state = d;
    c->ops = &ops;
    if (begin(d, &st))
        pump(d);
}
