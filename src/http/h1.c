// SPDX-License-Identifier: Apache-2.0
#include "http/h1.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

// Of a chunked body: where the next byte belongs.
enum {
    CHUNK_SIZE, // the line with the size
    CHUNK_DATA,
    CHUNK_END, // the line end after the data
    CHUNK_TRAILER,
};

void h1_init(struct h1_answer *a, bool head_only, bool may_switch)
{
    *a = (struct h1_answer){.head_only = head_only, .may_switch = may_switch};
    a->head.cap = H1_HEAD_MAX;
    a->line.cap = H1_LINE_MAX;
}

void h1_release(struct h1_answer *a)
{
    buf_release(&a->head);
    buf_release(&a->line);
}

static bool is_token(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_text(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

bool h1_is_name(const char *text)
{
    const char *at = text;

    while (is_token((unsigned char)*at))
        at++;
    return at > text && *at == '\0';
}

bool h1_is_value(const char *text)
{
    while (*text != '\0' && is_text((unsigned char)*text))
        text++;
    return *text == '\0';
}

bool h1_list_has(const char *list, const char *word)
{
    size_t len = strlen(word);

    while (*list != '\0') {
        size_t item;

        list += strspn(list, ", \t");
        item = strcspn(list, ",");
        while (item > 0 && (list[item - 1] == ' ' || list[item - 1] == '\t'))
            item--;
        if (item == len && strncasecmp(list, word, len) == 0)
            return true;
        list += strcspn(list, ",");
    }
    return false;
}

bool h1_is_hop(const char *name)
{
    static const char *const hops[] = {"connection",       "keep-alive", "proxy-authenticate",
                                       "proxy-connection", "te",         "proxy-authorization",
                                       "trailer",          "upgrade",    "transfer-encoding"};

    for (size_t i = 0; i < sizeof(hops) / sizeof(hops[0]); i++)
        if (strcasecmp(name, hops[i]) == 0)
            return true;
    return false;
}

static bool step(const struct h1_answer *a, size_t *at, const char **ret_name,
                 const char **ret_value)
{
    if (*at >= a->head.len)
        return false;
    *ret_name = (const char *)a->head.data + *at;
    *ret_value = *ret_name + strlen(*ret_name) + 1;
    *at += (size_t)(*ret_value - *ret_name) + strlen(*ret_value) + 1;
    return true;
}

const char *h1_header(const struct h1_answer *a, const char *name)
{
    const char *have, *value;

    for (size_t at = 0; step(a, &at, &have, &value);)
        if (strcasecmp(have, name) == 0)
            return value;
    return NULL;
}

// Whether a header of Connection names it.
static bool is_named(const struct h1_answer *a, const char *word)
{
    const char *name, *value;

    for (size_t at = 0; step(a, &at, &name, &value);)
        if (strcasecmp(name, "connection") == 0 && h1_list_has(value, word))
            return true;
    return false;
}

bool h1_next_header(const struct h1_answer *a, size_t *at, const char **ret_name,
                    const char **ret_value)
{
    while (step(a, at, ret_name, ret_value))
        if (!h1_is_hop(*ret_name) && strcasecmp(*ret_name, "content-length") != 0 &&
            !is_named(a, *ret_name))
            return true;
    return false;
}

// "HTTP/1.1 200 OK". Its status, or -EPROTO.
static int parse_status(const char *line, size_t len)
{
    int status = 0;

    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
        line[8] != ' ' || (len > 12 && line[12] != ' '))
        return -EPROTO;
    for (size_t i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return -EPROTO;
        status = status * 10 + (line[i] - '0');
    }
    for (size_t i = 12; i < len; i++)
        if (!is_text((unsigned char)line[i]))
            return -EPROTO;
    return status >= 100 && status <= 599 ? status : -EPROTO;
}

// "name: value" is appended to `out`.
static int parse_header(const char *line, size_t len, struct buf *out)
{
    size_t name_len = 0;
    size_t from;

    while (name_len < len && is_token((unsigned char)line[name_len]))
        name_len++;
    if (name_len == 0 || name_len == len || line[name_len] != ':')
        return -EPROTO;
    from = name_len + 1;
    while (from < len && (line[from] == ' ' || line[from] == '\t'))
        from++;
    while (len > from && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    for (size_t i = from; i < len; i++)
        if (!is_text((unsigned char)line[i]))
            return -EPROTO;
    if (buf_append(out, line, name_len) < 0 || buf_append_u8(out, 0) < 0 ||
        buf_append(out, line + from, len - from) < 0 || buf_append_u8(out, 0) < 0)
        return -ENOMEM;
    return 0;
}

static int parse_size(const char *text, uint64_t *ret)
{
    uint64_t size = 0;

    if (*text == '\0')
        return -EPROTO;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || size > UINT64_MAX / 100)
            return -EPROTO;
        size = size * 10 + (uint64_t)(*text - '0');
    }
    *ret = size;
    return 0;
}

