// SPDX-License-Identifier: Apache-2.0
//
// Answers, as libmicrohttpd sends them: from memory, from a source that is pulled on, or as the
// beginning of another protocol.
#include "http/server_internal.h"

#include <string.h>

#define STREAM_BLOCK ((size_t)32 << 10)

static ssize_t stream_read(void *cls, uint64_t pos, char *data, size_t max)
{
    struct http_exchange *ex = cls;
    ssize_t n;

    (void)pos; // always goes forward
    if (ex->sized && max > ex->left)
        max = ex->left;
    http_conn_enter(ex->conn, HTTP_CONN_HANDLER);
    n = ex->stream.pull(ex->stream.arg, data, max);
    http_conn_enter(ex->conn, HTTP_CONN_WRITE);
    if (n < 0 || (n == 0 && ex->sized))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (ex->sized)
        ex->left -= (uint64_t)n;
    return n;
}

static void stream_free(void *cls)
{
    struct http_exchange *ex = cls;

    if (ex->stream.done != NULL)
        ex->stream.done(ex->stream.arg);
    http_exchange_unref(ex);
}

static void upgraded(void *cls, struct MHD_Connection *mhd, void *request, const char *extra,
                     size_t extra_len, MHD_socket socket, struct MHD_UpgradeResponseHandle *handle)
{
    struct http_exchange *ex = cls;

    (void)mhd;
    (void)request;
    http_conn_enter(ex->conn, HTTP_CONN_HANDLER);
    ex->upgrade(ex->upgrade_arg, socket, extra, extra_len);
    (void)MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}

static struct MHD_Response *make_streamed(struct http_exchange *ex, const struct http_response *res)
{
    struct MHD_Response *r;

    ex->stream = res->stream;
    ex->sized = res->sized;
    ex->left = res->size;
    atomic_fetch_add(&ex->refs, 1);
    r = MHD_create_response_from_callback(res->sized ? res->size : MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                          stream_read, ex, stream_free);
    if (r == NULL)
        stream_free(ex);
    return r;
}

static struct MHD_Response *make_response(struct http_exchange *ex, struct http_response *res)
{
    struct MHD_Response *r;

    if (res->upgrade != NULL) {
        ex->upgrade = res->upgrade;
        ex->upgrade_arg = res->upgrade_arg;
        return MHD_create_response_for_upgrade(upgraded, ex);
    }
    if (res->stream.pull != NULL)
        return make_streamed(ex, res);
    if (!res->foreign && res->content_type == NULL && res->body.len > 0)
        (void)buf_append(&res->body, "\n", 1); // JSON, for people at a terminal
    r = MHD_create_response_from_buffer(res->body.len, res->body.data, MHD_RESPMEM_MUST_FREE);
    if (r != NULL)
        res->body = (struct buf)BUF_INIT;
    return r;
}

static void add_headers(const struct http_exchange *ex, const struct http_response *res,
                        struct MHD_Response *r)
{
    const char *type = res->content_type;
    char parent[TRACE_PARENT_LEN + 1];

    if (!res->foreign && type == NULL)
        type = "application/json";
    if (type != NULL)
        MHD_add_response_header(r, "Content-Type", type);
    if (!res->foreign) {
        MHD_add_response_header(r, "X-Request-Id", ex->req.id);
        MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
        MHD_add_response_header(r, "Cache-Control", "no-store");
        if (ex->req.trace.trace_id[0] != '\0') {
            trace_write(&ex->req.trace, parent);
            MHD_add_response_header(r, "traceparent", parent);
        }
    }
    for (size_t at = 0; at < res->headers.len;) {
        const char *name = (const char *)res->headers.data + at;
        const char *value = name + strlen(name) + 1;

        // What the library does not take (line ends, an empty value) is left out.
        (void)MHD_add_response_header(r, name, value);
        at += (size_t)(value - name) + strlen(value) + 1;
    }
    if (atomic_load(&ex->server->draining) && res->upgrade == NULL)
        MHD_add_response_header(r, "Connection", "close");
}

enum MHD_Result http_answer(struct http_exchange *ex, struct http_response *res)
{
    struct MHD_Response *r = make_response(ex, res);
    enum MHD_Result result = MHD_NO;

    ex->seen.status = res->status;
    if (r != NULL) {
        add_headers(ex, res, r);
        http_conn_enter(ex->conn, HTTP_CONN_WRITE);
        result = MHD_queue_response(ex->mhd, res->status, r);
        MHD_destroy_response(r);
    }
    buf_release(&res->body);
    buf_release(&res->headers);
    return result;
}
