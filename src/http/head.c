// SPDX-License-Identifier: Apache-2.0
#include "http/head.h"

#include "http/h1.h"
#include "http/http.h"

#include <strings.h>

enum fault { FAULT_NAME, FAULT_VALUE, FAULT_LENGTHS, FAULT_CODINGS, FAULT_CODING, FAULT_BOTH };

static const struct head_fault faults[] = {
    [FAULT_NAME] = {"headers", "A header's name has characters that it may not have."},
    [FAULT_VALUE] = {"headers", "A header's value has control characters."},
    [FAULT_LENGTHS] = {"Content-Length", "There may be only one Content-Length header."},
    [FAULT_CODINGS] = {"Transfer-Encoding", "There may be only one Transfer-Encoding header."},
    [FAULT_CODING] = {"Transfer-Encoding", "Transfer-Encoding may only be chunked."},
    [FAULT_BOTH] = {"Content-Length", "Content-Length and Transfer-Encoding exclude each other."},
};

struct look {
    const struct head_fault *fault;
    unsigned lengths, codings;
};

static bool look_at(void *arg, const char *name, const char *value)
{
    struct look *l = arg;

    if (!h1_is_name(name)) {
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

const struct head_fault *head_check(const struct http_request *req)
{
    struct look l = {0};

    http_each_header(req, look_at, &l);
    if (l.fault != NULL)
        return l.fault;
    if (l.lengths > 1)
        return &faults[FAULT_LENGTHS];
    if (l.codings > 1)
        return &faults[FAULT_CODINGS];
    return l.lengths + l.codings > 1 ? &faults[FAULT_BOTH] : NULL;
}