// What the headers say of the body.
static int find_framing(struct h1_answer *a)
{
    const char *name, *value;
    bool chunked = false;

    for (size_t at = 0; step(a, &at, &name, &value);) {
        uint64_t size;

        if (strcasecmp(name, "transfer-encoding") == 0) {
            if (chunked || strcasecmp(value, "chunked") != 0)
                return -EPROTO;
            chunked = true;
        } else if (strcasecmp(name, "content-length") == 0) {
            if (parse_size(value, &size) < 0 || (a->has_size && size != a->size))
                return -EPROTO;
            a->has_size = true;
            a->size = size;
        }
    }
    if (chunked)
        a->has_size = false;
    if (a->status == 101)
        a->body = H1_SWITCHED;
    else if (a->head_only || a->status == 204 || a->status == 304)
        a->body = H1_NONE;
    else if (chunked)
        a->body = H1_CHUNKED;
    else
        a->body = a->has_size ? H1_SIZED : H1_UNTIL_END;
    a->left = a->body == H1_SIZED ? a->size : 0;
    a->ended = a->body == H1_NONE || (a->body == H1_SIZED && a->size == 0);
    return 0;
}

// The length of the line at `text` without its end; *ret_next: where the next one begins.
static size_t line_at(const char *text, size_t len, size_t *ret_next)
{
    const char *end = memchr(text, '\n', len);
    size_t n = (size_t)(end - text);

    *ret_next = n + 1;
    return n > 0 && text[n - 1] == '\r' ? n - 1 : n;
}

// The whole head is in a->head: takes it apart.
static int parse_head(struct h1_answer *a)
{
    struct buf raw = a->head;
    const char *text = (const char *)raw.data;
    size_t next, count = 0;
    size_t len = line_at(text, raw.len, &next);
    int r = parse_status(text, len);

    a->status = r;
    // Twice the cap: a line end may be one byte, where two NUL are kept.
    a->head = (struct buf)BUF_CAPPED(2 * (size_t)H1_HEAD_MAX);
    for (size_t at = next; r >= 0; at += next) {
        len = line_at(text + at, raw.len - at, &next);
        if (len == 0)
            break;
        r = ++count > H1_HEADERS_MAX ? -EMSGSIZE : parse_header(text + at, len, &a->head);
    }
    buf_release(&raw);
    return r < 0 ? r : 0;
}

static int end_head(struct h1_answer *a)
{
    int r = parse_head(a);

    if (r < 0)
        return r;
    if (a->status >= 200 || (a->status == 101 && a->may_switch)) {
        a->complete = true;
        return find_framing(a);
    }
    if (a->status == 101 || ++a->interim > H1_INTERIM_MAX)
        return -EPROTO;
    buf_release(&a->head);
    a->head.cap = H1_HEAD_MAX;
    return 0;
}

// Whether the bytes so far end with an empty line.
static bool at_end(const struct buf *b)
{
    const uint8_t *end = b->data + b->len;

    if (b->len >= 2 && end[-1] == '\n' && end[-2] == '\n')
        return true;
    return b->len >= 3 && end[-1] == '\n' && end[-2] == '\r' && end[-3] == '\n';
}

