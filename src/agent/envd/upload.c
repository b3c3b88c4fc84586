// SPDX-License-Identifier: Apache-2.0
//
// A body is written as it comes. A compressed one is staged, and inflated in slices: a small one
// may become very large. While it is staged the client is held back, so that no more than a window
// of it waits here.
#include "agent/envd/files.h"

#include "agent/envd/entry.h"
#include "agent/envd/fs.h"
#include "agent/envd/multipart.h"
#include "agent/envd/path.h"
#include "base/clock.h"
#include "base/fd.h"
#include "json/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define GZIP_BITS (15 + 16)

struct upload {
    struct call *call;
    struct user user;
    char path[PATH_MAX]; // of the query; "" when there is none
    struct buf metadata; // name, NUL, value, NUL, ...
    bool is_form;
    struct multipart form;
    int fd;          // the file that is being written
    struct buf text; // of the answer
    struct json_out out;
    uint64_t *seen; // a hash per path written
    size_t seen_count, seen_alloc;
    bool gzip;
    bool gzip_done; // a member ended
    z_stream z;
    struct buf staged;
    size_t staged_off;
    bool ended; // the body is complete
    struct loop_timer slice;
};

static void upload_free(struct upload *u)
{
    loop_timer_clear(u->call->envd->loop, &u->slice);
    fd_close(&u->fd);
    if (u->gzip)
        (void)inflateEnd(&u->z);
    if (u->is_form)
        multipart_release(&u->form);
    buf_release(&u->metadata);
    buf_release(&u->text);
    buf_release(&u->staged);
    free(u->seen);
    free(u);
}

// Answers by an errno. Returns -1.
static int fail_sys(struct upload *u, int error, const char *path)
{
    int status = 500;

    if (error < 0)
        error = -error;
    if (error == ENOSPC || error == EDQUOT)
        status = 507;
    else if (error == EISDIR || error == ENOTDIR || error == ENXIO || error == ENAMETOOLONG ||
             error == ELOOP || error == ENOENT || error == EEXIST || error == EACCES)
        status = 400; // the last three: programs moved a directory of the path meanwhile
    call_fail(u->call, status, "write '%s': %s", path, strerror(error));
    return -1;
}

// FNV-1a: only to find a path that was written already.
static uint64_t hash(const char *path)
{
    uint64_t h = 14695981039346656037ull;

    for (; *path != '\0'; path++)
        h = (h ^ (uint8_t)*path) * 1099511628211ull;
    return h;
}

// True when the path is new to this request.
static bool remember(struct upload *u, const char *path)
{
    uint64_t h = hash(path);

    for (size_t i = 0; i < u->seen_count; i++)
        if (u->seen[i] == h)
            return false;
    if (u->seen_count == u->seen_alloc) {
        size_t want = u->seen_alloc == 0 ? 16 : u->seen_alloc * 2;
        uint64_t *more = reallocarray(u->seen, want, sizeof(*more));
        if (more == NULL)
            return true; // it is written twice, then
        u->seen = more;
        u->seen_alloc = want;
    }
    u->seen[u->seen_count++] = h;
    return true;
}

static void put_entry(struct upload *u, const char *path)
{
    json_open(&u->out, NULL, '{');
    json_put_str(&u->out, "path", path);
    json_put_str(&u->out, "name", path_base(path));
    json_put_str(&u->out, "type", "file");
    if (u->metadata.len > 0)
        entry_put_metadata(&u->out, "metadata", path);
    json_close(&u->out, '}');
}

// Not blocking: the name may be a pipe's. With O_CREAT the kernel refuses root what another user
// has in a directory like /tmp (fs.protected_regular), so that is for what is not there.
static int open_to_write(const char *path)
{
    const int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = open(path, flags);

    return fd < 0 && errno == ENOENT ? open(path, flags | O_CREAT, 0644) : fd;
}

