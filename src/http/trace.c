// SPDX-License-Identifier: Apache-2.0
#include "http/trace.h"

#include "base/id.h"

#include <stdio.h>
#include <string.h>

#define HEX "0123456789abcdef"

// "VERSION-TRACE-SPAN-FLAGS": where each begins, and how many digits it has.
enum { VERSION_AT = 0, TRACE_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, BYTE_LEN = 2 };

static bool is_hex(const char *text, size_t len)
{
    return strspn(text, HEX) >= len;
}

static bool is_zero(const char *text, size_t len)
{
    return strspn(text, "0") >= len;
}

// Of a later version there may be more, after a dash.
static bool is_well_formed(const char *h)
{
    size_t len = strlen(h);
    bool first = strncmp(h, "00", BYTE_LEN) == 0;

    if (len < TRACE_PARENT_LEN || (len > TRACE_PARENT_LEN && (first || h[TRACE_PARENT_LEN] != '-')))
        return false;
    return is_hex(h, BYTE_LEN) && strncmp(h, "ff", BYTE_LEN) != 0 && h[TRACE_AT - 1] == '-' &&
           is_hex(h + TRACE_AT, TRACE_ID_LEN) && !is_zero(h + TRACE_AT, TRACE_ID_LEN) &&
           h[SPAN_AT - 1] == '-' && is_hex(h + SPAN_AT, TRACE_SPAN_LEN) &&
           !is_zero(h + SPAN_AT, TRACE_SPAN_LEN) && h[FLAGS_AT - 1] == '-' &&
           is_hex(h + FLAGS_AT, BYTE_LEN);
}

bool trace_read(const char *header, struct http_trace *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (header == NULL || !is_well_formed(header))
        return false;
    memcpy(ret->trace_id, header + TRACE_AT, TRACE_ID_LEN);
    memcpy(ret->flags, header + FLAGS_AT, BYTE_LEN);
    do
        id_hex(ret->span_id, TRACE_SPAN_LEN / 2);
    while (is_zero(ret->span_id, TRACE_SPAN_LEN));
    return true;
}

void trace_write(const struct http_trace *t, char ret[TRACE_PARENT_LEN + 1])
{
    (void)snprintf(ret, TRACE_PARENT_LEN + 1, "00-%s-%s-%s", t->trace_id, t->span_id, t->flags);
}
