// SPDX-License-Identifier: Apache-2.0
#include "http/head.h"

#include "http/h1.h"
#include "http/http.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum fault {
    FAULT_FOLDED,
    FAULT_NAME,
    FAULT_VALUE,
    FAULT_LENGTHS,
    FAULT_CODINGS,
    FAULT_CODING,
    FAULT_OLD,
    FAULT_BOTH
};

static const struct head_fault faults[] = {
    [FAULT_FOLDED] = {"headers", "A header may not be continued on the next line."},
    [FAULT_NAME] = {"headers", "A header's name has characters that it may not have."},
    [FAULT_VALUE] = {"headers", "A header's value has control characters."},
    [FAULT_LENGTHS] = {"Content-Length", "There may be only one Content-Length header."},
    [FAULT_CODINGS] = {"Transfer-Encoding", "There may be only one Transfer-Encoding header."},
    [FAULT_CODING] = {"Transfer-Encoding", "Transfer-Encoding may only be chunked."},
    [FAULT_OLD] = {"Transfer-Encoding", "Transfer-Encoding needs HTTP/1.1."},
    [FAULT_BOTH] = {"Content-Length", "Content-Length and Transfer-Encoding exclude each other."},
};

struct look {
    const struct head_fault *fault;
    unsigned lengths, codings;
};

// libmicrohttpd appends what continues a line to the *name* of the header that the line began:
// "Content-Length: 5", continued with "0", is a header Content-Length0, and its body the next
// request; in the same way a name can be made that no other server sees. Such a name was moved
// away from its value. Otherwise a name and its value are in the buffer as they came, a NUL in the
// colon's place and only blanks between. Should a later version of the library keep them otherwise,
// every request is refused.
static bool is_one_line(const char *name, const char *value)
{
    const char *after = name + strlen(name) + 1;

    return (uintptr_t)after <= (uintptr_t)value && after + strspn(after, " \t") == value;
}

static bool look_at(void *arg, const char *name, const char *value)
{
    struct look *l = arg;

    if (!is_one_line(name, value)) {
        l->fault = &faults[FAULT_FOLDED];
    } else if (!h1_is_name(name)) {
        l->fault = &faults[FAULT_NAME];
    } else if (!h1_is_value(value)) {
        l->fault = &faults[FAULT_VALUE];
    } else if (strcasecmp(name, "Content-Length") == 0) {
        l->lengths++;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        l->codings++;
        if (strcasecmp(value, "chunked") != 0)
            l->fault = &faults[FAULT_CODING];
    }
    return l->fault == NULL;
}

const struct head_fault *head_check(const struct http_request *req, const char *version)
{
    struct look l = {0};

    http_each_header(req, look_at, &l);
    if (l.fault != NULL)
        return l.fault;
    if (l.lengths > 1)
        return &faults[FAULT_LENGTHS];
    if (l.codings > 1)
        return &faults[FAULT_CODINGS];
    if (l.codings > 0 && strcmp(version, "HTTP/1.0") == 0)
        return &faults[FAULT_OLD];
    return l.lengths + l.codings > 1 ? &faults[FAULT_BOTH] : NULL;
}