// Opens the file anew and makes it the user's.
static int open_file(struct upload *u, const char *path)
{
    struct stat st;
    int rc = fs_make_parents(path, &u->user);

    if (rc < 0)
        return fail_sys(u, rc, path);
    u->fd = open_to_write(path);
    if (u->fd < 0 || fstat(u->fd, &st) < 0)
        return fail_sys(u, errno, path);
    if (!S_ISREG(st.st_mode)) {
        call_fail(u->call, 400, "path '%s' is not a regular file", path);
        return -1;
    }
    if (ftruncate(u->fd, 0) < 0)
        return fail_sys(u, errno, path);
    rc = user_give(&u->user, u->fd, "");
    if (rc == 0)
        rc = entry_set_metadata(u->fd, &u->metadata);
    return rc < 0 ? fail_sys(u, rc, path) : 0;
}

static int begin_file(struct upload *u, const char *path)
{
    if (!remember(u, path)) {
        call_fail(u->call, 400, "path '%s' is given twice", path);
        return -1;
    }
    if (open_file(u, path) < 0)
        return -1;
    put_entry(u, path);
    return 0;
}

static int write_file(struct upload *u, const uint8_t *data, size_t len)
{
    int rc = u->fd < 0 ? 0 : fd_write_all(u->fd, data, len);

    return rc < 0 ? fail_sys(u, rc, u->path) : 0;
}

static int on_part(void *arg, const char *name, const char *filename)
{
    struct upload *u = arg;
    char path[PATH_MAX];

    if (strcmp(name, "file") != 0)
        return 0;
    if (u->path[0] != '\0')
        return begin_file(u, u->path);
    if (filename == NULL || filename[0] == '\0' ||
        path_resolve(&u->user, u->call->envd->workdir, filename, path) < 0) {
        call_fail(u->call, 400, "a part has neither a path nor a file name");
        return -1;
    }
    return begin_file(u, path);
}

static int on_part_data(void *arg, const void *data, size_t len)
{
    return write_file(arg, data, len);
}

static int on_part_end(void *arg)
{
    struct upload *u = arg;

    fd_close(&u->fd);
    return 0;
}

static const struct multipart_callbacks form_callbacks = {on_part, on_part_data, on_part_end};

// Takes content. -1: the call was answered.
static int take(struct upload *u, const uint8_t *data, size_t len)
{
    int rc;

    if (!u->is_form)
        return write_file(u, data, len);
    rc = multipart_feed(&u->form, data, len);
    if (rc == 0)
        return 0;
    if (!u->call->finished)
        call_fail(u->call, rc == -ENOMEM ? 500 : 400, "the form is not valid: %s", strerror(-rc));
    return -1;
}

static void complete(struct upload *u)
{
    if (u->gzip && !u->gzip_done) {
        call_fail(u->call, 400, "the compressed body is cut off");
    } else if (u->is_form && !multipart_complete(&u->form)) {
        call_fail(u->call, 400, "the form is cut off");
    } else {
        json_close(&u->out, ']');
        if (u->out.failed)
            call_fail(u->call, 500, "out of memory");
        else
            call_answer(u->call, 200, "application/json; charset=utf-8", u->text.data, u->text.len);
    }
    fd_close(&u->fd);
}

// Inflates once into the piece. 1: there is more to do, 0: needs more, -1: answered.
static int inflate_piece(struct upload *u)
{
    uint8_t *piece = u->call->envd->piece;
    int rc;

    u->z.next_in = u->staged.data + u->staged_off;
    u->z.avail_in = (uInt)(u->staged.len - u->staged_off);
    u->z.next_out = piece;
    u->z.avail_out = ENVD_PIECE_BYTES;
    if (u->z.avail_in > 0 && u->gzip_done) { // another member follows
        (void)inflateReset(&u->z);
        u->gzip_done = false;
    }
    rc = inflate(&u->z, Z_NO_FLUSH);
    u->staged_off = u->staged.len - u->z.avail_in;
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
        call_fail(u->call, 400, "the body is not valid gzip");
        return -1;
    }
    u->gzip_done = rc == Z_STREAM_END || (rc == Z_BUF_ERROR && u->gzip_done);
    if (take(u, piece, ENVD_PIECE_BYTES - u->z.avail_out) < 0)
        return -1;
    return u->z.avail_in > 0 || u->z.avail_out == 0;
}