int h1_head(struct h1_answer *a, const void *data, size_t len, size_t *ret_used)
{
    const uint8_t *bytes = data;

    *ret_used = 0;
    while (!a->complete && *ret_used < len) {
        int r = buf_append_u8(&a->head, bytes[(*ret_used)++]);

        if (r < 0)
            return r == -EFBIG ? -EMSGSIZE : r;
        // An answer that does not begin as one is not waited for.
        if (a->head.len == 5 && memcmp(a->head.data, "HTTP/", 5) != 0)
            return -EPROTO;
        if (at_end(&a->head) && (r = end_head(a)) < 0)
            return r;
    }
    return 0;
}

// The size line of a chunk is in a->line. 0 or -EPROTO.
static int begin_chunk(struct h1_answer *a)
{
    uint64_t size = 0;
    size_t at = 0;

    for (; at < a->line.len; at++) {
        int c = a->line.data[at] | 0x20;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (digit < 0)
            break;
        if (at == 15)
            return -EPROTO;
        size = size << 4 | (uint64_t)digit;
    }
    // Extensions may follow; nobody uses what they say.
    if (at == 0 || (at < a->line.len && strchr("; \t", a->line.data[at]) == NULL))
        return -EPROTO;
    buf_clear(&a->line);
    a->left = size;
    a->state = size > 0 ? CHUNK_DATA : CHUNK_TRAILER;
    if (size == 0)
        buf_clear(&a->line);
    return 0;
}

// One byte between the data of chunks.
static int chunk_byte(struct h1_answer *a, uint8_t byte)
{
    size_t len;

    if (byte != '\n') {
        if (byte != '\t' && byte != '\r' && !is_text(byte))
            return -EPROTO;
        // All trailers together have as many bytes as a head; their content is dropped.
        if (a->state == CHUNK_TRAILER && ++a->left > H1_HEAD_MAX)
            return -EPROTO;
        if (buf_append_u8(&a->line, byte) == 0)
            return 0;
        return a->state == CHUNK_TRAILER ? 0 : -EPROTO;
    }
    len = a->line.len;
    if (len > 0 && a->line.data[len - 1] == '\r')
        a->line.len = --len;
    if (a->state == CHUNK_SIZE)
        return begin_chunk(a);
    if (a->state == CHUNK_END && len > 0)
        return -EPROTO;
    if (a->state == CHUNK_TRAILER && len == 0)
        a->ended = true;
    if (a->state == CHUNK_TRAILER && ++a->left > H1_HEAD_MAX)
        return -EPROTO;
    if (a->state == CHUNK_END)
        a->state = CHUNK_SIZE;
    buf_clear(&a->line);
    return 0;
}

static ssize_t chunked(struct h1_answer *a, uint8_t *data, size_t len)
{
    size_t used = 0;

    for (size_t at = 0; at < len && !a->ended;) {
        size_t n = len - at;

        if (a->state != CHUNK_DATA) {
            int r = chunk_byte(a, data[at++]);

            if (r < 0)
                return r;
            continue;
        }
        if (n > a->left)
            n = (size_t)a->left;
        memmove(data + used, data + at, n);
        used += n;
        at += n;
        a->left -= n;
        if (a->left == 0)
            a->state = CHUNK_END;
    }
    return (ssize_t)used;
}

ssize_t h1_content(struct h1_answer *a, uint8_t *data, size_t len)
{
    if (a->ended)
        return 0;
    if (a->body == H1_CHUNKED)
        return chunked(a, data, len);
    if (a->body != H1_SIZED)
        return (ssize_t)len;
    if (len > a->left)
        len = (size_t)a->left;
    a->left -= len;
    a->ended = a->left == 0;
    return (ssize_t)len;
}

bool h1_close(struct h1_answer *a)
{
    if (a->complete && a->body == H1_UNTIL_END)
        a->ended = true;
    return a->ended;
}
