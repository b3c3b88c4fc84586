// SPDX-License-Identifier: Apache-2.0
//
// What was fed is held until it is decided: a boundary may lie across two pieces, so that of a
// part's content as much as a boundary takes less one byte stays back.
#include "agent/envd/multipart.h"

#include "agent/envd/path.h"
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// The characters that a quoted string's backslash escapes; before others it is itself, as it is in
// the paths that some browsers send.
#define ESCAPABLE "()<>@,;:\\\"/[]?="

// Reads one parameter "; name=value" at *p. *ret_name and *ret_len say where the name is, *ret is
// the value, freed by the caller. False when there is no more.
static bool next_parameter(const char **p, const char **ret_name, size_t *ret_len, char **ret)
{
    const char *s = *p + strspn(*p, " \t;");
    size_t n = 0;

    *ret_name = s;
    *ret_len = strcspn(s, "=; \t");
    s += *ret_len;
    if (*ret_len == 0 || *s != '=')
        return false;
    s++;
    *ret = malloc(strlen(s) + 1);
    if (*ret == NULL)
        return false;
    if (*s == '"') {
        for (s++; *s != '\0' && *s != '"'; s++) {
            if (s[0] == '\\' && s[1] != '\0' && strchr(ESCAPABLE, s[1]) != NULL)
                s++;
            (*ret)[n++] = *s;
        }
        s += *s == '"';
    } else {
        while (*s != '\0' && *s != ';' && *s != ' ' && *s != '\t')
            (*ret)[n++] = *s++;
    }
    (*ret)[n] = '\0';
    *p = s;
    return true;
}

// The value of a parameter of a header, freed by the caller, or NULL.
static char *parameter(const char *header, const char *name)
{
    const char *p = header + strcspn(header, ";");
    const char *have;
    size_t len;
    char *value;

    while (next_parameter(&p, &have, &len, &value)) {
        if (len == strlen(name) && strncasecmp(have, name, len) == 0)
            return value;
        free(value);
    }
    return NULL;
}

int multipart_init(struct multipart *m, const char *content_type,
                   const struct multipart_callbacks *callbacks, void *arg)
{
    static const char kind[] = "multipart/form-data";
    _cleanup_free_ char *boundary = NULL;
    size_t len;

    *m = (struct multipart){.callbacks = callbacks, .arg = arg};
    if (strncasecmp(content_type, kind, sizeof(kind) - 1) != 0)
        return -EINVAL;
    boundary = parameter(content_type, "boundary");
    len = boundary == NULL ? 0 : strlen(boundary);
    if (len == 0 || len > MULTIPART_BOUNDARY_MAX)
        return -EINVAL;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary, len + 1);
    m->delimiter_len = len + 4;
    // The first boundary may have no line before it.
    return buf_append(&m->held, "\r\n", 2);
}

void multipart_release(struct multipart *m)
{
    buf_release(&m->held);
}

bool multipart_complete(const struct multipart *m)
{
    return m->state == MULTIPART_DONE;
}

// "filename*=UTF-8''na%C3%AFve" (RFC 8187), or the plain parameter.
static char *file_name(const char *header)
{
    _cleanup_free_ char *extended = parameter(header, "filename*");
    const char *quote = extended == NULL ? NULL : strchr(extended, '\'');

    quote = quote == NULL ? NULL : strchr(quote + 1, '\'');
    if (quote != NULL && strncasecmp(extended, "utf-8'", 6) == 0)
        return path_unescape(quote + 1, strlen(quote + 1), 0);
    return parameter(header, "filename");
}

// The head of a part, a C string of lines.
static int take_head(struct multipart *m, char *head)
{
    static const char key[] = "content-disposition:";
    _cleanup_free_ char *name = NULL;
    _cleanup_free_ char *filename = NULL;

    for (char *line = head; *line != '\0';) {
        char *end = strstr(line, "\r\n");
        char *next = end == NULL ? line + strlen(line) : end + 2;
        if (end != NULL)
            *end = '\0';
        if (name == NULL && filename == NULL && strncasecmp(line, key, sizeof(key) - 1) == 0) {
            name = parameter(line + sizeof(key) - 1, "name");
            filename = file_name(line + sizeof(key) - 1);
        }
        line = next;
    }
    if (++m->parts > MULTIPART_PARTS_MAX)
        return -EMSGSIZE;
    m->state = MULTIPART_CONTENT;
    return m->callbacks->begin(m->arg, name == NULL ? "" : name, filename);
}

// Each step_ function: 1 when it made progress, 0 when more is needed, or an error.

static int step_break(struct multipart *m)
{
    const char *p = (const char *)m->held.data;
    size_t i = 0;

    if (m->held.len < 2)
        return 0;
    if (memcmp(p, "--", 2) == 0) {
        m->state = MULTIPART_DONE;
        return 1;
    }
    while (i < m->held.len && (p[i] == ' ' || p[i] == '\t'))
        i++;
    if (m->held.len - i < 2)
        return m->held.len > MULTIPART_HEAD_MAX ? -EMSGSIZE : 0;
    if (memcmp(p + i, "\r\n", 2) != 0)
        return -EBADMSG;
    // The line's end stays: a head of no lines is one empty line.
    buf_consume(&m->held, i);
    m->state = MULTIPART_HEAD;
    return 1;
}

static int step_head(struct multipart *m)
{
    char *end = memmem(m->held.data, m->held.len, "\r\n\r\n", 4);
    size_t len = end == NULL ? m->held.len : (size_t)(end - (char *)m->held.data);
    int rc;

    if (len > MULTIPART_HEAD_MAX)
        return -EMSGSIZE;
    if (end == NULL)
        return 0;
    if (memchr(m->held.data, '\0', len) != NULL)
        return -EBADMSG;
    *end = '\0';
    rc = take_head(m, (char *)m->held.data);
    buf_consume(&m->held, len + 4);
    return rc < 0 ? rc : 1;
}

static int step_content(struct multipart *m)
{
    char *at = memmem(m->held.data, m->held.len, m->delimiter, m->delimiter_len);
    bool in_part = m->state == MULTIPART_CONTENT;
    size_t n = 0;
    int rc = 0;

    if (at != NULL)
        n = (size_t)(at - (char *)m->held.data);
    else if (m->held.len >= m->delimiter_len)
        n = m->held.len - m->delimiter_len + 1;
    if (in_part && n > 0)
        rc = m->callbacks->data(m->arg, m->held.data, n);
    if (rc < 0)
        return rc;
    buf_consume(&m->held, at == NULL ? n : n + m->delimiter_len);
    if (at == NULL)
        return 0;
    m->state = MULTIPART_BREAK;
    rc = in_part ? m->callbacks->end(m->arg) : 0;
    return rc < 0 ? rc : 1;
}

static int step(struct multipart *m)
{
    switch (m->state) {
    case MULTIPART_BEFORE:
    case MULTIPART_CONTENT:
        return step_content(m);
    case MULTIPART_BREAK:
        return step_break(m);
    case MULTIPART_HEAD:
        return step_head(m);
    case MULTIPART_DONE:
        buf_clear(&m->held);
        return 0;
    case MULTIPART_BROKEN:
        break;
    }
    return -EBADMSG;
}

int multipart_feed(struct multipart *m, const void *data, size_t len)
{
    int rc = m->state == MULTIPART_BROKEN ? -EBADMSG : buf_append(&m->held, data, len);

    if (rc == 0)
        do
            rc = step(m);
        while (rc > 0);
    if (rc < 0)
        m->state = MULTIPART_BROKEN;
    return rc;
}