static void pump(void *arg)
{
    struct upload *u = arg;
    int rc = 1;

    for (size_t done = 0; rc > 0 && done < ENVD_SLICE_BYTES; done += ENVD_PIECE_BYTES)
        rc = inflate_piece(u);
    if (rc < 0)
        return;
    if (rc > 0) {
        loop_timer_set(u->call->envd->loop, &u->slice, clock_mono_ns(), pump, u);
        return;
    }
    buf_clear(&u->staged);
    u->staged_off = 0;
    server_stream_hold(u->call->stream, false);
    if (u->ended)
        complete(u);
}

static void on_body(struct call *c, const uint8_t *data, size_t len)
{
    struct upload *u = c->state;

    if (c->finished)
        return;
    if (!u->gzip) {
        (void)take(u, data, len);
    } else if (buf_append(&u->staged, data, len) < 0) {
        call_fail(c, 500, "out of memory");
    } else {
        server_stream_hold(c->stream, true);
        if (!u->slice.armed)
            loop_timer_set(c->envd->loop, &u->slice, clock_mono_ns(), pump, u);
    }
}

static void on_end(struct call *c)
{
    struct upload *u = c->state;

    if (c->finished)
        return;
    u->ended = true;
    if (!u->slice.armed)
        complete(u);
}

static void on_close(struct call *c)
{
    upload_free(c->state);
}

static const struct call_ops ops = {.body = on_body, .end = on_end, .close = on_close};

// Collects the headers x-metadata-*.
static int take_metadata(struct upload *u)
{
    static const char prefix[] = "x-metadata-";
    const char *name, *value;
    size_t total = 0;

    for (size_t at = 0; server_stream_header_at(u->call->stream, &at, &name, &value);) {
        if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
            continue;
        name += sizeof(prefix) - 1;
        total += strlen(name) + strlen(value);
        bool ok = name[0] != '\0' && strlen(name) <= ENTRY_METADATA_KEY_MAX &&
                  total <= ENTRY_METADATA_MAX;
        for (const char *p = value; ok && *p != '\0'; p++)
            ok = *p >= ' ' && *p <= '~';
        if (!ok) {
            call_fail(u->call, 400, "metadata '%.64s' is not printable ASCII or too large", name);
            return -1;
        }
        if (buf_append(&u->metadata, name, strlen(name) + 1) < 0 ||
            buf_append(&u->metadata, value, strlen(value) + 1) < 0) {
            call_fail(u->call, 500, "out of memory");
            return -1;
        }
    }
    return 0;
}

static int take_coding(struct upload *u)
{
    const char *coding = server_stream_header(u->call->stream, "content-encoding");

    if (coding == NULL || coding[0] == '\0' || strcasecmp(coding, "identity") == 0)
        return 0;
    u->gzip = strcasecmp(coding, "gzip") == 0 && inflateInit2(&u->z, GZIP_BITS) == Z_OK;
    if (u->gzip)
        return 0;
    call_fail(u->call, 400, "content-encoding '%.64s' is not supported", coding);
    return -1;
}

static int take_type(struct upload *u)
{
    static const char raw[] = "application/octet-stream";
    const char *type = server_stream_header(u->call->stream, "content-type");

    if (type == NULL)
        type = "";
    if (strncasecmp(type, raw, sizeof(raw) - 1) == 0) {
        if (u->path[0] != '\0')
            return begin_file(u, u->path);
        call_fail(u->call, 400, "path is required");
        return -1;
    }
    u->is_form = true;
    if (multipart_init(&u->form, type, &form_callbacks, u) == 0)
        return 0;
    call_fail(u->call, 400, "content-type '%.64s' is not supported", type);
    return -1;
}

void files_upload(struct call *c)
{
    struct upload *u = calloc(1, sizeof(*u));

    if (u == NULL) {
        call_fail(c, 500, "out of memory");
        return;
    }
    u->call = c;
    u->fd = -1;
    u->out.buf = &u->text;
    c->state = u;
    c->ops = &ops;
    server_stream_set_body_max(c->stream, UINT64_MAX);
    json_open(&u->out, NULL, '[');
    if (files_target(c, &u->user, u->path) < 0 || take_metadata(u) < 0 || take_coding(u) < 0)
        return;
    (void)take_type(u);
}
