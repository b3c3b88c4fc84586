// SPDX-License-Identifier: Apache-2.0
#include "cli/sse.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void sse_init(struct sse *s, sse_event_fn on_event, void *arg)
{
    *s = (struct sse){
        .line = BUF_CAPPED(SSE_EVENT_MAX),
        .data = BUF_CAPPED(SSE_EVENT_MAX),
        .on_event = on_event,
        .arg = arg,
    };
}

void sse_release(struct sse *s)
{
    buf_release(&s->line);
    buf_release(&s->data);
}

// The value behind "field:", one leading space cut; NULL when the line is of another field.
static const char *field_value(const char *line, const char *field)
{
    size_t len = strlen(field);

    if (strncmp(line, field, len) != 0 || line[len] != ':')
        return NULL;
    return line[len + 1] == ' ' ? line + len + 2 : line + len + 1;
}

static int dispatch(struct sse *s)
{
    const char *data = buf_cstr(&s->data);
    int r = 0;

    if (data == NULL)
        return -ENOMEM;
    if (s->event[0] != '\0' || s->data.len > 0)
        r = s->on_event(s->arg, s->event, data);
    s->event[0] = '\0';
    buf_clear(&s->data);
    return r;
}

static int take_line(struct sse *s, const char *line)
{
    const char *value;

    if (line[0] == '\0')
        return dispatch(s);
    value = field_value(line, "event");
    if (value != NULL)
        (void)snprintf(s->event, sizeof(s->event), "%s", value);
    value = field_value(line, "data");
    if (value == NULL)
        return 0;
    if (s->data.len > 0 && buf_append(&s->data, "\n", 1) < 0)
        return -EFBIG;
    return buf_append(&s->data, value, strlen(value));
}

int sse_feed(struct sse *s, const char *bytes, size_t len)
{
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        size_t n = end == NULL ? len : (size_t)(end - bytes);
        const char *line;
        int r = buf_append(&s->line, bytes, n);

        if (r < 0)
            return r;
        if (end == NULL)
            return 0;
        bytes += n + 1;
        len -= n + 1;
        line = buf_cstr(&s->line);
        r = line == NULL ? -ENOMEM : take_line(s, line);
        if (r != 0)
            return r;
        buf_clear(&s->line);
    }
    return 0;
}
