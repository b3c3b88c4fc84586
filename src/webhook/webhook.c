// SPDX-License-Identifier: Apache-2.0
#include "webhook/webhook.h"

#include "base/buf.h"
#include "base/clock.h"
#include "webhook/address.h"
#include "webhook/lookup.h"
#include "webhook/sign.h"

#include <curl/curl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ADDRESSES_MAX 16
#define ANSWER_MAX    (64u << 10) // bytes of an answer's body that are read, and thrown away

struct target {
    char host[LOOKUP_HOST_MAX]; // without brackets
    char port[LOOKUP_PORT_MAX];
};

static int refuse(struct err *err, const char *why)
{
    return err_set(err, ERR_INVALID, "%s", why);
}

static int refuse_address(struct err *err)
{
    return refuse(err, "leads to an address that is not public, or is this host's own");
}

static int copy_part(CURLU *url, CURLUPart part, unsigned flags, char *ret, size_t size)
{
    char *text = NULL;
    int n = -1;

    if (curl_url_get(url, part, &text, flags) == CURLUE_OK)
        n = snprintf(ret, size, "%s", text);
    curl_free(text);
    return n < 0 || (size_t)n >= size ? -1 : 0;
}

static bool has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK;

    curl_free(text);
    return has;
}

static int take_apart(CURLU *url, struct target *ret, struct err *err)
{
    char scheme[16] = "";
    size_t len;

    if (copy_part(url, CURLUPART_SCHEME, 0, scheme, sizeof(scheme)) < 0 ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        return refuse(err, "is not an http or https URL");
    if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
        return refuse(err, "may not have a user or a password");
    if (has_part(url, CURLUPART_ZONEID))
        return refuse(err, "may not have a zone");
    if (copy_part(url, CURLUPART_HOST, 0, ret->host, sizeof(ret->host)) < 0 ||
        copy_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT, ret->port, sizeof(ret->port)) < 0)
        return refuse(err, "has no host, or too long a one");
    len = strlen(ret->host);
    if (ret->host[0] == '[' && len > 2) {
        memmove(ret->host, ret->host + 1, len - 2);
        ret->host[len - 2] = '\0';
    }
    return 0;
}

static int parse_url(const char *text, struct target *ret, struct err *err)
{
    CURLU *url;
    int r;

    if (strlen(text) > WEBHOOK_URL_MAX)
        return refuse(err, "is longer than 1024 bytes");
    for (const char *p = text; *p != '\0'; p++)
        if (*p <= ' ' || *p > '~') // control characters, and all that is not ASCII
            return refuse(err, "has characters that a URL cannot have");
    url = curl_url();
    if (url == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK)
        r = take_apart(url, ret, err);
    else
        r = refuse(err, "is not an http or https URL");
    curl_url_cleanup(url);
    return r;
}

// Every address must be allowed.
static int check_addresses(const struct addrinfo *list, const struct address_rules *rules,
                           struct err *err)
{
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next)
        if (!address_allowed(a->ai_addr, rules))
            return refuse_address(err);
    return 0;
}

// *ret is freed with freeaddrinfo(); NULL where the host is a name.
static int parse_address(const struct target *t, struct addrinfo **ret, struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int r = getaddrinfo(t->host, t->port, &hints, ret);

    if (r == EAI_MEMORY)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (r != 0)
        *ret = NULL;
    return 0;
}

int webhook_check_url(const char *url, const struct address_rules *rules, struct err *err)
{
    struct target t;
    struct addrinfo *list = NULL;
    int r;

    if (parse_url(url, &t, err) < 0 || parse_address(&t, &list, err) < 0)
        return -1;
    r = check_addresses(list, rules, err);
    if (list != NULL)
        freeaddrinfo(list);
    return r;
}

// One exchange.

struct exchange {
    const struct webhook *w;
    CURL *curl;
    struct curl_slist *headers;
    struct curl_slist *addresses;
    size_t answered;
    bool refused;
    char error[CURL_ERROR_SIZE];
};

