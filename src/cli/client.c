// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include "cli/cli.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct exchange {
    const struct client_request *req;
    CURL *curl;
    struct buf *answer;
};

static size_t take_body(char *data, size_t size, size_t count, void *arg)
{
    struct exchange *x = arg;
    size_t len = size * count;
    long status = 0;

    (void)curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    if (x->req->on_body != NULL && status / 100 == 2)
        return x->req->on_body(x->req->arg, data, len) == 0 ? len : 0;
    return buf_append(x->answer, data, len) == 0 ? len : 0;
}

static struct curl_slist *make_headers(const struct client_request *req)
{
    const char *key = getenv("E2B_API_KEY"); // the one that E2B's own tools use
    char accept[128];
    char type[128];
    char key_line[256];
    struct curl_slist *headers = NULL;

    (void)snprintf(accept, sizeof(accept), "Accept: %s",
                   req->accept == NULL ? "application/json" : req->accept);
    headers = curl_slist_append(headers, accept);
    (void)snprintf(type, sizeof(type), "Content-Type: %s",
                   req->type == NULL ? "application/json" : req->type);
    headers = curl_slist_append(headers, type);
    if (key != NULL && key[0] != '\0') {
        (void)snprintf(key_line, sizeof(key_line), "X-API-KEY: %s", key);
        headers = curl_slist_append(headers, key_line);
    }
    for (const char *const *h = req->headers; h != NULL && *h != NULL; h++)
        headers = curl_slist_append(headers, *h);
    return curl_slist_append(headers, "Expect:");
}

static size_t give_body(char *data, size_t size, size_t count, void *arg)
{
    const struct client_request *req = arg;
    size_t n = req->read(req->read_arg, data, size * count);

    return n == SIZE_MAX ? CURL_READFUNC_ABORT : n;
}

static void read_wanted(CURL *curl, struct client_header *wanted)
{
    struct curl_header *h;

    wanted->value[0] = '\0';
    if (curl_easy_header(curl, wanted->name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK &&
        strlen(h->value) < sizeof(wanted->value))
        memcpy(wanted->value, h->value, strlen(h->value) + 1);
}

// libcurl asks about once a second, also while nothing moves.
static int is_cancelled(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct client_request *req = arg;

    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(req->cancel) ? 1 : 0;
}

static int perform(struct exchange *x, const char *url, struct curl_slist *headers,
                   long *ret_status, struct err *err)
{
    CURLcode code;

    (void)curl_easy_setopt(x->curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(x->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(x->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    (void)curl_easy_setopt(x->curl, CURLOPT_TIMEOUT, x->req->timeout_s);
    (void)curl_easy_setopt(x->curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(x->curl, CURLOPT_WRITEDATA, x);
    // A peer whose machine is gone says nothing: it is asked when nothing came for a minute.
    (void)curl_easy_setopt(x->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    if (x->req->cancel != NULL) {
        (void)curl_easy_setopt(x->curl, CURLOPT_NOPROGRESS, 0L);
        (void)curl_easy_setopt(x->curl, CURLOPT_XFERINFOFUNCTION, is_cancelled);
        (void)curl_easy_setopt(x->curl, CURLOPT_XFERINFODATA, x->req);
    }
    if (x->req->read != NULL) {
        (void)curl_easy_setopt(x->curl, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(x->curl, CURLOPT_READFUNCTION, give_body);
        (void)curl_easy_setopt(x->curl, CURLOPT_READDATA, x->req);
        (void)curl_easy_setopt(x->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->req->read_len);
    }
    if (x->req->body != NULL) {
        (void)curl_easy_setopt(x->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->req->body_len);
        (void)curl_easy_setopt(x->curl, CURLOPT_POSTFIELDS, x->req->body);
    }
    (void)curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST, x->req->method);
    code = curl_easy_perform(x->curl);
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        return err_set(err, ERR_GONE, "%s: %s: is the service running? CSB_URL says where it is",
                       cli_url(), curl_easy_strerror(code));
    if (code != CURLE_OK)
        return err_set(err, ERR_GONE, "%s: %s", url, curl_easy_strerror(code));
    (void)curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, ret_status);
    if (x->req->wanted != NULL)
        read_wanted(x->curl, x->req->wanted);
    return 0;
}

int client_call(const struct client_request *req, long *ret_status, struct buf *answer,
                struct err *err)
{
    struct exchange x = {.req = req, .answer = answer};
    _cleanup_buf_ struct buf url = BUF_INIT;
    struct curl_slist *headers;
    int r;

    answer->cap = CLIENT_ANSWER_MAX;
    if (buf_appendf(&url, "%s%s", cli_url(), req->path) < 0 || buf_cstr(&url) == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    x.curl = curl_easy_init();
    if (x.curl == NULL)
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    headers = make_headers(req);
    r = perform(&x, buf_cstr(&url), headers, ret_status, err);
    curl_slist_free_all(headers);
    curl_easy_cleanup(x.curl);
    return r;
}
