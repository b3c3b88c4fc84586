// SPDX-License-Identifier: Apache-2.0
//
// A form in pieces: the first byte is their size, what follows up to a line feed is the
// content-type, the rest the body. The same body in one piece must give the same.
#include "agent/envd/multipart.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct seen {
    struct buf text; // all that was told
    bool inside;
};

static int on_begin(void *arg, const char *name, const char *filename)
{
    struct seen *s = arg;

    if (s->inside)
        abort();
    s->inside = true;
    return buf_appendf(&s->text, "<%s|%s>", name, filename == NULL ? "" : filename);
}

static int on_data(void *arg, const void *data, size_t len)
{
    struct seen *s = arg;

    if (!s->inside || len == 0)
        abort();
    return buf_append(&s->text, data, len);
}

static int on_end(void *arg)
{
    struct seen *s = arg;

    if (!s->inside)
        abort();
    s->inside = false;
    return buf_append(&s->text, "</>", 3);
}

static const struct multipart_callbacks callbacks = {on_begin, on_data, on_end};

static int run(const char *type, const uint8_t *data, size_t len, size_t piece, struct seen *s)
{
    struct multipart m;
    int rc = multipart_init(&m, type, &callbacks, s);

    for (size_t at = 0; at < len && rc == 0; at += piece)
        rc = multipart_feed(&m, data + at, len - at < piece ? len - at : piece);
    if (rc == 0 && !multipart_complete(&m))
        rc = 1;
    multipart_release(&m);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct seen pieces = {0}, whole = {0};
    const uint8_t *line = len < 2 ? NULL : memchr(data + 1, '\n', len - 1);
    char type[256];

    if (line == NULL || (size_t)(line - data) >= sizeof(type))
        return 0;
    memcpy(type, data + 1, (size_t)(line - data) - 1);
    type[line - data - 1] = '\0';
    len -= (size_t)(line + 1 - data);
    int a = run(type, line + 1, len, (size_t)data[0] + 1, &pieces);
    int b = run(type, line + 1, len, len + 1, &whole);
    // Content that was handed on before an error may differ; a good form's may not.
    if ((a == 0) != (b == 0))
        abort();
    if (a == 0 &&
        (pieces.text.len != whole.text.len ||
         memcmp(pieces.text.data == NULL ? (const void *)"" : pieces.text.data,
                whole.text.data == NULL ? (const void *)"" : whole.text.data, whole.text.len) != 0))
        abort();
    buf_release(&pieces.text);
    buf_release(&whole.text);
    return 0;
}