// The second wall: whatever libcurl made of the name, this is where it would connect to.
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct exchange *x = arg;

    (void)purpose;
    if (!address_allowed(&address->addr, x->w->rules)) {
        x->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t throw_away(char *data, size_t size, size_t count, void *arg)
{
    struct exchange *x = arg;

    (void)data;
    x->answered += size * count;
    return x->answered > ANSWER_MAX ? 0 : size * count;
}

static int look_up(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct exchange *x = arg;

    (void)a, (void)b, (void)c, (void)d;
    return x->w->stop != NULL && atomic_load(x->w->stop);
}

// "host:port:address,address", so that libcurl asks nobody again. An IPv6 address has no place in
// front there, and is nothing to ask for.
static int pin(struct exchange *x, const struct target *t, const struct addrinfo *list,
               struct err *err)
{
    _cleanup_buf_ struct buf line = BUF_INIT;
    const char *text;
    int count = 0;

    if (strchr(t->host, ':') != NULL)
        return 0;
    (void)buf_appendf(&line, "%s:%s:", t->host, t->port);
    for (const struct addrinfo *a = list; a != NULL && count < ADDRESSES_MAX; a = a->ai_next) {
        char host[64];

        if (getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) !=
            0)
            continue;
        (void)buf_appendf(&line, a->ai_family == AF_INET6 ? "%s[%s]" : "%s%s",
                          count++ > 0 ? "," : "", host);
    }
    text = buf_cstr(&line);
    x->addresses = text == NULL ? NULL : curl_slist_append(NULL, text);
    if (x->addresses == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    (void)curl_easy_setopt(x->curl, CURLOPT_RESOLVE, x->addresses);
    return 0;
}

static void add_header(struct exchange *x, const char *line)
{
    struct curl_slist *more = curl_slist_append(x->headers, line);

    if (more != NULL)
        x->headers = more;
}

static void add_headers(struct exchange *x)
{
    const struct webhook *w = x->w;
    char timestamp[24], line[160];
    char signature[WEBHOOK_SIGNATURE_LEN + 1];

    (void)snprintf(timestamp, sizeof(timestamp), "%llu",
                   (unsigned long long)(clock_real_ns() / NS_PER_S));
    webhook_sign(w->secret, timestamp, w->body, w->body_len, signature);
    add_header(x, "Content-Type: application/json");
    add_header(x, "Expect:");
    (void)snprintf(line, sizeof(line), "X-Codesandbox-Job: %s", w->id);
    add_header(x, line);
    (void)snprintf(line, sizeof(line), "X-Codesandbox-Attempt: %u", w->attempt);
    add_header(x, line);
    (void)snprintf(line, sizeof(line), "X-Codesandbox-Timestamp: %s", timestamp);
    add_header(x, line);
    (void)snprintf(line, sizeof(line), "X-Codesandbox-Signature: sha256=%s", signature);
    add_header(x, line);
    if (w->trace == NULL || w->trace[0] == '\0')
        return;
    (void)snprintf(line, sizeof(line), "traceparent: %s", w->trace);
    add_header(x, line);
}

static void set_options(struct exchange *x)
{
    const struct webhook *w = x->w;

    (void)curl_easy_setopt(x->curl, CURLOPT_URL, w->url);
    (void)curl_easy_setopt(x->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(x->curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(x->curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(x->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(x->curl, CURLOPT_TIMEOUT_MS, (long)w->timeout_ms);
    (void)curl_easy_setopt(x->curl, CURLOPT_USERAGENT, "codesandbox/" CSB_VERSION);
    (void)curl_easy_setopt(x->curl, CURLOPT_ERRORBUFFER, x->error);
    (void)curl_easy_setopt(x->curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    (void)curl_easy_setopt(x->curl, CURLOPT_OPENSOCKETDATA, x);
    (void)curl_easy_setopt(x->curl, CURLOPT_WRITEFUNCTION, throw_away);
    (void)curl_easy_setopt(x->curl, CURLOPT_WRITEDATA, x);
    (void)curl_easy_setopt(x->curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(x->curl, CURLOPT_XFERINFOFUNCTION, look_up);
    (void)curl_easy_setopt(x->curl, CURLOPT_XFERINFODATA, x);
    (void)curl_easy_setopt(x->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)w->body_len);
    (void)curl_easy_setopt(x->curl, CURLOPT_POSTFIELDS, w->body);
    (void)curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, x->headers);
    if (w->ca_file[0] != '\0')
        (void)curl_easy_setopt(x->curl, CURLOPT_CAINFO, w->ca_file);
}

static int judge(const struct exchange *x, CURLcode code, struct err *err)
{
    long status = 0;

    (void)curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    if (x->refused)
        return refuse_address(err);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return err_set(err, ERR_CANCELLED, "the service is shutting down");
    if (status / 100 == 2 && (code == CURLE_OK || code == CURLE_WRITE_ERROR))
        return 0; // a long answer is cut off, and none the worse
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "no answer in time");
    if (code != CURLE_OK && code != CURLE_WRITE_ERROR)
        return err_set(err, ERR_GONE, "%.120s",
                       x->error[0] != '\0' ? x->error : curl_easy_strerror(code));
    return err_set(err, ERR_PROTOCOL, "answered with status %ld", status);
}

// With the addresses of its host.
static int exchange(const struct webhook *w, const struct target *t, const struct addrinfo *list,
                    struct err *err)
{
    struct exchange x = {.w = w, .curl = curl_easy_init()};
    int r;

    if (x.curl == NULL)
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    r = pin(&x, t, list, err);
    if (r == 0) {
        add_headers(&x);
        set_options(&x);
        r = judge(&x, curl_easy_perform(x.curl), err);
    }
    curl_slist_free_all(x.headers);
    curl_slist_free_all(x.addresses);
    curl_easy_cleanup(x.curl);
    return r;
}

int webhook_send(const struct webhook *w, struct err *err)
{
    struct addrinfo *list = NULL;
    struct target t;
    int r;

    if (parse_url(w->url, &t, err) < 0 || parse_address(&t, &list, err) < 0 ||
        (list == NULL && lookup_name(t.host, t.port, w->stop, &list, err) < 0))
        return -1;
    r = check_addresses(list, w->rules, err);
    if (r == 0)
        r = exchange(w, &t, list, err);
    freeaddrinfo(list);
    return r;
}
