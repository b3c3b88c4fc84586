// SPDX-License-Identifier: Apache-2.0
#include "http/origin.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

// Length of the name in "name:port" or "[v6]:port"; 0 when it is neither.
static size_t name_len(const char *host)
{
    size_t len;
    const char *rest;

    if (host[0] == '[') {
        const char *end = strchr(host, ']');

        if (end == NULL)
            return 0;
        len = (size_t)(end - host) + 1;
    } else {
        len = strcspn(host, ":");
    }
    rest = host + len;
    if (rest[0] == ':' && rest[1 + strspn(rest + 1, "0123456789")] == '\0')
        return len;
    return rest[0] == '\0' ? len : 0;
}

static bool in_list(const char *name, size_t len, const char *list)
{
    while (*list != '\0') {
        size_t item;

        list += strspn(list, ", ");
        item = strcspn(list, ", ");
        if (item == len && len > 0 && strncasecmp(list, name, len) == 0)
            return true;
        list += item;
    }
    return false;
}

bool origin_host_ok(const char *host, const char *allowed)
{
    size_t len = name_len(host);

    if (len == 0)
        return false;
    return in_list(host, len, "localhost,127.0.0.1,[::1]") ||
           (allowed != NULL && in_list(host, len, allowed));
}

bool origin_ok(const char *origin, const char *allowed)
{
    if (strncasecmp(origin, "http://", 7) == 0)
        return origin_host_ok(origin + 7, allowed);
    if (strncasecmp(origin, "https://", 8) == 0)
        return origin_host_ok(origin + 8, allowed);
    return false;
}
